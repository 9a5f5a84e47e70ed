"""An inverter over Modbus TCP, by its register map or by SunSpec. It only reads, never writes."""

import contextlib
import logging
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchwire.domains.battery import register_map, sunspec
from benchwire.domains.battery.register_map import Inverter, Register, Table, Values
from benchwire.foundation.errors import Unavailable

if TYPE_CHECKING:
    from pymodbus.client import ModbusTcpClient

MOST_WORDS = 125
"""The most registers that one request may ask for (Modbus application protocol, 6.3)."""
# A few registers too many cost less than another request; some devices refuse them (see `read`).
_GAP_WORDS = 4
_MOST_MODELS = 64
_LAST_ADDRESS = 0xFFFF

_FUNCTIONS = {"holding": 3, "input": 4}
_FUNCTION_AT, _SIZE_AT, _REFUSAL = 7, 8, 0x80
_ILLEGAL_ADDRESS = 2
_REFUSALS = {
    1: "it does not know the request",
    2: "it has no such register",
    3: "it does not take the request as it is",
    4: "it has a fault",
    5: "it needs more time",
    6: "it is busy",
    10: "the gateway has no way to it",
    11: "the gateway gets no answer from it",
}


class InverterTrouble(Unavailable):
    """An inverter gave no values; every failure of this driver is one of these."""

    code = "battery.inverter_trouble"


class InverterUnreachable(InverterTrouble):
    """There is no connection, or it was lost."""

    code = "battery.inverter_unreachable"


class InverterSilent(InverterTrouble):
    """No answer came in time."""

    code = "battery.inverter_silent"


class InverterGarbled(InverterTrouble):
    """What came is not an answer to what was asked."""

    code = "battery.inverter_garbled"


class InverterRefused(InverterTrouble):
    """The inverter answered with an exception."""

    code = "battery.inverter_refused"

    def __init__(self, message: str, reason: int) -> None:
        super().__init__(message)
        self.reason = reason


class InverterUnknown(InverterTrouble):
    """It does not describe itself by SunSpec, or has nothing of what is wanted."""

    code = "battery.inverter_unknown"


@dataclass(frozen=True, slots=True)
class Block:
    """Neighbouring registers that are asked for together."""

    table: Table
    address: int
    count: int

    @property
    def end(self) -> int:
        """The address behind its last register."""
        return self.address + self.count


def blocks(registers: Iterable[Register], gap: int = _GAP_WORDS) -> tuple[Block, ...]:
    """Return the requests that read all of some registers; no number is split over two."""
    spans = {Block(one.table, one.address, one.words) for one in registers}
    spans |= {
        Block(one.table, one.scale_register, 1)
        for one in registers
        if one.scale_register is not None
    }
    found: list[Block] = []
    for span in sorted(spans, key=lambda one: (one.table, one.address, one.count)):
        last = found[-1] if found else None
        if last is not None and last.table == span.table and span.address <= last.end + gap:
            joined = max(last.end, span.end) - last.address
            if joined <= MOST_WORDS:
                found[-1] = Block(last.table, last.address, joined)
                continue
        found.append(span)
    return tuple(found)


class ModbusInverter:
    """One inverter; it belongs to one thread, only `interrupt` may come from another."""

    def __init__(self, inverter: Inverter) -> None:
        self._inverter = inverter
        self._client: ModbusTcpClient | None = None
        self._blocks = blocks(inverter.registers)
        self._models: tuple[sunspec.Model, ...] = ()
        self._function = 0
        self._heard = False

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self._client is not None

    @property
    def registers(self) -> int:
        """How many registers a reading asks for; 0 before a SunSpec device was looked through."""
        if self._inverter.sunspec:
            return sum(model.words_of_use for model in self._models)
        return sum(block.count for block in self._blocks)

    def connect(self) -> None:
        """Open the connection, and find the models of a SunSpec device."""
        from pymodbus.client import ModbusTcpClient

        # It reports each failed attempt as an error; the owner of this object says it once.
        logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)
        self.close()
        inverter = self._inverter
        client = ModbusTcpClient(
            inverter.host,
            port=inverter.port,
            timeout=inverter.timeout_s,
            retries=0,
            trace_packet=self._look_at,
        )
        try:
            is_open = client.connect()  # type: ignore[no-untyped-call]
        except (OSError, ValueError) as error:
            raise InverterUnreachable(f"{inverter.name} has no usable address") from error
        if not is_open:
            raise InverterUnreachable(f"{inverter.name} is not reached")
        self._client = client
        if inverter.sunspec:
            try:
                self._models = tuple(self._find_models())
                if not self._models:
                    raise InverterUnknown(f"{inverter.name} has no SunSpec model that is of use")
            except InverterTrouble:
                self.close()
                raise

    def read(self) -> Values:
        """Return what the inverter measures now, by group and field.

        Raises
        ------
        InverterTrouble
            The connection is closed unless the inverter merely refused: an answer that comes late
            must not meet the next request.
        """
        if self._inverter.sunspec:
            return self._read_models()
        try:
            words = self._read_blocks()
        except InverterRefused as error:
            without_gaps = blocks(self._inverter.registers, gap=0)
            if error.reason != _ILLEGAL_ADDRESS or without_gaps == self._blocks:
                raise
            self._blocks = without_gaps
            words = self._read_blocks()
        return register_map.decode(self._inverter, words)

    def close(self) -> None:
        """Close the connection, if there is one."""
        client, self._client = self._client, None
        if client is not None:
            client.close()  # type: ignore[no-untyped-call]

    def interrupt(self) -> None:
        """Let a read under way in another thread fail at once."""
        client = self._client
        waiting = None if client is None else client.socket
        if waiting is not None:
            with contextlib.suppress(OSError):
                waiting.shutdown(socket.SHUT_RDWR)

    def _read_blocks(self) -> Mapping[tuple[Table, int], int]:
        words: dict[tuple[Table, int], int] = {}
        for block in self._blocks:
            found = self._ask(block.table, block.address, block.count)
            words |= {(block.table, block.address + k): word for k, word in enumerate(found)}
        return words

    # -- SunSpec ----------------------------------------------------------------------------

    def _find_models(self) -> Iterator[sunspec.Model]:
        address = self._find_marker() + len(sunspec.MARKER)
        for _ in range(_MOST_MODELS):
            if address >= _LAST_ADDRESS:
                break
            model_id, length = self._ask("holding", address, sunspec.HEADER_WORDS)
            if model_id == sunspec.NO_MORE_MODELS:
                return
            model = sunspec.Model(model_id, address, length)
            if model.words_of_use:
                yield model
            address = model.end
        raise InverterUnknown(f"The list of models of {self._inverter.name} has no end")

    def _find_marker(self) -> int:
        for base in sunspec.BASES:
            try:
                found = self._ask("holding", base, len(sunspec.MARKER))
            except InverterRefused as error:
                if error.reason != _ILLEGAL_ADDRESS:
                    raise
                continue
            if tuple(found) == sunspec.MARKER:
                return base
        raise InverterUnknown(f"{self._inverter.name} does not describe itself by SunSpec")

    def _read_models(self) -> Values:
        found: dict[int, Sequence[int]] = {}
        for model in self._models:
            words = self._ask("holding", model.address, model.words_of_use)
            if tuple(words[:2]) != (model.id, model.length):
                self.close()
                raise InverterGarbled(f"The models of {self._inverter.name} are elsewhere now")
            # Of a bank that appears twice the first is taken.
            found.setdefault(model.id, words)
        return sunspec.decode(found)

    # -- one request ------------------------------------------------------------------------

    def _ask(self, table: Table, address: int, count: int) -> Sequence[int]:
        from pymodbus.exceptions import ConnectionException, ModbusException

        client, name = self._client, self._inverter.name
        if client is None:
            raise InverterUnreachable(f"{name} is not connected")
        ask = client.read_holding_registers if table == "holding" else client.read_input_registers
        self._function, self._heard = _FUNCTIONS[table], False
        try:
            answer = ask(address, count=count, device_id=self._inverter.unit)
        except (ConnectionException, OSError) as error:
            self.close()
            raise InverterUnreachable(f"{name} closed the connection") from error
        except InverterGarbled:
            self.close()
            raise
        except ModbusException as error:
            self.close()
            if self._heard:
                raise InverterGarbled(f"{name} answered with something else") from error
            raise InverterSilent(f"{name} did not answer in time") from error
        if answer.isError():
            reason = int(getattr(answer, "exception_code", 0))
            told = _REFUSALS.get(reason, f"exception {reason}")
            place = f"{count} {table} registers from {address}"
            raise InverterRefused(f"{name} refused to tell {place}: {told}", reason)
        if len(answer.registers) != count:
            self.close()
            raise InverterGarbled(f"{name} answered {len(answer.registers)} of {count} registers")
        return answer.registers

    def _look_at(self, sending: bool, data: bytes) -> bytes:
        """Refuse an answer to another question before the library tries to understand it."""
        if sending:
            return data
        self._heard = True
        is_foreign = data[2:4] not in (b"", b"\0", b"\0\0")
        if len(data) > _SIZE_AT:
            function, size = data[_FUNCTION_AT], data[_SIZE_AT]
            if function == self._function:
                is_foreign |= int.from_bytes(data[4:6], "big") != size + 3 or size % 2 == 1
            else:
                is_foreign |= function != self._function | _REFUSAL
        if is_foreign:
            raise InverterGarbled(f"{self._inverter.name} answers, but not in Modbus TCP")
        return data
