"""A workflow at work: each FOV's files and mark, the folder's index, the record of the run."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Self

from benchwire.domains.microscopy import features, finished, index, ome_zarr, pipeline, results
from benchwire.domains.microscopy.allowed_movies import opened_inside
from benchwire.domains.microscopy.errors import ProcessingFailed
from benchwire.domains.microscopy.index import FovFiles
from benchwire.domains.microscopy.plan import (
    PACKAGES,
    Ending,
    FovTable,
    Movie,
    MovieInfo,
    Plan,
)
from benchwire.domains.microscopy.stacks import stacks_of
from benchwire.foundation import run_record
from benchwire.foundation.clock import utc_moment
from benchwire.foundation.files import PARTIAL_SUFFIX, AllowedFolders, PathForbidden, make_folders
from benchwire.foundation.workers import Reporter

# Raised when FOVs would come out otherwise than before, so that finished ones are done anew.
PIPELINE_VERSION = 1
NO_OME_ZARR = "none"


@dataclass(frozen=True, slots=True)
class Order:
    """What a workflow was asked to do.

    Parameters
    ----------
    members
        All files and folders the movie is read from.
    ome_zarr
        Version of the OME-Zarr to write, or `NO_OME_ZARR`.
    """

    movie: Path
    base_name: str
    members: tuple[Path, ...]
    output_dir: Path
    plan: Plan
    ome_zarr: str

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> Self:
        """Return what stands in a job's record."""
        return cls(
            Path(params["microscopy_path"]),
            params["base_name"],
            tuple(Path(member) for member in params["members"]),
            Path(params["output_dir"]),
            Plan.from_json(params["plan"]),
            params["ome_zarr"],
        )

    def folder(self, fov: int) -> Path:
        """Return the folder of an FOV."""
        return results.fov_folder(self.output_dir, fov)

    def files(self, fov: int) -> FovFiles:
        """Return the places of an FOV's files."""
        stacks = {
            stack: self.folder(fov) / stack.name(self.base_name, fov)
            for stack in stacks_of(self.plan)
        }
        traces = results.traces_path(self.output_dir, fov, base_name=self.base_name)
        return FovFiles.of(stacks, traces)

    def image(self, fov: int) -> Path:
        """Return the place of an FOV's OME-Zarr."""
        return self.folder(fov) / f"{self.base_name}_fov_{fov:03d}.ome.zarr"

    def fingerprint(self) -> str:
        """Return a text that is another one whenever FOVs would come out otherwise.

        Raises
        ------
        ProcessingFailed
            The movie is not there any more.
        """
        try:
            inputs = [list(item) for item in _seen(self.members)]
        except OSError as error:
            raise ProcessingFailed(f"{self.movie.name} is not there any more") from error
        facts = {
            "version": PIPELINE_VERSION,
            "plan": self.plan.as_json(),
            "plug-ins": _plug_ins(self.plan),
            "inputs": inputs,
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _seen(members: Sequence[Path]) -> Iterator[tuple[str, int, int]]:
    """Yield name, size and time of change of every file of a movie."""
    for member in members:
        if not member.is_dir():
            found = member.stat()
            yield member.name, found.st_size, found.st_mtime_ns
            continue
        for folder, folders, names in os.walk(member):
            folders.sort()
            for name in sorted(names):
                path = Path(folder, name)
                found = path.stat()
                yield path.relative_to(member).as_posix(), found.st_size, found.st_mtime_ns


def _plug_ins(plan: Plan) -> list[str]:
    """Return the features of others that are measured, with their versions."""
    wanted = {*plan.phase_features, *(x for item in plan.fluorescence for x in item.features)}
    return sorted(
        f"{point.name} {point.dist.name} {point.dist.version}"
        for point in entry_points(group=features.GROUP)
        if point.name in wanted and point.dist is not None and point.dist.name != "benchwire"
    )


# -- one FOV --------------------------------------------------------------------------------


def process(
    order: Order, fov: int, *, mark: str, job_id: str, allowed: AllowedFolders, reporter: Reporter
) -> None:
    """Process one FOV, unless its files are there and were made in just this way.

    The traces come last but for the mark, so that an FOV has new traces only when it has all else.

    Parameters
    ----------
    mark
        The order's fingerprint when the job began.
    """
    folder = order.folder(fov)
    if finished.is_finished(folder, mark):
        if not _has_image(order, fov):
            _add_image(order, fov, mark=mark, allowed=allowed, reporter=reporter)
        return
    make_folders(folder)
    allowed.refuse_foreign(folder)
    former = finished.facts(folder).get("files", {})
    with opened_inside(order.movie, allowed) as movie:
        table = _measured(order, fov, movie=movie, reporter=reporter)
        written = order.files(fov).stacks()
        shutil.rmtree(order.image(fov), ignore_errors=True)
        if order.ome_zarr != NO_OME_ZARR:
            written.append(_write_image(order, fov, movie.info, reporter.raise_if_stopped))
        n_frames = movie.info.n_frames
    traces = order.files(fov).table
    aside = results.renew_traces(table, traces)
    written += [traces, traces.with_suffix(".parquet")]
    facts = {
        "job_id": job_id,
        "base_name": order.base_name,
        "plan": order.plan.as_json(),
        "versions": run_record.versions(PACKAGES),
        "cells": table.n_cells,
        "frames": n_frames,
        "verdicts_set_aside": aside,
    }
    finished.mark(folder, fingerprint=mark, files=written, facts=facts)
    results.forget_aside(traces)
    _remove(folder, set(former) - {path.name for path in written})


def _measured(order: Order, fov: int, *, movie: Movie, reporter: Reporter) -> FovTable:
    n_frames = movie.info.n_frames

    def on_frame(frame: int) -> None:
        reporter.raise_if_stopped()
        if frame == n_frames - 1:
            # From here on files of a former run are replaced; nothing vouches for them any more.
            finished.forget(order.folder(fov))
        reporter.progress((frame + 1) / (n_frames + 1), "")

    return pipeline.process_fov(
        movie,
        order.plan,
        fov=fov,
        folder=order.folder(fov),
        features=features.load_features(),
        on_frame=on_frame,
    )


def _has_image(order: Order, fov: int) -> bool:
    """Whether there is the OME-Zarr that is wanted."""
    if order.ome_zarr == NO_OME_ZARR:
        return True
    return (order.image(fov) / ome_zarr.ROOT_NAMES[order.ome_zarr]).is_file()


def _add_image(
    order: Order, fov: int, *, mark: str, allowed: AllowedFolders, reporter: Reporter
) -> None:
    """Write the OME-Zarr of an FOV that was finished without."""
    folder = order.folder(fov)
    with opened_inside(order.movie, allowed) as movie:
        image = _write_image(order, fov, movie.info, reporter.raise_if_stopped)
    facts = finished.facts(folder)
    names = dict.fromkeys([*facts.pop("files"), image.name])
    del facts["fingerprint"]
    finished.mark(folder, fingerprint=mark, files=[folder / name for name in names], facts=facts)


def _write_image(order: Order, fov: int, info: MovieInfo, on_plane: Callable[[], None]) -> Path:
    files = order.files(fov)
    phase, labels = files.phase_and_labels
    return ome_zarr.write_image(
        order.image(fov),
        [
            ome_zarr.ImageChannel(info.channel_names[channel], path, is_phase=path == phase[1])
            for channel, path in (phase, *files.fl)
        ],
        labels=labels[1],
        sampling=ome_zarr.Sampling(order.plan.minutes(info), info.pixel_size_um),
        version=order.ome_zarr,
        on_plane=on_plane,
    )


def _remove(folder: Path, names: set[str]) -> None:
    """Remove files of a former run that this one has not replaced."""
    for name in names:
        path = folder / name
        if path.parent == folder and path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif path.parent == folder:
            path.unlink(missing_ok=True)


def _remove_partial(folder: Path) -> None:
    """Remove what a worker that was killed had begun; nobody writes there any more."""
    for path in folder.glob(f".*{PARTIAL_SUFFIX}"):
        if path.is_file() and not path.is_symlink():
            path.unlink(missing_ok=True)


# -- the run --------------------------------------------------------------------------------


def record(
    order: Order,
    params: Mapping[str, Any],
    *,
    mark: str,
    ending: Ending,
    allowed: AllowedFolders,
    on_block: Callable[[int], None] | None,
) -> dict[str, Any]:
    """Enter the finished FOVs into the folder's index, write the run's record, and sum it up.

    Parameters
    ----------
    on_block
        Called while the movie's checksum is taken; None to leave that out.

    Raises
    ------
    ProcessingFailed
        The movie was changed while it was processed.
    """
    if not allowed.is_allowed(order.output_dir):
        raise PathForbidden("output_dir leads outside the folders that may be used")
    fovs = range(params["fov_start"], params["fov_end"] + 1)
    good = [fov for fov in fovs if finished.is_finished(order.folder(fov), mark)]
    marks = [finished.facts(order.folder(fov)) for fov in good]
    files = {fov: order.files(fov) for fov in good}
    results_file = index.write_results(
        order.output_dir, index.ResultsIndex.of_plan(order.plan, files), params=params
    )
    began, ended = utc_moment(ending.began), utc_moment(ending.ended)
    stats = {
        "total_cells": sum(item["cells"] for item in marks),
        "total_frames": sum(item["frames"] for item in marks),
        "processing_time": round((ended - began).total_seconds(), 3),
    }
    warnings = [*params["warnings"]] + [
        f"FOV {fov} has other cells than before; what was marked of them is in {aside}"
        for fov, item in zip(good, marks, strict=True)
        if (aside := item["verdicts_set_aside"])
    ]
    for fov in good:
        _remove_partial(order.folder(fov))
    checksum = None if on_block is None else run_record.input_checksum(order.members, on_block)
    has_changed = order.fingerprint() != mark
    told = {str(fov): reason for fov, reason in ending.failures.items()}
    run_record.write_run(
        order.output_dir / run_record.RUN_NAME,
        run_record.RunRecord(
            job_id=ending.job_id,
            inputs=order.members,
            checksum=checksum,
            parameters=params,
            packages=PACKAGES,
            started=began,
            ended=ended,
            stats={**stats, "fovs": good, "failures": told, "warnings": warnings},
            state="failed" if has_changed else ending.state,
        ),
    )
    if has_changed:
        raise ProcessingFailed(
            f"{order.movie.name} was changed while it was processed; start the workflow again"
        )
    return {
        "results_file": str(results_file),
        "traces": [str(item.table) for item in files.values()],
        "stats": stats,
        "warnings": warnings,
    }
