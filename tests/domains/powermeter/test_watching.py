"""Periods, stamps, sessions and alarms: rules without a port or a database."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from benchwire.domains.powermeter.alarms import AlarmWatch, Limits
from benchwire.domains.powermeter.charging import SessionWatch
from benchwire.domains.powermeter.errors import PeriodInvalid
from benchwire.domains.powermeter.integration import steps
from benchwire.domains.powermeter.periods import window
from benchwire.domains.powermeter.readings import Reading, Totals
from benchwire.domains.powermeter.stamps import SLEW, Stamps
from benchwire.foundation.clock import microseconds
from tests.support.clock import ManualClock

NOW = microseconds(datetime(2026, 3, 29, 1, 0, tzinfo=UTC))
SECOND = 1_000_000


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("5m", 300), ("05m", 300), ("1h", 3600), ("9999999h", None)]
)
def test_period_ends_now(text: str, seconds: int | None) -> None:
    found = window(text, NOW)
    assert found.end == NOW
    assert found.start == NOW - (int(text[:-1]) * 3600 if seconds is None else seconds) * SECOND


@pytest.mark.parametrize("text", ["99999999h", "99999999999h", "9" * 4000 + "s"])
def test_period_past_the_calendar_is_cut(text: str) -> None:
    assert window(text, NOW).start < window("9999999h", NOW).start


@pytest.mark.parametrize(
    "text",
    ["5x", "abc", "-5m", "+5m", "5", "m", "5M", "1.5m", "5 m", "5m5m", "\u0665m", "\uff15m", "5m\n",
     "0s", "0m", "00h", "", "9" * 4301 + "s", "\u00e9"],
)  # fmt: skip
def test_other_text_is_no_period(text: str) -> None:
    with pytest.raises(PeriodInvalid):
        window(text, NOW)


class SetClock(ManualClock):
    """A clock whose wall time can be set, while its monotonic time goes on."""

    def set(self, seconds: float) -> None:
        self._start += timedelta(seconds=seconds)


@pytest.mark.parametrize("change", [-3600.0, -10.0, 0.0, 3600.0])
def test_stamps_ascend_through_a_change_of_the_clock(change: float) -> None:
    clock = SetClock()
    stamps = Stamps(clock, None)
    found = []
    for number in range(100):
        if number == 50:
            clock.set(change)
        clock.wind(1.0)
        found.append(stamps.next(clock.monotonic()))
    passed = np.diff(found)
    assert (passed > 0).all()
    assert passed[:49] == pytest.approx(SECOND)
    assert passed[50:] == pytest.approx(SECOND, rel=0.0051)
    assert stamps.ahead_s == pytest.approx(0.0 if change >= 0 else -change - 50 * SLEW, abs=0.01)


def test_stamps_are_later_than_those_of_an_earlier_life() -> None:
    clock = ManualClock()
    before = microseconds(clock.now()) + 5 * SECOND
    assert Stamps(clock, before).next(clock.monotonic()) == before + 1


def test_stamps_do_not_depend_on_when_they_are_asked_for() -> None:
    clock = SetClock()
    stamps = Stamps(clock, None)
    first = stamps.next(clock.monotonic())
    clock.wind(300.0)
    found = [stamps.next(at) for at in (0.1, 0.2, 0.3)]
    assert [at - first for at in found] == pytest.approx([0.1e6, 0.2e6, 0.3e6], abs=10)
    assert stamps.next(clock.monotonic()) - first == pytest.approx(300e6, abs=10)
    assert stamps.ahead_s == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize("change", [-90.0, 90.0])
@pytest.mark.parametrize("is_asked_first", [True, False])
def test_what_waited_while_the_clock_was_set_is_stamped_in_its_place(
    change: float, is_asked_first: bool
) -> None:
    """Whoever is first after a server stood still: one who asks for now, or what had waited."""
    clock = SetClock()
    stamps = Stamps(clock, None)
    before = stamps.next(clock.monotonic())
    clock.wind(180.0)
    clock.set(change)
    if is_asked_first:
        stamps.now()
    found = [stamps.next(float(at)) for at in range(1, 181)]
    assert np.diff([before, *found][1:]) == pytest.approx(SECOND, rel=0.0051)
    assert found[0] > before
    assert found[-1] <= stamps.now()
    assert stamps.ahead_s == pytest.approx(max(0.0, -change - 180 * SLEW), abs=0.01)


def reading(second: float, amperes: float) -> Reading:
    codes = (50_000, round(amperes * 100_000), round(amperes * 50_000), 0, 25, 0, 0, 0, 0, 0, 0)
    return Reading(NOW + int(second * SECOND), codes, False, Totals(number=second))


def test_session_ends_when_the_current_has_stayed_low() -> None:
    watch = SessionWatch(threshold=0.1, end_delay=60)
    currents = [0.0] * 5 + [1.0] * 100 + [0.05] * 59 + [0.1] + [0.0] * 61
    changed = [item for s, amps in enumerate(currents) for item in watch.see(reading(s, amps))]
    assert {item.started_at for item in changed} == {NOW + 5 * SECOND}
    assert [item.reason for item in changed if item.reason] == ["current below threshold"]
    assert changed[-1].active_at == NOW + 164 * SECOND
    assert changed[-1].gained.number == 159
    assert watch.open is None


def test_session_outlives_a_gap_but_not_for_ever() -> None:
    watch = SessionWatch(threshold=0.1, end_delay=60)
    watch.see(reading(0, 1.0))
    assert [item.reason for item in watch.see(reading(600, 1.0))] == [None]
    assert watch.settle(NOW + 700 * SECOND) is None
    ended, begun = watch.see(reading(600 + 3601, 1.0))
    assert (ended.reason, begun.reason) == ("no readings", None)
    settled = watch.settle(begun.active_at + 3600 * SECOND)
    assert settled is not None
    assert settled.reason == "no readings"


@pytest.mark.parametrize("end_delay", [60, 3600, 7200])
def test_low_current_is_why_a_session_ends_however_long_the_delay(end_delay: int) -> None:
    watch = SessionWatch(threshold=0.1, end_delay=end_delay)
    watch.see(reading(0, 1.0))
    ended = []
    for second in range(1, end_delay + 2):
        settled = watch.settle(NOW + second * SECOND)
        ended += [settled] if settled else []
        ended += watch.see(reading(second + 0.1, 0.0))
    assert [(item.reason, item.active_at) for item in ended] == [("current below threshold", NOW)]


def test_silence_after_a_low_current_is_measured_from_the_last_reading() -> None:
    watch = SessionWatch(threshold=0.1, end_delay=7200)
    watch.see(reading(0, 1.0))
    watch.see(reading(3600, 0.0))
    assert watch.settle(NOW + (3600 + 7199) * SECOND) is None
    settled = watch.settle(NOW + (3600 + 7200) * SECOND)
    assert settled is not None
    assert settled.reason == "no readings"


def values(**given: float) -> dict[str, float]:
    return {"voltage": 5.0, "current": 1.0, "power": 5.0, "temperature": 25.0, **given}


def test_alarm_clears_only_well_inside_the_limit() -> None:
    watch = AlarmWatch({"voltage": Limits(low=4.5, high=5.5, hysteresis=0.1)})
    seen = [
        (event.kind, event.is_raised, event.value)
        for volts in [5.5, 5.51, 5.6, 5.45, 5.4, 4.5, 4.49, 4.55, 4.6]
        for event in watch.see(NOW, values(voltage=volts))
    ]
    assert seen == [
        ("voltage_high", True, 5.51), ("voltage_high", False, 5.4),
        ("voltage_low", True, 4.49), ("voltage_low", False, 4.6),
    ]  # fmt: skip


@pytest.mark.parametrize(("bad", "kind"), [(5.03, "voltage_high"), (4.97, "voltage_low")])
def test_the_middle_of_a_narrow_band_clears_an_alarm(bad: float, kind: str) -> None:
    watch = AlarmWatch({"voltage": Limits(low=4.98, high=5.02)})
    seen = [
        (event.kind, event.is_raised)
        for volts in (bad, 5.0)
        for event in watch.see(NOW, values(voltage=volts))
    ]
    assert seen == [(kind, True), (kind, False)]


def test_alarm_ends_with_its_limit() -> None:
    watch = AlarmWatch({"temperature": Limits(high=40)})
    assert [event.is_raised for event in watch.see(NOW, values(temperature=41))] == [True]
    watch.limits = {}
    assert [event.is_raised for event in watch.see(NOW, values(temperature=41))] == [False]


def test_old_reading_is_an_alarm_once() -> None:
    watch = AlarmWatch({})
    raised = [bool(watch.see_age(NOW, age, 1.0)) for age in (4.9, 5.1, 6.0, 0.5, 0.5)]
    assert raised == [False, True, False, True, False]


def test_charge_is_the_area_under_the_current() -> None:
    at = NOW + np.arange(101) * SECOND
    codes = np.zeros((101, 11), np.int64)
    codes[:, 1] = np.arange(101) * 1000
    codes[:, 5] = [0] * 40 + [7000] * 30 + [0] * 31
    follows_gap = np.zeros(101, np.bool_)
    follows_gap[50] = True
    whole = steps(at, codes, follows_gap).sum(axis=0)
    # Integral of 0.01 A/s * t over 100 s, without the second before reading 50.
    assert whole[1] == pytest.approx(0.01 * (100**2 / 2 - 49.5))
    assert whole[0] == 100
    assert whole[3] == pytest.approx(1.0)
    assert whole[4] == 0
