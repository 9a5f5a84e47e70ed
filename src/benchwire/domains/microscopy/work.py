"""What runs in a worker process: opening files, processing FOVs, drawing, merging."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchwire.domains.microscopy import results
from benchwire.domains.microscopy.errors import ProcessingFailed
from benchwire.domains.microscopy.plan import MovieInfo, Plan
from benchwire.foundation.clock import SystemClock, utc_moment
from benchwire.foundation.files import (
    AllowedFolders,
    PathMissing,
    disk_troubles_told,
    make_folders,
)
from benchwire.foundation.workers import Reporter

if TYPE_CHECKING:
    from benchwire.domains.microscopy.index import FovFiles
    from benchwire.domains.microscopy.merge import Merged

# Raised when FOVs would come out otherwise than before, so that finished ones are done anew.
PIPELINE_VERSION = 1


# -- looking at movies ----------------------------------------------------------------------


def read_info(_: Reporter, path: Path) -> MovieInfo:
    """Return what a movie says of itself."""
    from benchwire.domains.microscopy.readers import opened

    with opened(path) as movie:
        return movie.info


def check_pixels(_: Reporter, path: Path, channels: Sequence[int], fov: int) -> None:
    """Raise `PixelsUnsuitable` if the first frame of an FOV is not made of 16-bit counts."""
    from benchwire.domains.microscopy.readers import as_counts, opened

    with opened(path) as movie:
        for channel in channels:
            as_counts(movie.frame(fov, 0, channel=channel))


def levels(_: Reporter, path: Path, place: tuple[int, int, int]) -> dict[str, float]:
    """Return the range of a plane's counts, and of that part that is drawn unless one chooses."""
    from benchwire.domains.microscopy.drawing import contrast
    from benchwire.domains.microscopy.readers import opened

    fov, frame, channel = place
    with opened(path) as movie:
        plane = movie.frame(fov, frame, channel=channel)
    low, high = contrast(plane)
    return {
        "smallest": float(plane.min()), "largest": float(plane.max()), "low": low, "high": high,
    }  # fmt: skip


def draw_plane(
    _: Reporter, path: Path, place: tuple[int, int, int], low: float | None, high: float | None
) -> bytes:
    """Return a plane as PNG; ``place`` is FOV, frame and channel."""
    from benchwire.domains.microscopy.drawing import contrast, grey, png
    from benchwire.domains.microscopy.readers import opened

    fov, frame, channel = place
    with opened(path) as movie:
        plane = movie.frame(fov, frame, channel=channel)
    black, white = contrast(plane)
    return png(grey(plane, black if low is None else low, white if high is None else high))


def draw_overlay(_: Reporter, output_dir: Path, fov: int, frame: int, with_names: bool) -> bytes:
    """Return a processed frame as PNG, its cells outlined.

    Raises
    ------
    PathMissing
        The FOV has not been processed, or has no such frame.
    """
    import numpy as np

    from benchwire.domains.microscopy.drawing import contrast, grey, outlined, png

    def stack(kind: str) -> Any:
        found = sorted(results.fov_folder(output_dir, fov).glob(f"*_{kind}_ch_*.npy"))
        if not found:
            raise PathMissing(f"FOV {fov} has not been processed")
        return np.load(found[0], mmap_mode="r")

    phase, labels = stack("pc"), stack("seg_labeled")
    if frame >= len(labels):
        raise PathMissing(f"There is no frame {frame}; FOV {fov} has {len(labels)}")
    plane = np.asarray(phase[frame])
    picture = grey(plane, *contrast(plane))
    return png(outlined(picture, np.asarray(labels[frame]), with_names=with_names))


# -- workflows ------------------------------------------------------------------------------


def process_fov(reporter: Reporter, params: Mapping[str, Any], fov: int) -> None:
    """Process one FOV, unless its files are there and were made in just this way."""
    from benchwire.domains.microscopy import finished
    from benchwire.domains.microscopy.features import load_features
    from benchwire.domains.microscopy.pipeline import process_fov as process
    from benchwire.domains.microscopy.readers import opened

    path, plan = Path(params["microscopy_path"]), Plan.from_json(params["plan"])
    folder = results.fov_folder(Path(params["output_dir"]), fov)
    mark = fingerprint(params)
    if finished.is_finished(folder, mark):
        return
    with disk_troubles_told(), opened(path) as movie:
        make_folders(folder)
        finished.forget(folder)
        info = movie.info

        def on_frame(frame: int) -> None:
            reporter.raise_if_stopped()
            reporter.progress((frame + 1) / (info.n_frames + 1), "")

        table = process(
            movie, plan, fov=fov, folder=folder, features=load_features(), on_frame=on_frame
        )
        files = _files(params, fov)
        assert files.traces is not None  # noqa: S101 - of a processed FOV there always are
        results.set_aside_inspected(files.traces)
        results.write_traces(table, files.traces)
        written = [files.traces, files.traces.with_suffix(".parquet"), *files.stacks()]
        if params["ome_zarr"] != "none":
            _write_ome_zarr(files, info, params, on_plane=reporter.raise_if_stopped)
        finished.mark(
            folder,
            fingerprint=mark,
            files=written,
            stats={"cells": table.n_cells, "frames": info.n_frames},
        )


def _write_ome_zarr(
    files: "FovFiles", info: MovieInfo, params: Mapping[str, Any], *, on_plane: Callable[[], None]
) -> None:
    from benchwire.domains.microscopy import ome_zarr

    assert files.traces is not None  # noqa: S101 - as above
    assert files.pc is not None  # noqa: S101 - as above
    assert files.seg_labeled is not None  # noqa: S101 - as above
    name = files.traces.name.removesuffix(results.TRACES_SUFFIX)
    channels = [
        ome_zarr.ImageChannel(info.channel_names[channel], path, is_phase=path == files.pc[1])
        for channel, path in (files.pc, *files.fl)
    ]
    ome_zarr.write_image(
        files.traces.with_name(f"{name}.ome.zarr"),
        channels,
        labels=files.seg_labeled[1],
        sampling=ome_zarr.Sampling(
            Plan.from_json(params["plan"]).minutes(info), info.pixel_size_um
        ),
        version=params["ome_zarr"],
        on_plane=on_plane,
    )


def record_run(
    reporter: Reporter, params: Mapping[str, Any], fovs: Sequence[int], facts: Mapping[str, str]
) -> dict[str, Any]:
    """Enter the finished FOVs into the folder's index, write the run's record, and sum it up.

    Parameters
    ----------
    facts
        ``job_id``, ``started_at`` and ``ended_at`` of the run.
    """
    from benchwire.domains.microscopy import finished, index
    from benchwire.domains.microscopy.readers import members
    from benchwire.foundation import run_record

    output, plan = Path(params["output_dir"]), Plan.from_json(params["plan"])
    files = {fov: _files(params, fov) for fov in fovs}
    shown = {key: value for key, value in params.items() if key != "plan"} | plan.as_json()
    with disk_troubles_told():
        results_file = index.write_results(
            output, index.ResultsIndex.of_plan(plan, files), params=shown
        )
        inputs = members(Path(params["microscopy_path"]))
        checksum = run_record.input_checksum(inputs, lambda _: reporter.raise_if_stopped())
        counts = [finished.stats(results.fov_folder(output, fov)) for fov in fovs]
        began, ended = utc_moment(facts["started_at"]), utc_moment(facts["ended_at"])
        stats = {
            "total_cells": sum(item["cells"] for item in counts),
            "total_frames": sum(item["frames"] for item in counts),
            "processing_time": round((ended - began).total_seconds(), 3),
        }
        run_record.write_run(
            output / run_record.RUN_NAME,
            run_record.RunRecord(
                job_id=facts["job_id"],
                inputs=tuple(inputs),
                checksum=checksum,
                parameters=params,
                started=began,
                ended=ended,
                stats=stats,
            ),
        )
    return {
        "results_file": str(results_file),
        "traces": [str(item.traces) for item in files.values()],
        "stats": stats,
    }


def fingerprint(params: Mapping[str, Any]) -> str:
    """Return a text that is another one whenever an FOV would come out otherwise."""
    path = Path(params["microscopy_path"])
    try:
        seen = path.stat()
    except OSError as error:
        raise ProcessingFailed(f"{path.name} is not there any more") from error
    facts = {
        "version": PIPELINE_VERSION,
        "plan": params["plan"],
        "ome_zarr": params["ome_zarr"],
        "input": [str(path.resolve()), seen.st_size, seen.st_mtime_ns],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _files(params: Mapping[str, Any], fov: int) -> "FovFiles":
    from benchwire.domains.microscopy import index
    from benchwire.domains.microscopy.stacks import stacks_of

    output, base_name = Path(params["output_dir"]), params["base_name"]
    folder = results.fov_folder(output, fov)
    stacks = {
        stack: folder / stack.name(base_name, fov)
        for stack in stacks_of(Plan.from_json(params["plan"]))
    }
    return index.FovFiles.of(stacks, results.traces_path(output, fov, base_name=base_name))


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
                started=began,
                ended=SystemClock().now(),
                stats={"merged_files": len(merged.files)},
            ),
        )
    return merged


def mark_cells(_: Reporter, traces: Path, good: Mapping[int, bool]) -> Path:
    """Note which cells a person found good and return the file that says so."""
    from benchwire.domains.microscopy.results import write_inspected

    with disk_troubles_told():
        return write_inspected(traces, good)


def traces_of_fov(_: Reporter, traces: Path) -> dict[str, Any]:
    """Return what was measured of each cell of an FOV, as a person has judged it.

    Raises
    ------
    PathMissing
        The FOV has not been processed.
    """
    import numpy as np

    if not traces.is_file():
        raise PathMissing(f"{traces.parent.name} has not been processed")
    columns = results.read_traces(results.preferred(traces)).columns
    features = [name for name in columns if results.column_channel(name) is not None]
    cells, starts = np.unique(columns["cell"], return_index=True)
    rows = np.split(np.arange(len(columns["cell"])), starts[1:]) if len(cells) else []
    shown = ["time", "position_x", "position_y", *features]
    return {
        "path": str(traces),
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
