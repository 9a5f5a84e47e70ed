"""An object for a companion process to hold."""

import os
import signal
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from benchwire.foundation.companion import Teller
from benchwire.foundation.errors import Conflict


class Notebook:
    """Writes down what it is told."""

    def __init__(self, teller: Teller) -> None:
        self._teller = teller
        self._notes: list[str] = []
        self._farewell: Path | None = None

    def note(self, text: str) -> None:
        self._notes.append(text)
        self._teller.tell("noted", text, len(self._notes))

    def notes(self) -> list[str]:
        return self._notes

    def refuse(self, hint: str) -> None:
        raise Conflict("Not now", hint=hint)

    def fail(self) -> None:
        raise ZeroDivisionError("by nothing")

    def leave_python(self) -> None:
        raise SystemExit(3)

    def unspeakable(self) -> object:
        return threading.Lock()

    def break_off(self) -> "Future[str]":
        done: Future[str] = Future()
        done.set_exception(KeyboardInterrupt())
        return done

    def say_half_and_stop(self) -> None:
        # The head of a message of which only the beginning follows.
        os.write(self._teller._connection.fileno(), (1000).to_bytes(4, "big") + b"half")
        os.kill(os.getpid(), signal.SIGSTOP)

    def later(self, seconds: float) -> "Future[str]":
        done: Future[str] = Future()
        threading.Timer(seconds, done.set_result, ["now"]).start()
        return done

    def hang(self) -> None:
        time.sleep(60)

    def leave_word_in(self, path: Path) -> None:
        self._farewell = path

    def close(self) -> None:
        if self._farewell is not None:
            # A folder that is not there is no order to leave things in.
            self._farewell.write_text(" ".join(self._notes))


class Shelf:
    """Has things laid on it, and tells what lies there."""

    def __init__(self, teller: Teller) -> None:
        self._teller = teller
        self._lies: dict[str, int] = {}

    def open(self, key: str, weight: int) -> int:
        if weight < 0:
            raise Conflict("Nothing weighs less than nothing")
        self._lies[key] = weight
        self._teller.tell("lies", key, weight, os.getpid())
        return weight

    def release(self, key: str) -> None:
        self._lies.pop(key, None)

    def lies(self) -> dict[str, int]:
        return self._lies

    def close(self) -> None:
        for key in self._lies:
            self._teller.tell("fell", key)


def fragile(teller: Teller) -> Shelf:
    """Make a shelf, or none while the file says so."""
    if Path(os.environ["SHELF_IS_BROKEN"]).exists():
        raise RuntimeError("no shelf today")
    return Shelf(teller)


def broken(_teller: Teller) -> Any:
    """Make nothing at all."""
    raise RuntimeError("no notebook today")
