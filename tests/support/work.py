"""Pieces of work for the tests of the executor; each runs in a worker process."""

import os
import time
from pathlib import Path

from benchwire.foundation.errors import Failed
from benchwire.foundation.workers import Reporter


def add(_: Reporter, one: int, two: int) -> int:
    return one + two


def process_id(_: Reporter) -> int:
    return os.getpid()


def count_to(reporter: Reporter, last: int) -> str:
    for number in range(1, last + 1):
        reporter.progress(number / last, f"step {number}")
    return "done"


def chatter(reporter: Reporter) -> None:
    """Tell without a pause, and listen for nothing."""
    while True:
        reporter.progress(0.5)


def refuse(_: Reporter) -> None:
    raise Failed("the image is empty", hint="take another")


def crash(_: Reporter) -> None:
    raise ZeroDivisionError("by zero")


def die(_: Reporter) -> None:
    os.kill(os.getpid(), 9)


def die_once(_: Reporter, marker: str) -> str:
    if not os.path.exists(marker):  # noqa: PTH110
        with open(marker, "w"):  # noqa: PTH123
            os.kill(os.getpid(), 9)
    return "second try"


def listen_for_stop(reporter: Reporter) -> None:
    while True:
        reporter.raise_if_stopped()
        time.sleep(0.01)


def hang(_: Reporter) -> None:
    while True:
        time.sleep(10)


def hold(_: Reporter, seconds: float) -> None:
    time.sleep(seconds)


def beat(_: Reporter, path: str) -> None:
    while True:
        with open(path, "a") as file:  # noqa: PTH123
            file.write(".")
        time.sleep(0.05)


def unsendable(_: Reporter) -> object:
    return lambda: None


class Unreadable:
    """What can be sent, and not be received."""

    def __init__(self, error: type[Exception]) -> None:
        self.error = error

    def __reduce__(self) -> tuple[object, ...]:
        return refuse_to_be_read, (self.error,)


def refuse_to_be_read(error: type[Exception]) -> object:
    raise error("no such module here")


def unreadable(_: Reporter, error: type[Exception]) -> object:
    return Unreadable(error)


class Unsendable:
    """What cannot be handed over, for a reason of its own."""

    def __reduce__(self) -> str:
        raise ValueError("it is open")


def niceness(_: Reporter) -> tuple[int, str]:
    """Return that of the process, and that of its session as the system has it."""
    session = Path("/proc/self/autogroup")
    return os.nice(0), session.read_text() if session.exists() else ""


def loaded_modules(_: Reporter) -> list[str]:
    import sys

    return sorted(sys.modules)


def spin(_: Reporter) -> None:
    while True:
        pass


def fill_memory(_: Reporter, size: int) -> int:
    """Take memory in one piece."""
    return len(bytearray(size))


def fill_memory_slowly(_: Reporter, size: int) -> int:
    """Take memory piece by piece, as a decoder does that is fed a bomb."""
    return sum(len(piece) for piece in [bytes(1_000_000) for _ in range(size // 1_000_000)])


def fill_array(_: Reporter, size: int) -> int:
    """Take memory in native code."""
    import numpy as np

    return int(np.ones(size, np.uint8).sum())
