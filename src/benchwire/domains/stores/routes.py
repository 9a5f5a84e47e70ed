"""The paths of the object stores."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from benchwire.domains.stores.schemas import CopyRequest
from benchwire.domains.stores.service import Copies
from benchwire.foundation.web.injection import service

CopyService = Annotated[Copies, service(Copies)]

router = APIRouter(prefix="/stores")


@router.get("")
def stores(copies: CopyService) -> dict[str, Any]:
    """The places in object stores that requests may name."""
    return {"success": True, "stores": list(copies.stores.urls)}


@router.get("/objects")
def objects(
    copies: CopyService,
    url: Annotated[str, Query(max_length=4096, examples=["s3://lab-movies/2026-05-04"])],
) -> dict[str, Any]:
    """What is in a folder of a store, folders first."""
    return {"success": True, **copies.look(url)}


@router.post("/copies")
def start_copy(request: CopyRequest, copies: CopyService) -> dict[str, Any]:
    """Copy a file or a folder from a store to here, or from here to a store."""
    return {"success": True, "job_id": copies.start(request), "message": "Copy started"}


@router.get("/copies/{job_id}")
def copy_status(job_id: str, copies: CopyService) -> dict[str, Any]:
    """How far a copy is."""
    return copies.status(job_id)


@router.post("/copies/{job_id}/cancel")
def cancel_copy(job_id: str, copies: CopyService) -> dict[str, Any]:
    """Stop a copy and remove what has been copied."""
    copies.cancel(job_id)
    return {"success": True, "message": "Copy cancelled"}
