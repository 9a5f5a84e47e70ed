"""The balances' paths."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from benchwire.foundation.web.injection import service
from benchwire.foundation.web.sse import EventStream
from benchwire_balance.schemas import (
    BalanceAnswer,
    Message,
    TareAnswer,
    WeighingAnswer,
    WeighOrder,
)
from benchwire_balance.service import TOPIC, Balances

router = APIRouter(prefix="/balance")

Service = Annotated[Balances, service(Balances)]
# No database can look for a larger one.
LARGEST_INTEGER = 2**63 - 1


@router.get("/balances")
def all_balances(balances: Service) -> list[BalanceAnswer]:
    """Every balance and what it shows now."""
    return [BalanceAnswer(**balance.as_json()) for balance in balances.all()]


@router.get("/balances/{name}")
def one_balance(name: str, balances: Service) -> BalanceAnswer:
    """One balance and what it shows now."""
    return BalanceAnswer(**balances.balance(name).as_json())


@router.post("/balances/{name}/weigh", status_code=201)
def weigh(name: str, balances: Service, order: WeighOrder | None = None) -> WeighingAnswer:
    """Wait for a stable weight and keep it."""
    return WeighingAnswer.of(balances.weigh(name, order.label if order else ""))


@router.post("/balances/{name}/tare")
def tare(name: str, balances: Service) -> TareAnswer:
    """Take what is on the pan as tare."""
    return TareAnswer(tare_grams=float(balances.balance(name).tare()))


@router.delete("/balances/{name}/tare")
def clear_tare(name: str, balances: Service) -> Message:
    """Forget the tare."""
    balances.balance(name).clear_tare()
    return Message(message="The tare was forgotten")


@router.post("/balances/{name}/zero")
def zero(name: str, balances: Service) -> Message:
    """Take what is on the pan as zero."""
    balances.balance(name).zero()
    return Message(message="The balance was zeroed")


@router.get("/weighings")
def weighings(
    balances: Service,
    balance: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    offset: Annotated[int, Query(ge=0, le=LARGEST_INTEGER)] = 0,
) -> list[WeighingAnswer]:
    """What was weighed, newest first."""
    return [WeighingAnswer.of(item) for item in balances.store.newest(limit, offset, balance)]


@router.get("/weighings/{number}")
def one_weighing(
    number: Annotated[int, Path(ge=1, le=LARGEST_INTEGER)], balances: Service
) -> WeighingAnswer:
    """One weighing."""
    return WeighingAnswer.of(balances.store.one(number))


@router.get("/live")
async def live(balances: Service) -> Response:
    """What every balance shows, as server-sent events, beginning with what is now."""
    return EventStream(balances.hub, [TOPIC], hello=balances.greeting)
