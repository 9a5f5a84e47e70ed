"""The instruments as the server sees them: a process of its own holds them.

Should that process be killed, another takes its place, which makes every instrument safe as it
takes up its port; what was being measured has failed, with its data kept.
"""

import contextlib
import itertools
import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from benchwire.domains.potentiostat.acquisition import Measurement
from benchwire.domains.potentiostat.driver import RunLatch
from benchwire.foundation.companion import Companion, CompanionLost
from benchwire.foundation.errors import BenchwireError
from benchwire.foundation.instruments.ports import SerialPort
from benchwire.foundation.instruments.transport import LinkLost

if TYPE_CHECKING:
    from concurrent.futures import Future

logger = logging.getLogger(__name__)

FACTORY = "benchwire.domains.potentiostat.holding:Holding"
OPEN_SECONDS = 3.0
CLOSE_SECONDS = 5.0
_RESTART_SECONDS = 0.5
_LONGEST_RESTART_SECONDS = 10.0
# One that has lasted so long was not ended by what it found at its start.
_STEADY_SECONDS = 5.0


class InstrumentKeeper:
    """Starts the process with the first instrument, and again whenever it is lost.

    Parameters
    ----------
    on_points
        Called with a run's id and an event's bytes for each batch of points that is measured.
    """

    def __init__(self, on_points: Callable[[str, bytes], None]) -> None:
        self._on_points = on_points
        self._companion: Companion | None = None
        self._held: dict[str, HeldInstrument] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._starting = threading.Lock()
        self._closing = threading.Event()
        self._hurried = threading.Event()
        self._started_at = float("-inf")
        self._pause = _RESTART_SECONDS

    def hold(self, instrument: "HeldInstrument") -> bool:
        """Take up an instrument's port for good; whether it has answered."""
        with self._lock:
            self._held[instrument.port.path] = instrument
        with contextlib.suppress(BenchwireError, TimeoutError):
            return bool(self._started().ask("open", instrument.port).result(OPEN_SECONDS))
        return False

    def release(self, instrument: "HeldInstrument") -> None:
        """Have an instrument made safe and its port let go."""
        path = instrument.port.path
        with self._lock:
            if self._held.get(path) is not instrument:
                return
            del self._held[path]
            companion = self._companion
        if companion is not None:
            with contextlib.suppress(BenchwireError, TimeoutError):
                companion.ask("release", path).result(CLOSE_SECONDS)

    def measure(
        self, path: str, task: Measurement, *, latch: RunLatch, run_id: str, slot: str
    ) -> None:
        """Measure one mode; errors as those of `acquisition.measure`.

        Raises
        ------
        LinkLost
            Also when the process has ended.
        """
        companion = self._reached()
        # A cell may be connected from here on: should the process be lost, another must come soon.
        self._pause = _RESTART_SECONDS
        number = next(self._numbers)
        done = companion.ask("measure", number, path, run_id, slot, task)
        try:
            with latch.telling(lambda reason: companion.tell("stop", number, reason)):
                done.result()
        except CompanionLost:
            raise LinkLost(
                "The process that holds the instruments has ended",
                hint="A new one makes the instruments safe. Repeat the run.",
            ) from None

    def curves(self, run_id: str) -> "Future[bytes]":
        """Return the promise of the first events for who begins to follow a run.

        Raises
        ------
        LinkLost
            There is no process at the moment.
        """
        return self._reached().ask("curves", run_id)

    def forget(self, run_id: str) -> None:
        """Let the curves of a run go."""
        if (companion := self._companion) is not None:
            companion.tell("forget", run_id)

    def hurry(self) -> None:
        """Wait for a process that hangs no longer than a moment, as the server is to end."""
        self._hurried.set()

    def close(self) -> None:
        """Have every instrument made safe and its port let go, and end the process.

        If it is lost at this moment, or does not end in good order, another does it in its place.
        """
        self._closing.set()
        self.hurry()
        with self._starting:
            if (companion := self._companion) is not None and companion.close():
                return
            if not self._held:
                return
            logger.warning("another process makes the instruments safe")
            try:
                if self._start().close():
                    return
            except Exception:
                logger.exception("a process for the instruments cannot be started")
            logger.error("instruments may have been left as they were")

    @property
    def _running(self) -> Companion | None:
        companion = self._companion
        return None if companion is None or companion.is_over else companion

    def _reached(self) -> Companion:
        if (companion := self._running) is None:
            raise LinkLost("The instrument is not connected")
        return companion

    def _started(self) -> Companion:
        with self._starting:
            if self._closing.is_set():
                raise CompanionLost("The server is shutting down")
            return self._running or self._start()

    def _start(self) -> Companion:
        """Start a process that takes up every instrument before it does anything else."""
        self._started_at = time.monotonic()
        companion = Companion(FACTORY, told=self._heard, lost=self._lost, hurried=self._hurried)
        # What is held or let go from here on is asked of this process, after what is held now.
        with self._lock:
            self._companion = companion
            for instrument in self._held.values():
                opened = companion.ask("open", instrument.port)
                opened.add_done_callback(_note_failure)
        return companion

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "points":
            self._on_points(*arguments)
            return
        path, *facts = arguments
        with self._lock:
            instrument = self._held.get(path)
        if instrument is not None:
            instrument.heard(event, *facts)
        elif event == "safe":
            logger.warning("%s: the cell was connected and has been opened", path)

    def _lost(self) -> None:
        with self._lock:
            # By now there may be another already, which has told how things are.
            if self._running is None:
                for instrument in self._held.values():
                    instrument.is_connected = False
        if time.monotonic() - self._started_at > _STEADY_SECONDS:
            self._pause = _RESTART_SECONDS
        threading.Thread(target=self._restart, name="keeper", daemon=True).start()

    def _restart(self) -> None:
        """Start the process anew, after a pause that grows while it does not last."""
        while not self._closing.wait(self._pause):
            self._pause = min(2 * self._pause, _LONGEST_RESTART_SECONDS)
            try:
                self._started()
            except Exception:
                # Nobody else would try again, and cells may be connected.
                if not self._closing.is_set():
                    logger.exception("the process for the instruments cannot be started")
            else:
                return


def _note_failure(opened: "Future[Any]") -> None:
    if (error := opened.exception()) is not None:
        logger.error("an instrument could not be taken up again: %s", error)


class HeldInstrument:
    """One potentiostat, held by the keeper's process.

    Parameters
    ----------
    told_safe
        Called when its cell was found connected and has been opened.
    """

    def __init__(
        self,
        keeper: InstrumentKeeper,
        port: SerialPort,
        *,
        told_safe: Callable[["HeldInstrument"], None],
    ) -> None:
        self.port = port
        self.serial_number = port.serial_number
        self.is_connected = False
        self._keeper = keeper
        self._told_safe = told_safe

    def identify(self) -> bool:
        """Have its port opened and learn the serial number; False when nothing answers on it."""
        return self._keeper.hold(self)

    def measure(self, task: Measurement, *, latch: RunLatch, run_id: str, slot: str) -> None:
        """Measure one mode on it; see `InstrumentKeeper.measure`."""
        self._keeper.measure(self.port.path, task, latch=latch, run_id=run_id, slot=slot)

    def close(self) -> None:
        """Have it made safe and its port let go."""
        self._keeper.release(self)
        self.is_connected = False

    def heard(self, event: str, *facts: Any) -> None:
        """Take in what the process tells of it."""
        if event == "state":
            self.is_connected, serial_number = facts
            self.serial_number = self.serial_number or serial_number
        elif event == "safe":
            self.serial_number = self.serial_number or facts[0]
            # It is written to the database, and what else is told does not wait for that.
            threading.Thread(target=self._told_safe, args=(self,), daemon=True).start()
