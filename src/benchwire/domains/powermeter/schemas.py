"""Answers of the power-meter API, with its own keys."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from benchwire.domains.powermeter.config import MeterConfig


class Point(BaseModel):
    """One reading: ``timestamp`` is local without offset, ``utc`` the same moment in UTC."""

    timestamp: str
    utc: str
    voltage: float = Field(description="V")
    current: float = Field(description="A")
    power: float = Field(description="W, as the meter measured it")
    resistance: float = Field(description="ohm")
    temperature: int = Field(description="degC")
    mah_g0: int = Field(description="mAh, the meter's counter of group 0")
    mwh_g0: int = Field(description="mWh, the meter's counter of group 0")
    mah_g1: int = Field(description="mAh, the meter's counter of group 1")
    mwh_g1: int = Field(description="mWh, the meter's counter of group 1")
    d_plus: float = Field(description="V")
    d_minus: float = Field(description="V")


class Data(BaseModel):
    """All readings of a period, oldest first."""

    period: str
    count: int
    start_time: str
    end_time: str
    data: list[Point]


class LatestPoint(Point):
    """The newest reading on the disk, and how old it is."""

    age_s: float | None
    stale: bool


class Extremes(BaseModel):
    """Smallest and largest value, and the mean over the readings."""

    min: float
    max: float
    avg: float


class Energy(BaseModel):
    """Charge and energy: integrated over real time, and by the meter's counters."""

    wh: float
    mah: float
    gap_s: float = Field(description="Seconds without readings, for which nothing is integrated")
    meter_wh: float
    meter_mah: float


class Statistics(BaseModel):
    """Figures of a period."""

    period: str
    sample_count: int
    voltage: Extremes
    current: Extremes
    power: Extremes
    energy: Energy


class State(BaseModel):
    """How a meter is."""

    meter: str
    port: str
    polling_interval: float
    connected: bool
    condition: str = Field(description="connected, unplugged, no answer and the like, for people")
    last_error: str | None
    stale: bool
    alarms: list[str]
    product: str | None
    version: str | None
    serial: int | None
    runs: int | None


class Status(State):
    """How a meter is, and what is stored of it."""

    running: bool
    data_count: int
    oldest_data: str | None
    newest_data: str | None
    retention_minutes: int
    age_s: float | None
    reconnects: int
    frame_errors: int
    missed_polls: int
    last_read_ms: float | None
    waiting_readings: int
    dropped_readings: int
    clock_ahead_s: float


class ConfigAnswer(BaseModel):
    """The whole configuration after a change."""

    message: str
    config: MeterConfig


class Chart(BaseModel):
    """A period in steps: for V, A and W the smallest, largest and mean value of each step."""

    period: str
    start_ms: float
    end_ms: float
    at_ms: list[float]
    count: list[int]
    voltage: dict[str, list[float]]
    current: dict[str, list[float]]
    power: dict[str, list[float]]


class Session(Energy):
    """One charge; ``reason`` is why it ended, null while it lasts."""

    id: str
    start_utc: str
    end_utc: str
    duration_s: float
    reason: str | None


class Alarm(BaseModel):
    """An alarm raised or cleared."""

    kind: str
    raised: bool
    utc: str
    value: float | None
    threshold: float | None


class Alarms(BaseModel):
    """Alarms that stand, and what happened, newest first."""

    standing: list[Alarm]
    events: list[Alarm]


class Record(BaseModel):
    """One record of the meter's own recording."""

    voltage: float
    current: float


class Recording(BaseModel):
    """What the meter recorded by itself; it does not tell the interval."""

    count: int
    records: list[Record]


class NewMeter(BaseModel):
    """One more meter to be read."""

    model_config = ConfigDict(extra="forbid")

    port: str = Field(min_length=1, max_length=250)
    name: str | None = None


class ScreenAction(BaseModel):
    """What the meter's screen is to do."""

    model_config = ConfigDict(extra="forbid")

    action: Literal["previous", "next", "rotate"]


class Port(BaseModel):
    """A serial port; ``meter`` is the meter read there."""

    port: str
    serial_number: str | None
    meter: str | None


class Message(BaseModel):
    """What was done."""

    message: str


ConfigChanges = dict[str, Any]
