"""The rule of synchronisation, against an oracle that goes through everything one by one."""

import math
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchwire.domains.battery.csv_signals import Sizes, clean
from benchwire.domains.battery.dataset import discover
from benchwire.domains.battery.recorded import Options, build, recorded, timeline_path
from benchwire.domains.battery.samples import Samples
from benchwire.domains.battery.signals import BMS
from benchwire.domains.battery.synchronising import write_timeline
from benchwire.domains.battery.timeline import master, nearest
from tests.domains.battery import oracle

SECOND = 1_000_000
TOLERANCE = 600 * SECOND
FIELDS = BMS.fields[:4]
NAMES = [signal.name for signal in BMS.signals[:4]]


def samples(*pairs):
    return Samples(
        np.array([at * SECOND for at, _ in pairs], np.int64), np.array([v for _, v in pairs], float)
    )


def at(*seconds):
    return np.array(seconds, np.int64) * SECOND


def test_nearest_of_two_equally_near_samples_is_the_earlier():
    assert nearest(at(10), samples((0, 1.0), (20, 2.0)), TOLERANCE).tolist() == [1.0]


def test_nearest_prefers_the_nearer_on_either_side():
    found = nearest(at(9, 11), samples((0, 1.0), (20, 2.0)), TOLERANCE)
    assert found.tolist() == [1.0, 2.0]


def test_nearest_takes_a_sample_just_at_the_tolerance_and_none_beyond():
    signal = samples((0, 1.0), (2000, 2.0))
    found = nearest(at(600, 601, 1399, 1400), signal, TOLERANCE)
    np.testing.assert_array_equal(found, [1.0, np.nan, np.nan, 2.0])


def test_nearest_keeps_a_null_though_a_value_is_near():
    found = nearest(at(10), samples((9, np.nan), (12, 5.0)), TOLERANCE)
    assert math.isnan(found[0])


def test_nearest_of_a_signal_without_samples_is_null():
    assert np.isnan(nearest(at(1, 2), samples(), TOLERANCE)).all()


def test_master_is_the_signal_with_most_rows_and_the_first_of_equals():
    assert master(("a", "b", "c"), {"a": 3, "b": 5, "c": 5}) == "b"
    assert master(("a", "b"), {"b": 1}) == "b"
    assert master(("a", "b"), {"a": 0}) is None


# Few different moments, so that ties, repeats and distances of just 600 s are common.
moments = st.one_of(
    st.integers(0, 40).map(lambda k: 100 * k),
    st.integers(0, 4000),
    st.sampled_from([5000, 5600, 5601, 6200, 6201, 9000, 9599, 9600, 9601]),
)
texts = st.one_of(
    st.integers(-50, 50).map(lambda k: f"{k / 10}"),
    st.sampled_from(["", "NaN", "nan", "abc", "inf", "-inf", "1e400", "7", "--3", "4.25"]),
)
times = st.one_of(
    moments.map(
        lambda s: f"2024-03-{1 + s // 86400:02} {s // 3600:02}:{s // 60 % 60:02}:{s % 60:02}"
    ),
    st.sampled_from(["2024-02-30 00:00:00", "not a time", "", "2024-03-01 24:00:00"]),
)
signal_lines = st.lists(st.builds(lambda t, v: f"{t},{v}", times, texts), max_size=30)


@settings(max_examples=60, deadline=None)
@given(signals=st.lists(signal_lines, min_size=1, max_size=4), data=st.data())
def test_csv_files_become_rows_by_the_complete_rule(signals, data):
    tiny = Sizes(
        block_bytes=data.draw(st.sampled_from([1, 30, 90, 400, 10_000])),
        group_rows=data.draw(st.sampled_from([1, 3, 7, 1000])),
        merged_runs=data.draw(st.integers(2, 5)),
    )
    chunk_rows = data.draw(st.sampled_from([1, 2, 5, 1000]))
    with tempfile.TemporaryDirectory() as folder:
        device = Path(folder) / "data" / "D1"
        device.mkdir(parents=True)
        for name, lines in zip(NAMES, signals, strict=False):
            (device / f"{name}.csv").write_text("\n".join([f"ts,{name}", *lines]) + "\n")
        (recording,) = discover(device.parent)
        paths = {}
        rows = {}
        for field, name in zip(FIELDS, NAMES, strict=True):
            paths[field] = None
            if name in recording.files:
                path = Path(folder) / f"{name}.parquet"
                rows[field] = clean(recording.files[name], path, None, sizes=tiny).rows
                paths[field] = path if rows[field] else None
        target = Path(folder) / "bms.parquet"
        write_timeline(
            target, paths, master(FIELDS, rows), tolerance_us=TOLERANCE,
            chunk_rows=chunk_rows, group_rows=3,
        )  # fmt: skip
        in_parts = pq.read_table(target)
        built = build(recording, BMS, Path(folder) / "cache", Options(), lambda *_: None)
        in_one = pq.read_table(timeline_path(Path(folder) / "cache", "D1", "bms"))
        assert recorded(recording, BMS, Path(folder) / "cache", Options()) == built
    kept = [oracle.cleaned(lines) for lines in signals]
    expected = oracle.timeline(kept, TOLERANCE)
    assert rows_of(in_parts) == expected_rows(expected, len(FIELDS))
    assert rows_of(in_one) == expected_rows(expected, len(BMS.fields))
    assert built.rows == len(expected)
    assert built.rows_per_field == {
        field: len(one) for field, one in zip(FIELDS, kept, strict=False) if one
    }


def rows_of(table):
    columns = [column.to_pylist() for column in table.columns]
    return [
        [None if value != value else value for value in row] for row in zip(*columns, strict=True)
    ]


def expected_rows(rows, fields):
    return [row + [None] * (fields + 1 - len(row)) for row in rows]


def test_timeline_with_a_hole_in_which_another_signal_goes_on_is_exact(tmp_path, monkeypatch):
    monkeypatch.setattr("benchwire.domains.battery.synchronising.MOST_SAMPLES", 50)
    leading = [(k * 60, float(k)) for k in range(300)] + [(900_000 + k, -1.0) for k in range(300)]
    other = [(20_000 + k * 1500, float(k)) for k in range(580)]
    paths = {}
    for name, pairs in {"leading": leading, "other": other}.items():
        paths[name] = tmp_path / f"{name}.parquet"
        write_signal(paths[name], samples(*pairs), group_rows=16)
    write_timeline(tmp_path / "g.parquet", paths, "leading", tolerance_us=TOLERANCE)
    expected = oracle.timeline(
        [[(at * SECOND, v) for at, v in pairs] for pairs in (leading, other)], TOLERANCE
    )
    assert rows_of(pq.read_table(tmp_path / "g.parquet")) == expected


def write_signal(path, signal, group_rows):
    from benchwire.domains.battery.signal_file import SignalWriter

    with path.open("wb") as file:
        writer = SignalWriter(file, group_rows=group_rows)
        writer.write(signal)
        writer.close()


@pytest.mark.parametrize("rows", [1, 4095, 4096, 4097])
def test_signal_file_gives_back_what_was_written_around_full_row_groups(tmp_path, rows):
    from benchwire.domains.battery.samples import joined
    from benchwire.domains.battery.signal_file import SignalFile

    written = samples(*((k * 3, k / 7) for k in range(rows)))
    write_signal(tmp_path / "a.parquet", written, group_rows=4096)
    with SignalFile(tmp_path / "a.parquet") as file:
        read = joined([file.group(group) for group in range(len(file.counts))])
        assert file.rows == rows
    np.testing.assert_array_equal(read.at_us, written.at_us)
    np.testing.assert_array_equal(read.values, written.values)
