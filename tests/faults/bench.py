"""A server on emulated instruments that outlive it, with work at hand for every domain."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchwire.domains.microscopy.simulation import write_demo_movie
from benchwire.foundation.instruments.emulation import EmulatorProcess
from tests.domains.potentiostat.conftest import FACTORY as POTENTIOSTATS
from tests.domains.powermeter.conftest import FACTORY as METERS
from tests.domains.traces.test_api import write_csv
from tests.support.server import Server
from tests.support.waiting import until

SECONDS = 60.0
"""How long an answer may take where the machine has other things to do."""
SAMPLE_SECONDS = 0.00036
STARVED = ("buffer ran over", "computer was too busy", "do not add up")
ATTEMPTS = 4
"""How often a run is begun anew that a busy machine has starved."""


@dataclass
class Bench:
    """A server, what is plugged into it, and the files its requests may name."""

    server: Server
    potentiostats: EmulatorProcess
    meters: EmulatorProcess
    area: Path
    begun: dict[str, tuple[int, int]] = field(default_factory=dict)
    """How often each instrument had begun to measure, of how many runs, when it was looked at."""

    @property
    def slots(self) -> dict[str, str]:
        """The emulator on each slot."""
        return {f"slot{number:02}": name for number, name in enumerate(self.potentiostats.paths, 1)}

    def get(self, path: str, /, **query: Any) -> Any:
        """Return what the server says at a path."""
        answer = httpx.get(f"{self.server.url}{path}", params=query, timeout=SECONDS)
        return answer.raise_for_status().json()

    def state(self, slot: str) -> dict[str, Any]:
        """Return the true state of the instrument on a slot."""
        return self.potentiostats.control(self.slots[slot], "state")

    def is_any_cell_closed(self) -> bool:
        """Whether any instrument drives its cell."""
        return any(self.state(slot)["cell_closed"] for slot in self.slots)

    def start_run(self, slot: str, seconds: float, *modes: str) -> str:
        """Begin a run that holds a potential for so long in each mode, and return its id."""
        modes = modes or ("CA",)
        held = {
            "CA": {"potential": 0.5, "duration": seconds},
            "PSTEP": {"potentials": [0.1, 0.2], "step_duration": seconds / 2},
            "OCP": {"duration": seconds},
        }
        order = {
            "devices": [slot], "modes": list(modes), "experiment_name": "Long",
            "params_by_mode": {mode: held[mode] for mode in modes},
            "client_datetime": "2026-01-01T00:00:00", "make_plot": False,
        }  # fmt: skip
        answer = httpx.post(f"{self.server.url}/jobs", json=order, timeout=SECONDS)
        run = str(answer.raise_for_status().json()["run_id"])
        until(lambda: self.state(slot)["running"], seconds=20, what="the run's first sample")
        return run

    def was_starved(self, run: str) -> bool:
        """Wait for a run's end and return whether it failed for want of a processor alone.

        That says something of the machine that the tests share with others, and is told as such.
        """
        until(lambda: self.get(f"/jobs/{run}")["status"] != "running", seconds=60, what="its end")
        (slot,) = self.get(f"/jobs/{run}")["slots"]
        return any(reason in (slot["message"] or "") for reason in STARVED)

    def table(self, run: str) -> list[list[float]]:
        """Return the rows of a run's last table."""
        (slot,) = self.get(f"/jobs/{run}")["slots"]
        answer = httpx.get(
            f"{self.server.url}/runs/{run}/file",
            params={"path": slot["files"][-1]},
            timeout=SECONDS,
        )
        lines = answer.raise_for_status().text.splitlines()[1:]
        return [[float(value) for value in line.split(",")] for line in lines]

    def table_from_the_start(self, run: str) -> list[list[float]]:
        """Return the rows of a run's last table, each at its time from the first sample on."""
        rows = self.table(run)
        assert [row[0] for row in rows] == pytest.approx(
            [number * SAMPLE_SECONDS for number in range(len(rows))], abs=1e-6
        )
        return rows

    def until_ready(self) -> None:
        """Wait until all instruments are connected."""
        until(self._is_ready, seconds=30, what="connected instruments")

    def _is_ready(self) -> bool:
        slots = self.get("/devices")
        meters = self.get("/api/meters")
        return len(slots) == len(self.slots) and all(meter["connected"] for meter in meters)


@contextmanager
def open_bench(
    folder: Path,
    port: int,
    *,
    slots: int = 3,
    meters: int = 2,
    server: type[Server] = Server,
    database_url: str | None = None,
    **environment: str,
) -> Iterator[Bench]:
    """Give a bench of its own, with a movie and traces to work on; None stands for SQLite."""
    area = folder / "area"
    area.mkdir()
    write_demo_movie(area / "movie.ome.tif", n_fovs=2, n_frames=6, size=400, n_cells=4)
    write_csv(area / "traces.csv", cells=1500)
    with ExitStack() as stack:
        processes = []
        for factory, count, name in ((POTENTIOSTATS, slots, "slots"), (METERS, meters, "meters")):
            names = [f"p{number}" for number in range(1, count + 1)]
            processes.append(EmulatorProcess(factory, names, folder / name))
            stack.callback(processes[-1].close)
        ports = [json.dumps([str(path) for path in each.paths.values()]) for each in processes]
        settings = {
            "BENCHWIRE_POTENTIOSTAT_PORTS": ports[0],
            "BENCHWIRE_POWERMETER_PORTS": ports[1],
            "BENCHWIRE_POWERMETER_POLLING_INTERVAL": "0.1",
            "BENCHWIRE_POWERMETER_DATA_RETENTION_MINUTES": "10000",
            "BENCHWIRE_COMPUTE_PROCESSES": "1",
            "PYAMA_ALLOWED_PATHS": str(area),
        }
        running = server(
            folder / "data",
            port,
            environment={**settings, **environment},
            database_url=database_url,
        )
        stack.enter_context(running)
        bench = Bench(running, *processes, area)
        bench.until_ready()
        yield bench
