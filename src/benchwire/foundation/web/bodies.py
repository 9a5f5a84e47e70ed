"""Request bodies in the three forms that clients send: JSON, URL-encoded, and multipart.

Bracketed names of forms, ``image[file]``, become nested objects as in JSON. A body is refused by
its size before it is read to the end; files are spooled to disk.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl

from starlette.datastructures import Headers, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from benchwire.foundation.errors import BenchwireError, Invalid

_KEY = re.compile(r"[^\[\]]+(?:\[[^\[\]]*\])*")
_DEEPEST = 8
_MOST_FIELDS = 5000
_LONGEST_INDEX = 6
_LARGE_BYTES = 100_000


class BodyUnreadable(Invalid):
    """The body is in none of the forms that are understood."""

    code = "request.unreadable_body"


class BodyTooLarge(BenchwireError):
    """The body is larger than is accepted here."""

    status = 413
    code = "request.too_large"

    def __init__(self, limit: int) -> None:
        super().__init__(f"The body is larger than {limit / 1e6:g} MB")


@asynccontextmanager
async def opened_body(
    request: Request, *, limit: int, file_limit: int = 0
) -> AsyncIterator[dict[str, Any]]:
    """Give a body as one object; empty when there is none.

    Files in it are Starlette's upload files and are closed afterwards. A multipart form, which is
    spooled to disk, may be larger than what has to fit into memory.

    Raises
    ------
    BodyUnreadable
        It is damaged, nested too deeply, or not an object.
    BodyTooLarge
        It has more than ``limit`` bytes, as a multipart form also more than ``file_limit``.
    """
    if _kind_of(request) == "multipart/form-data":
        limit = max(limit, file_limit)
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise BodyTooLarge(limit)
    limited = Request(request.scope, _Counted(request, limit))
    try:
        yield await _read(limited)
    finally:
        await limited.close()


async def _read(limited: Request) -> dict[str, Any]:
    kind = _kind_of(limited)
    try:
        if kind == "multipart/form-data":
            form = await limited.form(max_files=100, max_fields=_MOST_FIELDS)
            return nested(form.multi_items())
        body = await limited.body()
    except (MultiPartException, HTTPException, KeyError, UnicodeDecodeError) as error:
        raise BodyUnreadable("The form cannot be read") from error
    except ClientDisconnect as error:
        raise BodyUnreadable("The body was not sent to its end") from error
    text = body.strip()
    # A client that forgets the header and sends JSON means JSON.
    is_form = kind == "application/x-www-form-urlencoded" and text[:1] != b"{"
    parse = _from_urlencoded if is_form else _from_json
    if len(text) > _LARGE_BYTES:
        # Some milliseconds of work that other requests should not wait for.
        return await asyncio.to_thread(parse, text)
    return parse(text)


def _kind_of(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def nested(items: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return form fields as nested objects.

    ``a[b][0][c]`` is ``{"a": {"b": [{"c": ...}]}}``, and so is ``a[b][][c]``.
    """
    whole: dict[str, Any] = {}
    for key, value in items:
        if not _KEY.fullmatch(key):
            whole[key] = value
            continue
        path = key.replace("]", "").split("[")
        if len(path) > _DEEPEST:
            raise BodyUnreadable("The form's names are nested too deeply")
        at = whole
        for number, part in enumerate(path[:-1]):
            # A list of objects as forms write it; a name that is there already begins the next.
            name = part or str(_last_without(at, path[number + 1 :]))
            inner = at.setdefault(name, {})
            if not isinstance(inner, dict):
                raise BodyUnreadable(f"The form gives {key[:60]} two meanings")
            at = inner
        last = path[-1]
        at[last if last else str(len(at))] = value
    return {key: _with_lists(value) for key, value in whole.items()}


def _last_without(items: dict[str, Any], path: list[str]) -> int:
    """Return the number of a list's last object, or of the next if that has a field already."""
    last = len(items) - 1
    at: Any = items.get(str(last))
    for part in path:
        if not isinstance(at, dict) or part not in at:
            return max(last, 0)
        at = at[part]
    return last + 1


def uploaded(value: object) -> UploadFile | None:
    """Return a field's file, None if it holds none."""
    return value if isinstance(value, UploadFile) else None


def _with_lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    inner = {key: _with_lists(item) for key, item in value.items()}
    if inner and all(
        key.isascii() and key.isdigit() and len(key) < _LONGEST_INDEX for key in inner
    ):
        return [inner[key] for key in sorted(inner, key=int)]
    return inner


def _from_json(text: bytes) -> dict[str, Any]:
    if not text:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BodyUnreadable("The body is not JSON") from error
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise BodyUnreadable("The body has to be a JSON object")
    return dict(found)


def _from_urlencoded(text: bytes) -> dict[str, Any]:
    try:
        pairs = parse_qsl(text.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except (ValueError, UnicodeDecodeError) as error:
        raise BodyUnreadable("The form cannot be read") from error
    return nested(list(pairs))


class LimitedBodies:
    """ASGI middleware that lets no application read a body of more than ``limit`` bytes."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; reading too large a body of it fails."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        left = self._limit
        declared = Headers(scope=scope).get("content-length", "")
        # The framework makes a plain 400 of any other error that the reading of a body raises.
        refusal = HTTPException(413, BodyTooLarge(self._limit).message)

        async def limited() -> Message:
            nonlocal left
            if declared.isdigit() and int(declared) > self._limit:
                raise refusal
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise refusal
            return message

        await self._app(scope, limited, send)


class _Counted:
    """A request's stream that ends with an error once too much has come."""

    def __init__(self, request: Request, limit: int) -> None:
        self._request = request
        self._limit = limit
        self._left = limit

    async def __call__(self) -> Message:
        message = await self._request.receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise BodyTooLarge(self._limit)
        return message
