"""The analysis API's paths."""

from typing import Annotated, Any

from fastapi import APIRouter
from starlette.responses import FileResponse, Response

from benchwire.domains.traces.schemas import FittingRequest, TracesRequest
from benchwire.domains.traces.service import Fittings
from benchwire.foundation.web.downloads import files_of
from benchwire.foundation.web.injection import service

FittingService = Annotated[Fittings, service(Fittings)]

router = APIRouter(prefix="/api/v1/analysis")


@router.get("/models")
def models(fittings: FittingService) -> dict[str, Any]:
    """The models that can be fitted, with their parameters."""
    return {"success": True, "models": fittings.models()}


@router.post("/load-traces")
def load_traces(request: TracesRequest, fittings: FittingService) -> dict[str, Any]:
    """What a file of traces holds."""
    return {"success": True, "data": fittings.describe(request.csv_path)}


@router.post("/fitting/start")
def start_fitting(request: FittingRequest, fittings: FittingService) -> dict[str, Any]:
    """Fit a model to every trace of a file."""
    job_id = fittings.start(request)
    return {"success": True, "job_id": job_id, "message": "Fitting started"}


@router.get("/fitting/status/{job_id}")
def fitting_status(job_id: str, fittings: FittingService) -> dict[str, Any]:
    """How far a fitting is."""
    return fittings.status(job_id)


@router.post("/fitting/cancel/{job_id}")
def cancel_fitting(job_id: str, fittings: FittingService) -> dict[str, Any]:
    """Stop a fitting."""
    fittings.cancel(job_id)
    return {"success": True, "message": "Fitting cancelled"}


@router.get("/fitting/results/{job_id}")
def fitting_results(job_id: str, fittings: FittingService) -> Response:
    """What a completed fitting found for every trace."""
    # Written by the worker, since the answer for a hundred thousand traces takes a second to make.
    return FileResponse(fittings.answer_file(job_id), media_type="application/json")


@router.get(
    "/fitting/results/{job_id}/download", response_class=Response, responses=files_of("text/csv")
)
def download_fitting(job_id: str, fittings: FittingService) -> Response:
    """The table of a completed fitting as CSV."""
    path, name = fittings.table_file(job_id)
    return FileResponse(path, media_type="text/csv", filename=name)


@router.get("/fitting/results/{job_id}/traces/{fov}/{cell}")
def fitted_trace(job_id: str, fov: int, cell: int, fittings: FittingService) -> dict[str, Any]:
    """One trace with the curve fitted to it, times in h."""
    return {"success": True, **fittings.trace(job_id, fov, cell)}
