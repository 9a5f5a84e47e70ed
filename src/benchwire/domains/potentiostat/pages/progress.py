"""One run under way: its curve as it grows, how far it is, and the way to stop it."""

from nicegui import ui

from benchwire.domains.potentiostat.schemas import JobStatus
from benchwire.domains.potentiostat.service import Potentiostats
from benchwire.foundation.web.charts import follow, live_chart
from benchwire.foundation.web.shell import act

REFRESH_SECONDS = 0.3


class RunProgress:
    """A card that follows one run at a time."""

    def __init__(self, potentiostats: Potentiostats) -> None:
        self._potentiostats = potentiostats
        self._run_id: str | None = None
        self._is_over = False

    def draw(self) -> None:
        """Draw the card, empty until a run is shown."""
        with ui.card().classes("w-full").mark("progress"):
            with ui.row().classes("w-full items-center justify-between no-wrap"):
                self._title = ui.label("Live").classes("text-lg font-medium truncate")
                self._cancel = ui.button("Cancel", icon="stop", on_click=self._stop)
                self._cancel.props("color=negative").mark("cancel")
            self._bar = ui.linear_progress(0, show_value=False)
            self._text = ui.label("Start a run to watch it here.").classes("text-sm opacity-80")
            self._text.mark("run-status")
            self._chart = live_chart()
            self._link = ui.link("Open the run", "/potentiostat")
        self._show_controls(running=False)
        self._link.set_visibility(False)
        ui.timer(REFRESH_SECONDS, self._refresh)

    def show(self, run_id: str) -> None:
        """Follow a run from now on."""
        self._run_id = run_id
        self._is_over = False
        self._title.set_text(run_id)
        self._link.props["href"] = f"/potentiostat/run/{run_id}"
        self._link.update()
        self._link.set_visibility(True)
        follow(self._chart, f"/runs/{run_id}/live")
        self._refresh()

    def _refresh(self) -> None:
        if self._run_id is None or self._is_over:
            return
        status = self._potentiostats.status(self._run_id)
        self._bar.set_value(status.progress_pct / 100)
        self._text.set_text(status_text(status))
        self._is_over = status.status != "running"
        self._show_controls(running=not self._is_over)

    def _show_controls(self, *, running: bool) -> None:
        self._cancel.set_visibility(running)
        self._bar.set_visibility(running)

    async def _stop(self) -> None:
        if self._run_id is not None:
            await act(self._potentiostats.cancel, self._run_id)


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
