"""One field of view of a time-lapse movie: the product beside the plain SciPy pipeline.

The movie is made in memory frame by frame, so reading costs nothing on either side; the stacks
are written to disk and brought there in full.
"""

import argparse
import multiprocessing as mp
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from skimage.measure import regionprops

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.domains.microscopy import oracle

from benchwire.domains.microscopy import background, cells, features, segmentation, tracking
from benchwire.domains.microscopy.pipeline import process_fov
from benchwire.domains.microscopy.plan import FluorescenceChannel, MovieInfo, Plan
from timing import median_ms

SIDE, CELLS, ORACLE_FRAMES, KINDS = 1024, 80, 2, 8
GOAL_SECONDS, GOAL_MB = 5.0, 500
PLAN = Plan(0, ("area", "aspect_ratio"), (FluorescenceChannel(1, ("intensity_total",)),))
FEATURES = {
    item.name: item for item in (features.Area(), features.AspectRatio(), features.IntensityTotal())
}


class Movie:
    """Cells that drift slowly in a lit field; a few frames, shown to and fro."""

    def __init__(self, n_frames: int) -> None:
        times = tuple(600_000.0 * frame for frame in range(n_frames))
        self.info = MovieInfo(
            Path("bench"), "bench", "ome-tiff", SIDE, SIDE, n_frames, 2, 2, "uint16",
            ("phase", "gfp"), times, True, None,
        )  # fmt: skip
        self.shown = [drawn(frame) for frame in range(min(n_frames, KINDS))]

    def frame(self, fov: int, frame: int, *, channel: int) -> NDArray[np.uint16]:
        """Return one plane."""
        turn = frame % (2 * KINDS - 2) if len(self.shown) == KINDS else frame
        return self.shown[min(turn, 2 * KINDS - 2 - turn)][channel]

    def close(self) -> None:
        """Nothing to give back."""


def drawn(frame: int) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    noise = np.random.default_rng(frame)
    layout = np.random.default_rng(99)
    phase = noise.normal(10_000, 60, (SIDE, SIDE))
    light = noise.normal(500, 20, (SIDE, SIDE)) + np.linspace(0, 200, SIDE)
    grid = layout.permutation(100)[:CELLS]
    for place in grid:
        radius, drift = layout.integers(17, 30), layout.normal(0, 1, 2)
        y, x = np.array(divmod(place, 10)) * 100 + 60 + layout.integers(-8, 9, 2) + drift * frame
        rows, columns = np.ogrid[:SIDE, :SIDE]
        disc = (rows - y) ** 2 + (columns - x) ** 2 < radius**2
        phase[disc] += noise.normal(0, 500, np.count_nonzero(disc))
        light[disc] += 800
    return tuple(image.clip(0, 65_535).astype(np.uint16) for image in (phase, light))


def seconds_of_fov(movie: Movie, fov: int) -> float:
    with tempfile.TemporaryDirectory(prefix="benchwire-bench-") as folder:
        began = time.perf_counter()
        table = process_fov(
            movie, PLAN, fov=fov, folder=Path(folder), features=FEATURES, on_frame=lambda _: None
        )
        taken = time.perf_counter() - began
        assert table.n_cells > CELLS // 3
    return taken


def worker(n_frames: int, fov: int, start: object, results: object) -> None:
    movie = Movie(n_frames)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    start.wait()
    seconds = seconds_of_fov(movie, fov)
    results.put((seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, before))


def workers(count: int, n_frames: int) -> tuple[float, float]:
    """Return the seconds until all of so many workers have done one FOV, and the most MB of one."""
    context = mp.get_context("spawn")
    start, results = context.Barrier(count), context.Queue()
    running = [
        context.Process(target=worker, args=(n_frames, fov, start, results)) for fov in range(count)
    ]
    for process in running:
        process.start()
    found = [results.get() for _ in running]
    for process in running:
        process.join()
    return max(item[0] for item in found), max(item[1] for item in found)


def steps() -> None:
    """Print each step of one frame, ours beside the plain one."""
    phase, light = drawn(0)
    mask = segmentation.segment(phase)
    assert np.array_equal(mask, oracle.segment(phase))
    labels = tracking.Tracker(min_iou=0.1).add(mask)
    surface = background.background(light, mask)

    def second_frame(tracker: object) -> None:
        tracker.add(mask)
        tracker.add(mask)

    def ours() -> None:
        outlines = cells.Outlines.of(labels)
        given = cells.Cells(outlines, outlines.at(light), outlines.at(surface))
        for feature in FEATURES.values():
            feature.measure(given)

    def plain() -> None:
        for region in regionprops(labels):
            for name in FEATURES:
                oracle.measure(
                    name, region.image, light[region.slice], surface=surface[region.slice]
                )

    rows = {
        "segment": (lambda: segmentation.segment(phase), lambda: oracle.segment(phase)),
        "background": (
            lambda: background.background(light, mask), lambda: oracle.background(light, mask),
        ),
        "track, 2 frames": (
            lambda: second_frame(tracking.Tracker(min_iou=0.1)),
            lambda: second_frame(oracle.Tracker()),
        ),
        "measure": (ours, plain),
    }  # fmt: skip
    for name, (fast, slow) in rows.items():
        one, other = median_ms(fast, 9), median_ms(slow, 2)
        print(f"  {name:18} {one:8.1f} ms, plain {other:8.1f} ms, {other / one:6.1f} times")


def main() -> None:
    import cv2

    parser = argparse.ArgumentParser()
    parser.add_argument("--frames", type=int, default=60)
    n_frames = parser.parse_args().frames
    cv2.setNumThreads(1)
    print(f"One frame of {SIDE} x {SIDE} px, two channels, {CELLS} cells")
    steps()
    alone, most_mb = workers(1, n_frames)
    movie = Movie(ORACLE_FRAMES)
    began = time.perf_counter()
    oracle.process_fov(movie, PLAN, fov=0)
    plain = (time.perf_counter() - began) / ORACLE_FRAMES
    ours = alone / n_frames
    print(f"whole FOV, files written: {ours * 1e3:.1f} ms a frame, plain {plain * 1e3:.1f} ms, "
          f"{plain / ours:.1f} times (goal 10)")  # fmt: skip
    print(f"  {n_frames} frames {alone:.2f} s; 60 frames {ours * 60:.2f} s (goal {GOAL_SECONDS:g})")
    print(f"  most memory of a worker {most_mb:.0f} MB, "
          f"{KINDS * SIDE * SIDE * 4 >> 20} MB of it the movie (goal {GOAL_MB})")  # fmt: skip
    both, most_mb = workers(2, n_frames)
    print(
        f"two workers, two FOVs: {both:.2f} s, {2 * alone / both:.2f} times one; {most_mb:.0f} MB"
    )


if __name__ == "__main__":
    main()
