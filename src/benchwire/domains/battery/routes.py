"""The battery telemetry API's paths."""

import itertools
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Header, Path, Query, Request
from starlette.responses import HTMLResponse, Response

from benchwire import __version__
from benchwire.domains.battery import exports, live
from benchwire.domains.battery.analyses import Analyses
from benchwire.domains.battery.dashboard import dashboard_html
from benchwire.domains.battery.schemas import (
    BATCHES,
    MOST_READINGS,
    NEW_READINGS,
    Anomalies,
    Devices,
    Forecast,
    Series,
    SeriesColumns,
    Stored,
    readings_of,
)
from benchwire.domains.battery.service import Telemetry
from benchwire.domains.battery.signals import BESS, BMS, PCS, Group
from benchwire.domains.battery.sources import Sources
from benchwire.foundation.web.content_policy import own_page
from benchwire.foundation.web.downloads import PatientDownload, files_of
from benchwire.foundation.web.injection import service
from benchwire.foundation.web.sse import EventStream, PacedStream

router = APIRouter()

TelemetryService = Annotated[Telemetry, service(Telemetry)]
AnalysesService = Annotated[Analyses, service(Analyses)]
DeviceId = Annotated[str, Path(description="As in the list of devices, upper and lower case too.")]
BatchSize = Annotated[int, Query(ge=1, le=1000, description="Rows in an answer.")]
Skip = Annotated[int, Query(ge=0, le=2**62, description="Rows to leave out at the beginning.")]
Date = Annotated[str | None, Query(max_length=32, description="A month or a day, in UTC.")]
Interval = Annotated[
    float, Query(ge=0.1, le=10.0, allow_inf_nan=False, description="Seconds between two rows.")
]
Moment = Annotated[str | None, Query(max_length=64, description="ISO 8601, UTC if no zone.")]
Metric = Annotated[str | None, Query(max_length=255, description="A field; all if none.")]
AnomalyMethod = Literal[
    "auto", "limits", "spike", "stuck", "step", "imbalance", "drift", "gap", "iforest"
]
ForecastMethod = Literal["auto", "seasonal_naive", "ets", "gbdt"]
ENDPOINTS = {
    f"{group.name}_{name}": f"GET /{group.name}/{path}"
    for group in (BMS, PCS, BESS)
    for name, path in (
        ("devices", "devices"), ("batch", "{device_id}"), ("stream", "{device_id}/stream"),
        ("series", "{device_id}/series"), ("anomalies", "{device_id}/anomalies"),
        ("forecast", "{device_id}/forecast"),
    )
    if group is not BESS or name in {"devices", "batch", "stream", "series"}
}  # fmt: skip


@router.get("/", include_in_schema=False)
def info(request: Request) -> dict[str, Any]:
    """What this API is, where it is served alone."""
    base = str(request.base_url).rstrip("/")
    example = f"{base}/bms/{{device_id}}"
    return {
        "name": "benchwire battery telemetry",
        "version": __version__,
        "description": "Rows, streams, anomalies and forecasts of battery storage systems.",
        "systems": {group.name: group.title for group in (BMS, PCS, BESS)},
        "endpoints": ENDPOINTS,
        "documentation": {"swagger_ui": f"{base}/docs", "redoc": f"{base}/redoc"},
        "example_urls": {
            "devices": f"{base}/bms/devices",
            "batch": f"{example}?batch_size=10&skip=0",
            "stream": f"{example}/stream?interval=2.0",
        },
    }


@router.get("/dashboard", response_class=HTMLResponse)
def dashboard() -> HTMLResponse:
    """A page to try the API on, which needs nothing but this server."""
    return own_page(dashboard_html())


@router.get("/bess/overview")
async def overview(telemetry: TelemetryService) -> dict[str, Any]:
    """How every device is, as far as it is known; waits for nothing."""
    return {"devices": await telemetry.in_thread(telemetry.overview)}


@router.get("/bess/sources")
def source_states(sources: Annotated[Sources, service(Sources)]) -> dict[str, Any]:
    """How the inverters and the broker do that readings come from."""
    return sources.state()


@router.get(
    "/bess/{device_id}/live", response_class=Response, responses=files_of("text/event-stream")
)
async def live_of_both(device_id: DeviceId, telemetry: TelemetryService) -> Response:
    """New readings of both systems of a device as server-sent events, as soon as they are there."""
    await telemetry.check_device(device_id, (BMS, PCS))

    async def hello() -> bytes:
        return b"".join(await telemetry.newest_events(device_id, (BMS, PCS)))

    return EventStream(telemetry.hub, [live.topic_of(device_id, live.BOTH)], hello=hello)


def _add_rows(group: Group) -> None:
    """Add the paths on which a group's rows are read."""

    @router.get(f"/{group.name}/devices", name=f"{group.name}_devices")
    async def devices(telemetry: TelemetryService) -> Devices:
        """The devices that have such data, and how much of it."""
        return Devices.model_validate({"devices": await telemetry.devices(group)})

    @router.get(
        f"/{group.name}/{{device_id}}",
        name=f"{group.name}_batch",
        responses={200: {"model": BATCHES[group.name]}},
    )
    async def batch(
        device_id: DeviceId,
        telemetry: TelemetryService,
        batch_size: BatchSize = 100,
        skip: Skip = 0,
        date: Date = None,
    ) -> Response:
        """Rows of a device, oldest first; a value that is not known is null."""
        content = await telemetry.batch(
            device_id, group, batch_size=batch_size, skip=skip, date=date
        )
        return Response(content, media_type="application/json")

    @router.get(
        f"/{group.name}/{{device_id}}/stream",
        name=f"{group.name}_stream",
        response_class=Response,
        responses=files_of("text/event-stream"),
    )
    async def stream(
        device_id: DeviceId,
        telemetry: TelemetryService,
        interval: Interval = 2.0,
        skip: Skip = 0,
        date: Date = None,
        last_event_id: Annotated[str | None, Header(max_length=32)] = None,
    ) -> Response:
        """One row after another as server-sent events, from the first again after the last."""
        next_event = await telemetry.replay(
            device_id, group, skip=skip, date=date, last_id=last_event_id
        )
        return PacedStream(telemetry.hub, next_event, interval)

    @router.get(
        f"/{group.name}/{{device_id}}/series",
        name=f"{group.name}_series",
        responses={200: {"model": Series | SeriesColumns}},
    )
    async def series(
        device_id: DeviceId,
        telemetry: TelemetryService,
        metric: Annotated[str, Query(max_length=255, description="A field, or any signal.")],
        points: Annotated[int, Query(ge=10, le=5000)] = 1000,
        method: Literal["minmax", "avg", "lttb"] = "minmax",
        start: Moment = None,
        end: Moment = None,
        form: Annotated[
            Literal["points", "columns"], Query(description="columns is the shorter answer.")
        ] = "points",
    ) -> Response:
        """A signal at its own rate, reduced to so many points for a chart."""
        content = await telemetry.series(
            device_id,
            group,
            metric,
            points=points,
            method=method,
            span=(start, end),
            as_columns=form == "columns",
        )
        return Response(content, media_type="application/json")

    @router.get(f"/{group.name}/{{device_id}}/report", name=f"{group.name}_report")
    async def report(device_id: DeviceId, telemetry: TelemetryService) -> dict[str, Any]:
        """What was found in a device's files: rows, gaps, repeats and everything left out."""
        return await telemetry.report(device_id, group)

    @router.get(
        f"/{group.name}/{{device_id}}/export",
        name=f"{group.name}_export",
        response_class=Response,
        responses=files_of(*exports.MEDIA_TYPES.values()),
    )
    async def export(
        device_id: DeviceId,
        telemetry: TelemetryService,
        format_: Annotated[Literal["csv", "parquet"], Query(alias="format")] = "csv",
        start: Moment = None,
        end: Moment = None,
    ) -> Response:
        """Rows of a range as CSV or Parquet, with columns named as in the Battery Data Format."""
        first_us, parts = await telemetry.rows_between(device_id, group, (start, end))
        pieces = telemetry.exported(exports.FORMATS[format_](parts, group, first_us))
        # The first piece is made before the answer begins, so that a refusal is an answer.
        first = await telemetry.in_thread(next, pieces)
        name = exports.filename(device_id, group, format_)
        return PatientDownload(
            itertools.chain([first], pieces),
            media_type=exports.MEDIA_TYPES[format_],
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )


def _add_live(group: Group) -> None:
    """Add the paths on which a group's new readings come and go."""

    @router.get(
        f"/{group.name}/{{device_id}}/live",
        name=f"{group.name}_live",
        response_class=Response,
        responses=files_of("text/event-stream"),
    )
    async def live_rows(device_id: DeviceId, telemetry: TelemetryService) -> Response:
        """New readings as server-sent events, as soon as they are there; the newest first."""
        await telemetry.check_device(device_id, (group,))

        async def hello() -> bytes:
            return b"".join(await telemetry.newest_events(device_id, (group,)))

        return EventStream(telemetry.hub, [live.topic_of(device_id, group.name)], hello=hello)

    @router.post(
        f"/{group.name}/{{device_id}}/readings",
        name=f"{group.name}_readings",
        status_code=201,
        responses={200: {"model": Stored, "description": "Nothing of it was new."}},
        openapi_extra=NEW_READINGS[group.name],
    )
    async def add_readings(
        device_id: DeviceId,
        body: Annotated[
            Any,
            Body(
                description=f"One reading, a list, or {{readings: [...]}}; {MOST_READINGS} at most."
            ),
        ],
        telemetry: TelemetryService,
        response: Response,
    ) -> Stored:
        """Store new readings; a time that is known already is not stored twice."""
        readings = readings_of(group, body)
        appended = await telemetry.take(device_id, group, readings)
        if not appended.new:
            response.status_code = 200
        return Stored(
            device_id=device_id,
            received=len(readings),
            stored=appended.new,
            updated=len(appended.shown) - appended.new,
            duplicates=len(readings) - len(appended.shown),
        )

    @router.get(f"/{group.name}/{{device_id}}/anomalies", name=f"{group.name}_anomalies")
    async def anomalies(
        device_id: DeviceId,
        analyses: AnalysesService,
        method: AnomalyMethod = "auto",
        metric: Metric = None,
        start: Moment = None,
        end: Moment = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        skip: Skip = 0,
    ) -> Anomalies:
        """What is unusual in a device's signals, each at its own rate, oldest first."""
        found = await analyses.anomalies(
            device_id, group, method=method, metric=metric, span=(start, end), page=(skip, limit)
        )
        return Anomalies.model_validate(found)

    @router.get(f"/{group.name}/{{device_id}}/forecast", name=f"{group.name}_forecast")
    async def forecast(
        device_id: DeviceId,
        analyses: AnalysesService,
        metric: Annotated[str, Query(max_length=255)],
        horizon: Annotated[float, Query(gt=0, le=168, allow_inf_nan=False)] = 24.0,
        step: Annotated[float, Query(ge=1, le=120, allow_inf_nan=False)] = 15.0,
        as_of: Moment = None,
        method: ForecastMethod = "auto",
    ) -> Forecast:
        """What a signal will be, with a band, and how well that went at earlier moments."""
        found = await analyses.forecast(
            device_id, group, metric=metric, horizon=horizon, step=step, as_of=as_of, method=method
        )
        return Forecast.model_validate(found)

    @router.get(f"/{group.name}/{{device_id}}/efficiency", name=f"{group.name}_efficiency")
    async def efficiency(
        device_id: DeviceId, analyses: AnalysesService, start: Moment = None, end: Moment = None
    ) -> dict[str, Any]:
        """Round-trip efficiency, in all and per day."""
        return await analyses.efficiency(device_id, group, span=(start, end))


_CYCLE_KEYS = ("full_cycles", "soc_full_cycles", "start", "end", "covered_hours", "uncovered_hours")
Capacity = Annotated[
    float | None, Query(gt=0, allow_inf_nan=False, description="Ah; estimated if not given.")
]


@router.get("/bms/{device_id}/cycles")
async def cycles(
    device_id: DeviceId,
    analyses: AnalysesService,
    start: Moment = None,
    end: Moment = None,
    capacity_ah: Capacity = None,
) -> dict[str, Any]:
    """Equivalent full cycles, in all and per day, and how deep the cycles were."""
    found = await analyses.cycling(device_id, span=(start, end), capacity_ah=capacity_ah)
    found["total"] = _only(found["total"], _CYCLE_KEYS)
    found["days"] = [_only(day, _CYCLE_KEYS) for day in found["days"]]
    return found


@router.get("/bms/{device_id}/throughput")
async def throughput(
    device_id: DeviceId, analyses: AnalysesService, start: Moment = None, end: Moment = None
) -> dict[str, Any]:
    """Charge (Ah) and energy (kWh) in and out, in all and per day."""
    found = await analyses.cycling(device_id, span=(start, end), capacity_ah=None)
    del found["depth_cycles"]
    return found


@router.get("/bms/{device_id}/soh")
async def health(
    device_id: DeviceId, analyses: AnalysesService, start: Moment = None, end: Moment = None
) -> dict[str, Any]:
    """The trend of the state of health, with how sure it is and when it will be 80 %."""
    return await analyses.health(device_id, span=(start, end))


@router.get("/bms/{device_id}/imbalance")
async def imbalance(
    device_id: DeviceId,
    analyses: AnalysesService,
    start: Moment = None,
    end: Moment = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
) -> dict[str, Any]:
    """Which cells are off the others, the worst first."""
    return await analyses.imbalance(device_id, span=(start, end), limit=limit)


def _only(values: dict[str, Any] | None, keys: Sequence[str]) -> dict[str, Any] | None:
    return None if values is None else {key: values[key] for key in keys if key in values}


for _group in (BMS, PCS, BESS):
    _add_rows(_group)
for _group in (BMS, PCS):
    _add_live(_group)
