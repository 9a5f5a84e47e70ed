"""Pages, curves and streams of a recording of 1.3 million rows, beside the usual way, in one run.

The usual way is pandas on the same Parquet file: read it, cut the page out, write JSON; for a curve
the lowest and highest value of each of 500 bins. Then a real server gets 500 clients, each with a
stream of its own at 1 s, beside calls for pages of 100 rows.
"""

import argparse
import asyncio
import contextlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import httpx
import numpy as np
import pandas as pd

from benchwire.domains.battery import answers, work
from benchwire.domains.battery.rows import Rows, RowsFile, Timeline
from benchwire.domains.battery.series import SignalSource
from benchwire.domains.battery.signal_file import SignalWriter
from benchwire.domains.battery.signals import PCS
from timing import median_ms

ROWS = 1_300_000
POINTS = 1000
GOAL_PAGE_MS, GOAL_SERIES_MS, GOAL_BATCH_MS = 10.0, 60.0, 50.0
RNG = np.random.default_rng(20)


def recording() -> Rows:
    steps = RNG.integers(14, 17, ROWS)
    at_us = (1_695_081_600 + np.cumsum(steps)) * 1_000_000
    walks = np.cumsum(RNG.normal(size=(ROWS, len(PCS.fields))), axis=0)
    return Rows(at_us.astype(np.int64), np.round(walks, 1))


def usual_page(path: Path, start: int, size: int) -> str:
    frame = pd.read_parquet(path).iloc[start : start + size]
    frame["timestamp"] = pd.to_datetime(frame.pop("at_us"), unit="us", utc=True)
    return frame.to_json(orient="records", date_format="iso")


def usual_series(path: Path) -> str:
    frame = pd.read_parquet(path)
    bins = pd.cut(frame["at_us"], POINTS // 2, labels=False)
    return frame.groupby(bins)["value"].agg(["min", "max"]).to_json(orient="records")


def pages(folder: Path, rows: Rows) -> bool:
    path = folder / "pcs.parquet"
    parts = (rows.take(slice(i, i + 65_536)) for i in range(0, ROWS, 65_536))
    work.write_rows(path, PCS.fields, parts)
    timeline = Timeline(PCS.fields, RowsFile(path, PCS.fields))
    ok = True
    for name, start in (("first", 0), ("middle", ROWS // 2), ("last", ROWS - POINTS)):
        for size in (100, 1000):

            def page(start: int = start, size: int = size) -> object:
                return answers.page_json(timeline, "x", PCS, (size, start), None)

            ours = median_ms(page)
            usual = median_ms(lambda start=start, size=size: usual_page(path, start, size), 3)
            ok = ok and ours < GOAL_PAGE_MS
            print(
                f"{name:>6} page of {size:4}: {ours:5.2f} ms, pandas {usual:6.1f} ms, "
                f"{usual / ours:.0f} times"
            )
    print(f"goal (any page under {GOAL_PAGE_MS:g} ms): {'met' if ok else 'NOT met'}")
    return ok


def curves(folder: Path, rows: Rows) -> bool:
    path = folder / "signal.parquet"
    signal = rows.column(0)
    with path.open("wb") as file, closing(SignalWriter(file)) as writer:
        writer.write(signal)
    source = SignalSource(path)
    usual = median_ms(lambda: usual_series(path), 5)
    ok = True
    for method in ("minmax", "avg", "lttb"):

        def curve(method: str = method) -> object:
            return answers.series_json(source, {}, (None, None), POINTS, method, False)

        ours = median_ms(curve)
        ok = ok and ours < GOAL_SERIES_MS
        print(
            f"{ROWS:,} points to {POINTS} by {method:>6}: {ours:5.1f} ms, pandas {usual:6.1f} ms, "
            f"{usual / ours:.1f} times"
        )
    print(f"goal (under {GOAL_SERIES_MS:g} ms): {'met' if ok else 'NOT met'}")
    return ok


class Listener(asyncio.Protocol):
    """Reads a stream at the least cost and notes the rows' numbers."""

    def __init__(self, path: str) -> None:
        """Ask for that path."""
        self._path = path
        self._rest = b""
        self.ids: list[int] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the stream."""
        assert isinstance(transport, asyncio.Transport)
        transport.write(f"GET {self._path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        """Note each row in the piece."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        self.ids += [int(line[4:]) for line in lines if line.startswith(b"id: ")]


async def listen(port: int, clients: int, seconds: float) -> tuple[list[Listener], list[float]]:
    loop = asyncio.get_running_loop()
    listeners, transports = [], []
    for number in range(clients):
        listener = Listener(f"/pcs/rack/stream?interval=1&skip={number * 500}")
        transport, _ = await loop.create_connection(lambda kept=listener: kept, "127.0.0.1", port)
        listeners.append(listener)
        transports.append(transport)
    took = []
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            began = time.perf_counter()
            skip = int(RNG.integers(ROWS))
            answer = await http.get("/pcs/rack", params={"skip": skip})
            answer.raise_for_status()
            took.append((time.perf_counter() - began) * 1e3)
            await asyncio.sleep(0.02)
    for transport in transports:
        transport.close()
    return listeners, took


def streams(folder: Path, rows: Rows, clients: int, seconds: float) -> bool:
    device = folder / "set/BESS/rack"
    device.mkdir(parents=True)
    stamps = np.datetime_as_string((rows.at_us // 1_000_000).astype("datetime64[s]"))
    for place, signal in enumerate(PCS.signals[:3]):
        frame = pd.DataFrame({"ts": np.char.replace(stamps, "T", " ")})
        frame[signal.name] = rows.values[:, place]
        frame.to_csv(device / f"{signal.name}.csv", index=False)
    port = 18_732
    command = [
        sys.executable, "-m", "benchwire", "serve", "--port", str(port), "--data-dir",
        str(folder / "data"), "--battery-data", str(folder / "set"),
    ]  # fmt: skip
    environment = {"BENCHWIRE_UI": "false", "PATH": ""}
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment) as server:
        try:
            base = f"http://127.0.0.1:{port}"
            for _ in range(300):
                with contextlib.suppress(httpx.TransportError):
                    httpx.get(f"{base}/pcs/rack", timeout=120).raise_for_status()
                    break
                time.sleep(0.1)
            listeners, took = asyncio.run(listen(port, clients, seconds))
        finally:
            server.terminate()
    in_order = sum(
        item.ids == [(number * 500 + row) % ROWS for row in range(len(item.ids))]
        for number, item in enumerate(listeners)
    )
    least = min(len(item.ids) for item in listeners)
    median = statistics.median(took)
    print(
        f"{clients} streams at 1 s for {seconds:g} s: {in_order} without a gap, at least {least} "
        f"rows each; {len(took)} batch calls beside them, median {median:.1f} ms, worst "
        f"{max(took):.0f} ms"
    )
    ok = in_order == clients and least >= int(seconds) - 1 and median < GOAL_BATCH_MS
    print(f"goal (nothing missed, median under {GOAL_BATCH_MS:g} ms): {'met' if ok else 'NOT met'}")
    return ok


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    rows = recording()
    with tempfile.TemporaryDirectory() as folder:
        ok = pages(Path(folder), rows)
        ok = curves(Path(folder), rows) and ok
        ok = streams(Path(folder), rows, options.clients, options.seconds) and ok
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
