"""What runs in a worker process: opening files, processing FOVs, drawing, merging."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchwire.domains.microscopy import results
from benchwire.domains.microscopy.plan import Ending, MovieInfo, Pixels
from benchwire.foundation.clock import SystemClock
from benchwire.foundation.files import (
    AllowedFolders,
    PathForbidden,
    PathMissing,
    disk_troubles_told,
)
from benchwire.foundation.workers import Reporter

if TYPE_CHECKING:
    from benchwire.domains.microscopy.merge import Merged


# -- looking at movies ----------------------------------------------------------------------


def read_info(_: Reporter, path: Path, allowed: AllowedFolders) -> MovieInfo:
    """Return what a movie says of itself.

    Raises
    ------
    PathForbidden
        It has files outside the allowed folders.
    """
    from benchwire.domains.microscopy.allowed_movies import opened_inside

    with opened_inside(path, allowed) as movie:
        return movie.info


def check_pixels(
    _: Reporter, path: Path, channels: Sequence[int], fov: int, allowed: AllowedFolders
) -> None:
    """Raise `PixelsUnsuitable` if the first frame of an FOV is not made of 16-bit counts."""
    from benchwire.domains.microscopy.allowed_movies import opened_inside
    from benchwire.domains.microscopy.readers import as_counts

    with opened_inside(path, allowed) as movie:
        for channel in channels:
            as_counts(movie.frame(fov, 0, channel=channel))


def levels(
    _: Reporter, path: Path, place: tuple[int, int, int], allowed: AllowedFolders
) -> dict[str, float]:
    """Return the range of a plane's counts, and of that part that is drawn unless one chooses."""
    from benchwire.domains.microscopy.drawing import contrast

    plane = _plane(path, place, allowed)
    low, high = contrast(plane)
    return {
        "smallest": float(plane.min()), "largest": float(plane.max()), "low": low, "high": high,
    }  # fmt: skip


def draw_plane(
    _: Reporter,
    path: Path,
    place: tuple[int, int, int],
    low: float | None,
    high: float | None,
    allowed: AllowedFolders,
) -> bytes:
    """Return a plane as PNG; ``place`` is FOV, frame and channel."""
    from benchwire.domains.microscopy.drawing import contrast, grey, png

    plane = _plane(path, place, allowed)
    black, white = contrast(plane)
    return png(grey(plane, black if low is None else low, white if high is None else high))


def _plane(path: Path, place: tuple[int, int, int], allowed: AllowedFolders) -> Pixels:
    from benchwire.domains.microscopy.allowed_movies import opened_inside

    fov, frame, channel = place
    with opened_inside(path, allowed) as movie:
        return movie.frame(fov, frame, channel=channel)


def draw_overlay(
    _: Reporter,
    output_dir: Path,
    place: tuple[int, int],
    with_names: bool,
    allowed: AllowedFolders,
) -> bytes:
    """Return a processed frame as PNG, its cells outlined; ``place`` is FOV and frame.

    Raises
    ------
    PathMissing
        The FOV has not been processed, or has no such frame.
    """
    import numpy as np

    from benchwire.domains.microscopy import finished
    from benchwire.domains.microscopy.drawing import contrast, grey, outlined, png

    fov, frame = place
    folder = results.fov_folder(output_dir, fov)
    names = finished.facts(folder).get("files", {})

    def stack(kind: str) -> Any:
        name = next((name for name in names if f"_{kind}_ch_" in name), "")
        path = folder / Path(name).name
        if not path.is_file() or not allowed.is_allowed(path):
            raise PathMissing(f"FOV {fov} has not been processed")
        return np.load(path, mmap_mode="r")

    phase, labels = stack("pc"), stack("seg_labeled")
    if frame >= len(labels):
        raise PathMissing(f"There is no frame {frame}; FOV {fov} has {len(labels)}")
    plane = np.asarray(phase[frame])
    picture = grey(plane, *contrast(plane))
    return png(outlined(picture, np.asarray(labels[frame]), with_names=with_names))


# -- workflows ------------------------------------------------------------------------------


def fingerprint(_: Reporter, params: Mapping[str, Any]) -> str:
    """Return what tells the FOVs of this movie and plan from all others."""
    from benchwire.domains.microscopy.processing import Order

    return Order.of(params).fingerprint()


def process_fov(
    reporter: Reporter,
    params: Mapping[str, Any],
    fov: int,
    mark: str,
    job_id: str,
    allowed: AllowedFolders,
) -> None:
    """Process one FOV, unless its files are there and were made in just this way."""
    from benchwire.domains.microscopy.processing import Order, process

    with disk_troubles_told():
        process(Order.of(params), fov, mark=mark, job_id=job_id, allowed=allowed, reporter=reporter)


def record_run(
    reporter: Reporter,
    params: Mapping[str, Any],
    mark: str,
    ending: Ending,
    with_checksum: bool,
    allowed: AllowedFolders,
) -> dict[str, Any]:
    """Enter the finished FOVs into the folder's index, write the run's record, and sum it up."""
    from benchwire.domains.microscopy.processing import Order, record

    def on_block(_: int) -> None:
        reporter.raise_if_stopped()

    with disk_troubles_told():
        return record(
            Order.of(params),
            params,
            mark=mark,
            ending=ending,
            allowed=allowed,
            on_block=on_block if with_checksum else None,
        )


# -- after the workflow ---------------------------------------------------------------------


def merge_samples(
    _: Reporter, samples_yaml: Path, source: Path, target: Path, allowed: AllowedFolders
) -> "Merged":
    """Write the traces of each sample's FOVs into one file per channel and feature."""
    from benchwire.domains.microscopy.merge import merge
    from benchwire.domains.microscopy.samples import read_samples
    from benchwire.foundation import run_record
    from benchwire.foundation.run_record import RUN_NAME

    began = SystemClock().now()
    samples = read_samples(samples_yaml)
    with disk_troubles_told():
        merged = merge(samples, source, target, is_allowed=allowed.is_allowed)
        run_record.write_run(
            # Merged into the folder of a workflow, its record stays.
            target / ("merge.json" if target.resolve() == source.resolve() else RUN_NAME),
            run_record.RunRecord(
                job_id=None,
                inputs=merged.sources,
                checksum=run_record.input_checksum(merged.sources),
                parameters={"sample_yaml": str(samples_yaml), "input_dir": str(source)},
                packages=("numpy", "pyarrow"),
                started=began,
                ended=SystemClock().now(),
                stats={"merged_files": len(merged.files)},
            ),
        )
    return merged


def mark_cells(
    _: Reporter, path: Path, good: Mapping[int, bool], cells: str | None, allowed: AllowedFolders
) -> Path:
    """Note which cells a person found good and return the file that says so."""
    traces = results.own_traces(path)
    _refuse_foreign(traces, allowed)
    with disk_troubles_told():
        return results.write_inspected(traces, good, cells)


def _refuse_foreign(traces: Path, allowed: AllowedFolders) -> None:
    for path in (traces, results.inspected_path(traces)):
        if not allowed.is_allowed(path):
            raise PathForbidden(f"{path.name} is outside the folders that may be used")


def traces_of_fov(_: Reporter, traces: Path, allowed: AllowedFolders) -> dict[str, Any]:
    """Return what was measured of each cell of an FOV, as a person has judged it.

    Raises
    ------
    PathForbidden
        Its files lead out of the folders that may be used.
    PathMissing
        The FOV has not been processed.
    """
    import numpy as np

    _refuse_foreign(traces, allowed)
    if not traces.is_file():
        raise PathMissing(f"{traces.parent.name} has not been processed")
    columns = results.read_traces(results.preferred(traces)).columns
    features = [name for name in columns if results.column_channel(name) is not None]
    cells, starts = np.unique(columns["cell"], return_index=True)
    rows = np.split(np.arange(len(columns["cell"])), starts[1:]) if len(cells) else []
    shown = ["time", "position_x", "position_y", *features]
    return {
        "path": str(traces),
        "identity": results.identity_of(columns),
        "features": features,
        "cells": [
            {
                "cell": int(cell),
                "good": bool(columns["good"][at].all()),
                "frame": columns["frame"][at].tolist(),
                **{name: _plain(columns[name][at]) for name in shown},
            }
            for cell, at in zip(cells, rows, strict=True)
        ],
    }


def _plain(values: Any) -> list[float | None]:
    """Return numbers for JSON, which knows no NaN."""
    return [value if math.isfinite(value) else None for value in values.tolist()]
