"""One potentiostat behind its link, in the process that holds it."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from benchwire.domains.potentiostat.driver import Altered, Potentiostat, Safety, Units
from benchwire.foundation.clock import Clock
from benchwire.foundation.errors import BenchwireError
from benchwire.foundation.instruments.link import Link
from benchwire.foundation.instruments.ports import SerialPort
from benchwire.foundation.instruments.transport import LinkLost, Transport

T = TypeVar("T")

# An instrument answers within milliseconds; one that needs longer is not ours or not well.
IDENTIFY_SECONDS = 2.0


class Instrument:
    """A potentiostat that is made safe each time its port is opened.

    Parameters
    ----------
    told_safe
        Called with what was found before it was made safe.
    told
        Called with whether it is connected, when that has changed.
    told_other
        Called when another instrument is found on the port, which is made safe and not used.
    altered
        What measurements have altered in which instrument.
    """

    def __init__(
        self,
        port: SerialPort,
        open_transport: Callable[[SerialPort], Transport],
        clock: Clock,
        *,
        told_safe: Callable[["Instrument", Safety], None] = lambda *_: None,
        told: Callable[["Instrument", bool], None] = lambda *_: None,
        told_other: Callable[["Instrument"], None] = lambda _: None,
        altered: Altered | None = None,
    ) -> None:
        self.port = port
        self.serial_number = port.serial_number
        self._chip: str | None = None
        self._told_other = told_other
        self._clock = clock
        self._told_safe = told_safe
        self._units = Units(clock)
        self._altered = altered or Altered()
        self.link = Link(
            port.path,
            lambda: open_transport(port),
            clock,
            on_open=self._make_safe,
            probe=self._look,
            told=lambda connected: told(self, connected),
        )

    def run(self, work: Callable[[Potentiostat], T]) -> Future[T]:
        """Have the link's thread do a piece of work on the instrument."""
        return self.link.run(lambda transport: work(self._on(transport)))

    def identify(self) -> bool:
        """Open the port and learn the serial number; False when nothing answers on it."""
        try:
            self.run(lambda device: device.status()).result(IDENTIFY_SECONDS)
        except (BenchwireError, TimeoutError):
            return False
        return True

    def close(self) -> None:
        """Make the instrument safe and let the port go."""
        self.link.close(farewell=lambda transport: self._on(transport).make_safe())

    def _on(self, transport: Transport) -> Potentiostat:
        return Potentiostat(transport, self._clock, self._units, self._altered)

    def _look(self, transport: Transport) -> None:
        """Make sure of an instrument at rest; while one measures nobody looks."""
        device = self._on(transport)
        state = device.status()
        if state.is_running or state.cell_connected:
            self._told_safe(self, device.make_safe())

    def _make_safe(self, transport: Transport) -> None:
        device = self._on(transport)
        safety = device.make_safe()
        chip = device.serial_number()
        if self._chip not in {None, chip}:
            # A cable was exchanged: what is asked of the one must not happen to the other's cell.
            self._told_other(self)
            raise LinkLost("Another instrument is on this port", hint="It gets a slot of its own.")
        self._chip = chip
        self.serial_number = self.serial_number or chip
        self._told_safe(self, safety)
        device.restore(chip)
