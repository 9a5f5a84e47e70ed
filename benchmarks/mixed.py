"""Everything a bench does, at once, for ten minutes on one server.

Sixteen potentiostats sample at full rate, four power meters are read ten times a second, movies are
processed one after the other, two hundred clients follow event streams, and fifty small requests a
second go to plates and batteries at fixed moments, whether or not the ones before were answered.

Printed are lost samples and missed readings, how long small requests took from the moment they were
due, and the memory over the time of the server and of the processes that hold the instruments. The
same requests are first timed on the idle server, so that what the load costs them is a ratio of one
run.

The emulated instruments take half a core of their own, which real ones would not.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchwire.domains.battery.simulation import make_fleet
from benchwire.domains.microscopy.simulation import write_demo_movie
from benchwire.foundation.instruments.emulation import EmulatorProcess
from serving import answers, running_postgresql, until

PORT = 8471
URL = f"http://127.0.0.1:{PORT}"
POTENTIOSTAT = "benchwire.domains.potentiostat.emulator:emulated"
POWER_METER = "benchwire.domains.powermeter.emulator:emulated"
SAMPLE_SECONDS = 0.00036
READING_SECONDS = 0.1
SLOTS, METERS = 16, 4
# So many emulated potentiostats share an interpreter: real ones do not wait for each other.
TOGETHER = 4
P99_GOAL_MS = 250.0
GROWTH_GOAL = 0.05
# A poll left out is counted and leaves its gap; the emulated meters share the cores as well.
MISSED_GOAL = 0.001
WARM_SECONDS = 15.0
START_SECONDS = 3.0
IDLE_SECONDS = 10.0
PLATES = 20
CLIENT_NICENESS = 10


@contextmanager
def bench(folder: Path) -> Iterator[psutil.Process]:
    """Give the process of a server with its instruments and something in every domain."""
    with ExitStack() as stack:
        ports: dict[str, list[str]] = {"potentiostats": [], "meters": []}
        for factory, name, first, count in (
            *((POTENTIOSTAT, "potentiostats", n, TOGETHER) for n in range(1, SLOTS, TOGETHER)),
            (POWER_METER, "meters", 1, METERS),
        ):
            names = [f"p{n}" for n in range(first, first + count)]
            emulated = EmulatorProcess(factory, names, folder / f"{name}{first}", first)
            stack.callback(emulated.close)
            ports[name] += [str(path) for path in emulated.paths.values()]
        make_fleet(folder / "recordings", devices=1, days=1, seed=1, cells=1)
        log = stack.enter_context((folder / "server.log").open("wb"))
        server = subprocess.Popen(
            [
                sys.executable, "-m", "benchwire", "serve", "--port", str(PORT),
                "--data-dir", str(folder / "data"), "--battery-data", str(folder / "recordings"),
            ],
            env={
                **os.environ,
                "BENCHWIRE_UI": "false",
                "BENCHWIRE_POTENTIOSTAT_PORTS": json.dumps(ports["potentiostats"]),
                "BENCHWIRE_POWERMETER_PORTS": json.dumps(ports["meters"]),
                "BENCHWIRE_POWERMETER_POLLING_INTERVAL": str(READING_SECONDS),
                "BENCHWIRE_COMPUTE_PROCESSES": "1",
            },
            stderr=log, stdout=log,
        )  # fmt: skip
        stack.callback(server.wait, 30)
        stack.callback(server.terminate)
        until(
            lambda: answers(f"{URL}/devices") and len(httpx.get(f"{URL}/devices").json()) == SLOTS
        )
        yield psutil.Process(server.pid)


# -- the load -------------------------------------------------------------------------------------


def start_run(client: httpx.Client, seconds: float) -> str:
    request = {
        "devices": "all",
        "modes": ["CA"],
        "params_by_mode": {"CA": {"potential": 0.5, "duration": seconds}},
        "experiment_name": "Mixed",
        "client_datetime": "2026-05-04T12:00:00",
        "make_plot": False,
    }
    return str(client.post("/jobs", json=request).raise_for_status().json()["run_id"])


def fill_plates(client: httpx.Client) -> str:
    """Make some plates and give the name of the battery that is read."""
    for number in range(PLATES):
        body = {"plate": {"barcode": f"M{number}", "name": "Mixed"}, "rows": 8, "columns": 12}
        client.post("/api/v1/plates", json=body).raise_for_status()
    return str(client.get("/bms/devices").raise_for_status().json()["devices"][0]["device_id"])


def process_movies(orders: Connection, folder: str) -> None:
    """Process the same movie again and again, each time into a folder of its own; tell the ends.

    A folder is deleted once the next one is full: together they would be 40 GB.
    """
    orders.recv()
    with httpx.Client(base_url=f"{URL}/api/v1/processing", timeout=60) as client:
        movie = Path(folder) / "movie.ome.tif"
        found = client.post("/load-metadata", json={"file_path": str(movie)}).raise_for_status()
        for number in itertools.count():
            body = {
                "microscopy_path": str(movie),
                "output_dir": f"{folder}/results{number}",
                "channels": found.json()["suggested_channels"],
            }
            answer = client.post("/workflow/start", json=body).raise_for_status()
            path = f"/workflow/status/{answer.json()['job_id']}"
            while (state := client.get(path).json()["status"]) in {"pending", "running"}:
                time.sleep(0.5)
            orders.send(state)
            shutil.rmtree(f"{folder}/results{number - 1}", ignore_errors=True)


def small_requests(battery: str) -> Iterator[tuple[str, str, Any]]:
    """Give small requests of the plates and the batteries, one in five of which writes."""
    number = int(time.time() * 1000)
    soc = f"/bms/{battery}/readings"
    while True:
        number += 1
        plate = f"M{number % PLATES}"
        note = {"plate": {"name": f"Mixed {number}"}}
        now = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
        yield "GET", "/api/v1/plates?per_page=25", None
        yield "GET", f"/api/v1/plates/{plate}", None
        yield "PUT", f"/api/v1/plates/{plate}", note
        yield "GET", f"/bms/{battery}?batch_size=100&skip={number % 1000}", None
        yield "GET", "/api/v1/locations/grid", None
        yield "GET", "/bess/overview", None
        yield "GET", "/api/v1/stats", None
        yield "POST", soc, {"timestamp": f"{now}.{number % 1000:03}Z", "soc": number % 100}
        yield "GET", f"/pcs/{battery}?batch_size=100", None
        yield "GET", f"/api/v1/plates/{plate}/location_history", None


async def ask_at(rate: float, seconds: float, battery: str) -> tuple[list[float], list[str]]:
    """Send requests at fixed moments; return ms from when each was due, and what failed."""
    waits: list[float] = []
    failed: list[str] = []
    limits = httpx.Limits(max_connections=50, max_keepalive_connections=50)
    requests = small_requests(battery)
    async with httpx.AsyncClient(base_url=URL, limits=limits, timeout=60) as client:

        async def ask(due: float) -> None:
            method, path, body = next(requests)
            answer = await client.request(method, path, json=body)
            waits.append((time.monotonic() - due) * 1e3)
            if answer.is_error:
                failed.append(f"{answer.status_code} {method} {path}: {answer.text[:200]}")

        began = time.monotonic()
        async with asyncio.TaskGroup() as asked:
            for number in range(int(rate * seconds)):
                due = began + number / rate
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                asked.create_task(ask(due))
    return waits, failed


async def follow(paths: list[str], events: list[int], over: asyncio.Event) -> None:
    """Read event streams, one for each count of events, until the end."""

    async def read(place: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
        path = paths[place % len(paths)]
        writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{PORT}\r\n\r\n".encode())
        while data := await reader.read(65_536):
            events[place] += data.count(b"\n\n")
        if not over.is_set():
            print(f"a stream of {path} has ended", flush=True)

    readers = [asyncio.create_task(read(place)) for place in range(len(events))]
    await over.wait()
    for each in readers:
        each.cancel()


def ask(orders: Connection, battery: str, rate: float, seconds: float) -> None:
    """Send small requests once told to, and tell how long they took and what failed."""
    orders.recv()
    orders.send(asyncio.run(ask_at(rate, seconds, battery)))


def watch(orders: Connection, battery: str, clients: int) -> None:
    """Follow streams from a run's id until told to end, and tell how many events came.

    In a process of its own: reading them is more work than asking, and would delay it. Clients are
    other computers; here they yield to the server, whose processor they share.
    """
    os.nice(CLIENT_NICENESS)
    live = f"/runs/{orders.recv()}/live"
    paths = [live, "/api/meters/live", f"/bess/{battery}/live", "/events/jobs"]
    events = [0] * clients

    async def until_told() -> None:
        over = asyncio.Event()
        following = asyncio.create_task(follow(paths, events, over))
        await asyncio.to_thread(orders.recv)
        over.set()
        await following

    asyncio.run(until_told())
    orders.send(events)


# -- what came of it ------------------------------------------------------------------------------


def lost_samples(folder: Path, client: httpx.Client, run: str, seconds: float) -> tuple[int, int]:
    """Return how many samples are not in the run's files, and how many there should be."""
    while client.get(f"/jobs/{run}").json()["status"] in {"queued", "running"}:
        time.sleep(0.5)
    status = client.get(f"/jobs/{run}").json()
    expected = int(seconds / SAMPLE_SECONDS + 1e-6)
    lost = 0
    for slot in status["slots"]:
        rows = 0
        for name in slot["files"]:
            with client.stream("GET", f"/runs/{run}/file", params={"path": name}) as answer:
                rows += sum(part.count(b"\n") for part in answer.iter_bytes()) - 1
        lost += expected - rows
        if slot["status"] != "done":
            after = f"after {rows * SAMPLE_SECONDS:.1f} s"
            print(f"  {slot['slot']}: {slot['status']} {after}: {slot['message']}")
    return lost, expected * len(status["slots"])


def received(pipe: Connection) -> list[str]:
    """Return all that was sent before the other end was gone."""
    found = []
    with contextlib.suppress(EOFError, OSError):
        while pipe.poll(0):
            found.append(pipe.recv())
    return found


def processor_time(processes: list[psutil.Process]) -> float:
    """Return the processor time (s) that processes have taken so far."""
    return sum(sum(each.cpu_times()[:2]) for each in processes)


def missed_readings(client: httpx.Client) -> tuple[int, int]:
    """Return how many polls of all meters were missed so far, and how many went well."""
    names = [meter["meter"] for meter in client.get("/api/meters").json()]
    states = [client.get("/api/status", params={"meter": name}).json() for name in names]
    return sum(s["missed_polls"] for s in states), sum(s["data_count"] for s in states)


def percentile(values: list[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def measure(folder: Path, seconds: float, clients: int, rate: float) -> bool:
    write_demo_movie(folder / "movie.ome.tif", n_fovs=2, n_frames=30, size=512)
    spawn = multiprocessing.get_context("spawn")
    with bench(folder) as server, httpx.Client(base_url=URL, timeout=120) as client:
        battery = fill_plates(client)
        idle, failed = asyncio.run(ask_at(rate, IDLE_SECONDS, battery))
        pipes = {}
        processes = []
        for work, given in (
            (ask, (battery, rate, seconds)), (watch, (battery, clients)),
            (process_movies, (str(folder),)),
        ):  # fmt: skip
            pipes[work], there = spawn.Pipe()
            processes.append(spawn.Process(target=work, args=(there, *given), daemon=True))
            processes[-1].start()
        asking, _, movies = processes
        time.sleep(START_SECONDS)
        missed_before, _ = missed_readings(client)
        run = start_run(client, seconds + WARM_SECONDS)
        pipes[process_movies].send(run)
        time.sleep(START_SECONDS)
        pipes[watch].send(run)
        pipes[ask].send(run)
        memory: list[float] = []
        companions = [
            each for each in server.children() if "benchwire.foundation.companion" in each.cmdline()
        ]
        used, used_there = processor_time([server]), processor_time(companions)
        began = time.monotonic()
        while not pipes[ask].poll(1.0):
            memory.append(sum(each.memory_info().rss for each in (server, *companions)) / 1e6)
            if not asking.is_alive() and not pipes[ask].poll(0):
                raise RuntimeError("the clients have ended early")
        seconds_since = time.monotonic() - began
        share = (processor_time([server]) - used) / seconds_since
        share_there = (processor_time(companions) - used_there) / seconds_since
        waits, more_failed = pipes[ask].recv()
        pipes[watch].send(None)
        events = pipes[watch].recv()
        missed, readings = missed_readings(client)
        missed -= missed_before
        are_movies_going_on = movies.is_alive()
        movies.terminate()
        ends = received(pipes[process_movies])
        lost, samples = lost_samples(folder, client, run, seconds + WARM_SECONDS)
    failed += more_failed
    third = len(memory) // 3
    early, late = statistics.mean(memory[third : 2 * third]), statistics.mean(memory[2 * third :])
    growth = late / early - 1
    p99, idle_p99 = percentile(waits, 0.99), percentile(idle, 0.99)
    print(f"{seconds:g} s on {os.cpu_count()} cores; server {share:.0%} of a core, "
          f"the processes of the instruments {share_there:.0%}")  # fmt: skip
    print(f"  lost samples {lost:,} of {samples:,}")
    print(f"  missed readings {missed} of {readings:,}: {missed / readings:.1e}")
    print(f"  {clients} streams, {sum(events):,} events, {events.count(0)} got none")
    print(f"  {len(waits):,} small requests, {len(failed)} failed {failed[:3] or ''}")
    print(
        f"  p50 {percentile(waits, 0.5):.1f} ms, p99 {p99:.1f} ms, worst {max(waits):.0f} ms; "
        f"idle p99 {idle_p99:.1f} ms: {p99 / idle_p99:.1f} times, {p99 / P99_GOAL_MS:.2f} of "
        "the goal"
    )
    completed = ends.count("completed")
    print(f"  {completed} movies processed, {len(ends) - completed} failed")
    print(f"  memory {early:.0f} MB, later {late:.0f} MB: {growth:+.1%}")
    is_met = (
        lost == 0 and missed < MISSED_GOAL * readings and not failed and p99 < P99_GOAL_MS
        and growth < GROWTH_GOAL and 0 not in events
        and are_movies_going_on and 0 < completed == len(ends)
    )  # fmt: skip
    print(f"goal: {'met' if is_met else 'NOT met'}")
    return is_met


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=600.0)
    options.add_argument("--clients", type=int, default=200)
    options.add_argument("--rate", type=float, default=50.0, help="small requests a second")
    options.add_argument("--postgresql", action="store_true", help="on a PostgreSQL of its own")
    asked = options.parse_args()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        if asked.postgresql:
            os.environ["BENCHWIRE_DATABASE_URL"] = stack.enter_context(running_postgresql())
        is_met = measure(Path(folder), asked.seconds, asked.clients, asked.rate)
    raise SystemExit(not is_met)


if __name__ == "__main__":
    main()
