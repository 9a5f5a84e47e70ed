"""Workflows, how far they are FOV by FOV, and the way to stop them."""

from nicegui import ui

from benchwire.domains.microscopy.pages.desk import PATH, STYLE, Desk, Fovs, run_path
from benchwire.foundation.errors import BenchwireError
from benchwire.foundation.jobs.states import JobRecord
from benchwire.foundation.web.job_list import JobList
from benchwire.foundation.web.job_progress import JobProgress
from benchwire.foundation.web.states import section, word

SHOWN, SHOWN_ON_CARD = 20, 3


def draw_card(listed: JobList[Fovs]) -> None:
    """Draw the domain's part of the home page."""
    ui.add_head_html(STYLE)
    with section("Microscopy", link=("Open", PATH)):
        listed.draw("workflows")


def workflow_list(desk: Desk, limit: int = SHOWN) -> JobList[Fovs]:
    """Return the list of the newest workflows."""

    def look() -> list[tuple[JobRecord, Fovs]]:
        return [
            (record, [] if record.state.is_final else fovs_of(record.id))
            for record in desk.workflows.known(limit)
        ]

    def fovs_of(job_id: str) -> Fovs:
        try:
            return desk.workflows.fovs(job_id)
        except BenchwireError:
            return []  # forgotten since it was listed

    return JobList(look, page_of=run_path, cancel=desk.workflows.cancel, progress=Progress)


class Progress:
    """How far a workflow is, as a whole and FOV by FOV."""

    def __init__(self) -> None:
        self._whole = JobProgress()
        self._fovs = ui.html("", sanitize=False).classes("w-full").mark("workflow-fovs")

    def show(self, record: JobRecord, fovs: Fovs) -> None:
        """Show how far it is now."""
        self._whole.show(record)
        self._fovs.set_content(_fovs_html(fovs))


def _fovs_html(fovs: Fovs) -> str:
    """Return the FOVs as a grid of bars; it holds numbers and words of our own alone."""
    cells = []
    for item in fovs:
        number, done = int(item["fov"]), float(item["percentage"])
        words = f"FOV {number}: {word(item['status'])}, {done:.0f} %"
        cells.append(
            f'<div class="mc-fov" role="progressbar" aria-label="FOV {number}" title="{words}" '
            f'aria-valuemin="0" aria-valuemax="100" aria-valuenow="{done:.0f}" '
            f'data-state="{item["status"]}" style="--done: {done:.0f}%">{number}</div>'
        )
    return f'<div class="mc-fovs">{"".join(cells)}</div>'
