"""Connections that ask for nothing, ask too slowly, or do not read what they are sent."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS = 15.0
"""How long the head of a request may take, from the moment it can be sent."""
KEEP_ALIVE_SECONDS = 15
"""How long a connection is kept for a next request, in which the same time goes for its head.

Many clients keep theirs for five seconds; a server that closes after as many takes every now and
then a request away from them.
"""
MOST_HEAD_BYTES = 64 * 1024
CUT = "benchwire.cut"
"""Where a request's scope has what ends its connection at once."""

_MOST_FILES = 65_536
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"connection: close\r\ncontent-length: 0\r\n\r\n"
)


class PromptHead(HttpToolsProtocol):
    """HTTP/1.1 for clients that send the head of a request without delay.

    The server's library waits for ever for it, so that a thousand connections with a byte a second
    each would keep everybody else out.
    """

    _timer: asyncio.TimerHandle | None = None
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what has come, unless it is a head without end."""
        super().data_received(data)
        if self._timer is not None:
            self._head_bytes += len(data)
            if self._head_bytes > MOST_HEAD_BYTES:
                self._stop_waiting()
                self.transport.write(_TOO_LARGE)
                self.transport.close()

    def on_message_begin(self) -> None:
        """Give the application a way to hang up on a client that does not read."""
        super().on_message_begin()
        scope: dict[str, Any] = self.scope  # type: ignore[assignment]
        scope[CUT] = self.transport.abort

    def on_headers_complete(self) -> None:
        """Stop waiting: the body may take its time."""
        self._stop_waiting()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Wait for the next head, if it is not there already."""
        super().on_response_complete()
        if self.cycle.response_complete and not self.transport.is_closing():
            self._expect_head()

    def _expect_head(self) -> None:
        self._stop_waiting()
        self._head_bytes = 0
        self._timer = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._timer = None
        self.transport.close()


def allow_many_connections() -> None:
    """Raise the number of files this process may have open, as far as the system lets it.

    Most systems begin with 1024 and allow far more to whoever asks.
    """
    try:
        import resource
    except ImportError:
        return  # Windows has no such limit
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
