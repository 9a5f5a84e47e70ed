"""A hundred thousand traces fitted through the API, and how long others wait meanwhile."""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import numpy as np

from benchwire.domains.traces.kinetics import MaturationKinetic
from benchwire.domains.traces.models import curve

PORT = 8472
HOURS = np.linspace(0, 30, 60)
CELLS_PER_FOV = 500


def write_traces(path: Path, count: int) -> None:
    """Write noisy traces of known kinetics, times in h."""
    generator = np.random.default_rng(1)
    model = MaturationKinetic()
    with path.open("w") as file:
        file.write("time,fov,cell,value\n")
        for number in range(count):
            truth = {
                "t0": generator.uniform(-0.5, 0.5),
                "ktl": 10 ** generator.uniform(3, 6),
                "delta": 10 ** generator.uniform(-2, 0),
                "offset": generator.uniform(0, 1e4),
            }
            values = curve(model, HOURS, truth)
            values = values + generator.normal(size=len(HOURS)) * 0.03 * np.ptp(values)
            name = f"{number // CELLS_PER_FOV},{number % CELLS_PER_FOV + 1}"
            file.writelines(
                f"{hour:.4f},{name},{value:.6g}\n"
                for hour, value in zip(HOURS, values, strict=True)
            )


def waited(client: httpx.Client, path: str) -> float:
    asked = time.perf_counter()
    client.get(path).raise_for_status()
    return (time.perf_counter() - asked) * 1e3


def measure(folder: Path, count: int) -> None:
    traces = folder / "traces.csv"
    write_traces(traces, count)
    server = subprocess.Popen(
        [sys.executable, "-m", "benchwire", "serve", "--port", str(PORT),
         "--data-dir", str(folder / "data")],
        env={**os.environ, "BENCHWIRE_UI": "false"}, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    client = httpx.Client(base_url=f"http://127.0.0.1:{PORT}", timeout=300)
    try:
        while True:
            try:
                client.get("/api/v1/analysis/models").raise_for_status()
                break
            except httpx.HTTPError:
                time.sleep(0.1)
        began = time.perf_counter()
        job = client.post(
            "/api/v1/analysis/fitting/start",
            json={"csv_path": str(traces), "model_type": "maturation_kinetic"},
        ).json()["job_id"]
        started = time.perf_counter() - began
        waits, status = [], {"status": "pending"}
        while status["status"] in {"pending", "running"}:
            waits += [waited(client, "/api/v1/analysis/models"), waited(client, "/health")]
            status = client.get(f"/api/v1/analysis/fitting/status/{job}").json()
            time.sleep(0.02)
        took = time.perf_counter() - began
        asked = time.perf_counter()
        found = client.get(f"/api/v1/analysis/fitting/results/{job}").json()
        answered = time.perf_counter() - asked
    finally:
        server.terminate()
        server.wait(20)
    waits.sort()
    print(
        f"{count:,} traces of {len(HOURS)} points: {status['status']} in {took:.1f} s "
        f"({count / took:,.0f} a second), start answered after {started:.1f} s, "
        f"mean R2 {found['summary']['mean_r_squared']:.4f}"
    )
    print(
        f"  other requests meanwhile: p50 {waits[len(waits) // 2]:.1f} ms, "
        f"p99 {waits[int(len(waits) * 0.99)]:.1f} ms, worst {waits[-1]:.1f} ms; "
        f"all results in {answered:.1f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--traces", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), options.traces)


if __name__ == "__main__":
    main()
