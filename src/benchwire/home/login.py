"""The door of the dashboard: the key is asked for once and a signed session kept in its place."""

from html import escape
from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from benchwire.foundation.web.auth import SESSION_COOKIE, SESSION_SECONDS, KeyRing

LOGIN_PATH = "/login"

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>benchwire</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root {{ color-scheme: light dark; font-family: system-ui, sans-serif; }}
body {{ display: grid; place-items: center; min-height: 90vh; margin: 0; }}
form {{ display: grid; gap: .8rem; width: min(20rem, 90vw); }}
input, button {{ font: inherit; padding: .6rem; border-radius: .4rem; border: 1px solid #8888; }}
button {{ background: #0b6e69; color: #fff; border: 0; cursor: pointer; }}
.refused {{ color: light-dark(#a40014, #ff8a80); }}
</style></head><body>
<form method="post" action="{action}">
<h1>benchwire</h1>
<label for="key">API key of this server</label>
<input id="key" name="key" type="password" autocomplete="current-password" autofocus required>
{note}<button>Open the dashboard</button>
</form></body></html>"""


def login_router(keys: KeyRing, after: str) -> APIRouter:
    """Return the login's routes; ``after`` is where a person goes once known."""
    router = APIRouter(include_in_schema=False)

    @router.get(LOGIN_PATH)
    def ask() -> HTMLResponse:
        """Ask for the key."""
        return HTMLResponse(_page())

    @router.post(LOGIN_PATH)
    def let_in(request: Request, key: Annotated[str, Form()] = "") -> Response:
        """Open a session for the right key."""
        if not keys.accepts(key):
            return HTMLResponse(_page("That is not this server's key."), 401)
        answer = RedirectResponse(after, 303)
        answer.set_cookie(
            SESSION_COOKIE,
            keys.new_session(),
            max_age=SESSION_SECONDS,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return answer

    @router.post("/logout")
    def let_out() -> Response:
        """Forget the session in this browser."""
        answer = RedirectResponse(LOGIN_PATH, 303)
        answer.delete_cookie(SESSION_COOKIE, httponly=True, samesite="strict")
        return answer

    return router


def _page(note: str = "") -> str:
    shown = f'<p class="refused" role="alert">{escape(note)}</p>' if note else ""
    return _PAGE.format(action=LOGIN_PATH, note=shown)
