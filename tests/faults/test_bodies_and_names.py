"""Bodies that are too large, too deep or of another kind, and names no file could have."""

import http.client
import json
import re
import socket
from collections.abc import Iterator
from contextlib import closing
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import jsonschema
import psutil
import pytest

from tests.faults.conftest import Furnished
from tests.support import house
from tests.support.waiting import until

pytestmark = pytest.mark.paced

MB = 1_000_000
NAMES = (
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "\u202eexe.txt",
    "\u200f\u05d0\u05d1", "\U0001f9ea\U0001f52c", "e\u0301\u0323", "n" * 300,
    "a\r\nX-Injected: 1", "a\nb", "a\tb", "a\0b", "-rf", "--help", "CON", "nul.txt", "COM1",
    "aux.csv.gz", "name.", "name ", "name...", " name", ".hidden", "..", ".", "", " ", "a/b",
    "a\\b", "C:x", "a:b", 'a"b', "a'b", "a;b", "a%00b", "%2e%2e", "=cmd|' /C calc'!A0",
    "@SUM(1)", "a*b?", "\ufeffname", "\u2028", "\x7f", "null", "undefined", "0",
)  # fmt: skip
DEVICES = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")
IN_SHAPE = (
    "/jobs", "/modes/CV/validate", "/jobs/status", "/nas/setup", "/api/config", "/api/meters",
    "/api/screen", "/api/v1/plates", "/api/v1/chemicals", "/api/v1/import", "/api/v1/locations",
    "/api/v1/wells/1/images", "/api/v1/processing/load-metadata", "/api/v1/processing/merge",
    "/api/v1/processing/workflow/start", "/api/v1/analysis/load-traces", "/samples/links",
    "/api/v1/analysis/fitting/start", "/bms/X/readings", "/pcs/X/readings",
)  # fmt: skip
"""Operations of every API that take a body."""
OTHER_KINDS = (
    ("text/plain", b"{}"), ("application/xml", b"<a/>"), ("image/png", b"\x89PNG"), ("", b"{"),
    ("%", b"{"), ("application/octet-stream", b"\0\1"), ("application/json", b"\xff\xfe{"),
    ("application/json", b"NaN"), ("application/json", b'"text"'), ("application/json", b"1e999"),
    ("application/json", b'{"a": "\\ud800"}'), ("application/json; charset=utf-16", b"{}"),
    ("multipart/form-data", b"--x\r\n"), ("multipart/form-data; boundary=x", b"--x\r\nbroken"),
    ("multipart/form-data; boundary=" + "b" * 5000, b"--"),
    ("application/x-www-form-urlencoded", b"a[b]=1&a=2&[]=3&%=%zz"),
)  # fmt: skip


def in_shape(furnished: Furnished, path: str, status: int, body: bytes) -> None:
    """See that a refusal is documented, and is in the shape that its API documents."""
    document = furnished.document
    template = {
        "/modes/CV/validate": "/modes/{mode}/validate",
        "/api/v1/wells/1/images": "/api/v1/wells/{well_id}/images",
        "/bms/X/readings": "/bms/{device_id}/readings",
        "/pcs/X/readings": "/pcs/{device_id}/readings",
    }.get(path, path)
    answers = document["paths"][template]["post"]["responses"]
    schema = answers[str(status)]["content"]["application/json"]["schema"]
    jsonschema.validate(json.loads(body), {**schema, "components": document["components"]})


def head(path: str, *lines: str) -> bytes:
    given = "".join(f"{line}\r\n" for line in lines)
    return (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {house.KEY}\r\n"
        f"Content-Type: application/json\r\n{given}\r\n"
    ).encode()


def connected(furnished: Furnished) -> socket.socket:
    parts = urlsplit(furnished.server.url)
    return socket.create_connection((parts.hostname, parts.port), timeout=30)


@pytest.mark.parametrize("path", IN_SHAPE)
def test_a_body_too_large_is_refused_before_it_is_there(furnished: Furnished, path: str) -> None:
    """Of 50 MB, or of 500 where pictures and sheets are taken, a thousandth is ever sent."""
    size = 500 * MB if path.startswith("/api/v1/") else 50 * MB
    with closing(connected(furnished)) as connection:
        connection.sendall(head(path, f"Content-Length: {size}") + b'{"a": "' + b"x" * 50_000)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.status == 413
        in_shape(furnished, path, 413, answer.read())


@pytest.mark.parametrize("path", IN_SHAPE)
def test_a_body_without_a_length_is_counted(furnished: Furnished, path: str) -> None:
    server = furnished.server.process
    assert server is not None
    before = psutil.Process(server.pid).memory_info().rss
    sent = 0
    with closing(connected(furnished)) as connection:
        connection.sendall(head(path, "Transfer-Encoding: chunked"))
        chunk = b"x" * MB
        try:
            while sent < 200 * MB:
                connection.sendall(b"%x\r\n%b\r\n" % (len(chunk), chunk))
                sent += MB
                connection.setblocking(False)
                try:
                    if connection.recv(1, socket.MSG_PEEK):
                        break
                except BlockingIOError:
                    pass
                connection.settimeout(30)
        except (ConnectionResetError, BrokenPipeError):
            pass  # hung up on, with or without a word before
        connection.settimeout(30)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.status == 413
        in_shape(furnished, path, 413, answer.read())
    assert sent < 60 * MB
    assert psutil.Process(server.pid).memory_info().rss - before < 200 * MB


@pytest.mark.parametrize("path", IN_SHAPE)
def test_nesting_without_end_is_refused(furnished: Furnished, path: str) -> None:
    with furnished.client() as client:
        for opening, closing_ in ((b"[", b"]"), (b'{"a":', b"}")):
            for depth in (10_000, 1_000_000):
                for inner in (b"", b"1" + closing_ * depth):
                    answer = client.post(
                        path,
                        content=opening * depth + inner,
                        headers={"Content-Type": "application/json"},
                    )
                    assert 400 <= answer.status_code < 500
                    in_shape(furnished, path, answer.status_code, answer.content)


def test_nesting_that_a_parser_takes_is_stored_by_no_one(furnished: Furnished) -> None:
    """A few hundred levels pass the parser and must not break what comes after it."""
    deep: Any = 1
    for _ in range(400):
        deep = {"a": deep}
    with furnished.client() as client:
        for path, body in (
            ("/modes/CV/validate", {"start": deep}),
            ("/bms/X/readings", deep),
            ("/api/v1/plates", {"plate": {"barcode": deep}}),
            ("/api/v1/chemicals", {"chemical": {"name": deep}}),
            ("/samples/links", {"kind": "run", "item_id": "x", "sample": deep}),
            ("/api/v1/analysis/fitting/start", {"csv_path": "/x", "model_type": "m",
                                                "model_params": {"a": deep}}),
        ):  # fmt: skip
            answer = client.post(path, json=body)
            assert answer.status_code < 500, (path, answer.text[:300])


@pytest.mark.parametrize("path", IN_SHAPE)
def test_another_kind_of_body_is_refused(furnished: Furnished, path: str) -> None:
    with furnished.client() as client:
        for kind, content in OTHER_KINDS:
            answer = client.post(path, content=content, headers={"Content-Type": kind})
            # Making a plate needs nothing said, so a text that reads as an empty object makes one,
            # and what is wrong with parameters is the very answer to a wish to know.
            if answer.status_code == 201 and path == "/api/v1/plates":
                continue
            if answer.status_code == 200 and path == "/modes/CV/validate":
                assert answer.json()["ok"] is False
                continue
            assert 400 <= answer.status_code < 500, (kind, content, answer.text[:300])
            in_shape(furnished, path, answer.status_code, answer.content)


def makers(name: str) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Return requests that give something a name, and where that is in the answer."""
    v1 = "/api/v1"
    yield f"{v1}/plates", {"plate": {"barcode": name}, "rows": 1, "columns": 1}, "data.barcode"
    yield f"{v1}/plates", {"plate": {"name": name}, "rows": 1, "columns": 1}, "data.name"
    yield f"{v1}/chemicals", {"chemical": {"name": name}}, "data.name"
    yield f"{v1}/stock_solutions", {"stock_solution": {"name": name}}, "name"
    yield f"{v1}/units", {"unit": {"name": name, "symbol": name[:20]}}, "data.name"
    special = {"location": {"name": name}, "location_type": "special"}
    yield f"{v1}/locations", special, "data.name"
    yield (
        f"{v1}/plate_prototypes",
        {"plate_prototype": {"name": name, "rows": 1, "columns": 1}},
        "data.name",
    )
    yield "/samples/links", {"kind": "meter", "item_id": "{meter}", "sample": name}, "sample"
    yield "/api/meters", {"port": "/dev/null", "name": name}, "meter"


def test_names_are_kept_as_they_are_or_refused(furnished: Furnished) -> None:
    kept = refused = 0
    with furnished.client() as client:
        meter = client.get("/api/meters").json()[0]["meter"]
        for name in NAMES:
            for path, body, place in makers(name):
                text = json.dumps(body).replace("{meter}", meter)
                answer = client.post(
                    path, content=text, headers={"Content-Type": "application/json"}
                )
                assert answer.status_code in {200, 201, 400, 409, 422}, (path, name, answer.text)
                if answer.status_code >= 400:
                    refused += 1
                    continue
                found: Any = answer.json()
                for key in place.split("."):
                    found = found[key]
                # Without a name it may get one.
                assert not name.strip() or found in {name, name.strip()}, (path, name, found)
                kept += 1
    assert kept > 100
    assert refused > 50


def test_downloads_have_names_that_every_system_takes(furnished: Furnished) -> None:
    """What a name becomes in a header and in a folder is the same on Linux and on Windows."""
    reading = [{"timestamp": "2026-05-04T12:00:00Z", "soc": 50.0}]
    with furnished.client() as client:
        for name in NAMES:
            path = quote(name, safe="")
            if name in {"", ".", ".."}:
                continue
            answer = client.post(f"/bms/{path}/readings", json=reading)
            assert answer.status_code in {200, 201, 404, 422}, (name, answer.text)
            for target in (
                f"/bms/{path}/export", f"/api/v1/plates/{path}/contents_csv",
                f"/crates/plate/{path}",
            ):  # fmt: skip
                answer = client.get(target)
                assert answer.status_code in {200, 404, 405, 409, 422}, (target, answer.text[:200])
                if answer.status_code == 200:
                    assert is_safe(answer), (target, answer.headers["content-disposition"])


def test_folders_of_runs_have_names_that_every_system_takes(furnished: Furnished) -> None:
    with furnished.client() as client:
        for name in NAMES:
            request = {
                "devices": ["slot01"], "modes": ["OCP"], "experiment_name": name, "subdir": name,
                "params_by_mode": {"OCP": {"duration": 0.1}}, "make_plot": False,
                "client_datetime": "2026-05-04T12:00:00",
            }  # fmt: skip
            answer = client.post("/jobs", json=request)
            assert answer.status_code in {200, 400, 409, 422}, (name, answer.text)
            if answer.status_code != 200:
                continue
            run = answer.json()["run_id"]
            until(
                lambda run=run: client.get(f"/jobs/{quote(run)}").json()["status"] != "running",
                what="the end of the run",
            )
            assert is_safe(client.get(f"/runs/{quote(run)}/zip"))
    for path in (furnished.folder / "data" / "runs").rglob("*"):
        assert is_safe_name(path.name), path


def is_safe(answer: httpx.Response) -> bool:
    """Whether a download's name is one valid header of a name that every system takes."""
    assert "x-injected" not in answer.headers
    header = answer.headers["content-disposition"]
    message = Message()
    message["content-disposition"] = header
    name = message.get_filename()
    return header.isascii() and name is not None and is_safe_name(name)


def is_safe_name(name: str) -> bool:
    """Whether a file or folder can have that name on Linux and on Windows."""
    return (
        0 < len(name) <= 255
        and not set(name) & set('<>:"/\\|?*\r\n\0')
        and name.isprintable()
        and not name.endswith((".", " "))
        and not DEVICES.fullmatch(Path(name).name)
    )
