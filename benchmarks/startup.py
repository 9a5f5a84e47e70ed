"""How soon the server answers, against importing everything it may ever need."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

PORT = 8472
EVERYTHING = (
    "import nicegui, matplotlib.figure, matplotlib.backends.backend_agg, numpy, fastapi, uvicorn, "
    "sqlalchemy, alembic.command, psycopg, smbclient, serial, prometheus_client, httpx, rich, "
    "typer, zipstream, pyarrow, pyarrow.parquet, aiomqtt, benchwire.app, benchwire.home.pages, "
    "benchwire.domains.potentiostat.pages, benchwire.domains.powermeter.pages, "
    "benchwire.domains.potentiostat.work"
)
REPEATS = 3


def import_everything() -> float:
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", EVERYTHING], check=True)
    return time.monotonic() - began


def first_answer(folder: Path) -> float:
    began = time.monotonic()
    server = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "benchwire",
            "serve",
            "--port",
            str(PORT),
            "--data-dir",
            str(folder),
        ],
        stderr=subprocess.DEVNULL,
        env={**os.environ, "BENCHWIRE_POTENTIOSTAT_PORTS": "[]"},
    )
    try:
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{PORT}/health", timeout=5)
                return time.monotonic() - began
            except httpx.TransportError:
                time.sleep(0.005)
    finally:
        server.terminate()
        server.wait(20)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        first_answer(Path(folder))
        everything = min(import_everything() for _ in range(REPEATS))
        answer = min(first_answer(Path(folder)) for _ in range(REPEATS))
    print(
        f"importing everything {everything:.2f} s, first answer of /health {answer:.2f} s, "
        f"ratio {answer / everything:.2f} (goal 0.25)"
    )


if __name__ == "__main__":
    main()
