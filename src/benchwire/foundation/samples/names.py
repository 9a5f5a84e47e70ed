"""How samples are named: by an id of the lab's own, or by plate and well."""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from benchwire.foundation.clock import utc_text
from benchwire.foundation.errors import Invalid

LONGEST_NAME = 200


class SampleInvalid(Invalid):
    """A sample is named in a way that cannot be used."""

    code = "samples.invalid"


class WellName(BaseModel):
    """A well of a plate of the inventory."""

    model_config = ConfigDict(extra="forbid")

    plate: Annotated[str, Field(description="Barcode of the plate.")]
    well: Annotated[str, Field(description="Label of the well, such as `A1` or `A1-2`.")]


SampleName = str | WellName
"""A sample in a request: an id of the lab's own, ``<barcode>/<well>``, or plate and well."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What is measured.

    ``id`` of a well is ``<barcode>/<label>``; any other id is the lab's own.
    """

    id: str
    plate: str | None = None
    well: str | None = None


@dataclass(frozen=True, slots=True)
class SampleLink:
    """That an item, or a part of it, was measured on a sample.

    Parameters
    ----------
    part
        A slot of a run or an FOV of a workflow; empty for the whole.
    named_at, named_by
        When and by whom this was said.
    """

    id: int
    sample: str
    plate: str | None
    well: str | None
    kind: str
    item_id: str
    part: str
    named_at: datetime
    named_by: str

    def as_json(self) -> dict[str, Any]:
        """Return the link for clients."""
        return {
            "id": self.id,
            "sample": self.sample,
            "plate": self.plate,
            "well": self.well,
            "kind": self.kind,
            "item_id": self.item_id,
            "part": self.part,
            "named_at": utc_text(self.named_at),
            "named_by": self.named_by,
        }


@dataclass(frozen=True, slots=True)
class SampleOverview:
    """A sample, how many items it is linked to, and when one was last."""

    sample: str
    plate: str | None
    well: str | None
    items: int
    named_at: datetime

    def as_json(self) -> dict[str, Any]:
        """Return the overview for clients."""
        return {
            "sample": self.sample,
            "plate": self.plate,
            "well": self.well,
            "items": self.items,
            "named_at": utc_text(self.named_at),
        }


def plain(value: object, what: str) -> str:
    """Return a name without the spaces around it.

    Raises
    ------
    SampleInvalid
        It is no text, empty, too long, or has signs that cannot be seen.
    """
    if not isinstance(value, str):
        raise SampleInvalid(f"{what} has to be text")
    text = value.strip()
    if not text or len(text) > LONGEST_NAME:
        raise SampleInvalid(f"{what} has to have 1 to {LONGEST_NAME} characters")
    if any(unicodedata.category(sign) in {"Cc", "Cs", "Zl", "Zp"} for sign in text):
        raise SampleInvalid(f"{what} has characters that cannot be shown")
    return text


def by_part(whole: object, parts: Mapping[str, Any] | None) -> list[tuple[str, Any]]:
    """Return what a request names, each with the part it is named for, the whole first."""
    named = [] if whole is None else [("", whole)]
    return named + list((parts or {}).items())


def names_of(given: Sequence[tuple[str, Sample]]) -> dict[str, Any]:
    """Return samples as a request names them; of several of one part, the last."""
    names = {part: sample.id for part, sample in given}
    return {"sample": names.pop("", None), "samples": names or None}
