"""The traces of an FOV as files: names, CSV and Parquet, and what a person made of them.

Each file is whole or absent. What a person marked is kept beside the traces, never in them.
"""

import contextlib
import csv
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from benchwire.domains.microscopy.errors import CellsReplaced, ParametersInvalid
from benchwire.domains.microscopy.plan import FovTable
from benchwire.foundation.errors import Invalid
from benchwire.foundation.files import only_writer, sync_folder, whole_file, write_whole

TRACES_SUFFIX = "_traces.csv"
INSPECTED_SUFFIX = "_traces_inspected.csv"

INTEGER_COLUMNS = ("fov", "cell", "frame")
BASE_UNITS = {
    "fov": "", "cell": "", "frame": "", "time": "min", "good": "",
    "position_x": "px", "position_y": "px",
    "bbox_x0": "px", "bbox_y0": "px", "bbox_x1": "px", "bbox_y1": "px",
}  # fmt: skip
FEATURE_UNITS = {
    "area": "px^2",
    "aspect_ratio": "1",
    "circularity": "1",
    "intensity_total": "counts",
    "intensity_mean": "counts",
    "intensity_variance": "counts^2",
}
_FEATURE_COLUMN = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]{0,99})_ch_([0-9]{1,9})", re.ASCII)
_TRACK_COLUMNS = ("cell", "frame", "bbox_x0", "bbox_y0", "bbox_x1", "bbox_y1")
REQUIRED_COLUMNS = ("fov", "cell", "frame", "time", "good")

_LARGEST_DECIMAL = 1e30


class TracesInvalid(Invalid):
    """A file of traces that cannot be read as one."""

    code = "microscopy.traces_invalid"


def fov_folder(output_dir: Path, fov: int) -> Path:
    """Return the folder of one FOV."""
    return output_dir / f"fov_{fov:03d}"


def traces_path(output_dir: Path, fov: int, *, base_name: str) -> Path:
    """Return the place of the traces of one FOV."""
    return fov_folder(output_dir, fov) / f"{base_name}_fov_{fov:03d}{TRACES_SUFFIX}"


def inspected_path(traces_csv: Path) -> Path:
    """Return the place of the same traces as a person marked them."""
    return traces_csv.with_name(traces_csv.name.removesuffix(TRACES_SUFFIX) + INSPECTED_SUFFIX)


def own_traces(path: Path) -> Path:
    """Return the traces that a file is, or that it is the inspected form of.

    Raises
    ------
    TracesInvalid
        Its name is not that of a file of traces.
    """
    if path.name.endswith(INSPECTED_SUFFIX):
        return path.with_name(path.name.removesuffix(INSPECTED_SUFFIX) + TRACES_SUFFIX)
    if path.name.endswith(TRACES_SUFFIX):
        return path
    raise TracesInvalid(f"{path.name} is not a file of traces, which ends with {TRACES_SUFFIX}")


def preferred(traces_csv: Path) -> Path:
    """Return the inspected traces where there are any, else the traces."""
    inspected = inspected_path(traces_csv)
    return inspected if inspected.is_file() else traces_csv


def free_name(path: Path, ending: str) -> Path:
    """Return a name beside a file that is not taken yet."""
    number = 1
    while (free := path.with_name(f"{path.name}.{number}.{ending}")).exists():
        number += 1
    return free


def six_decimals(values: NDArray[Any]) -> Any:
    """Return numbers as an Arrow column that is written with six decimals; not finite is empty."""
    import pyarrow as pa

    numbers = np.asarray(values, dtype=np.float64)
    empty = ~np.isfinite(numbers)
    if np.any(np.abs(numbers[~empty]) >= _LARGEST_DECIMAL):
        texts = [None if skip else f"{x:.6f}" for x, skip in zip(numbers, empty, strict=True)]
        return pa.array(texts, pa.string())
    return pa.array(numbers, mask=empty).cast(pa.decimal128(38, 6), safe=False)


def write_traces(table: FovTable, csv_path: Path) -> None:
    """Write the traces of one FOV as CSV, and as Parquet with units beside it.

    The Parquet file comes first: the CSV is the one others look for.
    """
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    names = list(table.columns)
    units = [_unit(name) for name in names]
    schema = pa.schema(
        [
            pa.field(name, _arrow_type(name), metadata={"unit": unit})
            for name, unit in zip(names, units, strict=True)
        ],
        metadata={"units": json.dumps(dict(zip(names, units, strict=True)))},
    )
    arrays = [
        pa.array(np.asarray(values), type=_arrow_type(name), from_pandas=True)
        for name, values in table.columns.items()
    ]
    with whole_file(csv_path.with_suffix(".parquet")) as file:
        pyarrow.parquet.write_table(pa.table(arrays, schema=schema), file, compression="zstd")
    texts = [_printed(name, np.asarray(values)) for name, values in table.columns.items()]
    with whole_file(csv_path) as file:
        write_csv(file, dict(zip(names, texts, strict=True)))


def write_csv(file: BinaryIO, columns: Mapping[str, Any]) -> None:
    """Write Arrow columns as plain comma-separated text with a header."""
    import pyarrow as pa
    import pyarrow.csv

    plain = pyarrow.csv.WriteOptions(quoting_style="none", quoting_header="none")
    pyarrow.csv.write_csv(pa.table(dict(columns)), file, plain)


def read_traces(csv_path: Path) -> FovTable:
    """Return the traces of one file; columns that are not known are left out.

    Raises
    ------
    TracesInvalid
        Not such a file, a column missing, or something that is no number.
    """
    import pyarrow as pa
    import pyarrow.csv

    header = traces_header(csv_path)
    names = [name for name in header if name in BASE_UNITS or column_channel(name) is not None]
    types = {name: pa.string() if name == "good" else pa.float64() for name in names}
    convert = pyarrow.csv.ConvertOptions(
        column_types=types, include_columns=names, strings_can_be_null=False
    )
    parse = pyarrow.csv.ParseOptions(ignore_empty_lines=True)
    try:
        read = pyarrow.csv.read_csv(csv_path, parse_options=parse, convert_options=convert)
    except pa.ArrowInvalid as error:
        raise TracesInvalid(f"{csv_path.name} is not a table of numbers") from error
    return FovTable({name: _parsed(name, read[name], csv_path.name) for name in names})


def traces_header(csv_path: Path) -> tuple[str, ...]:
    """Return the column names of a file of traces."""
    try:
        with csv_path.open(encoding="utf-8-sig", newline="") as file:
            header = tuple(next(csv.reader([file.readline(1 << 16)]), []))
    except (UnicodeDecodeError, csv.Error) as error:
        raise TracesInvalid(f"{csv_path.name} is not a CSV file") from error
    if missing := [name for name in REQUIRED_COLUMNS if name not in header]:
        raise TracesInvalid(f"{csv_path.name} has no column {missing[0]}")
    if len(set(header)) < len(header):
        raise TracesInvalid(f"{csv_path.name} has two columns of one name")
    return header


def column_channel(name: str) -> tuple[str, int] | None:
    """Return feature and channel of ``<feature>_ch_<c>``; None for any other column.

    A feature's name becomes part of a file's name, so it is made of plain letters.
    """
    match = _FEATURE_COLUMN.fullmatch(name)
    return None if match is None else (match[1], int(match[2]))


def _unit(name: str) -> str:
    parts = column_channel(name)
    return FEATURE_UNITS.get(parts[0], "") if parts else BASE_UNITS.get(name, "")


def _arrow_type(name: str) -> Any:
    import pyarrow as pa

    if name == "good":
        return pa.bool_()
    return pa.int64() if name in INTEGER_COLUMNS else pa.float64()


def _printed(name: str, values: NDArray[Any]) -> Any:
    import pyarrow as pa

    if name == "good":
        return pa.array(np.where(values.astype(bool), "True", "False"), pa.string())
    if name in INTEGER_COLUMNS:
        return pa.array(values.astype(np.int64))
    return six_decimals(values)


def _parsed(name: str, column: Any, file_name: str) -> NDArray[Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    if name == "good":
        texts = pc.utf8_lower(pc.utf8_trim_whitespace(column))
        good = pc.is_in(texts, pa.array(["true", "1", "1.0"]))
        if not pc.all(pc.or_(good, pc.is_in(texts, pa.array(["false", "0", "0.0"])))).as_py() and (
            len(texts)
        ):
            raise TracesInvalid(f"{file_name}: the column good is neither True nor False somewhere")
        return np.asarray(good)
    values = np.asarray(column, dtype=np.float64)
    if name not in INTEGER_COLUMNS:
        return values
    if not np.all(np.isfinite(values) & (np.abs(values) < 2**53) & (values == np.rint(values))):
        raise TracesInvalid(f"{file_name}: the column {name} is not whole numbers")
    return values.astype(np.int64)


def identity_of(columns: Mapping[str, NDArray[Any]]) -> str:
    """Return a text that differs where the numbers may stand for other cells."""
    digest = hashlib.sha256()
    for name in _TRACK_COLUMNS:
        if name in columns:
            digest.update(np.ascontiguousarray(columns[name], dtype=np.float64).tobytes())
    return digest.hexdigest()[:16]


def write_inspected(
    traces_csv: Path, good_by_cell: Mapping[int, bool], cells: str | None = None
) -> Path:
    """Write a person's verdict on some cells, and return the file.

    Earlier verdicts stay, and so does every other column as it stands in the file.

    Parameters
    ----------
    cells
        The `identity_of` the cells that the person has seen.

    Raises
    ------
    CellsReplaced
        Those in the file are others by now.
    """
    with only_writer(traces_csv.parent):
        seen = preferred(traces_csv)
        if cells is not None and identity_of(read_traces(seen).columns) != cells:
            raise CellsReplaced(
                "The cells have been found anew since they were looked at",
                hint="Load them again; no verdict was changed.",
            )
        return _judge(seen, traces_csv, good_by_cell)


def _judge(source: Path, traces_csv: Path, good_by_cell: Mapping[int, bool]) -> Path:
    cell_at, good_at = (traces_header(source).index(name) for name in ("cell", "good"))
    unseen = set(good_by_cell)
    target = inspected_path(traces_csv)
    with (
        source.open(encoding="utf-8-sig", newline="") as old,
        whole_file(target) as raw,
        _text(raw) as new,
    ):
        rows = csv.reader(old)
        writer = csv.writer(new, lineterminator="\n")
        writer.writerow(next(rows))
        for row in filter(None, rows):
            try:
                cell = int(float(row[cell_at]))
                if (good := good_by_cell.get(cell)) is not None:
                    row[good_at] = str(good)
            except (ValueError, OverflowError, IndexError) as error:
                raise TracesInvalid(f"{source.name}, line {rows.line_num}: no cell") from error
            unseen.discard(cell)
            writer.writerow(row)
        if unseen:
            raise ParametersInvalid(f"There is no cell {min(unseen)} in {traces_csv.name}")
    return target


@contextlib.contextmanager
def _text(raw: BinaryIO) -> Iterator[Any]:
    import io

    text = io.TextIOWrapper(raw, encoding="utf-8", newline="")
    yield text
    text.flush()
    text.detach()


def renew_traces(table: FovTable, traces_csv: Path) -> str | None:
    """Write the traces of an FOV anew, and with them what a person said of its cells.

    Where cells have other frames or boxes than before, their numbers may stand for other cells.
    The verdicts are then set aside, before there are traces that they could be taken to be of, in a
    file that is not read as traces. Its name is returned, also where that was done by a run that
    was killed, until `forget_aside`.
    """
    with only_writer(traces_csv.parent):
        is_inspected = inspected_path(traces_csv).is_file()
        verdicts = _verdicts_on(table, traces_csv) if is_inspected else None
        if is_inspected and verdicts is None:
            _set_aside(traces_csv)
        write_traces(table, traces_csv)
        if verdicts is not None:
            _judge(traces_csv, traces_csv, verdicts)
        return _aside(traces_csv)


def forget_aside(traces_csv: Path) -> None:
    """Note that it has been said which file verdicts were set aside in."""
    _aside_note(traces_csv).unlink(missing_ok=True)


def _verdicts_on(table: FovTable, traces_csv: Path) -> dict[int, bool] | None:
    """Return what a person said of the cells of new traces; None if it was of other cells."""
    try:
        before = read_traces(traces_csv).columns
        judged = read_traces(inspected_path(traces_csv)).columns
    except (TracesInvalid, OSError):
        return None
    is_same = len(before["cell"]) == table.n_rows and all(
        # As far as six decimals tell.
        name in before and np.allclose(before[name], table.columns[name], rtol=0, atol=1e-5)
        for name in _TRACK_COLUMNS
    )
    cells, first = np.unique(judged["cell"], return_index=True)
    if not is_same or not np.isin(cells, table.columns["cell"]).all():
        return None
    return dict(zip(cells.tolist(), judged["good"][first].tolist(), strict=True))


def _set_aside(traces_csv: Path) -> None:
    inspected = inspected_path(traces_csv)
    aside = free_name(inspected, "bak")
    # The note comes first: without it, nobody would hear of what a killed run had set aside.
    write_whole(_aside_note(traces_csv), aside.name.encode())
    inspected.rename(aside)
    sync_folder(aside.parent)


def _aside(traces_csv: Path) -> str | None:
    try:
        name = _aside_note(traces_csv).read_text("utf-8")
    except (OSError, ValueError):
        return None
    return name if name in {path.name for path in traces_csv.parent.iterdir()} else None


def _aside_note(traces_csv: Path) -> Path:
    return traces_csv.with_name(f".{traces_csv.name}.aside")
