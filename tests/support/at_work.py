"""Work that goes on in threads while a test does something to the server."""

import threading
from collections.abc import Callable
from typing import Self

END_SECONDS = 90


class AtWork:
    """Threads that work within a block; ``self._over`` tells them that it is left."""

    def __init__(self, *work: Callable[[], object]) -> None:
        self._over = threading.Event()
        self._threads = [threading.Thread(target=each) for each in work]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(END_SECONDS)
            assert not thread.is_alive()
