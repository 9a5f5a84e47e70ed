"""The server's ends: by signal, by kill -9, twice at once; nothing finished is ever lost."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchwire.foundation.instruments.emulation import EmulatorProcess
from tests.domains.potentiostat.conftest import FACTORY
from tests.support import ports
from tests.support.server import Server
from tests.support.waiting import until

KILLS = 8
SLOTS = 3


@pytest.fixture
def emulators(tmp_path: Path) -> Iterator[EmulatorProcess]:
    """Instruments that outlive the server, as real ones do."""
    running = EmulatorProcess(FACTORY, [f"p{n}" for n in range(1, SLOTS + 1)], tmp_path / "ports")
    yield running
    running.close()


@pytest.fixture
def server(tmp_path: Path, emulators: EmulatorProcess, free_port: int) -> Iterator[Server]:
    paths = json.dumps([str(path) for path in emulators.paths.values()])
    with Server(
        tmp_path / "data", free_port, environment={"BENCHWIRE_POTENTIOSTAT_PORTS": paths}
    ) as running:
        yield running


def start_run(server: Server, slots: list[str], seconds: float) -> dict[str, Any]:
    body = {
        "devices": slots, "modes": ["CA"],
        "params_by_mode": {"CA": {"potential": 0.5, "duration": seconds}},
        "experiment_name": "Lives", "client_datetime": "2025-11-03T10:15:00",
        "make_plot": False,
    }  # fmt: skip
    return httpx.post(f"{server.url}/jobs", json=body, timeout=10).raise_for_status().json()


def status_of(server: Server, run_id: str) -> dict[str, Any]:
    return httpx.get(f"{server.url}/jobs/{run_id}", timeout=10).raise_for_status().json()


def rows_of(server: Server, run_id: str, name: str) -> list[str]:
    answer = httpx.get(f"{server.url}/runs/{run_id}/file", params={"path": name}, timeout=10)
    return answer.raise_for_status().text.split("\r\n")


def test_signal_makes_safe_before_clients_are_waited_for(
    server: Server, emulators: EmulatorProcess
) -> None:
    run = start_run(server, ["slot01", "slot02"], 60)
    until(lambda: emulators.control("p1", "state")["cell_closed"])
    streams = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(20)]
    for stream in streams:
        stream.sendall(b"GET /events/jobs HTTP/1.1\r\nHost: localhost\r\n\r\n")
        stream.recv(100)
    asked = time.monotonic()
    server.signal(signal.SIGTERM)
    until(lambda: not emulators.control("p1", "state")["cell_closed"], seconds=3)
    opened = max(emulators.control(name, "state")["opened_at"] for name in ("p1", "p2"))
    assert opened - asked < 1.0
    assert server.wait() == 0
    assert time.monotonic() - asked < 10
    for stream in streams:
        stream.close()
    server.start()
    ended = status_of(server, run["run_id"])
    assert ended["status"] == "failed"
    assert {slot["message"] for slot in ended["slots"]} == {"server stopped"}


class Outside:
    """Clients on all slots who remember what they were told."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.accepted: list[str] = []
        self.told_done: dict[str, dict[str, Any]] = {}

    def work_until_killed(self, seed: int, seconds: float) -> None:
        over = threading.Event()
        workers = [
            threading.Thread(target=self._work, args=(f"slot0{n}", over, seed + n))
            for n in range(1, SLOTS + 1)
        ]
        for worker in workers:
            worker.start()
        time.sleep(seconds)
        self.server.kill()
        over.set()
        for worker in workers:
            worker.join()

    def _work(self, slot: str, over: threading.Event, seed: int) -> None:
        chance = random.Random(seed)
        while not over.is_set():
            try:
                run = start_run(self.server, [slot], chance.uniform(0.05, 0.4))
                self.accepted.append(run["run_id"])
                self._follow(run["run_id"], over)
            except (httpx.HTTPError, KeyError):
                return

    def _follow(self, run_id: str, over: threading.Event) -> None:
        while not over.is_set():
            status = status_of(self.server, run_id)
            if status["status"] == "done":
                self.told_done[run_id] = status
                return
            time.sleep(0.02)

    def check_finished_runs_are_whole(self) -> None:
        for run_id, told in self.told_done.items():
            assert status_of(self.server, run_id) == told
            summary = json.loads("\n".join(rows_of(self.server, run_id, "run.json")))
            duration = summary["request"]["params_by_mode"]["CA"]["duration"]
            for name in told["slots"][0]["files"]:
                rows = rows_of(self.server, run_id, name)
                assert len(rows) == int(duration / 0.00036 + 1e-6) + 2

    def check_every_run_has_ended(self) -> None:
        for run_id in self.accepted:
            status = status_of(self.server, run_id)
            assert status["status"] in {"done", "failed"}
            if status["status"] == "failed":
                assert status["slots"][0]["message"] == "server restarted"
                for name in status["slots"][0]["files"]:
                    last = rows_of(self.server, run_id, name)[-1]
                    assert last == "", "the file ends with a whole row"


@pytest.mark.slow
def test_kills_lose_nothing_that_was_finished(server: Server, emulators: EmulatorProcess) -> None:
    """Each life is killed at a random moment with runs on all slots."""
    chance = random.Random(20251103)
    outside = Outside(server)
    for _ in range(KILLS):
        outside.work_until_killed(chance.getrandbits(32), chance.uniform(0.2, 1.2))
        server.start()
        for name in emulators.paths:
            assert not emulators.control(name, "state")["cell_closed"]
            # With its cell open it may play its waveform for another moment.
            until(lambda name=name: not emulators.control(name, "state")["running"], seconds=2)
        assert httpx.get(f"{server.url}/away").json()["last_stop"]["unclean"]
    assert len(outside.told_done) >= KILLS / 2
    outside.check_finished_runs_are_whole()
    outside.check_every_run_has_ended()


def test_interrupted_work_is_told_and_repeated_only_on_request(
    server: Server, emulators: EmulatorProcess
) -> None:
    run = start_run(server, ["slot01"], 60)
    until(lambda: emulators.control("p1", "state")["cell_closed"])
    until(lambda: emulators.control("p1", "state")["ticks"] > 500)
    server.kill()
    assert emulators.control("p1", "state")["running"]
    server.start()
    state = emulators.control("p1", "state")
    assert not state["cell_closed"]

    def last_stop() -> dict[str, Any]:
        return dict(httpx.get(f"{server.url}/away").json()["last_stop"])

    assert last_stop()["interrupted_jobs"] == [run["run_id"]]
    # Written down beside the start.
    until(lambda: last_stop()["made_safe"], what="the notice")
    (made_safe,) = last_stop()["made_safe"]
    assert "E000000000000001" in made_safe
    time.sleep(1)
    assert emulators.control("p1", "state")["closings"] == state["closings"]
    assert [job["status"] for job in httpx.get(f"{server.url}/jobs").json()] == ["failed"]


def test_second_server_on_the_same_folder_is_refused(server: Server, free_port: int) -> None:
    other = subprocess.run(
        [sys.executable, "-m", "benchwire", "serve", "--port", "0", "--data-dir",
         str(server.data_dir)],
        env={**os.environ, "BENCHWIRE_UI": "false"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )  # fmt: skip
    assert other.returncode == 2
    assert "Another benchwire server is running" in other.stderr
    assert "Traceback" not in other.stderr


def test_taken_port_is_a_plain_message(server: Server, tmp_path: Path) -> None:
    other = subprocess.run(
        [sys.executable, "-m", "benchwire", "serve", "--port", str(server.port), "--data-dir",
         str(tmp_path / "other")],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )  # fmt: skip
    assert other.returncode == 2
    assert f"Port {server.port}" in other.stderr
    assert "Traceback" not in other.stderr


def test_check_says_what_is_found(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchwire", "check", "--data-dir", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for name in ("version", "data folder", "database", "domains", "serial ports", "API key"):
        assert f"ok    {name}:" in done.stdout


def test_emulators_for_any_program(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchwire", "emulate", "potentiostat", "--count", "2",
         "--folder", str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert process.stdout is not None
    paths = [process.stdout.readline().strip() for _ in range(2)]
    assert paths == [str(tmp_path / f"potentiostat-{n}") for n in (1, 2)]
    assert all(Path(path).exists() for path in paths)
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0
    process.stdout.close()
    assert not any(Path(path).exists() for path in paths)


def test_domain_is_served_alone_on_an_old_port_as_well(tmp_path: Path, free_port: int) -> None:
    other = ports.free_port()
    with Server(
        tmp_path / "data", free_port, "--emulate", "potentiostat=1", "--also",
        f"potentiostat={other}", environment={"BOX_API_KEY": "k"},
    ) as running:  # fmt: skip
        alone = f"http://127.0.0.1:{other}"
        headers = {"X-API-Key": "k"}
        for url in (running.url, alone):
            assert httpx.get(f"{url}/health", headers=headers).json()["devices"] == 1
            assert httpx.get(f"{url}/health").json()["code"] == "auth.invalid_api_key"
        missing = httpx.get(f"{alone}/metrics", headers=headers)
        assert (missing.status_code, missing.json()["code"]) == (404, "request.not_found")
        assert running.stop() == 0


def test_health_is_told_from_the_first_moment_and_the_rest_waits(
    tmp_path: Path, free_port: int
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchwire", "serve", "--port", str(free_port), "--data-dir",
         str(tmp_path / "data"), "--emulate", "potentiostat=1"],
        env={**os.environ, "BOX_API_KEY": "k", "BOX_ID": "box 7", "BENCHWIRE_UI": "false"},
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    url, headers, seen = f"http://127.0.0.1:{free_port}", {"X-API-Key": "k"}, []

    def is_whole() -> bool:
        try:
            answer = httpx.get(f"{url}/health", headers=headers)
        except httpx.TransportError:
            return False
        seen.append(answer.json())
        return seen[-1]["devices"] == 1

    try:
        until(is_whole, seconds=30)
        assert all(answer.keys() == seen[-1].keys() for answer in seen)
        assert {answer["box_id"] for answer in seen} == {"box 7"}
        assert httpx.get(f"{url}/devices", headers=headers).json()[0]["slot"] == "slot01"
        assert httpx.get(f"{url}/health").status_code == 401
    finally:
        process.terminate()
        assert process.wait(20) == 0


def test_signal_in_the_first_moment_ends_it_in_good_order(tmp_path: Path, free_port: int) -> None:
    for delay in (0.3, 0.6, 0.9):
        process = subprocess.Popen(
            [sys.executable, "-m", "benchwire", "serve", "--port", str(free_port), "--data-dir",
             str(tmp_path / "data"), "--emulate", "potentiostat=1"],
            env={**os.environ, "BENCHWIRE_UI": "false"},
            stderr=subprocess.PIPE,
        )  # fmt: skip
        time.sleep(delay)
        process.terminate()
        _, said = process.communicate(timeout=30)
        assert process.returncode in {0, -signal.SIGTERM}
        assert b"Traceback" not in said, said
