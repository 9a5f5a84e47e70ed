"""How far a job is: as a bar, and in words."""

from nicegui import ui

from benchwire.foundation.jobs.states import JobRecord


class JobProgress:
    """How far a job is, as a bar and in words."""

    def __init__(self) -> None:
        self._bar = ui.linear_progress(0, show_value=False).props("instant-feedback")
        self._text = ui.label("").classes("bw-small bw-muted").mark("job-progress")

    def show(self, record: JobRecord, _: object = None) -> None:
        """Show how far it is now."""
        self._bar.props["aria-label"] = f"Progress of {record.title}"
        self._bar.set_value(round(record.progress, 2))
        self._text.set_text(progress_text(record))


def progress_text(record: JobRecord) -> str:
    """Return how far a job is, in words."""
    parts = [record.state.value if record.progress == 0 else f"{record.progress:.0%}"]
    if record.remaining is not None:
        parts.append(f"{duration(record.remaining)} left")
    if record.message:
        parts.append(record.message)
    return " · ".join(parts)


def duration(seconds: float) -> str:
    """Return a time span in the unit that suits it, such as ``45 s``, ``12 min`` or ``3.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    if seconds < 172_800:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86_400:.1f} d"
