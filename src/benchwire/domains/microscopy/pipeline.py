"""One field of view from its frames to a table of its cells, in a single pass, frame by frame."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchwire.domains.microscopy.background import background
from benchwire.domains.microscopy.cells import Cells, Outlines, Values
from benchwire.domains.microscopy.errors import ParametersInvalid, ProcessingFailed
from benchwire.domains.microscopy.features import Feature, Kind
from benchwire.domains.microscopy.plan import FovTable, Movie, MovieInfo, Plan
from benchwire.domains.microscopy.readers import as_counts
from benchwire.domains.microscopy.segmentation import segment
from benchwire.domains.microscopy.stacks import Stack, StackWriter, stacks_of, written_together
from benchwire.domains.microscopy.tracking import Tracker

Columns = dict[str, NDArray[Any]]


def process_fov(
    movie: Movie,
    plan: Plan,
    *,
    fov: int,
    folder: Path,
    features: Mapping[str, Feature],
    on_frame: Callable[[int], None],
) -> FovTable:
    """Write the stacks of one field of view into a folder and return the table of its cells.

    One frame at a time is in memory. The files get their names once all of them are whole and on
    the disk; before that, and whatever is raised, there are none.

    Parameters
    ----------
    features
        All that are known, by name.
    on_frame
        Called after every frame with its number; what it raises stops the work.
    """
    _check_features(plan, features)
    info = movie.info
    paths = {stack: folder / stack.name(info.base_name, fov) for stack in stacks_of(plan)}
    shape = (info.n_frames, info.height, info.width)
    tracker = Tracker(min_iou=plan.min_iou, min_size=plan.min_size, max_size=plan.max_size)
    with _on_one_core(), written_together(paths, shape) as stacks:
        frames: list[Columns] = []
        for frame in range(info.n_frames):
            read = _reader(movie, fov, frame)
            frames.append(_process_frame(read, plan, stacks, tracker=tracker, features=features))
            on_frame(frame)
        return _table(frames, plan, info, fov=fov)


def _process_frame(
    read: Callable[[int], NDArray[np.uint16]],
    plan: Plan,
    stacks: Mapping[Stack, StackWriter],
    *,
    tracker: Tracker,
    features: Mapping[str, Feature],
) -> Columns:
    """Write one frame of all stacks and return what was measured in it."""
    phase = plan.phase
    counts = read(phase)
    mask = segment(counts)
    labels = tracker.add(mask)
    stacks[Stack("pc", phase)].append(counts)
    stacks[Stack("seg", phase)].append(mask)
    stacks[Stack("seg_labeled", phase)].append(labels)
    outlines = Outlines.of(labels)
    columns = _base_columns(outlines)
    at_cells = outlines.at(counts)
    cells = Cells(outlines, at_cells, np.zeros_like(at_cells))
    for name in plan.phase_features:
        columns[_column(name, phase)] = _measured(features[name], cells)
    for item in plan.fluorescence:
        counts = read(item.channel)
        surface = background(counts, mask)
        stacks[Stack("fl", item.channel)].append(counts)
        stacks[Stack("fl_background", item.channel)].append(surface)
        cells = Cells(
            outlines,
            outlines.at(counts),
            outlines.at(surface),
            background_weight=plan.background_weight,
            erosion_size=plan.erosion_size,
        )
        for name in item.features:
            columns[_column(name, item.channel)] = _measured(features[name], cells)
    return columns


def _reader(movie: Movie, fov: int, frame: int) -> Callable[[int], NDArray[np.uint16]]:
    return lambda channel: np.ascontiguousarray(as_counts(movie.frame(fov, frame, channel=channel)))


def _base_columns(outlines: Outlines) -> Columns:
    """Return ids, centres of the boxes, and the boxes with their last rows and columns."""
    x0, x1 = outlines.smallest(outlines.columns), outlines.largest(outlines.columns)
    y0, y1 = outlines.smallest(outlines.rows), outlines.largest(outlines.rows)
    return {
        "cell": outlines.ids,
        "position_x": (x0 + x1) / 2,
        "position_y": (y0 + y1) / 2,
        "bbox_x0": x0,
        "bbox_y0": y0,
        "bbox_x1": x1,
        "bbox_y1": y1,
    }


def _measured(feature: Feature, cells: Cells) -> Values:
    """Return a feature of each cell; a feature may be anybody's, so what it does is checked."""
    n_cells = len(cells.outlines.ids)
    if not n_cells:
        return np.empty(0)
    try:
        values = np.asarray(feature.measure(cells), np.float64)
    except Exception as error:
        raise ProcessingFailed(f"The feature {feature.name} failed: {error}") from error
    if values.shape != (n_cells,):
        raise ProcessingFailed(f"The feature {feature.name} does not give one value for each cell")
    return values


def _table(frames: list[Columns], plan: Plan, info: MovieInfo, *, fov: int) -> FovTable:
    """Return the rows of all cells that were seen long enough and kept clear of the edge."""
    n_cells = [len(columns["cell"]) for columns in frames]
    measured = {name: np.concatenate([columns[name] for columns in frames]) for name in frames[0]}
    frame = np.repeat(np.arange(info.n_frames), n_cells)
    order = np.lexsort((frame, measured["cell"]))
    order = order[_is_kept(measured, plan, info)[order]]
    minutes = np.asarray(plan.minutes(info), np.float64)
    columns = {
        "fov": np.full(len(order), fov),
        "cell": measured.pop("cell")[order],
        "frame": frame[order],
        "time": minutes[frame[order]],
        "good": np.ones(len(order), np.bool_),
    }
    return FovTable(columns | {name: values[order] for name, values in measured.items()})


def _is_kept(measured: Columns, plan: Plan, info: MovieInfo) -> NDArray[np.bool_]:
    """Return which rows belong to cells that are kept."""
    margin = plan.border_margin
    cell = measured["cell"]
    near_edge = (
        (measured["bbox_x0"] < margin)
        | (measured["bbox_y0"] < margin)
        | (measured["bbox_x1"] > info.width - margin)
        | (measured["bbox_y1"] > info.height - margin)
    )
    n_frames = np.bincount(cell)
    is_good = n_frames >= min(plan.min_frames, info.n_frames)
    is_good[cell[near_edge]] = False
    kept: NDArray[np.bool_] = is_good[cell]
    return kept


def _column(feature: str, channel: int) -> str:
    return f"{feature}_ch_{channel}"


def _check_features(plan: Plan, features: Mapping[str, Feature]) -> None:
    wanted: list[tuple[Kind, str]] = [("phase", name) for name in plan.phase_features]
    wanted += [("fluorescence", name) for item in plan.fluorescence for name in item.features]
    for kind, name in wanted:
        if name not in features or features[name].kind != kind:
            raise ParametersInvalid(f"There is no {kind} feature {name}")


@contextmanager
def _on_one_core() -> Iterator[None]:
    """Keep OpenCV to the core it is called on: the other cores have their own fields of view."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
