"""One list of the jobs of all domains: how each stands, what came of it, stop and retry."""

from collections.abc import Sequence

from nicegui import run, ui

from benchwire.foundation.catalogue import Item
from benchwire.foundation.errors import BenchwireError
from benchwire.foundation.jobs.states import JobRecord, JobState
from benchwire.foundation.web.job_progress import JobProgress
from benchwire.foundation.web.shell import cancel_button, describe
from benchwire.foundation.web.states import badge, empty, failure
from benchwire.home.pages import rows
from benchwire.home.pages.desk import Desk, Lately, Work

PATH = "/jobs"
PAGE_SIZE = 50
_ANY = ""


def register(desk: Desk) -> None:
    """Register the page."""

    @ui.page(PATH)
    async def jobs(state: str = _ANY, domain: str = _ANY) -> None:
        await desk.shell.unfinished.ready()
        await desk.lately.ready()
        found = _JobsPage(desk, state, domain)
        await found.look()
        with desk.shell.page("Jobs"):
            found.draw()


class _JobsPage:
    """The list on one page; it is asked for anew only when some job began or ended."""

    def __init__(self, desk: Desk, state: str, domain: str) -> None:
        self._desk = desk
        self._state = state if state in set(JobState) else _ANY
        self._domain = domain if domain in desk.catalogue.domains else _ANY
        self._pages = 1
        self._works: list[Work] = []
        self._has_more = False
        self._problem: BenchwireError | None = None
        self._progress: dict[str, JobProgress] = {}
        self._unfinished: dict[str, JobState] | None = None
        self._lately: Lately | None = None

    async def look(self) -> None:
        """Look for the jobs that are shown."""
        try:
            found = await run.io_bound(self._find)
        except BenchwireError as error:
            self._problem = error
            return
        if found is not None:  # else the server is ending
            self._problem = None
            self._works, self._has_more = found

    def _find(self) -> tuple[list[Work], bool]:
        limit = self._pages * PAGE_SIZE
        records = self._desk.catalogue.jobs(
            [JobState(self._state)] if self._state else None, self._domain or None, limit + 1
        )
        shown = records[:limit]
        return [(one, self._desk.catalogue.of_job(one)) for one in shown], len(records) > limit

    def draw(self) -> None:
        """Draw the filters and the list."""
        states = {_ANY: "All states", **{state.value: state.value for state in JobState}}
        domains = {_ANY: "All domains", **self._desk.catalogue.domains}
        with ui.element("div").classes("bw-line"):
            ui.select(states, value=self._state, label="State", on_change=self._choose_state).props(
                "outlined dense"
            ).classes("w-40").mark("state-filter")
            ui.select(
                domains, value=self._domain, label="Domain", on_change=self._choose_domain
            ).props("outlined dense").classes("w-48").mark("domain-filter")
        with ui.card().classes("bw-section"):
            self._list = ui.element("ul").classes("bw-list").mark("jobs")
            self._older = ui.button("Older", icon="expand_more", on_click=self._show_older)
            self._older.props("outline")
        self._draw_list()
        self._desk.shell.unfinished.follow(self._follow)
        self._desk.lately.follow(self._follow_ends)

    async def _choose_state(self, event: object) -> None:
        self._state = str(getattr(event, "value", _ANY) or _ANY)
        await self._choose()

    async def _choose_domain(self, event: object) -> None:
        self._domain = str(getattr(event, "value", _ANY) or _ANY)
        await self._choose()

    async def _choose(self) -> None:
        self._pages = 1
        await self._renew()

    async def _show_older(self) -> None:
        self._pages += 1
        await self._renew()

    async def _renew(self) -> None:
        await self.look()
        if not self._list.is_deleted:
            self._draw_list()

    async def _follow(self, unfinished: Sequence[JobRecord]) -> None:
        states = {record.id: record.state for record in unfinished}
        is_first, self._unfinished, before = self._unfinished is None, states, self._unfinished
        if states != before and not is_first:
            await self._renew()
        for record in unfinished:
            if record.id in self._progress:
                self._progress[record.id].show(record)

    async def _follow_ends(self, lately: Lately) -> None:
        # A job may begin and end between two looks at the unfinished ones.
        is_first, self._lately = self._lately is None, lately
        if not is_first:
            await self._renew()

    def _draw_list(self) -> None:
        self._progress = {}
        self._list.clear()
        with self._list:
            if self._problem is not None:
                with ui.element("li"):
                    failure("The jobs cannot be shown", describe(self._problem))
            elif not self._works:
                with ui.element("li"):
                    empty(
                        "No jobs here.",
                        "Choose another state or domain."
                        if self._state or self._domain
                        else "Whatever you start on one of the pages is listed here.",
                    )
            for record, item in self._works:
                self._draw_row(record, item)
        self._older.set_visibility(self._has_more)

    def _draw_row(self, record: JobRecord, item: Item | None) -> None:
        domains, jobs = self._desk.catalogue.domains, self._desk.lab.jobs
        domain = self._desk.catalogue.domain_of(record)
        with ui.element("li").mark(f"job {record.id}"):
            with ui.element("div").classes("bw-line"):
                badge(record.state.value).classes("w-20")
                with ui.element("div").classes("bw-line-main"):
                    rows.title(record.title, rows.page_of(item))
                    with ui.element("div").classes("bw-facts"):
                        for fact in rows.facts(record, domains.get(domain, domain)):
                            ui.label(fact)
                    if record.state is JobState.FAILED and record.message:
                        ui.label(record.message).classes("bw-small bw-bad break-words")
                with ui.element("div").classes("bw-line-side"):
                    if not record.state.is_final:
                        cancel_button(jobs.cancel, record, jobs.ask_to_stop)
                    rows.retry_button(jobs, record)
                    if item is not None:
                        rows.crate_link(self._desk.catalogue, item)
            if not record.state.is_final:
                progress = JobProgress()
                progress.show(record)
                self._progress[record.id] = progress
