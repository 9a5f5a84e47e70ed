"""What a backup and a restore take for each GB, beside `cp -a` of the same folder.

The folder has what a lab's has: a third of it in the database, a third in large tables, a third in
many small files. A backup reads every byte for its checksum and brings it to the disk; `cp` is
measured alone and with the `sync` that makes its copy as durable. Files are dropped from the page
cache before each round where the system lets us.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa

from benchwire.backup.restoring import restore_backup
from benchwire.backup.taking import take_backup
from benchwire.domains.powermeter.tables import blocks
from benchwire.foundation import schema
from benchwire.foundation.clock import SystemClock
from benchwire.foundation.db import open_database
from benchwire.foundation.settings import load_server_settings

BLOCK_BYTES, SMALL_BYTES, TABLES = 4_000, 100_000, 4
ROWS_AT_ONCE = 2_000
GOAL_SECONDS = 60.0


def make_folder(data: Path, size: int) -> None:
    data.mkdir()
    database = open_database(data)
    schema.upgrade(database)
    count = size // 3 // BLOCK_BYTES
    for start in range(0, count, ROWS_AT_ONCE):
        rows = [
            {
                "meter_id": 1, "starts_at": number, "ends_at": number + 1, "totals": b"\0" * 40,
                "data": os.urandom(BLOCK_BYTES),
            }
            for number in range(start, min(start + ROWS_AT_ONCE, count))
        ]  # fmt: skip

        def add(connection: sa.Connection, rows: list[dict[str, object]] = rows) -> None:
            connection.execute(blocks.insert(), rows)

        database.write(add)
    database.close()
    runs = data / "runs/Benchmark/2026-01-01T00_00_00/Wells/slot01"
    for number in range(TABLES):
        (runs / f"M{number}").mkdir(parents=True)
        with (runs / f"M{number}/table.csv").open("wb") as file:
            for _ in range(size // 3 // TABLES // (1 << 20)):
                file.write(os.urandom(1 << 20))
    for number in range(size // 3 // SMALL_BYTES):
        folder = data / f"plates/images/{number % 256:02x}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:08}").write_bytes(os.urandom(SMALL_BYTES))


def drop_cache() -> None:
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("1")
    except OSError:
        return


def seconds(work: Callable[[], object], clear: Path) -> float:
    shutil.rmtree(clear, ignore_errors=True)
    drop_cache()
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--repeats", type=int, default=3)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        data, shelf, copy, new = (root / name for name in ("data", "shelf", "copy", "new"))
        make_folder(data, round(chosen.gigabytes * 1e9))
        settings = load_server_settings({"data_dir": data})

        def cp(*, is_synced: bool) -> None:
            subprocess.run(["cp", "-a", data, copy], check=True)
            if is_synced:
                subprocess.run(["sync", "--file-system", copy], check=True)

        def backup() -> None:
            take_backup(settings, shelf, SystemClock())

        def restore() -> None:
            (made,) = shelf.glob("benchwire-2*")
            restore_backup(made, new)

        times: dict[str, list[float]] = {}
        for _ in range(chosen.repeats):
            # Side by side, so that what else the disk does meets all of them.
            for name, work, clear in (
                ("cp -a", lambda: cp(is_synced=False), copy),
                ("cp -a and sync", lambda: cp(is_synced=True), copy),
                ("backup", backup, shelf),
                ("restore", restore, new),
            ):
                taken = seconds(work, clear) / chosen.gigabytes
                times.setdefault(name, []).append(taken)
        medians = {name: statistics.median(values) for name, values in times.items()}
        durable = medians["cp -a and sync"]
        for name, value in medians.items():
            print(f"{name:<15} {value:6.2f} s/GB   {value / durable:5.2f} of cp -a and sync")
    is_met = max(medians["backup"], medians["restore"]) <= GOAL_SECONDS
    print(f"goal of {GOAL_SECONDS:g} s for each GB: {'met' if is_met else 'NOT met'}")
    raise SystemExit(not is_met)


if __name__ == "__main__":
    main()
