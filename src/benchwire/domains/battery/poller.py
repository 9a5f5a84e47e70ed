"""Asking inverters at fixed moments, each from a thread of its own, through every trouble."""

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from benchwire.domains.battery.driver import InverterTrouble, ModbusInverter
from benchwire.domains.battery.outbox import Outbox, Sink
from benchwire.domains.battery.register_map import Inverter
from benchwire.domains.battery.samples import MICROSECONDS, Reading
from benchwire.foundation.clock import Clock, Schedule, microseconds

logger = logging.getLogger(__name__)

FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS = 1.0, 30.0
CLOSE_SECONDS = 1.0
"""For the pollers, and as much again for their last readings."""


@dataclass(frozen=True, slots=True)
class InverterState:
    """How an inverter does.

    Parameters
    ----------
    last_reading_us
        When it was last read, in microseconds since 1970 UTC.
    missed
        Moments of the schedule that passed without a reading.
    dropped
        Readings of its device that could not be stored and had to be given up.
    registers
        How many are asked for each time.
    """

    name: str
    device_id: str
    is_connected: bool
    last_reading_us: int | None
    reads: int
    errors: int
    missed: int
    reconnects: int
    dropped: int
    last_error: str | None
    registers: int


class InverterPoller:
    """A thread that owns the connection to one inverter.

    After a failure it tries again sooner or later than the schedule would: after 1 s, 2 s, 4 s ...
    30 s, until an answer comes.
    """

    def __init__(
        self,
        inverter: Inverter,
        outbox: Outbox,
        *,
        clock: Clock,
        first_retry_seconds: float = FIRST_RETRY_SECONDS,
    ) -> None:
        self._inverter = inverter
        self._outbox = outbox
        self._clock = clock
        self._first_retry = first_retry_seconds
        self._driver = ModbusInverter(inverter)
        self._over = threading.Event()
        self._reads = self._errors = self._missed = self._connects = 0
        self._failures = 0
        self._last_reading_us: int | None = None
        self._last_error: str | None = None
        self._thread = threading.Thread(
            target=self._run, name=f"inverter {inverter.name}", daemon=True
        )

    @property
    def state(self) -> InverterState:
        """How the inverter does now."""
        return InverterState(
            name=self._inverter.name,
            device_id=self._inverter.device_id,
            is_connected=self._driver.is_connected,
            last_reading_us=self._last_reading_us,
            reads=self._reads,
            errors=self._errors,
            missed=self._missed,
            reconnects=max(0, self._connects - 1),
            dropped=self._outbox.dropped(self._inverter.device_id),
            last_error=self._last_error,
            registers=self._driver.registers,
        )

    def start(self) -> None:
        """Begin polling."""
        self._thread.start()

    def stop(self) -> None:
        """Let the thread end, without waiting for it."""
        self._over.set()
        self._driver.interrupt()

    def join(self, seconds: float) -> None:
        """Wait for the thread to end; one that hangs in a connect ends later by itself."""
        if self._thread.is_alive():
            self._thread.join(seconds)

    # -- the thread -------------------------------------------------------------------------

    def _run(self) -> None:
        schedule = Schedule(self._inverter.interval_s, self._clock.monotonic())
        due = schedule.due
        try:
            while not self._over.wait(max(0.0, due - self._clock.monotonic())):
                self._poll()
                now = self._clock.monotonic()
                if now >= schedule.due:
                    self._missed += schedule.advance(now) + (self._failures > 0)
                due = now + self._retry_seconds if self._failures else schedule.due
        finally:
            self._driver.close()

    @property
    def _retry_seconds(self) -> float:
        return min(LAST_RETRY_SECONDS, self._first_retry * 2.0 ** min(self._failures - 1, 10))

    def _poll(self) -> None:
        try:
            if not self._driver.is_connected:
                self._driver.connect()
                self._connects += 1
            self._read()
        except InverterTrouble as error:
            self._failed(error.message)
        except Exception:
            # Nothing may end the watch over a battery; the next reading may go well.
            logger.exception("reading %s went wrong", self._inverter.name)
            self._driver.close()
            self._failed(f"{self._inverter.name} could not be read")

    def _failed(self, message: str) -> None:
        if self._over.is_set():
            return
        if self._failures == 0:
            logger.warning("%s", message)
        self._failures += 1
        self._errors += 1
        self._last_error = message

    def _read(self) -> None:
        began_us, began = microseconds(self._clock.now()), self._clock.monotonic()
        values = self._driver.read()
        # What the registers held is best dated to the middle of the reading.
        at_us = began_us + round((self._clock.monotonic() - began) / 2 * MICROSECONDS)
        if self._over.is_set():
            return
        for group, fields in values.items():
            self._outbox.add(self._inverter.device_id, group, Reading(at_us, fields))
        if self._failures or self._reads == 0:
            logger.info("%s is read", self._inverter.name)
        self._failures = 0
        self._reads += 1
        self._last_reading_us = at_us


class Pollers:
    """All inverters of a register map, and the way of their readings to the sink."""

    def __init__(
        self,
        inverters: Sequence[Inverter],
        sink: Sink,
        *,
        clock: Clock,
        first_retry_seconds: float = FIRST_RETRY_SECONDS,
    ) -> None:
        self._outbox = Outbox(sink, retry_seconds=first_retry_seconds)
        self._pollers = [
            InverterPoller(
                inverter, self._outbox, clock=clock, first_retry_seconds=first_retry_seconds
            )
            for inverter in inverters
        ]
        self._clock = clock

    @property
    def states(self) -> tuple[InverterState, ...]:
        """How each inverter does, in the order of the file."""
        return tuple(poller.state for poller in self._pollers)

    def start(self) -> None:
        """Begin polling all of them."""
        self._outbox.start()
        for poller in self._pollers:
            poller.start()

    def close(self) -> None:
        """End all within 2 s; readings that were taken are handed to the sink first."""
        for poller in self._pollers:
            poller.stop()
        deadline = self._clock.monotonic() + CLOSE_SECONDS
        for poller in self._pollers:
            poller.join(max(0.0, deadline - self._clock.monotonic()))
        self._outbox.close(CLOSE_SECONDS)
