"""Who may ask: the key, the dashboard's session, their role, and pages of other sites.

Checked before the request reaches any application, so before a body is parsed or a path looked up.
What was done, and what was refused, is written into the audit log before the answer is sent.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from benchwire.foundation.audit.log import AuditLog, Deed
from benchwire.foundation.web.keys import LONGEST_ADDRESS, Holder, KeyRing
from benchwire.foundation.web.problems import (
    GUESSES_REFUSED,
    HOST_REFUSED,
    KEY_REFUSED,
    ORIGIN_REFUSED,
    Problem,
    role_refused,
)
from benchwire.foundation.web.roles import SAFE_METHODS, Need, Needs, Role

logger = logging.getLogger(__name__)

SESSION_COOKIE = "benchwire_session"
NOBODY = "no valid key"
# No server of the internet's can be called so: a name in one of these leads nowhere outside.
_LOCAL_ENDINGS = (
    ".localhost", ".local", ".lan", ".internal", ".home.arpa", ".localdomain", ".test",
)  # fmt: skip
_CALLER = "benchwire.caller"
# An answer does not wait longer than this for its entry in a log that cannot be written.
_LOG_SECONDS = 2.0
# How long what was opened with a key outlives it at most.
_LOOK_SECONDS = 1.0


class KeyWithdrawn(OSError):
    """The key that something was opened with is not one any more; like a client that left."""


@dataclass(slots=True)
class Caller:
    """Who asks and where from, for as long as the request or its page lasts.

    Parameters
    ----------
    holder
        Whose key it is; None is nobody's.
    """

    keys: KeyRing
    log: AuditLog | None
    address: str
    holder: Holder | None

    def may(self, role: Role) -> bool:
        """Whether the key is still one, and good for what needs a role."""
        holder = self.holder
        return holder is not None and self.keys.still_hold(holder) and holder.role.covers(role)

    async def note(self, method: str, path: str, status: int, action: str = "") -> None:
        """Write what was done into the audit log; returns once it is on the disk.

        A log that cannot be written keeps nobody from being answered: an instrument that was
        stopped is stopped. The entry then stands in the server's own log. Of strangers a few in a
        minute are written, so that none of them can fill the disk.
        """
        holder = self.holder
        if self.log is None:
            return
        if holder is None and not self.keys.may_fill_log(self.address):
            return
        who, role = (NOBODY, "") if holder is None else (holder.name, holder.role.value)
        deed = Deed(who, role, self.address, method, path, status, action)
        try:
            written = asyncio.wrap_future(self.log.add(deed))
            written.add_done_callback(_take_notice)
            async with asyncio.timeout(_LOG_SECONDS):
                await asyncio.shield(written)
        except Exception as error:  # noqa: BLE001 - whatever it is, the answer is owed
            logger.error("not in the audit log as yet: %r (%r)", deed, error)


def _take_notice(written: "asyncio.Future[None]") -> None:
    if not written.cancelled():
        written.exception()


def caller_of(scope: Scope) -> Caller:
    """Return who a request comes from, as the guard has found."""
    caller = scope[_CALLER]
    assert isinstance(caller, Caller)  # noqa: S101 - set by the guard alone
    return caller


class Guard:
    """ASGI middleware that lets a request through, or answers 401 or 403 in its owner's shape.

    Parameters
    ----------
    log
        Where it is written down who did or was refused what; None where another process that is
        asked in turn does so.
    needs
        Says which role a request needs.
    is_public
        Says whether a request needs no key: to read the version, the documents, static files; to
        log in.
    render_for
        Gives the error shape of the application that owns a path.
    login_path
        Where a browser without a session is sent when it asks for a page.
    allowed_origins
        Other sites whose pages may change things.
    allowed_hosts
        Other names that an open server is known by; ``*`` stands for any.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: KeyRing,
        log: AuditLog | None,
        needs: Needs,
        is_public: Callable[[str, str], bool],
        render_for: Callable[[str], Callable[[Problem], tuple[int, Mapping[str, Any]]]],
        is_page: Callable[[str], bool],
        login_path: str,
        allowed_origins: Collection[str] = (),
        allowed_hosts: Collection[str] = (),
    ) -> None:
        self._app = app
        self._keys = keys
        self._log = log
        self._needs = needs
        self._is_public = is_public
        self._render_for = render_for
        self._is_page = is_page
        self._login_path = login_path
        self._allowed_origins = frozenset(allowed_origins)
        self._allowed_hosts = frozenset(name.lower() for name in allowed_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on or refuse it."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        path = scope["path"]
        method = scope["method"] if scope["type"] == "http" else "GET"
        caller = Caller(self._keys, self._log, client_of(scope), self._holder(headers))
        scope[_CALLER] = caller
        need = self._needs.of(method, path)
        refused = self._refusal(scope, headers, caller, need)
        if refused is None:
            if caller.holder is not None and caller.holder.key_id is not None:
                receive, send = _while_held(caller, scope, receive, send)
            if need.is_logged:
                send = _told_first(caller, need.method, path, send)
            await self._app(scope, receive, send)
            return
        if refused in (HOST_REFUSED, ORIGIN_REFUSED):
            caller.holder = None  # whoever sits at the browser has not asked for it
        if need.method not in SAFE_METHODS or need.role.covers(Role.OPERATOR):
            await caller.note(method, path, refused.status)
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 4401})
        elif refused is KEY_REFUSED and self._is_page(path) and method == "GET":
            await RedirectResponse(self._login_path, 303)(scope, receive, send)
        else:
            status, body = self._render_for(path)(refused)
            wait = {"Retry-After": "60"} if refused is GUESSES_REFUSED else None
            await JSONResponse(body, status, headers=wait)(scope, receive, send)

    def _holder(self, headers: Headers) -> Holder | None:
        key = headers.get("x-api-key")
        if key is not None:
            return self._keys.holder(key)
        return self._keys.session_holder(_cookie(headers))

    def _refusal(
        self, scope: Scope, headers: Headers, caller: Caller, need: Need
    ) -> Problem | None:
        if self._is_rebound(headers):
            return HOST_REFUSED
        if self._is_foreign(scope, headers):
            return ORIGIN_REFUSED
        if self._is_public(need.method, scope["path"]):
            return None
        if caller.holder is None:
            if "x-api-key" not in headers or self._keys.may_guess(caller.address):
                return KEY_REFUSED
            return GUESSES_REFUSED
        if not caller.holder.role.covers(need.role):
            return role_refused(caller.holder.role, need.role)
        return None

    def _is_rebound(self, headers: Headers) -> bool:
        """Whether a page of another site asks under its own name, led here by its name server.

        To the browser it is then a page of this server. With a key that is no harm: the session
        belongs to the name it was opened under. An open server answers to addresses, to names that
        only a local network gives, and to those it is told.
        """
        if not self._keys.is_open or "*" in self._allowed_hosts:
            return False
        name = _host_name(headers.get("host", ""))
        is_local = "." not in name or name.endswith(_LOCAL_ENDINGS) or _is_address(name)
        return not is_local and name not in self._allowed_hosts

    def _is_foreign(self, scope: Scope, headers: Headers) -> bool:
        """Whether a page of another site asks for more than reading.

        A browser names the page's site in Origin; any other client sends none. A web socket is
        never mere reading, and the dashboard's accepts every origin by itself.
        """
        origin = headers.get("origin")
        if origin is None or origin in self._allowed_origins:
            return False
        is_read = scope["type"] == "http" and scope["method"] in SAFE_METHODS
        is_socket_polling = "/_nicegui_ws/" in scope["path"]
        if is_read and not is_socket_polling:
            return False
        try:
            site = urlsplit(origin).netloc.lower()
        except ValueError:
            return True
        return site != headers.get("host", "").lower()


def client_of(scope: Scope) -> str:
    """Return the address a request came from; a proxy on this computer may say anything."""
    client = scope.get("client")
    return "" if client is None else str(client[0])[:LONGEST_ADDRESS]


def _host_name(host: str) -> str:
    """Return the name in a Host header, without its port and the dot that may end it."""
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        name = host.lower()
    return (name or "").rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _cookie(headers: Headers) -> str | None:
    """Return the session's cookie.

    Found by hand: the library's time for a cookie in quotes grows with the square of its length.
    """
    for one in headers.get("cookie", "").split(";"):
        name, _, value = one.strip().partition("=")
        if name == SESSION_COOKIE:
            return value
    return None


def _told_first(caller: Caller, method: str, path: str, send: Send) -> Send:
    """Return what sends an answer once the audit log has it."""

    async def told(message: Message) -> None:
        if message["type"] == "http.response.start":
            await caller.note(method, path, message["status"])
        await send(message)

    return told


def _while_held(caller: Caller, scope: Scope, receive: Receive, send: Send) -> tuple[Receive, Send]:
    """Return a connection that ends with the key it was opened with."""
    left: Message = {"type": "http.disconnect"}
    if scope["type"] == "websocket":
        left = {"type": "websocket.disconnect", "code": 4401}

    async def receive_held() -> Message:
        waiting = asyncio.ensure_future(receive())
        try:
            while True:
                done, _ = await asyncio.wait({waiting}, timeout=_LOOK_SECONDS)
                if not caller.may(Role.VIEWER):
                    return left
                if done:
                    return waiting.result()
        finally:
            waiting.cancel()

    async def send_held(message: Message) -> None:
        if caller.may(Role.VIEWER):
            await send(message)
            return
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 4401})
        raise KeyWithdrawn

    return receive_held, send_held
