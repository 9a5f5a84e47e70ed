"""Who may ask: the API key, the dashboard's session, and pages of other sites.

Checked before the request reaches any application, so before a body is parsed or a path looked up.
"""

import hashlib
import hmac
import logging
import secrets
from collections.abc import Callable, Collection, Mapping
from http.cookies import CookieError, SimpleCookie
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from itsdangerous import BadSignature, TimestampSigner
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from benchwire.foundation.web.problems import (
    GUESSES_REFUSED,
    HOST_REFUSED,
    KEY_REFUSED,
    ORIGIN_REFUSED,
    Problem,
)

logger = logging.getLogger(__name__)

SESSION_COOKIE = "benchwire_session"
SESSION_SECONDS = 30 * 24 * 3600
WRONG_KEYS_PER_MINUTE = 20
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# No server of the internet's can be called so: a name in one of these leads nowhere outside.
_LOCAL_ENDINGS = (
    ".localhost", ".local", ".lan", ".internal", ".home.arpa", ".localdomain", ".test",
)  # fmt: skip


class KeyRing:
    """The server's key and the sessions that were opened with it.

    Parameters
    ----------
    key
        The API key; None leaves the server open.
    secret
        Random bytes kept in the data folder. Sessions are signed with it and the key together, so
        that a new key ends them all.
    """

    def __init__(self, key: str | None, secret: bytes) -> None:
        self._key_digest = None if key is None else _digest(key)
        signing_key = hashlib.sha256(secret + (self._key_digest or b"")).digest()
        self._signer = TimestampSigner(signing_key, salt="dashboard session")
        self._guesses = None if key is None else _Guesses()

    @property
    def is_open(self) -> bool:
        """Whether no key is needed."""
        return self._key_digest is None

    def accepts(self, key: str | None) -> bool:
        """Compare a key in constant time, whatever its length."""
        if self._key_digest is None:
            return True
        return hmac.compare_digest(_digest(key or ""), self._key_digest)

    def may_guess(self, client: str) -> bool:
        """Note that a client sent a wrong key; whether it is still told so.

        The right key is answered whatever came before, so nobody can lock others out.
        """
        return self._guesses is None or self._guesses.note(client)

    def new_session(self) -> str:
        """Return the cookie value of a new dashboard session."""
        return self._signer.sign(secrets.token_urlsafe(16)).decode("ascii")

    def knows_session(self, cookie: str | None) -> bool:
        """Whether a cookie was signed here and is not too old."""
        if not cookie:
            return False
        try:
            self._signer.unsign(cookie, max_age=SESSION_SECONDS)
        except BadSignature:
            return False
        return True


class _Guesses:
    """Wrong keys of the last minute, by the address they came from."""

    def __init__(self) -> None:
        from limits import RateLimitItemPerMinute
        from limits.storage import MemoryStorage
        from limits.strategies import MovingWindowRateLimiter

        self._most = RateLimitItemPerMinute(WRONG_KEYS_PER_MINUTE)
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def note(self, client: str) -> bool:
        """Count one more; whether it is within what is allowed."""
        is_within = self._limiter.hit(self._most, client)
        if is_within and self._limiter.get_window_stats(self._most, client).remaining == 0:
            logger.warning("%s has sent %s wrong keys in a minute", client, WRONG_KEYS_PER_MINUTE)
        return is_within


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


class Guard:
    """ASGI middleware that lets a request through, or answers 401 or 403 in its owner's shape.

    Parameters
    ----------
    is_public
        Says whether a path needs no key: the version, the documents, static files, the login.
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
        is_public: Callable[[str], bool],
        render_for: Callable[[str], Callable[[Problem], tuple[int, Mapping[str, Any]]]],
        is_page: Callable[[str], bool],
        login_path: str,
        allowed_origins: Collection[str] = (),
        allowed_hosts: Collection[str] = (),
    ) -> None:
        self._app = app
        self._keys = keys
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
        refused: Problem | None = None
        if self._is_rebound(headers):
            refused = HOST_REFUSED
        elif self._is_foreign(scope, headers):
            refused = ORIGIN_REFUSED
        elif not (self._is_public(path) or self._is_known(headers)):
            refused = self._refusal(scope, headers)
        if refused is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 4401})
        elif refused is KEY_REFUSED and self._is_page(path) and scope["method"] == "GET":
            await RedirectResponse(self._login_path, 303)(scope, receive, send)
        else:
            status, body = self._render_for(path)(refused)
            wait = {"Retry-After": "60"} if refused is GUESSES_REFUSED else None
            await JSONResponse(body, status, headers=wait)(scope, receive, send)

    def _is_known(self, headers: Headers) -> bool:
        if self._keys.is_open:
            return True
        key = headers.get("x-api-key")
        if key is not None:
            return self._keys.accepts(key)
        return self._keys.knows_session(_cookie(headers))

    def _refusal(self, scope: Scope, headers: Headers) -> Problem:
        if "x-api-key" not in headers or self._keys.may_guess(client_of(scope)):
            return KEY_REFUSED
        return GUESSES_REFUSED

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
        is_read = scope["type"] == "http" and scope["method"] in _SAFE_METHODS
        is_socket_polling = "/_nicegui_ws/" in scope["path"]
        if is_read and not is_socket_polling:
            return False
        return urlsplit(origin).netloc.lower() != headers.get("host", "").lower()


def client_of(scope: Scope) -> str:
    """Return the address a request came from."""
    client = scope.get("client")
    return "" if client is None else str(client[0])


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
    try:
        jar = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return None
    found = jar.get(SESSION_COOKIE)
    return None if found is None else found.value
