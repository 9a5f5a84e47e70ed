"""The potentiostat's firmware, played byte by byte on a cell that behaves like a real one.

It encodes and decodes by itself, so that one mistake cannot hide in both ends. Between two requests
nothing happens that a request could not have caused, so ticks are made up when the next one comes:
an idle emulator costs nothing.
"""

import math
import random
import struct
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchwire.domains.potentiostat.cell import Cell, CellConstants

ADC_SAMPLES = 2048
DAC_POINTS = 4096
OUTPUT_LIMIT = 4.95
OUTPUT_STEP = 2 * OUTPUT_LIMIT / 4096
TICK_US = 360
TIA_OHM = (1e3, 1e4, 1e5, 1e6, 1e6, 1e6)
POTENTIAL_NOISE = 20e-6
CURRENT_NOISE = 1e-5
"""Of the current range's full scale."""

# A partial request is given up after this pause, s; the firmware waits 0.2 ms, but a host may hand
# a request over in two pieces.
FRAME_GAP = 0.02
_MAX_FRAME = 256
_UNITS = frozenset({0x01, 0xFF})
_LOG_LENGTH = 500

_ILLEGAL_FUNCTION = 1
_ILLEGAL_ADDRESS = 2
_ILLEGAL_VALUE = 3
_BUSY = 6

_MEMORY_REGISTERS = {0x04: 10, 0x05: 6, 0x06: 8, 0x30: 30, 0x31: 12, 0x32: 6, 0x40: 8,
                     0x43: 4, 0x44: 4, 0x45: 4}  # fmt: skip
_WRITABLE = frozenset({0x05, 0x30, 0x31, 0x32, 0x40, 0x45})
_AVERAGING = (0x04, 0x0A)


class _Refused(Exception):
    """A request that is answered with an exception."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def _division_step(register: int) -> int:
    """Shift one byte out of a checksum register, bit by bit as the standard defines it."""
    for _ in range(8):
        register = register >> 1 ^ (0xA001 if register & 1 else 0)
    return register


_STEPS = [_division_step(byte) for byte in range(256)]


def checksum(data: bytes) -> bytes:
    """Return the Modbus checksum of bytes, low byte first."""
    register = 0xFFFF
    for byte in data:
        register = register >> 8 ^ _STEPS[(register ^ byte) & 0xFF]
    return struct.pack("<H", register)


def _swap(data: bytes | bytearray) -> bytes:
    """Turn little-endian memory into registers as on the wire, or back."""
    swapped = bytearray(len(data))
    swapped[0::2] = data[1::2]
    swapped[1::2] = data[0::2]
    return bytes(swapped)


class EmulatedPotentiostat:
    """One instrument.

    Parameters
    ----------
    serial_number
        The chip's serial number, 8 bytes.
    pid_samples
        Whether galvanostatic mode puts samples into the buffer; published firmware does not.
    """

    def __init__(
        self,
        serial_number: bytes,
        cell: Cell | None = None,
        *,
        pid_samples: bool = False,
        seed: int = 1,
    ) -> None:
        self._cell = cell or Cell()
        self._pid_samples = pid_samples
        self._tick_us = TICK_US
        self._random = random.Random(seed)  # noqa: S311 - noise
        noise = np.random.default_rng(seed).standard_normal(8191)
        self._noise: list[float] = noise.tolist()
        self._noise_at = 0
        self._memory = {group: bytearray(2 * count) for group, count in _MEMORY_REGISTERS.items()}
        self._memory[0x43][:] = serial_number.ljust(8, b"\0")[:8]
        for channel in range(5):
            block = struct.pack("<3f", 1.0, 0.0, 100.0)
            self._memory[0x30][12 * channel : 12 * channel + 12] = _swap(block)
        self._memory[0x40][:] = _swap(struct.pack("<4I", 200, 360, 1000, 200))
        self._adc: deque[tuple[float, float]] = deque()
        self._dac: deque[float] = deque()
        self._gain = 0
        self._output = 0.0
        self._target = 0.0
        self._running = self._fifo_mode = self._pid_mode = self._stop = self._closed = False
        self._time = 0.0
        self._measured = (0.0, 0.0)
        self._windows: tuple[deque[float], deque[float]] = (deque(), deque())
        self._sums = [0.0, 0.0]
        self._lengths: list[int] = []
        self._restart_averaging()
        self._buffer = b""
        self._received_at = 0.0
        self._ticks = 0
        self._overwritten = 0
        self._closings = 0
        self._opened_at = 0.0
        self._log: deque[tuple[int, float]] = deque(maxlen=_LOG_LENGTH)
        self._frozen = self._busy = False
        self._garble = 0.0
        self._delay = 0.0
        self._refused_command: int | None = None

    # -- bytes ------------------------------------------------------------------------------

    def receive(self, data: bytes, now: float) -> bytes:
        """Take bytes from the host at a moment (s, monotonic) and return the answer's bytes."""
        self._advance(now)
        if self._frozen:
            return b""
        if self._buffer and now - self._received_at > FRAME_GAP:
            self._buffer = b""
        self._received_at = now
        self._buffer += data
        answers = b""
        while (frame := self._next_frame()) is not None:
            answers += self._answer(frame, now)
        if answers and self._delay:
            time.sleep(self._delay)
        if answers and self._random.random() < self._garble:
            place = self._random.randrange(len(answers))
            flipped = answers[place] ^ 1 << self._random.randrange(8)
            answers = answers[:place] + bytes([flipped]) + answers[place + 1 :]
        return answers

    def _next_frame(self) -> bytes | None:
        buffer = self._buffer
        if len(buffer) < 4:
            return None
        function = buffer[1]
        if function in {3, 4}:
            length = 8
        elif function == 16:
            length = 9 + buffer[6] if len(buffer) > 6 else 9
        elif function == 23:
            length = 13 + buffer[10] if len(buffer) > 10 else 13
        else:
            length = len(buffer)
        length = min(length, _MAX_FRAME)
        if len(buffer) < length:
            return None
        self._buffer = buffer[length:]
        return buffer[:length]

    def _answer(self, frame: bytes, now: float) -> bytes:
        unit, function = frame[0], frame[1]
        if unit not in _UNITS:
            self._buffer = b""
            return b""
        try:
            if checksum(frame[:-2]) != frame[-2:]:
                self._buffer = b""
                raise _Refused(_ILLEGAL_VALUE)
            if self._busy:
                raise _Refused(_BUSY)
            body = self._execute(function, frame, now)
        except _Refused as refused:
            function |= 0x80
            body = bytes([refused.code])
        answer = bytes([unit, function]) + body
        return answer + checksum(answer)

    def _execute(self, function: int, frame: bytes, now: float) -> bytes:
        if function in {3, 4}:
            address, count = struct.unpack(">HH", frame[2:6])
            payload = self._read(address, count)
            return bytes([len(payload)]) + payload
        if function == 16:
            address, count, size = struct.unpack(">HHB", frame[2:7])
            self._check_size(count, size, frame[7:-2])
            self._write(address, frame[7:-2], now)
            return frame[2:6]
        if function == 23:
            read_address, read_count, address, count, size = struct.unpack(">4HB", frame[2:11])
            self._check_size(count, size, frame[11:-2])
            self._write(address, frame[11:-2], now)
            payload = self._read(read_address, read_count)
            return bytes([len(payload)]) + payload
        raise _Refused(_ILLEGAL_FUNCTION)

    @staticmethod
    def _check_size(count: int, size: int, payload: bytes) -> None:
        if size != 2 * count or size != len(payload) or not count:
            raise _Refused(_ILLEGAL_VALUE)

    def _read(self, address: int, count: int) -> bytes:
        group, offset = address >> 8, address & 0xFF
        if not 0 < count <= 125:
            raise _Refused(_ILLEGAL_VALUE)
        if group == 0x01:
            if count % 4:
                raise _Refused(_ILLEGAL_VALUE)
            return self._pop(count // 4)
        memory = self._status() if group == 0x03 else self._memory.get(group)
        if memory is None or 2 * (offset + count) > len(memory):
            raise _Refused(_ILLEGAL_ADDRESS)
        return bytes(memory[2 * offset : 2 * (offset + count)])

    def _pop(self, samples: int) -> bytes:
        if samples > len(self._adc):
            raise _Refused(_BUSY)
        values: list[float] = []
        for _ in range(samples):
            values += self._adc.popleft()
        return _swap(struct.pack(f"<{len(values)}f", *values))

    def _status(self) -> bytes:
        state = 0x3 | self._fifo_mode << 2 | self._pid_mode << 3 | self._running << 4
        state |= self._stop << 5 | self._closed << 8
        current, potential = self._measured
        return _swap(
            struct.pack(
                "<8f2i2I",
                current, potential, self._output, 0.0, 0.0, 25.0, 40.0, TIA_OHM[self._gain],
                len(self._adc), len(self._dac), self._tick_us, state,
            )
        )  # fmt: skip

    def _write(self, address: int, payload: bytes, now: float) -> None:
        group, offset = address >> 8, address & 0xFF
        if group == 0x02:
            self._push(payload)
        elif group == 0x4F and offset == 0:
            self._command(payload, now)
        elif group in _WRITABLE and 2 * offset + len(payload) <= len(self._memory[group]):
            self._memory[group][2 * offset : 2 * offset + len(payload)] = payload
            if group == 0x30:
                self._restart_averaging()
            if group == 0x05 and offset == 0 and len(payload) >= 4:
                self._output = _quantised(struct.unpack("<f", _swap(payload)[:4])[0])
        else:
            raise _Refused(_ILLEGAL_ADDRESS)

    def _push(self, payload: bytes) -> None:
        count = len(payload) // 4
        if len(payload) % 4 or count > 60:
            raise _Refused(_ILLEGAL_VALUE)
        if len(self._dac) + count > DAC_POINTS:
            raise _Refused(_BUSY)
        self._dac.extend(struct.unpack(f"<{count}f", _swap(payload)))

    # -- commands ---------------------------------------------------------------------------

    def _command(self, payload: bytes, now: float) -> None:
        code = struct.unpack(">H", payload[:2])[0]
        if code == self._refused_command or len(payload) < 4:
            raise _Refused(_ILLEGAL_VALUE)
        self._log.append((code, now))
        parameter = struct.unpack(">H", payload[2:4])[0]
        if code == 0xE6:
            self._start_pid(payload, now)
        elif code in {0xE0, 0xE2, 0xF0}:
            return
        else:
            orders = {
                0xE1: self._reset,
                0xE3: self._set_gain,
                0xE4: self._switch,
                0xE5: self._start_fifo,
                0xE7: self._request_stop,
                0xE8: self._clear_adc,
            }
            order = orders.get(code)
            if order is None:
                raise _Refused(_ILLEGAL_VALUE)
            order(parameter, now)

    def _reset(self, parameter: int, now: float) -> None:
        if parameter:
            self._running = self._fifo_mode = self._pid_mode = self._stop = False
            self._adc.clear()
            self._dac.clear()
            self._output = 0.0
            self._switch(0, now)

    def _set_gain(self, parameter: int, _now: float) -> None:
        if parameter > 5:
            raise _Refused(_ILLEGAL_VALUE)
        self._gain = parameter

    def _switch(self, parameter: int, now: float) -> None:
        closed = bool(parameter)
        if closed and not self._closed:
            self._closings += 1
        if self._closed and not closed:
            self._opened_at = now
        self._closed = closed

    def _start_fifo(self, parameter: int, now: float) -> None:
        self._adc.clear()
        self._begin(now, pid=False)
        self._switch(parameter, now)

    def _start_pid(self, payload: bytes, now: float) -> None:
        if len(payload) < 6:
            raise _Refused(_ILLEGAL_VALUE)
        self._target = struct.unpack("<f", _swap(payload[2:6]))[0]
        self._begin(now, pid=True)

    def _request_stop(self, _parameter: int, _now: float) -> None:
        self._stop = True

    def _clear_adc(self, parameter: int, _now: float) -> None:
        if parameter:
            self._adc.clear()

    def _begin(self, now: float, *, pid: bool) -> None:
        if not self._running:
            self._cell.idle(now - self._time)
            self._time = now
        self._running, self._fifo_mode, self._pid_mode = True, True, pid

    # -- ticks ------------------------------------------------------------------------------

    def _advance(self, now: float) -> None:
        if not self._running:
            return
        tick = self._tick_us / 1e6
        due = int((now - self._time) / tick)
        self._time += due * tick
        if self._pid_mode:
            self._tick_current(due)
        else:
            self._tick_potential(due)

    def _tick_potential(self, due: int) -> None:
        adc, dac, cell = self._adc, self._dac, self._cell
        for _ in range(due):
            adc.append(self._measured)
            if len(adc) > ADC_SAMPLES:
                adc.popleft()
                self._overwritten += 1
            self._ticks += 1
            if dac:
                self._output = _quantised(dac.popleft())
            elif self._stop:
                self._end()
                return
            if self._closed:
                self._measure(cell.step(self._output), self._output)
            else:
                self._measure(0.0, cell.rest())

    def _tick_current(self, due: int) -> None:
        for _ in range(due):
            if self._stop:
                self._end()
                return
            self._ticks += 1
            if self._closed:
                current, potential = self._cell.step_current(self._target)
            else:
                current, potential = 0.0, math.copysign(OUTPUT_LIMIT, self._target)
            self._output = max(-OUTPUT_LIMIT, min(OUTPUT_LIMIT, potential))
            self._measure(current, self._output)
            if self._pid_samples:
                self._adc.append(self._measured)
                if len(self._adc) > ADC_SAMPLES:
                    self._adc.popleft()
                    self._overwritten += 1

    def _end(self) -> None:
        self._running = self._fifo_mode = self._pid_mode = self._stop = False
        if self._closed:
            self._opened_at = self._time
        self._closed = False

    def _measure(self, current: float, potential: float) -> None:
        at = self._noise_at
        noise = self._noise
        self._noise_at = at + 2 if at + 3 < len(noise) else 0
        full_scale = OUTPUT_LIMIT / TIA_OHM[self._gain]
        current += noise[at] * CURRENT_NOISE * full_scale
        current = max(-full_scale, min(full_scale, current))
        potential += noise[at + 1] * POTENTIAL_NOISE
        self._measured = (self._averaged(0, current), self._averaged(1, potential))

    def _averaged(self, channel: int, value: float) -> float:
        """Return the running mean of a channel over its averaging length."""
        window = self._windows[channel]
        window.append(value)
        total = self._sums[channel] + value
        if len(window) > self._lengths[channel]:
            total -= window.popleft()
        self._sums[channel] = total
        return total / len(window)

    def _restart_averaging(self) -> None:
        block = self._memory[0x30]
        self._lengths = [
            max(1, int(struct.unpack("<f", _swap(block[2 * at : 2 * at + 4]))[0]))
            for at in _AVERAGING
        ]
        for channel, window in enumerate(self._windows):
            window.clear()
            self._sums[channel] = 0.0

    # -- what no host can do ----------------------------------------------------------------

    def control(self, command: str, arguments: Mapping[str, Any]) -> object:
        """Break the instrument, mend it, or tell its true state.

        Commands: ``state``; ``freeze``, ``busy`` (``on``); ``garble`` (``probability`` of an answer
        with a flipped bit), ``delay`` (``seconds``), ``refuse`` (a command's ``code``), ``reset``,
        ``tick`` (``microseconds`` between two samples; the cell's model keeps to `TICK_US`).
        """
        if command == "state":
            return self._true_state()
        if command == "freeze":
            self._frozen = bool(arguments.get("on", True))
        elif command == "busy":
            self._busy = bool(arguments.get("on", True))
        elif command == "garble":
            self._garble = float(arguments["probability"])
        elif command == "delay":
            self._delay = float(arguments["seconds"])
        elif command == "refuse":
            self._refused_command = arguments["code"]
        elif command == "tick":
            self._tick_us = int(arguments["microseconds"])
        elif command == "reset":
            self._reset(1, time.monotonic())
        else:
            raise ValueError(f"there is no command {command}")
        return None

    def _true_state(self) -> dict[str, Any]:
        self._advance(time.monotonic())
        return {
            "cell_closed": self._closed,
            "running": self._running,
            "stop_requested": self._stop,
            "adc_fifo": len(self._adc),
            "dac_fifo": len(self._dac),
            "gain": self._gain,
            "averaging": list(self._lengths),
            "ticks": self._ticks,
            "overwritten": self._overwritten,
            "closings": self._closings,
            "opened_at": self._opened_at,
            "commands": [list(entry) for entry in self._log],
        }


def _quantised(potential: float) -> float:
    limited = max(-OUTPUT_LIMIT, min(OUTPUT_LIMIT, potential))
    return round(limited / OUTPUT_STEP) * OUTPUT_STEP


def emulated(number: int) -> EmulatedPotentiostat:
    """Return emulated instrument number 1, 2, ...; no two have quite the same cell."""
    constants = CellConstants(
        series_resistance=90.0 + 10.0 * (number % 5),
        area=1.0 * (1 + 0.04 * (number % 7)),
        formal_potential=0.3 + 0.004 * (number % 4),
    )
    serial_number = bytes.fromhex("E0") + number.to_bytes(7, "big")
    return EmulatedPotentiostat(serial_number, Cell(constants), seed=number)
