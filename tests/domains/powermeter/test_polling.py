"""The rhythm of polls, and the queue to the disk."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from benchwire.domains.powermeter import recorder as recording
from benchwire.domains.powermeter.driver import BAUDRATE
from benchwire.domains.powermeter.polled_port import Answer, PolledPort, PortState
from benchwire.domains.powermeter.polling import Poller
from benchwire.domains.powermeter.readings import Reading, Totals
from benchwire.domains.powermeter.recorder import GATHER_SECONDS, RETRY_SECONDS, Recorder
from benchwire.foundation.clock import Schedule, SystemClock
from benchwire.foundation.db import DatabaseUnavailable
from benchwire.foundation.instruments.emulation import EmulatorProcess
from benchwire.foundation.instruments.transport import SerialTransport
from tests.domains.powermeter.conftest import FAST, emulated
from tests.support.clock import ManualClock
from tests.support.waiting import until


def test_moments_are_whole_multiples_of_the_interval() -> None:
    schedule = Schedule(0.1, anchor=5.0)
    moments = []
    for number in range(1000):
        moments.append(schedule.due)
        # However long a poll takes, as long as it is less than the interval.
        assert schedule.advance(schedule.due + 0.09 * (number % 11) / 10) == 0
    assert moments == pytest.approx([5.0 + 0.1 * k for k in range(1000)], abs=1e-9)


@pytest.mark.parametrize(("late", "passed_over"), [(0.5, 0), (1.5, 1), (10.2, 10)])
def test_moments_that_were_slept_through_are_counted_not_made_up(
    late: float, passed_over: int
) -> None:
    schedule = Schedule(1.0, anchor=0.0)
    assert schedule.advance(late) == passed_over
    assert schedule.due == passed_over + 1


def test_a_crash_in_a_poll_does_not_end_the_polling() -> None:
    polls = []

    def poll() -> bool:
        polls.append(1)
        if len(polls) == 2:
            raise RuntimeError("unforeseen")
        return True

    poller = Poller("m", poll, 0.05, SystemClock())
    poller.start()
    until(lambda: len(polls) >= 5, what="polls after the crash")
    poller.close()
    assert poller.missed > 0


def test_a_change_of_the_interval_wakes_the_sleeper() -> None:
    polled = threading.Event()

    def poll() -> bool:
        polled.set()
        return True

    poller = Poller("m", poll, 3600, SystemClock())
    poller.start()
    assert polled.wait(1)
    polled.clear()
    poller.set_interval(1800)
    assert polled.wait(1)
    poller.close()


class Listener:
    """Hears what a port tells, and may do something as it hears that the meter is gone."""

    def __init__(self) -> None:
        self.states: list[PortState] = []
        self.readings: list[Answer] = []
        self.when_gone: Callable[[], None] = lambda: None
        self.hears = True

    def __call__(self, event: str, fact: Answer | PortState) -> bool:
        if isinstance(fact, PortState) and not fact.is_connected:
            self.when_gone()
        if self.hears:
            (self.readings if event == "reading" else self.states).append(fact)
        return self.hears


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def polled(tmp_path: Path, listener: Listener) -> Iterator[tuple[PolledPort, EmulatorProcess]]:
    """An emulated meter that is polled twenty times a second."""
    with emulated(tmp_path) as emulators:
        path = str(emulators.paths["p1"])
        port = PolledPort(
            path, FAST, SystemClock(),
            open_port=lambda path: SerialTransport(path, BAUDRATE), tell=listener,
        )  # fmt: skip
        until(lambda: listener.readings, what="a reading")
        yield port, emulators
        port.close()


def test_a_port_that_is_not_there_is_told_at_once(
    listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(50):
        port = PolledPort(
            f"/dev/ttyNone{number}", 0.5, SystemClock(),
            open_port=lambda path: SerialTransport(path, BAUDRATE), tell=listener,
        )  # fmt: skip
        until(lambda number=number: len(listener.states) > number, what="the state")
        port.close()
    assert all("no port" in (state.failure or "") for state in listener.states)
    assert "went wrong" not in caplog.text


def test_one_state_is_told_after_the_other(
    polled: tuple[PolledPort, EmulatorProcess], listener: Listener
) -> None:
    """Another thread finds it changed while it is being told, and what it tells comes later."""
    port, emulators = polled
    overtaken = []

    def tell_beside() -> None:
        other = threading.Thread(target=port.tell_state)
        other.start()
        other.join(0.3)
        overtaken.append(not other.is_alive())

    listener.when_gone = tell_beside
    emulators.control("p1", "unplug")
    until(lambda: not listener.states[-1].is_connected, what="the unplug")
    assert overtaken[0] is False
    listener.when_gone = lambda: None
    emulators.control("p1", "replug")
    until(lambda: listener.states[-1].is_connected, seconds=10, what="the meter")


def test_a_port_says_no_more_than_is_heard(
    polled: tuple[PolledPort, EmulatorProcess], listener: Listener
) -> None:
    port, _ = polled
    before = listener.states[-1].counts.missed
    count = len(listener.readings)
    listener.hears = False
    time.sleep(10 * FAST)
    listener.hears = True
    until(lambda: len(listener.readings) > count, what="readings")
    until(lambda: listener.states[-1].counts.missed >= before + 5, what="the count")
    port.close()
    states, readings = len(listener.states), len(listener.readings)
    port.tell_state()
    time.sleep(5 * FAST)
    assert (len(listener.states), len(listener.readings)) == (states, readings)


class Disk:
    """A disk whose writes end when the test says so."""

    def __init__(self) -> None:
        self.batches: list[tuple[list[int], bool]] = []
        self.promises: list[Future[None]] = []

    def append(self, readings, sessions, events, *, again) -> Future[None]:
        self.batches.append(([reading.at for reading in readings], again))
        self.promises.append(Future())
        return self.promises[-1]


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def recorder(disk: Disk, clock: ManualClock) -> Recorder:
    return Recorder(disk.append, clock, None)


def reading(at: int) -> Reading:
    return Reading(at, (0,) * 11, False, Totals())


def test_readings_gather_while_a_write_is_under_way(
    recorder: Recorder, disk: Disk, clock: ManualClock
) -> None:
    for at in range(5):
        recorder.add(reading(at))
    assert disk.batches == [([0], False)]
    assert recorder.newest is None
    assert recorder.waiting == 5
    clock.wind(GATHER_SECONDS)
    disk.promises[0].set_result(None)
    assert disk.batches[1:] == [([1, 2, 3, 4], False)]
    assert recorder.newest == reading(0)
    disk.promises[1].set_result(None)
    assert recorder.newest == reading(4)
    assert recorder.waiting == 0


def test_writes_do_not_follow_one_another_at_once(
    recorder: Recorder, disk: Disk, clock: ManualClock
) -> None:
    recorder.add(reading(0))
    disk.promises[0].set_result(None)
    recorder.add(reading(1))
    recorder.add(reading(2))
    assert disk.batches == [([0], False)]
    assert recorder.waiting == 2
    clock.wind(GATHER_SECONDS)
    recorder.push()
    assert disk.batches[1:] == [([1, 2], False)]
    disk.promises[1].set_result(None)
    clock.wind(GATHER_SECONDS)
    recorder.add(reading(3))
    assert disk.batches[2:] == [([3], False)], "after a pause nothing waits"


def test_a_failed_write_is_tried_again_in_order(
    recorder: Recorder, disk: Disk, clock: ManualClock
) -> None:
    recorder.add(reading(0))
    disk.promises[0].set_exception(DatabaseUnavailable("away"))
    recorder.add(reading(1))
    assert len(disk.batches) == 1
    assert "away" in (recorder.last_error or "")
    clock.wind(RETRY_SECONDS)
    recorder.push()
    assert disk.batches[1] == ([0], True)
    disk.promises[1].set_exception(DatabaseUnavailable("still away"))
    clock.wind(RETRY_SECONDS)
    recorder.push()
    disk.promises[2].set_result(None)
    assert [batch for batch, _ in disk.batches] == [[0], [0], [0], [1]]
    assert recorder.last_error is None


def test_what_waits_is_bounded_and_what_is_given_up_is_counted(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "MOST_WAITING", 10)
    for at in range(30):
        if recorder.has_room():
            recorder.add(reading(at))
    # One is being written, ten wait.
    assert recorder.waiting == 11
    assert recorder.dropped == 19


def test_draining_waits_for_the_disk(disk: Disk) -> None:
    recorder = Recorder(disk.append, SystemClock(), None)
    recorder.add(reading(0))
    recorder.add(reading(1))
    writer = threading.Timer(0.1, disk.promises[0].set_result, [None])
    writer.start()
    second = threading.Timer(0.2, lambda: disk.promises[1].set_result(None))
    second.start()
    recorder.drain(5.0)
    assert recorder.waiting == 0


def test_draining_tries_a_disk_that_is_away_until_its_time_is_over(
    disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder(disk.append, SystemClock(), None)
    recorder.add(reading(0))
    disk.promises[0].set_exception(DatabaseUnavailable("away"))
    recorder.drain(0.3)
    assert recorder.waiting == 1
    assert "1 readings did not reach the disk" in caplog.text

    def come_back() -> None:
        until(lambda: len(disk.promises) == 2, what="another attempt")
        disk.promises[1].set_result(None)

    helper = threading.Thread(target=come_back)
    helper.start()
    recorder.drain(5.0)
    helper.join()
    assert recorder.waiting == 0
