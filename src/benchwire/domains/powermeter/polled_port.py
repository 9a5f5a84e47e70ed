"""A meter at its port: asked on schedule, and what became of each poll."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchwire.domains.powermeter import driver
from benchwire.domains.powermeter.errors import FrameDamaged, MeterSilent, MeterUnusable
from benchwire.domains.powermeter.polling import Poller
from benchwire.domains.powermeter.protocol import Frame
from benchwire.foundation.clock import Clock
from benchwire.foundation.errors import BenchwireError
from benchwire.foundation.instruments.link import Link
from benchwire.foundation.instruments.transport import PortHeld, Transport

if TYPE_CHECKING:
    from concurrent.futures import Future

logger = logging.getLogger(__name__)

_CONDITIONS: dict[type[BenchwireError], str] = {
    MeterSilent: "no answer",
    FrameDamaged: "damaged answers",
    MeterUnusable: "no meter",
    PortHeld: "port held",
}
# Those who close a server wait no longer for a meter that has just been asked.
_CLOSE_SECONDS = 1.5


@dataclass(frozen=True, slots=True)
class Counts:
    """Ports opened again, damaged answers, and polls on schedule that brought nothing."""

    reconnects: int = 0
    frame_errors: int = 0
    missed: int = 0

    def plus(self, other: "Counts") -> "Counts":
        """Return both together."""
        return Counts(
            self.reconnects + other.reconnects,
            self.frame_errors + other.frame_errors,
            self.missed + other.missed,
        )


@dataclass(frozen=True, slots=True)
class PortState:
    """How it stands with a meter at its port.

    ``is_connected`` says whether the port is open and the last answer was good, ``condition`` the
    same in a word or two for people, ``failure`` what is wrong.
    """

    is_connected: bool = False
    condition: str = "connecting"
    failure: str | None = None
    counts: Counts = Counts()


@dataclass(frozen=True, slots=True)
class Answer:
    """A reading, when it had come (s, the machine's monotonic clock) and how long it took (ms)."""

    frame: Frame
    at: float
    took_ms: float


class PolledPort:
    """The port of one meter, polled from now on.

    Parameters
    ----------
    path
        Of the serial port.
    interval
        Between two polls, in s.
    open_port
        Opens the port by its path.
    tell
        Called with ``reading`` and an `Answer`, or with ``state`` and a `PortState`, since that has
        changed; returns False if nobody takes it, which a state is told again for.
    """

    def __init__(
        self,
        path: str,
        interval: float,
        clock: Clock,
        *,
        open_port: Callable[[str], Transport],
        tell: Callable[[str, Answer | PortState], bool],
    ) -> None:
        self.path = path
        self._clock = clock
        self._tell = tell
        self._silence = driver.Silence(clock)
        self._failure: BenchwireError | None = None
        self._frame_errors = 0
        self._not_taken = 0
        self._shown: PortState | None = None
        self._telling = threading.Lock()
        self._is_closed = False
        self._link = Link(
            path, lambda: open_port(path), clock, on_open=self._greet, probe=driver.look
        )
        self._poller = Poller(path, self._poll, interval, clock)
        self._poller.start()

    def set_interval(self, interval: float) -> None:
        """Poll in another rhythm (s)."""
        self._poller.set_interval(interval)

    def recording(self) -> "Future[list[tuple[float, float]]]":
        """Return the promise of what the meter recorded by itself; polling pauses meanwhile."""

        def read(transport: Transport) -> list[tuple[float, float]]:
            with self._silence.kept():
                return driver.recording(transport)

        return self._link.run(read)

    def turn_screen(self, action: str) -> "Future[None]":
        """Show the previous or next page on the meter's screen, or rotate it."""
        return self._link.run(lambda transport: driver.turn_screen(transport, action))

    def tell_state(self) -> None:
        """Tell how it stands, if that has changed; called a few times a second."""
        # Two threads come by here, and what is told last has to be the latest.
        with self._telling:
            state = self._state()
            if state != self._shown and not self._is_closed and self._tell("state", state):
                self._shown = state

    def close(self) -> None:
        """End the polling and let the port go; nothing is told any more."""
        with self._telling:
            self._is_closed = True
        self._poller.close(_CLOSE_SECONDS)
        self._link.close(seconds=_CLOSE_SECONDS)

    def _state(self) -> PortState:
        failure, is_open = self._link.failure or self._failure, self._link.connected
        if failure is not None:
            condition = _CONDITIONS.get(type(failure), "unplugged")
        else:
            condition = "connected" if is_open else "connecting"
        return PortState(
            is_open and failure is None,
            condition,
            None if failure is None else failure.message,
            Counts(
                max(0, self._link.opened - 1),
                self._frame_errors,
                self._poller.missed + self._not_taken,
            ),
        )

    def _greet(self, transport: Transport) -> None:
        with self._silence.kept():
            driver.greet(transport)

    def _poll(self) -> bool:
        try:
            answer = self._link.run(self._read).result()
        except BenchwireError as error:
            self._failure = error
            self.tell_state()
            return False
        self._failure = None
        # First, so that a reading never seems to come from a meter that is not there.
        self.tell_state()
        if not self._is_closed and not self._tell("reading", answer):
            self._not_taken += 1
        return True

    def _read(self, transport: Transport) -> Answer:
        """Ask for a reading; a damaged answer is dropped, counted, and asked for once more."""
        began = self._clock.monotonic()
        with self._silence.kept():
            try:
                frame = driver.read(transport)
            except FrameDamaged as error:
                self._frame_errors += 1
                logger.warning("%s: %s", self.path, error.message)
                try:
                    frame = driver.read(transport)
                except FrameDamaged:
                    self._frame_errors += 1
                    raise
        came = self._clock.monotonic()
        return Answer(frame, came, (came - began) * 1e3)
