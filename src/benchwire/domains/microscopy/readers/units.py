"""Times in ms and lengths in um, whatever unit a file gives them in."""

import math
from collections.abc import Sequence
from itertools import pairwise

from benchwire.domains.microscopy.plan import DEFAULT_INTERVAL_MINUTES, MS_PER_MINUTE

_MS_PER_UNIT = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1e3),
    **dict.fromkeys(("min", "minute", "minutes"), 60e3),
    **dict.fromkeys(("h", "hr", "hour", "hours"), 3.6e6),
    **dict.fromkeys(("d", "day", "days"), 86.4e6),
}
_UM_PER_UNIT = {
    **dict.fromkeys(("m", "meter", "metre"), 1e6),
    **dict.fromkeys(("micron", "microns"), 1.0),
    **dict.fromkeys(("Å", "angstrom", "ångström"), 1e-4),
    **dict.fromkeys(("in", "inch"), 25_400.0),
    **dict.fromkeys(("ft", "foot"), 304_800.0),
    **dict.fromkeys(("yd", "yard"), 914_400.0),
    "thou": 25.4,
    "mi.": 1.609344e9,
    "pt": 25_400.0 / 72.0,
}
_PREFIXES = {
    "Y": 24, "Z": 21, "E": 18, "P": 15, "T": 12, "G": 9, "M": 6, "k": 3, "h": 2, "da": 1,
    "d": -1, "c": -2, "m": -3, "u": -6, "µ": -6, "μ": -6, "n": -9, "p": -12, "f": -15, "a": -18,
    "z": -21, "y": -24,
}  # fmt: skip
_LONG_PREFIXES = {
    "yotta": 24, "zetta": 21, "exa": 18, "peta": 15, "tera": 12, "giga": 9, "mega": 6, "kilo": 3,
    "hecto": 2, "deca": 1, "deci": -1, "centi": -2, "milli": -3, "micro": -6, "nano": -9,
    "pico": -12, "femto": -15, "atto": -18, "zepto": -21, "yocto": -24,
}  # fmt: skip


def ms_per(unit: str) -> float | None:
    """Return how many ms one of a unit of time is; None when it is no such unit."""
    return _scale(unit.strip(), _MS_PER_UNIT, short="s", long=("second", "seconds"))


def um_per(unit: str) -> float | None:
    """Return how many um one of a unit of length is; None when it is no such unit."""
    return _scale(unit.strip(), _UM_PER_UNIT, short="m", long=("meter", "metre"))


def _scale(
    unit: str, known: dict[str, float], *, short: str, long: tuple[str, ...]
) -> float | None:
    # Short forms differ by case (mm, Mm); written-out ones do not.
    if unit in known:
        return known[unit]
    if unit.endswith(short) and unit[: -len(short)] in _PREFIXES:
        return float(known[short] * 10.0 ** _PREFIXES[unit[: -len(short)]])
    lowered = unit.lower()
    for name in long:
        if lowered.endswith(name) and lowered[: -len(name)] in _LONG_PREFIXES:
            return float(known[short] * 10.0 ** _LONG_PREFIXES[lowered[: -len(name)]])
    return known.get(lowered) if len(lowered) > 1 else None


def pixel_size(value: float | None, unit: str) -> float | None:
    """Return the side of a pixel in um; None when the file does not really say."""
    scale = um_per(unit)
    if value is None or scale is None or not math.isfinite(value) or value <= 0:
        return None
    return value * scale


def number(text: object) -> float | None:
    """Return a finite number written in a file; None for anything else."""
    try:
        value = float(text)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def duration(value: object, unit: str) -> float | None:
    """Return a time written in a file in ms: None when there is none, NaN when it says nothing."""
    if value is None:
        return None
    amount, scale = number(value), ms_per(unit)
    return math.nan if amount is None or scale is None else amount * scale


def regular(interval_ms: float | None, n_frames: int) -> list[float] | None:
    """Return equally spaced times, as unusable as their interval; None without an interval."""
    return None if interval_ms is None else [interval_ms * frame for frame in range(n_frames)]


def timeline(times_ms: Sequence[float] | None, n_frames: int) -> tuple[tuple[float, ...], bool]:
    """Return the time of each frame from the first one, in ms, and whether the file gave it.

    Times that are not finite, do not ascend, or are not one for each frame say nothing about the
    experiment and cannot be used.
    """
    if times_ms is not None and len(times_ms) == n_frames:
        from_first = tuple(float(time - times_ms[0]) for time in times_ms)
        if all(map(math.isfinite, from_first)) and all(a < b for a, b in pairwise(from_first)):
            return from_first, True
    interval = DEFAULT_INTERVAL_MINUTES * MS_PER_MINUTE
    return tuple(interval * frame for frame in range(n_frames)), False
