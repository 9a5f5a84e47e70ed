"""Fittings, how far they are, and the way to stop them."""

from urllib.parse import quote, urlencode

from benchwire.domains.traces.service import Fittings
from benchwire.foundation.jobs.states import JobRecord
from benchwire.foundation.web.job_list import JobList, JobProgress

PATH = "/traces"


def csv_path(path: str) -> str:
    """Return the page of a file of traces."""
    return f"{PATH}?{urlencode({'csv': path})}"


def fit_path(job_id: str) -> str:
    """Return the page of a fitting."""
    return f"{PATH}/fit/{quote(job_id, safe='')}"


def fitting_list(fittings: Fittings) -> JobList[None]:
    """Return the list of the newest fittings."""

    def look() -> list[tuple[JobRecord, None]]:
        return [(record, None) for record in fittings.known()]

    return JobList(look, page_of=fit_path, cancel=fittings.cancel, progress=JobProgress)
