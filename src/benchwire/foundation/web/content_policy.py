"""What a browser may load, run and frame of what this server answers.

Answers of the APIs are data and may run nothing; a person who looks at one may ask this server for
more from the browser's console. A page of our own names the digests of its scripts, so that nothing
else in it runs. The dashboard is the exception: its library compiles
templates in the browser and writes scripts into its pages, which takes ``unsafe-inline`` and
``unsafe-eval``; it still loads from this server alone.
"""

import base64
import hashlib
import re
from collections.abc import Callable

from starlette.datastructures import MutableHeaders
from starlette.responses import HTMLResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = "Content-Security-Policy"
DATA = (
    "default-src 'none'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
DASHBOARD = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self'; object-src 'none'; base-uri 'self'; form-action 'self'; "
    "frame-ancestors 'none'"
)
_PAGE = (
    "default-src 'none'; script-src 'self' {digests}; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self' data:; connect-src 'self'; worker-src blob:; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)
_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def own_page(content: str, status: int = 200) -> HTMLResponse:
    """Answer with a page of our own, in which only the scripts written there run."""
    digests = (
        base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        for script in _INLINE_SCRIPT.findall(content)
    )
    policy = _PAGE.format(digests=" ".join(f"'sha256-{digest}'" for digest in digests))
    return HTMLResponse(content, status, headers={POLICY: policy})


class ContentPolicy:
    """ASGI middleware that says with every answer what a browser may do with it.

    Parameters
    ----------
    is_dashboard
        Says whether a path belongs to the dashboard.
    """

    def __init__(self, app: ASGIApp, *, is_dashboard: Callable[[str], bool]) -> None:
        self._app = app
        self._is_dashboard = is_dashboard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and have its answer carry the headers."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        policy = DASHBOARD if self._is_dashboard(scope["path"]) else DATA

        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault(POLICY, policy)
                for name, value in _ALWAYS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, tell)
