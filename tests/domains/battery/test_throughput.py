"""Integrals by sign, and which sign charges, against values told by hand."""

import numpy as np
import pytest

from benchwire.domains.battery.samples import DAY_US, HOUR_US, Samples
from benchwire.domains.battery.throughput import (
    days_of,
    find_sign,
    integrate,
    power_kw,
    value_at,
)
from tests.domains.battery.square_waves import MIDNIGHT, none, ramps, square_wave, without


def one_day(samples: Samples) -> tuple[float, float, float, float]:
    flows = integrate(samples, days_of(samples))
    assert len(flows.positive) == 1
    return (
        float(flows.positive[0]), float(flows.negative[0]),
        float(flows.covered_hours[0]), float(flows.uncovered_hours[0]),
    )  # fmt: skip


def test_constant_signal_integrates_to_value_times_hours():
    assert one_day(ramps((0, 50), (2, 50))) == pytest.approx((100, 0, 2, 0))


def test_line_through_zero_is_split_where_it_crosses():
    samples = Samples(MIDNIGHT + np.array([0, 480_000_000]), np.array([30.0, -10.0]))
    # 8 minutes; above zero for 6 of them: a triangle of 30 x 6 min, then one of 10 x 2 min.
    assert one_day(samples)[:2] == pytest.approx((30 * 0.1 / 2, 10 / 30 / 2))


def test_gap_longer_than_ten_minutes_is_not_integrated_and_reported():
    samples = without(ramps((0, 60), (3, 60)), 1, 1.99)
    assert one_day(samples) == pytest.approx((60 * (3 - 61 / 60), 0, 3 - 61 / 60, 61 / 60))


def test_gap_of_ten_minutes_is_bridged():
    samples = ramps((0, 60), (1, 60), every_s=600)
    assert one_day(samples) == pytest.approx((60, 0, 1, 0))


def test_nulls_are_bridged_like_missing_samples():
    samples = ramps((0, 60), (1, 60))
    samples.values[10:15] = np.nan
    assert one_day(samples) == pytest.approx((60, 0, 1, 0))


def test_midnight_between_two_samples_splits_them():
    samples = Samples(MIDNIGHT + DAY_US + np.array([-180, 420]) * 1_000_000, np.array([0.0, 10.0]))
    flows = integrate(samples, days_of(samples))
    # 3 of 10 minutes lie before it; the line reaches 3 there.
    assert flows.positive == pytest.approx([3 * 0.05 / 2, (3 + 10) / 2 * 7 / 60])
    assert flows.covered_hours == pytest.approx([0.05, 7 / 60])


def test_one_sample_and_no_sample_integrate_to_nothing():
    one = Samples(np.array([MIDNIGHT]), np.array([5.0]))
    assert one_day(one) == (0, 0, 0, 0)
    assert len(days_of(none())) == 0


def test_value_at_is_the_latest_and_not_older_than_the_gap():
    samples = ramps((0, 0), (1, 60))
    moments = MIDNIGHT + np.array([-1, 90_000_000, HOUR_US + 600_000_000, HOUR_US + 601_000_000])
    assert value_at(samples, moments) == pytest.approx([np.nan, 1, 60, np.nan], nan_ok=True)


def test_power_is_voltage_times_current_where_both_are_known():
    current = ramps((0, -100), (3, -100))
    voltage = without(ramps((0, 800), (3, 800)), 1, 2)
    power = power_kw(voltage, current)
    hours = (power.at_us - MIDNIGHT) / HOUR_US
    assert np.all(power.values[hours <= 1] == pytest.approx(-80))
    assert np.isnan(power.values[(hours > 1.2) & (hours < 1.8)]).all()
    assert len(power_kw(none(), current)) == 0


CURRENT = square_wave((3, 50), (1, 0), (3, -50))
SOC = ramps((0, 20), (3, 80), (4, 80), (7, 20))


def test_sign_is_found_from_rising_state_of_charge():
    sign = find_sign(CURRENT, SOC)
    assert (sign.positive, sign.source, sign.agreement) == ("charge", "soc", 1.0)


def test_sign_is_found_reversed_when_the_state_of_charge_falls():
    sign = find_sign(Samples(CURRENT.at_us, -CURRENT.values), SOC)
    assert (sign.positive, sign.source, sign.factor) == ("discharge", "soc", -1.0)


def test_sign_is_assumed_without_a_state_of_charge_that_moves():
    for soc in (None, none(), ramps((0, 50), (7, 50)), ramps((0, 50), (7, 54))):
        assert find_sign(CURRENT, soc).source == "assumed"


def test_sign_is_assumed_when_the_state_of_charge_contradicts_itself():
    soc = ramps((0, 20), (3, 80), (4, 80), (7, 99))
    assert find_sign(CURRENT, soc).source == "assumed"
