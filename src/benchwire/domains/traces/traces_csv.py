"""Traces as CSV, and what was fitted to them."""

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchwire.domains.traces.errors import CsvInvalid
from benchwire.domains.traces.fitting import Fits
from benchwire.domains.traces.models import Array, Model
from benchwire.foundation.files import write_whole

COLUMNS = ("time", "fov", "cell", "value")
_HOURS = {
    **dict.fromkeys(("s", "sec", "seconds"), 1 / 3600),
    **dict.fromkeys(("m", "min", "minutes"), 1 / 60),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 1.0),
}
_UNITS = re.compile(r"#\s*time\s+units?\s*:\s*(.*)", re.IGNORECASE)
_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_LONGEST_LINE = 1 << 20
_LATEST_HEADING = 10_000
# A table may have so many fields for each row of the file before another layout is taken.
_SPARSEST, _ALWAYS_FITS = 4, 1_000_000
_MOST_FIELDS = 200_000_000
_FITTED = ("fov", "cell", "model_type", "success", "r_squared")

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TraceSet:
    """N traces, sorted by FOV and cell.

    Parameters
    ----------
    fov, cell : (N,) int64
    time : (N, T) float64, h
        Ascending. All rows are one and the same memory where the cells share their times; else each
        has its own, NaN after its end.
    values : (N, T) float64
        NaN where a point is missing.
    times : (M,) float64, h
        All distinct times.
    """

    fov: Ints
    cell: Ints
    time: Array
    values: Array
    times: Array

    @property
    def n_cells(self) -> int:
        """How many traces there are."""
        return len(self.fov)

    @property
    def n_fovs(self) -> int:
        """How many FOVs they are from."""
        return len(np.unique(self.fov))

    @property
    def n_timepoints(self) -> int:
        """How many distinct times there are."""
        return len(self.times)

    @property
    def time_range(self) -> tuple[float, float] | None:
        """First and last time, h."""
        return (float(self.times[0]), float(self.times[-1])) if len(self.times) else None

    @property
    def value_range(self) -> tuple[float, float] | None:
        """Lowest and highest value."""
        known = self.values[np.isfinite(self.values)]
        return (float(known.min()), float(known.max())) if len(known) else None

    @property
    def cell_ids(self) -> list[str]:
        """``<fov>_<cell>`` of each trace."""
        return [
            f"{fov}_{cell}" for fov, cell in zip(self.fov.tolist(), self.cell.tolist(), strict=True)
        ]


def read_traces(path: Path) -> TraceSet:
    """Return the traces of a CSV with the columns time, fov, cell and value; times become hours.

    A time or value that is no finite number is missing. Of several values of one cell at one time
    the last counts.

    Raises
    ------
    CsvInvalid
        A missing column, no rows, an unknown unit, or a file that is no such table.
    """
    names, skipped, hours = _heading(path)
    columns = _columns(path, names, skipped)
    if not len(columns["fov"]):
        raise CsvInvalid("The CSV has no rows")
    return _arranged(
        columns.pop("fov").astype(np.int64), columns.pop("cell").astype(np.int64),
        time=columns.pop("time") * hours, value=columns.pop("value"),
    )  # fmt: skip


def _heading(path: Path) -> tuple[list[str], int, float]:
    """Return the columns' names, how many lines stand before the first row, and h per time unit."""
    hours, skipped = 1.0, 0
    with path.open("rb") as file:
        while line := file.readline(_LONGEST_LINE):
            skipped += 1
            if skipped > _LATEST_HEADING:
                raise CsvInvalid(f"The CSV has no heading in its first {_LATEST_HEADING} lines")
            try:
                text = line.decode("utf-8-sig").strip()
            except UnicodeDecodeError as error:
                raise CsvInvalid("The CSV is not UTF-8 text") from error
            units = _UNITS.match(text)
            if units:
                unit = units[1].strip().strip(",").strip()
                if unit.lower() not in _HOURS:
                    raise CsvInvalid(f"The time unit {unit[:40]!r} is not one of s, min, h")
                hours = _HOURS[unit.lower()]
            elif text and not text.startswith("#"):
                try:
                    names = [name.strip().lower() for name in next(csv.reader([text]))]
                except csv.Error as error:
                    raise CsvInvalid(f"The heading of the CSV cannot be read: {error}") from error
                missing = [name for name in COLUMNS if name not in names]
                if missing:
                    raise CsvInvalid(
                        f"The CSV lacks the column {', '.join(missing)};"
                        f" it needs {', '.join(COLUMNS)}"
                    )
                return names, skipped, hours
    raise CsvInvalid("The CSV is empty")


def _columns(path: Path, names: list[str], skipped: int) -> dict[str, Array]:
    """Return the four columns as float64, NaN where there is no number."""
    import pyarrow as pa
    import pyarrow.csv

    # A name may be there twice; the first counts.
    seen: set[str] = set()
    unique = []
    for number, name in enumerate(names):
        unique.append(f"{number} {name}" if name in seen else name)
        seen.add(name)
    wanted = {name: pa.float64() for name in COLUMNS}
    try:
        try:
            table = _table(path, unique, skipped, wanted)
        except pa.ArrowInvalid:
            # Something that is no number: once more, as text.
            table = _table(path, unique, skipped, dict.fromkeys(COLUMNS, pa.string()))
    except pa.ArrowInvalid as error:
        raise CsvInvalid("The CSV has rows that do not match its heading") from error
    columns = {}
    for name in COLUMNS:
        columns[name] = _numbers(table.column(name))
        table = table.drop_columns([name])
    for name in ("fov", "cell"):
        values = columns[name]
        if not (np.isfinite(values).all() and (values == np.rint(values)).all()
                and (np.abs(values) < 2**53).all()):  # fmt: skip
            raise CsvInvalid(f"The column {name} must be whole numbers in all rows")
    return columns


def _table(path: Path, names: list[str], skipped: int, types: dict[str, Any]) -> Any:
    from pyarrow import csv as arrow

    return arrow.read_csv(
        path,
        read_options=arrow.ReadOptions(column_names=names, skip_rows=skipped),
        parse_options=arrow.ParseOptions(ignore_empty_lines=True),
        convert_options=arrow.ConvertOptions(
            column_types=types, include_columns=list(COLUMNS), strings_can_be_null=True
        ),
    )


def _numbers(column: Any) -> Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    if column.type == pa.string():
        if pc.any(pc.match_substring(column, "\n")).as_py():
            raise CsvInvalid("A quotation mark in the CSV is opened and not closed on its line")
        text = pc.utf8_trim_whitespace(column)
        is_number = pc.match_substring_regex(text, _NUMBER)
        text = pc.if_else(pc.fill_null(is_number, False), text, pa.scalar(None, pa.string()))
        column = pc.cast(pc.utf8_ltrim(text, "+"), pa.float64())
    return np.asarray(column.to_numpy(), float)


def _arranged(fov: Ints, cell: Ints, *, time: Array, value: Array) -> TraceSet:
    """Return rows of a file as traces side by side."""
    fovs, fov_of = np.unique(fov, return_inverse=True)
    cells, cell_of = np.unique(cell, return_inverse=True)
    keys, trace_of = np.unique(fov_of * len(cells) + cell_of, return_inverse=True)
    rows = len(fov)
    del fov, cell, fov_of, cell_of
    has_time = np.isfinite(time)
    times, time_of = np.unique(time[has_time], return_inverse=True)
    trace_of, value = trace_of[has_time], value[has_time]
    time_axis, place_of = _layout(
        times, time_of, trace_of=trace_of, fov_of_trace=keys // len(cells), rows=rows
    )
    values = np.full(time_axis.shape, np.nan)
    is_known = np.isfinite(value)
    values[trace_of[is_known], place_of[is_known]] = value[is_known]
    return TraceSet(fovs[keys // len(cells)], cells[keys % len(cells)], time_axis, values, times)


def _layout(
    times: Array, time_of: Ints, *, trace_of: Ints, fov_of_trace: Ints, rows: int
) -> tuple[Array, Ints]:
    """Return the times of each trace, and in which column each row of the file stands.

    All share one axis where that is not mostly empty; else the cells of a FOV do, which are seen at
    the same moments; else each has its own.
    """
    count = len(fov_of_trace)
    most = max(_SPARSEST * rows, _ALWAYS_FITS)
    if count * len(times) <= most:
        return np.broadcast_to(times, (count, len(times))), time_of
    for group_of in (fov_of_trace, np.arange(count)):
        pairs, pair_of = np.unique(group_of[trace_of] * len(times) + time_of, return_inverse=True)
        group, place = pairs // len(times), np.arange(len(pairs))
        place = place - np.searchsorted(group, group)
        width = int(place.max()) + 1
        if count * width <= most:
            break
    if count * width > _MOST_FIELDS:
        raise CsvInvalid("The traces of this CSV are too different in length to be fitted together")
    axes = np.full((group_of.max() + 1, width), np.nan)
    axes[group, place] = times[pairs % len(times)]
    return axes[group_of], place[pair_of]


@dataclass(frozen=True, slots=True)
class FittedTraces:
    """What was fitted, as it stands in a file; parameters (N, P) in the order of their names."""

    fov: Ints
    cell: Ints
    model: str
    names: tuple[str, ...]
    fits: Fits


def write_fits(path: Path, model: Model, *, fov: Ints, cell: Ints, fits: Fits) -> None:
    """Write one row for each trace, sorted by FOV and cell; the file is whole or absent."""
    order = np.lexsort((cell, fov))
    lines = [",".join((*_FITTED, *(item.name for item in model.parameters)))]
    rows = zip(
        fov[order].tolist(), cell[order].tolist(), fits.success[order].tolist(),
        fits.r_squared[order].tolist(), fits.parameters[order].tolist(), strict=True,
    )  # fmt: skip
    lines.extend(
        f"{at},{number},{model.name},{success},{r_squared!r},{','.join(map(repr, parameters))}"
        for at, number, success, r_squared, parameters in rows
    )
    write_whole(path, ("\n".join(lines) + "\n").encode())


def read_fits(path: Path) -> FittedTraces:
    """Return what `write_fits` wrote; sums of squares are not in the file and infinite.

    Raises
    ------
    CsvInvalid
    """
    try:
        rows = list(csv.reader(io.StringIO(path.read_text("utf-8-sig"))))
        names = tuple(rows[0][len(_FITTED) :])
        if tuple(rows[0][: len(_FITTED)]) != _FITTED:
            raise ValueError(rows[0])
        body = [row for row in rows[1:] if row]
        numbers = np.array([row[4:] for row in body], float).reshape(len(body), 1 + len(names))
        return FittedTraces(
            np.array([row[0] for row in body], np.int64),
            np.array([row[1] for row in body], np.int64),
            body[0][2] if body else "", names,
            Fits(
                numbers[:, 1:], numbers[:, 0], np.full(len(body), np.inf),
                np.array([row[3] == "True" for row in body], bool),
            ),
        )  # fmt: skip
    except (ValueError, IndexError) as error:
        raise CsvInvalid("This is no CSV of fitted traces") from error
