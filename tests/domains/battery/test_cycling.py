"""Throughput, capacity, equivalent full cycles and depths against values told by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchwire.domains.battery.cycling import cycling, estimate_capacity
from benchwire.domains.battery.samples import DAY_US, Samples
from benchwire.domains.battery.swings import depth_histogram, rainflow, soc_swings
from tests.domains.battery.square_waves import MIDNIGHT, none, ramps, square_wave, without

# 200 Ah in 4 h and out in 4 h, every 12 hours for two days.
CURRENT = square_wave(*[(4, 50), (2, 0), (4, -50), (2, 0)] * 4)
SOC = ramps(
    *[(12 * k + h, soc) for k in range(4) for h, soc in ((0, 0), (4, 100), (6, 100), (10, 0))],
    (48, 0),
)
# A step between two samples a second apart is a ramp of half that second on each side.
STEP_AH = 50 * 0.5 / 3600


def test_square_wave_gives_exact_charge_energy_and_cycles():
    found = cycling(CURRENT, SOC, voltage=ramps((0, 800), (48, 800)), capacity_ah=200)
    total = found.total
    assert total is not None
    assert total.discharged_ah == pytest.approx(4 * (200 - 50 / 3600 + 2 * STEP_AH))
    assert total.charged_ah == pytest.approx(800, abs=0.02)
    assert total.charged_kwh == pytest.approx(640, abs=0.02)
    assert total.discharged_kwh == pytest.approx(640, abs=0.02)
    assert total.full_cycles == pytest.approx(4, abs=1e-4)
    assert total.soc_full_cycles == pytest.approx(4)
    assert total.uncovered_hours == 0
    assert found.sign is not None
    assert (found.sign.positive, found.sign.source) == ("charge", "soc")


def test_days_add_up_to_the_total():
    found = cycling(CURRENT, SOC, capacity_ah=200)
    assert [day.start_us for day in found.days] == [
        MIDNIGHT,
        MIDNIGHT + DAY_US,
        MIDNIGHT + 2 * DAY_US,
    ]
    assert found.days[0].full_cycles == pytest.approx(2, abs=1e-4)
    assert found.days[0].soc_full_cycles == pytest.approx(2)
    assert found.total is not None
    for key in ("charged_ah", "discharged_ah", "full_cycles", "soc_full_cycles", "covered_hours"):
        together = sum(getattr(day, key) for day in found.days)
        assert together == pytest.approx(getattr(found.total, key))


def test_reversed_current_is_recognised_and_gives_the_same():
    reversed_ = Samples(CURRENT.at_us, -CURRENT.values)
    found, usual = cycling(reversed_, SOC, capacity_ah=200), cycling(CURRENT, SOC, capacity_ah=200)
    assert found.sign is not None
    assert found.sign.positive == "discharge"
    assert found.total == usual.total


def test_gap_is_not_integrated_and_reported():
    found = cycling(without(CURRENT, 1, 2), SOC, capacity_ah=200)
    assert found.total is not None
    assert found.total.charged_ah == pytest.approx(800 - 50 * 62 / 60, abs=0.02)
    assert found.total.uncovered_hours == pytest.approx(62 / 60)


def test_energy_is_unknown_while_the_voltage_is():
    voltage = ramps((0, 800), (48, 800))
    found = cycling(CURRENT, SOC, voltage=without(voltage, 23.9, 48), capacity_ah=200)
    first, second, _ = found.days
    assert first.charged_kwh == pytest.approx(320, abs=0.05)
    assert first.energy_reason is None
    assert first.energy_covered_hours == pytest.approx(24, abs=0.1)
    assert (second.charged_kwh, second.discharged_kwh) == (None, None)
    assert second.energy_reason == "the voltage is not known all the time"
    assert second.energy_covered_hours == pytest.approx(0, abs=0.1)
    assert second.charged_ah == pytest.approx(400, abs=0.02)
    assert second.covered_hours == pytest.approx(24, abs=0.01)
    assert found.total is not None
    assert found.total.charged_kwh is None


def test_energy_of_nearly_all_the_time_is_told_with_its_hours():
    voltage = without(ramps((0, 800), (48, 800)), 5, 6)
    total = cycling(CURRENT, SOC, voltage=voltage).total
    assert total is not None
    assert total.charged_kwh == pytest.approx(640, abs=0.02)
    assert total.energy_covered_hours == pytest.approx(48 - 1, abs=0.35)
    assert total.energy_reason is None


def test_energy_without_current_or_voltage_says_what_is_missing():
    for current, voltage, reason in ((CURRENT, None, "no voltage"), (None, CURRENT, "no current")):
        total = cycling(current, SOC, voltage=voltage).total
        assert total is not None
        assert total.charged_kwh is None
        assert total.energy_covered_hours is None
        assert total.energy_reason == reason


def test_capacity_is_estimated_from_whole_percent_with_its_error():
    soc = Samples(SOC.at_us, np.round(SOC.values))
    found = estimate_capacity(CURRENT, soc)
    assert found is not None
    assert found.source == "estimated"
    assert found.standard_error_ah is not None
    assert found.standard_error_ah < 2
    assert abs(found.ah - 200) < max(3 * found.standard_error_ah, 0.1)


def test_capacity_estimate_ignores_an_offset_of_the_current_and_a_correction():
    soc = Samples(SOC.at_us, SOC.values.copy())
    soc.values[30 * 60 :] -= 15
    found = estimate_capacity(Samples(CURRENT.at_us, CURRENT.values + 2), soc)
    assert found is not None
    assert found.ah == pytest.approx(200, rel=0.01)


def test_capacity_is_unknown_when_nothing_moves():
    flat = ramps((0, 50), (48, 50))
    assert estimate_capacity(CURRENT, flat) is None
    assert estimate_capacity(ramps((0, 0), (48, 0)), SOC) is None
    found = cycling(CURRENT, flat)
    assert found.capacity is None
    assert found.total is not None
    assert found.total.full_cycles is None


def test_without_current_cycles_come_from_the_state_of_charge_alone():
    found = cycling(None, SOC)
    assert found.total is not None
    assert found.total.soc_full_cycles == pytest.approx(4)
    assert found.total.discharged_ah is None
    assert found.sign is None


def test_without_state_of_charge_the_sign_is_assumed_and_said_so():
    found = cycling(CURRENT, None, capacity_ah=200)
    assert found.sign is not None
    assert found.sign.source == "assumed"
    assert found.depth_cycles is None


def test_nothing_and_one_sample_give_no_cycles():
    for current, soc in ((None, None), (none(), none())):
        found = cycling(current, soc)
        assert found.total is None
        assert found.days == ()
    one = cycling(
        Samples(CURRENT.at_us[:1], CURRENT.values[:1]), Samples(SOC.at_us[:1], SOC.values[:1])
    )
    assert one.total is not None
    assert one.total.soc_full_cycles == 0
    assert one.total.discharged_ah is None


def test_flicker_of_one_percent_is_no_cycling():
    values = np.tile([50.0, 51.0], 500)
    at_us = MIDNIGHT + np.arange(1000) * 60_000_000
    swings = soc_swings(Samples(at_us, values))
    assert swings.moved[-1] == 0
    swings = soc_swings(Samples(at_us, values + np.arange(1000) // 50))
    assert swings.turns.tolist() == [50, 70]
    assert swings.moved[-1] == 20


def test_rainflow_counts_the_example_of_the_standard():
    # ASTM E1049-85, figure 6: ranges 3, 4, 6, 8, 9 count 0.5, 1.5, 0.5, 1, 0.5.
    counts: dict[float, float] = {}
    for depth, count in rainflow(np.array([-2.0, 1, -3, 5, -1, 3, -4, 4, -2])):
        counts[depth] = counts.get(depth, 0) + count
    assert counts == {3: 0.5, 4: 1.5, 6: 0.5, 8: 1.0, 9: 0.5}


@given(st.lists(st.integers(0, 100), min_size=1, max_size=60))
def test_rainflow_and_swings_hold_the_same_throughput(values: list[int]):
    at_us = MIDNIGHT + np.arange(len(values)) * 60_000_000
    swings = soc_swings(Samples(at_us, np.array(values, np.float64)))
    moved = np.abs(np.diff(swings.turns)).sum()
    assert sum(2 * depth * count for depth, count in rainflow(swings.turns)) == pytest.approx(moved)
    assert swings.moved[-1] == pytest.approx(moved)
    assert np.all(np.diff(swings.moved) >= 0)
    assert np.all(np.abs(np.diff(swings.turns)) > 1)


def test_depths_of_full_cycles_are_in_the_last_bin():
    counts = depth_histogram(soc_swings(SOC).turns)
    assert counts[9] == pytest.approx(4)
    assert sum(counts) == pytest.approx(4)
