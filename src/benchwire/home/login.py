"""The door of the dashboard: the key is asked for once and a signed session kept in its place."""

from html import escape
from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from benchwire.foundation.web.auth import SESSION_COOKIE, caller_of
from benchwire.foundation.web.content_policy import own_page
from benchwire.foundation.web.keys import SESSION_SECONDS, KeyRing

LOGIN_PATH = "/login"

# By itself, so that it can be shown before anything of the dashboard is there; colours as in its
# style sheet.
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Log in · benchwire</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<style>
:root {{
  color-scheme: light dark; font: 15px/1.5 system-ui, "Segoe UI", Roboto, sans-serif;
  --page: light-dark(#f4f6f8, #10151a); --surface: light-dark(#fff, #182027);
  --line: light-dark(#d3dae1, #34404b); --control: light-dark(#77838f, #7d8a97);
  --text: light-dark(#18212b, #e4eaf0); --muted: light-dark(#52606d, #a3b1be);
  --primary: light-dark(#0b6e69, #4fc4bb); --on-fill: light-dark(#fff, #0c1116);
  --bad: light-dark(#b3261e, #ff9a90); --focus: light-dark(#0a5f8a, #7cc4f0);
}}
* {{ box-sizing: border-box; }}
body {{ display: grid; place-items: center; min-height: 100vh; margin: 0; padding: 1rem;
       background: var(--page); color: var(--text); }}
main {{ width: min(24rem, 100%); padding: 1.5rem; background: var(--surface);
       border: 1px solid var(--line); border-radius: 10px; }}
form {{ display: grid; gap: .75rem; }}
h1 {{ margin: 0; color: var(--primary); font-size: 1.375rem; }}
p {{ margin: 0; color: var(--muted); font-size: .8125rem; }}
input, button {{ font: inherit; min-height: 2.5rem; padding: .4rem .75rem; border-radius: 8px;
                border: 1px solid var(--control); }}
input {{ background: var(--page); color: var(--text); width: 100%; }}
button {{ background: var(--primary); color: var(--on-fill); border: 0; cursor: pointer; }}
:focus-visible {{ outline: 3px solid var(--focus); outline-offset: 2px; }}
.refused {{ color: var(--bad); font-weight: 600; }}
</style></head><body><main>
<form method="post" action="{action}">
<h1>benchwire</h1>
<label for="key">API key of this server</label>
<input id="key" name="key" type="password" autocomplete="current-password" autofocus required
       aria-describedby="hint">
{note}<p id="hint">Whoever runs the server has it: it is the setting <code>api_key</code>, or
one made with <code>benchwire keys add</code>.</p>
<button>Open the dashboard</button>
</form></main></body></html>"""


def login_router(keys: KeyRing, after: str) -> APIRouter:
    """Return the login's routes; ``after`` is where a person goes once known."""
    router = APIRouter(include_in_schema=False)

    @router.get(LOGIN_PATH)
    def ask() -> Response:
        """Ask for the key."""
        return own_page(_text())

    @router.post(LOGIN_PATH)
    def let_in(request: Request, key: Annotated[str, Form()] = "") -> Response:
        """Open a session for the right key."""
        caller = caller_of(request.scope)
        caller.holder = holder = keys.holder(key)
        if holder is None:
            if not keys.may_guess(caller.address):
                return own_page(_text("Too many wrong keys came from here. Wait a minute."), 429)
            return own_page(_text("This key is not valid for this server."), 401)
        answer = RedirectResponse(after, 303)
        answer.set_cookie(
            SESSION_COOKIE,
            keys.new_session(holder),
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


def _text(note: str = "") -> str:
    shown = f'<p class="refused" role="alert">{escape(note)}</p>' if note else ""
    return _PAGE.format(action=LOGIN_PATH, note=shown)
