"""What runs in the process that holds the instruments: their links, and what they measure.

Nothing here knows the web, a database or a page, so that no work on those can make an instrument
wait: its buffers last for half a second.
"""

import logging
from collections.abc import Mapping
from concurrent.futures import Future, wait

from benchwire.domains.potentiostat.acquisition import Measurement, measure
from benchwire.domains.potentiostat.driver import Altered, Registers, RunLatch, Safety
from benchwire.domains.potentiostat.instrument import Instrument
from benchwire.domains.potentiostat.live import LiveRun
from benchwire.foundation.clock import SystemClock
from benchwire.foundation.companion import Teller, promised
from benchwire.foundation.instruments.ports import SerialPort
from benchwire.foundation.instruments.transport import LinkLost, SerialTransport

logger = logging.getLogger(__name__)

BAUDRATE = 1_500_000
CLOSE_SECONDS = 4.0


class Holding:
    """All potentiostats of a server, by port.

    It tells ``state`` (port, whether it is connected, serial number), ``safe`` (port: its cell was
    found connected and has been opened), ``altered`` (a chip's number, what is to be
    restored in it) and ``points`` (run id, an event's bytes).
    """

    def __init__(self, teller: Teller) -> None:
        self._teller = teller
        self._clock = SystemClock()
        self._instruments: dict[str, Instrument] = {}
        self._latches: dict[int, RunLatch] = {}
        self._measuring: dict[int, Future[str | None]] = {}
        self._live: dict[str, LiveRun] = {}
        self._altered = Altered(lambda chip, former: teller.tell("altered", chip, former))

    def open(
        self, port: SerialPort, altered: Mapping[str, Registers] | None = None
    ) -> "Future[bool]":
        """Take a port up for good; the promise says whether an instrument has answered on it.

        ``altered`` is what a process before may have left altered in which instrument.
        """
        self._altered.learn(altered or {})
        before = self._instruments.get(port.path)
        if before is None or before.port != port:
            self._instruments[port.path] = Instrument(
                port,
                lambda port: SerialTransport(port.path, BAUDRATE),
                self._clock,
                told_safe=self._made_safe,
                told=self._tell_state,
                told_other=lambda found: self._teller.tell("other", found.port.path),
                altered=self._altered,
            )
        instrument = self._instruments[port.path]

        def work() -> bool:
            if before is not None and before is not instrument:
                before.close()
            answers = instrument.identify()
            if before is instrument and answers:
                # In the link's thread, so that nothing it tells itself comes before and is older.
                instrument.link.run(lambda _: self._tell_state(instrument, True))
            return answers

        return promised(work)

    def release(self, path: str) -> "Future[None]":
        """Make an instrument safe and let its port go."""
        instrument = self._instruments.pop(path, None)
        return promised(lambda: None if instrument is None else instrument.close())

    def measure(
        self, number: int, path: str, run_id: str, slot: str, task: Measurement
    ) -> "Future[str | None]":
        """Measure one mode on an instrument; ``number`` is what it is stopped by.

        The promise is of what is odd about the data.
        """
        instrument = self._instruments.get(path)
        if instrument is None:
            raise LinkLost("The instrument is not connected")
        latch = self._latches[number] = RunLatch()
        live = self._live.get(run_id)
        if live is None:
            live = self._live[run_id] = LiveRun(
                lambda batch: self._teller.offer("points", run_id, batch), self._clock
            )

        def work() -> str | None:
            try:
                return measure(
                    task,
                    run=instrument.run,
                    latch=latch,
                    live=live.curve(slot, task.mode.name),
                    clock=self._clock,
                )
            finally:
                del self._latches[number], self._measuring[number]

        # The thread finds it there however soon it ends.
        done: Future[str | None] = Future()
        self._measuring[number] = done
        return promised(work, done)

    def stop(self, number: int, reason: str) -> None:
        """Stop a measurement, if it has not ended."""
        if (latch := self._latches.get(number)) is not None:
            latch.trip(reason)

    def curves(self, run_id: str) -> bytes:
        """Return the first events for who begins to follow a run: its curves so far."""
        live = self._live.get(run_id)
        return b"" if live is None else live.hello()

    def forget(self, run_id: str) -> None:
        """Let the curves of a run go."""
        if (live := self._live.pop(run_id, None)) is not None:
            live.close()

    def close(self) -> None:
        """Stop all measuring, write what was measured, make every instrument safe, let them go."""
        for latch in list(self._latches.values()):
            latch.trip("The server has ended")
        measuring = list(self._measuring.values())
        closing = [promised(one.close) for one in list(self._instruments.values())]
        left = wait([*closing, *measuring], CLOSE_SECONDS).not_done
        if left:
            logger.error("%d instruments or files were not done with in time", len(left))

    def _tell_state(self, instrument: Instrument, connected: bool) -> None:
        self._teller.tell("state", instrument.port.path, connected, instrument.serial_number)

    def _made_safe(self, instrument: Instrument, found: Safety) -> None:
        if found.was_running or found.was_connected:
            # The server names the slot by the serial number, which may have been read just now.
            self._teller.tell("safe", instrument.port.path, instrument.serial_number)
