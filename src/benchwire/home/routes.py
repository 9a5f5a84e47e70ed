"""The server's plain paths: index, metrics, job events, documents and login."""

import asyncio
from collections.abc import Mapping, Sequence

from fastapi import APIRouter, FastAPI, Request
from prometheus_client import generate_latest
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from benchwire import __version__
from benchwire.foundation.audit.log import AuditLog
from benchwire.foundation.domain import Domain
from benchwire.foundation.lab import Lab
from benchwire.foundation.streams import json_event
from benchwire.foundation.web import error_handlers
from benchwire.foundation.web.apis import Api
from benchwire.foundation.web.downloads import files_of
from benchwire.foundation.web.keys import KeyRing
from benchwire.foundation.web.roles import Need, Role
from benchwire.foundation.web.sse import EventStream
from benchwire.home import metrics
from benchwire.home.catalogue import Catalogue
from benchwire.home.documents import STATIC_PATH, documents_router, static_documents
from benchwire.home.lists import router as lists_router
from benchwire.home.login import LOGIN_PATH, login_router

UI_PATH = "/ui"
JOBS_TOPIC = "jobs"
_PUBLIC = frozenset({"/", "/docs", "/redoc", "/openapi.json", "/favicon.ico", LOGIN_PATH})
# Static files carry no data of the lab; they are the same in every copy of the program.
_PUBLIC_FOLDERS = ("/static/", f"{UI_PATH}/_nicegui/")
# What the dashboard's pages ask for beside themselves.
DASHBOARD_NEEDS = (
    "/static", "/events", "/docs", "/redoc", "/openapi.json", "/metrics", LOGIN_PATH, "/logout",
    "/work", "/search", "/samples", "/notices", "/crates",
)  # fmt: skip
# What a reader answers by itself: at any time, and while the server is away.
STORED = ("/docs", "/redoc", "/openapi.json", "/static", "/samples/links")
LAST_KNOWN = ("/", "/work", "/search", "/samples", "/notices")
_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


# Where the method does not tell: what is sent to the dashboard's socket is judged page by page.
NEEDS = (
    Need("POST", f"{UI_PATH}/_nicegui_ws/{{path:path}}", Role.VIEWER, is_logged=False),
    Need("DELETE", "/samples/links/{link_id}", Role.OPERATOR),
    Need("GET", "/audit", Role.ADMIN, is_logged=False),
)
DOOR = frozenset({("POST", LOGIN_PATH), ("POST", "/logout")})
"""What needs no key, since a key is given or a session ended there."""


def is_public(path: str) -> bool:
    """Whether a path is read without a key."""
    return path in _PUBLIC or path.startswith(_PUBLIC_FOLDERS)


def home_app(
    lab: Lab,
    domains: Sequence[Domain],
    apps: Mapping[str, FastAPI],
    keys: KeyRing,
    catalogue: Catalogue,
    log: AuditLog,
) -> Api:
    """Return the application of every path that no domain claims."""
    app = Api(
        "Server",
        __version__,
        render=error_handlers.render_detail,
        refusal=error_handlers.Detail,
        is_public=is_public,
    )
    app.include_router(_router(lab, domains, apps), tags=["Server"])
    app.state.services = {type(item): item for item in (lab, lab.jobs, lab.samples, catalogue, log)}
    app.include_router(lists_router, tags=["Server"])
    app.include_router(login_router(keys, UI_PATH))
    app.include_router(documents_router({**apps, "home": app}))
    app.mount(STATIC_PATH, static_documents())
    app.mount("/static/ui", StaticFiles(packages=[("benchwire.foundation.web", "static")]))
    return app


def _router(lab: Lab, domains: Sequence[Domain], apps: Mapping[str, FastAPI]) -> APIRouter:
    router = APIRouter()
    registry = metrics.registry(lab, domains)

    @router.get("/")
    def index(request: Request) -> Response:
        """What this server offers; a browser is taken to the dashboard."""
        if lab.server.ui and "text/html" in request.headers.get("accept", ""):
            return RedirectResponse(f"{UI_PATH}/")
        return JSONResponse(
            {
                "name": "benchwire",
                "version": __version__,
                "description": "One server for the lab bench: instruments, jobs and their data.",
                "domains": {domain.name: list(domain.claims) for domain in domains},
                "endpoints": {name: _endpoints(app) for name, app in apps.items()},
                "links": {
                    "dashboard": UI_PATH if lab.server.ui else None,
                    "docs": "/docs",
                    "openapi": "/openapi.json",
                    "metrics": "/metrics",
                    "job_events": "/events/jobs",
                    "away": "/away",
                    "audit": "/audit",
                    "work": "/work",
                    "search": "/search",
                    "samples": "/samples",
                    "notices": "/notices",
                },
            }
        )

    @router.get("/away")
    def away() -> dict[str, object]:
        """How the server last ended, what that cut short, and what was made safe since."""
        report = lab.sessions.away_report()
        return {
            "database_set_aside": lab.database.set_aside,
            "last_stop": None if report is None else report.as_json(),
        }

    @router.get("/metrics", response_class=Response, responses=files_of("text/plain"))
    def prometheus() -> Response:
        """The server's figures for Prometheus."""
        return Response(generate_latest(registry), media_type=_METRICS_TYPE)

    @router.get("/events/jobs", response_class=Response, responses=files_of("text/event-stream"))
    async def job_events() -> Response:
        """Every change of every job as server-sent events, beginning with those unfinished."""

        def unfinished() -> bytes:
            return b"".join(json_event("job", record.as_json()) for record in lab.jobs.unfinished())

        # In a thread, as there may be many thousands, and other clients do not wait for them.
        return EventStream(lab.hub, [JOBS_TOPIC], hello=lambda: asyncio.to_thread(unfinished))

    @router.get("/health", include_in_schema=False)
    def health() -> dict[str, object]:
        """Whether the server runs, where no domain answers this path."""
        return {"ok": True, "status": "healthy"}

    return router


def _endpoints(app: FastAPI) -> list[str]:
    """Return every documented path of a domain with its method."""
    return [
        f"{method.upper()} {path}"
        for path, item in app.openapi()["paths"].items()
        for method in sorted(item)
    ]
