"""Lines of a signal's CSV as times and values, each line judged by itself.

Almost every line is ``YYYY-MM-DD HH:MM:SS,number``; those are read many at once. Any other line is
looked at alone, so a damaged one never takes its neighbours with it.
"""

import csv
import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from benchwire.domains.battery.samples import DAY_US, MICROSECONDS

Bytes = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Times = NDArray[np.int64]
Words = NDArray[np.uint64]

FIRST_YEAR, LAST_YEAR = 1970, 2200
_NEWLINE, _COMMA = b"\n,"
_FRACTION_DIGITS = 9
_PLAIN_LENGTH = len("2023-09-19 00:00:00,")
_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[ T](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:(Z)|([+-])(\d\d):?(\d\d))?",
    re.ASCII,
)
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_WHOLE_NUMBER = re.compile(r"[+-]?\d*\.?\d+(?:[eE][+-]?\d+)?", re.ASCII)
_ODD_BYTES = b'"\0'
# Quotes that change nothing: around a field without quote or comma.
_NEEDLESS_QUOTES = re.compile(rb'(^|,)"([^",\n]*)"(?=,|$)', re.MULTILINE)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns of a file hold the time and the value, counted from 0."""

    time: int = 0
    value: int = 1


@dataclass(frozen=True, slots=True)
class ParsedRows:
    """The rows of some lines whose time could be read, in file order.

    Parameters
    ----------
    at_us : (N,) int64
        Microseconds since 1970 UTC.
    values : (N,) float64
        NaN where the row gives none.
    bad_times
        Lines left out because their time cannot be read.
    bad_values
        Rows whose value is some text, but no finite number.
    """

    at_us: Times
    values: NDArray[np.float64]
    bad_times: int
    bad_values: int


def parse_block(block: bytes, columns: Columns, *, zone: ZoneInfo | None) -> ParsedRows:
    """Return the rows of whole lines, each ended by a newline."""
    block = block.replace(b"\r\n", b"\n") if b"\r" in block else block
    block = _NEEDLESS_QUOTES.sub(rb"\1\2", block) if b'"' in block else block
    text = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero(text == _NEWLINE)
    starts = np.concatenate(([0], ends[:-1] + 1)) if len(ends) else ends
    times = _usual_times(text, starts, ends)
    has_time, at_us, is_absolute = times.is_usual, times.at_us, times.is_absolute
    if columns.time != 0:
        has_time[:] = False
    elif not block.isascii() or any(odd in block for odd in _ODD_BYTES):
        is_odd = (text >= 0x80) | np.isin(text, np.frombuffer(_ODD_BYTES, np.uint8))
        has_time[np.searchsorted(ends, np.flatnonzero(is_odd))] = False
    values = np.full(len(starts), np.nan)
    values[has_time] = _usual_values(block, text, starts, ends, has_time, columns.value)
    is_doubtful = np.isnan(values) | np.isinf(values)
    is_doubtful &= ends > starts
    if columns.value == 1:
        is_doubtful &= ~has_time | (ends - starts > _PLAIN_LENGTH)  # an empty value is no doubt
    bad_times = bad_values = 0
    for line in np.flatnonzero(is_doubtful).tolist():
        fields = split_fields(block[starts[line] : ends[line]])
        time = None if columns.time >= len(fields) else parse_time(fields[columns.time])
        has_time[line] = time is not None
        if time is None:
            bad_times += 1
            continue
        at_us[line], is_absolute[line] = time
        value = fields[columns.value].strip() if columns.value < len(fields) else ""
        values[line], is_bad = _parse_value(value)
        bad_values += is_bad
    if zone is not None:
        is_local = has_time & ~is_absolute
        at_us[is_local] = local_to_utc(at_us[is_local], zone)
    if not has_time.all():
        at_us, values = at_us[has_time], values[has_time]
    return ParsedRows(at_us, values, bad_times, bad_values)


# -- a line by itself -----------------------------------------------------------------------


def split_fields(line: bytes) -> list[str]:
    """Return the fields of a line; bytes that are no UTF-8 become question marks of their own."""
    text = line.decode("utf-8", "replace").rstrip("\r")
    if '"' not in text:
        return text.split(",")
    try:
        return next(csv.reader([text]))
    except csv.Error:
        return [text]


def parse_time(text: str) -> tuple[int, bool] | None:
    """Return microseconds since 1970 and whether the text tells its zone; None if it is no time."""
    found = _TIME.fullmatch(text.strip())
    if found is None:
        return None
    year, month, day, hour, minute, second = map(int, found.group(1, 2, 3, 4, 5, 6))
    fraction, utc, sign, zone_hours, zone_minutes = found.group(7, 8, 9, 10, 11)
    if not FIRST_YEAR <= year <= LAST_YEAR:
        return None
    try:
        since = datetime(year, month, day, hour, minute, second, tzinfo=UTC) - _EPOCH
    except ValueError:
        return None
    at_us = (since.days * 86_400 + since.seconds) * MICROSECONDS
    if fraction is not None:
        at_us += int(fraction[:6].ljust(6, "0"))
    if sign is not None:
        if int(zone_hours) > 23 or int(zone_minutes) > 59:
            return None
        offset_us = (int(zone_hours) * 60 + int(zone_minutes)) * 60 * MICROSECONDS
        at_us += offset_us if sign == "-" else -offset_us
    return at_us, utc is not None or sign is not None


def is_whole_number(text: str) -> bool:
    """Whether a text is a number that does not look cut off, as ``3.`` and ``1e`` do."""
    return _WHOLE_NUMBER.fullmatch(text.strip()) is not None


def _parse_value(text: str) -> tuple[float, bool]:
    """Return a value, NaN for none, and whether the text is there but no finite number."""
    if _NUMBER.fullmatch(text) is not None and math.isfinite(value := float(text)):
        return value, False
    return math.nan, text != "" and text.lower() != "nan"


# -- many lines at once ---------------------------------------------------------------------


def _word(text: bytes) -> np.uint64:
    return np.uint64(int.from_bytes(text, "little"))


# A time is taken as three words of text, whose digits are told from what stands between them.
_MONTH, _DAY, _CLOCK = b"0000-00-", b"00 ", b"00:00:00"
_THREE_BYTES = _word(b"\xff\xff\xff")
_BLANK_IS_T = _word(b"\0\0T") ^ _word(b"\0\0 ")
_HIGHEST_BITS = _word(b"\x80" * 8)
_BYTE, _EIGHT, _TEN, _SIXTY = (np.uint64(number) for number in (0xFF, 8, 10, 60))


@dataclass(frozen=True, slots=True)
class _Times:
    """The times of lines: which have one in the usual form, when, and whether zone and all."""

    is_usual: Mask
    at_us: Times
    is_absolute: Mask


def _usual_times(text: Bytes, starts: Times, ends: Times) -> _Times:
    """Return the times that lines begin with, where a comma follows."""
    is_usual = ends - starts >= _PLAIN_LENGTH
    at_us = np.zeros(len(starts), np.int64)
    is_absolute = np.zeros(len(starts), np.bool_)
    if not is_usual.any():
        return _Times(is_usual, at_us, is_absolute)
    # Mostly all are, and a slice copies nothing.
    lines = slice(None) if is_usual.all() else np.flatnonzero(is_usual)
    begins = starts[lines]
    days, is_time = _days(
        _words(text, begins, 8), _words(text, begins + len(_MONTH), 4) & _THREE_BYTES
    )
    digits, is_clock = _digits(_words(text, begins + len(_MONTH + _DAY), 8), _CLOCK)
    clock = _pairs(digits)
    hour, minute, second = clock & _BYTE, (clock >> np.uint64(24)) & _BYTE, clock >> np.uint64(48)
    second &= _BYTE
    is_time &= is_clock & (hour < 24) & (minute < 60) & (second < 60)
    seconds = ((hour * _SIXTY + minute) * _SIXTY + second).view(np.int64)
    at_us[lines] = (days * 86_400 + seconds) * MICROSECONDS
    after = text[begins + (_PLAIN_LENGTH - 1)]
    is_usual[lines] = is_time & (after == _COMMA)
    is_longer = is_time & (after != _COMMA)
    if is_longer.any():
        longer = np.arange(len(starts))[lines][is_longer]
        added_us, is_usual[longer], is_absolute[longer] = _endings(
            text, starts[longer] + _PLAIN_LENGTH - 1, ends[longer]
        )
        at_us[longer] += added_us
    return _Times(is_usual, at_us, is_absolute)


def _endings(text: Bytes, at: Times, ends: Times) -> tuple[Times, Mask, Mask]:
    """Return what a fraction and a zone after the seconds add, which are right, which have a zone.

    An ending is right if it is followed by a comma; a fraction may have up to nine digits.
    """

    def byte(places: NDArray[np.int64]) -> Bytes:
        return text[np.minimum(places, ends)]  # the newline there is part of no ending

    added_us = np.zeros(len(at), np.int64)
    goes_on = byte(at) == ord(".")
    at = at + goes_on
    unit = MICROSECONDS
    for _ in range(_FRACTION_DIGITS):
        digit = byte(at) - np.uint8(ord("0"))
        goes_on = goes_on & (digit < 10)
        unit //= 10
        added_us += np.where(goes_on, digit.astype(np.int64) * unit, 0)
        at = at + goes_on
    has_digits = byte(at - 1) != ord(".")
    is_utc = byte(at) == ord("Z")
    sign = byte(at)
    has_offset = (sign == ord("+")) | (sign == ord("-"))
    digits = [byte(at + place).astype(np.int64) - ord("0") for place in (1, 2, 4, 5)]
    offset_minutes = (digits[0] * 10 + digits[1]) * 60 + digits[2] * 10 + digits[3]
    has_offset &= (byte(at + 3) == ord(":")) & (digits[2] < 6) & (offset_minutes < 24 * 60)
    for number in digits:
        has_offset &= (number >= 0) & (number < 10)
    offset_us = offset_minutes * 60 * MICROSECONDS
    added_us += np.where(has_offset, np.where(sign == ord("-"), offset_us, -offset_us), 0)
    at = at + is_utc + 6 * has_offset
    return added_us, has_digits & (byte(at) == _COMMA), is_utc | has_offset


def _words(text: Bytes, at: NDArray[np.int64], width: int) -> Words:
    """Return the bytes at each place as one number, the first byte in its lowest digits."""
    every = np.ndarray((len(text) - width + 1,), f"<u{width}", text, 0, (1,))
    return every[at].astype(np.uint64, copy=False)


def _digits(words: Words, form: bytes) -> tuple[Words, Mask]:
    """Return the digits of a part of a time as numbers, and whether each word has its form."""
    digits = words ^ _word(form)
    # The highest bit of a byte is set by adding this if it is more than 9, or no separator.
    excess = _word(bytes(0x76 if sign == ord("0") else 0x7F for sign in form))
    return digits, ((digits | (digits + excess)) & _HIGHEST_BITS) == 0


def _pairs(digits: Words) -> Words:
    """Return each pair of digits as a number, in the byte of the first of them."""
    return digits * _TEN + (digits >> _EIGHT)


def _days(month_text: Words, day_text: Words) -> tuple[Times, Mask]:
    """Return days since 1970 and whether there is such a day; consecutive lines mostly share it."""
    begins = np.ones(len(month_text), np.bool_)
    begins[1:] = month_text[1:] != month_text[:-1]
    begins[1:] |= day_text[1:] != day_text[:-1]
    heads = np.flatnonzero(begins)
    counts = np.diff(heads, append=len(month_text))
    digits, is_day = _digits(month_text[heads], _MONTH)
    pairs = _pairs(digits)
    century, year_of_it = pairs & _BYTE, (pairs >> np.uint64(16)) & _BYTE
    year = (century * np.uint64(100) + year_of_it).view(np.int64)
    month = ((pairs >> np.uint64(40)) & _BYTE).view(np.int64)
    digits, has_blank = _digits(day_text[heads], _DAY)
    is_day &= has_blank | _digits(day_text[heads] ^ _BLANK_IS_T, _DAY)[1]
    day_of_month = (_pairs(digits) & _BYTE).view(np.int64)
    months = (year - 1970) * 12 + month - 1
    start = months.astype("M8[M]").astype("M8[D]").astype(np.int64)
    end = (months + 1).astype("M8[M]").astype("M8[D]").astype(np.int64)
    is_day &= (year >= FIRST_YEAR) & (year <= LAST_YEAR) & (month >= 1) & (month <= 12)
    is_day &= (day_of_month >= 1) & (day_of_month <= end - start)
    return np.repeat(start + day_of_month - 1, counts), np.repeat(is_day, counts)


def _usual_values(
    block: bytes, text: Bytes, starts: Times, ends: Times, has_time: Mask, column: int
) -> NDArray[np.float64]:
    """Return the values of the lines with a usual time, NaN where another look is needed."""
    import polars as pl

    count = int(np.count_nonzero(has_time))
    if not count:
        return np.empty(0)
    if count < len(starts):
        # No blank or odd line may come between, or rows and lines would not be the same.
        block = text[np.repeat(has_time, ends + 1 - starts)].tobytes()
    names = [str(number) for number in range(column + 1)]
    read = pl.read_csv(
        block,
        has_header=False,
        columns=[column],
        schema=dict.fromkeys(names[:-1], pl.String) | {names[-1]: pl.Float64},
        quote_char=None,
        ignore_errors=True,
        extra_columns="ignore",
        truncate_ragged_lines=True,
    )
    if read.height != count:
        return np.full(count, np.nan)
    return read.to_series().to_numpy()  # a null becomes NaN


# -- zones ----------------------------------------------------------------------------------


def local_to_utc(local_us: Times, zone: ZoneInfo) -> Times:
    """Return times of a zone's clocks as UTC; of an hour that clocks show twice, the first."""
    days, place = np.unique(local_us // DAY_US, return_inverse=True)
    begins = np.array([_offset_us(day * DAY_US, zone) for day in days.tolist()], np.int64)
    ends = np.array([_offset_us((day + 1) * DAY_US - 1, zone) for day in days.tolist()], np.int64)
    offsets = begins[place]
    for row in np.flatnonzero((begins != ends)[place]).tolist():
        offsets[row] = _offset_us(int(local_us[row]), zone)
    return local_us - offsets


def _offset_us(local_us: int, zone: ZoneInfo) -> int:
    shown = (_EPOCH + timedelta(microseconds=local_us)).replace(tzinfo=zone)
    offset = shown.utcoffset() or timedelta()
    return (offset.days * 86_400 + offset.seconds) * MICROSECONDS
