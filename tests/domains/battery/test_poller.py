import contextlib
import logging
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchwire.domains.battery.emulator import EmulatedInverter
from benchwire.domains.battery.poller import InverterState, Pollers
from benchwire.domains.battery.register_map import Inverter
from benchwire.domains.battery.signals import BMS
from benchwire.foundation.clock import Schedule, SystemClock, microseconds
from tests.domains.battery.shelf import Shelf
from tests.support.waiting import until


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def emulated() -> Iterator[EmulatedInverter]:
    with EmulatedInverter(day_seconds=60) as emulator:
        yield emulator


def inverter(port: int, name: str = "box", *, timeout_s: float = 2.0) -> Inverter:
    return Inverter(
        name=name,
        device_id=name.upper(),
        host="127.0.0.1",
        port=port,
        interval_s=0.2,
        timeout_s=timeout_s,
        sunspec=True,
    )


@contextlib.contextmanager
def polling(shelf: Shelf, *inverters: Inverter) -> Iterator[Pollers]:
    pollers = Pollers(inverters, shelf.take, clock=SystemClock(), first_retry_seconds=0.05)
    pollers.start()
    try:
        yield pollers
    finally:
        pollers.close()


def state(pollers: Pollers) -> InverterState:
    return pollers.states[0]


def test_readings_of_both_groups_reach_the_sink_on_schedule(
    shelf: Shelf, emulated: EmulatedInverter
) -> None:
    began = microseconds(SystemClock().now())
    with polling(shelf, inverter(emulated.port)) as pollers:
        until(lambda: len(shelf.readings("BOX", "pcs")) >= 6)
        now = state(pollers)
        assert now.is_connected
        assert (now.name, now.device_id, now.errors, now.reconnects) == ("box", "BOX", 0, 0)
        assert (now.last_error, now.registers, now.dropped) == (None, 38 + 62 + 24, 0)
        assert now.reads >= 6
    ended = microseconds(SystemClock().now())
    bms, pcs = shelf.readings("BOX", "bms"), shelf.readings("BOX", "pcs")
    assert [one.at_us for one in bms] == [one.at_us for one in pcs]
    assert all(began <= one.at_us <= ended for one in bms)
    assert set(bms[0].values) == set(BMS.fields)
    # The battery is never still, and every reading is a new one.
    assert len({one.values["current"] for one in bms}) > 1


def test_schedule_keeps_to_its_moments_however_long_a_reading_takes() -> None:
    schedule = Schedule(2.0, anchor=100.0)
    assert schedule.due == 100.0
    assert (schedule.advance(100.3), schedule.due) == (0, 102.0)
    assert (schedule.advance(103.9), schedule.due) == (0, 104.0)
    assert (schedule.advance(109.0), schedule.due) == (2, 110.0)
    assert (schedule.advance(110.0), schedule.due) == (0, 112.0)


def test_inverter_that_loses_power_is_read_again_when_it_is_back(
    shelf: Shelf, emulated: EmulatedInverter, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "benchwire")
    with polling(shelf, inverter(emulated.port)) as pollers:
        until(lambda: state(pollers).reads >= 2)
        emulated.kill()
        until(lambda: state(pollers).errors >= 3)
        assert not state(pollers).is_connected
        assert state(pollers).last_error == "box is not reached"
        before = state(pollers).reads
        emulated.start()
        until(lambda: state(pollers).reads >= before + 2)
        assert state(pollers).is_connected
        assert state(pollers).reconnects >= 1
    told = [record.getMessage() for record in caplog.records]
    assert [text for text in told if text.startswith("box ")].count("box is read") == 2
    assert len([text for text in told if "is not reached" in text or "closed" in text]) == 1


def test_inverter_that_falls_silent_is_read_again(shelf: Shelf, emulated: EmulatedInverter) -> None:
    with polling(shelf, inverter(emulated.port, timeout_s=0.2)) as pollers:
        until(lambda: state(pollers).reads >= 1)
        emulated.go_silent()
        until(lambda: state(pollers).last_error == "box did not answer in time")
        before = state(pollers).reads
        emulated.go_silent(silent=False)
        until(lambda: state(pollers).reads > before)
        assert state(pollers).missed >= 1


def test_late_answers_never_become_readings(shelf: Shelf, emulated: EmulatedInverter) -> None:
    emulated.fix({"soc": 11.0})
    with polling(shelf, inverter(emulated.port, timeout_s=0.2)) as pollers:
        until(lambda: state(pollers).reads >= 2)
        # The registers of this moment are taken at once and sent only after the time-out.
        emulated.answer_late(0.4, 0.4, 0.4)
        until(lambda: state(pollers).errors >= 2)
        until(lambda: not state(pollers).is_connected)
        stored = len(shelf.readings("BOX", "bms"))
        emulated.fix({"soc": 22.0})
        until(lambda: len(shelf.readings("BOX", "bms")) >= stored + 3)
    values = shelf.values("BOX", "bms", "soc")
    assert values == sorted(values)
    assert set(values) == {11.0, 22.0}


def test_refusals_are_counted_and_the_connection_stays(
    shelf: Shelf, emulated: EmulatedInverter
) -> None:
    with polling(shelf, inverter(emulated.port)) as pollers:
        until(lambda: state(pollers).reads >= 1)
        emulated.refuse(4)
        until(lambda: state(pollers).errors >= 2)
        assert state(pollers).is_connected
        assert "it has a fault" in str(state(pollers).last_error)
        emulated.refuse(0)
        before = state(pollers).reads
        until(lambda: state(pollers).reads > before)
        assert state(pollers).reconnects == 0


def test_outage_of_the_store_loses_no_reading(shelf: Shelf, emulated: EmulatedInverter) -> None:
    with polling(shelf, inverter(emulated.port)) as pollers:
        until(lambda: shelf.readings("BOX", "bms"))
        shelf.is_broken = True
        before = state(pollers).reads
        until(lambda: state(pollers).reads >= before + 4)
        shelf.is_broken = False
        until(lambda: len(shelf.readings("BOX", "bms")) >= before + 4)
    assert len(shelf.readings("BOX", "bms")) == pollers.states[0].reads
    assert len(shelf.readings("BOX", "pcs")) == pollers.states[0].reads


def test_one_inverter_out_of_reach_does_not_slow_the_others(
    shelf: Shelf, emulated: EmulatedInverter, free_port: int
) -> None:
    with polling(shelf, inverter(free_port, "gone"), inverter(emulated.port)) as pollers:
        until(lambda: pollers.states[1].reads >= 5)
        gone, there = pollers.states
        assert (gone.reads, there.errors) == (0, 0)
        assert gone.last_error == "gone is not reached"


def test_sunspec_and_register_map_are_polled_side_by_side(
    shelf: Shelf, emulated: EmulatedInverter, tmp_path: Path
) -> None:
    path = tmp_path / "inverters.toml"
    path.write_text(
        '[[inverters]]\nname="m"\ndevice_id="M"\nhost="127.0.0.1"\n'
        '[[inverters.registers]]\nfield="temp_environment"\naddress=5\ntype="int16"\nscale=0.1\n',
        "utf-8",
    )
    with EmulatedInverter(map_file=path) as second:
        second.fix({"temp_environment": -3.5})
        mapped = Inverter(
            name="m",
            device_id="BOX",
            host="127.0.0.1",
            port=second.port,
            interval_s=0.2,
            registers=({"field": "temp_environment", "address": 5, "type": "int16", "scale": 0.1},),
        )
        with polling(shelf, inverter(emulated.port), mapped):
            # Both are sources of one device; each tells what it knows at its own time.
            until(
                lambda: {len(one.values) for one in shelf.readings("BOX", "pcs")} == {1, 11},
            )
    assert -3.5 in shelf.values("BOX", "pcs", "temp_environment")


def test_close_ends_a_read_that_waits_for_an_answer(shelf: Shelf) -> None:
    asked = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def swallow() -> None:
        peer, _ = listener.accept()
        with peer:
            while peer.recv(100):
                asked.set()

    swallowing = threading.Thread(target=swallow)
    swallowing.start()
    pollers = Pollers(
        [inverter(listener.getsockname()[1], timeout_s=30)], shelf.take, clock=SystemClock()
    )
    pollers.start()
    assert asked.wait(5)
    pollers.close()
    until(lambda: not threads_named("inverter box"))
    swallowing.join(5)
    listener.close()
    assert pollers.states[0].errors == 0


def test_close_does_not_wait_for_a_connect_that_hangs(shelf: Shelf) -> None:
    # A full queue of connections that nobody accepts lets the next connect hang.
    with socket.socket() as listener, contextlib.ExitStack() as crowd:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(2):
            guest = crowd.enter_context(socket.socket())
            guest.setblocking(False)
            guest.connect_ex(listener.getsockname())
        pollers = Pollers(
            [inverter(listener.getsockname()[1], timeout_s=2.5)], shelf.take, clock=SystemClock()
        )
        pollers.start()
        pollers.close()
        # It was not waited for; it ends by itself once the connect has failed.
        assert threads_named("inverter box")
        until(lambda: not threads_named("inverter box"))
    assert shelf.attempts == 0


def test_close_before_start_is_no_trouble(shelf: Shelf, free_port: int) -> None:
    pollers = Pollers([inverter(free_port)], shelf.take, clock=SystemClock())
    pollers.close()
    assert pollers.states[0].reads == 0


def threads_named(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == name]
