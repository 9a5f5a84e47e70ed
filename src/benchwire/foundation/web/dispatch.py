"""Hand each request to the application with the longest claim on its path."""

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
