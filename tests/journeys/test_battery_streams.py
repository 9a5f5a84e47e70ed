"""Streams of many clients at once, the good and the bad, and the seed's examples as they stand."""

import asyncio
import json
import shutil
import signal
import socket
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.battery import DEVICE, write_group
from tests.support.browser import NEEDS_CHROMIUM, watched_page
from tests.support.server import Server
from tests.support.waiting import until

SEED_PORT = 8002
ROWS = 1000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[Server]:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", SEED_PORT))
        except OSError:
            pytest.skip(f"port {SEED_PORT} is in use")
    folder = tmp_path_factory.mktemp("streams")
    for group in ("bms", "pcs"):
        write_group(folder / "set", DEVICE, group, ROWS)
    options = ("--also", f"battery={SEED_PORT}", "--battery-data", str(folder / "set"))
    with Server(folder / "data", port, *options) as running:
        httpx.get(f"{running.url}/bms/devices", timeout=30).raise_for_status()
        yield running


class Client:
    """A client of a stream that notes what comes and when."""

    def __init__(self, url: str, **query: Any) -> None:
        self.url = url
        self.query = query
        self.ids: list[int] = []
        self.rows: list[dict[str, Any]] = []
        self.times: list[float] = []

    async def follow(self, http: httpx.AsyncClient, seconds: float, **headers: str) -> None:
        try:
            async with asyncio.timeout(seconds):
                async with http.stream(
                    "GET", self.url, params=self.query, headers=headers
                ) as answer:
                    assert answer.status_code == 200
                    assert answer.headers["content-type"].startswith("text/event-stream")
                    assert "no-cache" in answer.headers["cache-control"]
                    async for line in answer.aiter_lines():
                        self.take(line)
        except TimeoutError:
            pass

    def take(self, line: str) -> None:
        if line.startswith("id: "):
            self.ids.append(int(line[4:]))
        elif line.startswith("data: "):
            self.rows.append(json.loads(line[6:]))
            self.times.append(time.monotonic())
        else:
            assert not line or line.startswith((":", "retry:")), line


def follow(client: Client, seconds: float, **headers: str) -> Client:
    async def work() -> None:
        async with httpx.AsyncClient(timeout=10) as http:
            await client.follow(http, seconds, **headers)

    asyncio.run(work())
    return client


def test_stream_gives_the_rows_of_the_batch_at_a_fixed_rhythm(server: Server) -> None:
    client = follow(Client(f"{server.url}/bms/{DEVICE}/stream", interval=0.1), 3.5)
    batch = httpx.get(f"{server.url}/bms/{DEVICE}", params={"batch_size": 100}).json()["data"]
    assert len(client.rows) >= 20
    assert client.rows == batch[: len(client.rows)]
    assert client.ids == list(range(len(client.rows)))
    mean = (client.times[-1] - client.times[0]) / (len(client.times) - 1)
    assert mean == pytest.approx(0.1, abs=0.02)


def test_stream_begins_where_asked_and_goes_round(server: Server) -> None:
    url = f"{server.url}/pcs/{DEVICE}/stream"
    assert follow(Client(url, interval=0.1, skip=ROWS - 2), 0.55).ids[:4] == [998, 999, 0, 1]
    assert follow(Client(url, interval=0.1, skip=10**6), 0.25).ids[0] == 0
    again = follow(Client(url, interval=0.1, skip=5), 0.25, **{"Last-Event-ID": "41"})
    assert again.ids[0] == 42
    last = follow(Client(url, interval=0.1), 0.25, **{"Last-Event-ID": str(ROWS - 1)})
    assert last.ids[0] == 0
    odd = follow(Client(url, interval=0.1), 0.25, **{"Last-Event-ID": "nonsense"})
    assert odd.ids[0] == 0


def test_day_month_and_no_date_are_streams_of_their_own(server: Server) -> None:
    url = f"{server.url}/bms/{DEVICE}"
    for hour in (1, 3):
        body = [{"timestamp": f"2024-03-{day}T{hour:02}:00:30Z", "soc": 1.0} for day in (10, 11)]
        httpx.post(f"{url}/readings", json=body).raise_for_status()
    for query in ({"date": "2024-03-09"}, {}, {"date": "2024-03"}, {"date": "2024-03-10"}):
        batch = httpx.get(url, params={"batch_size": 1000, "skip": 0, **query}).json()
        rows, total = batch["data"], batch["total_available"]
        start = max(total - 2, 0)
        if total > 1000:
            rows += httpx.get(url, params={"skip": 1000, **query}).json()["data"]
        client = follow(Client(f"{url}/stream", interval=0.1, skip=start, **query), 0.75)
        expected = [rows[(start + place) % total] for place in range(len(client.rows))]
        assert len(client.rows) >= 5
        assert client.rows == expected


def test_forty_streams_beside_batches_miss_nothing(server: Server) -> None:
    paths = [f"{server.url}/{group}/{DEVICE}" for group in ("bms", "pcs")]
    clients = [
        Client(f"{paths[number % 2]}/stream", interval=0.2, skip=number * 23)
        for number in range(40)
    ]
    took: list[float] = []

    async def ask(http: httpx.AsyncClient) -> None:
        end = time.monotonic() + 4
        while time.monotonic() < end:
            begun = time.monotonic()
            answer = await http.get(paths[0], params={"batch_size": 1000})
            assert answer.json()["total_records"] == ROWS
            took.append(time.monotonic() - begun)
            await asyncio.sleep(0.02)

    async def work() -> None:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(timeout=10, limits=limits) as http:
            await asyncio.gather(*(client.follow(http, 4.5) for client in clients), ask(http))

    asyncio.run(work())
    for number, client in enumerate(clients):
        first = number * 23
        assert len(client.ids) >= 19
        assert client.ids == [(first + place) % ROWS for place in range(len(client.ids))]
    assert statistics.median(took) < 0.5


def test_clients_that_stall_or_vanish_disturb_nobody(server: Server) -> None:
    request = f"GET /bms/{DEVICE}/stream?interval=0.1 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    stalled = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(20)]
    for one in stalled:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        one.sendall(request)
    for _ in range(50):
        with socket.create_connection(("127.0.0.1", server.port)) as gone:
            gone.sendall(request)
            gone.recv(10)
    client = follow(Client(f"{server.url}/bms/{DEVICE}/stream", interval=0.1), 2.05)
    assert client.ids == list(range(len(client.ids)))
    assert len(client.ids) >= 18
    for one in stalled:
        one.close()
    until(lambda: streams(server) == 0, what="the end of the streams of those who left")


def streams(server: Server) -> int:
    text = httpx.get(f"{server.url}/metrics").text
    line = next(
        line for line in text.splitlines() if line.startswith("benchwire_stream_subscribers ")
    )
    return int(float(line.split()[1]))


def test_unknown_device_is_404_before_any_event(server: Server) -> None:
    answer = httpx.get(f"{server.url}/bms/nope/stream")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/json")


def test_new_reading_reaches_whoever_watches_at_once(server: Server) -> None:
    seen: list[str] = []

    async def work() -> None:
        async with httpx.AsyncClient(timeout=10) as http:
            first = {"timestamp": "2026-01-01T00:00:00Z", "soc": 1.0}
            assert (
                await http.post(f"{server.url}/bms/rack-9/readings", json=first)
            ).status_code == 201
            async with http.stream("GET", f"{server.url}/bess/rack-9/live") as answer:
                lines = answer.aiter_lines()
                await wait_for(lines, '"soc":1.0')
                more = {"timestamp": "2026-01-01T00:00:01Z", "soc": 2.0}
                await http.post(f"{server.url}/bms/rack-9/readings", json=more)
                seen.append(await wait_for(lines, '"soc":2.0'))

    async def wait_for(lines: Any, text: str) -> str:
        async for line in lines:
            if text in line:
                return str(line)
        raise AssertionError(text)

    asyncio.run(work())
    assert json.loads(seen[0].removeprefix("data: "))["group"] == "bms"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize(
    "command",
    [
        "curl http://localhost:8002/bms/devices",
        "curl http://localhost:8002/pcs/devices",
        'curl "http://localhost:8002/bms/ZHPESS232A230002?batch_size=10&skip=0"',
        'curl "http://localhost:8002/pcs/ZHPESS232A230002?batch_size=10&skip=0"',
    ],
)
def test_curl_example_answers(server: Server, command: str) -> None:
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=True, timeout=20)
    answer = json.loads(done.stdout)
    assert DEVICE in str(answer)
    if "batch_size" in command:
        assert (answer["total_records"], len(answer["data"])) == (10, 10)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("group", ["bms", "pcs"])
def test_curl_example_streams(server: Server, group: str) -> None:
    command = f'curl -N "http://localhost:8002/{group}/ZHPESS232A230002/stream?interval=2.0"'
    with subprocess.Popen(
        ["bash", "-c", f"exec {command}"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as running:
        assert running.stdout is not None
        lines = [running.stdout.readline() for _ in range(5)]
        running.kill()
    rows = [json.loads(line[6:]) for line in lines if line.startswith(b"data: ")]
    assert [row["timestamp"][11:16] for row in rows] == ["00:00", "00:01"]


JAVASCRIPT = """
// BMS data streaming
const bmsSource = new EventSource('http://localhost:8002/bms/ZHPESS232A230002/stream?interval=2.0');
bmsSource.onmessage = function(event) {
    const bmsData = JSON.parse(event.data);
    console.log('Real-time BMS:', bmsData);
    // Update BMS dashboard here
};

// PCS data streaming
const pcsSource = new EventSource('http://localhost:8002/pcs/ZHPESS232A230002/stream?interval=2.0');
pcsSource.onmessage = function(event) {
    const pcsData = JSON.parse(event.data);
    console.log('Real-time PCS:', pcsData);
    // Update PCS dashboard here
};
"""


@pytest.mark.parametrize("_", [pytest.param("", marks=NEEDS_CHROMIUM)])
def test_javascript_example_gets_both_streams(server: Server, browser: Any, _: str) -> None:
    said: list[str] = []
    with watched_page(browser, "http://localhost:8002") as page:
        page.on("console", lambda message: said.append(message.text))
        page.goto("http://localhost:8002/bms/devices")
        page.evaluate(f"() => {{ {JAVASCRIPT} }}")
        deadline = time.monotonic() + 10
        while not {"BMS", "PCS"} <= {text[10:13] for text in said}:
            assert time.monotonic() < deadline, said
            page.wait_for_timeout(100)
    assert any("soc" in text for text in said)


def test_server_ends_at_once_with_streams_open(tmp_path: Path, free_port: int) -> None:
    write_group(tmp_path / "set", DEVICE, "bms", 10)
    with Server(tmp_path / "data", free_port, "--battery-data", str(tmp_path / "set")) as running:
        opened = [socket.create_connection(("127.0.0.1", free_port)) for _ in range(30)]
        for one in opened:
            one.sendall(
                f"GET /bms/{DEVICE}/stream?interval=10 HTTP/1.1\r\nHost: x\r\n\r\n".encode()
            )
        for one in opened:
            assert one.recv(12) == b"HTTP/1.1 200"
        running.signal(signal.SIGTERM)
        assert running.wait(5) == 0
        for one in opened:
            one.close()
