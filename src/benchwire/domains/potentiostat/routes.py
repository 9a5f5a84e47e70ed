"""The potentiostat API's paths."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Header, Query, Request
from starlette.responses import Response

from benchwire.domains.potentiostat import schemas
from benchwire.domains.potentiostat.cancelling import Cancelling
from benchwire.domains.potentiostat.service import Potentiostats
from benchwire.foundation.web.auth import client_of
from benchwire.foundation.web.downloads import file_download, files_of, zip_download
from benchwire.foundation.web.injection import service
from benchwire.foundation.web.sse import EventStream

router = APIRouter()

Service = Annotated[Potentiostats, service(Potentiostats)]


@router.get("/version")
def version(potentiostats: Service) -> schemas.Version:
    """Versions of the API, the driver, Python and this build."""
    return schemas.Version(**potentiostats.version())


@router.get("/health")
async def health(potentiostats: Service) -> schemas.Health:
    """Whether the box is well; answers without touching an instrument."""
    return schemas.Health(**potentiostats.health())


@router.get("/devices")
async def devices(potentiostats: Service) -> list[schemas.Device]:
    """The instruments connected, by slot."""
    return [schemas.Device(**device) for device in potentiostats.devices()]


@router.get("/devices/status")
def device_status(potentiostats: Service) -> list[schemas.DeviceStatus]:
    """What every slot is doing."""
    return [schemas.DeviceStatus(**device) for device in potentiostats.device_status()]


@router.post("/admin/rescan")
def rescan(potentiostats: Service) -> schemas.Rescan:
    """Look for instruments again; running work is not disturbed."""
    return schemas.Rescan(devices=potentiostats.rescan())


@router.get("/modes")
async def modes(potentiostats: Service) -> list[str]:
    """The modes that can be run."""
    return potentiostats.modes()


@router.get("/modes/{mode}/params")
async def mode_parameters(mode: str, potentiostats: Service) -> dict[str, str]:
    """A mode's parameters and their types."""
    return potentiostats.mode_parameters(mode)


@router.post("/modes/{mode}/validate")
def validate(
    mode: str,
    parameters: Annotated[dict[str, Any], Body()],
    potentiostats: Service,
    tia_gain: Annotated[int, Query(ge=0, le=4)] = 0,
) -> schemas.ValidationResult:
    """Check parameters without an instrument; currents are checked at the run's `tia_gain`."""
    return schemas.ValidationResult.model_validate(
        potentiostats.validate(mode, parameters, tia_gain), from_attributes=True
    )


@router.post("/jobs")
def start_job(
    request: schemas.JobRequest,
    potentiostats: Service,
    http: Request,
    idempotency_key: Annotated[str | None, Header(max_length=200)] = None,
) -> schemas.JobStatus:
    """Start a run of one or more modes on one or more slots."""
    run_id = potentiostats.start(
        request.model_dump(),
        requested_by=client_of(http.scope),
        idempotency_key=idempotency_key,
    )
    return potentiostats.status(run_id)


@router.get("/jobs")
def list_jobs(
    potentiostats: Service,
    state: Annotated[Literal["incomplete", "completed"] | None, Query()] = None,
    group_id: Annotated[str | None, Query()] = None,
) -> list[schemas.JobOverview]:
    """List runs, newest first."""
    return potentiostats.overview(state=state, group_id=group_id)


@router.post("/jobs/status")
def bulk_status(
    request: schemas.BulkStatusRequest, potentiostats: Service
) -> list[schemas.JobStatus]:
    """The status of many runs in one call, in the order asked for."""
    return potentiostats.statuses(request.run_ids)


@router.get("/jobs/{run_id}")
def job_status(run_id: str, potentiostats: Service) -> schemas.JobStatus:
    """How far a run is."""
    return potentiostats.status(run_id)


@router.post("/jobs/{run_id}/cancel", status_code=202)
async def cancel(
    run_id: str, cancelling: Annotated[Cancelling, service(Cancelling)]
) -> schemas.CancelAnswer:
    """Cancel a run: queued slots at once, running cells are opened."""
    return schemas.CancelAnswer(run_id=run_id, status=await cancelling.cancel(run_id))


@router.get("/runs/{run_id}/files")
def run_files(run_id: str, potentiostats: Service) -> schemas.RunFiles:
    """The data files a run has written so far."""
    return schemas.RunFiles(files=list(potentiostats.files(run_id)))


@router.get(
    "/runs/{run_id}/file",
    response_class=Response,
    responses=files_of("application/octet-stream", "text/csv", "image/png", "application/json"),
)
def run_file(run_id: str, path: str, potentiostats: Service) -> Response:
    """Download one file."""
    return file_download(*potentiostats.file(run_id, path))


@router.get("/runs/{run_id}/zip", response_class=Response, responses=files_of("application/zip"))
def run_zip(run_id: str, potentiostats: Service) -> Response:
    """Download everything a run has written as a ZIP archive."""
    return zip_download(potentiostats.archive(run_id), f"{run_id}.zip")


@router.get("/runs/{run_id}/live", response_class=Response, responses=files_of("text/event-stream"))
async def live(run_id: str, potentiostats: Service) -> Response:
    """Follow a run's curves as server-sent events: `curves` once, then `points` as they come."""
    topic, hello = await potentiostats.live(run_id)
    return EventStream(potentiostats.hub, [topic], hello=hello)


@router.post("/runs/{run_id}/upload")
def upload(run_id: str, potentiostats: Service) -> schemas.UploadAnswer:
    """Copy a finished run to the NAS."""
    enqueued = potentiostats.uploads.enqueue(run_id)
    return schemas.UploadAnswer(ok=True, enqueued=enqueued, run_id=run_id)


@router.post("/nas/setup")
def nas_setup(request: schemas.NasSetup, potentiostats: Service) -> schemas.NasSetupAnswer:
    """Say where finished runs are copied to, and try it."""
    ok, message = potentiostats.uploads.set_up(request.model_dump())
    return schemas.NasSetupAnswer(ok=ok, message=message)


@router.get("/nas/health")
async def nas_health(potentiostats: Service) -> schemas.NasHealth:
    """Whether the NAS can be used."""
    return schemas.NasHealth(**await potentiostats.uploads.shared_health())
