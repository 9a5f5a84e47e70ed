"""Pixels as counts; times in ms and lengths in um."""

import numpy as np
import pytest

from benchwire.domains.microscopy.errors import PixelsUnsuitable
from benchwire.domains.microscopy.readers import as_counts
from benchwire.domains.microscopy.readers.units import ms_per, pixel_size, timeline, um_per


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "uint64", "float32", "f8"])
def test_whole_numbers_are_taken_exactly(dtype: str) -> None:
    pixels = np.array([[0, 1, 100], [7, 42, 99]], dtype)
    counts = as_counts(pixels)
    assert counts.dtype == np.uint16
    assert counts.tolist() == [[0, 1, 100], [7, 42, 99]]


@pytest.mark.parametrize("dtype", ["uint16", "int32", "float32"])
def test_highest_count_is_taken_exactly(dtype: str) -> None:
    assert as_counts(np.array([[0, 65535]], dtype)).tolist() == [[0, 65535]]


def test_uint16_is_not_copied() -> None:
    pixels = np.zeros((2, 2), np.uint16)
    assert as_counts(pixels) is pixels


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (np.array([[65536]], np.int32), "65536"),
        (np.array([[-1]], np.int16), "-1"),
        (np.array([[2**63]], np.uint64), "do not fit"),
        (np.array([[0.5]], np.float32), "not whole"),
        (np.array([[-0.5]]), "do not fit"),
        (np.array([[np.nan]]), "not finite"),
        (np.array([[np.inf]]), "not finite"),
        (np.array([[1j]]), "complex"),
    ],
)
def test_pixels_that_would_have_to_be_changed_are_refused(pixels: np.ndarray, reason: str) -> None:
    with pytest.raises(PixelsUnsuitable, match=reason):
        as_counts(pixels)


@pytest.mark.parametrize(
    ("unit", "ms"),
    [
        ("s", 1e3), ("ms", 1), ("µs", 1e-3), ("us", 1e-3), ("μs", 1e-3), ("ns", 1e-6), ("ks", 1e6),
        ("Ms", 1e9), ("min", 6e4), ("h", 3.6e6), ("d", 8.64e7), ("second", 1e3),
        ("millisecond", 1), ("Minute", 6e4), ("hours", 3.6e6), ("sec", 1e3),
    ],
)  # fmt: skip
def test_units_of_time(unit: str, ms: float) -> None:
    assert ms_per(unit) == pytest.approx(ms)


@pytest.mark.parametrize(
    ("unit", "um"),
    [
        ("m", 1e6), ("mm", 1e3), ("Mm", 1e12), ("µm", 1), ("um", 1), ("nm", 1e-3),
        ("micrometer", 1),
        ("Nanometer", 1e-3), ("Å", 1e-4), ("micron", 1), ("inch", 25400), ("cm", 1e4), ("pm", 1e-6),
    ],
)  # fmt: skip
def test_units_of_length(unit: str, um: float) -> None:
    assert um_per(unit) == pytest.approx(um)


@pytest.mark.parametrize("unit", ["", "pixel", "reference frame", "?", "S", "D"])
def test_what_is_no_unit_is_none(unit: str) -> None:
    assert ms_per(unit) is None
    assert um_per(unit) is None


@pytest.mark.parametrize("value", [None, 0.0, -1.0, float("nan"), float("inf")])
def test_impossible_pixel_size_is_none(value: float | None) -> None:
    assert pixel_size(value, "um") is None


def test_times_begin_with_zero() -> None:
    assert timeline([5.0, 7.0, 10.0], 3) == ((0.0, 2.0, 5.0), True)


@pytest.mark.parametrize("times", [None, [], [1.0], [1.0, 1.0], [2.0, 1.0], [0.0, float("nan")]])
def test_useless_times_are_ten_minutes_apart(times: list[float] | None) -> None:
    assert timeline(times, 2) == ((0.0, 600e3), False)
