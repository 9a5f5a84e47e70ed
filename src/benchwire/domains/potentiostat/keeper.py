"""The instruments as the server sees them: a process of its own holds them.

Should that process be killed, another takes its place, which makes every instrument safe as it
takes up its port; what was being measured has failed, with its data kept.
"""

import contextlib
import itertools
import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from benchwire.domains.potentiostat.acquisition import Measurement
from benchwire.domains.potentiostat.driver import Registers, RunLatch
from benchwire.foundation.companion import Companion, CompanionLost
from benchwire.foundation.errors import BenchwireError
from benchwire.foundation.instruments.ports import SerialPort
from benchwire.foundation.instruments.transport import LinkLost
from benchwire.foundation.keeper import Keeper

if TYPE_CHECKING:
    from concurrent.futures import Future

logger = logging.getLogger(__name__)

FACTORY = "benchwire.domains.potentiostat.holding:Holding"
OPEN_SECONDS = 3.0
CLOSE_SECONDS = 5.0


class InstrumentKeeper(Keeper["HeldInstrument"]):
    """Holds the potentiostats, and has them measure.

    Parameters
    ----------
    on_points
        Called with a run's id and an event's bytes for each batch of points that is measured.
    """

    def __init__(self, on_points: Callable[[str, bytes], None]) -> None:
        super().__init__(FACTORY)
        self._on_points = on_points
        self._numbers = itertools.count(1)
        self.altered: dict[str, Registers] = {}
        """What is to be restored in which instrument, by its chip's number."""

    def measure(
        self, path: str, task: Measurement, *, latch: RunLatch, run_id: str, slot: str
    ) -> str | None:
        """Measure one mode; result and errors as those of `acquisition.measure`.

        Raises
        ------
        LinkLost
            Also when the process has ended.
        """
        companion = self._there()
        # A cell may be connected from here on.
        self.expect_the_worst()
        number = next(self._numbers)
        done = companion.ask("measure", number, path, run_id, slot, task)
        try:
            with latch.telling(lambda reason: companion.tell("stop", number, reason)):
                noted: str | None = done.result()
        except CompanionLost:
            raise LinkLost(
                "The process that holds the instruments has ended",
                hint="A new one makes the instruments safe. Repeat the run.",
            ) from None
        return noted

    def curves(self, run_id: str) -> "Future[bytes]":
        """Return the promise of the first events for who begins to follow a run.

        Raises
        ------
        LinkLost
            There is no process at the moment.
        """
        return self._there().ask("curves", run_id)

    def forget(self, run_id: str) -> None:
        """Let the curves of a run go."""
        if (companion := self.reached()) is not None:
            companion.tell("forget", run_id)

    def heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Take in what the process tells."""
        if event == "points":
            self._on_points(*arguments)
        elif event == "altered":
            chip, former = arguments
            self.altered[chip] = former
        else:
            super().heard(event, arguments)

    def unclaimed(self, event: str, key: str) -> None:
        """Take in what is told of an instrument that has been let go."""
        if event == "safe":
            logger.warning("%s: the cell was connected and has been opened", key)

    def _there(self) -> Companion:
        if (companion := self.reached()) is None:
            raise LinkLost("The instrument is not connected")
        return companion


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
        self.is_other = False
        self._keeper = keeper
        self._told_safe = told_safe

    @property
    def key(self) -> str:
        """What the process calls it by: the port's path."""
        return self.port.path

    @property
    def opening(self) -> tuple[SerialPort, dict[str, Registers]]:
        """What it is taken up with: its port, and what has to be restored in which instrument."""
        return self.port, dict(self._keeper.altered)

    def identify(self) -> bool:
        """Have its port opened and learn the serial number; False when nothing answers on it."""
        with contextlib.suppress(BenchwireError, TimeoutError):
            return bool(self._keeper.hold(self).result(OPEN_SECONDS))
        return False

    def measure(self, task: Measurement, *, latch: RunLatch, run_id: str, slot: str) -> str | None:
        """Measure one mode on it; see `InstrumentKeeper.measure`."""
        return self._keeper.measure(self.port.path, task, latch=latch, run_id=run_id, slot=slot)

    def close(self) -> None:
        """Have it made safe and its port let go."""
        with contextlib.suppress(BenchwireError, TimeoutError):
            self._keeper.release(self).result(CLOSE_SECONDS)
        self.is_connected = False

    def lost(self) -> None:
        """Take in that the process has ended."""
        self.is_connected = False

    def heard(self, event: str, *facts: Any) -> None:
        """Take in what the process tells of it."""
        if event == "state":
            is_connected, serial_number = facts
            self.serial_number = self.serial_number or serial_number
            # A process that took another's place knows only what is on the port now.
            self.is_other = self.is_other or serial_number not in {None, self.serial_number}
            self.is_connected = is_connected and not self.is_other
        elif event == "other":
            self.is_connected, self.is_other = False, True
        elif event == "safe":
            self.serial_number = self.serial_number or facts[0]
            # It is written to the database, and what else is told does not wait for that.
            threading.Thread(target=self._told_safe, args=(self,), daemon=True).start()
