"""The pack's spread over time, and where it cannot be told."""

import numpy as np
import pytest

from benchwire.domains.battery.imbalance import difference, pack_spread
from benchwire.domains.battery.samples import DAY_US, Samples
from tests.domains.battery.square_waves import MIDNIGHT, none, ramps


def test_pack_spread_by_day_has_a_trend():
    found = pack_spread(ramps((0, 0.0201), (24 * 10, 0.0301)))
    assert len(found.days) == 11
    assert found.days[0].start_us == MIDNIGHT
    assert found.days[0].mean_mv == pytest.approx(20.6, abs=0.01)
    assert found.days[0].largest_mv == pytest.approx(21.1, abs=0.01)
    assert found.trend_mv_per_day == pytest.approx(1, rel=0.02)


def test_days_told_in_tenths_of_a_volt_are_left_out():
    values = ramps((0, 0.0123), (24 * 4 - 0.1, 0.0123))
    coarse = values.at_us < MIDNIGHT + 2 * DAY_US
    values.values[coarse] = np.where(np.arange(np.count_nonzero(coarse)) % 2, 0.1, 0.0)
    found = pack_spread(values)
    assert found.coarse_days == 2
    assert found.mean_mv == pytest.approx(12.3)
    assert len(found.days) == 2


def test_no_spread_has_no_days():
    assert pack_spread(none()).days == ()
    assert pack_spread(Samples(np.array([MIDNIGHT]), np.array([np.nan]))).mean_mv is None


def test_difference_takes_the_nearest_lowest_within_ten_minutes():
    highest = Samples(np.array([0, 60, 5000]) * 1_000_000, np.array([3.35, 3.36, 3.37]))
    lowest = Samples(np.array([10, 55]) * 1_000_000, np.array([3.30, 3.32]))
    assert difference(highest, lowest).values == pytest.approx([0.05, 0.04, np.nan], nan_ok=True)
    assert np.isnan(difference(highest, none()).values).all()
