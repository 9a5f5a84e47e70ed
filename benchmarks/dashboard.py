"""What open dashboards cost a server that measures, and how soon a page is there.

A real server with four emulated potentiostats on a long CV and two emulated power meters. Printed
are the CPU of the server's process without and with the dashboards, and for every page the time to
the first paint and to the first text a person came for, each in a fresh browser profile.
"""

import argparse
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import httpx
import psutil
from playwright.sync_api import Browser, sync_playwright

from serving import answers, until

CHROMIUM = "/usr/bin/chromium"
PORT = 8471
URL = f"http://127.0.0.1:{PORT}"
CPU_GOAL = 0.20
TEXT_GOAL = 1.0
SETTLE_SECONDS = 5.0
# Every page with a text that is only there once the page shows what it is for.
PAGES = {
    "/": "Potentiostats",
    "/jobs": "CV on",
    "/potentiostat": "slot04",
    "/powermeter": "meter1",
    "/samples": "No samples yet",
    "/search?q=slot": "slot01",
    "/plates": "Plates",
    "/microscopy": "Microscopy",
    "/traces": "Traces",
    "/battery": "Battery",
}
# Pages a lab leaves open on its screens.
WATCHED = ("/", "/potentiostat", "/powermeter", "/jobs")
_NOTE_TEXT = """
(() => {
  const look = () => {
    const shown = document.querySelector("main")?.innerText || "";
    if (shown.includes(%s)) window.textAt = performance.now();
    else requestAnimationFrame(look);
  };
  look();
})()
"""


@contextmanager
def running_server(folder: Path) -> Iterator[psutil.Process]:
    started = subprocess.Popen(
        [
            sys.executable, "-m", "benchwire", "serve", "--port", str(PORT),
            "--data-dir", str(folder / "data"), "--emulate", "potentiostat=4",
            "--emulate", "powermeter=2",
        ],
        stderr=subprocess.DEVNULL,
        env={**os.environ, "BENCHWIRE_UI": "true"},
    )  # fmt: skip
    try:
        until(lambda: answers(f"{URL}/devices") and len(httpx.get(f"{URL}/devices").json()) == 4)
        until(lambda: answers(f"{URL}/ui/"))
        yield psutil.Process(started.pid)
    finally:
        started.terminate()
        started.wait(20)


def start_long_cv() -> None:
    request = {
        "devices": "all",
        "modes": ["CV"],
        "params_by_mode": {
            "CV": {"start": 0, "vertex1": 0.8, "vertex2": -0.8, "end": 0,
                   "scan_rate": 0.05, "cycles": 40},
        },
        "experiment_name": "Dashboards",
        "client_datetime": "2026-05-04T12:00:00",
        "make_plot": False,
    }  # fmt: skip
    answer = httpx.post(f"{URL}/jobs", json=request, timeout=30)
    answer.raise_for_status()


def cpu_of(process: psutil.Process, seconds: float) -> tuple[float, int]:
    """Return the share of one core that the process uses, and how often the run began anew.

    The emulated instruments keep real time; where the browsers starve them, a run fails as it does
    on an overloaded bench. It is then begun anew, so that something is always measured.
    """

    def used() -> float:
        times = process.cpu_times()
        return float(times.user + times.system)

    began_anew = 0
    before, began = used(), time.monotonic()
    while time.monotonic() - began < seconds:
        time.sleep(0.5)
        if not httpx.get(f"{URL}/jobs?state=incomplete", timeout=60).json():
            start_long_cv()
            began_anew += 1
    return (used() - before) / (time.monotonic() - began), began_anew


def times_of(browser: Browser, path: str, text: str) -> tuple[float, float]:
    """Return the seconds to the first paint with content and to a text on the page."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.add_init_script(_NOTE_TEXT % repr(text))
    page.goto(f"{URL}/ui{path}")
    page.wait_for_function("window.textAt")
    at = page.evaluate("window.textAt")
    page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length")
    painted = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    context.close()
    return painted / 1e3, at / 1e3


def open_dashboards(paths: Sequence[str], count: int, opened: Any, over: Any) -> None:
    """Open dashboards in a browser that leaves the processor to the server where both want it."""
    os.nice(19)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for path in islice(cycle(paths), count):
            page = browser.new_context(viewport={"width": 800, "height": 600}).new_page()
            page.goto(f"{URL}/ui{path}", wait_until="domcontentloaded", timeout=120_000)
            page.wait_for_selector(
                "[data-bw-connection][data-state=connected]", state="attached", timeout=120_000
            )
        opened.set()
        over.wait()
        browser.close()


def measure_pages(repeats: int) -> None:
    """Print how soon each page is there."""
    slowest = 0.0
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for path, text in PAGES.items():
            measured = [times_of(browser, path, text) for _ in range(repeats)]
            painted, shown = (statistics.median(column) for column in zip(*measured, strict=True))
            slowest = max(slowest, shown)
            print(f"{path:16} first paint {painted:.2f} s, first text {shown:.2f} s", flush=True)
        browser.close()
    print(f"slowest first text {slowest:.2f} s, {slowest / TEXT_GOAL:.2f} of the goal")


def measure_cost(process: psutil.Process, paths: Sequence[str], count: int, seconds: float) -> None:
    """Print what the server's process uses without and with dashboards."""
    alone, restarts = cpu_of(process, seconds)
    print(
        f"server without dashboards {alone:.1%} of a core, {restarts} runs begun anew", flush=True
    )
    spawn = multiprocessing.get_context("spawn")
    opened, over = spawn.Event(), spawn.Event()
    browsing = spawn.Process(target=open_dashboards, args=(paths, count, opened, over))
    browsing.start()
    try:
        if not opened.wait(300):
            raise TimeoutError
        cpu_of(process, SETTLE_SECONDS)
        watched, restarts = cpu_of(process, seconds)
    finally:
        over.set()
        browsing.join(60)
    print(
        f"server with {count} dashboards {watched:.1%} of a core, {restarts} runs begun anew: "
        f"{watched - alone:+.1%}, {(watched - alone) / CPU_GOAL:.2f} of the goal"
    )


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--dashboards", type=int, default=20)
    options.add_argument("--seconds", type=float, default=20.0)
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--only", nargs="*", default=WATCHED, help="pages that are left open")
    asked = options.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        process = stack.enter_context(running_server(folder))
        start_long_cv()
        if asked.dashboards:
            measure_cost(process, asked.only, asked.dashboards, asked.seconds)
        if asked.repeats:
            measure_pages(asked.repeats)


if __name__ == "__main__":
    main()
