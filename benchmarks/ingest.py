"""From CSV to pages: what the ingest of a whole data set costs, beside pandas doing the same.

Both sides run in a fresh process over the same files, dropped from the page cache first: read each
signal, drop bad times and repeats, sort, put a group on one timeline, write Parquet. Signals have
the real rates, some repeats, holes and values missing.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchwire.domains.battery.dataset import discover
from benchwire.domains.battery.recorded import (
    Options,
    build,
    recorded,
    signal_path,
    timeline_path,
)
from benchwire.domains.battery.signals import BMS, PCS
from timing import median_ms

START_S = 1_695_081_600
DAYS_OF_A_GB = 232
DEVICES = ("ZHPESS232A230002", "ZHPESS232A230003")
INTERVAL_S = {BMS.name: 31, PCS.name: 15}
SLOW_INTERVAL_S, SLOW = 59, ("soc", "soh", "_t", "_t_diff", "_t_env", "_t_a", "_t_igbt")
PAGE = 1000
GROUP_ROWS = (8_192, 16_384, 32_768, 65_536)


def generate(root: Path, days: float) -> int:
    """Write the data set and return its bytes."""
    import polars as pl

    generator = np.random.default_rng(6)
    for device in DEVICES:
        folder = root / "BESS" / device
        folder.mkdir(parents=True)
        for group in (BMS, PCS):
            for signal in group.signals:
                slow = signal.name.endswith(SLOW)
                step = SLOW_INTERVAL_S if slow else INTERVAL_S[group.name]
                count = int(days * 86_400 / step)
                steps = generator.integers(step - 1, step + 2, count)
                steps[generator.integers(0, count, 20)] = 7200
                steps[generator.integers(0, count, count // 1000)] = 0
                at = (START_S + np.cumsum(steps)) * 1_000_000
                day = np.sin(at / 86_400e6 * 2 * np.pi)
                value = 50 + 40 * day + generator.normal(0, 0.5, count)
                value = np.round(value, 0 if slow else 1)
                value[generator.integers(0, count, count // 2000)] = np.nan
                pl.DataFrame(
                    {
                        "ts": pl.Series(at).cast(pl.Datetime("us")),
                        signal.name: pl.Series(value).fill_nan(None),
                    }
                ).write_csv(folder / f"{signal.name}.csv", datetime_format="%Y-%m-%d %H:%M:%S")
    return sum(path.stat().st_size for path in root.rglob("*.csv"))


def ingest_ours(root: Path, out: Path) -> None:
    for recording in discover(root):
        for group in (BMS, PCS):
            build(recording, group, out, Options(), lambda *_: None)


def ingest_pandas(root: Path, out: Path) -> None:
    import pandas as pd

    for device in DEVICES:
        (out / device).mkdir(parents=True)
        for group in (BMS, PCS):
            signals = {}
            for signal in group.signals:
                frame = pd.read_csv(root / "BESS" / device / f"{signal.name}.csv")
                frame.columns = ["ts", signal.field]
                frame["ts"] = pd.to_datetime(
                    frame["ts"], format="%Y-%m-%d %H:%M:%S", errors="coerce"
                )
                frame = frame.dropna(subset=["ts"]).drop_duplicates("ts", keep="first")
                signals[signal.field] = frame.sort_values("ts")
            first = max(signals, key=lambda field: len(signals[field]))
            rows = signals[first][["ts"]]
            for field in group.fields:
                rows = pd.merge_asof(
                    rows, signals[field], on="ts", direction="nearest",
                    tolerance=pd.Timedelta(seconds=600),
                )  # fmt: skip
            rows.to_parquet(out / device / f"{group.name}.parquet", compression="zstd")


def first_page(root: Path, out: Path) -> None:
    """Do what the first request for a device waits for."""
    build(discover(root)[0], BMS, out, Options(), lambda *_: None)
    page(timeline_path(out, DEVICES[0], BMS.name), 0)


def page(path: Path, skip: int) -> object:
    """Read the rows of a page as the server does, from the row groups it touches."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        counts = [file.metadata.row_group(k).num_rows for k in range(file.metadata.num_row_groups)]
        starts = np.cumsum([0, *counts])
        first, last = np.searchsorted(starts, [skip, skip + PAGE - 1], "right") - 1
        groups = list(range(first, min(last, len(counts) - 1) + 1))
        return file.read_row_groups(groups, use_threads=False).slice(skip - starts[first], PAGE)


SIDES = {"ours": ingest_ours, "pandas": ingest_pandas, "first page": first_page}


def in_fresh_process(side: str, root: Path, out: Path) -> tuple[float, float, float]:
    """Return seconds, imports included, seconds of processor time, and the peak in MB."""
    for path in root.rglob("*.csv"):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, __file__, "--side", side, "--root", root, "--out", out],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    processor_s, peak_mb = map(float, done.stdout.split())
    return time.perf_counter() - began, processor_s, peak_mb


def same(ours: Path, theirs: Path) -> bool:
    """Whether both sides came to the same rows."""
    import pandas as pd

    for device in DEVICES:
        for group in (BMS, PCS):
            one = pd.read_parquet(timeline_path(ours, device, group.name))
            two = pd.read_parquet(theirs / device / f"{group.name}.parquet")
            at_us = two["ts"].astype("datetime64[us]").astype("int64").to_numpy()
            if not (len(one) == len(two) and (one["at_us"].to_numpy() == at_us).all()):
                return False
            for field in group.fields:
                if not np.array_equal(one[field], two[field], equal_nan=True):
                    return False
    return True


def measure_pages(out: Path, root: Path) -> None:
    """Print what a page costs with row groups of several sizes."""
    from benchwire.domains.battery.synchronising import write_timeline

    found = recorded(discover(root)[0], PCS, out, Options())
    for rows in GROUP_ROWS:
        path = out / f"pages-{rows}.parquet"
        signals = {s.field: signal_path(out, DEVICES[0], s.name) for s in PCS.signals}
        write_timeline(path, signals, found.master, tolerance_us=600_000_000, group_rows=rows)
        places = {
            "first": 0, "middle": found.rows // 2, "last": found.rows - PAGE,
            "two groups": rows - PAGE // 2,
        }  # fmt: skip
        times = ", ".join(
            f"{name} {median_ms(lambda skip=skip, path=path: page(path, skip)):.1f}"
            for name, skip in places.items()
        )
        print(f"  row groups of {rows:6,}  {times} ms, {path.stat().st_size / 1e6:.1f} MB")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--gb", type=float, default=1.0)
    parser.add_argument("--side", choices=SIDES)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    if asked.side:
        SIDES[asked.side](asked.root, asked.out)
        used = resource.getrusage(resource.RUSAGE_SELF)
        print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
        return
    with tempfile.TemporaryDirectory() as folder:
        root, ours, theirs = (Path(folder) / name for name in ("data", "ours", "pandas"))
        size = generate(root, DAYS_OF_A_GB * asked.gb) / 1e6
        print(f"{size:,.0f} MB of CSV, {len(DEVICES)} devices, {DAYS_OF_A_GB * asked.gb:.0f} days")
        sides = {
            "ours": in_fresh_process("ours", root, ours),
            "pandas": in_fresh_process("pandas", root, theirs),
        }
        for name, (seconds, processor_s, peak) in sides.items():
            print(f"  {name:22} {seconds:6.1f} s {size / seconds:6.0f} MB/s, "
                  f"{processor_s:.1f} s of processor, peak {peak:,.0f} MB")  # fmt: skip
        time_ratio, processor_ratio, memory_ratio = (
            one / two for one, two in zip(sides["ours"], sides["pandas"], strict=True)
        )
        print(f"  ratio                  {time_ratio:6.2f} of the time, {processor_ratio:.2f} of "
              f"the processor, {memory_ratio:.2f} of the memory (goal below 600 MB)")  # fmt: skip
        print(f"  same rows              {same(ours, theirs)}")
        bms = sum(
            file.size
            for file in discover(root)[0].files.values()
            if any(file.signal == signal.name for signal in BMS.signals)
        ) / 1e6  # fmt: skip
        seconds, processor_s, _ = in_fresh_process("first page", root, Path(folder) / "cold")
        print(f"  first page, cold       {seconds:6.1f} s for {bms:.0f} MB, {processor_s:.1f} s of "
              f"processor, {seconds / bms * 100:.2f} s per 100 MB (goal 3)")  # fmt: skip
        measure_pages(ours, root)


if __name__ == "__main__":
    main()
