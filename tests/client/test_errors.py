"""One family of errors, whatever shape the API has."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from benchwire.client import (
    AnswerLost,
    Bench,
    BenchError,
    Conflict,
    Invalid,
    NotFound,
    Refused,
    StillRunning,
    Unauthorised,
    Unavailable,
    Unreachable,
    Unreadable,
    WorkFailed,
)
from benchwire.client.errors import refusal
from tests.support.ports import free_port

SHAPES: list[tuple[int, object, type[BenchError], str, str, str]] = [
    (
        409,
        {"code": "jobs.slots_busy", "message": "Slots busy: slot01", "hint": "Wait."},
        Conflict, "jobs.slots_busy", "Slots busy: slot01", "Wait.",
    ),
    (
        400,
        {"success": False, "error": "No. Such", "error_code": "INVALID_PARAMETERS"},
        Invalid, "INVALID_PARAMETERS", "No. Such", "",
    ),
    (
        400,
        {"error": "'x' is not a period", "message": "Write 30s.", "code": "powermeter.period"},
        Invalid, "powermeter.period", "'x' is not a period", "Write 30s.",
    ),
    (
        404,
        {"error": "Record not found", "message": "Couldn't find Plate"},
        NotFound, "not_found", "Record not found: Couldn't find Plate", "",
    ),
    (
        422,
        {"error": "Failed to create plate", "details": ["Barcode has been taken"]},
        Invalid, "invalid", "Failed to create plate: Barcode has been taken", "",
    ),
    (404, {"detail": "There is no such device"}, NotFound, "not_found", "There is no such", ""),
    (
        422,
        {"detail": [{"loc": ["query", "limit"], "msg": "too large"}]},
        Invalid, "invalid", "limit: too large", "",
    ),
    (503, {"detail": "Busy"}, Unavailable, "unavailable", "Busy", ""),
    (429, None, Unavailable, "too_many_requests", "The server answered 429 to /x", ""),
    (500, None, Refused, "failed", "The server answered 500 to /x", ""),
    (404, ["odd"], NotFound, "not_found", "The server answered 404 to /x", ""),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body", "kind", "code", "message", "hint"), SHAPES)
def test_shape_is_read(
    status: int, body: object, kind: type[BenchError], code: str, message: str, hint: str
) -> None:
    error = refusal(status, body, "/x")
    assert type(error) is kind
    assert (error.status, error.code, error.hint) == (status, code, hint)
    assert error.message.startswith(message)
    assert str(error).startswith(message.rstrip("."))


@pytest.mark.parametrize(
    "ask",
    [
        lambda bench: bench.potentiostats.slots(),
        lambda bench: bench.meters.names(),
        lambda bench: bench.plates.all(),
        lambda bench: bench.microscopy.features(),
        lambda bench: bench.traces.models(),
        lambda bench: bench.battery.devices(),
        lambda bench: bench.jobs.all(),
        lambda bench: bench.samples.all(),
        lambda bench: bench.search("x"),
        lambda bench: next(bench.meters.watch()),
        lambda bench: bench.crate("run", "x", "nowhere.zip"),
    ],
)
def test_wrong_key_is_told_by_every_domain(lab: Any, ask: Any) -> None:
    for key in ("falsch", ""):
        with Bench(lab.server.url, api_key=key) as bench:
            with pytest.raises(Unauthorised) as caught:
                ask(bench)
            assert caught.value.status == 401
            assert "BENCHWIRE_API_KEY" in str(caught.value) or caught.value.hint


def test_key_and_address_come_from_the_environment(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCHWIRE_URL", f"{lab.server.url}/")
    monkeypatch.setenv("BENCHWIRE_API_KEY", lab.key)
    with Bench() as bench:
        assert bench.url == lab.server.url
        assert bench.potentiostats.slots()
    with Bench(api_key="falsch") as bench, pytest.raises(Unauthorised):
        bench.potentiostats.slots()


def test_refused_connection_says_what_to_check() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with Bench(url, api_key="x") as bench, pytest.raises(Unreachable) as caught:
        bench.potentiostats.lsv(start=0, end=1, scan_rate=1, slots="slot01")
    assert not isinstance(caught.value, AnswerLost)
    text = str(caught.value)
    assert url in text
    assert "connection refused" in text
    assert "benchwire serve" in text
    assert caught.value.status is None


@pytest.mark.parametrize("url", ["lab:8000", "ftp://lab", "", "http://", "http://[", "lab server"])
def test_address_that_cannot_be_one_is_refused(url: str) -> None:
    with pytest.raises(BenchError, match="address"):
        Bench(url, api_key="x")


@pytest.mark.parametrize("key", ["鍵", "two\nlines"])
def test_key_that_no_request_can_carry_is_refused(key: str) -> None:
    with pytest.raises(BenchError, match="key"):
        Bench("http://127.0.0.1:1", api_key=key)


class Printer(BaseHTTPRequestHandler):
    """Something else that answers in the same network."""

    def do_GET(self) -> None:
        content = b"<h1>Printer</h1>"
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


def test_other_server_is_told_from_ours() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Printer) as printer:
        threading.Thread(target=printer.serve_forever, daemon=True).start()
        with Bench(f"http://127.0.0.1:{printer.server_port}", api_key="x") as bench:
            with pytest.raises(Unreadable, match="no benchwire server"):
                bench.version()
            with pytest.raises(Refused):
                bench.jobs.cancel("x")
        printer.shutdown()


def test_family_has_one_root() -> None:
    assert issubclass(AnswerLost, Unreachable)
    assert issubclass(StillRunning, TimeoutError)
    for kind in (Unreachable, Refused, Unreadable, WorkFailed, StillRunning):
        assert issubclass(kind, BenchError)
