"""The rule of the data set in plain Python: slow, obvious, and written apart from the real one."""

import math
from datetime import UTC, datetime

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def time_us(text):
    try:
        at = datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    return round((at - EPOCH).total_seconds()) * 1_000_000


def value(text):
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def cleaned(lines):
    """Return (time, value) of each row to keep, sorted."""
    rows = []
    seen = set()
    for line in lines:
        at = time_us(line.split(",")[0])
        if at is None or at in seen:
            continue
        seen.add(at)
        rows.append((at, value(line.split(",")[1])))
    return sorted(rows, key=lambda row: row[0])


def timeline(signals, tolerance_us):
    """Return rows of time and values; signals are lists of (time, value), in order."""
    longest = max((len(signal) for signal in signals), default=0)
    if longest == 0:
        return []
    master = next(signal for signal in signals if len(signal) == longest)
    rows = []
    for at, _ in master:
        row = [at]
        for signal in signals:
            best = None
            for sample_at, sample in signal:
                away = abs(sample_at - at)
                if away <= tolerance_us and (best is None or away < best[0]):
                    best = (away, sample)
            row.append(None if best is None else best[1])
        rows.append(row)
    return rows
