"""Every oddity of a CSV, what becomes of it, and how it is counted."""

import os
import random
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchwire.domains.battery.csv_rows import Columns, local_to_utc, parse_block
from benchwire.domains.battery.csv_signals import Sizes, SourceUnreadable, clean
from benchwire.domains.battery.dataset import SourceFile
from benchwire.domains.battery.samples import iso
from benchwire.domains.battery.signal_report import Intervals

NAME = "bms1_soc"
DAY = "2024-03-01"
HEADER = f"ts,{NAME}\n"


@pytest.fixture
def cleaned(tmp_path):
    """Clean a file with some content; give its rows as (time, value) and the report."""

    def run(content, *, name=f"{NAME}.csv", zone=None, sizes=None):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        status = path.stat()
        source = SourceFile(path, NAME, status.st_size, status.st_mtime_ns, status.st_ino)
        target = tmp_path / "out.parquet"
        report = clean(source, target, zone, sizes=sizes)
        table = pq.read_table(target)
        rows = [
            (iso(row["at_us"]), None if np.isnan(row["value"]) else row["value"])
            for row in table.to_pylist()
        ]
        assert report.rows == len(rows)
        assert not list(tmp_path.glob(".*"))
        return rows, report

    return run


def line(second, value):
    return f"{DAY} 00:00:{second:02},{value}\n"


def at(second):
    return f"{DAY}T00:00:{second:02}Z"


def test_rows_are_sorted_and_the_first_of_equal_times_stays(cleaned):
    rows, report = cleaned(HEADER + line(3, 1) + line(1, 2) + line(3, 9) + line(2, 3))
    assert rows == [(at(1), 2.0), (at(2), 3.0), (at(3), 1.0)]
    assert (report.repeated, report.unsorted) == (1, 2)
    assert (report.first_us, report.last_us) == (1709251201000000, 1709251203000000)


@pytest.mark.parametrize(
    "text",
    ["", "NaN", "nan", "abc", "inf", "-inf", "Infinity", "1e999", "1_0", "0x1", "--1", "1,x"],
)
def test_value_that_is_no_finite_number_is_null_and_the_row_stays(cleaned, text):
    rows, report = cleaned(HEADER + line(1, text) + line(2, 5))
    expected = 1.0 if text == "1,x" else None
    assert rows == [(at(1), expected), (at(2), 5.0)]
    assert report.nulls == (expected is None)
    assert report.bad_values == (expected is None and text.lower() not in {"", "nan"})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3.0), ("-3.25", -3.25), ("+4", 4.0), ("1e3", 1000.0), (".5", 0.5), ("5.", 5.0),
        (" 7 ", 7.0), ('"8"', 8.0), ("0.1234567890123456789", 0.1234567890123456789),
        ("123456789.987654321", 123456789.987654321), ("-0.0", 0.0), ("1E-3", 0.001),
    ],
)  # fmt: skip
def test_number_in_any_writing_is_read_to_the_last_digit(cleaned, text, value):
    rows, report = cleaned(HEADER + line(1, text))
    assert rows == [(at(1), value)]
    assert report.bad_values == report.nulls == 0


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        (f"{DAY} 01:02:03", "01:02:03"), (f"{DAY}T01:02:03", "01:02:03"),
        (f"{DAY} 01:02:03Z", "01:02:03"), (f"{DAY}T01:02:03+02:00", "23:02:03"),
        (f"{DAY}T01:02:03-01:30", "02:32:03"), (f"{DAY} 01:02:03.5", "01:02:03.500000"),
        (f"{DAY} 01:02:03.000001Z", "01:02:03.000001"),
        (f"{DAY} 01:02:03.25+01:00", "00:02:03.250000"),
        (f"{DAY} 01:02:03.123456789", "01:02:03.123456"), (f'"{DAY} 01:02:03"', "01:02:03"),
        (f" {DAY} 01:02:03 ", "01:02:03"), (f"{DAY} 01:02:03.1234567890123", "01:02:03.123456"),
    ],
)  # fmt: skip
def test_time_in_any_accepted_form_is_read(cleaned, text, moment):
    rows, report = cleaned(f"{HEADER}{text},1\n")
    day = "2024-02-29" if moment.startswith("23") else DAY
    assert rows == [(f"{day}T{moment}Z", 1.0)]
    assert report.bad_times == 0


@pytest.mark.parametrize(
    "text",
    [
        "", "soon", DAY, f"{DAY} 01:02", f"{DAY} 24:00:00", f"{DAY} 01:60:00", f"{DAY} 01:00:60",
        "2023-02-29 00:00:00", "2024-13-01 00:00:00", "2024-00-01 00:00:00", "2024-01-00 00:00:00",
        "1969-12-31 23:59:59", "2201-01-01 00:00:00", "24-01-01 00:00:00", f"{DAY} 01:02:03.",
        f"{DAY} 01:02:03+25:00", f"{DAY} 01:02:03+02:60", f"{DAY} 01:02:03ZZ", f"{DAY}_01:02:03",
        f"{DAY} 1:02:03", f"{DAY} 01:02:0x", "2024/03/01 00:00:00", "\uff12024-03-01 00:00:00",
    ],
)  # fmt: skip
def test_row_whose_time_cannot_be_read_is_left_out_alone(cleaned, text):
    rows, report = cleaned(HEADER + line(1, 1) + f"{text},9\n" + line(2, 2))
    assert rows == [(at(1), 1.0), (at(2), 2.0)]
    assert report.bad_times == 1


def test_first_and_last_day_of_the_calendar_are_read(cleaned):
    rows, _ = cleaned(f"{HEADER}1970-01-01 00:00:00,1\n2200-12-31 23:59:59,2\n")
    assert rows == [("1970-01-01T00:00:00Z", 1.0), ("2200-12-31T23:59:59Z", 2.0)]


def test_byte_order_mark_is_no_part_of_the_header(cleaned):
    rows, report = cleaned(b"\xef\xbb\xbf" + (HEADER + line(1, 1)).encode())
    assert rows == [(at(1), 1.0)]
    assert report.has_bom
    assert (report.wrong_case, report.bad_times) == (0, 0)


def test_windows_line_ends_and_blank_lines_are_no_rows(cleaned):
    content = ("\n" + HEADER + line(1, 1) + "\n\n" + line(2, 2) + "\n").replace("\n", "\r\n")
    rows, report = cleaned(content)
    assert rows == [(at(1), 1.0), (at(2), 2.0)]
    assert (report.bad_times, report.bad_values, report.unterminated) == (0, 0, 0)


def test_header_and_file_in_the_wrong_case_are_understood_and_counted(cleaned):
    rows, report = cleaned("TS,BMS1_SOC\n" + line(1, 1), name="BMS1_SOC.CSV")
    assert rows == [(at(1), 1.0)]
    assert report.wrong_case == 3


def test_missing_header_loses_no_row(cleaned):
    rows, report = cleaned(line(1, 1) + line(2, 2))
    assert rows == [(at(1), 1.0), (at(2), 2.0)]
    assert report.bad_times == 0


def test_first_line_that_is_a_damaged_row_is_counted_and_no_header(cleaned):
    rows, report = cleaned("2024-02-31 00:00:00,1\n" + line(2, 2))
    assert rows == [(at(2), 2.0)]
    assert report.bad_times == 1


@pytest.mark.parametrize(
    ("header", "row"),
    [
        (f"ts,other,{NAME}", f"{DAY} 00:00:01,7,1"), (f"{NAME},ts", f"1,{DAY} 00:00:01"),
        (f"ts,{NAME},note", f"{DAY} 00:00:01,1,late"), ("time,measured", f"{DAY} 00:00:01,1"),
        (f'"ts","{NAME}"', f'"{DAY} 00:00:01","1"'), (f"other,ts,{NAME}", f"x,{DAY} 00:00:01,1"),
    ],
)  # fmt: skip
def test_columns_are_found_by_their_names(cleaned, header, row):
    rows, report = cleaned(f"{header}\n{row}\n")
    assert rows == [(at(1), 1.0)]
    assert report.bad_times == report.bad_values == 0


@pytest.mark.parametrize("bad", [b"\xff\xfe,1", b"2024-03-01 00:00:01\x00,1", b"\x00" * 50])
def test_bytes_that_are_no_text_cost_their_row_and_no_other(cleaned, bad):
    rows, report = cleaned(f"{HEADER}{line(1, 1)}".encode() + bad + f"\n{line(2, 2)}".encode())
    assert rows == [(at(1), 1.0), (at(2), 2.0)]
    assert report.bad_times == 1


@pytest.mark.parametrize("bad", [b"\xff", b"1\x00", b'"1', "\uff11".encode()])
def test_value_of_odd_bytes_is_null_or_read_and_its_neighbours_stay(cleaned, bad):
    content = f"{HEADER}{line(1, 1)}{DAY} 00:00:02,".encode() + bad + f"\n{line(3, 3)}".encode()
    rows, report = cleaned(content)
    assert [rows[0], rows[2]] == [(at(1), 1.0), (at(3), 3.0)]
    assert report.bad_values == (0 if bad == b'"1' else 1)


def test_quoted_comma_is_part_of_the_value(cleaned):
    rows, report = cleaned(f'{HEADER}{DAY} 00:00:01,"3,5"\n')
    assert rows == [(at(1), None)]
    assert report.bad_values == 1


@pytest.mark.parametrize(
    ("end", "kept"),
    [
        (f"{DAY} 00:00:02,7", True), (f"{DAY} 00:00:02,-7.5", True), (f"{DAY} 00:00:02,3.", False),
        (f"{DAY} 00:00:02,-", False), (f"{DAY} 00:00:02,1e", False), (f"{DAY} 00:00:02,", False),
        (f"{DAY} 00:00:02", False), (f"{DAY} 00:0", False), ("2", False), (f"{DAY} 00:0,7", False),
    ],
)  # fmt: skip
def test_last_line_without_end_is_kept_only_if_it_looks_whole(cleaned, end, kept):
    rows, report = cleaned(HEADER + line(1, 1) + end)
    assert len(rows) == 1 + kept
    assert (report.unterminated, report.bad_times, report.nulls) == (1, 0, 0)


@pytest.mark.parametrize("content", ["", HEADER, HEADER.strip(), "\n\n", "\ufeff" + HEADER])
def test_file_without_rows_gives_none(cleaned, content):
    rows, report = cleaned(content)
    assert rows == []
    assert (report.rows, report.first_us, report.median_interval_s) == (0, None, None)
    assert (report.bad_times, report.unterminated) == (0, 0)


def test_line_beyond_all_measure_is_one_bad_row(cleaned):
    content = HEADER + line(1, 1) + "x" * 300_000 + "\n" + line(2, 2)
    rows, report = cleaned(content, sizes=Sizes(block_bytes=10_000))
    assert rows == [(at(1), 1.0), (at(2), 2.0)]
    assert report.bad_times == 1


def test_gaps_are_intervals_beyond_ten_medians_and_ten_minutes(cleaned):
    start = datetime(2024, 3, 1, tzinfo=UTC)
    seconds = [*range(0, 6000, 60), 6000 + 540, 6540 + 600, 7140 + 601, 7741 + 86_400]
    content = "".join(f"{start + timedelta(seconds=s):%Y-%m-%d %H:%M:%S},1\n" for s in seconds)
    _, report = cleaned(HEADER + content)
    assert report.median_interval_s == 60.0
    assert (report.gaps, report.longest_gap_s) == (2, 86_400.0)


@given(
    st.lists(st.one_of(st.integers(1, 5_000_000), st.integers(1, 900).map(lambda s: s * 10**6))),
    st.integers(1, 4),
)
def test_intervals_counted_in_parts_have_the_median_of_all(intervals, parts):
    counted = Intervals()
    for part in np.array_split(np.array(intervals, np.int64), parts):
        counted.add(part)
    median = counted.median_s()
    assert median == (None if not intervals else pytest.approx(np.median(intervals) / 1e6))


def test_intervals_of_all_lengths_are_counted_in_little_memory():
    generator = np.random.default_rng(1)
    intervals = generator.integers(1, 10_000_000, 40_000)
    counted = Intervals(most_others=3000)
    for part in np.array_split(intervals, 10):
        counted.add(part)
    assert len(counted._others) <= 11_000
    assert counted.median_s() == pytest.approx(np.median(intervals) / 1e6, abs=0.5)


def test_zone_moves_times_that_tell_none_and_no_others(cleaned):
    content = f"{HEADER}2024-01-01 12:00:00,1\n2024-07-01 12:00:00,2\n2024-07-01 12:00:00Z,3\n"
    rows, _ = cleaned(content, zone=ZoneInfo("Europe/Berlin"))
    assert [text for text, _ in rows] == [
        "2024-01-01T11:00:00Z", "2024-07-01T10:00:00Z", "2024-07-01T12:00:00Z",
    ]  # fmt: skip


@given(st.lists(st.integers(0, 7_000_000_000), min_size=1, max_size=40), st.sampled_from(
    ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Africa/Monrovia"]
))  # fmt: skip
def test_local_times_become_utc_as_the_standard_library_has_it(seconds, name):
    zone = ZoneInfo(name)
    near = [s // 3600 * 3600 + k for s in seconds for k in (0, 1800, 3599)]
    epoch = datetime(1970, 1, 1)  # noqa: DTZ001 - a clock's own time
    expected = [(epoch + timedelta(seconds=s)).replace(tzinfo=zone).astimezone(UTC) for s in near]
    found = local_to_utc(np.array(near, np.int64) * 1_000_000, zone)
    base = datetime(1970, 1, 1, tzinfo=UTC)
    assert found.tolist() == [round((one - base).total_seconds() * 1e6) for one in expected]


@given(st.lists(st.binary(max_size=40).map(lambda b: b.replace(b"\n", b"")), max_size=8))
def test_lines_of_any_bytes_never_spoil_others(garbage):
    good = [f"{DAY} 00:00:{k:02},{k}.5".encode() for k in range(len(garbage) + 1)]
    mixed = [one for pair in zip(good, garbage, strict=False) for one in pair] + good[-1:]
    rows = parse_block(b"\n".join(mixed) + b"\n", Columns(), zone=None)
    assert set(rows.values.tolist()) >= {k + 0.5 for k in range(len(good))}


def test_rows_in_random_order_are_merged_from_many_runs(cleaned):
    generator = random.Random(3)
    seconds = [generator.randrange(30_000) for _ in range(20_000)]
    start = datetime(2024, 3, 1, tzinfo=UTC)
    lines = [
        f"{start + timedelta(seconds=s):%Y-%m-%d %H:%M:%S},{k}\n" for k, s in enumerate(seconds)
    ]
    rows, report = cleaned(
        HEADER + "".join(lines), sizes=Sizes(block_bytes=9000, group_rows=64, merged_runs=4)
    )
    first = {}
    for k, second in enumerate(seconds):
        first.setdefault(second, float(k))
    assert [value for _, value in rows] == [first[second] for second in sorted(first)]
    assert report.repeated == len(seconds) - len(first)
    highest, late = -1, 0
    for second in seconds:
        late += second < highest
        highest = max(highest, second)
    assert report.unsorted == late


def test_file_that_cannot_be_read_is_told_and_leaves_nothing(tmp_path):
    with pytest.raises(SourceUnreadable, match="cannot be read"):
        clean(SourceFile(Path("/proc/self/mem"), NAME, 0, 0, 0), tmp_path / "a.parquet", None)
    assert not list(tmp_path.iterdir())


GENERATE = """
import sys, numpy as np, polars as pl
rows, late, path = int(sys.argv[1]), sys.argv[2] == "unsorted", sys.argv[3]
with open(path, "wb") as file:
    file.write(b"ts,bms1_soc\\n")
    for first in range(0, rows, 100_000):
        at = 1_000_000_000 + np.arange(first, first + 100_000)
        if late:  # every hundred thousand lines reach back over all that came before
            at = 1_000_000_000 + np.arange(100_000) * (rows // 100_000) + first // 100_000
        times = pl.Series(at * 1_000_000).cast(pl.Datetime("us"))
        pl.DataFrame({"t": times, "v": at % 97}).write_csv(
            file, include_header=False, datetime_format="%Y-%m-%d %H:%M:%S")
"""
MEASURE = """
import sys
from pathlib import Path
from benchwire.domains.battery.dataset import discover
from benchwire.domains.battery.recorded import Options, build
from benchwire.domains.battery.signals import BMS
recording, = discover(Path(sys.argv[1]))
built = build(recording, BMS, Path(sys.argv[2]), Options(), lambda *_: None)
# Not ru_maxrss, which begins with what the process that started this one holds.
status = Path("/proc/self/status").read_text()
print(built.rows, int(status.partition("VmHWM:")[2].split()[0]) // 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("order", ["sorted", "unsorted"])
def test_memory_of_a_build_does_not_grow_with_the_file(tmp_path, order):
    peaks = []
    for rows in (1_500_000, 6_000_000):
        device = tmp_path / f"{rows}" / "D1"
        device.mkdir(parents=True)
        run(GENERATE, str(rows), order, str(device / "bms1_soc.csv"))
        built, peak = run(MEASURE, str(device.parent), str(tmp_path / f"cache-{rows}")).split()
        assert int(built) == rows
        peaks.append(int(peak))
        os.unlink(device / "bms1_soc.csv")  # noqa: PTH108
    assert peaks[1] < 600
    assert peaks[1] - peaks[0] < 60


def run(code, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout
