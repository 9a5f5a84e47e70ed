"""Put the traces domain together."""

from typing import TYPE_CHECKING

from benchwire.domains.traces.items import FitItems
from benchwire.domains.traces.routes import router
from benchwire.domains.traces.service import Fittings
from benchwire.foundation.domain import Dashboard, Domain
from benchwire.foundation.lab import ANALYSIS_QUEUE, Lab
from benchwire.foundation.web.error_handlers import Unsuccessful, render_unsuccessful
from benchwire.foundation.web.roles import reading

if TYPE_CHECKING:
    from benchwire.foundation.web.shell import Shell

NAME = "traces"

NEEDS = (reading("/api/v1/analysis/load-traces"),)


def build(lab: Lab) -> Domain:
    """Make the domain's objects."""
    fittings = Fittings(
        lab.jobs,
        lab.clock,
        lab.samples,
        allowed=lab.allowed,
        kept=lab.data_dir / "traces",
        workers=lab.workers,
        compute=lab.compute,
    )
    fittings.register(
        queue=ANALYSIS_QUEUE,
        concurrency=lab.server.max_jobs,
        time_limit=lab.server.job_timeout,
    )

    def dashboard(shell: "Shell") -> Dashboard:
        from benchwire.domains.traces import pages

        return pages.register(shell, fittings)

    return Domain(
        name=NAME,
        title="Traces",
        claims=("/api/v1/analysis",),
        needs=NEEDS,
        routers=(router,),
        services=(fittings,),
        render_error=render_unsuccessful,
        refusal=Unsuccessful,
        dashboard=dashboard,
        companions=("microscopy",),
        front_page="/traces",
        shelf=FitItems(fittings),
        stored=("/api/v1/analysis/models", "/api/v1/analysis/fitting/results"),
        last_known=("/api/v1/analysis/fitting/status",),
    )
