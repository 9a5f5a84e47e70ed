"""Fittings, how far they are, and the way to stop them."""

from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

from benchwire.domains.traces.service import Fittings
from benchwire.foundation.jobs.states import JobRecord
from benchwire.foundation.web.job_list import JobList
from benchwire.foundation.web.job_progress import JobProgress
from benchwire.foundation.web.watch import Watches

PATH = "/traces"


def csv_path(path: str) -> str:
    """Return the page of a file of traces."""
    return f"{PATH}?{urlencode({'csv': path})}"


def fit_path(job_id: str) -> str:
    """Return the page of a fitting."""
    return f"{PATH}/fit/{quote(job_id, safe='')}"


@dataclass(slots=True)
class Desk:
    """The service behind the pages, looked at once for all of them."""

    fittings: Fittings
    listed: JobList[None] = field(init=False)
    fits: Watches[JobRecord] = field(init=False)

    def __post_init__(self) -> None:
        self.listed = JobList(
            lambda: [(record, None) for record in self.fittings.known()],
            page_of=fit_path,
            cancel=self.fittings.cancel,
            progress=JobProgress,
        )
        self.fits = Watches(self.fittings.record)
