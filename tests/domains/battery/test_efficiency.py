"""Round-trip efficiency against values told by hand."""

import numpy as np
import pytest

from benchwire.domains.battery.efficiency import round_trip_efficiency
from benchwire.domains.battery.samples import DAY_US, Samples
from tests.domains.battery.square_waves import MIDNIGHT, none, ramps, square_wave, without

# 100 kWh fill the battery, 90 kWh come out again.
POWER = square_wave(*[(10, 10), (1, 0), (10, -9), (3, 0)] * 2)
CORNERS = [(24 * k + h, s) for k in (0, 1) for h, s in ((0, 0), (10, 100), (11, 100), (21, 0))]
SOC = ramps(*CORNERS, (48, 0))


def test_full_cycle_gives_energy_out_over_energy_in():
    found = round_trip_efficiency(POWER, SOC)
    assert found.efficiency == pytest.approx(0.9, abs=2e-3)
    assert found.is_corrected
    assert found.kwh_per_soc_percent == pytest.approx(0.9, abs=2e-3)
    assert [day.start_us for day in found.days] == [MIDNIGHT, MIDNIGHT + DAY_US]
    for day in found.days:
        assert day.charged_kwh == pytest.approx(100, abs=0.01)
        assert day.discharged_kwh == pytest.approx(90, abs=0.01)
        assert day.efficiency == pytest.approx(0.9, abs=2e-3)
        assert day.reason is None


def test_difference_of_the_state_of_charge_is_corrected():
    # One day ends half full, the next begins so.
    power = square_wave((10, 10), (4, 0), (5, -9), (5, 0), (5, 10), (2, 0), (10, -9), (7, 0))
    soc = ramps(
        (0, 0), (10, 100), (14, 100), (19, 50), (24, 50), (29, 100), (31, 100), (41, 0), (48, 0)
    )
    found = round_trip_efficiency(power, soc)
    assert [day.soc_change_percent for day in found.days] == pytest.approx([50, -50], abs=0.2)
    assert [day.efficiency for day in found.days] == pytest.approx([0.9, 0.9], abs=5e-3)
    assert found.efficiency == pytest.approx(0.9, abs=5e-3)


def test_reversed_sign_is_recognised():
    found = round_trip_efficiency(Samples(POWER.at_us, -POWER.values), SOC)
    assert found.sign.positive == "discharge"
    assert found.efficiency == pytest.approx(0.9, abs=2e-3)


def test_rounded_state_of_charge_tells_its_uncertainty():
    found = round_trip_efficiency(POWER, Samples(SOC.at_us, np.round(SOC.values)))
    # Rounding to 1 % twice deviates by 1 / sqrt(6) %, of 0.9 kWh each, of 100 kWh.
    assert found.days[0].uncertainty == pytest.approx(0.9 / 6**0.5 / 100, rel=0.02)
    assert found.days[0].efficiency == pytest.approx(0.9, abs=0.02)


def test_day_with_too_little_throughput_has_none():
    power = square_wave((10, 10), (1, 0), (10, -9), (3, 0), (1, 10), (2, 0), (1, -9), (20, 0))
    soc = ramps(
        (0, 0), (10, 100), (11, 100), (21, 0), (24, 0), (25, 10), (27, 10), (28, 0), (48, 0)
    )
    idle = round_trip_efficiency(power, soc).days[1]
    assert idle.efficiency is None
    assert idle.reason == "too little was charged and discharged"
    assert idle.charged_kwh == pytest.approx(10, abs=0.01)


def test_day_with_a_gap_has_none():
    day = round_trip_efficiency(without(POWER, 2, 5), SOC).days
    assert day[0].reason == "the power is not known all day"
    assert day[1].efficiency == pytest.approx(0.9, abs=2e-3)


def test_day_whose_end_has_no_state_of_charge_has_none():
    days = round_trip_efficiency(POWER, without(SOC, 22, 25)).days
    assert {day.reason for day in days} == {"the state of charge is not known at both ends"}


def test_more_out_than_in_is_refused():
    power = Samples(POWER.at_us, np.where(POWER.values < 0, POWER.values * 1.5, POWER.values))
    found = round_trip_efficiency(power, SOC)
    assert found.efficiency is None
    assert found.days[0].reason is not None
    assert found.days[0].reason.startswith("more came out")


def test_without_state_of_charge_only_the_whole_is_told_uncorrected():
    found = round_trip_efficiency(POWER, None)
    assert found.efficiency == pytest.approx(0.9, abs=1e-3)
    assert not found.is_corrected
    assert {day.reason for day in found.days} == {"no state of charge"}


def test_no_power_and_one_sample_have_no_efficiency():
    assert round_trip_efficiency(none(), SOC).days == ()
    one = round_trip_efficiency(Samples(POWER.at_us[:1], POWER.values[:1]), SOC)
    assert one.efficiency is None
    assert one.days[0].efficiency is None
