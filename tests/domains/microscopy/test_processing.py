"""One FOV from movie to mark, where the process ends between two of its files."""

from pathlib import Path

import pytest

from benchwire.domains.microscopy import finished, results
from benchwire.domains.microscopy.plan import Plan
from benchwire.domains.microscopy.processing import NO_OME_ZARR, Order, process
from benchwire.domains.microscopy.simulation import write_demo_movie
from benchwire.foundation.files import AllowedFolders


class Reporter:
    """Tells nobody, and is never stopped."""

    def progress(self, fraction: float, message: str = "") -> None:
        """Tell it."""

    def raise_if_stopped(self) -> None:
        """Go on."""


def order(folder: Path) -> Order:
    path = folder / "cells.ome.tif"
    write_demo_movie(path, seed=5, n_fovs=1, n_frames=6, size=320, n_cells=4)
    plan = Plan(0, ("area",), min_frames=6, border_margin=5)
    return Order(path, "cells", (path,), folder / "out", plan, NO_OME_ZARR)


def processed(wanted: Order, mark: str) -> dict[str, object]:
    process(wanted, 0, mark=mark, job_id="x", allowed=AllowedFolders(), reporter=Reporter())
    return finished.facts(wanted.folder(0))


def test_verdicts_that_a_killed_run_set_aside_are_told_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = order(tmp_path)
    assert processed(wanted, "first")["verdicts_set_aside"] is None
    traces = wanted.files(0).table
    # What is judged has a row more than will be found.
    lines = traces.read_text().splitlines()
    traces.write_text("\n".join([*lines, lines[-1]]) + "\n")
    results.write_inspected(traces, {int(lines[-1].split(",")[1]): False})

    def kill(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(finished, "mark", kill)
        with pytest.raises(KeyboardInterrupt):
            processed(wanted, "second")
    aside = f"{results.inspected_path(traces).name}.1.bak"
    for _ in range(2):  # the second time there is nothing to do
        assert processed(wanted, "second")["verdicts_set_aside"] == aside
    assert results.preferred(traces) == traces
    assert (traces.parent / aside).is_file()
    assert processed(wanted, "third")["verdicts_set_aside"] is None
    assert not list(traces.parent.glob(".*"))
