"""The client is light: nothing of the server, nothing heavy before it is needed."""

import subprocess
import sys

HEAVY = {"httpx", "polars", "numpy", "pandas", "rich", "pydantic", "pydantic_settings", "typer"}
SERVER = {"fastapi", "starlette", "sqlalchemy", "nicegui", "uvicorn", "serial", "matplotlib"}


def loaded_by(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return set(done.stdout.split())


def ours(loaded: set[str]) -> set[str]:
    parts = {name.split(".")[1] for name in loaded if name.startswith("benchwire.")}
    return parts - {"client"}


def test_importing_loads_nothing_heavy() -> None:
    loaded = loaded_by("from benchwire.client import Bench, BenchError")
    assert loaded & (HEAVY | SERVER) == set()
    assert ours(loaded) == set()


def test_using_loads_nothing_of_the_server() -> None:
    loaded = loaded_by(
        "from benchwire.client import Bench\n"
        "bench = Bench('http://127.0.0.1:1')\n"
        "for part in ('potentiostats', 'meters', 'plates', 'microscopy', 'traces', 'battery',\n"
        "             'jobs', 'samples'):\n"
        "    getattr(bench, part)\n"
    )
    assert "httpx" in loaded
    assert loaded & (SERVER | {"polars", "numpy"}) == set()
    assert ours(loaded) == set()


def test_help_loads_no_client_library() -> None:
    loaded = loaded_by("import benchwire.cli")
    assert loaded & {"httpx", "polars", "numpy", "nicegui", "sqlalchemy", "fastapi"} == set()
