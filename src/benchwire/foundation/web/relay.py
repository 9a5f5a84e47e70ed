"""Pass requests on to the server that owns the instruments, so that a client notices nothing."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from benchwire.foundation.clock import Clock
from benchwire.foundation.errors import Unavailable
from benchwire.foundation.files import write_whole

OWNER_FILE = "owner.json"
CONNECT_SECONDS = 2.0
# An analysis may take minutes before its first byte; streams say something every few seconds.
SILENT_SECONDS = 360.0
_TIMEOUT = httpx.Timeout(SILENT_SECONDS, connect=CONNECT_SECONDS)
# The heartbeat of the owner's lock comes every 2 s.
AWAY_SECONDS = 10.0
# What one connection's ends tell each other, and what each server says by itself.
_HOP_BY_HOP = frozenset(
    {
        "connection", "date", "keep-alive", "proxy-authenticate", "proxy-authorization", "te",
        "trailer", "transfer-encoding", "upgrade",
    }
)  # fmt: skip
# What a client says of where it is counts for nothing.
_FORWARDED = ("forwarded", "x-forwarded-")
_FOR_SOCKET = frozenset({"cookie", "x-api-key", "user-agent"})


class OwnerAway(Unavailable):
    """The server that owns the instruments does not answer."""

    code = "server.owner_away"


def publish_address(data_dir: Path, host: str, port: int) -> None:
    """Write down where the owner of a data folder answers."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104 - read, not bound
    shown = f"[{host}]" if ":" in host else host
    content = json.dumps({"url": f"http://{shown}:{port}"})
    write_whole(data_dir / OWNER_FILE, content.encode(), mode=0o600)


class Relay:
    """The way to the owner.

    Parameters
    ----------
    url
        Its address where it is told; else what the owner wrote into its data folder.
    heartbeat
        File whose time stamp an owner on this computer keeps fresh. Where it is old, nobody is
        asked, as another program may have the port by now.
    """

    def __init__(self, data_dir: Path, clock: Clock, *, url: str | None, heartbeat: Path) -> None:
        self._clock = clock
        self._file = data_dir / OWNER_FILE
        self._told = url
        self._heartbeat = heartbeat
        # The owner lets an idle connection go after 5 s; one must not be used as it does.
        limits = httpx.Limits(
            max_connections=None, max_keepalive_connections=20, keepalive_expiry=2.0
        )
        self._client = httpx.AsyncClient(limits=limits, trust_env=False)

    async def close(self) -> None:
        """Let all connections go."""
        await self._client.aclose()

    @property
    def url(self) -> str:
        """Where the owner answers.

        Raises
        ------
        OwnerAway
            It has not been heard of lately.
        """
        if self._told is not None:
            return self._told.rstrip("/")
        self._check_heartbeat()
        try:
            return str(json.loads(self._file.read_text("utf-8"))["url"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self.away() from error

    def _check_heartbeat(self) -> None:
        if self._told is not None:
            return
        try:
            age = self._clock.now().timestamp() - self._heartbeat.stat().st_mtime
        except OSError as error:
            raise self.away() from error
        if abs(age) >= AWAY_SECONDS:
            raise self.away()

    @staticmethod
    def away() -> OwnerAway:
        """Return the refusal for when nobody answers."""
        return OwnerAway(
            "The server that owns the instruments does not answer",
            hint="Start it, or try again in a moment; this process only reads.",
        )

    async def is_there(self) -> bool:
        """Whether the owner answers, whatever it says."""
        try:
            await self._client.get(f"{self.url}/health", timeout=CONNECT_SECONDS)
        except (OwnerAway, httpx.TransportError):
            return False
        return True

    async def ask(self, scope: Scope, receive: Receive) -> httpx.Response:
        """Pass a request on and return the beginning of the answer.

        Raises
        ------
        OwnerAway
            Nobody took it. What changes something is never sent twice.
        """
        request = Request(scope, receive)
        headers = passed_on(request)
        has_body = scope["method"] not in {"GET", "HEAD"} and (
            "content-length" in request.headers or "transfer-encoding" in request.headers
        )
        path = scope.get("raw_path") or scope["path"].encode()
        query = scope.get("query_string", b"")
        target = httpx.URL(self.url).copy_with(raw_path=path + (b"?" + query if query else b""))
        # Made by itself, as the client would add headers of its own.
        asked = httpx.Request(
            scope["method"],
            target,
            headers=headers,
            content=request.stream() if has_body else None,
            extensions={"timeout": _TIMEOUT.as_dict()},
        )
        sending = asyncio.ensure_future(self._client.send(asked, stream=True))
        try:
            while not sending.done():
                await asyncio.wait({sending}, timeout=1.0)
                if not sending.done():
                    # One that stands still while it is asked is not waited for either.
                    self._check_heartbeat()
            return sending.result()
        except httpx.TransportError as error:
            raise self.away() from error
        finally:
            sending.cancel()

    async def answer(
        self, response: httpx.Response, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Hand the owner's answer on as it comes, to the end or until the client goes."""
        try:
            told = StreamingResponse(_pieces(response), response.status_code)
            told.raw_headers = [
                (name.lower(), value)
                for name, value in response.headers.raw
                if name.lower().decode("latin-1") not in _HOP_BY_HOP
            ]
            await told(scope, receive, send)
        finally:
            await response.aclose()

    async def join(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Tie a client's web socket to one at the owner, until either is closed."""
        near = WebSocket(scope, receive, send)
        headers = [(name, value) for name, value in near.headers.items() if name in _FOR_SOCKET]
        headers += _forwarded_for(scope)
        query = scope.get("query_string", b"").decode("latin-1")
        try:
            url = self.url.replace("http", "ws", 1) + scope["path"] + (f"?{query}" if query else "")
            far = await connect(
                url,
                additional_headers=headers,
                user_agent_header=None,
                subprotocols=scope.get("subprotocols") or None,
                open_timeout=CONNECT_SECONDS,
                max_size=None,
                proxy=None,
            )
        except (OwnerAway, OSError, TimeoutError, InvalidHandshake):
            await near.close(1013)
            return
        async with far:
            await near.accept(far.subprotocol)
            both = [
                asyncio.create_task(_outwards(near, far)),
                asyncio.create_task(_inwards(far, near)),
            ]
            try:
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in both:
                    task.cancel()
                await asyncio.gather(*both, return_exceptions=True)
        with contextlib.suppress(RuntimeError, OSError):
            await near.close(far.close_code or 1001)


def passed_on(request: Request) -> list[tuple[str, str]]:
    """Return the headers with which a client's request is asked of the owner."""
    return [
        (name, value)
        for name, value in request.headers.items()
        if name not in _HOP_BY_HOP and not name.startswith(_FORWARDED)
    ] + _forwarded_for(request.scope)


def _forwarded_for(scope: Scope) -> list[tuple[str, str]]:
    """Return what tells the owner, if it is on the same computer, who really asks."""
    client = scope.get("client")
    return [] if client is None else [("x-forwarded-for", str(client[0]))]


async def _pieces(response: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for piece in response.aiter_raw():
            yield piece
    except httpx.TransportError:
        # A stream of events may end at any time; anything else must not look whole.
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            raise


async def _outwards(near: WebSocket, far: ClientConnection) -> None:
    with contextlib.suppress(WebSocketDisconnect, ConnectionClosed, RuntimeError):
        while True:
            message: Mapping[str, Any] = await near.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            await far.send(message["bytes"] if text is None else text)


async def _inwards(far: ClientConnection, near: WebSocket) -> None:
    with contextlib.suppress(ConnectionClosed, RuntimeError, OSError):
        async for message in far:
            if isinstance(message, str):
                await near.send_text(message)
            else:
                await near.send_bytes(message)
