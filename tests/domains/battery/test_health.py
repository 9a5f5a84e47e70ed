"""The state-of-health trend on lines that are known, also when told in whole percent only."""

import numpy as np
import pytest

from benchwire.domains.battery.health import DAYS_PER_MONTH, Trend, health_trend
from benchwire.domains.battery.samples import DAY_US, HOUR_US, Samples
from tests.domains.battery.square_waves import MIDNIGHT, none


def line(days: int, start: float, per_month: float) -> Samples:
    at_us = MIDNIGHT + np.arange(days * 24, dtype=np.int64) * HOUR_US
    return Samples(at_us, start + per_month / DAYS_PER_MONTH * np.arange(days * 24) / 24)


def whole(samples: Samples) -> Samples:
    return Samples(samples.at_us, np.round(samples.values))


def trend(samples: Samples) -> Trend:
    found = health_trend(samples)
    assert found is not None
    return found


def test_exact_line_gives_its_slope_and_the_day_of_80_percent():
    found = trend(line(400, 100, -0.5))
    assert found.percent_per_month == pytest.approx(-0.5, abs=1e-3)
    assert found.is_significant
    assert found.end_of_life_us is not None
    assert (found.end_of_life_us - MIDNIGHT) / DAY_US == pytest.approx(40 * DAYS_PER_MONTH, abs=3)
    assert found.earliest_us is not None
    assert found.latest_us is not None
    assert found.earliest_us <= found.end_of_life_us <= found.latest_us
    assert found.reason is None


def test_whole_percent_over_20_months_keep_the_slope_within_the_interval():
    found = trend(whole(line(600, 99.3, -0.2)))
    assert found.lower < -0.2 < found.upper < 0
    assert found.resolution_percent == 1
    assert found.days == 600


def test_interval_holds_the_truth_for_noisy_whole_percent():
    generator = np.random.default_rng(8)
    inside = 0
    for _ in range(20):
        days = int(generator.integers(60, 500))
        per_month = float(-generator.uniform(0, 0.4))
        samples = line(days, generator.uniform(95, 100), per_month)
        wander = np.zeros(days)
        for day in range(1, days):
            wander[day] = 0.9 * wander[day - 1] + generator.normal(0, 0.1)
        found = trend(whole(Samples(samples.at_us, samples.values + np.repeat(wander, 24))))
        inside += found.lower <= per_month <= found.upper
    assert inside >= 17


def test_single_step_in_two_months_is_no_trend():
    found = trend(whole(line(60, 98.7, -0.2)))
    assert not found.is_significant
    assert found.lower < 0 < found.upper
    assert found.end_of_life_us is None
    assert found.reason == "the trend cannot be told from none"


def test_constant_whole_percent_is_no_trend_and_allows_for_a_hidden_one():
    found = trend(whole(line(365, 98, 0)))
    assert found.percent_per_month == 0
    assert found.upper == pytest.approx(1.5 / 12, rel=0.03)
    assert found.end_of_life_us is None


def test_rising_health_has_no_end_of_life():
    found = trend(line(200, 90, 0.4))
    assert found.is_significant
    assert found.reason == "the state of health does not fall"


def test_end_of_life_that_is_far_away_is_not_told():
    found = trend(line(600, 100, -0.02))
    assert found.end_of_life_us is None
    assert found.reason == "the end of life is more than 50 years away"


def test_battery_past_its_end_of_life_reached_it_now():
    found = trend(line(300, 79, -0.3))
    assert found.end_of_life_us == found.end_us


def test_wrong_days_nulls_and_gaps_do_not_move_the_slope():
    samples = line(400, 100, -0.5)
    samples.values[100 * 24 : 110 * 24] = 0
    samples.values[::7] = np.nan
    kept = (samples.at_us < MIDNIGHT + 200 * DAY_US) | (samples.at_us > MIDNIGHT + 260 * DAY_US)
    found = trend(Samples(samples.at_us[kept], samples.values[kept]))
    assert found.percent_per_month == pytest.approx(-0.5, rel=0.05)
    assert found.days == 340


def test_too_few_days_and_no_data_have_no_trend():
    assert health_trend(line(10, 100, -1)) is None
    assert health_trend(none()) is None
    nulls = line(100, 100, -1)
    assert health_trend(Samples(nulls.at_us, np.full(len(nulls), np.nan))) is None
