"""Limits at their very edge, and how hits become events."""

import numpy as np
import pytest

from benchwire.domains.battery.anomalies import JOIN_US, LIMITS, find
from benchwire.domains.battery.samples import MICROSECONDS, Samples
from benchwire.domains.battery.signals import BESS, BMS, PCS, Group

MINUTE_US = 60 * MICROSECONDS


def samples(values: list[float], every_us: int = MINUTE_US) -> Samples:
    return Samples(np.arange(len(values), dtype=np.int64) * every_us, np.array(values, np.float64))


@pytest.mark.parametrize(
    ("group", "field", "inside", "outside", "severity"),
    [
        (BMS, "soc", 100, 100.5, "critical"),
        (BMS, "soc", 0, -0.5, "critical"),
        (BMS, "cell_max_voltage", 3.65, 3.651, "warning"),
        (BMS, "cell_max_voltage", 3.65, 3.801, "critical"),
        (BMS, "cell_min_voltage", 2.5, 2.499, "warning"),
        (BMS, "cell_max_temp", 45, 46, "warning"),
        (BMS, "cell_max_temp", 45, 61, "critical"),
        (PCS, "temp_igbt", 75, 80, "warning"),
        (PCS, "temp_igbt", 75, 81, "critical"),
        (PCS, "ac_voltage_ab", 440, 440.1, "warning"),
        (BESS, "safety_smoke_flag", 0, 1, "critical"),
    ],
)
def test_value_at_the_limit_is_within_and_beyond_it_is_told(
    group: Group, field: str, inside: float, outside: float, severity: str
) -> None:
    assert find({field: samples([inside] * 3)}, group, "limits").anomalies == ()
    (event,) = find({field: samples([inside, outside, inside])}, group, "limits").anomalies
    assert (event.type, event.severity, event.value, event.expected) == (
        "out_of_range", severity, outside, inside,
    )  # fmt: skip
    assert event.start_us == event.end_us == MINUTE_US


def test_hits_closer_than_a_quarter_of_an_hour_are_one_event_told_by_the_worst() -> None:
    minutes = np.array([0, 14, 28, 43])
    values = np.array([101.0, 120.0, 102.0, 101.0])
    soc = Samples((minutes * MINUTE_US).astype(np.int64), values)
    first, second = find({"soc": soc}, BMS, "limits").anomalies
    assert (first.start_us, first.end_us, first.value) == (0, 28 * MINUTE_US, 120)
    assert second.start_us - first.end_us == JOIN_US
    assert first.message == "State of charge was 120 %, above the upper limit of 100 %."


def test_events_are_given_by_their_start() -> None:
    found = find(
        {"soc": samples([50, 50, 130]), "soh": samples([130, 90, 90])}, BMS, "limits"
    ).anomalies
    assert [one.metric for one in found] == ["soh", "soc"]


def test_every_limit_is_of_a_known_signal_and_in_order() -> None:
    known = {signal.name for group in (BMS, PCS, BESS) for signal in group.signals}
    assert set(LIMITS) <= known
    for limits in LIMITS.values():
        assert limits.critical_low <= limits.low <= limits.high <= limits.critical_high
