"""Runs from Python, on emulated instruments."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from benchwire.client import (
    Bench,
    BenchError,
    Conflict,
    Invalid,
    NotFound,
    StillRunning,
    WorkCancelled,
)
from benchwire.client.potentiostats import Run

CV = {
    "start": 0.3, "vertex1": 0.4, "vertex2": 0.2, "end": 0.3, "scan_rate": 1.0, "cycles": 1,
}  # fmt: skip
MODES: list[tuple[str, dict[str, Any], str]] = [
    ("cv", CV, "Cycle"),
    ("lsv", {"start": 0.0, "end": 0.2, "scan_rate": 1.0}, "Applied potential (V)"),
    ("ca", {"potential": 0.3, "duration": 0.2}, "Current (A)"),
    ("pstep", {"potentials": [0.0, 0.2], "step_duration": 0.1}, "Step"),
    ("cp", {"current": 1e-5, "duration": 0.2}, "Applied current (A)"),
    ("gs", {"start": 0.0, "end": 2e-5, "num_steps": 3, "step_duration": 0.1}, "Potential (V)"),
    (
        "gcv",
        {"start": 0.0, "vertex1": 1e-5, "vertex2": -1e-5, "end": 0.0, "num_steps": 2,
         "step_duration": 0.05, "cycles": 1},
        "Cycle",
    ),
    ("stepseq", {"currents": [0.0, 1e-5], "step_duration": 0.1}, "Applied current (A)"),
    ("ocp", {"duration": 0.2}, "Potential (V)"),
    ("eis", {"start_freq": 100.0, "end_freq": 20.0, "points_per_decade": 3}, "|Z| (Ohm)"),
]  # fmt: skip


@pytest.fixture(scope="module")
def run(lab: Any) -> Run:
    """A finished CV on both slots."""
    found = lab.bench.potentiostats.cv(
        **CV, experiment="Ferrocén / 鐵", samples={"slot01": "Probe ä"}, sampling_interval=0.01
    )
    assert found.follow() is found
    return found


@pytest.mark.parametrize(("method", "parameters", "column"), MODES)
def test_mode_runs_with_its_own_words(
    bench: Bench, method: str, parameters: dict[str, Any], column: str
) -> None:
    start = getattr(bench.potentiostats, method)
    found = start(slots="slot01", make_plot=False, **parameters).wait(60)
    frame = found.data()
    assert frame.height > 1
    assert frame[column].is_not_null().all()


def test_sequence_runs_in_order(bench: Bench) -> None:
    steps = [("OCP", {"duration": 0.2}), ("CA", {"potential": 0.1, "duration": 0.2})]
    found = bench.potentiostats.run(steps, slots=["slot02"], make_plot=False).follow()
    assert found.status.answer["modes"] == ["OCP", "CA"]
    assert found.data(mode="ocp").height > 1
    assert found.data(mode="CA").height > 1


def test_one_mode_with_two_sets_of_parameters_is_refused(bench: Bench) -> None:
    with pytest.raises(BenchError, match="named twice"):
        bench.potentiostats.run([("OCP", {"duration": 1}), ("OCP", {"duration": 2})])


def test_data_are_a_table_and_an_array(run: Run) -> None:
    frame = run.data("slot01", "CV")
    assert frame.columns[:3] == ["Time (s)", "Potential (V)", "Current (A)"]
    assert set(frame.dtypes) == {pl.Float64}
    assert frame["Time (s)"].is_sorted()
    array = run.array("slot01", columns=["Potential (V)", "Current (A)"])
    assert array.dtype == np.float64
    assert array.shape == (frame.height, 2)
    assert array[:, 0].max() == pytest.approx(0.4, abs=0.01)


def test_data_of_two_slots_are_not_guessed(run: Run) -> None:
    with pytest.raises(BenchError, match="slot01 CV, slot02 CV") as caught:
        run.data()
    assert caught.value.code == "run.which_file"
    with pytest.raises(BenchError, match="nothing of that"):
        run.data("slot09")


def test_files_are_downloaded_whole(run: Run, tmp_path: Path) -> None:
    paths = run.download(tmp_path)
    names = [path.relative_to(tmp_path / run.id).as_posix() for path in paths]
    assert names == [*run.files, "run.json"]
    assert all(path.stat().st_size > 0 for path in paths)
    assert run.file(names[0]) == paths[0].read_bytes()
    assert {path.suffix for path in paths[:-1]} == {".csv", ".png"}
    record = json.loads(paths[-1].read_text("utf-8"))
    assert record["run_id"] == run.id
    assert run.slots == ["slot01", "slot02"]


def test_run_is_found_again(bench: Bench, run: Run) -> None:
    assert bench.potentiostats.get(run.id) == run
    assert run.id in bench.potentiostats.runs(state="completed")["run_id"]
    assert bench.potentiostats.runs(group="nobody's").is_empty()
    with pytest.raises(NotFound) as caught:
        bench.potentiostats.get("nobody")
    assert (caught.value.status, caught.value.code) == (404, "jobs.not_found")


def test_cancelled_run_says_so_and_keeps_its_data(bench: Bench) -> None:
    found = bench.potentiostats.ca(potential=0.2, duration=60, slots="slot01", make_plot=False)
    with pytest.raises(StillRunning):
        found.wait(0.5)
    with pytest.raises(Conflict) as caught:
        bench.potentiostats.ocp(duration=1, slots="slot01")
    assert caught.value.code == "jobs.slots_busy"
    assert "slot01" in caught.value.message
    assert caught.value.hint
    found.cancel()
    with pytest.raises(WorkCancelled):
        found.follow()
    assert found.wait(check=False).state == "cancelled"
    assert found.data().height > 1


def test_same_key_is_the_same_run(bench: Bench) -> None:
    first = bench.potentiostats.ocp(duration=0.2, slots="slot01", key="twice", make_plot=False)
    again = bench.potentiostats.ocp(duration=0.2, slots="slot01", key="twice", make_plot=False)
    assert first == again
    with pytest.raises(Conflict) as caught:
        bench.potentiostats.ca(potential=0.5, duration=1, slots="slot01", key="twice")
    assert caught.value.code == "jobs.idempotency_key_reused"
    first.wait(30)


def test_slots_without_an_instrument_are_not_left_out_unseen(bench: Bench) -> None:
    before = bench.potentiostats.runs().height
    for slots in ("slot09", ["slot01", "slot09"]):
        with pytest.raises(BenchError, match="no instrument on slot09") as caught:
            bench.potentiostats.ocp(duration=1, slots=slots)
        assert "slot02" in caught.value.hint
    assert bench.potentiostats.runs().height == before


def test_a_misspelt_option_measures_nothing(bench: Bench) -> None:
    before = bench.potentiostats.runs().height
    with pytest.raises(TypeError, match="'slot'"):
        bench.potentiostats.ocp(duration=1, slot="slot01")  # type: ignore[call-arg]
    assert bench.potentiostats.runs().height == before


def test_bench_is_looked_at(bench: Bench) -> None:
    room = bench.potentiostats
    assert room.slots() == ["slot01", "slot02"]
    assert room.rescan() == ["slot01", "slot02"]
    assert room.devices()["connected"].all()
    assert "EIS" in room.modes()
    assert set(room.parameters("cv")) == set(CV)
    assert room.validate("CV", **CV) == []
    assert room.validate("CV", **{**CV, "vertex1": 99.0})[0].startswith("error: vertex1")
    assert room.validate("CP", current=1e-3, duration=1) == []
    assert room.validate("CP", tia_gain=2, current=1e-3, duration=1)[0].startswith("error: current")


def test_parameters_that_cannot_be_used_are_refused(bench: Bench) -> None:
    with pytest.raises(Invalid) as caught:
        bench.potentiostats.ca(potential=99.0, duration=1.0)
    assert caught.value.status == 422
    assert caught.value.code == "jobs.invalid_request"
