"""What readers beside the server add: the same questions to the server alone, and to all three.

Eight clients ask for plates and single wells as fast as they are answered. The clients take a part
of the same cores, so the gain is that of a computer which also serves them.
"""

import argparse
import http.client
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import psutil

CLIENTS, PLATES, ROUNDS = 8, 200, 3
FIRST_PORT = 18700


@contextmanager
def running(command: str, port: int, data_dir: Path) -> Iterator[psutil.Process]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchwire", command, "--port", str(port),
         "--data-dir", str(data_dir)],
        env={**os.environ, "BENCHWIRE_UI": "false"}, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{port}/version", timeout=5)
                break
            except httpx.TransportError:
                time.sleep(0.05)
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def fill(port: int) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        for number in range(PLATES):
            body = {"plate": {"barcode": f"P{number:04}", "name": f"Plate {number}"}}
            client.post("/api/v1/plates", json=body).raise_for_status()


def rate(ports: Sequence[int], seconds: float) -> float:
    """Return answers a second from all ports together."""
    answered = [0] * CLIENTS
    over = time.monotonic() + seconds

    def ask(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", ports[number % len(ports)])
        while time.monotonic() < over:
            place = (number * 31 + answered[number]) % PLATES
            path = f"/api/v1/plates/P{place:04}" if place % 2 else "/api/v1/plates?limit=20"
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200
            answered[number] += 1
        connection.close()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(answered) / seconds


def megabytes(process: psutil.Process) -> float:
    """Return the memory that would be free again without the process."""
    return process.memory_full_info().uss / 1e6


def measure(seconds: float) -> None:
    ports = [FIRST_PORT + number for number in range(3)]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        data_dir = Path(folder) / "data"
        server = stack.enter_context(running("serve", ports[0], data_dir))
        fill(ports[0])
        readers = [stack.enter_context(running("reader", port, data_dir)) for port in ports[1:]]
        sides = {"server alone": ports[:1], "one reader": ports[:2], "two readers": ports}
        rates: dict[str, list[float]] = {side: [] for side in sides}
        rate(ports, 1.0)
        # In turns, so that what else the computer does falls on all alike.
        for _ in range(ROUNDS):
            for side, asked in sides.items():
                rates[side].append(rate(asked, seconds))
        alone = sorted(rates["server alone"])[ROUNDS // 2]
        print(f"{os.cpu_count()} cores, {CLIENTS} clients on the same computer")
        for side, found in rates.items():
            middle = sorted(found)[ROUNDS // 2]
            print(f"  {side:14} {middle:7.0f} answers/s, ratio {middle / alone:.2f}")
        print(f"  memory: server {megabytes(server):.0f} MB, "
              f"reader {max(map(megabytes, readers)):.0f} MB")  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=5.0)
    measure(parser.parse_args().seconds)
