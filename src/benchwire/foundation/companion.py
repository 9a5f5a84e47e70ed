"""A process of its own beside the server, for what nothing else may hold up.

It holds one object, whose methods are asked for from here, and which tells what happens there. It
does not die with the server: when the connection ends, it leaves things in order and goes.
"""

import contextlib
import importlib
import itertools
import logging
import os
import pickle
import queue
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol

from benchwire.foundation import logs
from benchwire.foundation.errors import BenchwireError, Unavailable
from benchwire.foundation.processes import (
    HURRIED_SECONDS,
    OwnProcess,
    connect_back,
    has_come,
    keep_for_good,
    packed_error,
    set_niceness,
    share_heaps,
    switch_often,
    unpacked_error,
)

logger = logging.getLogger(__name__)

BEAT_SECONDS = 1.0
# One that says nothing for so long hangs, and what it holds is better held by a new one.
SILENCE_SECONDS = 15.0
LEAVE_SECONDS = 5.0
_LOOK_SECONDS = 0.5
# How long a process that leaves waits for its last words to be read, and how long it takes to take
# in as many as may wait.
_FLUSH_SECONDS, _TAKE_IN_SECONDS = 2.0, 3.0
_READY = 0
# What may be dropped is, once so many messages wait for a server that does not read.
_MOST_WAITING = 2_000
# A server that draws pages must not be preferred to an instrument's thread.
_NICENESS = -5
_LEAVE = b""
_BEAT = pickle.dumps(("beat", None, None))


class CompanionLost(Unavailable):
    """The process that was asked has ended."""

    code = "companion.lost"


class Companion:
    """The process, as the server sees it.

    Parameters
    ----------
    factory
        ``module:callable`` that makes the object there; it is called with a `Teller`.
    told
        Called with the name and the arguments of each thing told, in order, on one thread.
    lost
        Called on the same thread when the process has ended without having been asked to.
    hurried
        Once it is set, a process that says nothing is waited for no longer than a moment: the
        server is to end, which it may not do before what is held is in order.

    Raises
    ------
    CompanionLost
        It cannot be started, or the object cannot be made.
    """

    def __init__(
        self,
        factory: str,
        *,
        told: Callable[[str, tuple[Any, ...]], None],
        lost: Callable[[], None],
        hurried: threading.Event | None = None,
    ) -> None:
        self._name = factory.rpartition(":")[2]
        self._told = told
        self._lost = lost
        self._numbers = itertools.count(1)
        self._asked: dict[int, Future[Any]] = {}
        self._lock = threading.Lock()
        self._is_over = False
        self._closing = threading.Event()
        self._hurried = threading.Event() if hurried is None else hurried
        self._outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        try:
            self._process = OwnProcess(
                __name__, factory, logs.current(), hurried=self._hurried, label=factory
            )
            _give_up_reading(self._process.connection, SILENCE_SECONDS)
        except (EOFError, OSError) as error:
            raise CompanionLost("A process of the server could not be started") from error
        ready = self._asked[_READY] = Future()
        self._sender, self._receiver = (
            threading.Thread(target=work, name=f"companion {self._name}", daemon=True)
            for work in (self._send, self._receive)
        )
        self._sender.start()
        self._receiver.start()
        if not has_come(ready, lambda: self._is_over, self._hurried) or ready.exception():
            self._closing.set()
            self._part()
            raise CompanionLost("A process of the server could not be started")

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    @property
    def is_over(self) -> bool:
        """Whether the process has ended."""
        return self._is_over

    def ask(self, method: str, *arguments: Any) -> Future[Any]:
        """Have a method called there; the promise carries what it returns or raises."""
        number = next(self._numbers)
        order = pickle.dumps((number, method, arguments))
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        with self._lock:
            if self._is_over:
                future.set_exception(self._loss())
                return future
            self._asked[number] = future
        self._outgoing.put(order)
        return future

    def tell(self, method: str, *arguments: Any) -> None:
        """Have a method called there, after all that was asked before; never waits."""
        self._outgoing.put(pickle.dumps((None, method, arguments)))

    def close(self) -> bool:
        """End the process once it has left things in order; whether it has."""
        self._closing.set()
        self._hurried.set()
        self._outgoing.put(_LEAVE)
        is_in_order = self._process.leaves(LEAVE_SECONDS)
        self._part()
        return is_in_order

    def _part(self) -> None:
        """End the process and close the connection.

        Not before nobody uses it: its number may be that of a file soon.
        """
        self._process.kill()
        self._outgoing.put(None)
        for thread in (self._sender, self._receiver):
            if thread is not threading.current_thread():
                thread.join(_TAKE_IN_SECONDS)
        with contextlib.suppress(OSError):
            self._process.connection.close()

    def _loss(self) -> CompanionLost:
        return CompanionLost("The process that was to do it has ended")

    def _send(self) -> None:
        while (message := self._outgoing.get()) is not None:
            try:
                self._process.connection.send_bytes(message)
            except OSError:
                return  # the other thread hears of it too

    def _receive(self) -> None:
        try:
            while self._is_heard():
                self._take(*self._process.connection.recv())
            logger.error("%s has not been heard of for %g s", self._name, self._patience)
            self._process.kill()
        except (EOFError, OSError):
            pass
        except Exception:
            logger.exception("%s says what cannot be understood", self._name)
        with self._lock:
            self._is_over = True
            was_ready = _READY not in self._asked
        if not self._closing.is_set():
            logger.error("%s has ended unexpectedly", self._name)
            self._part()
            # Told first: whoever is woken by a failure finds the state that belongs to it.
            if was_ready:
                try:
                    self._lost()
                except Exception:
                    logger.exception("the loss of %s could not be made good", self._name)
        self._fail_all()

    @property
    def _patience(self) -> float:
        return HURRIED_SECONDS if self._hurried.is_set() else SILENCE_SECONDS

    def _is_heard(self) -> bool:
        """Wait for the next message, as long as patience lasts; whether there is one."""
        since = time.monotonic()
        while not self._process.connection.poll(_LOOK_SECONDS):
            if time.monotonic() - since > self._patience:
                return False
        return True

    def _take(self, kind: str, number: int | None, content: Any) -> None:
        if kind == "beat":
            return
        if kind == "told":
            try:
                self._told(*content)
            except Exception:
                logger.exception("what %s told could not be used", self._name)
            return
        with self._lock:
            future = self._asked.pop(number, None) if number is not None else None
        if future is None:
            return
        if kind == "done":
            future.set_result(content)
        else:
            future.set_exception(unpacked_error(content))

    def _fail_all(self) -> None:
        with self._lock:
            left, self._asked = list(self._asked.values()), {}
        for future in left:
            future.set_exception(self._loss())


def _give_up_reading(connection: Any, seconds: float) -> None:
    """Have a read fail that has waited so long, as in the middle of a message of one that hangs."""
    if sys.platform != "win32":
        with socket.socket(fileno=os.dup(connection.fileno())) as same:
            limit = struct.pack("ll", int(seconds), 0)
            same.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)


# -- inside the process -----------------------------------------------------------------------


class Held(Protocol):
    """The object in such a process.

    Its methods are called in the order they were asked for, on one thread; one that takes long
    returns a promise.
    """

    def close(self) -> None:
        """Leave things in order: the server has gone. If it raises, they are not."""


class Teller:
    """Tells the server what happens, without ever waiting for it."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._outgoing: queue.SimpleQueue[bytes | threading.Event] = queue.SimpleQueue()
        threading.Thread(target=self._send, name="teller", daemon=True).start()

    def tell(self, event: str, *arguments: Any) -> None:
        """Say that something happened."""
        self._outgoing.put(pickle.dumps(("told", None, (event, arguments))))

    def offer(self, event: str, *arguments: Any) -> bool:
        """Say something, unless the server does not read; whether it will be heard."""
        is_room = self._outgoing.qsize() < _MOST_WAITING
        if is_room:
            self.tell(event, *arguments)
        return is_room

    def flush(self, seconds: float) -> None:
        """Wait until all that was said so far is on its way, at most so long (s)."""
        sent = threading.Event()
        self._outgoing.put(sent)
        sent.wait(seconds)

    def settle(self, number: int | None, done: "Future[Any]") -> None:
        """Send how something asked for has ended; without a number nobody waits for it."""
        try:
            answer = pickle.dumps(("done", number, done.result()))
        except BaseException as error:
            if number is None or not isinstance(error, BenchwireError):
                logger.error("what was asked for has failed", exc_info=error)
            answer = pickle.dumps(("error", number, packed_error(error)))
        if number is not None:
            self._outgoing.put(answer)

    def _send(self) -> None:
        while True:
            try:
                message = self._outgoing.get(timeout=BEAT_SECONDS)
            except queue.Empty:
                message = _BEAT
            if isinstance(message, threading.Event):
                message.set()
                continue
            with contextlib.suppress(OSError):  # the server has gone; the other thread hears of it
                self._connection.send_bytes(message)


def promised(work: Callable[[], Any], future: "Future[Any] | None" = None) -> "Future[Any]":
    """Do work in a thread of its own and return the promise of its result."""
    future = Future() if future is None else future

    def do() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - handed to the one who asked
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=do, daemon=True).start()
    return future


def hang_up() -> tuple[signal.Signals, ...]:
    """Return the signal that says a terminal has gone, where there is one."""
    number: signal.Signals | None = getattr(signal, "SIGHUP", None)
    return () if number is None else (number,)


def companion_main() -> None:
    """Do what is asked until the connection ends, then leave things in order."""
    for number in (signal.SIGINT, signal.SIGTERM, *hang_up()):
        # A terminal or a service manager sends them to every process; the server says what to do.
        signal.signal(number, signal.SIG_IGN)
    set_niceness(_NICENESS)
    share_heaps()
    switch_often()
    connection, (factory, log) = connect_back()
    logs.configure(*log)
    module, _, name = factory.partition(":")
    teller = Teller(connection)
    held: Held = getattr(importlib.import_module(module), name)(teller)
    status = 1
    try:
        keep_for_good()
        teller.settle(_READY, kept_promise(None))
        _obey_until_the_end(connection, held, teller)
    except Exception:
        logger.exception("work has ended before it should")
    finally:
        leaving = time.monotonic()
        try:
            held.close()
            status = 0
        except Exception:
            logger.exception("things could not be left in order")
        # One that is waited for in vain counts as one that has left nothing in order.
        left = LEAVE_SECONDS - 0.5 - (time.monotonic() - leaving)
        teller.flush(min(_FLUSH_SECONDS, max(0.0, left)))
        os._exit(status)


def _obey_until_the_end(connection: Any, held: Held, teller: Teller) -> None:
    while True:
        try:
            order = connection.recv_bytes()
        except (EOFError, OSError):
            return
        if order == _LEAVE:
            return
        _obey(held, teller, *pickle.loads(order))  # noqa: S301 - from our own parent


def _obey(held: Held, teller: Teller, number: int | None, method: str, arguments: Any) -> None:
    try:
        found = getattr(held, method)(*arguments)
    except Exception as error:  # noqa: BLE001 - handed to the one who asked
        found = Future()
        found.set_exception(error)
    done = found if isinstance(found, Future) else kept_promise(found)
    done.add_done_callback(lambda ended: teller.settle(number, ended))


def kept_promise(result: Any) -> "Future[Any]":
    """Return a promise that has been kept already."""
    done: Future[Any] = Future()
    done.set_result(result)
    return done


if __name__ == "__main__":
    # Run under the module's own name, so that what is pickled here is known to the parent.
    from benchwire.foundation.companion import companion_main as run

    run()
