"""The first moment: the server listens and says it lives while it is still being put together.

Importing and opening everything takes a second or more. A probe that looks for the box in that time
gets its answer at once; every other request waits until the server is whole.
"""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from starlette.types import Receive, Scope, Send

from benchwire.domains.potentiostat.settings import PotentiostatSettings
from benchwire.foundation.files import disk_refusal
from benchwire.foundation.settings import ServerSettings
from benchwire.foundation.web.keys import KeyRing, NamedKeys

if TYPE_CHECKING:
    from benchwire.app import Application

HEALTH_PATH = "/health"


class Opening:
    """Stands for the application until that is there, then hands everything to it.

    Parameters
    ----------
    whole
        Awaited once the application answers.
    failed
        Called when it cannot be made; ``error`` then says why.
    """

    def __init__(
        self,
        settings: ServerSettings,
        *,
        whole: Callable[["Application"], Awaitable[None]],
        failed: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._whole = whole
        self._failed = failed
        self._keys = KeyRing(settings.key, b"", NamedKeys(settings.data_dir))
        self._box_id = PotentiostatSettings.load(settings.data_dir).box_id
        self._ready: asyncio.Future[Application] | None = None
        self._app: Application | None = None
        self._stop_asked = threading.Event()
        self.error: Exception | None = None
        self.closed = threading.Event()
        """Set once all parts are closed in good order."""

    def make_safe(self) -> None:
        """Make every instrument safe, or see to it that none is touched any more."""
        self._stop_asked.set()
        if self._app is not None:
            self._app.make_safe()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or run the server's life."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        ready = self._ready
        assert ready is not None  # noqa: S101 - no request comes before the lifespan
        if not ready.done() and self._may_answer(scope):
            await self._answer(send)
            return
        app = await asyncio.shield(ready)
        await app(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        self._ready = asyncio.get_running_loop().create_future()
        over = asyncio.Event()
        keeper = asyncio.create_task(self._keep(over))
        await send({"type": "lifespan.startup.complete"})
        await receive()
        over.set()
        await keeper
        if self.error is None:
            self.closed.set()
        await send({"type": "lifespan.shutdown.complete"})

    async def _keep(self, over: asyncio.Event) -> None:
        """Make the application beside the loop, and keep it alive until the end."""
        ready = self._ready
        assert ready is not None  # noqa: S101 - set by the caller
        try:
            app = await asyncio.to_thread(self._make)
            self._app = app
            async with app.lifespan():
                if self._stop_asked.is_set():
                    app.make_safe()
                ready.set_result(app)
                await self._whole(app)
                await over.wait()
        except Exception as error:  # noqa: BLE001 - told by the command line, whatever it is
            refusal = disk_refusal(error) if isinstance(error, OSError) else None
            self.error = refusal or error
            if not ready.done():
                ready.set_exception(error)
                # Requests that wait are ended with the server; nobody else asks for this error.
                ready.exception()
            self._failed()
            await over.wait()

    def _make(self) -> "Application":
        from benchwire.app import create_app

        return create_app(self._settings)

    def _may_answer(self, scope: Scope) -> bool:
        if scope["type"] != "http" or scope["path"] != HEALTH_PATH or scope["method"] != "GET":
            return False
        keys = [value for name, value in scope["headers"] if name == b"x-api-key"]
        return self._keys.holder(keys[0].decode("latin-1") if keys else None) is not None

    async def _answer(self, send: Send) -> None:
        body = {"ok": True, "devices": 0, "box_id": self._box_id, "status": "healthy"}
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-type", b"application/json")],
            }
        )
        await send({"type": "http.response.body", "body": json.dumps(body).encode()})
