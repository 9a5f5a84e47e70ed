import threading
from collections.abc import Iterator, Sequence

import pytest

from benchwire.domains.battery.errors import TooManyDevices
from benchwire.domains.battery.outbox import Outbox
from benchwire.domains.battery.samples import Reading
from tests.domains.battery.shelf import Shelf
from tests.support.waiting import until


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def outbox(shelf: Shelf) -> Iterator[Outbox]:
    box = Outbox(shelf.take, most_kept=100, retry_seconds=0.01)
    box.start()
    yield box
    box.close()


def reading(at_us: int) -> Reading:
    return Reading(at_us, {"soc": float(at_us)})


def moments(shelf: Shelf, device_id: str = "A", group: str = "bms") -> list[int]:
    return [one.at_us for one in shelf.readings(device_id, group)]


def test_readings_arrive_in_order_by_device_and_group(shelf: Shelf, outbox: Outbox) -> None:
    for at_us in range(1500):
        until(lambda: outbox.waiting < 100)
        outbox.add("A", "bms", reading(at_us))
    outbox.add("A", "pcs", reading(5))
    outbox.add("B", "bms", reading(6))
    until(lambda: outbox.stored == 1502)
    assert moments(shelf) == list(range(1500))
    assert moments(shelf, group="pcs") == [5]
    assert moments(shelf, "B") == [6]
    assert (outbox.waiting, outbox.dropped()) == (0, 0)


def test_outage_of_the_store_loses_nothing(shelf: Shelf, outbox: Outbox) -> None:
    shelf.is_broken = True
    for at_us in range(50):
        outbox.add("A", "bms", reading(at_us))
    until(lambda: shelf.attempts > 3)
    shelf.is_broken = False
    until(lambda: outbox.stored == 50)
    assert moments(shelf) == list(range(50))


def test_newest_readings_survive_a_long_outage_and_the_rest_is_counted(
    shelf: Shelf, outbox: Outbox
) -> None:
    shelf.is_broken = True
    settled: list[int] = []
    for at_us in range(250):
        outbox.add("A", "bms", reading(at_us), settled=lambda at=at_us: settled.append(at))
    outbox.add("B", "bms", reading(1))
    until(lambda: outbox.dropped("A") == 150)
    assert settled == []
    shelf.is_broken = False
    until(lambda: outbox.stored == 101)
    assert moments(shelf) == list(range(150, 250))
    assert (outbox.dropped("A"), outbox.dropped("B"), outbox.dropped()) == (150, 0, 150)
    assert sorted(settled) == list(range(150, 250))


def test_reading_that_is_refused_takes_no_other_with_it(shelf: Shelf, outbox: Outbox) -> None:
    shelf.is_broken = True
    shelf.refused_us = {17, 40}
    for at_us in range(60):
        outbox.add("A", "bms", reading(at_us))
    shelf.is_broken = False
    until(lambda: outbox.stored == 58)
    assert moments(shelf) == [at for at in range(60) if at not in (17, 40)]
    assert outbox.dropped("A") == 2


def test_device_in_trouble_does_not_hold_up_the_others() -> None:
    taken = threading.Event()

    def sink(device_id: str, _group: str, _readings: Sequence[Reading]) -> None:
        if device_id == "A":
            raise OSError("no")
        taken.set()

    box = Outbox(sink, retry_seconds=0.01)
    box.add("A", "bms", reading(1))
    box.add("B", "bms", reading(1))
    box.start()
    assert taken.wait(5)
    box.close()
    assert (box.stored, box.waiting) == (1, 1)


def test_devices_beyond_what_is_taken_leave_nothing_behind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def sink(device_id: str, _group: str, _readings: Sequence[Reading]) -> None:
        if device_id != "known":
            raise TooManyDevices(1)

    box, settled = Outbox(sink, retry_seconds=0.01), []
    box.start()
    for number in range(300):
        box.add(f"new {number}", "bms", reading(1), settled=lambda: settled.append(1))
    box.add("known", "bms", reading(1))
    until(lambda: len(settled) == 300 and box.stored == 1)
    until(lambda: not box._waiting)
    assert (box.waiting, box.dropped(), len(box._dropped)) == (0, 300, 1)
    box.close()
    assert caplog.text.count("refused") == 1


def test_nothing_is_settled_before_it_is_stored(shelf: Shelf, outbox: Outbox) -> None:
    shelf.is_broken = True
    settled = threading.Event()
    outbox.add("A", "bms", reading(1), settled=settled.set)
    until(lambda: shelf.attempts > 3)
    assert not settled.is_set()
    shelf.is_broken = False
    assert settled.wait(5)
    assert moments(shelf) == [1]


def test_close_hands_over_what_is_left(shelf: Shelf) -> None:
    box = Outbox(shelf.take)
    for at_us in range(900):
        box.add("A", "bms", reading(at_us))
    box.start()
    box.close()
    assert moments(shelf) == list(range(900))


def test_close_does_not_wait_for_a_store_that_hangs() -> None:
    hanging, released = threading.Event(), threading.Event()

    def sink(_device_id: str, _group: str, _readings: Sequence[Reading]) -> None:
        hanging.set()
        released.wait(20)

    box = Outbox(sink)
    box.add("A", "bms", reading(1))
    box.start()
    assert hanging.wait(5)
    box.close(0.05)
    assert box.stored == 0
    released.set()
    until(lambda: box.stored == 1)
