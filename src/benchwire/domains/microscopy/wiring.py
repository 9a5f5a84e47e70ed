"""Put the microscopy domain together."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from benchwire.domains.microscopy.items import MicroscopyItems
from benchwire.domains.microscopy.routes import router
from benchwire.domains.microscopy.service import Folders, Movies, Workflows
from benchwire.domains.microscopy.store import OpenedFiles
from benchwire.foundation.domain import Dashboard, Domain
from benchwire.foundation.jobs.overview import JobsOverview
from benchwire.foundation.lab import ANALYSIS_QUEUE, Lab
from benchwire.foundation.web.error_handlers import Unsuccessful, render_unsuccessful
from benchwire.foundation.web.roles import reading

if TYPE_CHECKING:
    from benchwire.foundation.web.shell import Shell

logger = logging.getLogger(__name__)

NAME = "microscopy"

NEEDS = tuple(
    reading(f"/api/v1/processing/{question}")
    for question in ("load-metadata", "list-directory", "search-files", "file-info")
)


def build(lab: Lab) -> Domain:
    """Make the domain's objects; no image is opened before somebody asks."""
    movies = Movies(lab.allowed, OpenedFiles(lab.database, lab.clock), lab.workers)
    workflows = Workflows(
        lab.jobs,
        lab.clock,
        movies,
        lab.samples,
        allowed=lab.allowed,
        compute=lab.compute,
        side_by_side=lab.server.compute_processes,
    )
    workflows.register(
        queue=ANALYSIS_QUEUE,
        concurrency=lab.server.max_jobs,
        time_limit=lab.server.job_timeout,
    )
    folders = Folders(lab.allowed, lab.workers)
    items = MicroscopyItems(movies, workflows)

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        if not lab.allowed.folders:
            logger.warning("requests may name any folder; allowed_paths would limit them")
        yield

    def dashboard(shell: "Shell") -> Dashboard:
        from benchwire.domains.microscopy import pages

        return pages.register(shell, movies, folders, workflows)

    return Domain(
        name=NAME,
        title="Microscopy",
        claims=("/api/v1/processing", "/api/v1/jobs", "/api/v1/metrics"),
        needs=NEEDS,
        routers=(router,),
        services=(movies, folders, workflows, JobsOverview(lab.jobs, ANALYSIS_QUEUE)),
        render_error=render_unsuccessful,
        refusal=Unsuccessful,
        lifespan=lifespan,
        dashboard=dashboard,
        companions=("traces",),
        front_page="/microscopy",
        shelf=items,
        stored=tuple(
            f"/api/v1/processing/{room}"
            for room in ("features", "workflow/results", "recent-files")
        ),
        last_known=("/api/v1/processing/workflow/status", "/api/v1/jobs", "/api/v1/metrics"),
    )
