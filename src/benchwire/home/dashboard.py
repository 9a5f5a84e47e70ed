"""The dashboard under ``/ui``: loaded beside the running server, so that no answer waits for it."""

import asyncio
import importlib
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from benchwire.foundation.domain import Domain
from benchwire.foundation.lab import Lab
from benchwire.foundation.web.apis import BODY_BYTES
from benchwire.foundation.web.bodies import LimitedBodies
from benchwire.foundation.web.keys import KeyRing
from benchwire.home.catalogue import Catalogue
from benchwire.home.routes import UI_PATH

logger = logging.getLogger(__name__)


class LazyDashboard:
    """An ASGI application that is put together in the background after the server has started.

    The page library takes longer to import than everything else, and keeps its state in its own
    module, so a process has one dashboard.
    """

    def __init__(
        self, lab: Lab, domains: Sequence[Domain], keys: KeyRing, catalogue: Catalogue
    ) -> None:
        self._lab = lab
        self._domains = domains
        self._keys = keys
        self._catalogue = catalogue
        self._ready: asyncio.Future[ASGIApp] | None = None

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Load the pages, keep them alive, and take them down at the end."""
        if not self._lab.server.ui:
            yield
            return
        self._ready = asyncio.get_running_loop().create_future()
        over = asyncio.Event()
        keeper = asyncio.create_task(self._keep(over))
        try:
            yield
        finally:
            over.set()
            await keeper

    async def _keep(self, over: asyncio.Event) -> None:
        ready = self._ready
        assert ready is not None  # noqa: S101 - set by the caller
        try:
            # The import holds the interpreter in short turns only when done in a thread.
            await asyncio.to_thread(importlib.import_module, "nicegui")
            pages = importlib.import_module("benchwire.home.pages")
            host = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
            # Pages take in what the interfaces take in, with the form around it.
            most = max((domain.body_bytes for domain in self._domains), default=BODY_BYTES)
            host.add_middleware(LimitedBodies, limit=most + BODY_BYTES)
            pages.mount(
                host, self._lab, self._domains, self._catalogue, keys=self._keys, path=UI_PATH
            )
        except Exception as error:
            logger.exception("the dashboard cannot be shown")
            ready.set_exception(error)
            await over.wait()
            return
        async with host.router.lifespan_context(host):
            ready.set_result(host)
            await over.wait()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request once the pages are there."""
        assert self._ready is not None  # noqa: S101 - no request comes before the lifespan
        app = await asyncio.shield(self._ready)
        await app(scope, receive, send)
