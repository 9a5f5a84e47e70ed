"""The server as a whole: one door, one key, one document, and nothing from outside."""

import base64
import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from benchwire.app import ClaimTaken, create_app
from benchwire.foundation.settings import load_server_settings
from benchwire.foundation.web.auth import SESSION_COOKIE
from benchwire.foundation.web.dispatch import Dispatcher
from tests.domains.potentiostat.conftest import Bench, open_bench

KEY = "correct horse battery staple"


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A server with a key."""
    with (
        pytest.MonkeyPatch.context() as environment,
        open_bench(tmp_path_factory.mktemp("locked"), environment, count=1, key=KEY) as bench,
    ):
        yield bench


@pytest.fixture(scope="module")
def free(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A server without a key and without instruments."""
    settings = load_server_settings({"data_dir": tmp_path_factory.mktemp("free"), "ui": False})
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client


# -- the key -----------------------------------------------------------------------------------

PROTECTED = [
    ("GET", "/health"), ("GET", "/devices"), ("GET", "/jobs"), ("POST", "/jobs"),
    ("GET", "/jobs/nope"), ("GET", "/runs/nope/files"), ("GET", "/runs/%2e%2e/zip"),
    ("POST", "/nas/setup"), ("POST", "/admin/rescan"), ("GET", "/nothing/here"),
    ("DELETE", "/jobs"), ("GET", "/metrics"), ("GET", "/events/jobs"), ("GET", "/away"),
    ("GET", "/runs/x/live"), ("GET", "/work"), ("GET", "/search?q=x"), ("GET", "/samples"),
    ("POST", "/samples/links"), ("GET", "/crates/run/x"), ("GET", "/notices"),
    ("POST", "/work/x/cancel"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), PROTECTED)
@pytest.mark.parametrize("key", [None, "", "wrong", KEY + " ", KEY[:-1], "é"])
def test_without_the_key_everything_is_401(
    locked: Bench, method: str, path: str, key: str | None
) -> None:
    headers = {} if key is None else {"X-API-Key": key.encode()}
    # Each from a place of its own, as one that sends many wrong keys is told so.
    client = TestClient(locked.client.app, client=(f"{method} {path} {key}", 1))
    answer = client.request(method, path, content=b"{broken", headers=headers)
    assert answer.status_code == 401
    body = answer.json()
    if path.split("/")[1] in {"health", "devices", "jobs", "runs", "nas", "admin"}:
        assert body["code"] == "auth.invalid_api_key"
        assert {type(body[name]) for name in ("code", "message", "hint")} == {str}
    else:
        assert set(body) == {"detail"}
        assert body["detail"].startswith("The API key is missing or wrong")
    assert KEY not in answer.text


@pytest.mark.parametrize(
    "path", ["/version", "/", "/docs", "/redoc", "/openapi.json", "/static/docs/swagger-ui.css"]
)
def test_public_paths_need_no_key(locked: Bench, path: str) -> None:
    assert locked.client.get(path).status_code == 200


def test_right_key_opens_everything(locked: Bench) -> None:
    headers = {"X-API-Key": KEY}
    assert locked.client.get("/health", headers=headers).json()["devices"] == 1
    assert locked.client.get("/jobs/nope", headers=headers).status_code == 404
    assert locked.client.get("/metrics", headers=headers).status_code == 200


def test_login_gives_a_session_in_place_of_the_key(locked: Bench) -> None:
    client = locked.client
    refused = client.post("/login", data={"key": "wrong"})
    assert refused.status_code == 401
    assert SESSION_COOKIE not in refused.cookies
    answer = client.post("/login", data={"key": KEY}, follow_redirects=False)
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert KEY not in cookie
    session = answer.cookies[SESSION_COOKIE]
    client.cookies.clear()
    good = {"Cookie": f"{SESSION_COOKIE}={session}"}
    assert client.get("/devices", headers=good).status_code == 200
    changed = session[:-6] + ("A" if session[-6] != "A" else "B") + session[-5:]
    for forged in (changed, "abc", "", session.split(".")[0]):
        bad = {"Cookie": f"{SESSION_COOKIE}={forged}"}
        assert client.get("/devices", headers=bad).status_code == 401


def test_foreign_page_may_read_but_not_change(free: TestClient) -> None:
    foreign = {"Origin": "http://evil.example"}
    answer = free.get("/version", headers=foreign)
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer.headers
    refused = free.post("/admin/rescan", headers=foreign)
    assert (refused.status_code, refused.json()["code"]) == (403, "auth.foreign_origin")
    own = {"Origin": "http://testserver"}
    assert free.post("/admin/rescan", headers=own).status_code == 200


# -- guesses -----------------------------------------------------------------------------------


def test_too_many_wrong_keys_are_refused_and_the_right_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with open_bench(tmp_path, monkeypatch, count=1, key=KEY) as bench:
        ask = bench.client.get
        for _ in range(100):
            assert ask("/jobs").status_code == 401  # none at all is no guess
        answers = [ask("/jobs", headers={"X-API-Key": f"guess {n}"}) for n in range(21)]
        assert [answer.status_code for answer in answers] == [401] * 20 + [429]
        assert answers[-1].json()["code"] == "auth.too_many_wrong_keys"
        assert answers[-1].headers["retry-after"] == "60"
        assert set(ask("/api/v1/plates", headers={"X-API-Key": "again"}).json()) >= {"error"}
        assert ask("/jobs", headers={"X-API-Key": KEY}).status_code == 200
        form = bench.client.post("/login", data={"key": "again"}, follow_redirects=False)
        assert form.status_code == 429
        right = bench.client.post("/login", data={"key": KEY}, follow_redirects=False)
        assert right.status_code == 303
    told = [record.getMessage() for record in caplog.records if "wrong keys" in record.getMessage()]
    assert len(told) == 1
    assert "guess" not in caplog.text


# -- names of the server -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("evil.example", 403), ("evil.example:8000", 403), ("evil.example.", 403),
        ("localhost.evil.example", 403), ("127.0.0.1.evil.example", 403),
        ("localhost", 200), ("LOCALHOST:8000", 200), ("127.0.0.1:8000", 200), ("[::1]:8000", 200),
        ("192.168.1.20", 200), ("lab-server:8000", 200), ("box.local", 200), ("box.lan:80", 200),
    ],
)  # fmt: skip
def test_open_server_answers_to_no_name_of_the_internet(
    free: TestClient, host: str, status: int
) -> None:
    for path, key in (
        ("/devices", "code"),
        ("/bms/devices", "detail"),
        ("/api/v1/plates", "error"),
    ):
        answer = free.get(path, headers={"Host": host})
        assert answer.status_code == status, path
        assert status == 200 or key in answer.json()


def test_names_are_allowed_by_the_setting_and_by_a_key(tmp_path: Path, locked: Bench) -> None:
    host = {"Host": "bench.institute.example"}
    headers = {**host, "X-API-Key": KEY}
    assert locked.client.get("/devices", headers=headers).status_code == 200
    for number, names in enumerate((["Bench.Institute.example"], ["*"])):
        settings = load_server_settings(
            {"data_dir": tmp_path / str(number), "ui": False, "allowed_hosts": names}
        )
        with TestClient(create_app(settings)) as client:
            assert client.get("/devices", headers=host).status_code == 200


# -- what a browser may do with an answer ------------------------------------------------------


@pytest.mark.parametrize("path", ["/version", "/api/v1/plates", "/nothing/here", "/metrics", "/"])
def test_answers_of_apis_may_load_nothing(locked: Bench, path: str) -> None:
    for headers in ({}, {"X-API-Key": KEY}):
        answer = locked.client.get(path, headers=headers)
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none';"), answer.status_code
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"


@pytest.mark.parametrize("path", ["/docs", "/login", "/dashboard"])
def test_pages_name_every_script_in_them_and_allow_no_other(free: TestClient, path: str) -> None:
    answer = free.get(path)
    policy = answer.headers["content-security-policy"]
    scripts = re.findall(r"<script>(.*?)</script>", answer.text, re.DOTALL)
    digests = {base64.b64encode(sha256(text.encode()).digest()).decode() for text in scripts}
    assert set(re.findall(r"'sha256-([^']+)'", policy)) == digests
    allowed = re.search(r"script-src ([^;]*);", policy)
    assert allowed is not None
    assert "unsafe" not in allowed[1]
    assert "http" not in policy


# -- one document ------------------------------------------------------------------------------


def test_document_covers_every_path_of_every_domain(free: TestClient) -> None:
    document = free.get("/openapi.json").json()
    expected = {
        "/version", "/health", "/devices", "/modes", "/modes/{mode}/params",
        "/modes/{mode}/validate", "/jobs", "/jobs/{run_id}", "/jobs/status",
        "/jobs/{run_id}/cancel", "/runs/{run_id}/files", "/runs/{run_id}/file",
        "/runs/{run_id}/zip", "/nas/setup", "/nas/health", "/runs/{run_id}/upload",
        "/admin/rescan", "/metrics", "/away", "/events/jobs",
    }  # fmt: skip
    assert expected <= set(document["paths"])


def test_every_reference_of_the_document_leads_somewhere(free: TestClient) -> None:
    document = free.get("/openapi.json")
    references = set(re.findall(r'"\$ref":"([^"]+)"', document.text))
    assert len(references) > 20
    for reference in references:
        at = document.json()
        for part in reference.removeprefix("#/").split("/"):
            assert part in at, reference
            at = at[part]


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_documents_load_nothing_from_outside(free: TestClient, path: str) -> None:
    page = free.get(path).text
    addresses = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert addresses
    for address in addresses:
        assert address.startswith("/static/"), address
        assert free.get(address).status_code == 200
    assert "https://" not in page


def test_merged_documents_keep_like_named_schemas_apart() -> None:
    from benchwire.home.documents import merged

    def document(title: str, kind: str) -> dict[str, object]:
        reference = {"$ref": "#/components/schemas/Status"}
        return {
            "info": {"title": title},
            "paths": {f"/{title}": {"get": {"responses": {"200": reference}}}},
            "components": {"schemas": {"Status": {"type": kind}}},
        }

    whole = merged([document("One", "object"), document("Two", "string")])
    assert whole["components"]["schemas"].keys() == {"Status", "TwoStatus"}
    assert whole["paths"]["/Two"]["get"]["responses"]["200"]["$ref"].endswith("/TwoStatus")


def test_index_names_domains_and_links(free: TestClient) -> None:
    body = free.get("/").json()
    assert "/jobs" in body["domains"]["potentiostat"]
    assert body["links"]["docs"] == "/docs"


def test_index_names_every_documented_path(free: TestClient) -> None:
    named = {path for paths in free.get("/").json()["endpoints"].values() for path in paths}
    documented = {
        f"{method.upper()} {path}"
        for path, item in free.get("/openapi.json").json()["paths"].items()
        for method in item
    }
    assert named <= documented
    assert {"GET /api/v1/plates", "POST /jobs", "GET /bms/devices"} <= named
    assert len(documented - named) < 20  # those of the server itself


def test_metrics_are_readable(free: TestClient) -> None:
    text = free.get("/metrics").text
    assert 'benchwire_jobs{state="running"} 0.0' in text
    assert "benchwire_stream_subscribers 0.0" in text


def test_unknown_path_has_the_homes_own_shape(free: TestClient) -> None:
    answer = free.get("/nothing")
    assert answer.status_code == 404
    assert answer.json().keys() == {"detail"}


def test_longest_claim_wins_and_ends_at_a_segment() -> None:
    apps = {name: object() for name in ("short", "long", "rest")}
    dispatcher = Dispatcher(
        [("/api/v1", apps["short"]), ("/api/v1/jobs", apps["long"])], otherwise=apps["rest"]
    )
    assert dispatcher.owner("/api/v1/jobs/7") is apps["long"]
    assert dispatcher.owner("/api/v1/jobsite") is apps["short"]
    assert dispatcher.owner("/api/v1") is apps["short"]
    assert dispatcher.owner("/api/v12") is apps["rest"]


def test_each_server_in_a_process_stands_alone(tmp_path: Path) -> None:
    """Two servers with folders of their own know nothing of each other."""
    clients = [
        TestClient(
            create_app(load_server_settings({"data_dir": tmp_path / name, "ui": False})),
        )
        for name in ("one", "two")
    ]
    with clients[0] as one, clients[1] as two:
        one.post("/nas/setup", json={"host": "", "share": "", "username": "", "password": ""})
        assert one.get("/jobs").json() == two.get("/jobs").json() == []


# -- domains from other packages ---------------------------------------------------------------


def plug_in(folder: Path, name: str, code: str, environment: pytest.MonkeyPatch) -> None:
    """Have a package with a domain in it found, as an installed one is."""
    about = folder / f"{name}-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[benchwire.domains]\nballast = {name}:build\n")
    (folder / f"{name}.py").write_text(code)
    environment.syspath_prepend(str(folder))


def test_a_foreign_domain_that_fails_is_left_out_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plug_in(tmp_path / "site", "broken_ballast", "import no_such_thing\n", monkeypatch)
    settings = load_server_settings({"data_dir": tmp_path / "data", "ui": False})
    with TestClient(create_app(settings)) as client:
        assert client.get("/health").json()["ok"] is True
        assert "ballast" not in client.get("/").json()["domains"]
        (notice,) = client.get("/notices").json()["notices"]
    assert notice["level"] == "error"
    assert "ballast of broken_ballast" in notice["text"]
    assert "no_such_thing" in notice["text"]


def test_two_domains_cannot_answer_the_same_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "from benchwire.foundation.domain import Domain\n"
        "def build(lab):\n"
        "    return Domain('ballast', 'Ballast', claims=('/jobs',), routers=())\n"
    )
    plug_in(tmp_path / "site", "greedy_ballast", code, monkeypatch)
    settings = load_server_settings({"data_dir": tmp_path / "data", "ui": False})
    with pytest.raises(ClaimTaken, match="ballast and potentiostat both want to answer /jobs"):
        create_app(settings)
