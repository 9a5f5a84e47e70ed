"""A month of one meter at 10 Hz: what charts and windows cost, against plain rows in SQLite.

Both sides hold the same 26 million readings. Like the meter they change about twice a second, and
all eleven quantities are kept; the plain table keeps voltage, current and power alone.
"""

import argparse
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import sqlalchemy as sa

from benchwire.domains.powermeter.integration import steps
from benchwire.domains.powermeter.periods import Window
from benchwire.domains.powermeter.readings import Readings
from benchwire.domains.powermeter.store import PowerStore
from benchwire.foundation import schema
from benchwire.foundation.db import open_database
from timing import median_ms

HERTZ = 10
REFRESH = 5
START = 1_750_000_000_000_000
CHUNK = 10 * 1024
METER = 1


def month(count: int) -> Iterator[Readings]:
    """Yield a phone charged again and again, with noise in the last digits."""
    generator = np.random.default_rng(1)
    before = np.zeros(6)
    for first in range(0, count, CHUNK):
        number = np.arange(first, min(first + CHUNK, count))
        at = START + number * (1_000_000 // HERTZ) + generator.integers(0, 400, len(number))
        tick = number // REFRESH
        phase = (tick % 2400) / 2400
        amperes = np.where(phase < 0.5, 2.05, 2.05 * np.exp(-6 * (phase - 0.5)))
        noise = generator.integers(-40, 40, len(number) // REFRESH + 2)[tick - tick[0]]
        codes = np.zeros((len(number), 11), np.int64)
        codes[:, 1] = (amperes * 1e5).astype(np.int64) + noise
        codes[:, 0] = 51_400 - codes[:, 1] // 120
        codes[:, 2] = codes[:, 0] * codes[:, 1] // 100_000
        codes[:, 3] = 30
        codes[:, 4] = 30
        codes[:, 5] = tick // 3
        codes[:, 6] = tick // 2
        codes[:, 9:] = 271
        gaps = np.zeros(len(number), np.bool_)
        totals = before + np.cumsum(steps(at, codes, gaps), axis=0)
        before = totals[-1]
        yield Readings(at, codes, gaps, totals)


def fill_ours(store: PowerStore, parts: Iterator[Readings]) -> None:
    for part in parts:
        store.append_later(METER, [part.reading(k) for k in range(len(part))]).result()


def fill_plain(connection: sqlite3.Connection, parts: Iterator[Readings]) -> None:
    connection.execute(
        "CREATE TABLE reading (at INTEGER PRIMARY KEY, voltage REAL, current REAL, power REAL)"
    )
    for part in parts:
        columns = [part.at.tolist(), *(part.values(k).tolist() for k in range(3))]
        connection.executemany(
            "INSERT INTO reading VALUES (?, ?, ?, ?)", zip(*columns, strict=True)
        )
        connection.commit()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--days", type=float, default=30)
    count = int(parser.parse_args().days * 86_400 * HERTZ)
    whole = Window(START, START + count * 1_000_000 // HERTZ)
    ten_minutes = Window(START + (whole.end - START) // 2, 0)
    ten_minutes = Window(ten_minutes.start, ten_minutes.start + 600_000_000)
    with tempfile.TemporaryDirectory() as folder:
        database = open_database(Path(folder), None)
        schema.upgrade(database)
        store = PowerStore(database)
        began = time.monotonic()
        fill_ours(store, month(count))
        ours_s = time.monotonic() - began
        with database.read() as connection:
            pages = connection.scalar(sa.text("PRAGMA page_count"))
            ours_mb = pages * connection.scalar(sa.text("PRAGMA page_size")) / 1e6
        plain = sqlite3.connect(Path(folder) / "plain.db")
        began = time.monotonic()
        fill_plain(plain, month(count))
        plain_s = time.monotonic() - began
        plain_mb = (Path(folder) / "plain.db").stat().st_size / 1e6

        def plain_chart() -> object:
            width = (whole.end - whole.start) // 1000
            return plain.execute(
                "SELECT (at - ?) / ?, min(voltage), max(voltage), min(current), max(current), "
                "min(power), max(power) FROM reading WHERE at BETWEEN ? AND ? GROUP BY 1",
                (whole.start, width, whole.start, whole.end),
            ).fetchall()

        def plain_window() -> object:
            return plain.execute(
                "SELECT * FROM reading WHERE at BETWEEN ? AND ? ORDER BY at",
                (ten_minutes.start, ten_minutes.end),
            ).fetchall()

        assert len(store.window(METER, ten_minutes)) == len(plain_window())
        rows = [
            ("chart of all, 1,000 steps", "ms", 200,
             median_ms(lambda: store.buckets(METER, whole, 1000)), median_ms(plain_chart, 3)),
            ("statistics of all", "ms", None,
             median_ms(lambda: store.figures(METER, whole)),
             median_ms(lambda: plain.execute(
                 "SELECT count(*), min(voltage), max(voltage), avg(voltage) FROM reading"
             ).fetchall(), 3)),
            ("window of 10 minutes", "ms", 20,
             median_ms(lambda: store.window(METER, ten_minutes)), median_ms(plain_window)),
            ("size", "MB", None, ours_mb, plain_mb),
            ("filling", "s", None, ours_s, plain_s),
        ]  # fmt: skip
        database.close()
        plain.close()
    print(f"{count:,} readings; ours with all quantities, plain rows with three")
    for name, unit, goal, ours, theirs in rows:
        wanted = "" if goal is None else f" (goal {goal} {unit})"
        print(
            f"{name:26} {ours:10.1f} {unit}{wanted}, plain {theirs:10.1f} {unit}, "
            f"ratio {ours / theirs:.4f}"
        )


if __name__ == "__main__":
    main()
