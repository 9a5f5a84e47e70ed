"""The microscopy API's paths."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import Response

from benchwire.domains.microscopy.schemas import (
    FileRequest,
    InspectionRequest,
    ListRequest,
    MergeRequest,
    SearchRequest,
    WorkflowRequest,
)
from benchwire.domains.microscopy.service import Folders, Movies, Workflows
from benchwire.domains.microscopy.service.movies import described
from benchwire.foundation.jobs.overview import JobsOverview
from benchwire.foundation.web.downloads import files_of, zip_download
from benchwire.foundation.web.injection import service

MovieService = Annotated[Movies, service(Movies)]
FolderService = Annotated[Folders, service(Folders)]
WorkflowService = Annotated[Workflows, service(Workflows)]
OverviewService = Annotated[JobsOverview, service(JobsOverview)]

router = APIRouter()
processing = APIRouter(prefix="/api/v1/processing")


def told(**values: Any) -> dict[str, Any]:
    """Return a successful answer."""
    return {"success": True, **values}


@processing.post("/load-metadata")
def load_metadata(request: FileRequest, movies: MovieService) -> dict[str, Any]:
    """What a movie says of itself, and a choice of channels to begin with."""
    return told(**described(movies.info(request.file_path)))


@processing.get("/features")
def features(workflows: WorkflowService) -> dict[str, Any]:
    """The features that can be measured, by kind of channel."""
    found = workflows.features()
    return told(phase_features=found["phase"], fluorescence_features=found["fluorescence"])


@processing.post("/workflow/start")
def start_workflow(request: WorkflowRequest, workflows: WorkflowService) -> dict[str, Any]:
    """Process the FOVs of a movie into traces of single cells."""
    job_id = workflows.start(request)
    warnings = workflows.record(job_id).params["warnings"]
    return told(job_id=job_id, message=". ".join(["Workflow started", *warnings]))


@processing.get("/workflow/status/{job_id}")
def workflow_status(job_id: str, workflows: WorkflowService) -> dict[str, Any]:
    """How far a workflow is."""
    return workflows.status(job_id)


@processing.post("/workflow/cancel/{job_id}")
def cancel_workflow(job_id: str, workflows: WorkflowService) -> dict[str, Any]:
    """Stop a workflow; what is finished of it stays."""
    workflows.cancel(job_id)
    return told(message="Workflow cancelled")


@processing.get("/workflow/results/{job_id}")
def workflow_results(job_id: str, workflows: WorkflowService) -> dict[str, Any]:
    """Where a completed workflow's results are."""
    return told(**workflows.results(job_id))


@processing.get(
    "/workflow/results/{job_id}/download",
    response_class=Response,
    responses=files_of("application/zip"),
)
def download_workflow(job_id: str, workflows: WorkflowService) -> Response:
    """All tables and records of a completed workflow as one ZIP archive."""
    return zip_download(workflows.archive(job_id), f"{job_id}.zip")


@processing.post("/merge")
def merge(request: MergeRequest, folders: FolderService) -> dict[str, Any]:
    """Write the traces of samples into one file per channel and feature."""
    return told(**folders.merge(request))


@processing.post("/inspect")
def inspect(request: InspectionRequest, folders: FolderService) -> dict[str, Any]:
    """Note which cells a person found good; merging heeds it."""
    return told(inspected_path=str(folders.inspect(request)))


@processing.post("/list-directory")
def list_directory(request: ListRequest, folders: FolderService) -> dict[str, Any]:
    """What is in a folder."""
    return told(directory_path=request.directory_path, items=folders.listed(request))


@processing.post("/search-files")
def search_files(request: SearchRequest, folders: FolderService) -> dict[str, Any]:
    """Files below a folder that match a pattern."""
    files = folders.found(request)
    return told(search_path=request.search_path, files=files, total_found=len(files))


@processing.post("/file-info")
def file_info(request: FileRequest, movies: MovieService) -> dict[str, Any]:
    """What a file is, with a movie's own words if it is one."""
    return told(**movies.describe(request.file_path))


@processing.get("/recent-files")
def recent_files(
    movies: MovieService,
    limit: Annotated[int, Query(ge=1, le=1000)] = 10,
    extensions: Annotated[str, Query(max_length=1000)] = "",
) -> dict[str, Any]:
    """The files that were opened last."""
    wanted = [part.strip() for part in extensions.split(",") if part.strip()]
    return told(recent_files=movies.recent(limit, wanted))


@processing.get("/preview", response_class=Response, responses=files_of("image/png"))
def preview(
    movies: MovieService,
    file_path: Annotated[str, Query(min_length=1, max_length=4096)],
    fov: int = 0,
    frame: int = 0,
    channel: int = 0,
    low: Annotated[float | None, Query(allow_inf_nan=False)] = None,
    high: Annotated[float | None, Query(allow_inf_nan=False)] = None,
) -> Response:
    """One plane of a movie as PNG, ``low`` black and ``high`` white."""
    content = movies.preview(file_path, fov=fov, frame=frame, channel=channel, low=low, high=high)
    return Response(content, media_type="image/png")


@processing.get("/overlay", response_class=Response, responses=files_of("image/png"))
def overlay(
    workflows: WorkflowService,
    output_dir: Annotated[str, Query(min_length=1, max_length=4096)],
    fov: Annotated[int, Query(ge=0)] = 0,
    frame: Annotated[int, Query(ge=0)] = 0,
    labels: bool = True,
) -> Response:
    """A processed frame as PNG, its cells outlined and named."""
    content = workflows.overlay(output_dir, fov=fov, frame=frame, with_names=labels)
    return Response(content, media_type="image/png")


def health() -> dict[str, Any]:
    """Whether the server runs."""
    return {"status": "healthy", "ok": True}


def jobs(
    overview: OverviewService, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> dict[str, Any]:
    """The newest analysis jobs."""
    return told(jobs=overview.newest(limit))


def metrics(overview: OverviewService) -> dict[str, Any]:
    """How many analysis jobs are in each state."""
    return told(jobs=overview.counts())


router.include_router(processing)
# At the root as well, for a port on which this API is served alone.
for prefix in ("/api/v1", ""):
    in_schema = bool(prefix)
    router.get(f"{prefix}/health", include_in_schema=False)(health)
    router.get(f"{prefix}/jobs", include_in_schema=in_schema)(jobs)
    router.get(f"{prefix}/metrics", include_in_schema=in_schema)(metrics)
