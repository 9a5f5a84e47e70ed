"""One port, one thread: everything an instrument is told goes through the thread of its link.

The link opens the port, runs what it is handed, one piece of work after another, and after any
failure opens the port again, for ever. Nobody else touches the port.
"""

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from benchwire.foundation.clock import Clock
from benchwire.foundation.errors import BenchwireError
from benchwire.foundation.instruments.transport import LinkLost, Transport

logger = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_PAUSE = 0.2
LONGEST_PAUSE = 2.0
IDLE_CHECK_SECONDS = 1.0
FAREWELL_SECONDS = 1.5
_SHORTEST_FAREWELL = 0.5
_FAREWELL_PAUSE = 0.1


@dataclass(slots=True)
class _Work:
    run: Callable[[Transport], Any]
    future: Future[Any]


class Link:
    """The owner of one port.

    Parameters
    ----------
    name
        For logs, usually the port.
    open_transport
        Opens the port; raises `LinkLost` when it is not there.
    on_open
        Run on the link's thread each time the port has been opened, before anything else; if it
        raises, the port counts as not opened.
    probe
        A short exchange made once a second while idle, so that an unplug is noticed.
    told
        Called on the link's thread with whether the port is open, when that has changed.
    """

    def __init__(
        self,
        name: str,
        open_transport: Callable[[], Transport],
        clock: Clock,
        *,
        on_open: Callable[[Transport], None] = lambda _: None,
        probe: Callable[[Transport], object] | None = None,
        told: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self.name = name
        self.failure: BenchwireError | None = None
        self.opened = 0
        self._open_transport = open_transport
        self._clock = clock
        self._on_open = on_open
        self._probe = probe
        self._told = told
        self._transport: Transport | None = None
        self._waiting: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._gate = threading.Lock()
        self._pause = FIRST_PAUSE
        self._try_again_at = float("-inf")
        self._farewell: Callable[[Transport], object] | None = None
        self._farewell_until = float("inf")
        self._thread = threading.Thread(target=self._serve, name=f"link {name}", daemon=True)
        self._thread.start()

    @property
    def connected(self) -> bool:
        """Whether the port is open and answered when last used."""
        return self._transport is not None

    @property
    def last_error(self) -> str | None:
        """What went wrong when the port was last used, None if nothing did."""
        return None if self.failure is None else self.failure.message

    def run(self, work: Callable[[Transport], T]) -> Future[T]:
        """Have the link's thread do a piece of work; the promise carries its result or failure."""
        future: Future[T] = Future()
        with self._gate:
            # What is put in before the closing is done or refused by the thread; later is too late.
            if not self._closing.is_set():
                self._waiting.put(_Work(work, future))
                return future
        future.set_exception(LinkLost("The instrument's port has been closed"))
        return future

    def close(
        self, farewell: Callable[[Transport], object] | None = None, seconds: float = 3.0
    ) -> None:
        """Let the port go, after a last piece of work; waits for it so long.

        For that work a port which is not open is opened, and opened anew if it fails: whoever had
        it before may have left the instrument as it should not stay.
        """
        self._farewell = farewell
        self._farewell_until = self._clock.monotonic() + FAREWELL_SECONDS
        with self._gate:
            self._closing.set()
            self._waiting.put(None)
        self._thread.join(seconds)
        if farewell is not None and self._thread.is_alive():
            logger.error("%s: not reached for the last time in %g s", self.name, seconds)

    # -- the link's thread ------------------------------------------------------------------

    def _serve(self) -> None:
        while not self._closing.is_set():
            try:
                work = self._waiting.get(timeout=self._idle_seconds())
            except queue.Empty:
                self._look_after_port()
                continue
            if work is not None:
                self._do(work)
        self._end()

    def _idle_seconds(self) -> float:
        if self._transport is not None:
            return IDLE_CHECK_SECONDS
        return max(0.01, self._try_again_at - self._clock.monotonic())

    def _do(self, work: _Work) -> None:
        if not work.future.set_running_or_notify_cancel():
            return
        try:
            transport = self._opened()
            result = work.run(transport)
        except LinkLost as error:
            self._lost(error)
            work.future.set_exception(error)
        except Exception as error:  # noqa: BLE001 - handed to the one who asked
            work.future.set_exception(error)
        else:
            work.future.set_result(result)

    def _opened(self) -> Transport:
        if self._transport is None:
            self._open()
        if self._transport is None:
            raise LinkLost("The instrument is not connected")
        return self._transport

    def _open(self) -> None:
        transport = self._open_transport()
        try:
            self._on_open(transport)
        except BaseException:
            transport.close()
            raise
        self._transport = transport
        self.failure = None
        self.opened += 1
        self._pause = FIRST_PAUSE
        if self.opened > 1:
            logger.info("%s: connected again", self.name)
        self._told(True)

    def _look_after_port(self) -> None:
        """While idle: notice an unplug, and open the port again once it is back."""
        try:
            if self._transport is None:
                self._open()
            elif self._probe is not None:
                self._probe(self._transport)
        except BenchwireError as error:
            self._lost(error)
        except Exception as error:
            # Without this thread whoever waits for the instrument would wait for ever.
            logger.exception("%s: an unforeseen error", self.name)
            self._lost(LinkLost(f"The instrument could not be reached ({type(error).__name__})"))

    def _lost(self, error: BenchwireError) -> None:
        if self._transport is not None:
            logger.warning("%s: lost: %s", self.name, error.message)
            self._transport.close()
            self._transport = None
            self._told(False)
        self.failure = error
        self._try_again_at = self._clock.monotonic() + self._pause
        self._pause = min(self._pause * 2, LONGEST_PAUSE)

    def _end(self) -> None:
        try:
            if self._farewell is not None:
                self._take_leave(self._farewell)
        except BenchwireError as error:
            logger.error("%s: not reached for the last time: %s", self.name, error.message)
        except Exception:
            logger.exception("%s: not reached for the last time", self.name)
        finally:
            if self._transport is not None:
                self._transport.close()
                self._transport = None
            self._refuse_waiting()

    def _take_leave(self, farewell: Callable[[Transport], object]) -> None:
        """Do the last piece of work, again where it fails: nobody will come after it.

        Somebody who looks for another instrument may have the port for a moment, and an answer may
        be garbled.
        """
        # However long the work before it took.
        until = max(self._farewell_until, self._clock.monotonic() + _SHORTEST_FAREWELL)
        while True:
            try:
                farewell(self._opened())
            except BenchwireError as error:
                self._lost(error)
                if self._clock.monotonic() > until or not Path(self.name).exists():
                    raise
                self._clock.sleep(_FAREWELL_PAUSE)
            else:
                return

    def _refuse_waiting(self) -> None:
        while True:
            try:
                left = self._waiting.get_nowait()
            except queue.Empty:
                return
            if left is not None and left.future.set_running_or_notify_cancel():
                left.future.set_exception(LinkLost("The instrument's port has been closed"))
