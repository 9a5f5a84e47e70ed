"""The traces' pages: a file of traces and a model, one fitting's results."""

from nicegui import ui

from benchwire.domains.traces.pages import fit, overview
from benchwire.domains.traces.pages.fittings import PATH, Desk
from benchwire.domains.traces.service import Fittings
from benchwire.foundation.domain import Dashboard
from benchwire.foundation.web.shell import NavigationEntry, Shell


def register(shell: Shell, fittings: Fittings) -> Dashboard:
    """Register the pages in the dashboard's frame."""
    desk = Desk(fittings)

    @ui.page(PATH)
    async def all_fittings(csv: str = "") -> None:
        with shell.page("Traces"):
            await overview.draw(desk, csv)

    @ui.page(PATH + "/fit/{job_id}")
    async def one_fitting(job_id: str) -> None:
        with shell.page("Fit"):
            await fit.draw(desk, job_id)

    return Dashboard(navigation=(NavigationEntry("Traces", PATH, "show_chart"),))
