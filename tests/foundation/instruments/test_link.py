"""The link on real pseudo-terminals: one thread, opened again after anything."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchwire.foundation.clock import SystemClock
from benchwire.foundation.instruments.emulation import EmulatorProcess, PtyHost
from benchwire.foundation.instruments.link import Link
from benchwire.foundation.instruments.ports import explicit_ports
from benchwire.foundation.instruments.transport import LinkLost, SerialTransport, Transport
from tests.support.waiting import until


class Echo:
    """A device that answers what it is told."""

    def receive(self, data: bytes, _now: float) -> bytes:
        return data

    def control(self, command: str, arguments: dict[str, object]) -> object:
        return [command, arguments]


def make_echo(_: int) -> Echo:
    return Echo()


def say(text: bytes):
    def work(transport: Transport) -> bytes:
        transport.write(text)
        return transport.read(len(text), 1.0)

    return work


@pytest.fixture
def host(tmp_path: Path) -> Iterator[PtyHost]:
    made = PtyHost({"echo": Echo()}, tmp_path)
    yield made
    made.close()


def open_port(host: PtyHost) -> SerialTransport:
    return SerialTransport(str(host.paths["echo"]), 9600)


def link_to(host: PtyHost, **work: Callable[[Transport], object]) -> Link:
    return Link("echo", lambda: open_port(host), SystemClock(), **work)  # type: ignore[arg-type]


@pytest.fixture
def link(host: PtyHost) -> Iterator[Link]:
    made = link_to(host, probe=say(b"?"))
    yield made
    made.close()


def test_work_runs_on_the_links_own_thread(link: Link) -> None:
    names = {link.run(lambda _: threading.current_thread().name).result(5) for _ in range(5)}
    assert names == {"link echo"}
    assert link.run(say(b"hello")).result(5) == b"hello"


def test_a_long_answer_waits_for_a_slow_reader(link: Link) -> None:
    def work(transport: Transport) -> bytes:
        received = b""
        for _ in range(10):
            transport.write(bytes(2000))
            # The terminal is full long before it is read.
            received += transport.read(1, 1.0)
        return received + transport.read(20_000 - len(received), 5.0)

    assert len(link.run(work).result(10)) == 20_000


def test_error_of_the_work_is_its_callers_and_the_port_stays(link: Link) -> None:
    assert isinstance(link.run(lambda _: 1 / 0).exception(5), ZeroDivisionError)
    assert link.connected


def test_unplug_is_noticed_while_idle_and_mended_by_itself(link: Link, host: PtyHost) -> None:
    link.run(say(b"x")).result(5)
    host.unplug("echo")
    until(lambda: not link.connected, seconds=5)
    assert link.last_error
    assert isinstance(link.run(say(b"x")).exception(5), LinkLost)
    host.replug("echo")
    until(lambda: link.connected, seconds=5)
    assert link.run(say(b"again")).result(5) == b"again"
    assert link.last_error is None
    assert link.opened == 2


def test_unplug_in_the_middle_fails_the_work(link: Link, host: PtyHost) -> None:
    begun = threading.Event()

    def wait_for_answer(transport: Transport) -> None:
        begun.set()
        while True:
            transport.read(1, 0.05)

    future = link.run(wait_for_answer)
    assert begun.wait(5)
    host.unplug("echo")
    assert isinstance(future.exception(5), LinkLost)


def test_port_is_held_alone(link: Link, host: PtyHost) -> None:
    link.run(say(b"x")).result(5)
    with pytest.raises(LinkLost):
        open_port(host)


def test_greeting_comes_first_and_farewell_last(host: PtyHost) -> None:
    order: list[str] = []
    link = link_to(host, on_open=lambda _: order.append("open"))
    link.run(lambda _: order.append("work")).result(5)
    link.close(farewell=lambda _: order.append("farewell"))
    assert order == ["open", "work", "farewell"]
    assert isinstance(link.run(say(b"x")).exception(5), LinkLost)


def test_a_port_that_is_not_open_is_opened_for_the_farewell(host: PtyHost) -> None:
    order: list[str] = []
    never = link_to(host, on_open=lambda _: order.append("open"))
    never.close(farewell=lambda _: order.append("farewell"))
    assert order == ["open", "farewell"]


def test_a_port_that_somebody_has_for_a_moment_is_opened_for_the_farewell(host: PtyHost) -> None:
    path, order = str(host.paths["echo"]), []
    other = open_port(host)
    threading.Timer(0.4, other.close).start()
    link = Link(path, lambda: open_port(host), SystemClock())
    link.close(farewell=lambda _: order.append("farewell"))
    assert order == ["farewell"]


def test_a_farewell_that_fails_is_tried_again_on_a_port_opened_anew(host: PtyHost) -> None:
    path, order = str(host.paths["echo"]), []
    link = Link(
        path, lambda: open_port(host), SystemClock(), on_open=lambda _: order.append("open")
    )
    link.run(say(b"x")).result(5)

    def farewell(transport: Transport) -> None:
        order.append("farewell")
        if order.count("farewell") == 1:
            raise LinkLost("garbled")
        order.append(say(b"bye")(transport).decode())

    link.close(farewell)
    assert order == ["open", "farewell", "open", "farewell", "bye"]


def test_a_farewell_that_fails_for_good_ends_in_time(host: PtyHost) -> None:
    def farewell(_: Transport) -> None:
        tries.append(clock.monotonic())
        raise LinkLost("silent")

    tries: list[float] = []
    clock = SystemClock()
    link = Link(str(host.paths["echo"]), lambda: open_port(host), clock)
    link.close(farewell)
    assert len(tries) > 1
    assert not link._thread.is_alive()
    assert isinstance(link.run(say(b"x")).exception(5), LinkLost)


def test_an_unforeseen_error_ends_no_link(host: PtyHost) -> None:
    failures = [MemoryError("one"), RuntimeError("two")]
    asked = threading.Event()

    def probe(_: Transport) -> None:
        asked.set()
        if failures:
            raise failures.pop()

    link = link_to(host, probe=probe)
    for _ in range(2):
        asked.clear()
        assert asked.wait(10)
        assert link.run(say(b"hello")).result(5) == b"hello"
    assert not failures

    def fail(_: Transport) -> None:
        raise MemoryError

    link.close(farewell=fail)
    assert isinstance(link.run(say(b"x")).exception(5), LinkLost)


def test_port_whose_greeting_fails_is_not_opened(host: PtyHost) -> None:
    def refuse(_: Transport) -> None:
        raise LinkLost("not our instrument")

    link = link_to(host, on_open=refuse)
    assert isinstance(link.run(say(b"x")).exception(5), LinkLost)
    assert not link.connected
    link.close()


def test_only_ports_that_exist_are_listed(host: PtyHost) -> None:
    path = str(host.paths["echo"])
    assert [port.path for port in explicit_ports([path, path, "/dev/none"])] == [path]


def test_emulators_end_with_their_parent(tmp_path: Path) -> None:
    factory = f"{__name__}:make_echo"
    emulators = EmulatorProcess(factory, ["one", "two"], tmp_path)
    process = emulators._process
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]
    assert emulators.control("two", "ping", a=1) == ["ping", {"a": 1}]
    with pytest.raises(ValueError, match="KeyError"):
        emulators.control("three", "ping")
    emulators.close()
    assert process.returncode == 0
    assert list(tmp_path.iterdir()) == []
