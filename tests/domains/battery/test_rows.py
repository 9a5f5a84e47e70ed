"""Rows by position and by time, from files and from memory, against plain lists."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchwire.domains.battery.rows import Rows, RowsFile, Timeline, merged
from benchwire.domains.battery.tails import filled
from benchwire.domains.battery.work import write_rows

FIELDS = ("a", "b")


def rows(times: list[int], number: float = 0.0) -> Rows:
    at_us = np.array(sorted(set(times)), np.int64)
    return Rows(at_us, np.stack([at_us + number, at_us * 2 + number], axis=1))


def file_of(path: Path, found: Rows, per_group: int = 3) -> RowsFile:
    pieces = (found.take(slice(i, i + per_group)) for i in range(0, len(found), per_group))
    write_rows(path, FIELDS, pieces)
    return RowsFile(path, FIELDS)


def same(one: Rows, times: list[int], values: list[float]) -> None:
    assert one.at_us.tolist() == times
    assert one.values[:, 0].tolist() == values


times = st.lists(st.integers(0, 40), max_size=25)


@settings(max_examples=150, deadline=None)
@given(times, times, st.integers(0, 50), st.integers(0, 50), st.integers(0, 45))
def test_timeline_reads_like_one_sorted_list(
    tmp_path_factory: pytest.TempPathFactory,
    recorded: list[int],
    late: list[int],
    start: int,
    stop: int,
    at: int,
) -> None:
    found = {time: float(time) for time in recorded}
    found = {**{time: time + 0.5 for time in late}, **found}  # what is in the file wins
    expected = sorted(found.items())
    path = tmp_path_factory.getbasetemp() / "timeline.parquet"
    timeline = Timeline(FIELDS, file_of(path, rows(recorded)), rows(late, 0.5))
    assert len(timeline) == len(expected)
    inside = expected[start:stop]
    same(timeline.read(start, stop), [time for time, _ in inside], [value for _, value in inside])
    assert timeline.rank(at) == sum(time < at for time, _ in expected)
    assert timeline.exists(np.array([at])).tolist() == [at in found]
    assert timeline.first_us == (expected[0][0] if expected else None)
    assert timeline.last_us == (expected[-1][0] if expected else None)


@settings(max_examples=150, deadline=None)
@given(
    times,
    times,
    times,
    st.none() | st.integers(0, 45),
    st.none() | st.integers(0, 45),
    st.integers(1, 9),
)
def test_merged_sources_are_one_in_order_and_the_earlier_wins(
    tmp_path_factory: pytest.TempPathFactory,
    first: list[int],
    second: list[int],
    third: list[int],
    start: int | None,
    end: int | None,
    at_once: int,
) -> None:
    folder = tmp_path_factory.getbasetemp()
    sources = [
        file_of(folder / "first.parquet", rows(first)),
        file_of(folder / "second.parquet", rows(second, 0.25)),
        rows(third, 0.5),
    ]
    found = {
        **{time: time + 0.5 for time in third},
        **{time: time + 0.25 for time in second},
        **{time: float(time) for time in first},
    }
    expected = [
        item
        for item in sorted(found.items())
        if (start is None or item[0] >= start) and (end is None or item[0] < end)
    ]
    parts = list(merged(sources, start, end, rows_at_once=at_once))
    at_us = [at for part in parts for at in part.at_us.tolist()]
    values = [value for part in parts for value in part.values[:, 0].tolist()]
    assert list(zip(at_us, values, strict=True)) == expected


def test_merging_holds_only_what_was_allowed(tmp_path: Path) -> None:
    source = file_of(tmp_path / "long.parquet", rows(list(range(1000))), 10)
    parts = list(merged([source], rows_at_once=50))
    assert max(map(len, parts)) <= 50
    assert sum(map(len, parts)) == 1000


def test_field_that_a_file_lacks_was_never_measured(tmp_path: Path) -> None:
    write_rows(tmp_path / "one.parquet", ("a",), iter([Rows(np.array([1]), np.array([[2.0]]))]))
    found = RowsFile(tmp_path / "one.parquet", ("b", "a")).read(0, 1)
    assert np.isnan(found.values[0, 0])
    assert found.values[0, 1] == 2.0


def test_empty_file_has_no_rows(tmp_path: Path) -> None:
    found = file_of(tmp_path / "none.parquet", rows([]))
    assert (len(found), found.first_us, found.rank(5), len(found.between(None, None))) == (
        0,
        None,
        0,
        0,
    )


def test_later_readings_fill_only_what_is_missing() -> None:
    nan = float("nan")
    before = Rows(np.array([1, 2]), np.array([[1.0, nan], [nan, nan]]))
    after = Rows(np.array([1, 3]), np.array([[9.0, 9.0], [3.0, nan]]))
    found = filled(before, after)
    assert found.at_us.tolist() == [1, 2, 3]
    assert found.values[0].tolist() == [1.0, 9.0]
    assert found.values[2, 0] == 3.0
