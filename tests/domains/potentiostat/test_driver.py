"""The driver on the emulated instrument over a pseudo-terminal, and on a line that plays tricks."""

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from benchwire.domains.potentiostat import impedance, waveforms
from benchwire.domains.potentiostat.driver import (
    InstrumentSilent,
    Potentiostat,
    RunLatch,
    Safety,
    Samples,
    SamplesLost,
    Stopped,
    WaveformStarved,
)
from benchwire.domains.potentiostat.emulator import EmulatedPotentiostat, _Refused, emulated
from benchwire.domains.potentiostat.instrument import Instrument
from benchwire.domains.potentiostat.modes import MODES
from benchwire.domains.potentiostat.protocol import Command
from benchwire.domains.potentiostat.validation import parse
from benchwire.foundation.clock import SystemClock
from benchwire.foundation.errors import BenchwireError
from benchwire.foundation.instruments.emulation import PtyHost
from benchwire.foundation.instruments.ports import SerialPort
from benchwire.foundation.instruments.transport import LinkLost, SerialTransport
from tests.support.waiting import until

ENERGISING = {("00e4", "0001"), ("00e5", "0001")}


@pytest.fixture
def device() -> EmulatedPotentiostat:
    return emulated(1)


@pytest.fixture
def instrument(device: EmulatedPotentiostat, tmp_path: Path) -> Iterator[Potentiostat]:
    host = PtyHost({"p": device}, tmp_path)
    transport = SerialTransport(str(host.paths["p"]), 1_500_000)
    yield Potentiostat(transport, SystemClock())
    transport.close()
    host.close()


def play(instrument: Potentiostat, points: np.ndarray, latch: RunLatch | None = None):
    blocks: list[Samples] = []
    instrument.play([points], gain=0, latch=latch or RunLatch(), sink=blocks.append)
    firsts = [block.first for block in blocks]
    assert firsts == np.cumsum([0, *[len(block.current) for block in blocks[:-1]]]).tolist()
    return (
        np.concatenate([block.current for block in blocks]),
        np.concatenate([block.potential for block in blocks]),
    )


def test_every_point_gets_its_row(instrument: Potentiostat) -> None:
    points = 0.3 + 0.2 * np.sin(np.arange(4000) / 60)
    with instrument.averaging(1, 1):
        _, potential = play(instrument, points)
    assert len(potential) == len(points)
    assert np.abs(potential - points).max() < 0.0014


@pytest.mark.parametrize("count", [1, 2, 29, 30, 31, 59, 60, 61, 1899, 1901])
def test_any_number_of_points_is_played(instrument: Potentiostat, count: int) -> None:
    _, potential = play(instrument, np.full(count, 0.3))
    assert len(potential) == count


def test_spectrum_meets_the_closed_form(
    instrument: Potentiostat, device: EmulatedPotentiostat
) -> None:
    cell = device._cell
    parameters = parse(
        MODES["EIS"],
        {"start_freq": 100, "end_freq": 1, "points_per_decade": 4, "bias": cell.rest_potential},
    )
    planned = impedance.plan(parameters)
    analyser = impedance.ImpedanceAnalyser(planned)
    found: list[impedance.ImpedancePoint] = []
    with instrument.averaging(1, 1):
        instrument.play(
            (chunk.applied for chunk in impedance.excitation(planned)),
            gain=0,
            latch=RunLatch(),
            sink=lambda s: found.extend(analyser.feed(s.first, s.current, s.potential)),
        )
    assert len(found) == 9
    true = cell.impedance(np.array([point.frequency for point in found]))
    for point, expected in zip(found, true, strict=True):
        assert abs(point.magnitude / abs(expected) - 1) < 0.01
        assert abs(point.phase_degrees - np.degrees(np.angle(expected))) < 1.0


def sampled_by_itself(folder: Path, steps: Iterable[tuple[float, float]]) -> list[Samples]:
    """Have firmware that samples by itself hold currents, and return the blocks of rows."""
    host = PtyHost({"p": EmulatedPotentiostat(b"x", pid_samples=True)}, folder)
    transport = SerialTransport(str(host.paths["p"]), 1_500_000)
    blocks: list[Samples] = []
    Potentiostat(transport, SystemClock()).play_currents(
        steps, gain=0, latch=RunLatch(), sink=blocks.append
    )
    transport.close()
    host.close()
    return blocks


def test_firmware_that_samples_currents_is_read_from_its_buffer(tmp_path: Path) -> None:
    blocks = sampled_by_itself(tmp_path, [(1e-5, 0.4), (2e-5, 0.3)])
    assert all(block.time is None for block in blocks)
    rows = [sum(len(b.current) for b in blocks if b.step == step) for step in (0, 1)]
    assert sum(rows) == 1111 + 833
    # The border moves where the machine is too busy to change the current in time.
    assert 1111 <= rows[0] < 1111 + 600


def test_a_set_point_that_comes_late_moves_the_border_between_the_rows(tmp_path: Path) -> None:
    """The instrument holds the current before it meanwhile, and samples on."""

    def steps() -> Iterator[tuple[float, float]]:
        yield 1e-5, 0.6
        time.sleep(0.4)
        yield 3e-5, 1.0

    blocks = sampled_by_itself(tmp_path, steps())
    current = [np.concatenate([b.current for b in blocks if b.step == step]) for step in (0, 1)]
    assert len(current[0]) + len(current[1]) == 1666 + 2777
    # Where it moved to is known to a few samples, or to what a busy machine needs for an exchange.
    assert np.abs(current[0][:-300] - 1e-5).max() < 1e-5
    assert np.abs(current[1][300:] - 3e-5).max() < 1e-5
    assert len(current[0]) == pytest.approx(1666 + 1111, abs=300)


def test_a_set_point_later_than_steps_are_long_gives_the_steps_it_missed_no_rows(
    tmp_path: Path,
) -> None:
    def steps() -> Iterator[tuple[float, float]]:
        for number in range(12):
            if number == 4:
                time.sleep(0.35)
            yield 1e-5 * (1 + number % 5), 0.1

    blocks = sampled_by_itself(tmp_path, steps())
    assert sum(len(block.current) for block in blocks) == 12 * 277
    for step in {3, 8, 11} & {block.step for block in blocks}:
        current = np.concatenate([b.current for b in blocks if b.step == step])
        assert np.abs(np.median(current) - 1e-5 * (1 + step % 5)) < 2e-6
    held = np.concatenate([block.current for block in blocks if block.step == 3])
    # Steps 4 and 5 were over before they began. A busy machine is late by itself.
    assert not any(block.step in {4, 5} for block in blocks)
    assert len(held) == pytest.approx(277 + 972, abs=300)


def test_stop_hands_out_what_was_measured_before(
    instrument: Potentiostat, device: EmulatedPotentiostat
) -> None:
    latch, rows = RunLatch(), []

    def sink(samples: Samples) -> None:
        rows.append(samples)
        if sum(len(block.current) for block in rows) > 500:
            latch.trip("enough")

    with instrument.averaging(1, 1), pytest.raises(Stopped, match="enough"):
        instrument.play([np.full(20_000, 0.5)], gain=0, latch=latch, sink=sink)
    potential = np.concatenate([block.potential for block in rows])
    assert np.abs(potential - 0.5).max() < 0.002, "no row was measured with the cell open"
    state = device.control("state", {})
    assert (state["cell_closed"], state["running"], state["dac_fifo"]) == (False, False, 0)


def test_host_that_sleeps_is_told_of_lost_samples(instrument: Potentiostat) -> None:
    slept = []

    def sink(_: Samples) -> None:
        if not slept:
            slept.append(time.sleep(1.0))

    with pytest.raises((SamplesLost, WaveformStarved)):
        instrument.play([np.full(20_000, 0.5)], gain=0, latch=RunLatch(), sink=sink)


def test_stale_waveform_is_played_out_with_the_cell_open(
    instrument: Potentiostat, device: EmulatedPotentiostat
) -> None:
    instrument.push_points(np.full(60, 1.0), RunLatch())
    safety = instrument.make_safe()
    assert safety.queued_points == 60
    state = device.control("state", {})
    assert (state["dac_fifo"], state["closings"], state["running"]) == (0, 0, False)


def test_stale_stop_request_is_cleared(
    instrument: Potentiostat, device: EmulatedPotentiostat
) -> None:
    from benchwire.domains.potentiostat.protocol import Command

    instrument.command(Command.STOP, 1)
    assert device.control("state", {})["stop_requested"]
    _, potential = play(instrument, np.full(200, 0.4))
    assert len(potential) == 200


def test_idle_instrument_is_sent_no_stop(
    instrument: Potentiostat, device: EmulatedPotentiostat
) -> None:
    instrument.make_safe()
    codes = [code for code, _ in device.control("state", {})["commands"]]
    assert codes == [0xE4]


def test_averaging_is_restored_after_an_error(
    instrument: Potentiostat, device: EmulatedPotentiostat
) -> None:
    seen = []

    def measure_and_fail() -> None:
        with instrument.averaging(2, 3):
            seen.append(device.control("state", {})["averaging"])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        measure_and_fail()
    assert seen == [[2, 3]]
    assert device.control("state", {})["averaging"] == [100, 100]


# -- a line that plays tricks ------------------------------------------------------------------


class Line:
    """A transport straight into the emulator, where each request passes a trickster."""

    def __init__(self, trick: Callable[[int, bytes, bytes], bytes | None]) -> None:
        self.device = emulated(1)
        self.trick = trick
        self.number = 0
        self.sent: list[bytes] = []
        self.waiting = b""

    def write(self, data: bytes) -> None:
        self.sent.append(data)
        answer = self.device.receive(data, time.monotonic())
        tricked = self.trick(self.number, data, answer)
        self.number += 1
        self.waiting += answer if tricked is None else tricked

    def read(self, size: int, _timeout: float) -> bytes:
        taken, self.waiting = self.waiting[:size], self.waiting[size:]
        return taken

    read_some = read

    def discard_input(self) -> None:
        self.waiting = b""

    def close(self) -> None: ...


def energised(frames: list[bytes]) -> list[bytes]:
    """Frames that connect the cell or feed the output."""
    return [
        frame
        for frame in frames
        if frame[2:4] == b"\x02\x00"
        or (frame[2:4] == b"\x4f\x00" and (frame[7:9].hex(), frame[9:11].hex()) in ENERGISING)
        or frame[7:9].hex() == "00e6"
    ]


@pytest.mark.parametrize("step", range(40))
def test_after_a_stop_at_any_frame_nothing_energises(step: int) -> None:
    latch = RunLatch()

    def trick(number: int, _request: bytes, _answer: bytes) -> None:
        if number == step:
            latch.trip("stop")

    line = Line(trick)
    with pytest.raises(Stopped):
        Potentiostat(line, SystemClock()).play(
            [np.full(3000, 0.5)], gain=0, latch=latch, sink=lambda _: None
        )
    assert energised(line.sent[step + 1 :]) == []
    state = line.device.control("state", {})
    assert (state["cell_closed"], state["running"]) == (False, False)


@pytest.mark.parametrize("step", range(0, 60, 3))
@pytest.mark.parametrize("damage", ["lost", "garbled", "late"])
def test_one_damaged_answer_is_mended_or_told(step: int, damage: str) -> None:
    late: list[bytes] = []

    def trick(number: int, _request: bytes, answer: bytes) -> bytes | None:
        if late:
            return late.pop() + answer
        if number != step:
            return None
        if damage == "late":
            late.append(answer)
        return bytes([answer[0] ^ 0xFF]) + answer[1:] if damage == "garbled" else b""

    line, rows = Line(trick), []
    points = 0.3 + 0.1 * np.sin(np.arange(1500) / 50)
    try:
        Potentiostat(line, SystemClock()).play([points], gain=0, latch=RunLatch(), sink=rows.append)
    except BenchwireError:
        whole = False
    else:
        whole = True
    received = sum(len(block.current) for block in rows)
    assert (received == len(points)) or not whole
    state = line.device.control("state", {})
    assert (state["cell_closed"], state["running"]) == (False, False)
    assert state["overwritten"] == 0


def test_deaf_instrument_is_silent_not_done() -> None:
    line = Line(lambda *_: b"")
    with pytest.raises(InstrumentSilent):
        Potentiostat(line, SystemClock()).play(
            [np.zeros(10)], gain=0, latch=RunLatch(), sink=lambda _: None
        )


def test_waveform_is_taken_as_it_is_played(instrument: Potentiostat) -> None:
    """An hour of waveform is never made ahead of time."""
    taken = 0
    latch = RunLatch()

    def endless() -> Iterator[np.ndarray]:
        nonlocal taken
        while True:
            taken += 1
            yield np.full(waveforms.CHUNK_POINTS, 0.3)

    def sink(samples: Samples) -> None:
        if samples.first > 1000:
            latch.trip("enough")

    with pytest.raises(Stopped):
        instrument.play(endless(), gain=0, latch=latch, sink=sink)
    assert taken <= 2


def hold_current(instrument: Potentiostat, sink: Callable[[Samples], None]) -> None:
    instrument.play_currents([(1e-5, 2.0)] * 3, gain=0, latch=RunLatch(), sink=sink)


def leave_open(instrument: Potentiostat, sink: Callable[[Samples], None]) -> None:
    instrument.record_open_circuit(15_000, gain=0, latch=RunLatch(), sink=sink)


@pytest.mark.parametrize("measure", [hold_current, leave_open])
def test_an_instrument_that_resets_gives_no_rows_any_more(
    instrument: Potentiostat,
    device: EmulatedPotentiostat,
    measure: Callable[[Potentiostat, Callable[[Samples], None]], None],
) -> None:
    rows = []

    def sink(samples: Samples) -> None:
        rows.append(samples)
        if sum(len(block.current) for block in rows) > 100:
            device.control("reset", {})

    with pytest.raises(SamplesLost, match="by itself"):
        measure(instrument, sink)
    # What comes after a reset is none of the run's.
    assert sum(len(block.current) for block in rows) < 1000


def refuse_openings(device: EmulatedPotentiostat, times: float) -> None:
    """Have a device refuse to open its cell, as it does when a request is damaged on its way."""
    obey, left = device._command, [times]

    def sometimes(payload: bytes, now: float) -> None:
        if payload[:4].hex() == "00e40000" and left[0] > 0:
            left[0] -= 1
            raise _Refused(3)
        obey(payload, now)

    device._command = sometimes


def test_an_opening_that_was_refused_is_asked_for_again(
    instrument: Potentiostat, device: EmulatedPotentiostat
) -> None:
    refuse_openings(device, 2)
    play(instrument, np.full(500, 0.5))
    assert not device.control("state", {})["cell_closed"]


def test_a_cell_that_does_not_open_is_not_told_as_open(
    instrument: Potentiostat, device: EmulatedPotentiostat
) -> None:
    refuse_openings(device, float("inf"))
    with pytest.raises(InstrumentSilent):
        play(instrument, np.full(500, 0.5))


def test_a_galvanostatic_run_that_falls_behind_ends(
    instrument: Potentiostat, device: EmulatedPotentiostat
) -> None:
    """Asked seldom, it would hold the current for longer until it has all its rows."""
    device.control("delay", {"seconds": 0.03})
    began = time.monotonic()
    with pytest.raises(SamplesLost, match="as often as"):
        instrument.play_currents([(1e-5, 2.0)], gain=0, latch=RunLatch(), sink=lambda _: None)
    assert time.monotonic() - began < 10
    assert device.control("state", {})["opened_at"] - began < 3.5


def test_steps_too_short_to_be_measured_are_told(instrument: Potentiostat) -> None:
    with pytest.raises(SamplesLost, match="before it could be measured"):
        instrument.play_currents(
            [(1e-5, 0.001)] * 20, gain=0, latch=RunLatch(), sink=lambda _: None
        )


def test_a_waveform_whose_last_points_come_late_is_told(instrument: Potentiostat) -> None:
    """They are all in, but the output had been empty before, so rows and points are apart."""

    def points() -> Iterator[np.ndarray]:
        yield np.full(1900, 0.3)
        time.sleep(0.75)
        yield np.full(60, 0.5)

    rows: list[Samples] = []
    with pytest.raises((WaveformStarved, SamplesLost)):
        instrument.play(points(), gain=0, latch=RunLatch(), sink=rows.append)


def test_an_idle_instrument_that_is_found_connected_is_made_safe(tmp_path: Path) -> None:
    host = PtyHost({"p": emulated(1)}, tmp_path)
    told: list[Safety] = []
    instrument = Instrument(
        SerialPort(str(host.paths["p"])),
        lambda port: SerialTransport(port.path, 1_500_000),
        SystemClock(),
        told_safe=lambda _, found: told.append(found),
    )
    try:
        instrument.run(lambda found: found.command(Command.CELL_SWITCH, 1, RunLatch())).result(10)
        assert host.control("p", "state", {})["cell_closed"]
        until(lambda: not host.control("p", "state", {})["cell_closed"], seconds=20, what="safety")
        assert told[-1].was_connected
    finally:
        instrument.close()
        host.close()


def test_another_instrument_on_the_port_is_made_safe_and_not_used(tmp_path: Path) -> None:
    first, second = (PtyHost({"p": emulated(number)}, tmp_path / str(number)) for number in (1, 2))
    path = tmp_path / "port"
    path.symlink_to(first.paths["p"])
    others: list[str | None] = []
    instrument = Instrument(
        SerialPort(str(path)),
        lambda port: SerialTransport(port.path, 1_500_000),
        SystemClock(),
        told_other=lambda found: others.append(found.serial_number),
    )
    try:
        assert instrument.identify()
        serial_number = instrument.serial_number
        path.unlink()
        path.symlink_to(second.paths["p"])
        first.close()
        until(lambda: others, seconds=20, what="the other one")
        assert not second.control("p", "state", {})["cell_closed"]
        closings = second.control("p", "state", {})["closings"]
        with pytest.raises(LinkLost, match="Another instrument"):
            instrument.run(
                lambda found: found.play(
                    [np.full(100, 0.5)], gain=0, latch=RunLatch(), sink=lambda _: None
                )
            ).result(20)
        assert second.control("p", "state", {})["closings"] == closings
        assert instrument.serial_number == serial_number == others[0]
    finally:
        instrument.close()
        second.close()
