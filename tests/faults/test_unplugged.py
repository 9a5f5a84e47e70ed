"""Cables pulled and put back while work goes on: one slot or meter is touched, no other."""

import itertools
import random
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.domains.potentiostat import conftest as potentiostat
from tests.domains.powermeter import conftest as powermeter
from tests.support.soaking import SoakOr
from tests.support.waiting import until

pytestmark = pytest.mark.paced

SECONDS = 3.0
ROWS = 8333
# What is promised; the short form allows twice as much on a machine that others use as well.
NOTICED, BACK = 3.0, 5.0


class Worst:
    """The longest of some times, each measured from a moment until something shows."""

    def __init__(self, slack: float) -> None:
        self.seconds = 0.0
        self._slack = slack

    def until(self, condition: Callable[[], object], promised: float, what: str) -> None:
        began = time.monotonic()
        until(condition, seconds=self._slack * promised, what=what)
        self.seconds = max(self.seconds, time.monotonic() - began)

    def __str__(self) -> str:
        return f"{self.seconds:.2f} s"


def slot_of(bench: potentiostat.Bench, run_id: str, slot: str) -> dict[str, Any]:
    return next(item for item in bench.status(run_id)["slots"] if item["slot"] == slot)


def test_a_pulled_potentiostat_fails_alone_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, soak_or: SoakOr
) -> None:
    """One of three slots of a run; the other two lose no sample."""
    slack, done, spoilt = soak_or(2, 1), 0, 0
    noticed, back = Worst(slack), Worst(slack)
    moments = random.Random(8)
    with potentiostat.open_bench(tmp_path, monkeypatch, count=3) as bench:
        while done < soak_or(2, 100):
            assert spoilt < 2 + done, "the machine is too busy for any run"
            run = bench.start(
                experiment_name=f"Pull{done + spoilt}",
                params_by_mode={"CA": {"potential": 0.5, "duration": SECONDS}},
            )["run_id"]
            time.sleep(moments.uniform(0.0, 2.0))
            bench.emulators.control("p1", "unplug")
            noticed.until(
                lambda run=run: slot_of(bench, run, "slot01")["status"] == "failed",
                NOTICED,
                "the slot's failure",
            )
            time.sleep(moments.uniform(0.0, 0.5))
            bench.emulators.control("p1", "replug")
            back.until(
                lambda: bench.client.get("/health").json()["devices"] == 3, BACK, "its return"
            )
            state = bench.true_state("slot01")
            assert (state["cell_closed"], state["running"]) == (False, False)
            ended = bench.end_of(run)
            statuses = [(slot["status"], slot["message"]) for slot in ended["slots"]]
            if any(
                word in (text or "") for _, text in statuses for word in ("too busy", "ran over")
            ):
                # Other programs took the processor; says nothing about the cable.
                spoilt += 1
                continue
            assert [status for status, _ in statuses] == ["failed", "done", "done"], statuses
            for slot in ("slot02", "slot03"):
                assert len(bench.rows(ended, slot)) == 1 + ROWS
            partial = [name for name in ended["slots"][0]["files"] if name.endswith(".csv")]
            for name in partial:
                assert_ends_on_a_whole_line(bench.runs_root, name)
            done += 1
        assert bench.end_of(bench.start()["run_id"])["status"] == "done"
    print(f"noticed within {noticed}, back within {back}; {spoilt} turns spoilt by a busy machine")


def assert_ends_on_a_whole_line(runs_root: Path, name: str) -> None:
    (path,) = runs_root.rglob(Path(name).name)
    header, *lines = path.read_bytes().split(b"\r\n")
    assert lines[-1] == b"", "the last line is whole"
    assert {line.count(b",") for line in lines[:-1]} <= {header.count(b",")}
    for line in lines[-3:-1]:
        assert all(float(value) is not None for value in line.split(b","))


def test_a_pulled_meter_is_told_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, soak_or: SoakOr
) -> None:
    """One of two meters; the other misses no poll."""
    slack = soak_or(2, 1)
    noticed, back = Worst(slack), Worst(slack)
    moments = random.Random(9)
    with (
        powermeter.emulated(tmp_path, 2) as emulators,
        powermeter.serve(emulators, tmp_path / "data", monkeypatch, interval=0.5) as bench,
    ):
        bench.until_points(3)
        bench.until_points(3, "meter2")
        missed = bench.status("meter2")["missed_polls"]
        turns = soak_or(2, 100)
        for _ in range(turns):
            time.sleep(moments.uniform(0.0, 0.4))
            bench.control("unplug")
            noticed.until(lambda: bench.status()["condition"] == "unplugged", NOTICED, "the unplug")
            newest = bench.status()["newest_data"]
            time.sleep(moments.uniform(0.0, 2.0))
            bench.control("replug")
            back.until(
                lambda newest=newest: bench.status()["newest_data"] > newest, BACK, "new points"
            )
            assert bench.status()["frame_errors"] == 0
        status = bench.status("meter2")
        print(f"{status['missed_polls'] - missed} polls of the other meter came too late")
        assert status["missed_polls"] - missed <= turns // 10
        assert (status["reconnects"], status["frame_errors"]) == (0, 0)
        assert bench.status()["reconnects"] == turns
        for meter in ("meter1", "meter2"):
            stamps = [
                datetime.fromisoformat(point["utc"])
                for point in bench.get("data/1h", meter=meter)["data"]
            ]
            gaps = [(b - a).total_seconds() for a, b in itertools.pairwise(stamps)]
            assert min(gaps) > 0
            if meter == "meter2":
                assert max(gaps) < 4 * 0.5, "no stretch of readings lacks"
    print(f"noticed within {noticed}, back within {back}")
