"""Waiting for something another thread or process does."""

import time
from collections.abc import Callable


def until(condition: Callable[[], object], *, seconds: float = 10.0, what: str = "it") -> None:
    """Return once a condition holds; fail the test when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(0.01)
