"""Viewers, operators and admins at one real server: who may what, and who is said to have."""

import asyncio
import contextlib
import random
import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from benchwire.foundation.web.auth import SESSION_COOKIE
from benchwire.foundation.web.sse import HEARTBEAT_SECONDS
from tests.support.ports import free_ports
from tests.support.postgres import running_postgres
from tests.support.server import Server
from tests.support.soaking import SoakOr

OWNER = "the owner's own key"
ROLES = ("viewer", "operator", "admin")
READ_BY_POST = {
    "/jobs/status", "/modes/{mode}/validate", "/api/v1/analysis/load-traces",
    *(f"/api/v1/processing/{question}"
      for question in ("load-metadata", "list-directory", "search-files", "file-info")),
}  # fmt: skip
FOR_ADMINS = {("POST", "/nas/setup"), ("POST", "/api/config"), ("POST", "/api/meters"),
              ("GET", "/audit")}  # fmt: skip
TAKEN_BACK = re.compile(r".*(well_contents|points_of_interest|components|samples/links).*")


class Lab:
    """A server with a key of each role, made while it runs."""

    def __init__(self, server: Server, alone: str) -> None:
        self.server, self.alone = server, alone
        self.keys = {role: self.add(role, role) for role in ROLES}

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "benchwire", *words, "--data-dir", str(self.server.data_dir)],
            env=self.server.environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def add(self, name: str, role: str) -> str:
        done = self.command("keys", "add", name, "--role", role)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def client(self, key: str, **more: Any) -> httpx.Client:
        return httpx.Client(
            base_url=self.server.url, headers={"X-API-Key": key}, timeout=30, **more
        )

    def entries(self) -> list[dict[str, Any]]:
        """The whole audit log, oldest first."""
        found: list[dict[str, Any]] = []
        with self.client(self.keys["admin"]) as client:
            while True:
                before = {"before": found[-1]["id"]} if found else {}
                answer = client.get("/audit", params={"limit": 1000, **before})
                page = answer.raise_for_status().json()["entries"]
                if not page:
                    return found[::-1]
                found += page


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    port, alone = free_ports(2)
    folder = tmp_path_factory.mktemp("roles") / "data"
    with contextlib.ExitStack() as stack:
        is_sqlite = request.param == "sqlite"
        url = None if is_sqlite else stack.enter_context(running_postgres()).url
        server = Server(
            folder, port, "--also", f"plates={alone}",
            environment={"BENCHWIRE_API_KEY": OWNER}, database_url=url,
        )  # fmt: skip
        stack.enter_context(server)
        yield Lab(server, f"http://127.0.0.1:{alone}")


def needed(method: str, path: str) -> str:
    """The role that the documents promise for an operation."""
    if (method, path) in FOR_ADMINS:
        return "admin"
    if (method, path) == ("GET", "/api/recording"):
        return "operator"
    if method == "GET" or (method == "POST" and path in READ_BY_POST):
        return "viewer"
    if method == "DELETE":
        return "operator" if TAKEN_BACK.fullmatch(path) else "admin"
    return "operator"


def test_every_operation_is_refused_to_each_role_below_its_own(lab: Lab) -> None:
    document = httpx.get(f"{lab.server.url}/openapi.json").json()
    operations = [
        (method.upper(), path) for path, item in document["paths"].items() for method in item
    ]
    assert len(operations) > 200
    before = len(lab.entries())
    refused = []
    for role in ROLES:
        with lab.client(lab.keys[role]) as client:
            for method, path in operations:
                if ROLES.index(role) >= ROLES.index(needed(method, path)):
                    continue
                real = re.sub(r"\{[^}]+\}", "7", path)
                # Unreadable, since a body must not be looked at before the role.
                answer = client.request(method, real, content=b"{broken")
                assert answer.status_code == 403, f"{role} {method} {path}"
                assert "role" in answer.text or "takes" in answer.text or "needs" in answer.text
                refused.append((role, method, real, 403))
    logged = [(e["who"], e["method"], e["path"], e["status"]) for e in lab.entries()[before:]]
    assert logged == refused
    assert len(refused) > 100


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/jobs", {"code", "message", "hint"}),
        ("/api/v1/processing/merge", {"success", "error", "error_code"}),
        ("/api/v1/plates", {"error"}),
        ("/api/screen", {"error", "code", "message"}),
        ("/bms/x/readings", {"detail"}),
        ("/samples/links", {"detail"}),
    ],
)
def test_a_refusal_has_the_shape_of_its_api(lab: Lab, path: str, shape: set[str]) -> None:
    with lab.client(lab.keys["viewer"]) as client:
        answer = client.post(path, json={})
        # As that API says everything else, down to the same keys.
        unknown = httpx.post(f"{lab.server.url}{path}", json={})
    assert (answer.status_code, unknown.status_code) == (403, 401)
    assert set(answer.json()) == set(unknown.json()) >= shape


def test_a_domain_served_alone_asks_for_the_same_roles(lab: Lab) -> None:
    body = {"plate": {"barcode": "ALONE"}}
    viewer, operator = ({"X-API-Key": lab.keys[role]} for role in ("viewer", "operator"))
    plates = f"{lab.alone}/api/v1/plates"
    assert httpx.post(plates, json=body, headers=viewer).status_code == 403
    assert httpx.post(plates, json=body, headers=operator).status_code == 201
    assert httpx.delete(f"{plates}/ALONE", headers=operator).status_code == 403
    assert httpx.get(f"{plates}/ALONE", headers=viewer).status_code == 200


def test_the_owners_key_may_all_and_strangers_are_written_down_in_measure(lab: Lab) -> None:
    with lab.client(OWNER) as client:
        assert client.post("/api/v1/plates", json={"plate": {"barcode": "O"}}).status_code == 201
    assert lab.entries()[-1]["who"] == "the key"
    before = len(lab.entries())
    with httpx.Client(base_url=lab.server.url) as client:
        for number in range(150):
            assert client.post(f"/jobs/{number}/cancel").status_code == 401
    found = lab.entries()[before:]
    assert {entry["who"] for entry in found} <= {"no valid key"}
    assert len(found) <= 60


def test_a_key_is_made_and_withdrawn_while_the_server_runs(lab: Lab) -> None:
    key = lab.add("guest", "operator")
    listed = lab.command("keys", "list").stdout
    assert "guest  operator" in listed
    assert key not in listed
    with lab.client(key) as client, httpx.Client(base_url=lab.server.url) as browser:
        assert client.get("/devices").status_code == 200
        login = browser.post("/login", data={"key": key})
        assert login.status_code == 303
        assert browser.get("/devices").status_code == 200
        ended = threading.Event()

        def watch() -> None:
            try:
                with lab.client(key).stream("GET", "/events/jobs", timeout=30) as stream:
                    seen.set()
                    for _ in stream.iter_raw():
                        pass
            except httpx.RemoteProtocolError:
                pass  # cut off in the middle, as a withdrawn key's should be
            ended.set()

        seen = threading.Event()
        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        assert seen.wait(10)
        assert lab.command("keys", "remove", "guest").returncode == 0
        assert client.get("/devices").status_code == 401
        assert browser.get("/devices").status_code == 401
        # Well before the sign of life that a silent stream would send next.
        assert ended.wait(HEARTBEAT_SECONDS / 2)
    logged = [(entry["who"], entry["path"], entry["status"]) for entry in lab.entries()]
    assert ("guest", "/login", 303) in logged


def test_two_principals_at_once_never_act_under_each_others_name(lab: Lab, soak_or: SoakOr) -> None:
    """By key and by session over shared connections: each answer and entry is its sender's."""
    requests = soak_or(300, 10_000)
    before = len(lab.entries())
    plan = random.Random(28).choices(["viewer", "operator", "viewer's", "operator's"], k=requests)
    run = f"R{requests}"

    async def act() -> dict[int, int]:
        answers: dict[int, int] = {}
        limits = httpx.Limits(max_connections=8)
        async with httpx.AsyncClient(base_url=lab.server.url, limits=limits, timeout=60) as client:
            headers: dict[str, dict[str, str]] = {}
            for role in ("viewer", "operator"):
                login = await client.post("/login", data={"key": lab.keys[role]})
                session = login.cookies[SESSION_COOKIE]
                client.cookies.clear()
                headers[role] = {"X-API-Key": lab.keys[role]}
                headers[f"{role}'s"] = {"Cookie": f"{SESSION_COOKIE}={session}"}

            async def one(numbers: "asyncio.Queue[int]") -> None:
                while not numbers.empty():
                    number = numbers.get_nowait()
                    who = headers[plan[number]]
                    path = f"/api/v1/plates/{run}-{number}/restore"
                    if number % 10 == 0:
                        body = {"plate": {"barcode": f"{run}-{number}"}}
                        answer = await client.post("/api/v1/plates", json=body, headers=who)
                    else:
                        answer = await client.post(path, headers=who)
                    answers[number] = answer.status_code

            numbers: asyncio.Queue[int] = asyncio.Queue()
            for number in range(requests):
                numbers.put_nowait(number)
            await asyncio.gather(*(one(numbers) for _ in range(16)))
        return answers

    answers = asyncio.run(act())
    for number, who in enumerate(plan):
        allowed = 201 if number % 10 == 0 else 404
        assert answers[number] == (allowed if who.startswith("operator") else 403), number
    entries = lab.entries()[before:]
    named = {
        int(entry["path"].split("/")[4].removeprefix(f"{run}-")): entry
        for entry in entries
        if entry["path"].startswith(f"/api/v1/plates/{run}-")
    }
    assert len(named) == sum(number % 10 != 0 for number in range(requests))
    for number, entry in named.items():
        assert (entry["who"], entry["status"]) == (
            plan[number].removesuffix("'s"), answers[number],
        )  # fmt: skip
    with lab.client(OWNER) as client:
        for number in range(0, requests, 10):
            is_there = client.get(f"/api/v1/plates/{run}-{number}").status_code == 200
            assert is_there == plan[number].startswith("operator"), number
    checked = lab.command("audit", "--last", "3")
    assert checked.returncode == 0, checked.stderr
    assert "none changed" in checked.stdout


def test_the_log_is_read_by_admins_and_changed_by_nobody(lab: Lab) -> None:
    for role in ("viewer", "operator"):
        with lab.client(lab.keys[role]) as client:
            assert client.get("/audit").status_code == 403
    with lab.client(OWNER) as client:
        (entry,) = client.get("/audit", params={"limit": 1}).json()["entries"]
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            for path in ("/audit", f"/audit/{entry['id']}"):
                assert client.request(method, path).status_code in {404, 405}
    assert entry in lab.entries()


def test_neither_keys_nor_bodies_nor_queries_are_written_down(lab: Lab, tmp_path: Path) -> None:
    with lab.client(lab.keys["operator"]) as client:
        client.post("/jobs/x/cancel?key=hidden-query", json={"password": "hidden-body"})
        client.post(f"/jobs/{'y' * 3000}/cancel")
    text = str(lab.entries())
    for secret in ("hidden", OWNER, *lab.keys.values()):
        assert secret not in text
        assert secret not in lab.server.log_path.read_text()


def test_an_entry_that_is_changed_is_told(lab: Lab) -> None:
    """Last of all, as it leaves the log broken."""
    with lab.client(lab.keys["operator"]) as client:
        client.post("/jobs/before/cancel")
        client.post("/jobs/after/cancel")
    url = lab.server.environment.get("BENCHWIRE_DATABASE_URL")
    path = lab.server.data_dir / "benchwire.db"
    opened = sqlite3.connect(path, timeout=10) if url is None else psycopg.connect(url)
    with contextlib.closing(opened) as database:
        database.execute("UPDATE audit_entry SET who = 'admin' WHERE path = '/jobs/before/cancel'")
        database.commit()
    number = next(e["id"] for e in lab.entries() if e["path"] == "/jobs/before/cancel")
    told = lab.command("audit")
    assert (told.returncode, f"Entry {number} " in told.stderr) == (1, True)
