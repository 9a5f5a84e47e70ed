"""The pipeline written once more as its definitions read, with SciPy: slow, plain, the measure.

It shares nothing with the product but the plan's values. SciPy's binary morphology writes outside
its memory when the structure is larger than the image, so images are padded by nothing first; as
outside counts as nothing anyway, that changes no pixel.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.interpolate import make_interp_spline
from scipy.optimize import linear_sum_assignment
from skimage.measure import regionprops

from benchwire.domains.microscopy.plan import Movie, MovieInfo, Plan

Stacks = dict[tuple[str, int], list[NDArray[Any]]]

BINS = 200
PAD_PX = 32


def segment(frame: NDArray[np.uint16]) -> NDArray[np.bool_]:
    counts = frame.astype(np.int64)
    window = np.ones((3, 3), np.int64)
    total = ndimage.correlate(counts, window, mode="reflect")
    squares = ndimage.correlate(counts**2, window, mode="reflect")
    variance = ((9 * squares - total**2) / 81).astype(np.float32)
    contrast = np.zeros(frame.shape, np.float32)
    varies = variance > 0
    contrast[varies] = np.log(variance[varies])
    contrast = contrast * np.float32(0.5)
    if np.all(contrast == contrast.flat[0]):
        return np.zeros(frame.shape, bool)
    ends = (np.float64(contrast.min()), np.float64(contrast.max()))
    counts, edges = np.histogram(contrast, BINS, range=ends)
    fullest = np.argmax(counts)
    mode = (edges[fullest] + edges[fullest + 1]) / 2
    spread = np.std(contrast[contrast <= mode], dtype=np.float64)
    mask = contrast > mode + 3 * spread
    mask = np.pad(ndimage.binary_fill_holes(mask), PAD_PX)
    square = np.ones((7, 7), bool)
    mask = ndimage.binary_erosion(mask, square, iterations=3)
    mask = ndimage.binary_dilation(mask, square, iterations=3)
    mask = cleared(mask)
    mask = ndimage.binary_dilation(mask, square, iterations=3)
    mask = cleared(mask)
    mask = ndimage.binary_erosion(mask, square, iterations=3)
    return unpadded(mask)


def unpadded(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return mask[PAD_PX:-PAD_PX, PAD_PX:-PAD_PX]


def cleared(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Outside the image is background again, whatever has grown into it."""
    return np.pad(unpadded(mask), PAD_PX)


def background(frame: NDArray[np.uint16], foreground: NDArray[np.bool_]) -> NDArray[np.float64]:
    halo = ndimage.binary_dilation(np.pad(foreground, PAD_PX), np.ones((21, 21), bool))
    masked = np.where(unpadded(halo), np.nan, frame)
    rows, columns = (tile_edges(n_px) for n_px in frame.shape)
    medians = np.zeros((len(rows) - 2, len(columns) - 2))
    for i, j in np.ndindex(*medians.shape):
        tile = masked[rows[i] : rows[i + 2], columns[j] : columns[j + 2]]
        pool = tile if np.any(~np.isnan(tile)) else masked
        if np.all(np.isnan(pool)):
            medians[i, j] = np.percentile(frame, 10)
        else:
            medians[i, j] = np.nanmedian(pool)
    along_rows = evaluated(rows, medians, frame.shape[0])
    return evaluated(columns, along_rows.T, frame.shape[1]).T


def tile_edges(n_px: int) -> list[int]:
    divisions = max(math.ceil(n_px / 256) + 1, 2)
    return [round(edge) for edge in np.linspace(0, n_px, 2 * divisions - 1).tolist()]


def evaluated(edges: list[int], values: NDArray[np.float64], n_px: int) -> NDArray[np.float64]:
    centres = [(first + end) / 2 for first, end in zip(edges, edges[2:], strict=False)]
    if len(centres) == 1:
        return np.repeat(values, n_px, axis=0)
    spline = make_interp_spline(centres, values, k=min(3, len(centres) - 1), axis=0)
    return spline(np.clip(np.arange(n_px), centres[0], centres[-1]))


@dataclass
class Track:
    cell: int
    box: tuple[int, int, int, int]
    centre: tuple[float, float]
    frame: int


@dataclass
class Tracker:
    min_iou: float = 0.1
    min_size: int | None = None
    max_size: int | None = None
    n_cells: int = 0
    frame: int = 0
    tracks: list[Track] = field(default_factory=list)

    def add(self, mask: NDArray[np.bool_]) -> NDArray[np.uint16]:
        labels, _ = ndimage.label(mask)
        objects = {}
        for region in regionprops(labels):
            if (self.min_size or 0) <= region.area <= (self.max_size or math.inf):
                objects[region.label] = Track(0, region.bbox, region.centroid, self.frame)
        self.identify(list(objects.values()))
        drawn = np.zeros(mask.shape, np.uint16)
        for region in regionprops(labels):
            if region.label in objects:
                drawn[region.slice][region.image] = objects[region.label].cell
        return drawn

    def identify(self, objects: list[Track]) -> None:
        self.tracks.sort(key=lambda track: track.cell)
        previous = [track for track in self.tracks if track.frame == self.frame - 1]
        lost = [track for track in self.tracks if self.frame - 3 <= track.frame < self.frame - 1]
        links = {
            (i, j)
            for i, track in enumerate(previous)
            for j, item in enumerate(objects)
            if iou(track.box, item.box) >= self.min_iou and iou(track.box, item.box) > 0
        }
        self.give(previous, objects, links)
        taken = [item for item in objects if item.cell]
        links = {
            (i, j)
            for i, track in enumerate(lost)
            for j, item in enumerate(objects)
            if not item.cell
            and iou(track.box, item.box) >= self.min_iou
            and iou(track.box, item.box) > max([0, *(iou(track.box, o.box) for o in taken)])
        }
        self.give(lost, objects, links)
        for item in objects:
            if not item.cell:
                self.n_cells += 1
                item.cell = self.n_cells
        ids = {item.cell for item in objects}
        self.tracks = [track for track in self.tracks if track.cell not in ids] + objects
        self.frame += 1

    def give(self, tracks: list[Track], objects: list[Track], links: set[tuple[int, int]]) -> None:
        """Groups in the order of their first track; within one, the cheapest assignment."""
        open_links = set(links)
        while open_links:
            group = {min(open_links)}
            while more := {
                link
                for link in open_links - group
                if any(link[0] == i or link[1] == j for i, j in group)
            }:
                group |= more
            open_links -= group
            rows, columns = sorted({i for i, _ in group}), sorted({j for _, j in group})
            cost = np.full((len(rows), len(columns)), 1 + 1e-10)
            for i, j in group:
                track, item = tracks[i], objects[j]
                down = track.centre[0] - item.centre[0]
                right = track.centre[1] - item.centre[1]
                distance = down * down + right * right
                cost[rows.index(i), columns.index(j)] = (
                    1 - iou(track.box, item.box) + 1e-10 * (distance / (1 + distance))
                )
            for a, b in zip(*linear_sum_assignment(cost), strict=True):
                if (rows[a], columns[b]) in group:
                    objects[columns[b]].cell = tracks[rows[a]].cell


def iou(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    height = min(one[2], other[2]) - max(one[0], other[0])
    width = min(one[3], other[3]) - max(one[1], other[1])
    common = max(height, 0) * max(width, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return common / (sum(areas) - common)


def measure(
    name: str,
    mask: NDArray[np.bool_],
    counts: NDArray[np.uint16],
    *,
    surface: NDArray[np.float64],
    weight: float = 1.0,
    erosion_size: int = 0,
) -> float:
    """One feature of one cell; the mask needs a rim of one pixel where the image goes on."""
    signal = counts.astype(np.float64) - weight * surface
    match name:
        case "area":
            return float(np.count_nonzero(mask))
        case "aspect_ratio":
            covariance = np.cov(np.argwhere(mask).T, bias=True)
            smaller, larger = np.linalg.eigvalsh(covariance)
            return 1.0 if smaller < 1e-9 else math.sqrt(larger / smaller)
        case "circularity":
            around = np.pad(mask, 1)
            outside = ndimage.binary_dilation(around) & ~around
            outline = np.count_nonzero(outside[1:-1, 1:-1])
            return min(4 * math.pi * np.count_nonzero(mask) / outline**2, 1.0) if outline else 1.0
        case "intensity_total" | "intensity_mean":
            area = np.count_nonzero(mask)
            if erosion_size > 1:
                square = np.ones((erosion_size, erosion_size), bool)
                mask = unpadded(ndimage.binary_erosion(np.pad(mask, PAD_PX), square))
            total = float(signal[mask].sum())
            return total if name == "intensity_total" else total / area
        case "intensity_variance":
            return float(counts[mask].astype(np.float64).var())
    raise ValueError(name)


def process_fov(movie: Movie, plan: Plan, *, fov: int) -> tuple[Stacks, list[dict[str, float]]]:
    """All stacks and, before any filter, the rows of the table of one field of view."""
    stacks: Stacks = {}
    rows = []
    tracker = Tracker(min_iou=plan.min_iou, min_size=plan.min_size, max_size=plan.max_size)
    for frame in range(movie.info.n_frames):
        phase = movie.frame(fov, frame, channel=plan.phase)
        mask = segment(phase)
        labels = tracker.add(mask)
        for kind, image in (("pc", phase), ("seg", mask), ("seg_labeled", labels)):
            stacks.setdefault((kind, plan.phase), []).append(image)
        nothing = np.zeros(phase.shape)
        images = {}
        for item in plan.fluorescence:
            counts = movie.frame(fov, frame, channel=item.channel)
            surface = background(counts, mask)
            images[item.channel] = (counts, surface)
            stacks.setdefault(("fl", item.channel), []).append(counts)
            stacks.setdefault(("fl_background", item.channel), []).append(surface)
        for region in regionprops(labels):
            y0, x0, y1, x1 = region.bbox
            part = np.s_[max(y0 - 1, 0) : y1 + 1, max(x0 - 1, 0) : x1 + 1]
            own = labels[part] == region.label
            row = {
                "fov": fov, "cell": region.label, "frame": frame,
                "time": plan.minutes(movie.info)[frame], "good": True,
                "position_x": (x0 + x1 - 1) / 2, "position_y": (y0 + y1 - 1) / 2,
                "bbox_x0": x0, "bbox_y0": y0, "bbox_x1": x1 - 1, "bbox_y1": y1 - 1,
            }  # fmt: skip
            for name in plan.phase_features:
                row[f"{name}_ch_{plan.phase}"] = measure(
                    name, own, phase[part], surface=nothing[part]
                )
            for item in plan.fluorescence:
                counts, surface = images[item.channel]
                for name in item.features:
                    row[f"{name}_ch_{item.channel}"] = measure(
                        name, own, counts[part], surface=surface[part],
                        weight=plan.background_weight, erosion_size=plan.erosion_size,
                    )  # fmt: skip
            rows.append(row)
    rows.sort(key=lambda row: (row["cell"], row["frame"]))
    return stacks, rows


def without_dropped(
    rows: list[dict[str, float]], plan: Plan, info: MovieInfo
) -> list[dict[str, float]]:
    """The rows of the cells that are seen long enough and never too near to the edge."""
    cells: dict[float, list[dict[str, float]]] = {}
    for row in rows:
        cells.setdefault(row["cell"], []).append(row)
    margin = plan.border_margin
    return [
        row
        for seen in cells.values()
        if len(seen) >= min(plan.min_frames, info.n_frames)
        and not any(
            at["bbox_x0"] < margin
            or at["bbox_y0"] < margin
            or at["bbox_x1"] > info.width - margin
            or at["bbox_y1"] > info.height - margin
            for at in seen
        )
        for row in seen
    ]
