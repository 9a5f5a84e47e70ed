"""Plots: what they show of a table, and that nothing of a long one is lost to the eye."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from benchwire.domains.potentiostat.modes import MODES
from benchwire.domains.potentiostat.work import draw_plot, read_thinned


class Listener:
    """Hears what work tells, and stops none."""

    def progress(self, fraction: float, message: str = "") -> None:
        """Take no notice."""

    def raise_if_stopped(self) -> None:
        """Let it go on."""


def write_table(path: Path, columns: dict[str, np.ndarray]) -> Path:
    values = np.column_stack(list(columns.values()))
    header = ",".join(columns)
    np.savetxt(path, values, "%.9g", ",", "\r\n", header, comments="", encoding="ascii")
    return path


def over_time(count: int) -> dict[str, np.ndarray]:
    """Return a table that is longer than a picture shows, with noise alone."""
    noise = np.random.default_rng(1)
    return {
        "Time (s)": np.arange(count, dtype=float),
        "Potential (V)": noise.normal(0, 1e-3, count),
        "Current (A)": noise.normal(0, 1e-6, count),
        "Exp": np.ones(count),
    }


@pytest.mark.parametrize("count", [10, 5000, 60_000, 130_000])
@pytest.mark.parametrize(
    ("column", "peak"),
    [("Current (A)", 1e-3), ("Current (A)", -1e-3), ("Potential (V)", 1), ("Potential (V)", -1)],
)
def test_every_peak_is_drawn(tmp_path: Path, count: int, column: str, peak: float) -> None:
    table = over_time(count)
    places = np.linspace(1, count - 2, 5).astype(int)
    table[column][places] = peak
    thinned = read_thinned(write_table(tmp_path / "a.csv", table), Listener())
    assert thinned["Time (s)"][thinned[column] == peak].tolist() == places.tolist()
    assert np.all(np.diff(thinned["Time (s)"]) > 0)
    assert min(count, 2000) <= len(thinned["Time (s)"]) < 5000


def test_a_spectrum_is_drawn_whole(tmp_path: Path) -> None:
    table = {name: np.arange(1.0, 6001.0) for name in MODES["EIS"].columns}
    thinned = read_thinned(write_table(tmp_path / "a.csv", table), Listener())
    assert len(thinned["Frequency (Hz)"]) == 6000


@pytest.mark.parametrize("mode", [name for name in MODES if name not in {"CV", "EIS"}])
def test_potential_and_current_are_drawn_over_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(
        FigureCanvasAgg, "print_figure", lambda canvas, *_, **__: drawn.append(canvas.figure)
    )
    path = write_table(tmp_path / "a.csv", over_time(100))
    draw_plot(Listener(), str(path), str(tmp_path / "a.png"), mode, mode)
    panels = [(axes.get_xlabel(), axes.get_ylabel()) for axes in drawn[0].axes]
    assert [label.partition(" /")[0] for _, label in panels] == ["Potential", "Current"]
    assert panels[-1][0] == "Time / s"
