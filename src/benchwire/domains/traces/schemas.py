"""Requests of the analysis API."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from benchwire.foundation.samples.names import SampleName


def _empty_where_absent(value: object) -> object:
    return {} if value is None else value


_Path = Annotated[str, Field(min_length=1, max_length=4096)]
_ByName = Annotated[dict[str, Any], BeforeValidator(_empty_where_absent), Field(max_length=100)]


class TracesRequest(BaseModel):
    """A file of traces."""

    csv_path: _Path


class FittingRequest(BaseModel):
    """Traces, a model, and where it departs from the model's own start values and bounds.

    ``sample`` names what all traces were measured on, ``samples`` that of single FOVs by number.
    """

    # A misspelt name must not be passed over in silence.
    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    csv_path: _Path
    model_type: str = Field(min_length=1, max_length=200)
    model_params: _ByName = Field(default_factory=dict)
    model_bounds: _ByName = Field(default_factory=dict)
    sample: SampleName | None = None
    samples: dict[Annotated[str, Field(pattern=r"^[0-9]{1,6}$")], SampleName] | None = None
