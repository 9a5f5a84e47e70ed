"""Put the server together: domains by entry point, one application each, one door for all."""

import logging
import secrets
import socket
import threading
import zlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from benchwire import __version__
from benchwire.foundation import schema
from benchwire.foundation.audit.log import AuditLog
from benchwire.foundation.catalogue import Notice
from benchwire.foundation.clock import Clock, SystemClock
from benchwire.foundation.db import open_database
from benchwire.foundation.db_files import copy_daily
from benchwire.foundation.domain import Domain
from benchwire.foundation.errors import Conflict, Invalid, NotFound
from benchwire.foundation.files import write_whole
from benchwire.foundation.instruments.emulation import EmulatorProcess
from benchwire.foundation.jobs.runner import Jobs
from benchwire.foundation.jobs.sessions import Sessions, hold_for_server
from benchwire.foundation.lab import Lab
from benchwire.foundation.samples.store import Samples
from benchwire.foundation.settings import ServerSettings
from benchwire.foundation.streams import Hub, json_event
from benchwire.foundation.web import error_handlers
from benchwire.foundation.web.apis import Api
from benchwire.foundation.web.auth import Guard
from benchwire.foundation.web.content_policy import ContentPolicy
from benchwire.foundation.web.dispatch import Dispatcher
from benchwire.foundation.web.keys import KeyRing, NamedKeys
from benchwire.foundation.web.problems import Problem
from benchwire.foundation.web.roles import SAFE_METHODS, Needs
from benchwire.foundation.workers import Executor, ProcessExecutor
from benchwire.home.catalogue import Catalogue
from benchwire.home.crates.download import clear_leftovers
from benchwire.home.dashboard import LazyDashboard
from benchwire.home.login import LOGIN_PATH
from benchwire.home.routes import (
    DASHBOARD_NEEDS,
    DOOR,
    JOBS_TOPIC,
    NEEDS,
    UI_PATH,
    home_app,
    is_public,
)

logger = logging.getLogger(__name__)

ENTRY_POINTS = "benchwire.domains"
SESSION_KEY_FILE = ".session_key"

RenderFor = Callable[[str], Callable[[Problem], tuple[int, Mapping[str, Any]]]]


def emulate(domain: str, count: int, folder: Path) -> EmulatorProcess:
    """Start emulated instruments of a domain, found as ``emulated`` in its module ``emulator``.

    Raises
    ------
    UnknownDomain
        There is no such domain, or it has no emulator.
    """
    module = next(
        (
            f"{entry.module.rpartition('.')[0]}.emulator"
            for entry in entry_points(group=ENTRY_POINTS)
            if entry.name == domain
        ),
        None,
    )
    if module is None or find_spec(module) is None:
        raise UnknownDomain(f"There is no emulated {domain}")
    names = [f"{domain}-{number}" for number in range(1, count + 1)]
    return EmulatorProcess(f"{module}:emulated", names, folder)


def load_domains(lab: Lab) -> tuple[list[Domain], list[Notice]]:
    """Build every domain that is installed, and tell which could not be.

    One of another package that fails is left out: the bench's other instruments do not wait for it.

    Raises
    ------
    ClaimTaken
        Two domains want to answer the same paths.
    """
    domains: list[Domain] = []
    left_out: list[Notice] = []
    for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name):
        try:
            domains.append(entry.load()(lab))
        except Exception as error:
            if entry.module.partition(".")[0] == __name__.partition(".")[0]:
                raise
            package = entry.dist.name if entry.dist is not None else entry.module
            logger.exception("the domain %s of %s is left out", entry.name, package)
            why = f"{type(error).__name__}: {error}"
            left_out.append(
                Notice("error", f"{entry.name} of {package} cannot be used: {why:.200}")
            )
    owners: dict[str, str] = {}
    for domain in domains:
        for claim in domain.claims:
            if claim in owners:
                raise ClaimTaken(
                    f"{owners[claim]} and {domain.name} both want to answer {claim}",
                    hint="Uninstall one of the packages.",
                )
            owners[claim] = domain.name
    return domains, left_out


class ClaimTaken(Conflict):
    """Two domains want to answer the same paths."""

    code = "server.claim_taken"


class ClusterExtraMissing(Invalid):
    """A cluster is set, and what speaks to it is not installed."""

    code = "server.cluster_extra_missing"


class UnknownDomain(NotFound):
    """There is no domain of that name, or it lacks what is asked of it."""

    code = "server.unknown_domain"


class Application:
    """The whole server as one ASGI application.

    Made by `create_app`. It owns every part and closes them in its lifespan; `make_safe` may be
    called from a signal at any moment.
    """

    def __init__(self, settings: ServerSettings, clock: Clock) -> None:
        self.settings = settings
        self._closers = AsyncExitStack()
        self._cluster_troubles: Callable[[], Sequence[str]] = tuple
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        lock = hold_for_server(settings.data_dir)
        self._closers.callback(lock.close)
        clear_leftovers(settings.data_dir)
        url = settings.database_url
        owner = _number_of(settings.data_dir) if url else None
        database = open_database(settings.data_dir, url, clock, owner=owner)
        self._closers.callback(database.close)
        schema.upgrade(database)
        sessions = Sessions(database, clock)
        sessions.begin(__version__, lock.last_seen)
        hub = Hub()
        jobs = Jobs(
            database,
            clock,
            sessions,
            notify=lambda record: hub.publish(JOBS_TOPIC, json_event("job", record.as_json())),
        )
        workers, compute = self._executors()
        self._closers.callback(workers.close)
        self._closers.callback(compute.close)
        emulators = self._start_emulators()
        samples = Samples(database, clock)
        self.lab = Lab(
            settings, clock, database, jobs, sessions, samples, hub, workers, compute, emulators
        )
        self.domains, left_out = load_domains(self.lab)
        schema.add_tables(
            database, {item.name: item.tables for item in self.domains if item.tables is not None}
        )
        self._assemble([*left_out, *_damage_told(database.set_aside)])

    def _executors(self) -> tuple[Executor, Executor]:
        """Return what does short and long work: processes here, or those of a cluster."""
        at_once = (self.settings.worker_processes, self.settings.compute_processes)
        memory = self.settings.worker_memory_mb * 1_000_000
        if self.settings.cluster is None:
            return (
                ProcessExecutor(at_once[0], memory=memory),
                ProcessExecutor(at_once[1], memory=memory),
            )
        try:
            from benchwire.foundation.cluster.connection import Cluster, Place
            from benchwire.foundation.cluster.executor import ClusterExecutor
        except ModuleNotFoundError as error:
            raise ClusterExtraMissing(
                f"The setting cluster needs the package {error.name}",
                hint="Install benchwire[cluster].",
            ) from error
        cluster = Cluster(
            Place(
                self.settings.cluster,
                self.settings.cluster_ca,
                self.settings.cluster_cert,
                self.settings.cluster_key,
            ),
            data_dir=self.settings.data_dir,
            folders=self.settings.allowed_paths,
            wanted_threads=sum(at_once),
            memory=memory,
        )
        self._closers.callback(cluster.close)
        self._cluster_troubles = cluster.troubles
        return (
            ClusterExecutor(cluster, at_once[0], is_urgent=True),
            ClusterExecutor(cluster, at_once[1]),
        )

    def _start_emulators(self) -> dict[str, tuple[Path, ...]]:
        """Start the emulated instruments asked for, in a process that ends with this one."""
        started = {}
        for domain, count in self.settings.emulate.items():
            if count > 0:
                emulators = emulate(domain, count, self.settings.data_dir / "emulated")
                self._closers.callback(emulators.close)
                started[domain] = tuple(emulators.paths.values())
        return started

    def _assemble(self, standing: Sequence[Notice]) -> None:
        data_dir = self.settings.data_dir
        named = NamedKeys(data_dir, self.lab.clock)
        keys = KeyRing(self.settings.key, session_secret(data_dir), named)
        log = AuditLog(self.lab.database, self.lab.clock)
        last = log.newest()
        if last is not None:
            logger.info("the audit log ends with entry %s, %s", last.id, last.hash)
        self._apps = {domain.name: domain_app(domain) for domain in self.domains}

        def notices() -> list[Notice]:
            troubles = [Notice("error", text) for text in self._cluster_troubles()]
            return [*standing, *troubles]

        catalogue = Catalogue(self.lab, self.domains, notices)
        home = home_app(self.lab, self.domains, self._apps, keys, catalogue, log)
        self._dashboard = LazyDashboard(self.lab, self.domains, keys, catalogue)
        claims = [
            (claim, self._apps[domain.name]) for domain in self.domains for claim in domain.claims
        ]
        dispatcher = Dispatcher([*claims, *self._pages()], otherwise=home)
        render_for = renderer(self.domains, self._apps, dispatcher)

        def guarded(app: ASGIApp) -> ASGIApp:
            return guard(
                app, self.settings, self.domains, keys=keys, log=log, render_for=render_for
            )

        self._web: ASGIApp = guarded(dispatcher)
        self._alone = {
            domain.name: guarded(self._standing_alone(domain, home)) for domain in self.domains
        }

    def alone(self, domain: str) -> ASGIApp:
        """Return one domain by itself, for a port of its own.

        Raises
        ------
        UnknownDomain
            There is none of that name.
        """
        if domain not in self._alone:
            raise UnknownDomain(f"There is no domain called {domain}")
        return self._alone[domain]

    def _standing_alone(self, domain: Domain, home: ASGIApp) -> ASGIApp:
        """Return a domain's application with its page at ``/`` and the dashboard beside it."""
        app: ASGIApp = self._apps[domain.name]
        companions = [other for other in self.domains if other.name in domain.companions]
        if companions:
            claims = [
                (claim, self._apps[item.name])
                for item in (domain, *companions)
                for claim in item.claims
            ]
            app = Dispatcher(claims, otherwise=app)
        if not self.settings.ui:
            return app

        async def front(scope: Scope, receive: Receive, send: Send) -> None:
            accepted = Headers(scope=scope).get("accept", "") if scope["type"] == "http" else ""
            if scope["path"] == "/" and scope["method"] == "GET" and "text/html" in accepted:
                await RedirectResponse(f"{UI_PATH}{domain.front_page}")(scope, receive, send)
            else:
                await app(scope, receive, send)

        # By route, not by claim: alone it answers some paths that are others' in the whole server.
        routes = (route for router in domain.routers for route in router.routes)
        own = {getattr(route, "path", "") for route in routes}
        needs = [(path, home) for path in DASHBOARD_NEEDS if path not in own]
        return Dispatcher([*self._pages(), *needs], otherwise=front)

    def _pages(self) -> list[tuple[str, ASGIApp]]:
        return [(UI_PATH, self._dashboard)] if self.settings.ui else []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or run the server's life."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await self._web(scope, receive, send)

    def make_safe(self) -> None:
        """Open every cell, end every stream and stop every job; returns at once.

        Runs its calls in a thread of its own, because a signal may have interrupted a holder of the
        very locks they need.
        """
        threading.Thread(target=self._make_safe, name="make safe", daemon=True).start()

    def _make_safe(self) -> None:
        self.lab.jobs.refuse()
        for domain in self.domains:
            domain.make_safe()
        self.lab.jobs.stop_all()
        self.lab.hub.close()

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Start all parts; end them in reverse, instruments before the database."""
        import asyncio

        async with self._closers:
            self.lab.hub.bind(asyncio.get_running_loop())
            async with AsyncExitStack() as stack:
                stack.callback(self.lab.hub.close)
                if self.lab.database.is_sqlite:
                    self._copy_database(stack)
                for domain in self.domains:
                    await stack.enter_async_context(domain.lifespan())
                # Jobs end before the domains whose instruments they use.
                stack.push_async_callback(asyncio.to_thread, self.lab.jobs.close)
                await asyncio.to_thread(self.lab.jobs.start)
                await stack.enter_async_context(self._dashboard.lifespan())
                yield

    def _copy_database(self, stack: AsyncExitStack) -> None:
        over = threading.Event()
        copying = threading.Thread(
            target=copy_daily,
            args=(self.settings.data_dir, self.lab.clock, over),
            name="database copies",
            daemon=True,
        )
        copying.start()
        stack.callback(over.set)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            async with self.lifespan():
                await send({"type": "lifespan.startup.complete"})
                await receive()
        except Exception as error:
            logger.exception("the server cannot go on")
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            raise
        await send({"type": "lifespan.shutdown.complete"})


def create_app(settings: ServerSettings, clock: Clock | None = None) -> Application:
    """Return the server for these settings; its files and database are opened here.

    Raises
    ------
    DataFolderInUse, DataFolderReadOnly, RestoreCutShort, FolderUnsuitable, SchemaTooNew
        It cannot work in that data folder.
    """
    return Application(settings, clock or SystemClock())


def _damage_told(set_aside: str | None) -> list[Notice]:
    if set_aside is None:
        return []
    text = (
        f"The database was damaged and is kept as {set_aside}; its newest daily copy took its "
        "place, or a new one. Restore a backup, or remove that file once nothing is missed"
    )
    return [Notice("error", text)]


def _is_dashboard(path: str) -> bool:
    return path == UI_PATH or path.startswith(f"{UI_PATH}/")


def renderer(
    domains: Sequence[Domain], apps: Mapping[str, ASGIApp], dispatcher: Dispatcher
) -> RenderFor:
    """Return what gives the error shape of the domain that owns a path."""
    renderers = {id(apps[domain.name]): domain.render_error for domain in domains}
    return lambda path: renderers.get(id(dispatcher.owner(path)), error_handlers.render_detail)


def guard(
    app: ASGIApp,
    settings: ServerSettings,
    domains: Sequence[Domain],
    *,
    keys: KeyRing,
    log: AuditLog | None,
    render_for: RenderFor,
) -> ASGIApp:
    """Let only those through who may ask, and say with every answer what a browser may do."""
    public = frozenset(path for domain in domains for path in domain.public_paths)

    def needs_no_key(method: str, path: str) -> bool:
        if method in SAFE_METHODS:
            return path in public or is_public(path)
        return (method, path) in DOOR

    guarded = Guard(
        app,
        keys=keys,
        log=log,
        needs=Needs([*NEEDS, *(need for domain in domains for need in domain.needs)]),
        is_public=needs_no_key,
        render_for=render_for,
        is_page=_is_dashboard,
        login_path=LOGIN_PATH,
        allowed_origins=settings.cors_origins,
        allowed_hosts=[*settings.allowed_hosts, socket.gethostname()],
    )
    shown = ContentPolicy(guarded, is_dashboard=_is_dashboard)
    return _with_cors(shown, settings.cors_origins)


def domain_app(domain: Domain) -> Api:
    """Return the application of one domain."""
    app = Api(
        domain.title,
        __version__,
        render=domain.render_error,
        refusal=domain.refusal,
        is_public=lambda path: path in domain.public_paths,
        body_bytes=domain.body_bytes,
    )
    app.state.services = {type(item): item for item in domain.services}
    for router in domain.routers:
        app.include_router(router, tags=[domain.title])
    return app


def _with_cors(app: ASGIApp, origins: list[str]) -> ASGIApp:
    """Let pages of any site read, and pages of the named ones write; never with credentials."""
    if origins:
        return CORSMiddleware(app, allow_origins=origins, allow_methods=["*"], allow_headers=["*"])
    return CORSMiddleware(
        app, allow_origins=["*"], allow_methods=["GET", "HEAD"], allow_headers=["X-API-Key"]
    )


def _number_of(data_dir: Path) -> int:
    """Return the number of the server on a data folder of this computer; no two have the same.

    A copy of the folder on another computer, or beside the first, is another server.
    """
    own = b"\0".join(
        (session_secret(data_dir), socket.gethostname().encode(), str(data_dir.resolve()).encode())
    )
    return zlib.crc32(own) & 0x7FFFFFFF


def session_secret(data_dir: Path) -> bytes:
    """Return the random bytes that sessions are signed with, made when first needed."""
    path = data_dir / SESSION_KEY_FILE
    try:
        return path.read_bytes()
    except FileNotFoundError:
        secret = secrets.token_bytes(32)
        write_whole(path, secret, mode=0o600)
        return secret
