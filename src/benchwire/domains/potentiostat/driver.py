"""The potentiostat: commands in SI units, and a cell that is open on every way out.

A waveform is played through the instrument's output buffer while samples are taken from its input
buffer. The first sample is taken before the first point is put out, so sample k + 1 answers to
point k; the driver drops the first and hands out rows that begin at point 0.
"""

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from benchwire.domains.potentiostat import protocol
from benchwire.domains.potentiostat.protocol import (
    ADC_FIFO_SAMPLES,
    MAX_POINTS_PER_WRITE,
    MAX_SAMPLES_PER_READ,
    REGISTERS_PER_SAMPLE,
    Command,
    FrameGarbled,
    FrameInvalid,
    InstrumentBusy,
    InstrumentRefused,
    Status,
)
from benchwire.domains.potentiostat.waveforms import SAMPLE_PERIOD, samples_in
from benchwire.foundation.clock import Clock
from benchwire.foundation.errors import BenchwireError, Failed
from benchwire.foundation.instruments.transport import LinkLost, Transport

_T = TypeVar("_T")
Registers = Mapping[int, bytes]

# The instrument answers within 30 ms; a busy host may take longer to hand the answer over.
REPLY_SECONDS = 0.2
ATTEMPTS = 5
# No more attempts are begun after this, so that no command takes two seconds.
ATTEMPTS_SECONDS = 1.2
# An answer that has not come by then never will.
LATEST_ANSWER_SECONDS = 6.0
# Points kept in the output buffer, 0.68 s: they bridge a pause of the host for as long as the input
# buffer (0.74 s) does, and play out with the cell open after an abort.
QUEUED_POINTS = 1900
ROUND_SECONDS = 0.04
IDLE_LIMIT_SECONDS = 4.0
# Sampling of a galvanostatic run whose firmware does not sample by itself.
POLL_PERIOD = 1 / 300
FIFO_VERDICT_SECONDS = 0.2
# How far a galvanostatic run may be behind its plan, and thus be longer than it.
LATEST_STEP_SECONDS = 1.0
# What an exchange may take; a set point that comes later moves the border between two steps.
BORDER_SECONDS = 0.02


class Stopped(BenchwireError):
    """The run's latch was tripped."""

    code = "potentiostat.stopped"


class SamplesLost(Failed):
    """Samples were overwritten in the instrument or lost on the line."""

    code = "potentiostat.samples_lost"


class WaveformStarved(Failed):
    """The output ran dry, so that later samples no longer answer to their points."""

    code = "potentiostat.waveform_starved"


class InstrumentSilent(LinkLost):
    """The instrument does not answer, or only garbled."""

    code = "potentiostat.silent"


class RunLatch:
    """A one-way stop of one run: once tripped, nothing of that run connects the cell again."""

    def __init__(self) -> None:
        self._tripped = threading.Event()
        self._told: Callable[[str], None] | None = None
        self.reason = ""

    def trip(self, reason: str) -> None:
        """Stop the run; the first reason stands."""
        if not self._tripped.is_set():
            self.reason = reason
        self._tripped.set()
        if (told := self._told) is not None:
            told(self.reason)

    @contextlib.contextmanager
    def telling(self, told: Callable[[str], None]) -> Iterator[None]:
        """Have a function called with the reason when it is tripped, at once if it has been.

        It may be called twice.
        """
        self._told = told
        try:
            if self._tripped.is_set():
                told(self.reason)
            yield
        finally:
            self._told = None

    def wait(self, seconds: float) -> None:
        """Wait, but no longer than until the latch is tripped."""
        if seconds > 0:
            self._tripped.wait(seconds)

    @property
    def is_tripped(self) -> bool:
        """Whether the run was stopped."""
        return self._tripped.is_set()

    def raise_if_tripped(self) -> None:
        """Raise `Stopped` if the run was stopped."""
        if self._tripped.is_set():
            raise Stopped(self.reason)


@dataclass(frozen=True, slots=True)
class Samples:
    """Consecutive rows of a run.

    ``first`` is the index of the first row; ``current`` in A and ``potential`` in V are (n,)
    float64. ``time`` in s is given where rows were polled and not taken at the instrument's own
    rate; ``step`` counts the set points of a galvanostatic run.
    """

    first: int
    current: NDArray[np.float64]
    potential: NDArray[np.float64]
    time: NDArray[np.float64] | None = None
    step: int | None = None


Sink = Callable[[Samples], None]


@dataclass(frozen=True, slots=True)
class Safety:
    """What `Potentiostat.make_safe` found before it opened the cell."""

    was_running: bool
    was_connected: bool
    queued_points: int


class Units:
    """Under which of its units an instrument is asked, so that no late answer passes for another.

    An instrument answers in the order it was asked. An answer under a unit that owed none is
    therefore the one asked for, and nothing older comes after it. A unit that owes answers is not
    used before that, or before they have come, or cannot come any more. What is known outlives the
    port, which is opened again after a silence.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # How many answers a unit owes, and until when they may come.
        self._owed: dict[int, tuple[int, float]] = {}

    def free(self) -> int | None:
        """Return a unit that owes nothing, None if there is none."""
        now = self._clock.monotonic()
        for unit in (protocol.UNIT, protocol.OTHER_UNIT):
            count, until = self._owed.get(unit, (0, now))
            if count <= 0 or until <= now:
                self._owed.pop(unit, None)
                return unit
        return None

    def owes(self, unit: int, count: int = 1) -> None:
        """Note that a unit may still send so many answers more that nobody waits for."""
        before, _ = self._owed.get(unit, (0, 0.0))
        until = self._clock.monotonic() + LATEST_ANSWER_SECONDS
        self._owed[unit] = (before + count, until)

    def came(self, data: bytes) -> None:
        """Note answers that came late."""
        for unit in protocol.units_in(data):
            count, until = self._owed.get(unit, (0, 0.0))
            self._owed[unit] = (count - 1, until)

    def answered(self) -> None:
        """Note an answer that was asked for: nothing older comes after it."""
        self._owed.clear()


class Altered:
    """What measurements have altered for their time: registers, with what they are to be again.

    Known by the number of the instrument's chip, it outlives the port, and through ``told`` the
    process: an instrument with a supply of its own keeps what was altered when it is out of reach.
    """

    def __init__(self, told: Callable[[str, Registers], None] = lambda *_: None) -> None:
        self._former: dict[str, Registers] = {}
        self._told = told

    def learn(self, former: Mapping[str, Registers]) -> None:
        """Take in what another process has noted; what is known here is newer."""
        for chip, registers in former.items():
            self._former.setdefault(chip, registers)

    def note(self, chip: str, former: Registers) -> None:
        """Note what is to be restored in an instrument from now on, if anything."""
        self._former[chip] = former
        self._told(chip, former)

    def of(self, chip: str) -> Registers:
        """Return what is to be restored in an instrument."""
        return self._former.get(chip, {})


class Potentiostat:
    """One instrument on one transport, used by one thread.

    Parameters
    ----------
    units
        What is known of answers still to come on the same port.
    altered
        What has to be restored in which instrument.
    """

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        units: Units | None = None,
        altered: Altered | None = None,
    ) -> None:
        self._transport = transport
        self.clock = clock
        self._units = units or Units(clock)
        self._altered = altered or Altered()
        self._unit = protocol.UNIT
        self.reported_period: float | None = None
        """The mean time between buffered samples in s, as the instrument gave it last."""
        # The run under way; None while the instrument is made safe, which no stop may cut short.
        self._latch: RunLatch | None = None

    # -- reading ----------------------------------------------------------------------------

    def serial_number(self) -> str:
        """Return the chip's serial number as hexadecimal text."""
        count = protocol.CHIP_SERIAL_REGISTERS
        return self._insist(lambda: self._read(protocol.CHIP_SERIAL, count)).hex().upper()

    def status(self) -> Status:
        """Return the instrument's state.

        Raises
        ------
        InstrumentSilent
            It does not answer.
        """
        count = protocol.STATUS_REGISTERS
        return protocol.unpack_status(self._insist(lambda: self._read(protocol.STATUS, count)))

    # -- safety -----------------------------------------------------------------------------

    def make_safe(self) -> Safety:
        """Open the cell, stop what runs, and empty the output buffer; confirmed by the state.

        A stop is sent once and only to a running instrument: the request would stay set in an idle
        one and end its next run on the first tick. A waveform left in the output buffer is played
        out with the cell open, as nothing else clears it.

        Raises
        ------
        LinkLost
            It could not be confirmed.
        """
        if self._units.free() is None:
            # An answer could be one to an earlier question; the cell is told to open all the same.
            self._transport.write(protocol.command_request(Command.CELL_SWITCH, 0, protocol.UNIT))
            self._units.owes(protocol.UNIT)
        found = self.status()
        self.command_insistently(Command.CELL_SWITCH, 0)
        if found.is_running:
            self._stop_once()
        elif found.dac_fifo or found.stop_requested:
            self.command_insistently(Command.FIFO_START, 0)
            if not found.stop_requested:
                self._stop_once()
        self._await_idle()
        return Safety(found.is_running, found.cell_connected, found.dac_fifo)

    def _stop_once(self) -> None:
        try:
            self.command(Command.STOP, 1)
        except (FrameInvalid, InstrumentRefused, InstrumentSilent):
            # Garbled on its way there or back: whether it was taken, the state tells.
            self.settle_line()
            state = self.status()
            if state.is_running and not state.stop_requested:
                self.command(Command.STOP, 1)

    def _await_idle(self) -> None:
        deadline = self.clock.monotonic() + IDLE_LIMIT_SECONDS
        while True:
            state = self.status()
            if not state.is_running and not state.cell_connected:
                return
            if state.cell_connected:
                self.command_insistently(Command.CELL_SWITCH, 0)
            if self.clock.monotonic() > deadline:
                raise InstrumentSilent(
                    "The instrument does not come to rest",
                    hint="Disconnect the cell by hand and switch the instrument off and on.",
                )
            self.clock.sleep(0.01)

    # -- measuring --------------------------------------------------------------------------

    def play(
        self,
        points: Iterable[NDArray[np.float64]],
        *,
        gain: int,
        latch: RunLatch,
        sink: Sink,
    ) -> None:
        """Play a potential waveform and hand out one row per point.

        Parameters
        ----------
        points
            Chunks of potentials, (n,) float64, V, one per 0.36 ms; taken as they are needed.
        sink
            Receives rows as they come, also those that were measured before a stop.

        Raises
        ------
        Stopped
            The latch was tripped.
        SamplesLost, WaveformStarved
            Rows and points no longer belong together; the rows before that were handed out.
        LinkLost
            The instrument cannot be reached.
        """
        self._prepare(gain, latch)
        playback = _Playback(self, _Points(points), latch, sink)
        try:
            playback.run()
        except BaseException:
            self._latch = None
            playback.salvage()
            raise
        finally:
            self._leave()

    def record_open_circuit(self, count: int, *, gain: int, latch: RunLatch, sink: Sink) -> None:
        """Hand out ``count`` rows of the cell left open; errors as those of `play`."""
        self._prepare(gain, latch)
        received = 0
        try:
            self.command(Command.FIFO_START, 0, latch)
            while received < count:
                latch.raise_if_tripped()
                waiting = self.waiting_samples()
                while waiting and received < count:
                    if waiting < MAX_SAMPLES_PER_READ and waiting < count - received:
                        break
                    size = min(MAX_SAMPLES_PER_READ, waiting, count - received)
                    current, potential = self.pop_waiting(size)
                    sink(Samples(received, current, potential))
                    received += size
                    waiting -= size
                    latch.raise_if_tripped()
                latch.wait(ROUND_SECONDS)
        finally:
            self._leave()

    def play_currents(
        self,
        steps: Iterable[tuple[float, float]],
        *,
        gain: int,
        latch: RunLatch,
        sink: Sink,
    ) -> None:
        """Hold currents one after another and hand out rows, each with its step.

        Firmware that does not sample in this mode is polled 300 times a second; rows then carry
        their real times. Otherwise rows come at the instrument's own rate.

        Parameters
        ----------
        steps
            Pairs of current (A) and duration (s), taken as they are needed.

        Raises
        ------
        Stopped, SamplesLost, LinkLost
            As for `play`.
        """
        self._prepare(gain, latch)
        try:
            self.command(Command.CELL_SWITCH, 1, latch)
            _CurrentRun(self, latch, sink, self.clock).run(steps)
        finally:
            self._leave()

    @contextlib.contextmanager
    def averaging(self, current: int, potential: int) -> Iterator[None]:
        """Average so many readings per sample while in use, and restore the former numbers."""
        registers = {
            protocol.CURRENT_AVERAGING: float(current),
            protocol.POTENTIAL_AVERAGING: float(potential),
        }
        former = {address: self._read_insistently(address) for address in registers}
        # First, so that whatever happens from here on it is known what to restore.
        self._altered.note(chip := self.serial_number(), former)
        try:
            for address, length in registers.items():
                self._write_insistently(address, protocol.pack_floats([length]))
            yield
        finally:
            self.restore(chip)

    def restore(self, chip: str) -> None:
        """Restore what a measurement has altered in this instrument, if that was not done yet."""
        if former := self._altered.of(chip):
            for address, payload in former.items():
                self._write_insistently(address, payload)
            self._altered.note(chip, {})

    def _prepare(self, gain: int, latch: RunLatch) -> None:
        latch.raise_if_tripped()
        self.make_safe()
        self.command_insistently(Command.TIA_GAIN, gain)
        self.command_insistently(Command.CLEAR_ADC_FIFO, 1)
        self._latch = latch

    def _leave(self) -> None:
        """Leave the instrument idle with its cell open."""
        self._latch = None
        with contextlib.suppress(BenchwireError):
            # Before anything is asked, which may take a second.
            self.command_insistently(Command.CELL_SWITCH, 0)
        try:
            self.make_safe()
        except BenchwireError as error:
            # Whatever it says instead, the port is opened anew and the instrument made safe.
            raise InstrumentSilent(
                "The instrument does not answer; its cell could not be confirmed open",
                hint="Check the cable, or disconnect the cell by hand.",
            ) from error

    def waiting_samples(self) -> int:
        """Return how many samples wait in the input buffer, and raise if some were lost."""
        state = self.status()
        _raise_if_ended(state)
        waiting = state.adc_fifo
        if waiting >= ADC_FIFO_SAMPLES:
            raise SamplesLost(
                "The instrument's buffer ran over and samples were lost",
                hint="The computer was too busy for 0.7 s; close other programs.",
            )
        self.reported_period = state.sample_period
        return waiting

    # -- frames -----------------------------------------------------------------------------

    def pop_samples(self, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Take samples out of the input buffer; a lost answer is lost samples."""
        try:
            payload = self._once(
                lambda: self._read(protocol.ADC_FIFO, count * REGISTERS_PER_SAMPLE)
            )
        except (FrameInvalid, InstrumentSilent) as error:
            self.settle_line()
            raise SamplesLost(
                "An answer of the instrument was garbled and its samples are lost",
                hint="Check the cable and its connectors.",
            ) from error
        return protocol.unpack_samples(payload)

    def pop_waiting(self, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Take samples that were seen to wait; an instrument that has none by now has ended."""
        try:
            return self.pop_samples(count)
        except InstrumentBusy:
            _raise_if_ended(self.status())
            raise

    def push_points(self, points: NDArray[np.float64], latch: RunLatch) -> None:
        """Put points into the output buffer."""
        latch.raise_if_tripped()
        self._once(lambda: self._write(protocol.DAC_FIFO, protocol.pack_floats(points)))

    def command(
        self, command: Command, parameter: int | float, latch: RunLatch | None = None
    ) -> None:
        """Send a command; one that energises needs a latch and is not sent once it is tripped."""
        if latch is not None:
            latch.raise_if_tripped()
        self._once(lambda: self._command(command, parameter))

    def command_insistently(self, command: Command, parameter: int) -> None:
        """Send a command that may be sent twice until it is confirmed, a few times."""
        self._insist(lambda: self._command(command, parameter))

    def _command(self, command: Command, parameter: int | float) -> None:
        request = protocol.command_request(command, parameter, self._unit)
        protocol.parse_write_reply(self._exchange(request, protocol.WRITE_REPLY_BYTES), request)

    def _read(self, address: int, registers: int) -> bytes:
        reply = self._exchange(
            protocol.read_request(address, registers, self._unit),
            protocol.read_reply_bytes(registers),
        )
        return protocol.parse_read_reply(reply, registers, self._unit)

    def _read_insistently(self, address: int) -> bytes:
        return self._insist(lambda: self._read(address, 2))

    def _write(self, address: int, payload: bytes) -> None:
        request = protocol.write_request(address, payload, self._unit)
        protocol.parse_write_reply(self._exchange(request, protocol.WRITE_REPLY_BYTES), request)

    def _write_insistently(self, address: int, payload: bytes) -> None:
        self._insist(lambda: self._write(address, payload))

    def _exchange(self, request: bytes, length: int) -> bytes:
        # What is there already answers nothing that is asked now.
        self._transport.discard_input()
        self._transport.write(request)
        # Most answers are there in one piece, which is a third of the calls for head and rest.
        reply = self._transport.read_some(length, REPLY_SECONDS)
        lacking = protocol.EXCEPTION_REPLY_BYTES - len(reply)
        if reply and lacking > 0:
            reply += self._transport.read(lacking, REPLY_SECONDS)
        if len(reply) < protocol.EXCEPTION_REPLY_BYTES:
            raise InstrumentSilent("The instrument does not answer")
        if protocol.is_exception(reply):
            return reply[: protocol.EXCEPTION_REPLY_BYTES]
        if len(reply) < length:
            reply += self._transport.read(length - len(reply), REPLY_SECONDS)
        return reply

    def _once(self, exchange: Callable[[], _T]) -> _T:
        """Do an exchange that must not be repeated."""
        self._choose_unit()
        try:
            result = exchange()
        except InstrumentRefused:
            self._units.answered()
            raise
        except (FrameInvalid, InstrumentSilent):
            self._units.owes(self._unit)
            raise
        self._units.answered()
        return result

    def _insist(self, exchange: Callable[[], _T]) -> _T:
        """Repeat an exchange that may be repeated until it succeeds, a few times.

        All attempts go out under one unit, as any of their answers will do.
        """
        self._choose_unit()
        began = self.clock.monotonic()
        owed = 0
        for attempt in range(1, ATTEMPTS + 1):
            try:
                result = exchange()
            except (FrameInvalid, InstrumentRefused, InstrumentSilent) as error:
                # A garbled answer has come all the same; a request garbled on its way is refused.
                owed += not isinstance(error, FrameGarbled | InstrumentRefused)
                is_late = self.clock.monotonic() - began > ATTEMPTS_SECONDS
                if attempt == ATTEMPTS or is_late:
                    self._units.owes(self._unit, owed)
                    raise InstrumentSilent(
                        "The instrument does not answer properly",
                        hint="Check the cable, or switch the instrument off and on.",
                    ) from error
                if self._latch is not None and self._latch.is_tripped:
                    self._units.owes(self._unit, owed)
                    self._latch.raise_if_tripped()
                self.settle_line()
            else:
                self._units.answered()
                if owed:
                    # The other attempts may be answered as well.
                    self._units.owes(self._unit, owed)
                    self.settle_line()
                return result
        raise AssertionError("not reached")

    def _choose_unit(self) -> None:
        unit = self._units.free()
        if unit is None:
            self.settle_line()
            unit = self._units.free()
        if unit is None:
            raise InstrumentSilent(
                "The instrument owes answers; it is asked again when none can come any more",
                hint="The server reconnects automatically, within seconds once it answers.",
            )
        self._unit = unit

    def settle_line(self) -> None:
        """Wait for silence and forget what came late."""
        late = b""
        for _ in range(20):
            more = self._transport.read(protocol.MAX_FRAME_BYTES, 0.01)
            late += more
            if not more:
                break
        self._transport.discard_input()
        self._units.came(late)


def _raise_if_ended(state: Status) -> None:
    if not state.is_running:
        raise SamplesLost(
            "The instrument ended the run by itself",
            hint="It may have been reset; check its supply.",
        )


class _Points:
    """A waveform's chunks, cut into blocks of the size the instrument takes."""

    def __init__(self, chunks: Iterable[NDArray[np.float64]]) -> None:
        self._chunks = iter(chunks)
        self._held: NDArray[np.float64] = np.empty(0)
        self.is_exhausted = False

    def next_block(self) -> NDArray[np.float64]:
        """Return up to 60 points; empty when there are no more."""
        while len(self._held) < MAX_POINTS_PER_WRITE and not self.is_exhausted:
            chunk = next(self._chunks, None)
            if chunk is None:
                self.is_exhausted = True
            else:
                self._held = np.concatenate([self._held, chunk]) if len(self._held) else chunk
        block, self._held = (
            self._held[:MAX_POINTS_PER_WRITE],
            self._held[MAX_POINTS_PER_WRITE:],
        )
        return block

    @property
    def is_empty(self) -> bool:
        """Whether every point was handed out."""
        return self.is_exhausted and not len(self._held)


class _Playback:
    """The bookkeeping of one waveform: how many points went in, how many samples came out.

    ``ticks`` of the instrument are the samples popped plus those waiting. While the output buffer
    holds points, each tick has taken one, so ticks, points pushed and points waiting have to add
    up; where they do not, rows and points no longer belong together.
    """

    def __init__(self, device: Potentiostat, points: _Points, latch: RunLatch, sink: Sink) -> None:
        self._device = device
        self._points = points
        self._latch = latch
        self._sink = sink
        self._pushed = 0
        self._popped = 0
        self._started = False
        self._in_step = True
        # Whether all points were in before the buffer ran dry.
        self._is_fed = False

    def run(self) -> None:
        """Play to the end."""
        self._top_up(0)
        if self._pushed == 0:
            return
        self._is_fed = self._points.is_empty
        self._device.command(Command.FIFO_START, 1, self._latch)
        self._started = True
        while True:
            self._latch.raise_if_tripped()
            state = self._checked_status()
            # Feeding comes first: a dry output spoils the run, a late sample only waits.
            self._top_up(state.dac_fifo)
            if self._points.is_empty and not self._is_fed:
                # The buffer may have run dry before the last points came in, and cannot have once
                # some of them still wait.
                state = self._checked_status()
                self._is_fed = True
            # Samples can wait; a cell that is to be opened cannot wait for one more answer.
            self._latch.raise_if_tripped()
            self._drain(state.adc_fifo)
            if self._points.is_empty and self._popped == self._pushed + 1:
                return
            self._latch.wait(ROUND_SECONDS)

    def salvage(self) -> None:
        """After a stop: open the cell at once, then hand out what was measured before.

        Nothing is handed out where rows and points no longer belong together.
        """
        if not self._started:
            return
        device = self._device
        with contextlib.suppress(BenchwireError):
            # The cell may open long before that is confirmed.
            opened = device.clock.monotonic()
            device.command_insistently(Command.CELL_SWITCH, 0)
            if self._in_step:
                state = device.status()
                since = device.clock.monotonic() - opened
                before_opening = state.adc_fifo - int(since / SAMPLE_PERIOD) - 2
                if state.adc_fifo < ADC_FIFO_SAMPLES and not self._has_run_dry(state):
                    self._drain(before_opening, whole_blocks=False)

    def _checked_status(self) -> Status:
        state = self._device.status()
        ticks = self._popped + state.adc_fifo
        if state.adc_fifo >= ADC_FIFO_SAMPLES:
            self._in_step = False
            raise SamplesLost(
                "The instrument's buffer ran over and samples were lost",
                hint="The computer was too busy for 0.7 s; close other programs.",
            )
        if not state.is_running:
            self._in_step = False
            _raise_if_ended(state)
        is_ahead = ticks > self._pushed - state.dac_fifo
        if self._has_run_dry(state) or (is_ahead and state.dac_fifo):
            self._in_step = False
            raise WaveformStarved(
                "The waveform ran dry because the computer was too busy",
                hint="Close other programs; the rows before it are right.",
            )
        if ticks < self._pushed - state.dac_fifo:
            self._in_step = False
            raise SamplesLost(
                "Samples and points do not add up; some were lost on the line",
                hint="Check the cable and its connectors.",
            )
        self._device.reported_period = state.sample_period
        return state

    def _has_run_dry(self, state: Status) -> bool:
        return state.dac_fifo == 0 and not self._is_fed

    def _drain(self, waiting: int, *, whole_blocks: bool = True) -> None:
        left = self._pushed + 1 - self._popped
        waiting = min(waiting, left)
        while waiting > 0:
            size = min(MAX_SAMPLES_PER_READ, waiting)
            if size < MAX_SAMPLES_PER_READ and whole_blocks and size < left:
                return
            try:
                current, potential = self._device.pop_samples(size)
            except InstrumentBusy:
                return
            except SamplesLost:
                self._in_step = False
                self._latch.raise_if_tripped()
                if self._nothing_was_popped():
                    self._in_step = True
                    continue
                raise
            first = self._popped - 1
            self._popped += size
            left -= size
            waiting -= size
            if first < 0:
                # The pair measured before the first point was put out.
                current, potential, first = current[1:], potential[1:], 0
            if len(current):
                self._sink(Samples(first, current, potential))
            if whole_blocks:
                self._latch.raise_if_tripped()

    def _nothing_was_popped(self) -> bool:
        """Whether the instrument still holds the samples whose answer was lost."""
        state = self._device.status()
        return state.dac_fifo > 0 and (
            self._popped + state.adc_fifo == self._pushed - state.dac_fifo
        )

    def _top_up(self, queued: int) -> None:
        while queued + MAX_POINTS_PER_WRITE <= QUEUED_POINTS and not self._points.is_empty:
            block = self._points.next_block()
            if not len(block):
                return
            self._push(block)
            queued += len(block)

    def _push(self, block: NDArray[np.float64]) -> None:
        for _ in range(ATTEMPTS):
            try:
                self._device.push_points(block, self._latch)
            except InstrumentBusy:
                self._latch.wait(0.02)
            except (FrameInvalid, InstrumentSilent):
                # Sent twice, the points would be played twice: the state tells if they are in.
                self._latch.raise_if_tripped()
                self._device.settle_line()
                if self._is_in(block):
                    break
            else:
                break
        else:
            raise InstrumentSilent("The instrument does not take the waveform")
        self._pushed += len(block)

    def _is_in(self, block: NDArray[np.float64]) -> bool:
        state = self._device.status()
        ticks = self._popped + state.adc_fifo if self._started else 0
        if state.dac_fifo == self._pushed + len(block) - ticks:
            return True
        if state.dac_fifo == self._pushed - ticks:
            return False
        self._in_step = False
        raise WaveformStarved(
            "Points were lost on the line",
            hint="Check the cable and its connectors; the rows so far are right.",
        )


class _CurrentRun:
    """The set points of one galvanostatic run, sampled or polled."""

    def __init__(self, device: Potentiostat, latch: RunLatch, sink: Sink, clock: Clock) -> None:
        self._device = device
        self._latch = latch
        self._sink = sink
        self._clock = clock
        self._samples_by_itself: bool | None = None
        self._rows = 0
        self._undecided: list[Samples] = []
        # The last step that samples are owed of.
        self._held = 0
        # Samples that the instrument owes, as pairs of step and number, in order.
        self._owed: list[list[int]] = []

    def run(self, steps: Iterable[tuple[float, float]]) -> None:
        """Hold every set point for its time and hand out all rows."""
        start = self._clock.monotonic()
        step_start = start
        begun: float | None = None
        for number, (current, duration) in enumerate(steps):
            self._raise_if_late(step_start)
            self._device.command(Command.PID_START, float(current), self._latch)
            now = self._clock.monotonic()
            begun = now if begun is None else begun
            late = (now - begun) - (step_start - start)
            self._owe(number, duration, late if late > BORDER_SECONDS else 0.0)
            self._hold(number, start, step_start, duration)
            step_start += duration
        if self._samples_by_itself is None:
            self._decide(self._device.status().adc_fifo)
        if self._samples_by_itself:
            deadline = self._clock.monotonic() + 5.0
            while any(count for _, count in self._owed):
                self._latch.raise_if_tripped()
                self._take_samples()
                self._latch.wait(ROUND_SECONDS)
                if self._clock.monotonic() > deadline:
                    raise SamplesLost("The instrument stopped sampling before the end")
        elif not self._rows:
            raise SamplesLost(
                "Every step was over before it could be measured",
                hint=f"This instrument needs steps of {POLL_PERIOD * 1e3:.1f} ms or longer.",
            )

    def _owe(self, number: int, duration: float, late: float) -> None:
        """Note which samples belong to a set point that came late: the one before it went on."""
        count = samples_in(duration, SAMPLE_PERIOD)
        more = min(samples_in(late, SAMPLE_PERIOD), count)
        if more:
            self._owed.append([self._held, more])
        if more < count:
            self._owed.append([number, count - more])
            self._held = number

    def _hold(self, number: int, start: float, step_start: float, duration: float) -> None:
        end = step_start + duration
        for poll in range(samples_in(duration, POLL_PERIOD)):
            if self._samples_by_itself:
                break
            due = step_start + poll * POLL_PERIOD
            self._latch.wait(due - self._clock.monotonic())
            self._latch.raise_if_tripped()
            self._raise_if_late(due)
            state = self._device.status()
            _raise_if_ended(state)
            if not (state.in_pid_mode and state.cell_connected):
                raise SamplesLost(
                    "The instrument no longer holds the current",
                    hint="It may have been reset; check its supply.",
                )
            now = self._clock.monotonic() - start
            row = Samples(
                self._rows,
                np.array([state.current]),
                np.array([state.potential]),
                np.array([now]),
                number,
            )
            self._rows += 1
            if self._samples_by_itself is None:
                self._undecided.append(row)
                if now >= FIFO_VERDICT_SECONDS:
                    self._decide(state.adc_fifo)
            else:
                self._sink(row)
        while (left := end - self._clock.monotonic()) > 0:
            self._latch.raise_if_tripped()
            if self._samples_by_itself:
                self._take_samples()
            self._latch.wait(min(left, ROUND_SECONDS))

    def _raise_if_late(self, due: float) -> None:
        """End a run that falls behind: its cell would be under current for longer than asked."""
        if self._clock.monotonic() - due > LATEST_STEP_SECONDS:
            raise SamplesLost(
                "The instrument could not be asked as often as these steps need",
                hint="Choose longer steps, or close other programs.",
            )

    def _decide(self, waiting: int) -> None:
        """Settle whether the instrument samples by itself, once it has had time to."""
        self._samples_by_itself = waiting > 0
        if self._samples_by_itself:
            self._rows = 0
        else:
            for row in self._undecided:
                self._sink(row)
        self._undecided.clear()

    def _take_samples(self) -> None:
        waiting = self._device.waiting_samples()
        while waiting > 0 and self._owed:
            step, count = self._owed[0]
            if count == 0:
                self._owed.pop(0)
                continue
            self._latch.raise_if_tripped()
            size = min(MAX_SAMPLES_PER_READ, waiting, count)
            current, potential = self._device.pop_waiting(size)
            self._sink(Samples(self._rows, current, potential, None, step))
            self._rows += size
            waiting -= size
            self._owed[0][1] -= size
