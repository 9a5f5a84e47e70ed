"""Processes of our own: how one is started, and how it is spoken with.

Each is a fresh interpreter that imports what it needs and nothing else: what the server's own main
module imports would take a second and a hundred megabytes in each of them.
"""

import contextlib
import gc
import os
import pickle
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from multiprocessing.connection import Client, Connection, Listener
from typing import Any

from benchwire.foundation.errors import Failed

CONNECT_SECONDS = 30.0
_LOOK_SECONDS = 0.1
# One that the system cannot even kill, as it waits for a disk that does not answer, is left to it.
_KILL_SECONDS = 5.0
# How long one thread may compute while others wait for the interpreter. With the usual 5 ms, a
# write of ten steps beside sixteen instruments would take half a second.
_SWITCH_SECONDS = 0.001


class OwnProcess:
    """A process that runs a module of ours, and the connection to it.

    Parameters
    ----------
    module
        What is run; it calls `connect_back` first.
    given
        Handed over at the start.

    Raises
    ------
    EOFError
        It ended before it called back.
    """

    def __init__(self, module: str, *given: Any) -> None:
        key = os.urandom(32)
        with Listener(None, authkey=key) as listener:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", module],
                stdin=subprocess.PIPE,
                close_fds=True,
                # A Ctrl-C in the terminal is the server's to handle.
                start_new_session=True,
            )
            stdin = self._process.stdin
            assert stdin is not None  # noqa: S101 - opened as a pipe
            stdin.write(pickle.dumps((listener.address, key, given)))
            stdin.close()
            self.connection: Connection = _accept(listener, self._process)  # type: ignore[type-arg,unused-ignore]

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
        """End the process at once and close the connection, which nobody may be reading."""
        self.kill()
        with contextlib.suppress(OSError):
            self.connection.close()


def _accept(listener: Listener, process: "subprocess.Popen[bytes]") -> Any:
    """Wait for a process to call back, but not for one that has died."""
    result: Future[Any] = Future()

    def accept() -> None:
        try:
            result.set_result(listener.accept())
        except Exception as error:  # noqa: BLE001 - handed to the one who waits
            result.set_exception(error)

    threading.Thread(target=accept, daemon=True).start()
    deadline = time.monotonic() + CONNECT_SECONDS
    while True:
        with contextlib.suppress(TimeoutError):
            return result.result(_LOOK_SECONDS)
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise EOFError("a process did not start")


def connect_back() -> tuple[Any, tuple[Any, ...]]:
    """Return, in such a process, the connection to whoever started it, and what it was given."""
    address, key, given = pickle.loads(sys.stdin.buffer.read())  # noqa: S301 - from our own parent
    return Client(address, authkey=key), given


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
