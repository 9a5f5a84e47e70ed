"""The connection to one server: requests, retries, downloads, errors."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from benchwire.client.errors import (
    AnswerLost,
    BenchError,
    Unavailable,
    Unreachable,
    Unreadable,
    refusal,
)

if TYPE_CHECKING:
    import httpx

CONNECT_SECONDS = 5.0
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.2, 5.0

T = TypeVar("T")

Query = Mapping[str, object]


# Told of what went wrong, and of how many seconds will pass until the next try.
OnPause = Callable[[BenchError, float], None]


def _silent(_error: BenchError, _seconds: float) -> None:
    pass


class Connection:
    """Speaks HTTP with a server; may be shared by threads.

    Parameters
    ----------
    timeout
        Seconds to wait for an answer.
    patience
        Seconds for which work that is followed, and a start whose answer was lost, are tried again.
    ca_file
        Certificate of a server that made its own, for ``https``.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None,
        *,
        timeout: float,
        patience: float,
        ca_file: Path | None = None,
    ) -> None:
        import ssl

        import httpx

        self.url = url.rstrip("/")
        self.patience = patience
        headers = [(b"Accept", b"application/json")]
        if api_key:
            headers.append((b"X-API-Key", _key_bytes(api_key)))
        try:
            _check(self.url)
            # Proxies of the environment are for the internet and do not know the lab's network.
            self._client = httpx.Client(
                base_url=self.url,
                headers=headers,
                timeout=httpx.Timeout(timeout, connect=CONNECT_SECONDS),
                trust_env=False,
                verify=ssl.create_default_context(cafile=ca_file) if ca_file else True,
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise BenchError(
                f"{url!r} is no address of a server: {error}",
                hint="Write it like http://lab-server:8000.",
            ) from error
        except OSError as error:
            raise BenchError(f"The certificate {ca_file} cannot be read: {error}") from error

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    # -- requests ----------------------------------------------------------------------------

    def get(
        self,
        path: str,
        /,
        *,
        patience: float = 0.0,
        timeout: float | None = None,
        on_pause: OnPause = _silent,
        **query: object,
    ) -> Any:
        """Return the JSON at a path; for so many seconds a failing connection is tried again."""
        answer = self._patiently(
            lambda: self._asked("GET", path, query=query, timeout=timeout),
            patience=patience,
            on_pause=on_pause,
        )
        return _json(answer, path)

    def content(self, path: str, /, *, timeout: float | None = None, **query: object) -> bytes:
        """Return the bytes at a path."""
        return self._asked("GET", path, query=query, timeout=timeout).content

    def page(self, path: str, /, **query: object) -> tuple[Any, int | None]:
        """Return a list's JSON, and how long the list is on all pages where the server says so."""
        answer = self._asked("GET", path, query=query)
        total = answer.headers.get("X-Total-Count")
        return _json(answer, path), None if total is None else int(total)

    def send(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: Query | None = None,
        timeout: float | None = None,
        **more: Any,
    ) -> Any:
        """Send a request once and return the answer's JSON.

        Raises
        ------
        AnswerLost
            The connection was cut meanwhile; whether it was carried out is not known.
        """
        if body is not None:
            more["json"] = body
        return _json(self._asked(method, path, query=query, timeout=timeout, **more), path)

    def start(self, path: str, body: object, key: str) -> Any:
        """Start work exactly once, however often the answer is lost on its way.

        Every try carries the same key, by which the server knows a request that it has carried out
        already and answers with the work it has begun.
        """

        def once() -> "httpx.Response":
            return self._asked("POST", path, json=body, headers={"Idempotency-Key": key})

        return _json(self._surely(once), path)

    def repeatable(self, method: str, path: str, body: object = None) -> Any:
        """Send what may be sent twice without harm, again if its answer is lost."""
        more: dict[str, Any] = {} if body is None else {"json": body}
        return _json(self._surely(lambda: self._asked(method, path, **more)), path)

    def _surely(self, once: Callable[[], T]) -> T:
        """Call again while the answer is lost; a server that is not there is told at once."""
        try:
            return once()
        except AnswerLost:
            return self._patiently(once, patience=self.patience)

    def download(self, path: str, target: Path, /, **query: object) -> Path:
        """Write what is at a path to a file, which appears once it is whole."""
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.part")

        def once() -> None:
            with self._stream(path, query=query) as answer, part.open("wb") as file:
                for piece in answer.iter_bytes():
                    file.write(piece)

        try:
            self._patiently(once, patience=self.patience if self._has_answered else 0.0)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        return target

    @contextlib.contextmanager
    def lines(self, path: str, headers: Mapping[str, str], silence: float) -> Iterator[Any]:
        """Give the lines of an endless answer; so many seconds without any are an end.

        Raises
        ------
        Unreachable
            The connection was lost, also while lines are read.
        """
        import httpx

        timeout = httpx.Timeout(silence, connect=CONNECT_SECONDS)
        accept = {"Accept": "text/event-stream", **headers}
        with self._stream(path, headers=accept, timeout=timeout) as answer:
            yield answer.iter_lines()

    _has_answered = False

    def _asked(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        timeout: float | None = None,
        **more: Any,
    ) -> "httpx.Response":
        import httpx

        if timeout is not None:
            more["timeout"] = httpx.Timeout(timeout, connect=CONNECT_SECONDS)
        with self._told(method):
            answer = self._client.request(method, path, params=_given(query), **more)
        self._has_answered = True
        if not answer.is_success:
            raise refusal(answer.status_code, _parsed(answer), path)
        return answer

    @contextlib.contextmanager
    def _stream(
        self, path: str, *, query: Query | None = None, **more: Any
    ) -> Iterator["httpx.Response"]:
        with (
            self._told("GET"),
            self._client.stream("GET", path, params=_given(query), **more) as answer,
        ):
            self._has_answered = True
            if not answer.is_success:
                answer.read()
                raise refusal(answer.status_code, _parsed(answer), path)
            yield answer

    @contextlib.contextmanager
    def _told(self, method: str) -> Iterator[None]:
        """Turn failures of the connection into ours."""
        import httpx

        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            is_about_tls = "SSL" in str(error)
            raise Unreachable(
                f"No benchwire server answers at {self.url} ({_reason(error)})",
                code="unreachable",
                hint="Check whether the server is reached by http:// or https://, and its "
                "certificate."
                if is_about_tls
                else "Check that it runs (`benchwire serve` there), that address and port are "
                "right, and that no firewall is in between.",
            ) from error
        except (httpx.TransportError, httpx.DecodingError) as error:
            what = (
                "no answer came in time"
                if isinstance(error, httpx.TimeoutException)
                else ("the connection was cut")
            )
            raise AnswerLost(
                f"{what.capitalize()} from {self.url}",
                code="answer_lost",
                hint=""
                if method == "GET"
                else "The request may have been carried out all the same: look before you repeat "
                "it.",
            ) from error

    def _patiently(
        self, once: Callable[[], T], *, patience: float, on_pause: OnPause = _silent
    ) -> T:
        """Call again while the connection fails, with longer and longer pauses."""
        deadline = time.monotonic() + patience
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                return once()
            except (Unreachable, Unavailable) as error:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise
                pause = min(pause, left)
                on_pause(error, pause)
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


def _given(query: Query | None) -> dict[str, Any] | None:
    # The library takes an empty query for one that replaces what the path has.
    return {key: value for key, value in (query or {}).items() if value is not None} or None


def _check(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"}:
        raise ValueError("it has no http:// before it")
    if not parts.hostname or any(sign.isspace() for sign in url):
        raise ValueError("it names no computer")


def _key_bytes(key: str) -> bytes:
    try:
        content = key.encode("latin-1")
    except UnicodeEncodeError as error:
        raise BenchError("The key has characters that no request can carry") from error
    if any(byte < 0x20 or byte == 0x7F for byte in content):
        raise BenchError("The key has a line break or another control character in it")
    return content


def _json(answer: "httpx.Response", path: str) -> Any:
    try:
        return answer.json()
    except ValueError as error:
        raise Unreadable(
            f"What answers {path} at {answer.url.host} is no benchwire server",
            status=answer.status_code,
            code="unreadable",
            hint="Check address and port.",
        ) from error


def _parsed(answer: "httpx.Response") -> object:
    try:
        return json.loads(answer.content)
    except ValueError:
        return None


def _reason(error: Exception) -> str:
    text = str(error)
    if "refused" in text.lower():
        return "connection refused"
    if isinstance(error, TimeoutError) or "timed out" in text or not text:
        return "no answer in time"
    return text
