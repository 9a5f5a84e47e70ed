"""Which instrument sits on which slot, and which run holds it.

A slot keeps its name while its instrument is unplugged: the same serial number gets the same name
back. Slots are reserved for a run all together or not at all.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from benchwire.domains.potentiostat.errors import NoValidSlot, SlotsBusy
from benchwire.domains.potentiostat.keeper import HeldInstrument, InstrumentKeeper
from benchwire.foundation.instruments.ports import SerialPort

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Slot:
    """A named place for an instrument; ``run_id`` is the unfinished run that holds it."""

    name: str
    instrument: HeldInstrument
    run_id: str | None = None

    @property
    def serial_number(self) -> str | None:
        """The instrument's serial number."""
        return self.instrument.serial_number

    @property
    def is_connected(self) -> bool:
        """Whether its instrument answers."""
        return self.instrument.is_connected


@dataclass(slots=True)
class SlotRegistry:
    """All slots.

    Parameters
    ----------
    find_ports
        Lists the ports that are there now.
    keeper
        Holds the instruments on them.
    on_safe
        Told by slot or port name when an instrument was found energised and has been made safe.
    """

    find_ports: Callable[[], Sequence[SerialPort]]
    keeper: InstrumentKeeper
    on_safe: Callable[[str], None]
    _slots: dict[str, Slot] = field(default_factory=dict)
    _names: dict[str, str] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _scanning: threading.Lock = field(default_factory=threading.Lock)

    def connected(self) -> list[Slot]:
        """Return the slots whose instruments answer, by name."""
        return [slot for slot in self.all() if slot.is_connected]

    def all(self) -> list[Slot]:
        """Return every slot, those of unplugged instruments included, by name."""
        with self._lock:
            return [self._slots[name] for name in sorted(self._slots)]

    def reserve(self, wanted: Iterable[str] | None, run_id: str) -> list[Slot]:
        """Give slots to a run, all or none; None wants every connected one.

        Raises
        ------
        NoValidSlot
            None of the names is a connected slot.
        SlotsBusy
            One of them belongs to another run.
        """
        with self._lock:
            chosen = self.choose(wanted)
            busy = [slot.name for slot in chosen if slot.run_id is not None]
            if busy:
                raise SlotsBusy(busy)
            for slot in chosen:
                slot.run_id = run_id
            return chosen

    def choose(self, wanted: Iterable[str] | None) -> list[Slot]:
        """Return the connected ones of the wanted slots, each once; None wants all.

        Raises
        ------
        NoValidSlot
            None is left.
        """
        connected = {slot.name: slot for slot in self.connected()}
        names = connected if wanted is None else dict.fromkeys(wanted)
        chosen = [connected[name] for name in names if name in connected]
        if not chosen:
            raise NoValidSlot(
                "None of the wanted slots has an instrument",
                hint="GET /devices lists the slots that can be used.",
            )
        return chosen

    def release(self, slot: Slot) -> None:
        """Free a slot for the next run."""
        with self._lock:
            slot.run_id = None

    def rescan(self, *, forget: bool = True) -> list[str]:
        """Look for instruments and return the names of the connected slots.

        Running work is not disturbed: a slot that a run holds keeps its instrument and its name.

        Parameters
        ----------
        forget
            Whether idle slots of vanished instruments are taken off the list.
        """
        with self._scanning:
            ports = {port.path: port for port in self.find_ports()}
            self._forget_vanished(ports, also_unplugged=forget)
            with self._lock:
                known = {slot.instrument.port.path for slot in self._slots.values()}
            found = self._identified([port for path, port in ports.items() if path not in known])
            for instrument in sorted(
                found, key=lambda item: (item.serial_number or "~", item.port.path)
            ):
                self._place(instrument)
        return [slot.name for slot in self.connected()]

    def close(self) -> None:
        """Make every instrument safe and let all ports go."""
        self.keeper.close(until_in_order=True)

    def name_of(self, instrument: HeldInstrument) -> str:
        """Return the slot an instrument sits on, its port's name before it has one."""
        with self._lock:
            for slot in self._slots.values():
                if slot.instrument is instrument:
                    return slot.name
        return instrument.port.path.rpartition("/")[2]

    def _identified(self, ports: Sequence[SerialPort]) -> list[HeldInstrument]:
        instruments = [
            HeldInstrument(self.keeper, port, told_safe=self._was_energised) for port in ports
        ]
        answers: dict[int, bool] = {}

        def identify(number: int, instrument: HeldInstrument) -> None:
            answers[number] = instrument.identify()
            if not answers[number]:
                logger.warning("no instrument answers on %s", instrument.port.path)
                # Beside the others: what does not answer takes a second to let go.
                instrument.close()

        threads = [
            threading.Thread(target=identify, args=item, daemon=True)
            for item in enumerate(instruments)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [item for number, item in enumerate(instruments) if answers.get(number)]

    def _place(self, instrument: HeldInstrument) -> None:
        replaced: HeldInstrument | None = None
        with self._lock:
            serial_number = instrument.serial_number
            for slot in self._slots.values():
                if serial_number is not None and slot.serial_number == serial_number:
                    # The same instrument on another port: a cable was moved.
                    if slot.run_id is None and not slot.is_connected:
                        replaced, slot.instrument = slot.instrument, instrument
                    else:
                        replaced = instrument
                    break
            else:
                name = self._names.get(serial_number or "")
                if name is None or name in self._slots:
                    name = self._lowest_free_name()
                if serial_number is not None:
                    self._names[serial_number] = name
                self._slots[name] = Slot(name, instrument)
                logger.info("%s: instrument %s connected", name, serial_number or "?")
        if replaced is not None:
            replaced.close()

    def _lowest_free_name(self) -> str:
        number = 1
        while f"slot{number:02d}" in self._slots:
            number += 1
        return f"slot{number:02d}"

    def _forget_vanished(self, ports: dict[str, SerialPort], *, also_unplugged: bool) -> None:
        def has_gone(instrument: HeldInstrument) -> bool:
            port = ports.get(instrument.port.path)
            if port is None:
                return also_unplugged
            return instrument.is_other or port.serial_number != instrument.port.serial_number

        with self._lock:
            gone = [
                slot
                for slot in self._slots.values()
                if slot.run_id is None and not slot.is_connected and has_gone(slot.instrument)
            ]
            for slot in gone:
                del self._slots[slot.name]
        for slot in gone:
            logger.info("%s: instrument %s is gone", slot.name, slot.serial_number or "?")
            slot.instrument.close()

    def _was_energised(self, instrument: HeldInstrument) -> None:
        self.on_safe(
            f"{self.name_of(instrument)}, serial number {instrument.serial_number}: "
            "the cell was connected and has been opened"
        )
