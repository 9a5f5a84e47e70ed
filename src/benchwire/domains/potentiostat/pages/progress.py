"""One run under way: its curve as it grows, how far it is, and the way to stop it."""

from collections.abc import Callable

from nicegui import ui

from benchwire.domains.potentiostat.pages.desk import PATH, Desk, run_path
from benchwire.domains.potentiostat.schemas import JobStatus
from benchwire.foundation.web.charts import follow, live_chart
from benchwire.foundation.web.shell import act
from benchwire.foundation.web.states import section


class RunProgress:
    """A card that follows one run at a time.

    Parameters
    ----------
    over
        Called when the run that is followed has ended.
    """

    def __init__(self, desk: Desk, *, over: Callable[[], object] = lambda: None) -> None:
        self._desk = desk
        self._over = over
        self._run_id: str | None = None
        self._following: ui.element | None = None

    def draw(self) -> None:
        """Draw the card, empty until a run is shown."""
        with section("Live") as card:
            card.mark("progress")
            with ui.element("div").classes("bw-line"):
                self._title = ui.label("").classes("bw-line-main font-medium break-all")
                self._cancel = ui.button("Cancel", icon="stop", on_click=self._stop)
                self._cancel.props("color=negative").mark("cancel")
            self._bar = ui.linear_progress(0, show_value=False)
            self._bar.props["aria-label"] = "Progress of the run"
            self._text = ui.label("Start a run to watch it here.").classes("bw-small bw-muted")
            self._text.mark("run-status")
            self._chart = live_chart()
            self._link = ui.link("Open the run", PATH)
        self._show_controls(running=False)
        self._link.set_visibility(False)

    async def show(self, run_id: str) -> None:
        """Follow a run from now on."""
        self._leave()
        self._run_id = run_id
        self._title.set_text(run_id)
        self._link.props["href"] = run_path(run_id)
        self._link.update()
        self._link.set_visibility(True)
        follow(self._chart, f"/runs/{run_id}/live")
        # Of a run that has just ended the database is asked, which may be slow.
        statuses = self._desk.statuses.of(run_id)
        await statuses.ready()
        if run_id != self._run_id:
            return  # another was begun meanwhile
        self._following = ui.element("div").classes("hidden")
        with self._following:
            statuses.follow(self._show_status)

    def _show_status(self, status: JobStatus) -> None:
        if status.run_id != self._run_id:
            return
        is_over = status.status != "running"
        self._bar.set_value(status.progress_pct / 100)
        self._text.set_text(status_text(status))
        self._show_controls(running=not is_over)
        if is_over:
            self._over()
            self._leave()

    def _leave(self) -> None:
        if self._following is not None:
            self._following.delete()
            self._following = None

    def _show_controls(self, *, running: bool) -> None:
        self._cancel.set_visibility(running)
        self._bar.set_visibility(running)

    async def _stop(self) -> None:
        if (run_id := self._run_id) is not None:
            potentiostats = self._desk.potentiostats
            await act(potentiostats.cancel, run_id, first=lambda: potentiostats.open_cells(run_id))


def status_text(status: JobStatus) -> str:
    """Return how far a run is, in words."""
    parts: list[str] = [status.status]
    if status.status == "running":
        parts.append(f"{status.current_mode}, {status.progress_pct} %")
        if status.remaining_s is not None:
            parts.append(f"{status.remaining_s} s left")
        if status.remaining_modes:
            parts.append("then " + ", ".join(status.remaining_modes))
    parts += [f"{slot.slot}: {slot.message}" for slot in status.slots if slot.message]
    return " · ".join(parts)
