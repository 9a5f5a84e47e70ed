"""The notebooks run from the first cell to the last, and show what they say they show."""

import ast
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.client.conftest import environment, furnished, options
from tests.support.ports import free_port
from tests.support.server import Server
from tests.support.waiting import until

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import nbformat
    from nbclient import NotebookClient

# The libraries that run notebooks warn of one another's changes.
pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.slow]

NOTEBOOKS = Path(__file__).parents[2] / "docs/notebooks"
NAMES = ("cv", "power-meter", "microscopy-and-traces", "plates", "battery")
CELL_SECONDS = 120


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server without a key, as the demonstration is."""
    from benchwire.client import Bench

    folder = tmp_path_factory.mktemp("notebooks")
    movie, _ = furnished(folder)
    with (
        Server(
            folder / "data", free_port(), *options(folder), environment=environment(None)
        ) as running,
        Bench(running.url, api_key="") as bench,
    ):
        until(lambda: len(bench.potentiostats.slots()) == 2, seconds=20, what="the slots")
        bench.microscopy.info(movie)
        yield running


def read(name: str) -> Any:
    return nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)


def result_of(name: str, server: Server, folder: Path, environment: pytest.MonkeyPatch) -> Any:
    """Run a notebook and return the value of its last cell."""
    environment.setenv("BENCHWIRE_URL", server.url)
    environment.delenv("BENCHWIRE_API_KEY", raising=False)
    # Sockets and settings of the kernel stay within the test's folder.
    environment.setenv("IPYTHONDIR", str(folder / "ipython"))
    environment.setenv("JUPYTER_RUNTIME_DIR", str(folder / "jupyter"))
    environment.setenv("MPLCONFIGDIR", str(folder.parent / "matplotlib"))
    notebook = read(name)
    NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    ).execute()
    last = [cell for cell in notebook.cells if cell.cell_type == "code"][-1]
    return ast.literal_eval(last.outputs[-1].data["text/plain"])


def test_cv(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = result_of("cv", server, tmp_path, monkeypatch)
    assert found["oxidation_A"] > 0 > found["reduction_A"]
    assert 0.2 < found["half_wave_V"] < 0.4
    assert 0.2 < found["exponent"] < 0.8
    assert found["rows"] > 1000
    assert found["crate_bytes"] > 1000


def test_power_meter(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = result_of("power-meter", server, tmp_path, monkeypatch)
    assert found["wh"] > 0
    assert found["readings"] >= 5
    assert found["mean_W"] > 0


def test_microscopy_and_traces(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = result_of("microscopy-and-traces", server, tmp_path, monkeypatch)
    assert found["cells"] == 8
    assert found["good_fits"] >= 6
    assert found["median_onset_h"] > 0


def test_plates(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        assert result_of("plates", server, tmp_path, monkeypatch) == {
            "wells": 24,
            "best": 9,
            "means": "Crystals (3D) above 0.2 mm",
            "place": "Shelf of the tutorial",
            "filled": 24,
        }


def test_battery(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = result_of("battery", server, tmp_path, monkeypatch)
    assert found["rows"] > found["day_rows"] > 1000
    assert found["anomalies"] > 0
    assert found["forecast_points"] == 48
    assert found["within_band"]
    assert found["full_cycles"] > 0
    assert (found["own_rows"], found["sent_again"]) == (60, 60)


def test_every_notebook_is_run_here() -> None:
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_notebook_is_stripped(name: str) -> None:
    notebook = read(name)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert cell.metadata == {}
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
    assert notebook.cells[0].source.startswith("# ")
    assert not re.search(r"[\"'](/|[A-Z]:)\w+/", str(notebook))
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
