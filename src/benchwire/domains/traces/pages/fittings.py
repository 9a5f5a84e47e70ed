"""Fittings, how far they are, and the way to stop them."""

from dataclasses import dataclass, field
from urllib.parse import quote, urlencode
from weakref import WeakValueDictionary

from benchwire.domains.traces.service import Fittings
from benchwire.foundation.jobs.states import JobRecord
from benchwire.foundation.web.job_list import JobList, JobProgress
from benchwire.foundation.web.watch import Watch

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
    # Those that some page follows; the others are forgotten by themselves.
    _fits: "WeakValueDictionary[str, Watch[JobRecord]]" = field(
        init=False, default_factory=WeakValueDictionary
    )

    def __post_init__(self) -> None:
        self.listed = JobList(
            lambda: [(record, None) for record in self.fittings.known()],
            page_of=fit_path,
            cancel=self.fittings.cancel,
            progress=JobProgress,
        )

    def fit(self, job_id: str) -> Watch[JobRecord]:
        """Return what tells how far a fitting is."""
        watch = self._fits.get(job_id)
        if watch is None:
            watch = Watch(lambda: self.fittings.record(job_id))
            self._fits[job_id] = watch
        return watch
