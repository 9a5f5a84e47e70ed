"""What the owner of a meter may set, checked as a whole before any of it counts."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from benchwire.domains.powermeter.alarms import Limits
from benchwire.domains.powermeter.errors import ConfigInvalid

SHORTEST_INTERVAL, LONGEST_INTERVAL = 0.05, 3600.0
LONGEST_RETENTION = 525_600
_MODEL = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


class AlarmLimits(BaseModel):
    """What a quantity may be, in its unit.

    An alarm clears ``hysteresis`` inside the limit. Where none is given it is 1 % of the limit, at
    most a quarter of the band between both.
    """

    model_config = _MODEL

    low: float | None = None
    high: float | None = None
    hysteresis: Annotated[float, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.low is not None and self.high is not None:
            if self.low >= self.high:
                raise ValueError("low has to be below high")
            if (self.hysteresis or 0) > self.high - self.low:
                raise ValueError("hysteresis is wider than low and high are apart")
        return self


class MeterConfig(BaseModel):
    """The configuration of one meter."""

    model_config = _MODEL

    port: Annotated[str, Field(min_length=1, max_length=250)]
    polling_interval: Annotated[float, Field(ge=SHORTEST_INTERVAL, le=LONGEST_INTERVAL)] = 1.0
    data_retention_minutes: Annotated[int, Field(ge=1, le=LONGEST_RETENTION)] = 10
    session_threshold_a: Annotated[float, Field(ge=0, le=10)] = 0.10
    session_end_delay_s: Annotated[float, Field(ge=0, le=86_400)] = 60.0
    alarms: dict[Literal["voltage", "current", "power", "temperature"], AlarmLimits] = Field(
        default_factory=dict
    )

    @property
    def limits(self) -> dict[str, Limits]:
        """The alarm limits by quantity."""
        return {
            key: Limits(item.low, item.high, item.hysteresis) for key, item in self.alarms.items()
        }

    def changed(self, changes: Mapping[str, Any]) -> "MeterConfig":
        """Return this configuration with some of its keys set anew; alarms by quantity.

        Raises
        ------
        ConfigInvalid
            Nothing is to be changed, or a key or value cannot be; the message names each.
        """
        if not changes:
            raise ConfigInvalid(
                "The body names nothing to change",
                hint=f"Keys: {', '.join(type(self).model_fields)}.",
            )
        whole = {**self.model_dump(), **changes}
        if isinstance(changes.get("alarms"), Mapping):
            whole["alarms"] = {**self.model_dump()["alarms"], **changes["alarms"]}
        return config_of(whole)


def config_of(values: Mapping[str, Any]) -> MeterConfig:
    """Return a configuration from plain values.

    Raises
    ------
    ConfigInvalid
        A key or value cannot be used; the message names each.
    """
    try:
        return MeterConfig.model_validate(dict(values))
    except ValidationError as error:
        found = [
            f"{'.'.join(str(part)[:60] for part in item['loc'])}: {item['msg']}"
            for item in error.errors()
        ]
        raise ConfigInvalid(
            "; ".join(found[:5]), hint="Nothing was changed. GET /api/config shows the form."
        ) from error
