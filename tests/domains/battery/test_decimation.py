"""Curves reduced to few points keep what matters."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchwire.domains.battery.decimation import METHODS, Reduction, largest_triangles, reduce
from benchwire.domains.battery.samples import MICROSECONDS, Samples

MINUTE = 60 * MICROSECONDS


def signal(values: list[float], step: int = MINUTE) -> Samples:
    return Samples(np.arange(len(values), dtype=np.int64) * step, np.array(values, float))


def reduced(samples: Samples, method: str, points: int, parts: int = 1) -> tuple[Samples, int]:
    cuts = np.linspace(0, len(samples), parts + 1).astype(int)
    pieces = [
        Samples(samples.at_us[lo:hi], samples.values[lo:hi]) for lo, hi in itertools.pairwise(cuts)
    ]
    start, end = int(samples.at_us[0]), int(samples.at_us[-1]) + 1
    return reduce(pieces, method, start_us=start, end_us=end, points=points)


values = st.lists(st.floats(-1e6, 1e6) | st.just(float("nan")), min_size=40, max_size=200)


@settings(deadline=None)
@given(values, st.sampled_from(METHODS), st.integers(10, 30), st.integers(1, 5))
def test_any_signal_fits_into_the_points_asked_for(
    found: list[float], method: str, points: int, parts: int
) -> None:
    samples = signal(found)
    few, total = reduced(samples, method, points, parts)
    assert total == len(samples)
    assert len(few) <= max(points, 10)
    assert (np.diff(few.at_us) > 0).all()
    known = samples.values[~np.isnan(samples.values)]
    shown = few.values[~np.isnan(few.values)]
    if len(known):
        assert shown.min() >= known.min() - 1e-6 * abs(known.min())
        assert shown.max() <= known.max() + 1e-6 * abs(known.max())
        if method == "minmax":
            assert (shown.min(), shown.max()) == (known.min(), known.max())


@settings(deadline=None)
@given(values, st.sampled_from(METHODS), st.integers(2, 7))
def test_parts_give_the_same_as_one_piece(found: list[float], method: str, parts: int) -> None:
    samples = signal(found)
    one, _ = reduced(samples, method, 20)
    many, _ = reduced(samples, method, 20, parts)
    assert one.at_us.tolist() == many.at_us.tolist()
    assert np.allclose(one.values, many.values, equal_nan=True)


@pytest.mark.parametrize("method", ["minmax", "lttb"])
def test_single_spike_stays_visible(method: str) -> None:
    found = [0.0] * 100_000
    found[54_321] = 9.0
    few, _ = reduced(signal(found), method, 100)
    assert 9.0 in few.values.tolist()
    assert few.at_us[few.values.argmax()] == 54_321 * MINUTE


def test_average_is_the_mean_of_each_step() -> None:
    few, _ = reduced(signal([float(number) for number in range(1000)]), "avg", 10)
    assert few.values.tolist() == [49.5 + 100 * number for number in range(10)]


@pytest.mark.parametrize("method", METHODS)
def test_long_gap_is_marked_by_one_null(method: str) -> None:
    samples = signal([1.0] * 2000)
    kept = np.r_[0:500, 1500:2000]
    few, _ = reduced(Samples(samples.at_us[kept], samples.values[kept]), method, 100)
    nulls = few.at_us[np.isnan(few.values)]
    assert len(nulls) == 1
    assert 500 * MINUTE < nulls[0] < 1500 * MINUTE


@pytest.mark.parametrize("method", METHODS)
def test_slow_signal_without_gap_has_no_null(method: str) -> None:
    few, _ = reduced(signal([float(number % 7) for number in range(3000)], 59 * MINUTE), method, 50)
    assert not np.isnan(few.values).any()


@pytest.mark.parametrize("method", METHODS)
def test_span_of_a_century_in_many_steps_is_reduced(method: str) -> None:
    century = signal([float(number % 7) for number in range(9000)], 4 * 24 * 60 * MINUTE)
    few, total = reduced(century, method, 5000)
    assert total == 9000
    assert 1000 < len(few) <= 5000
    assert (np.diff(few.at_us) > 0).all()


@given(st.integers(-(10**15), 10**15), st.integers(1, 10**14), st.integers(10, 5000))
def test_edges_are_equal_steps_rounded_down(start: int, span: int, points: int) -> None:
    edges = Reduction("avg", start, start + span, points=points)._edges
    assert edges.tolist() == [start + number * span // points for number in range(points + 1)]


def test_few_samples_come_as_they_are() -> None:
    found = [1.0, float("nan"), 3.0]
    few, total = reduced(signal(found), "minmax", 10)
    assert total == len(few) == 3
    assert np.isnan(few.values[1])


def test_largest_triangles_keep_the_ends_and_the_peaks() -> None:
    x = np.arange(1000)
    samples = Samples(x * MINUTE, np.where(x % 100 == 50, 10.0, 0.0))
    few = largest_triangles(samples, 50)
    assert len(few) == 50
    assert few.at_us[[0, -1]].tolist() == samples.at_us[[0, -1]].tolist()
    assert (few.values == 10.0).sum() == 10
