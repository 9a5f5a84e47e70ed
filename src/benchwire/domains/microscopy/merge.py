"""Traces of many FOVs, put together by sample, one file for each channel and feature."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchwire.domains.microscopy import finished
from benchwire.domains.microscopy.errors import ParametersInvalid
from benchwire.domains.microscopy.index import RESULTS_NAME, ResultsIndex, read_results
from benchwire.domains.microscopy.results import (
    INSPECTED_SUFFIX,
    TRACES_SUFFIX,
    column_channel,
    fov_folder,
    inspected_path,
    read_traces,
    six_decimals,
    write_csv,
)
from benchwire.domains.microscopy.samples import Sample
from benchwire.domains.microscopy.yaml_files import YamlInvalid
from benchwire.foundation.files import PathForbidden, make_usable, whole_file

TIME_LINE = b"# Time units: min\n"


@dataclass(frozen=True, slots=True)
class Merged:
    """Files written, absolute and sorted, the traces they were made of, and what was left out."""

    files: tuple[Path, ...]
    sources: tuple[Path, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Rows:
    """Good rows of one sample; a feature is NaN where a FOV does not have it."""

    time: NDArray[np.float64]
    fov: NDArray[np.int64]
    cell: NDArray[np.int64]
    features: dict[str, NDArray[np.float64]]


def merge(
    samples: Sequence[Sample],
    input_dir: Path,
    output_dir: Path,
    *,
    is_allowed: Callable[[Path], bool],
) -> Merged:
    """Write the merged traces of the samples.

    Parameters
    ----------
    is_allowed
        Whether a file may be read or written: the index of results may name any, and links may
        lead anywhere.

    Raises
    ------
    ParametersInvalid
        There is nothing to write.
    TracesInvalid
        A file of traces is damaged.
    """
    warnings: list[str] = []
    index = _index(input_dir, warnings)
    wanted = sorted({fov for sample in samples for fov in sample.fovs})
    found = {fov: _traces_of(fov, input_dir, index, is_allowed=is_allowed) for fov in wanted}
    sources = {fov: path for fov, path in found.items() if path}
    if missing := [fov for fov in wanted if fov not in sources]:
        warnings.append(f"No traces for FOV {', '.join(map(str, missing))}")
    warnings += _doubts(sources)
    written: dict[str, Path] = {}
    for sample in samples:
        rows = _rows_of(sample, sources, index)
        names = [name for name, values in rows.features.items() if np.any(np.isfinite(values))]
        if not names:
            warnings.append(f"No values for sample {sample.name}")
        for name in names:
            path = Path(output_dir, f"{sample.name}_{name}.csv").absolute()
            if path.name.casefold() in written:
                raise ParametersInvalid(f"Two samples would write the same file: {path.name}")
            if not written:
                make_usable(output_dir)
            if not is_allowed(path):
                raise PathForbidden(f"{path.name} would lie outside the folders that may be used")
            _write(path, rows, name)
            written[path.name.casefold()] = path
    if not written:
        raise ParametersInvalid("; ".join(["There is nothing to merge", *warnings]))
    files = tuple(sorted(written.values()))
    return Merged(files, tuple(sources.values()), tuple(warnings))


def _index(input_dir: Path, warnings: list[str]) -> ResultsIndex:
    try:
        return read_results(input_dir / RESULTS_NAME)
    except FileNotFoundError:
        return ResultsIndex()
    except YamlInvalid as error:
        warnings.append(f"{error.message}; channels and features are taken from the traces")
        return ResultsIndex()


def _traces_of(
    fov: int, input_dir: Path, index: ResultsIndex, *, is_allowed: Callable[[Path], bool]
) -> Path | None:
    """Return the file to be read: of the index first, then of the folder; inspected ones win."""
    listed = index.fovs.get(fov)
    if listed and listed.traces:
        for path in (inspected_path(listed.traces), listed.traces):
            if path.is_file() and is_allowed(path):
                return path
    folder = fov_folder(input_dir, fov)
    for suffix in (INSPECTED_SUFFIX, TRACES_SUFFIX):
        paths = sorted(
            path for path in _files_of(folder) if path.name.endswith(suffix) and is_allowed(path)
        )
        if len(paths) > 1:
            raise ParametersInvalid(f"FOV {fov} has traces of more than one movie")
        if paths:
            return paths[0]
    return None


def _doubts(sources: Mapping[int, Path]) -> list[str]:
    """Return what speaks against taking these FOVs together."""
    marks = {fov: finished.facts(path.parent) for fov, path in sources.items()}
    marked = {fov: found for fov, found in marks.items() if found}
    doubts = []
    if marked and (unmarked := [fov for fov in marks if fov not in marked]):
        doubts.append(f"FOV {', '.join(map(str, unmarked))} was not finished by its last workflow")
    plans = {json.dumps(found.get("plan"), sort_keys=True) for found in marked.values()}
    if len(plans) > 1:
        doubts.append(
            "The FOVs were not all processed with the same parameters; finished.json in each "
            "folder has those"
        )
    if aside := [fov for fov, found in marked.items() if found.get("verdicts_set_aside")]:
        doubts.append(
            f"FOV {', '.join(map(str, aside))} has other cells than when it was inspected"
        )
    return doubts


def _files_of(folder: Path) -> Iterable[Path]:
    return [path for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []


def _rows_of(sample: Sample, sources: dict[int, Path], index: ResultsIndex) -> _Rows:
    columns, untold = index.columns(), index.untold_channels()
    names = dict.fromkeys(columns)
    times, fovs, cells = [np.empty(0)], [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    tables: list[tuple[NDArray[np.bool_], dict[str, Any]]] = []
    for fov in sample.fovs:
        if fov not in sources:
            continue
        read = read_traces(sources[fov]).columns
        kept = read["good"] & np.isfinite(read["time"])
        times.append(read["time"][kept])
        cells.append(read["cell"][kept])
        fovs.append(np.full(len(cells[-1]), fov))
        tables.append((kept, dict(read)))
        names |= dict.fromkeys(
            name
            for name in read
            if (found := column_channel(name)) and (not columns or found[1] == untold.get(fov))
        )
    features = {
        name: np.concatenate(
            [np.empty(0), *(_values(table, name, kept) for kept, table in tables)],
        )
        for name in names
    }
    return _sorted(np.concatenate(times), np.concatenate(fovs), np.concatenate(cells), features)


def _values(table: dict[str, Any], name: str, kept: NDArray[np.bool_]) -> NDArray[np.float64]:
    if name not in table:
        return np.full(int(np.count_nonzero(kept)), np.nan)
    return np.asarray(table[name][kept], dtype=np.float64)


def _sorted(
    time: NDArray[Any],
    fov: NDArray[Any],
    cell: NDArray[Any],
    features: dict[str, NDArray[np.float64]],
) -> _Rows:
    order = np.lexsort((cell, fov, time))
    return _Rows(
        time[order],
        fov[order],
        cell[order],
        {name: values[order] for name, values in features.items()},
    )


def _write(path: Path, rows: _Rows, name: str) -> None:
    import pyarrow as pa

    values = rows.features[name]
    kept = np.isfinite(values)
    with whole_file(path) as file:
        file.write(TIME_LINE)
        write_csv(
            file,
            {
                "time": six_decimals(rows.time[kept]),
                "fov": pa.array(rows.fov[kept]),
                "cell": pa.array(rows.cell[kept]),
                "value": six_decimals(values[kept]),
            },
        )
