"""Ways out of the folders, tried in every path, name and id that a request can carry."""

import http.client
import io
import itertools
import json
import os
import random
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest

from tests.faults.conftest import Furnished
from tests.support import house
from tests.support.soaking import SoakOr
from tests.support.traversal import corpus

pytestmark = pytest.mark.paced

SECRET = "canary-5b1d7e9c"
SEED = 20261128
# Bodies that name files, folders or what becomes one; the place of the text is None.
BODIES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("/api/v1/processing/load-metadata", {"file_path": None}),
    ("/api/v1/processing/file-info", {"file_path": None}),
    ("/api/v1/processing/list-directory", {"directory_path": None}),
    ("/api/v1/processing/search-files", {"search_path": None}),
    ("/api/v1/processing/search-files", {"search_path": "{area}", "pattern": None}),
    ("/api/v1/processing/inspect", {"traces_path": None, "good": {"1": True}}),
    ("/api/v1/processing/merge",
     {"sample_yaml": None, "input_dir": "{area}/results", "output_dir": "{area}/out"}),
    ("/api/v1/processing/merge",
     {"sample_yaml": "{area}/samples.yaml", "input_dir": None, "output_dir": "{area}/out"}),
    ("/api/v1/processing/merge",
     {"sample_yaml": "{area}/samples.yaml", "input_dir": "{area}/results", "output_dir": None}),
    ("/api/v1/processing/merge",
     {"sample_yaml": "{area}/samples.yaml",
      "processing_results_yaml": None, "output_dir": "{area}"}),
    ("/api/v1/processing/workflow/start",
     {"microscopy_path": None, "output_dir": "{area}/out", "channels": {"phase": {"channel": 0}}}),
    ("/api/v1/analysis/load-traces", {"csv_path": None}),
    ("/api/v1/analysis/fitting/start", {"csv_path": None, "model_type": "maturation"}),
    ("/api/meters", {"port": None}),
    ("/api/meters", {"port": "/dev/null", "name": None}),
    ("/api/config", {"port": None}),
    ("/stores/copies", {"source": None, "target": "s3://lab/x"}),
    ("/stores/copies", {"source": "s3://lab/x", "target": None}),
    ("/samples/links", {"kind": "run", "item_id": None, "sample": "s"}),
    ("/samples/links", {"kind": "run", "item_id": "r", "sample": None}),
    ("/jobs/status", {"run_ids": [None]}),
)  # fmt: skip
# Bodies that are taken, so that the name in the path is used.
WORDS: dict[str, dict[str, Any]] = {
    f"/{group}/{{device_id}}/readings": {"timestamp": "2026-05-04T12:00:00Z", field: 1.0}
    for group, field in (("bms", "soc"), ("pcs", "apparent_power"), ("bess", "soc"))
}


@pytest.fixture(scope="module")
def canary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that no answer may carry a byte of, in several kinds that are read."""
    folder = tmp_path_factory.mktemp("outside")
    for suffix in (".txt", ".csv", ".yaml", ".png", ".ome.tif", ".json"):
        (folder / f"canary{suffix}").write_text(f"{SECRET},time\n{SECRET},1\n")
    return folder / "canary.csv"


@pytest.fixture
def stranger(furnished: Furnished) -> Iterator["Stranger"]:
    """A client of one test."""
    made = Stranger(furnished)
    yield made
    made.close()


class Stranger:
    """A client that sends a target as it is; the usual ones tidy a path up first."""

    def __init__(self, furnished: Furnished) -> None:
        self.area = furnished.folder
        self._connection = http.client.HTTPConnection(urlsplit(furnished.server.url).netloc)
        self.asked = 0

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def ask(
        self, method: str, target: str, body: object = None, content_type: str = "application/json"
    ) -> tuple[int, bytes]:
        """Return status and body of an answer, after looking at what must never be in it."""
        content = body if isinstance(body, bytes) else b""
        if body is not None and not isinstance(body, bytes):
            content = json.dumps(body).encode()
        connection = self._connection
        connection.putrequest(method, target, skip_accept_encoding=True)
        connection.putheader("X-API-Key", house.KEY)
        connection.putheader("Content-Type", content_type)
        connection.putheader("Content-Length", str(len(content)))
        connection.endheaders(content)
        answer = connection.getresponse()
        found = answer.read(10_000_000)
        self.asked += 1
        assert answer.status < 500, (method, target[:300], body, found[:500])
        assert SECRET.encode() not in found, (method, target[:300], body)
        assert b"root:x:0" not in found, (method, target[:300], body)
        assert answer.getheader("X-Injected") is None
        return answer.status, found


def spelt(text: str) -> Iterator[str]:
    """Return the ways in which a text can stand in a URL."""
    yield quote(text.encode("utf-8", "surrogatepass"), safe="")
    if text.isascii() and text.isprintable() and not set(text) & set(" ?#"):
        yield text


def places(document: dict[str, Any], real: dict[str, str]) -> Iterator[tuple[str, str, object]]:
    """Return method, target and body of each operation, with ``{}`` in one parameter's place.

    Of operations that change something only names in the path are replaced: none is anything's.
    """
    for path, operations in document["paths"].items():
        if path.endswith(("/live", "/stream", "/events/jobs")):
            continue
        for method, operation in operations.items():
            body = None if method in {"get", "delete"} else WORDS.get(path, {})
            given = operation.get("parameters", ())
            names = [each["name"] for each in given if each["in"] == "path"]
            for name in names:
                yield method.upper(), _filled_path(path, names, {**real, name: "{}"}), body
            for each in given if method == "get" or path.endswith("/validate") else ():
                if each["in"] == "query" and _is_text(each["schema"]):
                    target = _filled_path(path, names, real)
                    yield method.upper(), f"{target}?{each['name']}={{}}", body


def _filled_path(path: str, names: list[str], values: dict[str, str]) -> str:
    for name in names:
        path = path.replace(f"{{{name}}}", values.get(name, "1"))
    return path


def _is_text(schema: dict[str, Any]) -> bool:
    kinds = [schema, *schema.get("anyOf", ())]
    return any(kind.get("type") == "string" and "enum" not in kind for kind in kinds)


def names_of(furnished: Furnished) -> dict[str, str]:
    with furnished.client() as client:
        run = client.get("/jobs").json()[-1]["run_id"]
        work = client.get("/work").json()["jobs"]
        workflow = next(item["id"] for item in work if item["state"] == "done")
        device = client.get("/bms/devices").json()["devices"][0]["device_id"]
        meter = client.get("/api/meters").json()[0]["meter"]
    return {
        "run_id": quote(run), "job_id": workflow, "device_id": quote(device), "name": meter,
        "barcode": quote(house.NASTY, safe=""), "mode": "CV", "period": "5m", "kind": "run",
        "item_id": quote(run), "well_string": "A1",
    }  # fmt: skip


def tree(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*"))


def test_no_way_leads_out_of_the_folders(
    furnished: Furnished, stranger: Stranger, canary: Path, soak_or: SoakOr
) -> None:
    texts = corpus(canary)
    assert len(texts) >= 500
    before, folders = tree(canary.parent), [*furnished.folder.parent.iterdir()]
    own = {path.name for path in furnished.folder.iterdir()}
    chosen = random.Random(SEED)
    how_many = soak_or(6, len(texts))
    for method, target, body in places(furnished.document, names_of(furnished)):
        for text in chosen.sample(texts, how_many):
            for spelling in spelt(text):
                if len(spelling) < 30_000:
                    stranger.ask(method, target.replace("{}", spelling), body)
    for path, named in BODIES:
        for text in chosen.sample(texts, how_many):
            filled = _filled(named, text, str(furnished.folder))
            stranger.ask("POST", path, filled)
    assert tree(canary.parent) == before
    assert [*furnished.folder.parent.iterdir()] == folders
    # What a request may name is where results go.
    assert {path.name for path in furnished.folder.iterdir()} - own <= {"out", "results"}
    assert stranger.asked > 500


def _filled(body: Any, text: str, area: str) -> Any:
    if isinstance(body, dict):
        return {key: _filled(value, text, area) for key, value in body.items()}
    if isinstance(body, list):
        return [_filled(value, text, area) for value in body]
    if isinstance(body, str):
        return body.replace("{area}", area)
    return text if body is None else body


@pytest.mark.parametrize("field", range(13))
def test_what_is_outside_is_not_told_from_what_is_nowhere(
    furnished: Furnished, stranger: Stranger, canary: Path, field: int
) -> None:
    path, body = BODIES[field]
    area = str(furnished.folder)
    there = stranger.ask("POST", path, _filled(body, str(canary), area))
    nowhere = stranger.ask("POST", path, _filled(body, str(canary.parent / "nothing.csv"), area))
    assert there == nowhere
    if "pattern" not in body:
        assert there[0] == 403


def test_a_run_s_files_are_its_own(furnished: Furnished, stranger: Stranger, canary: Path) -> None:
    """Another run's file, a file outside and no file at all get the same answer."""
    run = names_of(furnished)["run_id"]
    climb = "../" * 12
    answers = {
        stranger.ask("GET", f"/runs/{run}/file?path={quote(text, safe='')}")
        for text in (
            f"{climb}{canary}", f"{climb}nothing", str(canary), "nothing", "..", ".", "\0",
            "a" * 9999,
            "../../benchwire.db", "../../.session_key",
        )
    }  # fmt: skip
    assert [status for status, _ in answers] == [404]


def test_names_that_become_folders_stay_inside(
    furnished: Furnished, stranger: Stranger, canary: Path, soak_or: SoakOr
) -> None:
    """A run takes its folder's name from the request; a started one is cancelled at once."""
    chosen = random.Random(SEED)
    data = furnished.folder / "data"
    texts = chosen.sample(corpus(canary), soak_or(12, 150))
    for key, text in itertools.product(
        ("experiment_name", "subdir", "run_name", "group_id"), texts
    ):
        request = {
            "devices": ["slot01"], "modes": ["OCP"], "params_by_mode": {"OCP": {"duration": 1.0}},
            "experiment_name": "x", "client_datetime": "2026-05-04T12:00:00", "make_plot": False,
            key: text,
        }  # fmt: skip
        status, answer = stranger.ask("POST", "/jobs", request)
        if status == 200:
            run = json.loads(answer)["run_id"]
            stranger.ask("POST", f"/jobs/{quote(run, safe='')}/cancel")
    for path in (data / "runs").rglob("*"):
        assert path.resolve().is_relative_to(data)
        assert len(path.name) <= 255
    assert not list((data / "runs").glob(".*"))


def test_a_picture_s_name_is_only_shown(
    furnished: Furnished, stranger: Stranger, canary: Path, soak_or: SoakOr
) -> None:
    """The name of an upload becomes no path, and its header is valid whatever it is."""
    with furnished.client() as client:
        picture = client.get("/api/v1/wells/1/images/1/file").content
    names = corpus(canary)
    texts = random.Random(SEED).sample(names, soak_or(25, len(names)))
    for number, text in enumerate(texts):
        name = text.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
        boundary = f"b{number}"
        fields = {f"image[{key}]": "0.002" for key in ("pixel_size_x_mm", "pixel_size_y_mm")}
        fields |= {f"image[reference_{axis}_mm]": "0" for axis in "xyz"}
        form = "".join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
            for key, value in fields.items()
        )
        form += (
            f'--{boundary}\r\nContent-Disposition: form-data; name="image[file]"; '
            f'filename="{name}"\r\n\r\n'
        )
        content = (
            form.encode("utf-8", "surrogatepass") + picture + f"\r\n--{boundary}--\r\n".encode()
        )
        kind = f"multipart/form-data; boundary={boundary}"
        status, answer = stranger.ask("POST", "/api/v1/wells/1/images", content, kind)
        if status == 201:
            made = json.loads(answer)["data"]
            assert not set(made["filename"]) & set("/\\\0\r\n")
            stranger.ask("GET", f"/api/v1/wells/1/images/{made['id']}/file")


@pytest.mark.parametrize("what", ["file", "archive", "crate"])
def test_a_link_made_between_check_and_use_leads_nowhere(
    furnished: Furnished, canary: Path, soak_or: SoakOr, what: str
) -> None:
    """Somebody who may write into a run's folder flips a file of it while it is fetched."""
    with furnished.client() as client:
        run = next(
            item["run_id"] for item in client.get("/jobs").json() if item["status"] == "done"
        )
        listed = client.get(f"/runs/{quote(run)}/files").json()["files"]
    relative = next(name for name in listed if name.endswith(".csv"))
    target = {
        "file": f"/runs/{quote(run)}/file?path={quote(relative)}",
        "archive": f"/runs/{quote(run)}/zip",
        "crate": f"/crates/run/{quote(run)}",
    }[what]
    path = next((furnished.folder / "data" / "runs").rglob(Path(relative).name))
    kept = path.with_name("kept.tmp")
    os.link(path, kept)
    over = threading.Event()

    def flip() -> None:
        while not over.is_set():
            link, plain = path.with_name("link.tmp"), path.with_name("plain.tmp")
            link.symlink_to(canary)
            link.replace(path)
            os.link(kept, plain)
            plain.replace(path)

    flipping = threading.Thread(target=flip)
    flipping.start()
    try:
        with furnished.client() as client:
            statuses = [_fetched(client, target) for _ in range(soak_or(100, 5000))]
    finally:
        over.set()
        flipping.join()
        kept.unlink()
    assert set(statuses) <= {200, 404, None}
    assert 200 in statuses
    assert "Traceback" not in furnished.server.log_path.read_text("utf-8", "replace")


def _fetched(client: httpx.Client, target: str) -> int | None:
    """Return the status of an answer without the secret in it, None if it broke off."""
    try:
        answer = client.get(target)
    except httpx.RemoteProtocolError:
        return None
    contents = [answer.content]
    if answer.content.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            contents = [archive.read(name) for name in archive.namelist()]
    assert not any(SECRET.encode() in content for content in contents)
    return answer.status_code
