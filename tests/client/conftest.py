"""A locked server with something in every domain, and the client that speaks with it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchwire.client import Bench
from benchwire.domains.battery.simulation import make_fleet
from benchwire.domains.microscopy.simulation import write_demo_movie
from tests.support.ports import free_port
from tests.support.server import Server
from tests.support.waiting import until

KEY = "ein Schlüssel"


@dataclass(frozen=True)
class Lab:
    """A server on emulated instruments, with a movie and the recording of a battery."""

    server: Server
    bench: Bench
    movie: Path
    folder: Path
    device: str
    key: str


def options(folder: Path) -> tuple[str, ...]:
    return (
        "--emulate", "potentiostat=2", "--emulate", "powermeter=1",
        "--battery-data", str(folder / "recordings"),
    )  # fmt: skip


def environment(key: str | None = KEY) -> dict[str, str]:
    more = {} if key is None else {"BENCHWIRE_API_KEY": key}
    return {
        "BENCHWIRE_COMPUTE_PROCESSES": "1",
        "BENCHWIRE_POWERMETER_POLLING_INTERVAL": "0.1",
        **more,
    }


def furnished(folder: Path) -> tuple[Path, str]:
    """Write a movie and the recording of a battery; return the movie and the device."""
    movie = folder / "cells.ome.tif"
    write_demo_movie(movie, n_fovs=2, n_frames=14, size=384, n_cells=4)
    truth = make_fleet(
        folder / "recordings", devices=1, days=3, seed=31, faults_per_device_day=1.0, cells=1
    )
    return movie, truth.device_ids[0]


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    movie, device = furnished(folder)
    server = Server(folder / "data", free_port(), *options(folder), environment=environment())
    with server, Bench(server.url, api_key=KEY, patience=30) as bench:
        until(lambda: len(bench.potentiostats.slots()) == 2, seconds=20, what="the slots")
        yield Lab(server, bench, movie, folder, device, KEY)


@pytest.fixture
def bench(lab: Lab) -> Bench:
    return lab.bench
