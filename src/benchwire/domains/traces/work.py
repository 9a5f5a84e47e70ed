"""What runs in a worker process: reading traces, fitting them, summing up what was found."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchwire.domains.traces.errors import TracesChanged, TraceUnknown
from benchwire.foundation.clock import SystemClock, utc_moment
from benchwire.foundation.files import disk_troubles_told, write_whole
from benchwire.foundation.workers import Reporter

if TYPE_CHECKING:
    from benchwire.domains.traces.models import Choice
    from benchwire.domains.traces.traces_csv import FittedTraces

TABLE_NAME = "fits.csv"
ANSWER_NAME = "answer.json"
SOURCE_NAME = "source.json"
RECORD_NAME = "run.json"
_BINS = 40
# Values further apart are counted in bins of equal ratio.
_DECADES = 50.0
_MOST_LISTED = 2000


def fitted_path(path: Path, model: str) -> Path:
    """Return where the fits of a file's traces are written."""
    return path.with_name(f"{path.stem}_fitted_{model}.csv")


def describe(_: Reporter, path: Path) -> dict[str, Any]:
    """Return what a file of traces holds."""
    from benchwire.domains.traces.traces_csv import read_traces

    found = read_traces(path)
    return {
        "n_cells": found.n_cells,
        "n_fovs": found.n_fovs,
        "n_timepoints": found.n_timepoints,
        "time_units": "hours",
        "time_range": found.time_range,
        "value_range": found.value_range,
        "columns": found.cell_ids,
    }


def fit_file(
    reporter: Reporter, params: Mapping[str, Any], kept: Path, facts: Mapping[str, str]
) -> dict[str, Any]:
    """Fit a model to all traces of a file, write table, answer and record, and sum them up.

    Parameters
    ----------
    kept
        Folder of this fitting alone. All three stay there, since the next fitting of the same model
        to the same file writes files of the same names beside the traces.
    facts
        ``job_id`` and ``started_at`` of the run.
    """
    from benchwire.domains.traces.fitting import fit
    from benchwire.domains.traces.models import find_model
    from benchwire.domains.traces.traces_csv import FittedTraces, read_traces, write_fits
    from benchwire.foundation import run_record

    path, results = Path(params["csv_path"]), Path(params["results_file"])
    choice = _choice(params)
    model = find_model(choice.model)
    with disk_troubles_told():
        checksum = run_record.input_checksum([path], lambda _: reporter.raise_if_stopped())
        source = _seen(path)
        traces = read_traces(path)
        total = traces.n_cells

        def on_progress(done: int) -> None:
            reporter.raise_if_stopped()
            reporter.progress(done / (total + 1), f"Fitting cell {done}/{total}")

        fits = fit(
            model, traces.time, traces.values, start=choice.start, bounds=choice.bounds,
            fixed=choice.fixed, on_progress=on_progress,
        )  # fmt: skip
        reporter.raise_if_stopped()
        write_fits(kept / TABLE_NAME, model, fov=traces.fov, cell=traces.cell, fits=fits)
        write_whole(results, (kept / TABLE_NAME).read_bytes())
        names = tuple(item.name for item in model.parameters)
        fitted = FittedTraces(traces.fov, traces.cell, model.name, names, fits)
        summary = _summary(fitted)
        body = {
            "success": True,
            "job_id": facts["job_id"],
            "results_file": str(results),
            "summary": summary,
            "results": list(_rows(fitted)),
        }
        write_whole(kept / SOURCE_NAME, json.dumps(source).encode())
        write_whole(kept / ANSWER_NAME, json.dumps(body, allow_nan=False).encode())
        record = run_record.RunRecord(
            job_id=facts["job_id"],
            inputs=[path],
            checksum=checksum,
            parameters={**params, "in_force": _in_force(choice)},
            packages=("numpy", "pyarrow", "numba"),
            started=utc_moment(facts["started_at"]),
            ended=SystemClock().now(),
            stats=summary,
        )
        for note in (kept / RECORD_NAME, results.with_suffix(".run.json")):
            run_record.write_run(note, record)
    return {"results_file": str(results), "summary": summary}


def one_trace(
    _: Reporter, params: Mapping[str, Any], kept: Path, fov: int, cell: int
) -> dict[str, Any]:
    """Return a trace and the curve fitted to it, times in h.

    Raises
    ------
    TraceUnknown
        There is no such cell.
    """
    import numpy as np

    from benchwire.domains.traces.models import curve, find_model
    from benchwire.domains.traces.traces_csv import read_fits, read_traces

    path = Path(params["csv_path"])
    if not path.is_file():
        raise TraceUnknown("The file of the traces is not there any more")
    if _seen(path) != json.loads((kept / SOURCE_NAME).read_text("utf-8")):
        raise TracesChanged("The file of the traces has been changed since it was fitted")
    traces, fitted = read_traces(path), read_fits(kept / TABLE_NAME)
    at = np.flatnonzero((traces.fov == fov) & (traces.cell == cell))
    row = np.flatnonzero((fitted.fov == fov) & (fitted.cell == cell))
    if not len(at) or not len(row):
        raise TraceUnknown(f"There is no cell {cell} in FOV {fov}")
    time, values = traces.time[at[0]], traces.values[at[0]]
    has_time = np.isfinite(time)
    time, values = time[has_time], values[has_time]
    choice, fits = _choice(params), fitted.fits
    found = dict(zip(fitted.names, fits.parameters[row[0]].tolist(), strict=True))
    return {
        "fov": fov,
        "cell": cell,
        "time": time.tolist(),
        "value": [None if np.isnan(value) else value for value in values.tolist()],
        "curve": curve(find_model(choice.model), time, {**found, **choice.fixed}).tolist(),
        "parameters": found,
        "r_squared": float(fits.r_squared[row[0]]),
        "fitted": bool(fits.success[row[0]]),
    }


def figures(_: Reporter, kept: Path) -> dict[str, Any]:
    """Return how the parameters and R² of a fitting are distributed, and its cells, worst first."""
    from benchwire.domains.traces.traces_csv import read_fits

    fitted = read_fits(kept / TABLE_NAME)
    good = fitted.fits.success
    columns = {"r_squared": fitted.fits.r_squared[good]}
    columns |= {name: fitted.fits.parameters[good, k] for k, name in enumerate(fitted.names)}
    worst = fitted.fits.r_squared.argsort(kind="stable")[:_MOST_LISTED]
    return {
        "summary": _summary(fitted),
        "histograms": {
            name: _histogram(values, is_share=name == "r_squared")
            for name, values in columns.items()
        },
        "cells": [
            {
                "fov": int(fitted.fov[row]),
                "cell": int(fitted.cell[row]),
                "success": bool(good[row]),
                "r_squared": float(fitted.fits.r_squared[row]),
            }
            for row in worst
        ],
    }


def _histogram(values: Any, *, is_share: bool) -> dict[str, list[float]]:
    import numpy as np

    if not len(values):
        return {"edges": [0.0, 1.0], "counts": [0]}
    low, high = float(values.min()), float(values.max())
    if low > 0 and not is_share and high / low > _DECADES:
        counts, edges = np.histogram(values, np.geomspace(low, high, _BINS + 1))
    else:
        counts, edges = np.histogram(values, _BINS)
    return {"edges": edges.tolist(), "counts": counts.tolist()}


def _summary(fitted: "FittedTraces") -> dict[str, Any]:
    total, good = len(fitted.fov), int(fitted.fits.success.sum())
    return {
        "total_cells": total,
        "successful_fits": good,
        "failed_fits": total - good,
        "mean_r_squared": float(fitted.fits.r_squared.mean()) if total else 0.0,
    }


def _rows(fitted: "FittedTraces") -> Iterator[dict[str, Any]]:
    fits = fitted.fits
    columns = (
        fitted.fov.tolist(), fitted.cell.tolist(), fits.success.tolist(), fits.r_squared.tolist(),
        fits.parameters.tolist(),
    )  # fmt: skip
    for fov, cell, success, r_squared, values in zip(*columns, strict=True):
        yield {
            "fov": fov,
            "cell": cell,
            "cell_id": f"{fov}_{cell}",
            "model_type": fitted.model,
            "success": success,
            "r_squared": r_squared,
            "fitted_params": dict(zip(fitted.names, values, strict=True)),
        }


def _seen(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]


def _in_force(choice: "Choice") -> dict[str, Any]:
    """Return starts, bounds and fixed values as they counted, the model's own among them."""
    from benchwire.domains.traces.models import find_model

    model = find_model(choice.model)
    return {
        "start": {item.name: item.default for item in model.parameters} | dict(choice.start),
        "bounds": {item.name: [item.low, item.high] for item in model.parameters}
        | {name: list(ends) for name, ends in choice.bounds.items()},
        "fixed": {**model.fixed, **choice.fixed},
    }


def _choice(params: Mapping[str, Any]) -> "Choice":
    from benchwire.domains.traces.models import Choice

    return Choice.from_json(params["choice"])
