"""Which cells stand out, with deviations put in by hand."""

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest

from benchwire.domains.battery.imbalance import CellDeviation, rank_cells
from benchwire.domains.battery.samples import HOUR_US, Samples
from benchwire.domains.battery.throughput import Sign
from tests.domains.battery.square_waves import MIDNIGHT, none, square_wave

HOURS = 24 * 6
AT_US = MIDNIGHT + np.arange(HOURS * 60, dtype=np.int64) * 60_000_000
COMMON = 3.3 + 0.05 * np.sin(np.arange(len(AT_US)) / 700)


def cells(deviations_v: dict[str, object]) -> Iterator[tuple[str, Samples]]:
    for name, deviation in deviations_v.items():
        yield name, Samples(AT_US, COMMON + np.asarray(deviation, np.float64))


def by_name(found: tuple[CellDeviation, ...]) -> dict[str, CellDeviation]:
    return {cell.cell: cell for cell in found}


def test_cells_are_ranked_by_their_deviation_in_millivolts():
    found = rank_cells(cells({"a": 0, "b": 0.004, "c": 0, "d": -0.012, "e": 0}))
    assert [cell.cell for cell in found.cells[:2]] == ["d", "b"]
    assert [cell.mean_mv for cell in found.cells[:2]] == pytest.approx([-12, 4], abs=1e-3)
    assert [cell.mean_mv for cell in found.cells[2:]] == pytest.approx([0, 0, 0], abs=1e-3)
    assert found.cells[0].spread_mv == pytest.approx(0, abs=1e-3)
    assert found.moment_minutes == 10
    assert found.cells[0].moments == HOURS * 6
    assert (found.start_us, found.end_us) == (MIDNIGHT, MIDNIGHT + HOURS * HOUR_US)


def test_growing_deviation_has_a_trend_per_day():
    growing = -0.002 * np.arange(len(AT_US)) / 1440
    found = by_name(rank_cells(cells({"a": 0, "b": growing, "c": 0, "d": 0})).cells)
    assert found["b"].trend_mv_per_day == pytest.approx(-2, rel=0.01)
    assert found["a"].trend_mv_per_day == pytest.approx(0, abs=1e-3)


def test_higher_resistance_shows_under_load_and_not_at_rest():
    current = square_wave(*[(4, 100), (4, 0), (4, -100), (4, 0)] * 9)
    amperes = np.interp(AT_US, current.at_us, current.values)
    deviations = {"a": 0, "b": amperes * 1e-4, "c": 0, "d": 0.003, "e": 0}
    charging = Sign("charge", "soc")
    found = by_name(rank_cells(cells(deviations), current=current, sign=charging).cells)
    assert found["b"].at_rest_mv == pytest.approx(0, abs=0.02)
    assert found["b"].charging_mv == pytest.approx(10, abs=0.02)
    assert found["b"].discharging_mv == pytest.approx(-10, abs=0.02)
    assert found["d"].at_rest_mv == pytest.approx(3, abs=0.02)
    assert found["d"].charging_mv == pytest.approx(3, abs=0.02)
    discharging = Sign("discharge", "soc")
    found = by_name(rank_cells(cells(deviations), current=current, sign=discharging).cells)
    assert found["b"].charging_mv == pytest.approx(-10, abs=0.02)


def test_one_glitch_of_the_current_does_not_make_all_moments_rest():
    current = square_wave(*[(4, 100), (4, 0), (4, -100), (4, 0)] * 9)
    amperes = np.interp(AT_US, current.at_us, current.values)
    deviations = {"a": 0, "b": amperes * 1e-4, "c": 0, "d": 0, "e": 0}
    clean = by_name(rank_cells(cells(deviations), current=current).cells)["b"]
    current.values[300] = 32_767
    glitched = by_name(rank_cells(cells(deviations), current=current).cells)["b"]
    assert clean.charging_mv == pytest.approx(10, abs=0.02)
    for name in ("at_rest_mv", "charging_mv", "discharging_mv"):
        assert getattr(glitched, name) == pytest.approx(getattr(clean, name), abs=0.02)


def test_glitch_among_few_samples_of_the_current_is_none_too():
    at_us = MIDNIGHT + np.arange(HOURS // 4, dtype=np.int64) * 4 * HOUR_US
    current = Samples(at_us, np.where(np.arange(len(at_us)) % 2, 100.0, -100.0))
    current.values[7] = 32_767
    cell = by_name(rank_cells(cells({"a": 0, "b": 0.01, "c": 0}), current=current).cells)["b"]
    assert cell.at_rest_mv is None
    assert cell.charging_mv == pytest.approx(10, abs=0.02)


def test_a_battery_that_is_seldom_used_rests_in_between():
    """An hour under load in many days of its own consumption, and a few glitches."""
    current = Samples(AT_US, np.full(len(AT_US), -0.5))
    current.values[600:660] = -100.0
    current.values[[10, 2000, 4000]] = 32_767
    deviations = {"a": 0, "b": 0.01, "c": 0}
    cell = by_name(rank_cells(cells(deviations), current=current).cells)["b"]
    assert cell.at_rest_mv == pytest.approx(10, abs=0.02)
    assert cell.discharging_mv == pytest.approx(10, abs=0.02)


def test_without_current_rest_and_load_are_not_told():
    cell = rank_cells(cells({"a": 0, "b": 0.01, "c": 0})).cells[0]
    assert (cell.at_rest_mv, cell.charging_mv, cell.discharging_mv) == (None, None, None)


def test_one_wild_cell_does_not_move_the_others():
    found = by_name(rank_cells(cells({"a": 0, "b": 0.001, "c": -0.001, "d": -3.3})).cells)
    assert found["a"].mean_mv == pytest.approx(0.5, abs=1e-3)
    assert found["b"].mean_mv == pytest.approx(1.5, abs=1e-3)


def test_nulls_and_gaps_of_a_cell_leave_the_others_alone():
    values = COMMON + 0.01
    values[1000:5000] = np.nan
    several = dict(cells({"a": 0, "b": 0, "c": 0}))
    several["gap"] = Samples(AT_US, values)
    several["short"] = Samples(AT_US[:30], COMMON[:30] - 0.02)
    several["empty"] = none()
    found = rank_cells(several.items())
    assert [cell.cell for cell in found.cells[:2]] == ["short", "gap"]
    assert "empty" not in by_name(found.cells)
    assert by_name(found.cells)["gap"].mean_mv == pytest.approx(10, abs=1e-3)
    assert by_name(found.cells)["short"].trend_mv_per_day is None


def test_less_than_three_cells_cannot_be_compared():
    assert rank_cells(cells({"a": 0, "b": 0.1})).cells == ()
    assert rank_cells(iter(())).cells == ()
    assert rank_cells(iter([("a", none())])).start_us is None


def test_one_sample_per_cell_is_compared():
    one = [
        (name, Samples(AT_US[:1], np.array([v])))
        for name, v in (("a", 3.3), ("b", 3.3), ("c", 3.4))
    ]
    assert rank_cells(one).cells[0].mean_mv == pytest.approx(100, abs=1e-2)


def test_memory_does_not_grow_with_the_rate_of_many_cells():
    def many(every: int) -> Iterator[tuple[str, Samples]]:
        at_us = MIDNIGHT + np.arange(0, 30 * 86_400, every, dtype=np.int64) * 1_000_000
        for cell in range(60):
            yield f"c{cell}", Samples(at_us, np.full(len(at_us), 3.3 + (cell == 7) * 0.01))

    tracemalloc.start()
    found = rank_cells(many(30))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.cells[0].cell == "c7"
    # All at once would be 60 cells of 86,400 samples of 16 bytes: 83 MB.
    assert peak < 25e6


def test_long_recordings_have_longer_moments():
    at_us = MIDNIGHT + np.arange(0, 600 * 24, dtype=np.int64) * HOUR_US
    several = [(f"c{cell}", Samples(at_us, np.full(len(at_us), 3.3))) for cell in range(3)]
    assert rank_cells(several).moment_minutes == 50
