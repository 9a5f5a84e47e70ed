"""Small data sets of batteries, and the telemetry API as a client sees it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
from starlette.testclient import TestClient

from benchwire.app import Application, create_app
from benchwire.domains.battery.signals import GROUPS
from benchwire.foundation.settings import load_server_settings

DEVICE = "ZHPESS232A230002"
Lines = Sequence[tuple[str, float | str | None]]


def write_signal(root: Path, device: str, signal: str, lines: Lines) -> Path:
    """Write a signal's file; a value of None is left empty."""
    path = root / "BESS" / device / f"{signal}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    body = "".join(f"{at},{'' if value is None else value}\n" for at, value in lines)
    path.write_text(f"ts,{signal}\n{body}", "utf-8")
    return path


def minutes(count: int, *, day: str = "2024-03-09", step: int = 1) -> list[str]:
    """Return times from midnight on, so many minutes apart, within a day."""
    return [f"{day} {number * step // 60:02}:{number * step % 60:02}:00" for number in range(count)]


def write_group(root: Path, device: str, group: str, count: int = 300) -> None:
    """Write every signal of a group, each value telling its signal and row."""
    for place, signal in enumerate(GROUPS[group].signals):
        lines = [(at, place + number / 1000) for number, at in enumerate(minutes(count))]
        write_signal(root, device, signal.name, lines)


class Bench:
    """The API as a client sees it."""

    def __init__(self, app: Application, client: TestClient) -> None:
        self.app = app
        self.client = client

    def get(self, path: str, *, status: int = 200, **query: Any) -> Any:
        answer = self.client.get(path, params=query)
        assert answer.status_code == status, f"{answer.status_code}: {answer.text[:500]}"
        assert answer.headers["content-type"] == "application/json"
        body = orjson.loads(answer.content)  # strict: refuses NaN and Infinity
        if status >= 400:
            assert set(body) == {"detail"}
            assert body["detail"]
        return body

    def post(self, path: str, body: object, *, status: int = 201) -> Any:
        answer = self.client.post(path, json=body)
        assert answer.status_code == status, f"{answer.status_code}: {answer.text[:500]}"
        return answer.json()

    def row(self, path: str, number: int) -> Mapping[str, Any]:
        rows = self.get(path, batch_size=1, skip=number)["data"]
        assert len(rows) == 1
        return rows[0]


@contextmanager
def running(data_dir: Path, recordings: Path | None, **more: Any) -> Iterator[Bench]:
    """Give a server in this process."""
    chosen = {"battery": {"data": recordings, "rescan_seconds": 0.1, **more}}
    settings = load_server_settings({"data_dir": data_dir, "ui": False, "chosen": chosen})
    app = create_app(settings)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield Bench(app, client)
