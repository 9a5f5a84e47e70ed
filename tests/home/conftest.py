"""A server with something in every domain, in this process, on emulated instruments."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from benchwire.app import Application, create_app
from benchwire.domains.microscopy.simulation import write_demo_movie
from benchwire.foundation.instruments.emulation import EmulatorProcess
from benchwire.foundation.settings import load_server_settings
from tests.support.battery import DEVICE, write_group
from tests.support.waiting import until

CA = {"potential": 0.5, "duration": 0.3}
ENDED = {"done", "failed", "cancelled"}


class House:
    """The whole server as a client and as somebody with hands sees it."""

    def __init__(self, app: Application, client: TestClient, area: Path) -> None:
        self.app = app
        self.client = client
        self.area = area
        self.emulators: dict[str, EmulatorProcess] = {}

    def ask(self, method: str, path: str, *, status: int = 200, **more: Any) -> Any:
        answer = self.client.request(method, path, **more)
        assert answer.status_code == status, f"{path}: {answer.status_code} {answer.text[:500]}"
        return answer.json()

    def get(self, path: str, *, status: int = 200, **query: Any) -> Any:
        return self.ask("GET", path, status=status, params=query)

    def post(self, path: str, body: Any = None, *, status: int = 200) -> Any:
        return self.ask("POST", path, status=status, json=body)

    def run_body(self, **fields: Any) -> dict[str, Any]:
        return {
            "devices": "all",
            "modes": ["CA"],
            "params_by_mode": {"CA": CA},
            "experiment_name": "Ferrocene",
            "client_datetime": "2025-11-03T10:15:00",
            "make_plot": False,
            **fields,
        }

    def measure(self, **fields: Any) -> str:
        """Start a run and return its id when it has ended."""
        run_id = self.post("/jobs", self.run_body(**fields))["run_id"]
        self.ended(run_id)
        return str(run_id)

    def ended(self, job_id: str) -> dict[str, Any]:
        until(
            lambda: self.get(f"/work/{job_id}")["state"] in ENDED,
            seconds=60,
            what=f"the end of {job_id}",
        )
        return self.get(f"/work/{job_id}")

    def plate(self, barcode: str, rows: int = 2, columns: int = 3) -> dict[str, Any]:
        size = {"rows": rows, "columns": columns, "subwells_per_well": 2}
        body = {"plate": {"barcode": barcode, "name": f"Screen {barcode}"}, **size}
        return self.post("/api/v1/plates", body, status=201)["data"]

    def workflow_body(self, output: str, **more: Any) -> dict[str, Any]:
        return {
            "microscopy_path": str(self.area / "cells.ome.tif"),
            "output_dir": str(self.area / output),
            "channels": {
                "phase": {"channel": 0, "features": ["area"]},
                "fluorescence": [{"channel": 1, "features": ["intensity_total"]}],
            },
            "parameters": {"border_margin": 5, "min_frames": 2, "ome_zarr": "none"},
            **more,
        }

    def process(self, output: str, **more: Any) -> str:
        body = self.workflow_body(output, **more)
        job_id = self.post("/api/v1/processing/workflow/start", body)["job_id"]
        assert self.ended(job_id)["state"] == "done"
        return str(job_id)

    def traces_csv(self, name: str = "traces.csv") -> Path:
        path = self.area / name
        rows = "".join(f"{60 * minute},0,1,{minute / (minute + 5):.6f}\n" for minute in range(30))
        path.write_text(f"# Time units: s\ntime,fov,cell,value\n{rows}", "utf-8")
        return path

    def fit(self, path: Path, **more: Any) -> str:
        body = {"csv_path": str(path), "model_type": "maturation", **more}
        job_id = self.post("/api/v1/analysis/fitting/start", body)["job_id"]
        assert self.ended(job_id)["state"] == "done"
        return str(job_id)

    def links(self, kind: str, item_id: str) -> list[tuple[str, str]]:
        found = self.get("/samples/links", kind=kind, item_id=item_id)["links"]
        return [(link["part"], link["sample"]) for link in found]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("house")
    area = folder / "area"
    area.mkdir()
    write_demo_movie(area / "cells.ome.tif", seed=5, n_fovs=2, n_frames=6, size=320, n_cells=4)
    write_group(folder / "recordings", DEVICE, "bms", 50)
    with ExitStack() as stack, pytest.MonkeyPatch.context() as environment:
        emulators = {}
        for domain in ("potentiostat", "powermeter"):
            factory = f"benchwire.domains.{domain}.emulator:emulated"
            emulators[domain] = EmulatorProcess(factory, ["p1", "p2"], folder / domain)
            stack.callback(emulators[domain].close)
            paths = json.dumps([str(path) for path in emulators[domain].paths.values()])
            environment.setenv(f"BENCHWIRE_{domain.upper()}_PORTS", paths)
        environment.setenv("BENCHWIRE_POTENTIOSTAT_RESCAN_SECONDS", "0.3")
        environment.setenv("BENCHWIRE_POWERMETER_POLLING_INTERVAL", "0.1")
        settings = load_server_settings(
            {
                "data_dir": folder / "data",
                "ui": False,
                "allowed_paths": (area,),
                "chosen": {"battery": {"data": folder / "recordings"}},
            }
        )
        app = create_app(settings)
        client = stack.enter_context(TestClient(app, raise_server_exceptions=False))
        house = House(app, client, area)
        house.emulators = emulators
        until(lambda: len(house.get("/devices")) == 2, what="two slots")
        yield house
