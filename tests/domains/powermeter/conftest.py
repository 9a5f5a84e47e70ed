"""Emulated power meters in a process of their own, and a server on them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from benchwire.app import create_app
from benchwire.domains.powermeter.meter import Meter
from benchwire.domains.powermeter.service import PowerMeters
from benchwire.foundation.clock import Clock
from benchwire.foundation.instruments.emulation import EmulatorProcess
from benchwire.foundation.settings import load_server_settings
from tests.support.waiting import until

FACTORY = "benchwire.domains.powermeter.emulator:emulated"
FAST = 0.05


class Bench:
    """A server on emulated meters, as a client and as somebody with hands sees it."""

    def __init__(self, client: TestClient, emulators: EmulatorProcess, data_dir: Path) -> None:
        self.client = client
        self.emulators = emulators
        self.data_dir = data_dir

    def get(self, path: str, **parameters: Any) -> Any:
        answer = self.client.get(f"/api/{path}", params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def configure(self, meter: str | None = None, /, **changes: Any) -> Any:
        parameters = {} if meter is None else {"meter": meter}
        return self.client.post("/api/config", json=changes, params=parameters)

    def status(self, meter: str | None = None) -> dict[str, Any]:
        return self.get("status", **({} if meter is None else {"meter": meter}))

    def meter(self, name: str | None = None) -> Meter:
        """The meter behind the API, for what no client may do."""
        return self.meters().meter(name)

    def meters(self) -> PowerMeters:
        """All meters behind the API."""
        domains = self.client.app.domains
        return next(domain.services[0] for domain in domains if domain.name == "powermeter")

    def crate(self, session: dict[str, Any]) -> Any:
        return self.client.get(f"/crates/session/{session['id']}")

    def control(self, command: str, *, meter: int = 1, **arguments: Any) -> Any:
        return self.emulators.control(f"p{meter}", command, **arguments)

    def port(self, meter: int = 1) -> str:
        return str(self.emulators.paths[f"p{meter}"])

    def until_connected(self, meter: str | None = None, *, seconds: float = 7.0) -> None:
        until(lambda: self.status(meter)["connected"], seconds=seconds, what="the connection")

    def until_at_rest(self) -> None:
        """Wait until no poll is under way and all that was read is on the disk."""

        def rests() -> bool:
            status = self.status()
            return status["age_s"] > 0.3 and not status["waiting_readings"]

        until(rests, what="the rest")

    def until_points(self, count: int, meter: str | None = None, *, seconds: float = 10.0) -> None:
        until(
            lambda: self.status(meter)["data_count"] >= count,
            seconds=seconds,
            what=f"{count} points",
        )


@contextmanager
def emulated(folder: Path, count: int = 1) -> Iterator[EmulatorProcess]:
    process = EmulatorProcess(FACTORY, [f"p{n}" for n in range(1, count + 1)], folder / "ports")
    try:
        yield process
    finally:
        process.close()


@contextmanager
def serve(
    emulators: EmulatorProcess,
    data_dir: Path,
    environment: pytest.MonkeyPatch,
    *,
    database_url: str | None = None,
    key: str | None = None,
    interval: float = FAST,
    clock: Clock | None = None,
    **settings: Any,
) -> Iterator[Bench]:
    """A server on emulators that may outlive it."""
    paths = json.dumps([str(path) for path in emulators.paths.values()])
    environment.setenv("BENCHWIRE_POWERMETER_PORTS", paths)
    environment.setenv("BENCHWIRE_POWERMETER_POLLING_INTERVAL", str(interval))
    for name, value in settings.items():
        environment.setenv(f"BENCHWIRE_POWERMETER_{name.upper()}", str(value))
    loaded = load_server_settings(
        {"data_dir": data_dir, "ui": False, "api_key": key, "database_url": database_url}
    )
    app = create_app(loaded, clock)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield Bench(client, emulators, data_dir)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A server of this test's own with two meters, polled 20 times a second."""
    with (
        emulated(tmp_path, 2) as emulators,
        serve(emulators, tmp_path / "data", monkeypatch) as opened,
    ):
        opened.until_points(3)
        yield opened
