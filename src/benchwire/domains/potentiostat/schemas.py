"""Requests and answers of the potentiostat API, with its own keys and state words."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool

from benchwire.foundation.samples.names import SampleName

RUN_NAME_PATTERN = r"^(?!.*\.\.)[0-9A-Za-z][0-9A-Za-z._-]{0,127}$"


def _no_boolean(value: object) -> object:
    """Refuse true and false where a number is meant; Python takes them for 1 and 0."""
    if isinstance(value, bool):
        raise ValueError("a number is needed, not true or false")
    return value


SlotState = Literal["queued", "running", "done", "failed", "cancelled"]
RunState = Literal["running", "done", "failed", "cancelled"]

Number = Annotated[float, BeforeValidator(_no_boolean)]
Whole = Annotated[int, BeforeValidator(_no_boolean)]


class JobRequest(BaseModel):
    """A run: modes one after another, on slots in parallel."""

    model_config = ConfigDict(extra="ignore")

    devices: Literal["all"] | list[str] = Field(
        description="`all`, or slot names such as `slot01`."
    )
    modes: list[str] = Field(description="Modes, run one after another on each slot.")
    params_by_mode: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="The parameters of each mode."
    )
    tia_gain: Whole | None = Field(
        0, description="Current range: 0 is 4.95 mA, 1 is 0.5 mA, 2 is 50 uA, 3 and 4 are 5.4 uA."
    )
    sampling_interval: Number | None = Field(
        None, description="Seconds per CSV row; null keeps every point."
    )
    experiment_name: str = Field(description="Names the folder.")
    subdir: str | None = Field(None, description="A folder in between.")
    folder_name: str | None = Field(None, description="Older name of `subdir`.")
    client_datetime: str = Field(description="The client's time; names folder and files.")
    run_name: str | None = Field(None, description="Becomes the run id.")
    group_id: str | None = Field(None, description="A label to find runs by.")
    make_plot: StrictBool = Field(True, description="Draw a PNG beside each CSV.")
    sample: SampleName | None = Field(None, description="What the whole run is measured on.")
    samples: dict[str, SampleName] | None = Field(
        None,
        description="What each slot is measured on: a sample's id, or the well of a plate as "
        "`<barcode>/<well>`.",
    )


class SlotStatus(BaseModel):
    """One slot's part of a run."""

    slot: str
    status: SlotState
    started_at: str | None
    ended_at: str | None
    message: str | None
    files: list[str]


class JobStatus(BaseModel):
    """How far a run is."""

    run_id: str
    mode: str
    started_at: str
    status: RunState
    ended_at: str | None
    slots: list[SlotStatus]
    progress_pct: int
    remaining_s: int | None
    modes: list[str]
    current_mode: str | None
    remaining_modes: list[str]


class JobOverview(BaseModel):
    """One line of the list of runs."""

    run_id: str
    mode: str
    status: SlotState
    started_at: str
    ended_at: str | None
    devices: list[str]


class BulkStatusRequest(BaseModel):
    """The runs whose status is wanted."""

    run_ids: list[str] = Field(min_length=1, max_length=10_000)


class CancelAnswer(BaseModel):
    """What a cancel came to."""

    run_id: str
    status: str


class Version(BaseModel):
    """What runs here."""

    api: str
    pybeep: str
    python: str
    build: str
    benchwire: str


class Health(BaseModel):
    """Whether the box is well."""

    ok: bool
    devices: int
    box_id: str
    status: Literal["healthy"] = "healthy"


class Device(BaseModel):
    """An instrument on its slot."""

    slot: str
    port: str
    sn: str | None


class DeviceStatus(BaseModel):
    """What a slot is doing."""

    slot: str
    status: Literal["idle", "queued", "running"]
    run_id: str | None
    connected: bool
    started_at: str | None
    ended_at: str | None
    message: str | None
    files: list[str]


class Rescan(BaseModel):
    """The slots found."""

    devices: list[str]


class ValidationIssue(BaseModel):
    """One thing to know about one field."""

    field: str
    code: str
    message: str


class ValidationResult(BaseModel):
    """Whether parameters can be used."""

    ok: bool
    errors: list[ValidationIssue]
    warnings: list[ValidationIssue]


class RunFiles(BaseModel):
    """A run's data files, as paths below its folder."""

    files: list[str]


class NasSetup(BaseModel):
    """Where finished runs are copied to."""

    host: str
    share: str
    username: str
    password: str
    base_subdir: str = ""
    retention_days: Whole = 14
    domain: str | None = None


class NasSetupAnswer(BaseModel):
    """Whether the share could be used at once."""

    ok: bool
    message: str


class NasHealth(BaseModel):
    """Whether the share can be used."""

    ok: bool
    last_checked: str | None
    message: str


class UploadAnswer(BaseModel):
    """Whether an upload was begun by this request."""

    ok: bool
    enqueued: bool
    run_id: str
