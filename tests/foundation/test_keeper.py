"""Things that a process holds: taken up again by the next one, whatever becomes of the first."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchwire.foundation import keeper as module
from benchwire.foundation.companion import CompanionLost
from benchwire.foundation.errors import Conflict
from benchwire.foundation.keeper import Keeper
from tests.support.waiting import until

SHELF = "tests.support.companions:Shelf"
FRAGILE = "tests.support.companions:fragile"


class Thing:
    """Something on the shelf."""

    def __init__(self, key: str, weight: int) -> None:
        self.key = key
        self.weight = weight
        self.told: list[tuple[Any, ...]] = []
        self.losses = 0

    @property
    def opening(self) -> tuple[str, int]:
        return self.key, self.weight

    def heard(self, event: str, *facts: Any) -> None:
        self.told.append((event, *facts))

    def lost(self) -> None:
        self.losses += 1

    @property
    def process(self) -> int | None:
        """Where it was told to lie, the last time."""
        return self.told[-1][2] if self.told and self.told[-1][0] == "lies" else None


@pytest.fixture
def keeper() -> Iterator[Keeper[Thing]]:
    made: Keeper[Thing] = Keeper(SHELF)
    yield made
    made.close(until_in_order=False)


def lies(keeper: Keeper[Thing]) -> dict[str, int]:
    companion = keeper.reached()
    assert companion is not None
    found: dict[str, int] = companion.ask("lies").result(10)
    return found


def test_the_first_thing_starts_the_process(keeper: Keeper[Thing]) -> None:
    assert keeper.reached() is None
    cup, plate = Thing("cup", 3), Thing("plate", 5)
    assert keeper.hold(cup).result(10) == 3
    keeper.take_up(plate)
    assert lies(keeper) == {"cup": 3, "plate": 5}
    until(lambda: plate.process == cup.process, what="what is told")
    assert cup.process != os.getpid()


def test_nobody_waits_for_the_process_to_start(keeper: Keeper[Thing]) -> None:
    things = [Thing(str(number), number) for number in range(5)]
    for thing in things:
        keeper.take_up(thing)
    assert keeper.reached() is None
    until(lambda: all(thing.process for thing in things), what="the things")
    assert len({thing.process for thing in things}) == 1


def test_what_changes_is_opened_anew_and_what_is_let_go_is_not(keeper: Keeper[Thing]) -> None:
    cup, plate = Thing("cup", 3), Thing("plate", 5)
    keeper.hold(cup).result(10)
    keeper.hold(plate).result(10)
    cup.weight = 4
    keeper.take_up(cup)
    keeper.release(plate).result(10)
    assert lies(keeper) == {"cup": 4}
    keeper.release(Thing("cup", 9)).result(10)
    assert lies(keeper) == {"cup": 4}, "another of the same name is let go"
    companion = keeper.reached()
    assert companion is not None
    os.kill(companion.pid, signal.SIGKILL)
    until(lambda: keeper.reached() not in (None, companion), what="another")
    assert lies(keeper) == {"cup": 4}
    assert (cup.losses, plate.losses) == (1, 0)


def test_an_error_of_the_opening_is_that_of_the_promise(keeper: Keeper[Thing]) -> None:
    assert isinstance(keeper.hold(Thing("hole", -1)).exception(10), Conflict)
    assert keeper.hold(Thing("cup", 1)).result(10) == 1


def test_it_is_started_until_it_lasts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = tmp_path / "broken"
    broken.touch()
    monkeypatch.setenv("SHELF_IS_BROKEN", str(broken))
    monkeypatch.setattr(module, "_RESTART_SECONDS", 0.05)
    keeper: Keeper[Thing] = Keeper(FRAGILE)
    cup, plate = Thing("cup", 3), Thing("plate", 5)
    with pytest.raises(CompanionLost):
        keeper.hold(cup)
    assert "cannot be started" not in caplog.text, "it is tried once, for the one who waits"
    keeper.take_up(plate)
    until(lambda: "cannot be started" in caplog.text, what="a try")
    broken.unlink()
    until(lambda: cup.process and plate.process, seconds=20, what="both things")
    for _ in range(3):
        companion, before = keeper.reached(), cup.process
        assert companion is not None
        os.kill(companion.pid, signal.SIGKILL)
        until(lambda before=before: cup.process != before, seconds=20, what="another")
    keeper.close(until_in_order=False)
    with pytest.raises(CompanionLost):
        keeper.hold(cup)


@pytest.mark.parametrize("is_needed", [True, False])
def test_at_the_end_another_leaves_things_in_order_where_that_is_needed(
    is_needed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_RESTART_SECONDS", 60.0)
    keeper: Keeper[Thing] = Keeper(SHELF)
    cup = Thing("cup", 3)
    keeper.hold(cup).result(10)
    companion = keeper.reached()
    assert companion is not None
    os.kill(companion.pid, signal.SIGSTOP)
    keeper.hurry()
    until(lambda: companion.is_over, seconds=20, what="the end of one that hangs")
    keeper.close(until_in_order=is_needed)
    assert (("fell",) in cup.told) == is_needed
    assert keeper.reached() is None


def test_what_is_let_go_while_the_process_starts_is_not_taken_up(keeper: Keeper[Thing]) -> None:
    cup, plate = Thing("cup", 3), Thing("plate", 5)
    keeper.take_up(cup)
    keeper.take_up(plate)
    keeper.release(cup).result(10)
    until(lambda: plate.process, seconds=20, what="the other thing")
    assert lies(keeper) == {"plate": 5}


def test_what_is_dear_is_taken_up_soon_however_often_it_was_lost(keeper: Keeper[Thing]) -> None:
    """Though a thread still waits out an older pause, and another has started the process."""
    cup = Thing("cup", 3)
    keeper.hold(cup).result(10)
    for _ in range(3):
        companion = keeper.reached()
        assert companion is not None
        os.kill(companion.pid, signal.SIGKILL)
        until(lambda companion=companion: companion.is_over, what="its end")
        keeper.hold(cup).result(10)
    keeper.expect_the_worst()
    losses, companion = cup.losses, keeper.reached()
    assert companion is not None
    os.kill(companion.pid, signal.SIGKILL)
    until(lambda: keeper.reached() not in (None, companion), seconds=3.0, what="another")
    assert cup.losses == losses + 1
