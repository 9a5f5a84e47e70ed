"""The microscopy's pages: movies and their processing, one workflow's results."""

from pathlib import Path

from nicegui import app, ui

from benchwire.domains.microscopy.pages import overview, run
from benchwire.domains.microscopy.pages.desk import PATH, Desk
from benchwire.domains.microscopy.pages.workflows import SHOWN_ON_CARD, draw_card, workflow_list
from benchwire.domains.microscopy.service import Folders, Movies, Workflows
from benchwire.foundation.domain import Dashboard
from benchwire.foundation.web.shell import NavigationEntry, Shell

STATIC = "/microscopy-static"


def register(shell: Shell, movies: Movies, folders: Folders, workflows: Workflows) -> Dashboard:
    """Register the pages in the dashboard's frame."""
    app.add_static_files(STATIC, Path(__file__).parent / "static", max_cache_age=0)
    script = f'<script src="{shell.path}{STATIC}/viewer.js"></script>'
    desk = Desk(movies, folders, workflows)
    newest, few = workflow_list(desk), workflow_list(desk, SHOWN_ON_CARD)

    @ui.page(PATH)
    async def all_movies(path: str = "") -> None:
        with shell.page("Microscopy"):
            ui.add_head_html(script)
            await overview.draw(desk, newest, path)

    @ui.page(PATH + "/run/{job_id}")
    async def one_run(job_id: str) -> None:
        with shell.page("Workflow"):
            ui.add_head_html(script)
            await run.draw(desk, job_id)

    return Dashboard(
        navigation=(NavigationEntry("Microscopy", PATH, "biotech"),),
        card=lambda: draw_card(few),
    )
