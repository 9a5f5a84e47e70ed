"""Requests and answers of the battery telemetry API."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    create_model,
    model_validator,
)

from benchwire.domains.battery.errors import ReadingInvalid
from benchwire.domains.battery.samples import Reading
from benchwire.domains.battery.signals import BESS, BMS, GROUPS, PCS, Group
from benchwire.foundation.clock import microseconds

MOST_READINGS = 10_000
_EARLIEST, _LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


class Device(BaseModel):
    """A device that has rows of a group."""

    device_id: str
    available_metrics: list[str]
    total_rows_per_metric: dict[str, int]
    total_rows: int = Field(description="Rows of the synchronised timeline.")


class Devices(BaseModel):
    """All devices of a group, by id."""

    devices: list[Device]


def _row(group: Group) -> type[BaseModel]:
    fields: dict[str, Any] = {
        signal.field: (
            (bool if signal.is_flag else float) | None,
            Field(None, description=f"{signal.title} ({signal.unit})" if signal.unit else None),
        )
        for signal in group.signals
    }
    return create_model(
        f"{group.name.upper()}Reading",
        __doc__=f"One row: {group.title}.",
        timestamp=(str, Field(description="ISO 8601, UTC.")),
        **fields,
    )


ROWS = {group.name: _row(group) for group in (BMS, PCS, BESS)}


def _batch(group: Group) -> type[BaseModel]:
    row: Any = ROWS[group.name]
    return create_model(
        f"{group.name.upper()}Batch",
        __doc__="Rows of a device, oldest first.",
        device_id=(str, ...),
        total_records=(int, Field(description="Rows in this answer.")),
        batch_size=(int, Field(description="As asked for.")),
        skip=(int, ...),
        total_available=(int, Field(description="Rows of the timeline, or of the period named.")),
        data=(list[row], ...),
    )


BATCHES = {name: _batch(group) for name, group in GROUPS.items()}


class Point(BaseModel):
    """A point of a curve; null marks a gap."""

    timestamp: str
    value: float | None


class _Reduced(BaseModel):
    """What is told of a reduced signal besides its values."""

    device_id: str
    metric: str
    unit: str | None
    method: Literal["minmax", "avg", "lttb"]
    start: str | None
    end: str | None
    total_points: int = Field(description="Samples in the range before they were reduced.")


class Series(_Reduced):
    """A signal at its own rate, reduced to some points."""

    points: list[Point]


class SeriesColumns(_Reduced):
    """The same as two columns."""

    at_ms: list[float] = Field(description="Milliseconds since 1970.")
    value: list[float | None]


class Anomaly(BaseModel):
    """Something unusual."""

    metric: str
    type: Literal["out_of_range", "spike", "stuck", "step", "imbalance", "drift", "gap"]
    severity: Literal["info", "warning", "critical"]
    start: str
    end: str
    score: float | None
    value: float | None
    expected: float | None
    message: str


class Anomalies(BaseModel):
    """Everything unusual that was found, oldest first."""

    device_id: str
    method: str
    samples_analyzed: int
    total_anomalies: int
    anomalies: list[Anomaly]


class ForecastPoint(BaseModel):
    """What is expected at one moment, and the band it should be in."""

    timestamp: str
    value: float
    lower: float
    upper: float


class Backtest(BaseModel):
    """How well the same forecast went at earlier moments."""

    mae: float | None
    rmse: float | None
    baseline_mae: float | None
    coverage: float | None
    origins: int


class Forecast(BaseModel):
    """A forecast of one signal."""

    model_config = ConfigDict(extra="allow")

    device_id: str
    metric: str
    method: str
    trained_on: Any
    forecast: list[ForecastPoint]
    backtest: Backtest


def _plausible(value: datetime) -> datetime:
    at = value if value.tzinfo else value.replace(tzinfo=UTC)
    if not _EARLIEST <= at < _LATEST:
        raise ValueError("the time has to be between 1970 and 2200")
    return at


Value = Annotated[float, Field(allow_inf_nan=False, strict=True)] | None


def _in_iso(value: object) -> object:
    # The library would take numbers and bare dates as well, whose meaning is a guess.
    if not isinstance(value, str) or not re.match(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d", value):
        raise ValueError("the time has to be ISO 8601, such as 2026-01-01T12:00:00Z")
    return value


class _NewReading(BaseModel):
    model_config = ConfigDict(extra="forbid")

    timestamp: Annotated[datetime, BeforeValidator(_in_iso), AfterValidator(_plausible)] = Field(
        description="ISO 8601; UTC where it names no zone."
    )

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set - {"timestamp"}:
            raise ValueError("a reading has to have at least one value")
        return self

    def reading(self) -> Reading:
        """Return the reading."""
        given = self.model_dump(exclude={"timestamp"}, exclude_unset=True)
        return Reading(microseconds(self.timestamp), given)


def _new_reading(group: Group) -> type[_NewReading]:
    fields: dict[str, Any] = {signal.field: (Value, None) for signal in group.signals}
    return create_model(
        f"New{group.name.upper()}Reading",
        __base__=_NewReading,
        __doc__="A reading to be stored; what is left out was not measured.",
        **fields,
    )


_NEW = {group.name: _new_reading(group) for group in (BMS, PCS)}
NEW_READINGS: dict[str, dict[str, Any]] = {
    name: {
        "requestBody": {
            "content": {
                "application/json": {
                    # A list's own schema would refer to a place that is not in the document.
                    "schema": {"type": "array", "items": model.model_json_schema()},
                }
            }
        }
    }
    for name, model in _NEW.items()
}
"""How new readings look, for the documents."""


def readings_of(group: Group, body: object) -> list[Reading]:
    """Return the readings of a request: one, a list of them, or a list under ``readings``.

    Raises
    ------
    ReadingInvalid
        One cannot be taken; it says which and why.
    """
    items = body["readings"] if isinstance(body, dict) and "readings" in body else body
    items = items if isinstance(items, list) else [items]
    if not 1 <= len(items) <= MOST_READINGS:
        raise ReadingInvalid(f"A request carries 1 to {MOST_READINGS} readings")
    try:
        found = _LISTS[group.name].validate_python(items)
    except ValidationError as error:
        problems = [
            f"reading {item['loc'][0]}: {'.'.join(map(str, item['loc'][1:]))} {item['msg']}"
            for item in error.errors()[:5]
        ]
        raise ReadingInvalid("; ".join(problems)) from error
    return [item.reading() for item in found]


_LISTS: dict[str, TypeAdapter[list[_NewReading]]] = {
    name: TypeAdapter(list[model])  # type: ignore[valid-type]
    for name, model in _NEW.items()
}


class Stored(BaseModel):
    """What became of new readings; they are on the disk."""

    device_id: str
    received: int
    stored: int = Field(description="Readings at times that were not known yet.")
    updated: int = Field(description="Readings that gave a known time what it had not got yet.")
    duplicates: int = Field(description="Readings that told nothing new.")
