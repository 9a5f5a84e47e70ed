"""Requests of the microscopy API."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from benchwire.domains.microscopy.plan import FluorescenceChannel, Plan
from benchwire.foundation.samples.names import SampleName


def _not_a_truth_value(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("has to be a number")
    return value


Number = Annotated[int, BeforeValidator(_not_a_truth_value)]
Decimal = Annotated[float, BeforeValidator(_not_a_truth_value), Field(allow_inf_nan=False)]
_Feature = Annotated[str, Field(min_length=1, max_length=100)]
_Path = Annotated[str, Field(min_length=1, max_length=4096)]
_LARGEST = 2**31 - 1
_OME_ZARR = {True: "0.4", False: "none"}


class FileRequest(BaseModel):
    """A file to look at."""

    file_path: _Path


class _Exact(BaseModel):
    """A part of a request in which a misspelt name must not be passed over in silence."""

    model_config = ConfigDict(extra="forbid")


class ChannelChoice(_Exact):
    """A channel and what is measured in it."""

    channel: Number = Field(ge=0)
    features: list[_Feature] = Field(default_factory=list, max_length=100)


class ChannelChoices(_Exact):
    """The phase channel, in which cells are found, and the fluorescence channels."""

    phase: ChannelChoice
    fluorescence: list[ChannelChoice] = Field(default_factory=list, max_length=100)

    @model_validator(mode="before")
    @classmethod
    def _absent_list_is_empty(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("fluorescence", ()) is None:
            return {**values, "fluorescence": []}
        return values


class Parameters(_Exact):
    """How a workflow is carried out; null stands for the default."""

    fov_start: Number = Field(0, ge=-1)
    fov_end: Number = Field(-1, ge=-1)
    batch_size: Number = Field(2, ge=1, le=_LARGEST)
    n_workers: Number = Field(2, ge=1, le=_LARGEST)
    background_weight: Decimal = 1.0
    erosion_size: Number = Field(0, ge=0, le=999)
    min_frames: Number = Field(30, ge=0, le=_LARGEST)
    border_margin: Number = Field(50, ge=0, le=_LARGEST)
    min_size: Number | None = Field(None, ge=0, le=_LARGEST)
    max_size: Number | None = Field(None, ge=0, le=_LARGEST)
    min_iou: Decimal = Field(0.1, ge=0, le=1)
    frame_interval: Decimal | None = Field(None, gt=0)
    ome_zarr: Annotated[
        Literal["0.4", "0.5", "none"],
        BeforeValidator(lambda value: _OME_ZARR[value] if isinstance(value, bool) else value),
    ] = "0.4"

    @model_validator(mode="before")
    @classmethod
    def _null_is_the_default(cls, values: Any) -> Any:
        if isinstance(values, dict):
            return {name: value for name, value in values.items() if value is not None}
        return values

    @model_validator(mode="after")
    def _sizes_leave_room(self) -> Self:
        if self.min_size and self.max_size is not None and self.max_size < self.min_size:
            raise ValueError("max_size is below min_size")
        return self


class WorkflowRequest(_Exact):
    """A movie, where its results go, and what is measured.

    ``sample`` names what the whole movie shows, ``samples`` that of single FOVs by number.
    """

    microscopy_path: _Path
    output_dir: _Path
    channels: ChannelChoices
    parameters: Parameters = Field(default_factory=Parameters)
    sample: SampleName | None = None
    samples: dict[Annotated[str, Field(pattern=r"^[0-9]{1,6}$")], SampleName] | None = None

    @model_validator(mode="before")
    @classmethod
    def _parameters_may_be_null(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("parameters", ...) is None:
            return {name: value for name, value in values.items() if name != "parameters"}
        return values

    def plan(self) -> Plan:
        """Return how each FOV is to be processed; channels named twice become one."""
        features: dict[int, set[str]] = {}
        for choice in self.channels.fluorescence:
            features.setdefault(choice.channel, set()).update(choice.features)
        phase, parameters = self.channels.phase, self.parameters
        return Plan(
            phase=phase.channel,
            phase_features=tuple(sorted(set(phase.features))),
            fluorescence=tuple(
                FluorescenceChannel(channel, tuple(sorted(features[channel])))
                for channel in sorted(features)
            ),
            background_weight=min(max(parameters.background_weight, 0.0), 1.0),
            erosion_size=parameters.erosion_size,
            min_frames=parameters.min_frames,
            border_margin=parameters.border_margin,
            min_size=parameters.min_size,
            max_size=parameters.max_size,
            min_iou=parameters.min_iou,
            frame_interval=parameters.frame_interval,
        )


class MergeRequest(BaseModel):
    """Samples, the folder of processed FOVs, and where the merged files go."""

    sample_yaml: _Path
    input_dir: _Path | None = None
    processing_results_yaml: _Path | None = None
    output_dir: _Path

    @model_validator(mode="after")
    def _has_an_input(self) -> Self:
        if self.input_dir is None and self.processing_results_yaml is None:
            raise ValueError("input_dir is missing")
        return self


_Extensions = Annotated[list[Annotated[str, Field(max_length=100)]], Field(max_length=1000)] | None


class ListRequest(BaseModel):
    """A folder to list."""

    directory_path: _Path
    include_hidden: bool = False
    filter_extensions: _Extensions = None


class SearchRequest(BaseModel):
    """A folder to search."""

    search_path: _Path
    pattern: Annotated[str, Field(max_length=1000)] | None = None
    extensions: _Extensions = None
    max_depth: Number = Field(10, ge=0, le=1000)
    include_hidden: bool = False


class InspectionRequest(BaseModel):
    """Which cells of a traces file are good."""

    traces_path: _Path
    good: dict[Annotated[int, Field(ge=1)], bool] = Field(min_length=1, max_length=65535)
