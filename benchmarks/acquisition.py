"""Sixteen potentiostats at full rate on one server: lost samples and cost.

Beside it, for one instrument, the driver's way against the plain one: a reply waited for in one
piece and a fixed pause between transactions, as common Modbus libraries do.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

from benchwire.foundation.instruments.emulation import EmulatorProcess

FACTORY = "benchwire.domains.potentiostat.emulator:emulated"
RATE = 1 / 0.00036
# What common Modbus libraries spend: the pause after a frame and the wait for a busy answer.
PLAIN_PAUSE = 0.00175
PORT = 8471


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(slots: int, seconds: float, folder: Path) -> None:
    emulators = EmulatorProcess(FACTORY, [f"p{n}" for n in range(1, slots + 1)], folder / "ports")
    ports = json.dumps([str(path) for path in emulators.paths.values()])
    server = subprocess.Popen(
        [sys.executable, "-m", "benchwire", "serve", "--port", str(PORT),
         "--data-dir", str(folder / "data")],
        env={**os.environ, "BENCHWIRE_POTENTIOSTAT_PORTS": ports, "BENCHWIRE_UI": "false"},
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    client = httpx.Client(base_url=f"http://127.0.0.1:{PORT}", timeout=30)
    try:
        while True:
            try:
                devices = client.get("/devices").json()
                break
            except httpx.TransportError:
                time.sleep(0.1)
        assert len(devices) == slots, devices
        run = client.post(
            "/jobs",
            json={
                "devices": "all",
                "modes": ["CA"],
                "params_by_mode": {"CA": {"potential": 0.5, "duration": seconds}},
                "experiment_name": "Bench",
                "client_datetime": "2025-01-01T00:00:00",
                "make_plot": False,
            },
        ).json()
        time.sleep(1.5)
        pids = (server.pid, emulators._process.pid)
        before = [processor_seconds(pid) for pid in pids]
        began, waits = time.monotonic(), []
        while time.monotonic() - began < seconds - 3:
            asked = time.monotonic()
            client.get("/health")
            waits.append(time.monotonic() - asked)
            time.sleep(0.05)
        span = time.monotonic() - began
        shares = [
            (processor_seconds(pid) - was) / span for pid, was in zip(pids, before, strict=True)
        ]
        while (status := client.get(f"/jobs/{run['run_id']}").json())["status"] == "running":
            time.sleep(0.2)
        expected = int(seconds / 0.00036 + 1e-6)
        lost = 0
        for slot in status["slots"]:
            name = next(iter(slot["files"]), None)
            rows = 0
            if name is not None:
                text = client.get(f"/runs/{run['run_id']}/file", params={"path": name}).text
                rows = text.count("\r\n") - 1
            lost += expected - rows
            if slot["status"] != "done":
                print(f"  {slot['slot']}: {slot['status']}: {slot['message']}")
        waits.sort()
        total = slots * RATE
        print(
            f"{slots} slots, {total:,.0f} samples/s in all, {seconds:g} s, {os.cpu_count()} cores"
        )
        print(f"  run {status['status']}, lost samples: {lost} of {expected * slots:,}")
        print(f"  server {shares[0]:.0%} of a core, emulated instruments {shares[1]:.0%}")
        print(
            f"  meanwhile /health: p50 {waits[len(waits) // 2] * 1e3:.1f} ms, "
            f"p99 {waits[int(len(waits) * 0.99)] * 1e3:.1f} ms"
        )
    finally:
        server.terminate()
        server.wait(20)
        emulators.close()


def compare(folder: Path) -> None:
    """Time the same transactions through the driver, with and without the plain way's pause."""
    from benchwire.domains.potentiostat.driver import Potentiostat
    from benchwire.foundation.clock import SystemClock
    from benchwire.foundation.instruments.transport import SerialTransport

    emulators = EmulatorProcess(FACTORY, ["one"], folder / "one")
    transport = SerialTransport(str(emulators.paths["one"]), 1_500_000)
    device = Potentiostat(transport, SystemClock())
    count = 2000

    def transactions(pause: float) -> float:
        began = time.monotonic()
        for _ in range(count):
            device.status()
            if pause:
                time.sleep(pause)
        return count / (time.monotonic() - began)

    ours, plain = transactions(0.0), transactions(PLAIN_PAUSE)
    transport.close()
    emulators.close()
    print(
        f"transactions a second on one instrument: {ours:,.0f}, with a pause after each frame "
        f"{plain:,.0f}, ratio {ours / plain:.1f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(options.slots, options.seconds, Path(folder))
        compare(Path(folder))


if __name__ == "__main__":
    main()
