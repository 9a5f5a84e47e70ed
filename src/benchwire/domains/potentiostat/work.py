"""Plots, drawn in a worker process from the CSV file once that is complete.

A file of any length is drawn: it is read in blocks, and where there are more points than a picture
can show, the smallest and largest current and potential of each stretch are kept.
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchwire.foundation.errors import Failed
from benchwire.foundation.files import whole_file
from benchwire.foundation.workers import Reporter

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIZE_INCHES = (8.0, 6.0)
_DPI = 150
_BLOCK_ROWS = 50_000
# Four times as many points as the picture has columns.
_MAX_POINTS = 4800
_EXTREMES_OF = ("Current (A)", "Potential (V)")
_LEGEND_CYCLES = 10
_PREFIXES = ((1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))
# Okabe and Ito's colours, told apart by the colour-blind too.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")

Columns = dict[str, NDArray[np.float64]]


def draw_plot(reporter: Reporter, csv_path: str, png_path: str, mode: str, title: str) -> None:
    """Draw a mode's CSV file as a PNG beside it; the PNG is whole or absent.

    CV is drawn as current over potential, one colour per cycle; EIS as Nyquist and Bode plots;
    everything else as potential and current over time.

    Raises
    ------
    Failed
        The file has no rows to draw.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = read_thinned(Path(csv_path), reporter)
    figure = Figure(figsize=_SIZE_INCHES, dpi=_DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=12)
    if mode == "CV":
        _draw_cycles(figure, columns)
    elif mode == "EIS":
        _draw_spectrum(figure, columns)
    else:
        _draw_over_time(figure, columns, ("Potential (V)", "Current (A)"))
    reporter.raise_if_stopped()
    with whole_file(Path(png_path)) as file:
        canvas.print_figure(file, format="png")


def read_thinned(path: Path, reporter: Reporter) -> Columns:
    """Return a CSV file's columns, (n,) float64, with no more points than a picture shows."""
    names, blocks = _read_blocks(path)
    shown = [names.index(name) for name in _EXTREMES_OF if name in names]
    kept: list[NDArray[np.float64]] = []
    stride = 1
    for block in blocks:
        reporter.raise_if_stopped()
        kept.append(_extremes(block, shown, stride))
        if shown and sum(len(part) for part in kept) > 4 * _MAX_POINTS:
            stride *= 2
            kept = [_extremes(np.concatenate(kept), shown, 2)]
    table = np.concatenate(kept) if kept else np.empty((0, len(names)))
    while shown and len(table) > _MAX_POINTS:
        table = _extremes(table, shown, 2)
    if not len(table):
        raise Failed("There are no samples to draw")
    return {name: table[:, number] for number, name in enumerate(names)}


def _read_blocks(path: Path) -> tuple[list[str], Iterator[NDArray[np.float64]]]:
    with path.open(newline="", encoding="ascii") as file:
        names = next(csv.reader([file.readline()]), [])

    def blocks() -> Iterator[NDArray[np.float64]]:
        with path.open(newline="", encoding="ascii") as file:
            file.readline()
            while True:
                lines = [line for _, line in zip(range(_BLOCK_ROWS), file, strict=False)]
                if not lines:
                    return
                if not lines[-1].endswith("\n"):
                    lines.pop()  # half a row, left by what ended the run
                rows = np.loadtxt(lines, delimiter=",", ndmin=2) if lines else None
                if rows is not None:
                    yield rows

    return names, blocks()


def _extremes(table: NDArray[np.float64], shown: list[int], stride: int) -> NDArray[np.float64]:
    """Keep at most every ``stride``-th row: those with the extremes of some columns.

    The smallest and the largest of each shown column are kept of stretches that are as long as that
    needs.
    """
    if stride == 1 or not shown:
        return table
    width = 2 * len(shown) * stride
    whole = len(table) // width * width
    starts = np.arange(0, whole, width)
    places: list[NDArray[np.intp]] = []
    for column in shown:
        values = table[:whole, column].reshape(-1, width)
        places += [starts + values.argmin(axis=1), starts + values.argmax(axis=1)]
    picked = np.unique(np.concatenate(places))
    return np.concatenate([table[picked], table[whole:]])


def _scaled(values: NDArray[np.float64], unit: str) -> tuple[float, str]:
    """Return the factor and the prefixed unit in which values read well."""
    largest = float(np.max(np.abs(values))) if len(values) else 0.0
    for factor, prefix in _PREFIXES:
        if largest >= factor:
            return factor, f"{prefix}{unit}"
    return (1.0, unit) if largest == 0 else (1e-9, f"n{unit}")


def _style(axes: "Axes", x_label: str, y_label: str) -> None:
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(visible=True, color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_cycles(figure: "Figure", columns: Columns) -> None:
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    axes = figure.add_subplot()
    potential, current = columns["Potential (V)"], columns["Current (A)"]
    factor, unit = _scaled(current, "A")
    cycle_of = columns["Cycle"]
    cycles = np.unique(cycle_of)
    few = len(cycles) <= _LEGEND_CYCLES
    colours = colormaps["viridis"](np.linspace(0, 0.9, len(cycles)))
    for number, cycle in enumerate(cycles):
        chosen = cycle_of == cycle
        axes.plot(
            potential[chosen],
            current[chosen] / factor,
            color=_COLOURS[number] if len(cycles) <= len(_COLOURS) else colours[number],
            linewidth=1.2,
            label=f"cycle {cycle:.0f}",
        )
    _style(axes, "Potential / V", f"Current / {unit}")
    if few and len(cycles) > 1:
        axes.legend(frameon=False)
    elif not few:
        scale = ScalarMappable(Normalize(cycles[0], cycles[-1]), "viridis")
        figure.colorbar(scale, ax=axes, label="Cycle")


def _draw_spectrum(figure: "Figure", columns: Columns) -> None:
    grid = figure.add_gridspec(2, 2)
    nyquist = figure.add_subplot(grid[:, 0])
    magnitude = figure.add_subplot(grid[0, 1])
    phase = figure.add_subplot(grid[1, 1], sharex=magnitude)
    blue, red = _COLOURS[0], _COLOURS[1]
    line: dict[str, Any] = {"marker": "o", "markersize": 3.5, "linewidth": 1.0}
    nyquist.plot(columns["Z real (Ohm)"], -columns["Z imag (Ohm)"], color=blue, **line)
    nyquist.set_aspect("equal", adjustable="datalim")
    nyquist.set_title("Nyquist", fontsize=10)
    _style(nyquist, "Z' / Ω", "-Z'' / Ω")
    frequency = columns["Frequency (Hz)"]
    magnitude.loglog(frequency, columns["|Z| (Ohm)"], color=blue, **line)
    magnitude.set_title("Bode", fontsize=10)
    _style(magnitude, "", "|Z| / Ω")
    phase.semilogx(frequency, columns["Phase (deg)"], color=red, **line)
    _style(phase, "Frequency / Hz", "Phase / °")


def _draw_over_time(figure: "Figure", columns: Columns, names: tuple[str, ...]) -> None:
    axes = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    for number, (panel, name) in enumerate(zip(axes, names, strict=True)):
        title, _, unit = name.rstrip(")").partition(" (")
        factor, shown = _scaled(columns[name], unit) if unit == "A" else (1.0, unit)
        panel.plot(
            columns["Time (s)"], columns[name] / factor, color=_COLOURS[number], linewidth=1.0
        )
        last = number == len(names) - 1
        _style(panel, "Time / s" if last else "", f"{title} / {shown}")
