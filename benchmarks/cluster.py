"""Work on a Dask cluster beside the processes of this computer: cost per piece, and scaling.

Both sides in one run. The cluster is a scheduler and workers on this computer, each a process of
its own with one thread; so no network is crossed, and more workers than cores gain nothing. A piece
that does nothing shows what the way there and back costs; an FOV of a movie is real work.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.support import work as pieces
from tests.support.cluster import DaskCluster

from benchwire.domains.microscopy import work
from benchwire.domains.microscopy.plan import FluorescenceChannel, Plan
from benchwire.domains.microscopy.simulation import write_demo_movie
from benchwire.foundation.cluster.connection import Cluster, Place
from benchwire.foundation.cluster.executor import ClusterExecutor
from benchwire.foundation.files import AllowedFolders
from benchwire.foundation.workers import Executor, ProcessExecutor

PLAN = Plan(0, ("area",), (FluorescenceChannel(1, ("intensity_total",)),))


def one_by_one_ms(executor: Executor, count: int) -> float:
    """Return the median time of a piece that is waited for."""
    times = []
    for _ in range(count):
        began = time.perf_counter()
        executor.submit(pieces.process_id).result(60)
        times.append((time.perf_counter() - began) * 1e3)
    return statistics.median(times)


def at_once_ms(executor: Executor, count: int) -> float:
    """Return the time per piece when all are handed over at once."""
    began = time.perf_counter()
    for future in [executor.submit(pieces.process_id) for _ in range(count)]:
        future.result(120)
    return (time.perf_counter() - began) * 1e3 / count


class Workflow:
    """FOVs of a movie, each a piece of work."""

    def __init__(self, folder: Path, fovs: int, frames: int) -> None:
        self.folder = folder
        self.fovs = fovs
        self.movie = folder / "movie.ome.tif"
        write_demo_movie(self.movie, seed=1, n_fovs=fovs, n_frames=frames, size=768, n_cells=20)
        self.runs = 0

    def seconds(self, executor: Executor) -> float:
        """Return how long all FOVs take."""
        self.runs += 1
        params = {
            "microscopy_path": str(self.movie), "base_name": "movie",
            "members": [str(self.movie)], "output_dir": str(self.folder / f"run-{self.runs}"),
            "plan": PLAN.as_json(), "ome_zarr": "none",
        }  # fmt: skip
        mark = executor.submit(work.fingerprint, params).result(60)
        began = time.perf_counter()
        futures = [
            executor.submit(work.process_fov, params, fov, mark, "bench", AllowedFolders(()))
            for fov in range(self.fovs)
        ]
        for future in futures:
            future.result(600)
        return time.perf_counter() - began


def on_cluster(folder: Path, workers: int, use: Callable[[Executor], Any]) -> Any:
    """Use an executor over a cluster of so many workers, with all processes warm."""
    folder.mkdir()
    with DaskCluster(folder, workers, threads=1) as dask:
        dask.await_workers(workers)
        cluster = Cluster(Place(dask.address), data_dir=folder, wanted_threads=workers)
        return used(ClusterExecutor(cluster, workers), workers, use, cluster.close)


def used(
    executor: Executor, at_once: int, use: Callable[[Executor], Any], *closers: Callable[[], None]
) -> Any:
    """Warm an executor up, use it, and close what belongs to it."""
    try:
        for future in [executor.submit(pieces.process_id) for _ in range(4 * at_once)]:
            future.result(60)
        return use(executor)
    finally:
        executor.close()
        for close in closers:
            close()


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pieces", type=int, default=300)
    parser.add_argument("--fovs", type=int, default=8)
    parser.add_argument("--frames", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="benchwire-bench-") as name:
        folder = Path(name)
        workflow = Workflow(folder, options.fovs, options.frames)

        def measured(executor: Executor) -> tuple[float, float, float]:
            return (
                one_by_one_ms(executor, options.pieces),
                at_once_ms(executor, options.pieces),
                workflow.seconds(executor),
            )

        print("workers              one by one   at once   workflow")
        found: dict[tuple[str, int], tuple[float, float, float]] = {}
        for count in (1, 2):
            found["here", count] = used(ProcessExecutor(count), count, measured)
            found["cluster", count] = on_cluster(folder / f"dask-{count}", count, measured)
            for side in ("here", "cluster"):
                alone, together, whole = found[side, count]
                print(f"{count} {side:18} {alone:7.2f} ms {together:7.2f} ms {whole:8.2f} s")
        for count in (1, 2):
            here, there = found["here", count], found["cluster", count]
            print(
                f"{count} on the cluster against here: {there[0] - here[0]:.1f} ms more per piece "
                f"waited for, workflow {there[2] / here[2]:.2f} times"
            )
        for side in ("here", "cluster"):
            print(
                f"{side}: two workers {found[side, 1][2] / found[side, 2][2]:.2f} times as fast "
                "as one"
            )


if __name__ == "__main__":
    main()
