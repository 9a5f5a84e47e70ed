"""What the detectors are made of, each against what is known beforehand."""

import numpy as np
import pytest

from benchwire.domains.battery.anomalies import Anomaly, AnomalyType, find
from benchwire.domains.battery.anomalies.bins import BIN_US, finely_recorded, means, resolution
from benchwire.domains.battery.anomalies.charge import counted_charge, resistance
from benchwire.domains.battery.anomalies.findings import MINUTE_US, join
from benchwire.domains.battery.anomalies.relations import Departure, agreed, departures
from benchwire.domains.battery.anomalies.spikes import spikes
from benchwire.domains.battery.samples import HOUR_US, MICROSECONDS, Samples
from benchwire.domains.battery.signals import BMS

DAY_BINS = 288


def every(values: np.ndarray, step_s: int = 30) -> Samples:
    at_us = np.arange(len(values), dtype=np.int64) * step_s * MICROSECONDS
    return Samples(at_us, np.asarray(values, np.float64))


def event(start_min: int, end_min: int, score: float, kind: AnomalyType = "spike") -> Anomaly:
    times = start_min * MINUTE_US, end_min * MINUTE_US
    return Anomaly("soc", kind, "info", *times, score, None, None, str(score))


def test_spikes_are_exactly_the_samples_that_were_moved() -> None:
    rng = np.random.default_rng(3)
    values = np.round(np.sin(np.arange(20_000) / 500) * 20 + rng.normal(0, 0.2, 20_000), 1)
    moved = np.array([700, 701, 5000, 5001, 5002, 19_000])
    values[moved] += np.array([15, 15, -12, -12, -12, 9])
    found, is_spike = spikes(BMS.by_field["voltage"], every(values))
    assert np.flatnonzero(is_spike).tolist() == moved.tolist()
    assert [one.start_us for one in found] == [
        int(every(values).at_us[i]) for i in (700, 5000, 19_000)
    ]
    assert found[0].value in values[700:702]
    assert found[0].expected == pytest.approx(np.median(values[690:700]), abs=1)


def test_step_that_stays_is_no_spike() -> None:
    values = np.round(np.random.default_rng(4).normal(0, 0.2, 5000), 1)
    values[2000:] += 40
    assert spikes(BMS.by_field["current"], every(values))[0] == []


@pytest.mark.parametrize(("minutes", "n_gaps"), [(10, 0), (10.5, 1)])
def test_gap_begins_beyond_ten_minutes_for_a_fast_signal(minutes: float, n_gaps: int) -> None:
    at_us = np.arange(200, dtype=np.int64) * 30 * MICROSECONDS
    at_us[100:] += int(minutes * MINUTE_US) - 30 * MICROSECONDS
    found = find({"voltage": Samples(at_us, np.zeros(200))}, BMS, "gap").anomalies
    assert len(found) == n_gaps


def test_slow_signal_may_be_silent_for_longer() -> None:
    at_us = np.arange(200, dtype=np.int64) * 15 * MINUTE_US
    at_us[100:] += 40 * MINUTE_US
    assert find({"soc": Samples(at_us, np.zeros(200))}, BMS, "gap").anomalies == ()
    at_us[100:] += 10 * MINUTE_US
    assert len(find({"soc": Samples(at_us, np.zeros(200))}, BMS, "gap").anomalies) == 1


def test_joining_keeps_types_apart_and_tells_of_the_worst() -> None:
    found = join([event(0, 5, 1), event(19, 30, 3), event(45, 46, 2), event(6, 7, 9, "step")])
    assert [(one.type, one.start_us, one.end_us, one.score) for one in found] == [
        ("spike", 0, 30 * MINUTE_US, 3),
        ("step", 6 * MINUTE_US, 7 * MINUTE_US, 9),
        ("spike", 45 * MINUTE_US, 46 * MINUTE_US, 2),
    ]
    assert found[0].message == "3"


def test_event_within_another_does_not_end_it_early() -> None:
    (joined,) = join([event(0, 60, 1), event(10, 20, 2)])
    assert joined.end_us == 60 * MINUTE_US


@pytest.mark.parametrize(
    ("values", "expected"),
    [([1, 2, 5], 1), ([1.5, 2, 3], 0.1), ([3.301, 3.302], 0.001), ([np.pi, np.e], 0), ([], 0)],
)
def test_resolution_is_the_last_decimal(values: list[float], expected: float) -> None:
    assert resolution(np.array(values, np.float64)) == pytest.approx(expected)


def test_stretches_with_one_decimal_are_left_out_beside_ones_with_three() -> None:
    rng = np.random.default_rng(5)
    values = 3.3 + rng.normal(0, 0.05, 8640)
    values = np.concatenate([np.round(values[:2880], 1), np.round(values[2880:], 3)])
    kept = finely_recorded(every(values))
    assert kept.at_us[0] == 24 * HOUR_US
    assert len(kept) == len(values) - 2880
    coarse = every(np.round(values, 1))
    assert len(finely_recorded(coarse)) == len(values)


def test_mean_of_a_bin_needs_half_of_its_samples() -> None:
    samples = every(np.arange(100))
    kept = np.ones(100, np.bool_)
    kept[12:19] = False
    thin = Samples(samples.at_us[kept], samples.values[kept])
    found = means(thin, np.arange(10))
    assert np.isnan(found[1])
    assert found[0] == pytest.approx(4.5)
    assert found[9] == pytest.approx(94.5)


def a_week(capacity_ah: float = 200.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return bins, current (A) and state of charge (%) of a system that loses nothing."""
    bins = np.arange(7 * DAY_BINS)
    current = np.round(60 * np.sin(2 * np.pi * bins / DAY_BINS), 1)
    soc = 50 + np.cumsum(current) * (BIN_US / HOUR_US) / capacity_ah * 100
    return bins, current, np.append(50, soc[:-1])


def test_counted_charge_agrees_with_the_state_of_charge_and_shows_a_step() -> None:
    bins, current, soc = a_week()
    assert np.abs(counted_charge(soc, current, bins)).max() < 0.5
    soc[900:1000] += 12
    away = counted_charge(soc, current, bins)
    assert away[910:990] == pytest.approx(12, abs=0.6)
    assert np.abs(away[:890]).max() < 0.6


def test_unknown_current_is_no_departure_of_the_state_of_charge() -> None:
    bins, current, soc = a_week()
    current[1000:1040] = np.nan
    assert np.abs(counted_charge(soc, current, bins)).max() < 1


def test_resistance_is_voltage_over_current() -> None:
    current = np.repeat(np.random.default_rng(6).normal(0, 50, 200), 5)
    assert resistance(800 + 0.12 * current, current) == pytest.approx(0.12)


def test_relation_holds_with_a_third_of_the_data_wrong() -> None:
    rng = np.random.default_rng(7)
    mean = 3.3 + 0.05 * np.sin(np.arange(2000) / 30)
    pack = 260 * mean + rng.normal(0, 0.2, 2000)
    pack[:650] += 30
    (found,) = departures("bms1_v", {"bms1_v": pack, "bms1_cell_ave_v": mean}, np.arange(2000))
    assert found.away[:650] == pytest.approx(30, abs=3)
    assert np.abs(found.away[650:]).max() < 3


def test_departure_that_other_references_deny_is_dropped() -> None:
    scale = np.ones(3)
    first, deny, see = (Departure(np.array(away), scale) for away in
                        ([10.0, 10, np.nan], [0.0, 0, 9], [0.5, 9, 9.5]))  # fmt: skip
    assert agreed((first, deny)).away.tolist() == [0, 0, 9]
    assert agreed((first, deny, see)).away.tolist() == [0, 10, 9]
    unsure = Departure(np.zeros(3), 100 * scale)
    assert agreed((first, unsure)).away.tolist() == [10, 10, 0]


def test_departure_of_a_power_that_flows_back_keeps_its_sign() -> None:
    current = 80 * np.sin(np.arange(1000) / 40)
    power = 0.8 * current
    power[500:560] *= 1.3
    means_of = {"pcs1_ap": power, "pcs1_dcc": -current}
    (found,) = departures("pcs1_ap", means_of, np.arange(1000))
    assert (power - found.away)[500:560] == pytest.approx(0.8 * current[500:560], abs=1)


def test_health_that_falls_over_years_is_no_departure_but_a_step_is() -> None:
    bins = np.arange(600 * DAY_BINS)
    health = np.round(100 - 0.012 * bins / DAY_BINS)
    (found,) = departures("bms1_soh", {"bms1_soh": health}, bins)
    assert np.abs(found.away).max() <= 1
    health[50_000:50_100] -= 6
    (found,) = departures("bms1_soh", {"bms1_soh": health}, bins)
    assert found.away[50_000:50_100] == pytest.approx(-6, abs=1)
