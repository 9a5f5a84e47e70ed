"""Serial lines between a server and an emulated instrument that fail in every way a line can."""

import contextlib
import os
import random
import selectors
import threading
import time
import tty
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType


class BadLine:
    """A pseudo-terminal that hands on to another one, well or badly; may be changed at any time.

    ``is_deaf``: requests are lost. ``delay``: answers come so much later (s). ``flips``: share of
    pieces of an answer in which a bit is turned over. ``is_babbling``: random bytes come without
    end. ``passed`` counts the bytes that went to the server. ``on_request`` is told each
    request and its number before it is handed on.
    """

    def __init__(self, instrument: Path, path: Path, seed: int = 1) -> None:
        self.path = path
        self.is_deaf = False
        self.delay = 0.0
        self.flips = 0.0
        self.is_babbling = False
        self.passed = 0
        self.on_request: Callable[[int, bytes], object] = lambda *_: None
        self._requests = 0
        self._chance = random.Random(seed)
        self._far = os.open(instrument, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        tty.setraw(self._far)
        self._near, self._held = os.openpty()
        tty.setraw(self._held)
        os.set_blocking(self._near, False)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(os.ttyname(self._held))
        self._coming: deque[tuple[float, bytes]] = deque()
        self._over = False
        self._thread = threading.Thread(target=self._serve, name="bad line", daemon=True)
        self._thread.start()

    def mend(self) -> None:
        """Be a good line from now on; what is late stays late."""
        self.is_deaf = self.is_babbling = False
        self.delay = self.flips = 0.0

    def __enter__(self) -> "BadLine":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over = True
        self._thread.join(5)
        self.path.unlink()
        for descriptor in (self._far, self._near, self._held):
            os.close(descriptor)

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            for descriptor in (self._far, self._near):
                selector.register(descriptor, selectors.EVENT_READ)
            while not self._over:
                for key, _ in selector.select(self._patience()):
                    with contextlib.suppress(BlockingIOError):
                        self._take(key.fd, os.read(key.fd, 4096))
                self._hand_over()

    def _patience(self) -> float:
        if self.is_babbling:
            return 0.002
        due = self._coming[0][0] - time.monotonic() if self._coming else 0.05
        return max(0.0, min(due, 0.05))

    def _take(self, descriptor: int, data: bytes) -> None:
        if descriptor == self._near:
            self._requests += 1
            self.on_request(self._requests, data)
            if not self.is_deaf:
                os.write(self._far, data)
            return
        if self._chance.random() < self.flips:
            place = self._chance.randrange(len(data))
            flipped = data[place] ^ 1 << self._chance.randrange(8)
            data = data[:place] + bytes([flipped]) + data[place + 1 :]
        self._coming.append((time.monotonic() + self.delay, data))

    def _hand_over(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._coming and self._coming[0][0] <= time.monotonic():
                self._send(self._coming.popleft()[1])
            while self.is_babbling:
                self._send(self._chance.randbytes(1000))

    def _send(self, data: bytes) -> None:
        self.passed += os.write(self._near, data)
