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
BODY_SECONDS = 60.0
"""How long the next piece of a body, or the reading of an answer, may keep the server waiting."""
CUT = "benchwire.cut"
"""Where a request's scope has what ends its connection at once."""

_MOST_FILES = 65_536
# Enough for a last answer, such as the 431, to arrive.
_LAST_SECONDS = 5.0
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
    _body_timer: asyncio.TimerHandle | None = None
    _answer_timer: asyncio.TimerHandle | None = None
    _head_bytes = 0
    # What has come since the parser last had something whole of it.
    _unparsed_bytes = 0
    _body_bytes = 0
    _unread_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop_waiting()
        for timer in (self._body_timer, self._answer_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what has come, unless it is a head, or what comes after a body, without end."""
        if self.transport.is_closing():
            return
        self._unparsed_bytes += len(data)
        super().data_received(data)
        if self._unparsed_bytes > MOST_HEAD_BYTES:
            self._refuse_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count what the application would get, before its body or after."""
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > MOST_HEAD_BYTES:
            raise ValueError("a head without end")
        super().on_header(name, value)

    def on_message_begin(self) -> None:
        """Give the application a way to hang up on a client that does not read."""
        self._head_bytes = 0
        super().on_message_begin()
        scope: dict[str, Any] = self.scope  # type: ignore[assignment]
        scope[CUT] = self.transport.abort

    def on_headers_complete(self) -> None:
        """Stop waiting: the body may take its time, as long as some of it comes."""
        self._unparsed_bytes = 0
        self._stop_waiting()
        super().on_headers_complete()
        self._await_body()

    def on_body(self, body: bytes) -> None:
        """Hand a piece of a body on."""
        self._unparsed_bytes = 0
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Stop waiting for a body."""
        self._unparsed_bytes = 0
        if self._body_timer is not None:
            self._body_timer.cancel()
            self._body_timer = None
        super().on_message_complete()

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

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request."""
        if self._head_bytes > MOST_HEAD_BYTES:
            self._refuse_head()
        else:
            super().send_400_response(msg)

    def _refuse_head(self) -> None:
        is_answering = self.cycle is not None and not self.cycle.response_complete
        self._stop_waiting()
        if is_answering:
            self.transport.abort()
        else:
            self.transport.write(_TOO_LARGE)
            self._hang_up()

    def _give_up(self) -> None:
        self._timer = None
        self._hang_up()

    def _hang_up(self) -> None:
        """Close the connection, also if what was still to be sent is never read."""
        self.transport.close()
        self.loop.call_later(_LAST_SECONDS, self.transport.abort)

    def _await_body(self) -> None:
        self._body_bytes = 0
        self._body_timer = self.loop.call_later(BODY_SECONDS, self._look_for_body)

    def _look_for_body(self) -> None:
        self._body_timer = None
        if self.transport.get_protocol() is not self:
            return  # it has become a web socket
        if self._body_bytes or self.flow.read_paused:
            self._await_body()
        else:
            self._hang_up()

    def pause_writing(self) -> None:
        """Begin to look whether the client reads at all."""
        super().pause_writing()
        self._await_reading()

    def resume_writing(self) -> None:
        """Look no more."""
        super().resume_writing()
        if self._answer_timer is not None:
            self._answer_timer.cancel()
            self._answer_timer = None

    def _await_reading(self) -> None:
        self._unread_bytes = self.transport.get_write_buffer_size()
        self._answer_timer = self.loop.call_later(BODY_SECONDS, self._look_for_reading)

    def _look_for_reading(self) -> None:
        if self.transport.get_write_buffer_size() >= self._unread_bytes:
            self.transport.abort()
        else:
            self._await_reading()


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
