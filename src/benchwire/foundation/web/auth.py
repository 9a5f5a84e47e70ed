"""Who may ask: the API key, the dashboard's session, and pages of other sites.

Checked before the request reaches any application, so before a body is parsed or a path looked up.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable, Collection, Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import urlsplit

from itsdangerous import BadSignature, TimestampSigner
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from benchwire.foundation.web.problems import KEY_REFUSED, ORIGIN_REFUSED, Problem

SESSION_COOKIE = "benchwire_session"
SESSION_SECONDS = 30 * 24 * 3600
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


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

    @property
    def is_open(self) -> bool:
        """Whether no key is needed."""
        return self._key_digest is None

    def accepts(self, key: str | None) -> bool:
        """Compare a key in constant time, whatever its length."""
        if self._key_digest is None:
            return True
        return hmac.compare_digest(_digest(key or ""), self._key_digest)

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
    ) -> None:
        self._app = app
        self._keys = keys
        self._is_public = is_public
        self._render_for = render_for
        self._is_page = is_page
        self._login_path = login_path
        self._allowed_origins = frozenset(allowed_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on or refuse it."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        path = scope["path"]
        refused: Problem | None = None
        if self._is_foreign(scope, headers):
            refused = ORIGIN_REFUSED
        elif not (self._is_public(path) or self._is_known(headers)):
            refused = KEY_REFUSED
        if refused is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 4401})
        elif refused is KEY_REFUSED and self._is_page(path) and scope["method"] == "GET":
            await RedirectResponse(self._login_path, 303)(scope, receive, send)
        else:
            status, body = self._render_for(path)(refused)
            await JSONResponse(body, status)(scope, receive, send)

    def _is_known(self, headers: Headers) -> bool:
        if self._keys.is_open:
            return True
        key = headers.get("x-api-key")
        if key is not None:
            return self._keys.accepts(key)
        return self._keys.knows_session(_cookie(headers))

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


def _cookie(headers: Headers) -> str | None:
    try:
        jar = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return None
    found = jar.get(SESSION_COOKIE)
    return None if found is None else found.value
