"""A server whose requests may name one folder, and the analysis APIs as a client sees them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from benchwire.app import Application, create_app
from benchwire.foundation.settings import load_server_settings

JOB_SECONDS = 120.0


class Desk:
    """The API as a client sees it."""

    def __init__(self, app: Application, client: TestClient, area: Path) -> None:
        self.app = app
        self.client = client
        self.area = area

    def ask(self, method: str, path: str, *, status: int = 200, **more: Any) -> Any:
        answer = self.client.request(method, f"/api/v1{path}", **more)
        assert answer.status_code == status, f"{answer.status_code}: {answer.text[:500]}"
        assert answer.headers["content-type"] == "application/json"
        body = answer.json()
        assert body["success"] is (status == 200)
        if status != 200:
            assert set(body) == {"success", "error", "error_code"}
            assert body["error"]
        return body

    def get(self, path: str, *, status: int = 200, **query: Any) -> Any:
        return self.ask("GET", path, status=status, params=query)

    def post(self, path: str, body: Any = None, *, status: int = 200) -> Any:
        return self.ask("POST", path, status=status, json=body)

    def refused(self, path: str, body: Any, status: int, code: str) -> str:
        answer = self.post(path, body, status=status)
        assert answer["error_code"] == code, answer
        return answer["error"]

    def workflow(self, movie: Path, output: Path, **parameters: Any) -> dict[str, Any]:
        return {
            "microscopy_path": str(movie),
            "output_dir": str(output),
            "channels": {
                "phase": {"channel": 0, "features": ["area"]},
                "fluorescence": [{"channel": 1, "features": ["intensity_total"]}],
            },
            "parameters": {"border_margin": 5, "min_frames": 2, **parameters},
        }

    def ended(self, job_id: str, family: str = "processing/workflow") -> dict[str, Any]:
        """Wait for a job's end while what a poll shows only ever goes forward."""
        deadline = time.monotonic() + JOB_SECONDS
        order = ["pending", "running", "completed", "failed", "cancelled"]
        last: tuple[int, float] = (0, 0.0)
        while True:
            status = self.get(f"/{family}/status/{job_id}")
            now = (order.index(status["status"]), status["progress"]["percentage"])
            assert now[0] >= last[0]
            assert 100.0 >= now[1] >= last[1]
            last = now
            if status["status"] in order[2:]:
                return status
            assert time.monotonic() < deadline, status
            time.sleep(0.05)

    def completed(self, body: dict[str, Any]) -> dict[str, Any]:
        job_id = self.post("/processing/workflow/start", body)["job_id"]
        status = self.ended(job_id)
        assert status["status"] == "completed", status
        return self.get(f"/processing/workflow/results/{job_id}")


@contextmanager
def running(data_dir: Path, area: Path, **more: Any) -> Iterator[Desk]:
    settings = load_server_settings(
        {"data_dir": data_dir, "ui": False, "allowed_paths": (area,), **more}
    )
    app = create_app(settings)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield Desk(app, client, area)
