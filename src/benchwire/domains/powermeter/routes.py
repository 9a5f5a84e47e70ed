"""The power-meter API's paths."""

import itertools
import json
from collections.abc import Iterator
from typing import Annotated, Literal, TypeVar

import numpy as np
from fastapi import APIRouter, Body, Path, Query
from starlette.responses import Response, StreamingResponse

from benchwire.domains.powermeter import exports, schemas
from benchwire.domains.powermeter.config import MeterConfig
from benchwire.domains.powermeter.live import topic_of
from benchwire.domains.powermeter.meter import Meter, event_json, session_json
from benchwire.domains.powermeter.points import json_answer, point_of
from benchwire.domains.powermeter.readings import CHARTED, QUANTITIES
from benchwire.domains.powermeter.service import PowerMeters
from benchwire.foundation.web.downloads import files_of
from benchwire.foundation.web.injection import service
from benchwire.foundation.web.sse import EventStream

router = APIRouter()

T = TypeVar("T")

Service = Annotated[PowerMeters, service(PowerMeters)]
MeterName = Annotated[
    str | None, Query(alias="meter", max_length=100, description="A meter's name; else the first.")
]
Period = Annotated[str, Path(description="Digits and one of s m h: 30s, 5m, 1h.")]
Limit = Annotated[int, Query(ge=1, le=10_000)]
_EXAMPLE = {
    "port": "/dev/ttyACM1",
    "data_retention_minutes": 30,
    "polling_interval": 2.0,
    "alarms": {"current": {"high": 2.4, "hysteresis": 0.1}},
}


@router.get("/api/data/latest")
def latest(meters: Service, meter: MeterName = None) -> schemas.LatestPoint:
    """The newest reading on the disk, however old; `age_s` and `stale` tell."""
    reading, local, found = meters.latest(meter)
    return schemas.LatestPoint(**point_of(reading, local), age_s=found.age, stale=found.is_stale)


@router.get("/api/data/{period}", responses={200: {"model": schemas.Data}})
def data(period: Period, meters: Service, meter: MeterName = None) -> Response:
    """All readings of a period that ends now, oldest first."""
    stored = meters.data(period, meter)
    head = json.dumps(
        {
            "period": period,
            "start_time": stored.local.text(stored.window.start),
            "end_time": stored.local.text(stored.window.end),
        }
    )
    pieces = json_answer(head[:-1], stored.parts, stored.local)
    return StreamingResponse(_begun(pieces), media_type="application/json")


@router.get("/api/stats/{period}")
def statistics(period: Period, meters: Service, meter: MeterName = None) -> schemas.Statistics:
    """Smallest, largest and mean values of a period, and its energy and charge."""
    return schemas.Statistics.model_validate(meters.statistics(period, meter))


@router.get("/api/status")
def status(meters: Service, meter: MeterName = None) -> schemas.Status:
    """How a meter is and what is stored of it."""
    return schemas.Status(**meters.status(meter))


@router.get("/api/config")
def config(meters: Service, meter: MeterName = None) -> MeterConfig:
    """A meter's configuration."""
    return meters.meter(meter).config


@router.post("/api/config")
def configure(
    changes: Annotated[schemas.ConfigChanges, Body(examples=[_EXAMPLE])],
    meters: Service,
    meter: MeterName = None,
) -> schemas.ConfigAnswer:
    """Change a meter's configuration: all of what is named, at once, or nothing."""
    changed = meters.configure(meter, changes)
    return schemas.ConfigAnswer(message="The configuration was changed", config=changed)


@router.get("/api/export/{period}.csv", response_class=Response, responses=files_of("text/csv"))
def export_csv(period: Period, meters: Service, meter: MeterName = None) -> Response:
    """All readings of a period as CSV, with units in the column names and times in UTC."""
    stored = meters.data(period, meter)
    return _download(
        exports.csv(stored.parts),
        "text/csv; charset=utf-8",
        meters.meter(meter).name,
        period,
        "csv",
    )


@router.get(
    "/api/export/{period}.parquet",
    response_class=Response,
    responses=files_of("application/vnd.apache.parquet"),
)
def export_parquet(period: Period, meters: Service, meter: MeterName = None) -> Response:
    """All readings of a period as Parquet, with units in the column names and times in UTC."""
    stored, name = meters.data(period, meter), meters.meter(meter).name
    return _download(
        exports.parquet(stored.parts, name), "application/vnd.apache.parquet", name, period,
        "parquet",
    )  # fmt: skip


@router.get("/api/chart/{period}")
def chart(
    period: Period,
    meters: Service,
    meter: MeterName = None,
    buckets: Annotated[int, Query(ge=1, le=10_000)] = 1000,
) -> schemas.Chart:
    """A period in equal steps with the smallest and largest values of each, for a chart."""
    asked, steps = meters.chart(period, buckets, meter)
    curves = {}
    for index, key in enumerate(CHARTED):
        scale = QUANTITIES[index].scale
        curves[key] = {
            "min": (steps.low[:, index] / scale).tolist(),
            "max": (steps.high[:, index] / scale).tolist(),
            "avg": (steps.total[:, index] / np.maximum(steps.count, 1) / scale).tolist(),
        }
    return schemas.Chart(
        period=period,
        start_ms=asked.start / 1000,
        end_ms=asked.end / 1000,
        at_ms=(steps.at / 1000).tolist(),
        count=steps.count.tolist(),
        **curves,
    )


@router.get("/api/live", response_class=Response, responses=files_of("text/event-stream"))
async def live(meters: Service, meter: MeterName = None) -> Response:
    """Readings, state, alarms and charges as server-sent events, beginning with what is now."""
    return _live(meters, [meters.meter(meter)])


@router.get("/api/meters/live", response_class=Response, responses=files_of("text/event-stream"))
async def live_of_all(meters: Service) -> Response:
    """The same of every meter in one stream; each event names its meter."""
    return _live(meters, meters.all())


@router.get("/api/meters")
def all_meters(meters: Service) -> list[schemas.State]:
    """Every meter and how it is; the first is meant where none is named."""
    return [schemas.State(**meter.state()) for meter in meters.all()]


@router.post("/api/meters", status_code=201)
def add_meter(new: schemas.NewMeter, meters: Service) -> schemas.State:
    """Take up one more meter."""
    return schemas.State(**meters.add(new.port, new.name).state())


@router.delete("/api/meters/{name}")
def remove_meter(name: str, meters: Service) -> schemas.Message:
    """Forget a meter that was added, with everything it measured."""
    meters.remove(name)
    return schemas.Message(message=f"{name} was removed")


@router.get("/api/ports")
def ports(meters: Service) -> list[schemas.Port]:
    """The serial ports of this computer, and which meter is read at each."""
    return [schemas.Port(**port) for port in meters.ports()]


@router.get("/api/sessions")
def sessions(meters: Service, meter: MeterName = None, limit: Limit = 100) -> list[schemas.Session]:
    """Charges, newest first: start, end, reason, Wh and mAh."""
    name = meters.meter(meter).name
    return [schemas.Session(**session_json(item, name)) for item in meters.sessions(limit, name)]


@router.get("/api/alarms")
def alarms(meters: Service, meter: MeterName = None, limit: Limit = 100) -> schemas.Alarms:
    """Alarms that stand, and all that were raised and cleared, newest first."""
    standing = meters.meter(meter).standing_alarms
    return schemas.Alarms(
        standing=[schemas.Alarm(**event_json(event)) for event in standing],
        events=[schemas.Alarm(**event_json(event)) for event in meters.alarms(limit, meter)],
    )


@router.get(
    "/api/recording",
    responses={200: {"model": schemas.Recording, "content": {"text/csv": {}}}},
)
def recording(
    meters: Service,
    meter: MeterName = None,
    format_: Annotated[Literal["json", "csv"], Query(alias="format")] = "json",
) -> Response:
    """What the meter recorded by itself; polling pauses meanwhile."""
    records = meters.recording(meter)
    if format_ == "csv":
        name = f"{meters.meter(meter).name}-recording.csv"
        return Response(
            exports.recording_csv(records),
            media_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )
    pairs = [schemas.Record(voltage=volts, current=amperes) for volts, amperes in records]
    answer = schemas.Recording(count=len(pairs), records=pairs)
    return Response(answer.model_dump_json(), media_type="application/json")


@router.post("/api/screen")
def turn_screen(
    order: schemas.ScreenAction, meters: Service, meter: MeterName = None
) -> schemas.Message:
    """Show the previous or next page on the meter's screen, or rotate it."""
    meters.turn_screen(order.action, meter)
    return schemas.Message(message="The meter was told")


def _live(meters: PowerMeters, chosen: list[Meter]) -> Response:
    return EventStream(
        meters.hub,
        [topic_of(meter.id) for meter in chosen],
        hello=lambda: b"".join(meter.greeting() for meter in chosen),
    )


def _begun(pieces: Iterator[T]) -> Iterator[T]:
    """Make the first two pieces at once, so that a failing query still becomes an error answer."""
    return itertools.chain(list(itertools.islice(pieces, 2)), pieces)


def _download(
    pieces: Iterator[bytes], media_type: str, meter: str, period: str, suffix: str
) -> Response:
    return StreamingResponse(
        _begun(pieces),
        media_type=media_type,
        headers={"Content-Disposition": f'attachment; filename="{meter}-{period}.{suffix}"'},
    )
