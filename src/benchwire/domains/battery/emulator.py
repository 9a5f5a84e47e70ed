"""A storage system on Modbus TCP that charges and discharges, by SunSpec or by a register map.

It encodes by itself. ``python -m benchwire.domains.battery.emulator`` serves it by hand;
`EmulatedInverter` keeps one in a process of its own, and breaks and mends it.

The SunSpec device has models 1, 103, 802 and 803 from address 40000 on. A register map is the file
that the server polls by; of it the first inverter is emulated.
"""

import argparse
import asyncio
import json
import math
import struct
import subprocess
import sys
import time
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

DAY_SECONDS = 86_400.0
HOST = "127.0.0.1"
_TABLES = {3: "holding", 4: "input"}
_CLOSE_SECONDS = 5.0

# A container of 5 strings of 260 cells of lithium iron phosphate at 215 kWh.
_CAPACITY_WH, _CELLS = 215_000.0, 260
_MEAN_SOC, _SOC_SWING = 52.0, 38.0
_LOSS = 0.03
_BASE = 40_000
_END_OF_MODELS = (0xFFFF, 0)

Image = dict[tuple[str, int], int]
"""All registers, by table and address."""


def story(seconds: float, day_seconds: float = DAY_SECONDS) -> dict[str, float]:
    """Return what the system measures at a moment of its day, by field.

    It charges for half of the day and is used for the other; in a shorter day too, power and
    current are those of a day of 24 hours.
    """
    turn = 2 * math.pi * seconds / day_seconds
    soc = _MEAN_SOC + _SOC_SWING * math.sin(turn)
    # Positive from the battery; the charge falls where the power is positive.
    dc_watts = -_CAPACITY_WH * _SOC_SWING / 100 * 2 * math.pi / 24 * math.cos(turn)
    cell = 3.22 + 0.0012 * (soc - 50)
    voltage = _CELLS * cell
    current = dc_watts / voltage
    ac_watts = dc_watts * (1 - math.copysign(_LOSS, dc_watts))
    heat = abs(dc_watts) / 20_000
    spread = 0.008 + 0.0004 * heat
    phase = abs(ac_watts) / 3 / 231.0
    air = 21 + 6 * math.sin(turn - 1)
    return {
        "soc": soc, "soh": 97.4, "voltage": voltage, "current": current,
        "cell_avg_voltage": cell,
        "cell_max_voltage": cell + spread, "cell_min_voltage": cell - spread,
        "cell_avg_temp": 24 + heat, "cell_max_temp": 26 + heat, "cell_min_temp": 22.5 + heat,
        "cell_voltage_diff": 2 * spread, "cell_temp_diff": 3.5,
        "apparent_power": ac_watts / 1000, "dc_current": abs(current), "dc_voltage": voltage,
        "ac_current_a": phase, "ac_current_b": phase * 1.01, "ac_current_c": phase * 0.99,
        "ac_voltage_ab": 400.2, "ac_voltage_bc": 399.6, "ac_voltage_ca": 400.9,
        "temp_environment": air, "temp_ambient": air + 2, "temp_igbt": 27 + 4 * heat,
    }  # fmt: skip


def sunspec_image(values: Mapping[str, float]) -> Image:
    """Return the registers of the SunSpec device."""
    words = [*b"SunS"]
    registers = [words[0] << 8 | words[1], words[2] << 8 | words[3]]
    for model, body in (
        (1, _nameplate()),
        (103, _inverter(values)),
        (802, _battery(values)),
        (803, _bank(values)),
    ):
        registers += [model, len(body), *body]
    registers += _END_OF_MODELS
    return {("holding", _BASE + k): word for k, word in enumerate(registers)}


def map_image(inverter: Mapping[str, Any], values: Mapping[str, float]) -> Image:
    """Return the registers of an inverter of a register map."""
    image: Image = {}
    byte_sign = "<" if inverter.get("byte_order") == "little" else ">"
    for register in inverter["registers"]:
        kind, table = register["type"], register.get("table", "holding")
        factor_at = register.get("scale_register")
        factor = 0 if factor_at is None else -1
        raw = (values[register["field"]] - register.get("offset", 0)) / register.get("scale", 1)
        raw /= 10**factor
        letter = {"i": "bhiq", "u": "BHIQ", "f": "  fd"}[kind[0]][int(kind[-2:]).bit_length() - 4]
        if kind[0] != "f":
            bits = int(kind[-2:]) - (kind[0] == "i")
            raw = min(max(round(raw), -(1 << bits) if kind[0] == "i" else 0), (1 << bits) - 1)
        data = struct.pack(f">{letter}", raw)
        words = [data[k : k + 2] for k in range(0, len(data), 2)]
        if inverter.get("word_order") == "little":
            words.reverse()
        for k, word in enumerate(words):
            image[table, register["address"] + k] = struct.unpack(f"{byte_sign}H", word)[0]
        if factor_at is not None:
            word = struct.pack(">h", factor)
            image[table, factor_at] = struct.unpack(f"{byte_sign}H", word)[0]
    return image


def _nameplate() -> list[int]:
    def text(said: str, words: int) -> tuple[int, ...]:
        return struct.unpack(f">{words}H", said.encode().ljust(2 * words, b"\0"))

    return [
        *text("benchwire", 16), *text("Emulated storage", 16), *text("", 8), *text("1", 8),
        *text("EMULATED-1", 16), 1, 0x8000,
    ]  # fmt: skip


def _inverter(values: Mapping[str, float]) -> list[int]:
    absent, absent_signed = 0xFFFF, 0x8000
    amps = [_word(values[f"ac_current_{phase}"] * 10) for phase in "abc"]
    volts = [_word(values[f"ac_voltage_{pair}"] * 10) for pair in ("ab", "bc", "ca")]
    watts = _word(values["apparent_power"] * 100)
    return [
        min(0xFFFE, sum(amps)), *amps, _word(-1), *volts, 2310, 2310, 2310, _word(-1),
        watts, _word(1), 5000, _word(-2), abs(_signed(watts)), _word(1), 0, _word(1), 100, _word(0),
        0, 0, _word(0), _word(values["dc_current"] * 10), _word(-1),
        _word(values["dc_voltage"] * 10), _word(-1), watts, _word(1),
        _word(values["temp_ambient"] * 10), _word(values["temp_igbt"] * 10),
        absent_signed, absent_signed, _word(-1), 4, absent, *[0] * 12,
    ]  # fmt: skip


def _battery(values: Mapping[str, float]) -> list[int]:
    absent = 0xFFFF
    watts = _word(values["voltage"] * values["current"] / 10)
    return [
        280, 2150, 1075, 1075, absent, 1000, 0, 1000, 0,
        _word(values["soc"] * 10), _word(1000 - values["soc"] * 10), _word(values["soh"] * 10),
        0, 120, 3, 0, 0, 0, 0, 4, 3, absent, 0, 0, *[0] * 8,
        _word(values["voltage"] * 10), absent, absent,
        _word(values["cell_max_voltage"] * 1000), 1, 1,
        _word(values["cell_min_voltage"] * 1000), 3, 2, _word(values["cell_avg_voltage"] * 1000),
        _word(values["current"] * 10), 1500, 1500, watts, 0, 0, 0, 0,
        0, _word(2), _word(2), _word(0), _word(-1), _word(-1), _word(-1), _word(-1), _word(-3),
        _word(-1), _word(-1), _word(1),
    ]  # fmt: skip


def _bank(values: Mapping[str, float]) -> list[int]:
    heat = [_word(values[f"cell_{kind}_temp"] * 10) for kind in ("max", "min", "avg")]
    return [
        0, 0, heat[0], 1, 1, heat[1], 3, 1, heat[2], *[0xFFFF] * 11,
        _word(-3), _word(-1), _word(-1), _word(-1), _word(-1), _word(-1),
    ]  # fmt: skip


def _word(value: float) -> int:
    return round(value) & 0xFFFF


def _signed(word: int) -> int:
    return word - 0x10000 if word & 0x8000 else word


class _Device:
    """What a running emulator answers, and how it misbehaves."""

    def __init__(self, inverter: Mapping[str, Any] | None, day_seconds: float) -> None:
        self._inverter = inverter
        self._day_seconds = day_seconds
        self._began = time.monotonic()
        self._values: dict[str, float] = {}
        self._registers: Image = {}
        self._is_silent = False
        self._late: list[float] = []
        self._refusal = 0
        self._requests = 0
        self._server: Any = None

    async def serve(self, port: int) -> int:
        """Begin to serve, and return the port."""
        from pymodbus.server import ModbusTcpServer
        from pymodbus.simulator import DataType, SimData, SimDevice

        bits = SimData(0, values=[False] * 16, datatype=DataType.BITS)
        blocks: dict[str, list[SimData]] = {"holding": [], "input": []}
        for (table, address), word in sorted(self._image().items()):
            blocks[table].append(SimData(address, values=word, datatype=DataType.REGISTERS))
        for block in blocks.values():
            # The library has no table without a register.
            if not block:
                block.append(SimData(0xFFFF, values=0, datatype=DataType.REGISTERS))
        unit = 1 if self._inverter is None else self._inverter.get("unit", 1)
        device = SimDevice(
            unit, ([bits], [bits], blocks["holding"], blocks["input"]), action=self._answer
        )
        self._server = ModbusTcpServer(device, address=(HOST, port), trace_packet=self._send)
        await self._server.serve_forever(background=True)
        return int(self._server.transport.sockets[0].getsockname()[1])

    def control(self, order: Mapping[str, Any]) -> object:
        """Do what `EmulatedInverter` asks for."""
        match order:
            case {"fix": values}:
                self._values = dict(values)
            case {"set": [table, address, [*words]]}:
                self._registers |= {(table, address + k): word for k, word in enumerate(words)}
            case {"silent": silent}:
                self._is_silent = bool(silent)
            case {"late": delays}:
                self._late = list(delays)
            case {"refuse": code}:
                self._refusal = int(code)
            case {"drop": _}:
                for connection in list(self._server.active_connections.values()):
                    connection.transport.abort()
            case {"requests": _}:
                return self._requests
        return True

    def _image(self) -> Image:
        seconds = time.monotonic() - self._began
        values = {**story(seconds, self._day_seconds), **self._values}
        if self._inverter is None or self._inverter.get("sunspec"):
            return {**sunspec_image(values), **self._registers}
        return {**map_image(self._inverter, values), **self._registers}

    async def _answer(
        self,
        function: int,
        start: int,
        address: int,
        count: int,
        registers: list[int],
        written: object,
    ) -> Any:
        from pymodbus.constants import ExcCodes

        self._requests += 1
        table = _TABLES.get(function)
        if table is None or written is not None:
            return ExcCodes.ILLEGAL_FUNCTION
        if self._refusal:
            return ExcCodes(self._refusal)
        image = self._image()
        for place in range(address, address + count):
            registers[place - start] = image.get((table, place), 0)
        if self._late:
            await asyncio.sleep(self._late.pop(0))
        return None

    def _send(self, sending: bool, data: bytes) -> bytes:
        return b"" if sending and self._is_silent else data


class EmulatedInverter:
    """An emulator in a process of its own, to be used in a ``with`` block.

    Parameters
    ----------
    port
        0 for any; one that is started again keeps its port.
    map_file
        A register map; without one it speaks SunSpec.
    """

    def __init__(
        self, port: int = 0, *, map_file: Path | None = None, day_seconds: float = DAY_SECONDS
    ) -> None:
        self.port = port
        self._arguments = ["--day-seconds", str(day_seconds)]
        if map_file is not None:
            self._arguments += ["--map", str(map_file)]
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start the process; it listens when this returns."""
        command = [sys.executable, "-m", __name__, "--port", str(self.port), "--control"]
        self._process = subprocess.Popen(  # noqa: S603 - ourselves
            [*command, *self._arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            self.port = self._answer()["port"]
        except RuntimeError:
            self.kill()
            raise

    def kill(self) -> None:
        """End the process at once, as a power cut would."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate(timeout=_CLOSE_SECONDS)

    def fix(self, values: Mapping[str, float]) -> None:
        """Let these fields have these values; all others go on moving."""
        self._order({"fix": dict(values)})

    def set_registers(self, table: str, address: int, words: Sequence[int]) -> None:
        """Let registers that exist hold these words from now on."""
        self._order({"set": [table, address, list(words)]})

    def go_silent(self, *, silent: bool = True) -> None:
        """Take requests and answer none, or answer again."""
        self._order({"silent": silent})

    def answer_late(self, *seconds: float) -> None:
        """Answer the next requests after that many seconds each."""
        self._order({"late": seconds})

    def refuse(self, code: int) -> None:
        """Answer every request with a Modbus exception; 0 ends it."""
        self._order({"refuse": code})

    def drop_connections(self) -> None:
        """Cut all connections."""
        self._order({"drop": True})

    @property
    def requests(self) -> int:
        """How many requests for registers that exist have come."""
        return int(self._order({"requests": True})["did"])

    def _order(self, order: Mapping[str, Any]) -> dict[str, Any]:
        process = self._process
        if process is None or process.stdin is None:
            raise RuntimeError("the emulator does not run")
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        process = self._process
        line = "" if process is None or process.stdout is None else process.stdout.readline()
        if not line:
            raise RuntimeError("the emulator has ended")
        answer: dict[str, Any] = json.loads(line)
        return answer


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve one emulated inverter until the process is ended."""
    parser = argparse.ArgumentParser(prog="python -m benchwire.domains.battery.emulator")
    parser.add_argument("--port", type=int, default=5020, help="0 takes any that is free")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--sunspec", action="store_true", help="speak SunSpec, which is the default")
    form.add_argument("--map", type=Path, help="a register map; its first inverter is emulated")
    parser.add_argument("--day-seconds", type=float, default=DAY_SECONDS, help="length of its day")
    parser.add_argument("--control", action="store_true", help="take orders from standard input")
    chosen = parser.parse_args(arguments)
    inverter = None
    if chosen.map is not None:
        inverter = tomllib.loads(chosen.map.read_text("utf-8"))["inverters"][0]
    device = _Device(inverter, chosen.day_seconds)
    try:
        asyncio.run(_serve(device, chosen.port, with_orders=chosen.control))
    except KeyboardInterrupt:
        return


async def _serve(device: _Device, port: int, *, with_orders: bool) -> None:
    port = await device.serve(port)
    if not with_orders:
        sys.stdout.write(f"An emulated storage system listens on {HOST}:{port}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()
    _say({"port": port})
    # Standard input ends with the process that started this one, and so does this one.
    while line := await asyncio.to_thread(sys.stdin.readline):
        _say({"did": device.control(json.loads(line))})


def _say(answer: Mapping[str, object]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
