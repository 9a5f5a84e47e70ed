"""The paths over all domains: work, search, samples, notices and exports."""

from typing import Annotated, Any, Literal

from anyio import to_thread
from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from benchwire.foundation.audit.log import AuditLog
from benchwire.foundation.jobs.runner import Jobs
from benchwire.foundation.jobs.states import JobState
from benchwire.foundation.lab import Lab
from benchwire.foundation.samples.names import SampleName
from benchwire.foundation.samples.store import Samples
from benchwire.foundation.web.auth import client_of
from benchwire.foundation.web.downloads import files_of
from benchwire.foundation.web.injection import service
from benchwire.home.catalogue import MOST_ITEMS, Catalogue
from benchwire.home.crates.download import crate_download
from benchwire.home.crates.metadata import Terms

router = APIRouter()

LARGEST_INTEGER = 2**31 - 1
"""The largest that a column of integers holds on every database."""
LARGEST_BIG_INTEGER = 2**63 - 1
Lists = Annotated[Catalogue, service(Catalogue)]
Engine = Annotated[Jobs, service(Jobs)]
Links = Annotated[Samples, service(Samples)]
Whole = Annotated[Lab, service(Lab)]
Log = Annotated[AuditLog, service(AuditLog)]
Limit = Annotated[int, Query(ge=1, le=1000)]
Offset = Annotated[int, Query(ge=0, le=LARGEST_INTEGER)]
Text = Annotated[str, Query(max_length=1000)]


class SampleLinkRequest(BaseModel):
    """What was measured on a sample."""

    model_config = ConfigDict(extra="forbid")

    sample: SampleName = Field(description="An id, `<barcode>/<well>`, or plate and well.")
    kind: str = Field(description="Kind of item, such as `run`, `workflow`, `fit` or `session`.")
    item_id: str = Field(max_length=1000, description="Its public id.")
    part: str = Field(
        "", max_length=80, description="A slot of a run or an FOV of a workflow; empty for all."
    )


class Cancelled(BaseModel):
    """A job that was asked to stop, and how it stands."""

    id: str
    state: JobState


class Retried(BaseModel):
    """The new job that does the work of another once more."""

    id: str


class Removed(BaseModel):
    """Something is not there any more."""

    ok: Literal[True] = True


@router.get("/work")
def list_work(
    catalogue: Lists,
    state: Annotated[list[JobState] | None, Query()] = None,
    domain: Annotated[str | None, Query(max_length=80)] = None,
    limit: Limit = 100,
    before: Annotated[str | None, Query(max_length=200)] = None,
) -> dict[str, list[dict[str, Any]]]:
    """Jobs of all domains, newest first; `before` a job's id gives those older than it."""
    found = catalogue.jobs(state, domain, limit, before)
    return {"jobs": [catalogue.work_json(record) for record in found]}


@router.get("/work/{job_id}")
def one_work(catalogue: Lists, jobs: Engine, job_id: str) -> dict[str, Any]:
    """One job, what it made, and what can be done with it."""
    return catalogue.work_json(jobs.get(job_id))


@router.post("/work/{job_id}/cancel")
async def cancel_work(jobs: Engine, job_id: str) -> Cancelled:
    """Stop a job of any domain; one that has ended is left as it is."""
    # A cell is not to stay connected while other requests wait for the database in all threads.
    jobs.ask_to_stop(job_id)
    record = await to_thread.run_sync(jobs.cancel, job_id)
    return Cancelled(id=record.id, state=record.state)


@router.post("/work/{job_id}/retry")
def retry_work(jobs: Engine, job_id: str, request: Request) -> Retried:
    """Do the work of a job that has ended once more, with the same parameters."""
    return Retried(id=jobs.repeat(job_id, client_of(request.scope)))


@router.get("/search")
def search(
    catalogue: Lists,
    q: Text,
    kind: Annotated[list[str] | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_ITEMS)] = 50,
) -> dict[str, Any]:
    """Runs, plates, wells, images, traces, devices and more that a text occurs in."""
    found = catalogue.search(q, kind, limit)
    return {"items": [item.as_json() for item in found], "kinds": catalogue.kinds}


@router.get("/notices")
def notices(catalogue: Lists) -> dict[str, list[dict[str, str | None]]]:
    """What a person should look at now."""
    return {"notices": [notice.as_json() for notice in catalogue.notices()]}


@router.get("/samples")
def list_samples(
    samples: Links, search: Text = "", limit: Limit = 100, offset: Offset = 0
) -> dict[str, list[dict[str, Any]]]:
    """Samples that something was measured on, those named last first."""
    found = samples.all(search, limit=limit, offset=offset)
    return {"samples": [sample.as_json() for sample in found]}


@router.get("/samples/items")
def sample_items(
    catalogue: Lists, samples: Links, sample: Text, limit: Limit = 1000, offset: Offset = 0
) -> dict[str, Any]:
    """What was measured on a sample, across all domains, named last first."""
    sample_id = samples.id_of(sample)
    found = catalogue.measured_on(sample_id, limit, offset)
    return {"sample": sample_id, "items": [measured.as_json() for measured in found]}


@router.get("/samples/links")
def item_samples(
    samples: Links, kind: Annotated[str, Query(max_length=40)], item_id: Text
) -> dict[str, list[dict[str, Any]]]:
    """The samples an item was measured on."""
    return {"links": [link.as_json() for link in samples.of_item(kind, item_id)]}


@router.post("/samples/links", status_code=201)
def name_sample(catalogue: Lists, body: SampleLinkRequest, request: Request) -> dict[str, Any]:
    """Say what an item was measured on, at any time."""
    link = catalogue.name_sample(
        body.sample, body.kind, body.item_id, part=body.part, by=client_of(request.scope)
    )
    return link.as_json()


@router.delete("/samples/links/{link_id}")
def remove_link(samples: Links, link_id: Annotated[int, Path(ge=0, le=LARGEST_INTEGER)]) -> Removed:
    """Take back what was said of a sample."""
    samples.unlink(link_id)
    return Removed()


@router.get("/audit")
def audit(
    log: Log,
    limit: Limit = 100,
    before: Annotated[int | None, Query(ge=1, le=LARGEST_BIG_INTEGER)] = None,
) -> dict[str, list[dict[str, Any]]]:
    """Who did what, newest first; `before` an entry's id gives those older than it."""
    return {"entries": [entry.as_json() for entry in log.page(limit, before)]}


@router.get(
    "/crates/{kind}/{item_id:path}",
    response_class=Response,
    responses=files_of("application/zip"),
)
def crate(
    catalogue: Lists,
    lab: Whole,
    kind: str,
    item_id: str,
    license_: Annotated[str, Query(alias="license", max_length=1000)] = "",
    author: Text = "",
    publisher: Text = "",
) -> Response:
    """A finished piece of work as an RO-Crate ZIP: data, record, plots and checksums."""
    bundle = catalogue.bundle(kind, item_id)
    links = lab.samples.of_item(kind, item_id)
    terms = Terms(license=license_, author=author, publisher=publisher)
    return crate_download(bundle, links, scratch=lab.data_dir, clock=lab.clock, terms=terms)
