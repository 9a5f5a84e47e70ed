"""Processes of our own: how one is started, and how it is spoken with.

Each is a fresh interpreter that imports what it needs and nothing else: what the server's own main
module imports would take a second and a hundred megabytes in each of them.
"""

import contextlib
import ctypes
import gc
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any

from benchwire.foundation.errors import Failed

CONNECT_SECONDS = 30.0
# The same where somebody is in a hurry.
HURRIED_SECONDS = 3.0
_LOOK_SECONDS = 0.1
# One that the system cannot even kill, as it waits for a disk that does not answer, is left to it.
_KILL_SECONDS = 1.0
# How long one thread may compute while others wait for the interpreter. With the usual 5 ms, a
# write of ten steps beside sixteen instruments would take half a second.
_SWITCH_SECONDS = 0.001
# As the GNU C library's mallopt knows it.
_M_ARENA_MAX, _HEAPS = -8, 2
_SESSION_NICENESS = Path("/proc/self/autogroup")
# The system takes no more than ten of these in a second from those who are not root.
_SESSION_TRIES, _SESSION_PAUSE_SECONDS = 4, 0.11


class OwnProcess:
    """A process that runs a module of ours, and the connection to it.

    Parameters
    ----------
    module
        What is run; it calls `connect_back` first.
    given
        Handed over at the start.
    hurried
        Once it is set, a process that does not start is waited for no longer than a moment.
    label
        What tells it from others of the module where the system lists them.

    Raises
    ------
    EOFError
        It ended before it called back, or did not do so in time.
    """

    def __init__(
        self,
        module: str,
        *given: Any,
        hurried: threading.Event | None = None,
        label: str = "",
    ) -> None:
        key = os.urandom(32)
        with Listener(_address(), authkey=key) as listener:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", module, *filter(None, [label])],
                stdin=subprocess.PIPE,
                close_fds=True,
                # A Ctrl-C in the terminal is the server's to handle.
                start_new_session=True,
            )
            stdin = self._process.stdin
            assert stdin is not None  # noqa: S101 - opened as a pipe
            stdin.write(pickle.dumps((listener.address, key, given)))
            stdin.close()
            self.connection: Connection = self._accept(listener, key, hurried)  # type: ignore[type-arg,unused-ignore]

    @property
    def pid(self) -> int:
        """The number the system knows it by."""
        return self._process.pid

    def leaves(self, seconds: float) -> bool:
        """Wait so long (s) for the process to end; whether it did, and without an error."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(seconds) == 0
        return False

    def kill(self) -> None:
        """End the process at once; whoever reads the connection hears its end."""
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_KILL_SECONDS)

    def end(self) -> None:
        """End the process at once and close the connection, which nobody else may be using."""
        self.kill()
        with contextlib.suppress(OSError):
            self.connection.close()

    def _accept(self, listener: Listener, key: bytes, hurried: threading.Event | None) -> Any:
        """Wait for the process to call back, but not for one that has died."""
        result: Future[Any] = Future()

        def accept() -> None:
            try:
                result.set_result(listener.accept())
            except Exception as error:  # noqa: BLE001 - handed to the one who waits
                result.set_exception(error)

        threading.Thread(target=accept, daemon=True).start()
        is_there = has_come(result, lambda: self._process.poll() is not None, hurried)
        if is_there and result.exception() is None:
            return result.result()
        self.kill()
        if not wait([result], _LOOK_SECONDS).done:
            # Nothing else wakes a thread that waits for a call.
            with contextlib.suppress(OSError, EOFError):
                Client(listener.address).close()
        raise EOFError("a process did not start")


def has_come(
    promise: "Future[Any]", is_over: Callable[[], bool], hurried: threading.Event | None
) -> bool:
    """Wait for a process that starts to keep a promise; False if it has died or takes too long."""
    since = time.monotonic()
    while not wait([promise], _LOOK_SECONDS).done:
        is_hurried = hurried is not None and hurried.is_set()
        limit = HURRIED_SECONDS if is_hurried else CONNECT_SECONDS
        if is_over() or time.monotonic() - since > limit:
            return False
    return True


def _address() -> str | None:
    # One of Linux's that is no file: files of the temporary folder are cleaned away after days.
    return f"\0benchwire-{os.urandom(16).hex()}" if sys.platform == "linux" else None


def connect_back() -> tuple[Any, tuple[Any, ...]]:
    """Return, in such a process, the connection to whoever started it, and what it was given."""
    address, key, given = pickle.loads(sys.stdin.buffer.read())  # noqa: S301 - from our own parent
    return Client(address, authkey=key), given


def set_niceness(niceness: int) -> None:
    """Have this process get less of the processor than others that want it too, or more.

    From -20, the most, to 19, the least; more than its parent only if the system lets it. To Linux
    a session competes as one with the others, and a niceness counts only within it. As a process of
    ours has a session of its own, that is given the same.
    """
    with contextlib.suppress(OSError, AttributeError):
        os.nice(niceness)
    with contextlib.suppress(OSError):
        for _ in range(_SESSION_TRIES):
            with contextlib.suppress(BlockingIOError):
                _SESSION_NICENESS.write_text(str(niceness))
                return
            time.sleep(_SESSION_PAUSE_SECONDS)


def switch_often() -> None:
    """Have threads of this process wait less long for one another than they usually do."""
    sys.setswitchinterval(_SWITCH_SECONDS)


def keep_for_good() -> None:
    """Have what is there by now never be looked through for garbage again.

    Doing so would stop every thread for a quarter of a second, half of what an instrument's buffer
    holds.
    """
    gc.collect()
    gc.freeze()


def share_heaps() -> None:
    """Have the threads of this process, which begin after it, share two heaps.

    The GNU C library gives them eight for each core. What is free in one of them serves no thread
    of another, so that the memory of a server that runs for long would grow and grow.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _HEAPS)


def packed_error(error: BaseException) -> tuple[bytes, str]:
    """Return an error for another process: whole if that can be, and as text."""
    try:
        pickled = pickle.dumps(error)
    except Exception:  # noqa: BLE001 - an exception may hold anything
        pickled = b""
    return pickled, f"{type(error).__name__}: {error}"


def unpacked_error(packed: tuple[bytes, str]) -> Exception:
    """Return the error that another process has packed."""
    try:
        error = pickle.loads(packed[0])  # noqa: S301 - from our own process
    except Exception:  # noqa: BLE001 - an exception may be built in any way
        return Failed(packed[1])
    return error if isinstance(error, Exception) else Failed(packed[1])
