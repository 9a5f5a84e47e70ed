"""What a meter makes of what its port tells, with nobody at the port."""

import time
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import pytest

from benchwire.domains.powermeter.alarms import STALE, AlarmEvent
from benchwire.domains.powermeter.config import MeterConfig
from benchwire.domains.powermeter.live import LiveFeed
from benchwire.domains.powermeter.meter import Meter, Past
from benchwire.domains.powermeter.polled_port import Answer, Counts, PortState
from benchwire.domains.powermeter.protocol import Frame, Identity
from benchwire.domains.powermeter.readings import Reading, Totals
from benchwire.domains.powermeter.recorder import Recorder
from benchwire.foundation.clock import SECOND, Clock, SystemClock, microseconds
from benchwire.foundation.streams import Hub
from tests.support.clock import SteppedClock

PORT = "/dev/ttyACM5"
FRAME = Frame(Identity("TC66", "1.18", 1, 1), (50_000, 100_000, 50_000, 0, 20, 0, 0, 0, 0, 0, 0))
HOUR = 3600.0


class NoKeeper:
    """Writes down what it is to hold."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def take_up(self, meter: Meter) -> None:
        self.asked.append(meter.opening)


def stored(*_: Any, **__: Any) -> "Future[None]":
    done: Future[None] = Future()
    done.set_result(None)
    return done


def meter_of(
    past: Past | None = None,
    interval: float = 1.0,
    keeper: Any = None,
    clock: Clock | None = None,
) -> Meter:
    clock, past = clock or SystemClock(), past or Past()
    meter = Meter(
        7, "m", MeterConfig(port=PORT, polling_interval=interval), past,
        clock=clock,
        recorder=Recorder(stored, clock, past.newest),
        feed=LiveFeed(Hub(), clock, 7, "m"),
        keeper=keeper or NoKeeper(),
        on_event=lambda *_: None,
    )  # fmt: skip
    meter.start()
    return meter


def connected(missed: int = 0, **counts: int) -> PortState:
    return PortState(True, "connected", None, Counts(missed=missed, **counts))


def away(missed: int = 0) -> PortState:
    return PortState(False, "unplugged", "The instrument is not connected any more",
                     Counts(missed=missed))  # fmt: skip


def test_polls_that_nobody_made_are_counted_once() -> None:
    meter, now = meter_of(), time.monotonic()
    meter.heard("state", PORT, connected())
    meter.heard("reading", PORT, Answer(FRAME, now - 4000, 1.0))
    meter.heard("state", PORT, away(missed=3600))
    meter.lost()
    assert meter.counts.missed == 3600
    assert not meter.is_connected
    meter.heard("state", PORT, away(missed=390))
    meter.heard("state", PORT, connected(missed=390))
    meter.heard("reading", PORT, Answer(FRAME, now, 1.0))
    assert meter.counts.missed == 3999
    meter.heard("reading", PORT, Answer(FRAME, now + 1, 1.0))
    assert meter.counts.missed == 3999


def test_counts_go_on_at_another_port_and_in_another_process() -> None:
    keeper = NoKeeper()
    meter = meter_of(keeper=keeper)
    meter.heard("state", PORT, connected(2, reconnects=1, frame_errors=3))
    meter.apply(meter.config.model_copy(update={"port": "/dev/ttyACM6"}))
    assert [port for _, port, _ in keeper.asked] == [PORT, "/dev/ttyACM6"]
    assert meter.condition == "connecting"
    meter.heard("state", PORT, connected(50))
    assert meter.counts == Counts(1, 3, 2), "that of the port before is over"
    meter.heard("state", "/dev/ttyACM6", connected(4, reconnects=2))
    meter.lost()
    meter.heard("state", "/dev/ttyACM6", connected(1))
    assert meter.counts == Counts(3, 3, 7)
    latest = meter.latest
    meter.heard("reading", PORT, Answer(FRAME, time.monotonic(), 1.0))
    assert meter.latest is latest


def test_a_reading_is_stamped_when_it_was_taken() -> None:
    meter, now = meter_of(), time.monotonic()
    wall = microseconds(SystemClock().now())
    for ago in (30.0, 20.0, 10.0, 0.0):
        meter.heard("reading", PORT, Answer(FRAME, now - ago, 1.0))
        assert meter.latest is not None
        assert (meter.latest.at - wall) / SECOND == pytest.approx(-ago, abs=0.2)
    # 1 A for 10 s, three times; what lies between was not read.
    assert meter.latest.totals.gap_s == pytest.approx(30.0, abs=0.1)


def test_counters_of_another_meter_add_what_they_count_from_then_on() -> None:
    """While one that is only powered up again goes on where it stood."""

    def counting(serial: int, runs: int, mah: int) -> Frame:
        codes = (*FRAME.codes[:5], mah, 5 * mah, *FRAME.codes[7:])
        return Frame(replace(FRAME.identity, serial=serial, runs=runs), codes)

    meter, now = meter_of(), time.monotonic()
    told = [(1, 1, 100), (1, 1, 101), (2, 1, 901), (2, 1, 902), (2, 2, 904), (1, 1, 1001)]
    advanced = []
    for number, (serial, runs, mah) in enumerate(told):
        taken = now - 600 * (len(told) - number)
        meter.heard("reading", PORT, Answer(counting(serial, runs, mah), taken, 1.0))
        assert meter.latest is not None
        advanced.append((meter.latest.totals.counter_mah, meter.latest.totals.counter_mwh))
    assert advanced == [(mah, 5 * mah) for mah in (0, 1, 1, 2, 4, 4)]
    assert meter.latest.totals.gap_s == pytest.approx(3000, abs=0.1)


def test_another_meter_is_noticed_though_its_first_reading_had_no_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    meter, now = meter_of(), time.monotonic()
    other = replace(FRAME, identity=replace(FRAME.identity, serial=2))
    meter.heard("reading", PORT, Answer(FRAME, now - 2, 1.0))
    with monkeypatch.context() as patches:
        patches.setattr("benchwire.domains.powermeter.recorder.MOST_WAITING", 0)
        meter.heard("reading", PORT, Answer(other, now - 1, 1.0))
    meter.heard("reading", PORT, Answer(other, now, 1.0))
    assert meter.latest is not None
    assert meter.latest.follows_gap


def test_the_first_reading_after_a_start_ends_the_alarm_of_none() -> None:
    """Though the port says how it stands only after the reading was taken."""
    wall = microseconds(SystemClock().now())
    before = Reading(wall - 10 * 3600 * SECOND, FRAME.codes, True, Totals())
    alarm = AlarmEvent(STALE, True, before.at + 3600 * SECOND, HOUR, HOUR)
    meter = meter_of(Past(before, None, (alarm,)), HOUR)
    meter.look_after()
    assert meter.is_stale
    taken = time.monotonic()
    time.sleep(0.01)
    meter.heard("state", PORT, connected())
    assert meter.is_stale
    meter.heard("reading", PORT, Answer(FRAME, taken, 1.0))
    meter.look_after()
    assert not meter.is_stale


def test_a_process_that_never_comes_is_a_fault_like_any_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("benchwire.domains.powermeter.meter._START_SECONDS", 0.2)
    meter = meter_of(interval=0.1)
    meter.look_after()
    assert not meter.is_stale
    time.sleep(1.5)
    meter.look_after()
    assert meter.is_stale


def test_another_interval_makes_no_polls_due_that_were_not() -> None:
    meter, now = meter_of(interval=HOUR), time.monotonic()
    meter.heard("reading", PORT, Answer(FRAME, now - 3000, 1.0))
    meter.lost()
    meter.apply(meter.config.model_copy(update={"polling_interval": 0.1}))
    meter.heard("reading", PORT, Answer(FRAME, now, 1.0))
    assert meter.counts.missed == 0


def test_a_reading_that_is_dropped_was_no_missed_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    meter, now = meter_of(interval=0.1), time.monotonic()
    meter.heard("reading", PORT, Answer(FRAME, now - 100, 1.0))
    monkeypatch.setattr("benchwire.domains.powermeter.recorder.MOST_WAITING", 0)
    for number in range(990):
        meter.heard("reading", PORT, Answer(FRAME, now - 99.9 + 0.1 * number, 1.0))
    meter.lost()
    meter.heard("reading", PORT, Answer(FRAME, now, 1.0))
    assert meter.recorder.dropped == 991
    assert meter.counts.missed == 9


def test_readings_that_wait_are_taken_in_before_they_are_missed() -> None:
    """As after a server that stood still; a computer that is always slow tells them late."""
    clock = SteppedClock()
    meter = meter_of(interval=0.1, clock=clock)
    meter.heard("reading", PORT, Answer(FRAME, time.monotonic(), 1.0))
    meter.look_after()
    clock.elapsed = 60.0
    meter.look_after()
    assert not meter.is_stale
    clock.elapsed = 60.5
    meter.heard("reading", PORT, Answer(FRAME, time.monotonic(), 1.0))
    clock.elapsed = 61.2
    meter.look_after()
    assert not meter.is_stale
    for step in range(2):
        clock.elapsed = 70.0 + 10 * step
        meter.look_after()
    assert meter.is_stale
