"""A process beside the server that only reads: it answers what is stored and passes on the rest.

It holds no instrument, runs no job and writes nothing. Whatever only the server's memory knows, and
whatever changes something, goes to the server; so nothing old is ever told as if it were of now.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, TypeVar

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import Message, Receive, Scope, Send

from benchwire import __version__
from benchwire.app import domain_app, guard, load_domains, renderer, session_secret
from benchwire.foundation import schema
from benchwire.foundation.audit.log import AuditLog
from benchwire.foundation.catalogue import Notice
from benchwire.foundation.clock import SystemClock
from benchwire.foundation.db import DATABASE_FILE, DatabaseUnavailable, open_for_reading
from benchwire.foundation.domain import Domain
from benchwire.foundation.errors import BenchwireError, Unavailable
from benchwire.foundation.jobs.runner import Jobs
from benchwire.foundation.jobs.sessions import LOCK_FILE, Sessions
from benchwire.foundation.lab import Lab
from benchwire.foundation.samples.store import Samples
from benchwire.foundation.settings import ServerSettings
from benchwire.foundation.streams import Hub
from benchwire.foundation.web.content_policy import own_page
from benchwire.foundation.web.dispatch import Dispatcher, Paths
from benchwire.foundation.web.keys import KeyRing, NamedKeys
from benchwire.foundation.web.problems import Problem
from benchwire.foundation.web.relay import OwnerAway, Relay
from benchwire.foundation.workers import OnProgress
from benchwire.home.catalogue import Catalogue
from benchwire.home.routes import LAST_KNOWN, STORED, UI_PATH, home_app

logger = logging.getLogger(__name__)

T = TypeVar("T")

READER_PATH = "/reader"
NOTICE_HEADER = "Benchwire-Notice"
LOOK_SECONDS = 2.0
AWAY = "The server that owns the instruments does not answer; this is what was stored last"
_PAGE = """<!doctype html><html lang="en"><head><title>benchwire</title></head><body><main>
<h1>The dashboard cannot be shown</h1><p>{problem.message}. {problem.hint}</p>
</main></body></html>"""


class OwnersWork(Unavailable):
    """What takes worker processes is done by the server alone."""

    code = "reader.owners_work"


class OwnersWorkers:
    """Stands where the server has its worker processes, of which a reader has none."""

    def submit(
        self,
        work: Callable[..., T],
        *args: Any,
        on_progress: OnProgress | None = None,
        stop: threading.Event | None = None,
        time_limit: float | None = None,
    ) -> Future[T]:
        """Refuse it.

        Raises
        ------
        OwnersWork
            Always.
        """
        raise OwnersWork(
            "Only the server that owns the instruments can do this", hint="Try again once it runs."
        )

    def close(self) -> None:
        """Have nothing to end."""


class Reader:
    """The reader as one ASGI application.

    Raises
    ------
    FolderUnsuitable, SchemaTooNew, SchemaTooOld
        There is no database that it could read.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._database = open_for_reading(settings.data_dir, settings.database_url)
        try:
            schema.check(self._database)
        except BenchwireError:
            self._database.close()
            raise
        self._file_identity = self._identity()
        # Why what is stored cannot be read at the moment.
        self._hindrance: BenchwireError | None = None
        clock, workers = SystemClock(), OwnersWorkers()
        self._relay = Relay(
            settings.data_dir, clock, url=settings.owner, heartbeat=settings.data_dir / LOCK_FILE
        )
        sessions = Sessions(self._database, clock)
        lab = Lab(
            settings,
            clock,
            self._database,
            Jobs(self._database, clock, sessions),
            sessions,
            Samples(self._database, clock),
            Hub(),
            workers,
            workers,
            {},
        )
        domains, _ = load_domains(lab)
        apps = {domain.name: domain_app(domain) for domain in domains}
        data_dir = settings.data_dir
        keys = KeyRing(settings.key, session_secret(data_dir), NamedKeys(data_dir, clock))
        catalogue = Catalogue(
            lab, [_as_stored(item) for item in domains], lambda: [Notice("error", AWAY)]
        )
        home = home_app(lab, domains, apps, keys, catalogue, AuditLog(self._database, clock))
        claims = [(claim, apps[domain.name]) for domain in domains for claim in domain.claims]
        self._own = Dispatcher(claims, otherwise=home)
        self._stored = {id(apps[item.name]): Paths(item.stored) for item in domains}
        self._stored[id(home)] = Paths(STORED)
        self._last_known = {id(apps[item.name]): Paths(item.last_known) for item in domains}
        self._last_known[id(home)] = Paths(LAST_KNOWN)
        self._render_for = renderer(domains, apps, self._own)
        self._web = guard(
            self._answer, settings, domains, keys=keys, log=None, render_for=self._render_for
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or run the reader's life."""
        if scope["type"] != "lifespan":
            await self._web(scope, receive, send)
            return
        await receive()
        watch = asyncio.create_task(self._watch())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
        await self._relay.close()
        await asyncio.to_thread(self._database.close)
        await send({"type": "lifespan.shutdown.complete"})

    # -- answering --------------------------------------------------------------------------

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._relay.join(scope, receive, send)
            return
        path, owner = scope["path"], id(self._own.owner(scope["path"]))
        is_read = scope["method"] == "GET" and self._hindrance is None
        if path == READER_PATH:
            await JSONResponse(await self._state())(scope, receive, send)
        elif is_read and path in self._stored[owner]:
            refusal = _Refusal(send)
            await self._own(scope, receive, refusal)
            if refusal.is_held:
                # Work that has ended this moment is known to the server before it is stored.
                await self._pass_on(scope, receive, send, otherwise=refusal.release)
        elif is_read and path in self._last_known[owner]:

            async def last_known() -> None:
                await self._own(scope, receive, _with_notice(send))

            await self._pass_on(scope, receive, send, otherwise=last_known)
        else:

            async def refuse() -> None:
                await self._refuse(scope, receive, send)

            await self._pass_on(scope, receive, send, otherwise=refuse)

    async def _pass_on(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        otherwise: Callable[[], Awaitable[None]],
    ) -> None:
        """Have the server answer; do something else where it is away."""
        try:
            response = await self._relay.ask(scope, receive)
        except OwnerAway:
            await otherwise()
        else:
            await self._relay.answer(response, scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        problem = Problem.of(self._hindrance or self._relay.away())
        wants_page = "text/html" in Headers(scope=scope).get("accept", "")
        if wants_page and scope["path"].startswith(UI_PATH):
            answer: Response = own_page(_PAGE.format(problem=problem), 503)
        else:
            status, body = self._render_for(scope["path"])(problem)
            answer = JSONResponse(body, status)
        answer.headers["Retry-After"] = "5"
        await answer(scope, receive, send)

    async def _state(self) -> dict[str, Any]:
        hindrance = self._hindrance
        return {
            "version": __version__,
            "schema": schema.head(),
            "reads": hindrance is None,
            "hindrance": hindrance and hindrance.message,
            "owner_answers": await self._relay.is_there(),
        }

    # -- watching ---------------------------------------------------------------------------

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await asyncio.to_thread(self._look)
            except Exception:
                logger.exception("looking after the database failed")

    def _look(self) -> None:
        """Notice a database that was replaced, or upgraded by a server of another version."""
        identity = self._identity()
        if identity != self._file_identity:
            self._file_identity = identity
            self._database.renew()
        try:
            schema.check(self._database)
        except (schema.SchemaTooNew, schema.SchemaTooOld) as error:
            if self._hindrance is None:
                logger.error("nothing is read any more: %s. %s", error.message, error.hint)
            self._hindrance = error
        except DatabaseUnavailable:
            # Each request finds out by itself; the server may know more.
            return
        else:
            self._hindrance = None

    def _identity(self) -> int | None:
        """Return what tells one SQLite file from another of its name."""
        if not self._database.is_sqlite:
            return None
        with contextlib.suppress(OSError):
            return (self._settings.data_dir / DATABASE_FILE).stat().st_ino
        return None


class _Refusal:
    """Lets an answer through and holds a refusal back."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._held: list[Message] = []

    @property
    def is_held(self) -> bool:
        """Whether it was a refusal."""
        return bool(self._held)

    async def __call__(self, message: Message) -> None:
        """Take a part of the answer."""
        is_start = message["type"] == "http.response.start"
        if self._held or (is_start and message["status"] >= 400):
            self._held.append(message)
        else:
            await self._send(message)

    async def release(self) -> None:
        """Let the refusal through after all."""
        for message in self._held:
            await self._send(message)


def _with_notice(send: Send) -> Send:
    async def tell(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message)[NOTICE_HEADER] = AWAY
        await send(message)

    return tell


def _as_stored(domain: Domain) -> Domain:
    """Return a domain as lists see it where only what it stores is known."""
    is_stored = bool(domain.stored or domain.last_known)
    return replace(domain, notices=tuple, shelf=domain.shelf if is_stored else None)
