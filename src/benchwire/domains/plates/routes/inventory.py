"""Health and figures of the whole inventory."""

from typing import Annotated

from fastapi import APIRouter
from starlette.responses import Response

from benchwire.domains.plates.routes.edge import bare, told
from benchwire.domains.plates.scores import POINT_TYPES, SCORES
from benchwire.domains.plates.service import Plates
from benchwire.foundation.web.injection import service

router = APIRouter()

Service = Annotated[Plates, service(Plates)]


@router.get("/health")
def health(plates: Service) -> Response:
    """Whether the inventory and its database answer."""
    found = plates.health()
    # The word at the root is for clients of the other API that asks here.
    answer = {"data": found, "status": found["status"]}
    return bare(answer, 200 if found["status"] == "healthy" else 503)


@router.get("/stats")
def statistics(plates: Service) -> Response:
    """Figures of plates, places and wells."""
    return told(plates.statistics())


@router.get("/scores")
async def score_words() -> Response:
    """The words for what a drop looks like, and the kinds of points."""
    scale = [{"score": number, "name": name} for number, name in SCORES.items()]
    return told({"scores": scale, "point_types": list(POINT_TYPES)})
