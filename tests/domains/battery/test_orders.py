"""Orders: each thing once, the urgent first, everybody served."""

from concurrent.futures import wait

import pytest

from benchwire.domains.battery.orders import Orders


def test_urgent_things_are_made_first_and_each_once() -> None:
    orders: Orders[str] = Orders()
    for key, priority in (("slow", 3), ("usual", 1), ("also usual", 1), ("urgent", 0)):
        orders.ask(key, priority)
    made = [orders.next() for _ in range(5)]
    assert made == ["urgent", "usual", "also usual", "slow", None]


def test_thing_asked_for_again_moves_ahead_and_is_made_once() -> None:
    orders: Orders[str] = Orders()
    first = orders.ask("wanted", 3)
    orders.ask("other", 1)
    assert orders.ask("wanted", 0) is first
    assert orders.ask("wanted", 2) is first
    assert [orders.next() for _ in range(3)] == ["wanted", "other", None]
    orders.keep("wanted", 42)
    assert first.result(0) == 42


def test_error_reaches_everybody_and_the_next_who_asks_starts_anew() -> None:
    orders: Orders[str] = Orders()
    futures = [orders.ask("thing", 0) for _ in range(3)]
    orders.keep("thing", ValueError("no"))
    for future in futures:
        with pytest.raises(ValueError, match="no"):
            future.result(0)
    assert orders.ask("thing", 0) is not futures[0]


def test_closing_tells_those_who_wait_and_those_who_come() -> None:
    orders: Orders[str] = Orders()
    waiting = orders.ask("thing", 0)
    orders.close(ValueError("closed"))
    late = orders.ask("another", 0)
    assert not wait([waiting, late], 0).not_done
    assert all(isinstance(future.exception(0), ValueError) for future in (waiting, late))
    orders.wait(60)  # returns at once


def test_things_alike_can_be_made_in_one_go() -> None:
    orders: Orders[tuple[str, int]] = Orders()
    for number in range(5):
        orders.ask(("cell", number), 1)
    orders.ask(("pack", 0), 1)
    alike = orders.alike(("cell", 4), lambda key: key[0] == "cell", 3)
    assert alike == [("cell", 4), ("cell", 0), ("cell", 1)]
    for key in alike:
        orders.keep(key, None)
    assert orders.next() == ("cell", 2)
