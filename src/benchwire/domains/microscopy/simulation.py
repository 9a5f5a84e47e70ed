"""A generated time-lapse with known truth, for demonstrations and tests.

Cells look as the segmentation expects them: speckled ellipses in phase contrast on a smooth
background. They wander, grow and now and then divide, and their fluorescence matures. Each keeps
to a place of its own, so they never touch.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchwire.domains.microscopy.errors import ParametersInvalid

MODEL = "maturation_kinetic"
MATURATION_RATE = 1.28
PROTEIN_DECAY = 5.22e-3
PIXEL_SIZE_UM = 0.65

_BORDER = 58
_SMALLEST_RADIUS = 17.5
_LARGEST_RADIUS = 24.0
_LONGEST_AXIS = 1.08
_GAP = 25
_NARROWEST_PLACE = 2 * _LARGEST_RADIUS * _LONGEST_AXIS + _GAP + 4
_PHASE_LEVEL, _PHASE_NOISE, _SPECKLE = 8000.0, 25.0, 600.0
_CAMERA_NOISE = 4.0
_HIGHEST = 65535


@dataclass(frozen=True, slots=True)
class CellTruth:
    """One cell of one FOV, from its first frame to the end.

    Parameters
    ----------
    centres
        (y, x) in px, one for each frame from ``first_frame`` on.
    areas
        Number of pixels of the cell in each of these frames.
    intensities
        Total fluorescence in counts above the background in each of these frames.
    """

    fov: int
    cell: int
    first_frame: int
    centres: tuple[tuple[float, float], ...]
    areas: tuple[int, ...]
    intensities: tuple[float, ...]
    model: str
    parameters: dict[str, float]


@dataclass(frozen=True, slots=True)
class Truth:
    """What a generated movie shows."""

    size: int
    n_fovs: int
    minutes: tuple[float, ...]
    cells: tuple[CellTruth, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the truth as plain values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Cell:
    """How a cell is drawn in each frame: centre y, x, radius, ratio of axes, angle."""

    first_frame: int
    shape: NDArray[np.float64]
    parameters: dict[str, float]


def write_demo_movie(
    path: Path,
    *,
    seed: int = 0,
    n_fovs: int = 2,
    n_frames: int = 40,
    size: int = 512,
    n_cells: int = 12,
    minutes_per_frame: float = 10.0,
    with_truth: bool = False,
) -> Truth:
    """Write a movie of two channels, phase contrast and GFP, as OME-TIFF.

    Parameters
    ----------
    size
        Height and width in px.
    n_cells
        Cells of each FOV at the beginning; one in six divides.
    with_truth
        Also write the truth beside the movie, as ``<name>.truth.json``.

    Raises
    ------
    ParametersInvalid
        The cells do not fit into the images.
    """
    import tifffile

    minutes = tuple(minutes_per_frame * frame for frame in range(n_frames))
    fovs = [
        _cells(np.random.default_rng([seed, fov]), n_cells, n_frames, size) for fov in range(n_fovs)
    ]
    truth = Truth(size, n_fovs, minutes, tuple(_truth(fovs, np.array(minutes) / 60.0)))
    with tifffile.TiffWriter(path, ome=True) as file:
        for fov in range(n_fovs):
            shown = [cell for cell in truth.cells if cell.fov == fov]
            planes = _planes(
                np.random.default_rng([seed, fov, 1]),
                list(zip(fovs[fov], shown, strict=True)),
                truth,
            )
            file.write(
                planes, shape=(n_frames, 2, size, size), dtype="uint16", metadata=_metadata(minutes)
            )
    if with_truth:
        path.with_name(f"{path.name}.truth.json").write_text(json.dumps(truth.as_json()))
    return truth


def illumination(size: int) -> NDArray[np.float64]:
    """Return the fluorescence of the background: bright near the middle, darker to one side."""
    y, x = np.mgrid[0:size, 0:size] / size - 0.5
    bright: NDArray[np.float64] = 300.0 * (1.0 - 0.2 * (x**2 + y**2)) + 20.0 * x
    return bright


def matured(hours: NDArray[np.float64], parameters: dict[str, float]) -> NDArray[np.float64]:
    """Return the fluorescence after translation of decaying mRNA and maturation of the protein."""
    delta = parameters["delta"]
    since = np.maximum(hours - parameters["t0"], 0.0)
    d = PROTEIN_DECAY - delta
    km = MATURATION_RATE
    ready: NDArray[np.float64] = (
        np.exp(-(PROTEIN_DECAY + km) * since) / (d + km)
        - np.exp(-PROTEIN_DECAY * since) / d
        + km * np.exp(-delta * since) / (d * (d + km))
    )
    return parameters["ktl"] * ready + parameters["offset"]


def _metadata(minutes: tuple[float, ...]) -> dict[str, Any]:
    times = [time for time in minutes for _channel in range(2)]
    return {
        "axes": "TCYX",
        "Channel": {"Name": ["Phase", "GFP"]},
        "PhysicalSizeX": PIXEL_SIZE_UM,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": PIXEL_SIZE_UM,
        "PhysicalSizeYUnit": "µm",
        "Plane": {"DeltaT": times, "DeltaTUnit": ["min"] * len(times)},
    }


def _cells(rng: np.random.Generator, n_cells: int, n_frames: int, size: int) -> list[_Cell]:
    n_dividing = n_cells // 6
    per_side = math.ceil(math.sqrt(n_cells + n_dividing))
    place = (size - 2 * _BORDER) / max(per_side, 1)
    if place < _NARROWEST_PLACE:
        raise ParametersInvalid(f"{n_cells} cells do not fit into {size} x {size} pixels")
    middles = [
        (_BORDER + (row + 0.5) * place, _BORDER + (column + 0.5) * place)
        for row, column in (divmod(int(n), per_side) for n in rng.permutation(per_side**2))
    ]
    freedom = (place - _NARROWEST_PLACE) / 2.0
    cells = []
    for number in range(n_cells):
        divides = number < n_dividing and n_frames > 4
        division = int(rng.integers(n_frames * 2 // 5, n_frames * 3 // 5)) if divides else None
        parameters = {
            "t0": float(rng.uniform(0.1, 0.9)),
            "ktl": float(rng.uniform(1.5e5, 5e5)),
            "delta": float(rng.uniform(0.05, 0.3)),
            "offset": float(rng.uniform(0.0, 2e4)),
        }
        shape = _shape(rng, middles[number], freedom, n_frames)
        shape[:, 2] = _radii(rng, n_frames, division)
        cells.append(_Cell(0, shape, parameters))
        if division is not None:
            # The sister settles in a free place and carries on as her sister does.
            sister = _shape(rng, middles[n_cells + number], freedom, n_frames - division)
            sister[:, 2] = shape[division:, 2]
            cells.append(_Cell(division, sister, parameters))
    return sorted(cells, key=lambda cell: cell.first_frame)


def _shape(
    rng: np.random.Generator, middle: tuple[float, float], freedom: float, n_frames: int
) -> NDArray[np.float64]:
    """Return a slow round trip about the middle of a place; the radius is left open."""
    frame = np.arange(n_frames)
    shape = np.empty((n_frames, 5))
    for axis in (0, 1):
        period, phase = rng.uniform(40, 90), rng.uniform(0, 2 * np.pi)
        shape[:, axis] = middle[axis] + freedom * np.sin(2 * np.pi * frame / period + phase)
    shape[:, 3] = rng.uniform(1.0, _LONGEST_AXIS**2)
    shape[:, 4] = rng.uniform(0, np.pi) + rng.uniform(-0.02, 0.02) * frame
    return shape


def _radii(rng: np.random.Generator, n_frames: int, division: int | None) -> NDArray[np.float64]:
    """Return the radius in each frame: the area grows evenly, and halves at a division."""
    if division is None:
        first = rng.uniform(_SMALLEST_RADIUS, 0.5 * (_SMALLEST_RADIUS + _LARGEST_RADIUS))
        last = rng.uniform(first, _LARGEST_RADIUS)
        return np.sqrt(np.linspace(first**2, last**2, n_frames))
    halved = _LARGEST_RADIUS / math.sqrt(2.0) * 1.04
    before = np.linspace(halved**2, _LARGEST_RADIUS**2, division + 1)[:division]
    after = np.linspace(halved**2, (0.9 * _LARGEST_RADIUS) ** 2, n_frames - division)
    areas: NDArray[np.float64] = np.concatenate([before, after])
    return np.sqrt(areas)


def _truth(fovs: list[list[_Cell]], hours: NDArray[np.float64]) -> Iterator[CellTruth]:
    for fov, cells in enumerate(fovs):
        for number, cell in enumerate(cells, start=1):
            yield CellTruth(
                fov=fov,
                cell=number,
                first_frame=cell.first_frame,
                centres=tuple((float(y), float(x)) for y, x in cell.shape[:, :2]),
                areas=tuple(int((_patch(row)[2] > 0).sum()) for row in cell.shape),
                intensities=tuple(matured(hours[cell.first_frame :], cell.parameters).tolist()),
                model=MODEL,
                parameters=cell.parameters,
            )


def _patch(row: NDArray[np.float64]) -> tuple[slice, slice, NDArray[np.float64]]:
    """Return where a cell lies in a frame, and how high it is there: 1 in the middle, 0 outside."""
    y, x, radius, ratio, angle = row
    reach = math.ceil(radius * math.sqrt(ratio)) + 1
    top, left = round(y) - reach, round(x) - reach
    dy, dx = np.ogrid[top - y : top - y + 2 * reach, left - x : left - x + 2 * reach]
    along = dx * math.cos(angle) + dy * math.sin(angle)
    across = dy * math.cos(angle) - dx * math.sin(angle)
    height = 1.0 - (along**2 / ratio + across**2 * ratio) / radius**2
    where = slice(top, top + height.shape[0]), slice(left, left + height.shape[1])
    return *where, np.maximum(height, 0.0)


def _planes(
    rng: np.random.Generator, cells: list[tuple[_Cell, CellTruth]], truth: Truth
) -> Iterator[NDArray[np.uint16]]:
    """Yield the planes of a FOV one by one, in each frame phase contrast first."""
    size = truth.size
    background = illumination(size).astype(np.float32)
    slope = np.linspace(-200.0, 200.0, size, dtype=np.float32)
    for frame in range(len(truth.minutes)):
        phase = rng.standard_normal((size, size), np.float32) * _PHASE_NOISE
        phase += slope + _PHASE_LEVEL
        light = rng.standard_normal((size, size), np.float32) * _CAMERA_NOISE + background
        for cell, known in cells:
            age = frame - cell.first_frame
            if age < 0:
                continue
            rows, columns, height = _patch(cell.shape[age])
            speckle = rng.standard_normal(height.shape, np.float32) * _SPECKLE
            phase[rows, columns] += np.where(height > 0, speckle, 0.0)
            # Light fades towards the edge, so that its sum hardly depends on the exact outline.
            glow = height**2
            light[rows, columns] += known.intensities[age] * glow / glow.sum()
        for image in (phase, light):
            yield np.clip(np.rint(image), 0, _HIGHEST).astype(np.uint16)
