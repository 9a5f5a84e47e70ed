"""What open pages show of the server is looked up once for all of them."""

import asyncio
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from nicegui import Client, core, ui

from benchwire.foundation.streams import Hub
from benchwire.foundation.web.watch import Watch, Watches

SECONDS = 0.01


class Counted:
    """A value, and how often it was looked up."""

    def __init__(self) -> None:
        self.value = 0
        self.looks = 0

    def look(self) -> int:
        self.looks += 1
        return self.value


@contextmanager
def open_page() -> Iterator[Client]:
    core.loop = asyncio.get_running_loop()
    client = Client(ui.page("/watched"))
    try:
        yield client
    finally:
        if not client.is_deleted:
            client.delete()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(SECONDS)


def test_all_pages_hear_of_a_change_found_by_one_look() -> None:
    async def work() -> None:
        counted, shown = Counted(), [[], []]
        watch = Watch(counted.look, seconds=SECONDS)
        with open_page() as first, open_page() as second:
            for client, values in zip((first, second), shown, strict=True):
                with client:
                    watch.follow(values.append)
            assert counted.looks == 1
            assert shown == [[0], [0]]
            await until(lambda: counted.looks > 5)
            assert shown == [[0], [0]]
            counted.value = 7
            await until(lambda: shown == [[0, 7], [0, 7]])

    asyncio.run(work())


def test_nothing_is_looked_up_once_the_pages_are_closed() -> None:
    async def work() -> None:
        counted = Counted()
        watch = Watch(counted.look, seconds=SECONDS)
        with open_page() as client, client:
            watch.follow(lambda _: None)
        await until(lambda: watch.is_idle)
        looks = counted.looks
        with open_page() as client, client:
            watch.follow(lambda _: None)
        assert counted.looks == looks + 1

    asyncio.run(work())


def test_a_quiet_topic_costs_no_look() -> None:
    async def work() -> None:
        hub, counted, shown = Hub(), Counted(), []
        hub.bind(asyncio.get_running_loop())
        watch = Watch(counted.look, seconds=SECONDS, hub=hub, topic="jobs")
        with open_page() as client:
            with client:
                watch.follow(shown.append)
            # One look for the page, and one for what came before the topic was listened to.
            await until(lambda: counted.looks == 2)
            counted.value = 1
            await asyncio.sleep(10 * SECONDS)
            assert counted.looks == 2
            hub.publish("jobs", b"")
            await until(lambda: shown == [0, 1])

    asyncio.run(work())


def test_a_page_that_cannot_show_leaves_the_others_to() -> None:
    async def work() -> None:
        counted, shown = Counted(), []

        async def show(value: int) -> None:
            shown.append(value)

        def fail(_: int) -> None:
            raise ValueError("no place")

        watch = Watch(counted.look, seconds=SECONDS)
        with open_page() as broken, open_page() as whole:
            with broken:
                watch.follow(fail)
            with whole:
                watch.follow(show)
            counted.value = 3
            await until(lambda: shown == [0, 3])

    asyncio.run(work())


def test_a_look_that_fails_is_repeated() -> None:
    async def work() -> None:
        answers = iter([1, 1, OSError("away"), 2])
        last = 2

        def look() -> int:
            answer = next(answers, last)
            if isinstance(answer, OSError):
                raise answer
            return answer

        shown: list[int] = []
        watch = Watch(look, seconds=SECONDS)
        with open_page() as client:
            with client:
                watch.follow(shown.append)
            await until(lambda: shown == [1, 2])

    asyncio.run(work())


def test_pages_of_one_thing_share_a_watch_that_goes_with_the_last_of_them() -> None:
    async def work() -> None:
        looked: list[str] = []
        watches = Watches(lambda key: looked.append(key) or f"value of {key}", seconds=SECONDS)
        shown: list[str] = []
        with open_page() as first, open_page() as second:
            for client in (first, second):
                with client:
                    watches.of("a").follow(shown.append)
            with second:
                watches.of("b").follow(shown.append)
            assert shown == ["value of a", "value of a", "value of b"]
            assert looked == ["a", "b"]

        def are_forgotten() -> bool:
            gc.collect()
            return not watches._followed

        await until(are_forgotten)

    asyncio.run(work())
