"""Hand each request to the application with the longest claim on its path."""

import re
from collections.abc import Iterable

from starlette.types import ASGIApp, Receive, Scope, Send


class Dispatcher:
    """Applications by the path prefixes they claim; the path itself is not rewritten.

    A claim ends at a segment: ``/jobs`` claims ``/jobs`` and ``/jobs/7``, not ``/jobsite``.
    """

    def __init__(self, claims: Iterable[tuple[str, ASGIApp]], *, otherwise: ASGIApp) -> None:
        self._claims = sorted(claims, key=lambda claim: len(claim[0]), reverse=True)
        self._otherwise = otherwise

    def owner(self, path: str) -> ASGIApp:
        """Return the application that answers for a path."""
        for prefix, app in self._claims:
            if path == prefix or path.startswith(f"{prefix}/"):
                return app
        return self._otherwise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on to its owner."""
        await self.owner(scope["path"])(scope, receive, send)


class Paths:
    """The paths that some claims take in; ``{name}`` in a claim stands for one segment."""

    def __init__(self, claims: Iterable[str]) -> None:
        parts = (re.sub(r"\\{\w+\\}", "[^/]+", re.escape(claim)) for claim in claims)
        # Without any claim it matches nothing.
        self._pattern = re.compile(rf"(?:{'|'.join(parts) or '(?!)'})(?:/.*)?", re.DOTALL)

    def __contains__(self, path: str) -> bool:
        return self._pattern.fullmatch(path) is not None
