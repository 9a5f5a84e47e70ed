"""What the pages share: the services, and the look of grids."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, TypeVar
from urllib.parse import quote

from benchwire.domains.plates.errors import RecordNotFound
from benchwire.domains.plates.requests import Page
from benchwire.domains.plates.service import Chemistry, Images, Locations, Plates, Wells
from benchwire.foundation.catalogue import Item
from benchwire.foundation.errors import BenchwireError
from benchwire.foundation.samples.names import SampleLink
from benchwire.foundation.samples.store import Samples
from benchwire.foundation.web.roles import Role
from benchwire.foundation.web.shell import act
from benchwire.foundation.web.watch import Watch, Watches

T = TypeVar("T")
Record = dict[str, Any]

BOARD_SECONDS, PLATE_SECONDS, COUNT_SECONDS = 2.0, 3.0, 4.0
SHOWN_PLATES = 500

# From nothing to the best, light enough for black letters on them.
SCORE_COLOURS = (
    "#e5e7eb", "#d6e4f0", "#f3e3c3", "#f6d58b", "#f5c76b", "#c9e4a5", "#a4d98a", "#7fce7b",
    "#4dbb6a",
)  # fmt: skip
STYLE = """
<style>
  .pl-scroll { overflow: auto; width: 100%; }
  .pl-grid { display: grid; gap: 3px; width: max-content; min-width: 100%; }
  .pl-cell { min-height: 1.9rem; border-radius: 4px; border: 1px solid var(--bw-line);
             padding: 0 .25rem; font-size: .7rem;
             display: flex; align-items: center; justify-content: center;
             overflow: hidden; text-overflow: ellipsis; white-space: nowrap; cursor: pointer;
             background: transparent; color: inherit; position: relative; }
  .pl-cell:focus-visible { outline: 3px solid var(--bw-focus); outline-offset: 1px; z-index: 2; }
  .pl-hole { border-style: dotted; cursor: default; }
  .pl-occupied, .pl-label-name { display: block; line-height: 1.9rem; text-align: center; }
  .pl-free { border-color: var(--bw-control); }
  .pl-occupied { background: #0b6e69; color: #fff; border-color: #0b6e69; }
  .pl-held { outline: 3px solid #e69f00; }
  .pl-over { background: #e69f0055; }
  .pl-label { font-size: .75rem; color: var(--bw-muted); display: flex; align-items: center;
              justify-content: center; overflow: hidden; text-overflow: ellipsis;
              white-space: nowrap; }
  .pl-well { aspect-ratio: 1; min-width: 2.4rem; min-height: 2.4rem; padding: 0; color: #111; }
  .body--dark .pl-well { background-color: #39414b; color: #eee; }
  .pl-well img { position: absolute; inset: 0; width: 100%; height: 100%; object-fit: cover; }
  .pl-well span { position: relative; text-shadow: 0 0 3px #fff, 0 0 3px #fff; color: #111; }
  .pl-well[data-filled="true"]::after { content: ""; position: absolute; right: 3px; bottom: 3px;
             width: 7px; height: 7px; border-radius: 50%; background: #0072b2; }
  .pl-well[data-chosen="true"] { outline: 3px solid #e69f00; z-index: 1; }
  .pl-picture { position: relative; width: 100%; line-height: 0; }
  .pl-picture img { width: 100%; cursor: crosshair; border-radius: 4px; background: #0003; }
  .pl-point { position: absolute; width: 18px; height: 18px; margin: -9px 0 0 -9px;
              border: 3px solid #e69f00; border-radius: 50%; box-shadow: 0 0 0 1px #000;
              pointer-events: none; }
  .pl-thumb { width: 7rem; cursor: pointer; border: 3px solid transparent; border-radius: 6px;
              background: none; color: inherit; padding: 0; }
  .pl-thumb[aria-pressed="true"] { border-color: #e69f00; }
  .pl-upload .q-uploader__header { display: none; }
  .pl-legend { display: flex; flex-wrap: wrap; gap: .25rem .5rem; list-style: none; margin: 0;
               padding: 0; font-size: .75rem; }
  .pl-legend li { color: #111; padding: 0 .4rem; border-radius: 4px; }
  .pl-thumb img { width: 100%; aspect-ratio: 1; object-fit: cover; border-radius: 4px; }
</style>
"""


@dataclass(slots=True)
class Desk:
    """The services behind the pages, looked at once for all of them.

    Parameters
    ----------
    samples
        Tells what was measured on which well.
    look_up
        Gives a piece of work of any domain by kind and id, None if it is not here any more.
    """

    plates: Plates
    locations: Locations
    wells: Wells
    images: Images
    chemistry: Chemistry
    samples: Samples
    look_up: Callable[[str, str], Item | None]
    counts: Watch[Record] = field(init=False)
    board: Watch[tuple[Any, Any, list[Record]]] = field(init=False)
    views: Watches[tuple[Any, Any, Any] | None] = field(init=False)

    def __post_init__(self) -> None:
        self.counts = Watch(lambda: self.plates.statistics()["overview"], seconds=COUNT_SECONDS)
        self.board = Watch(
            lambda: (self.locations.grid(), self.locations.special(), self.listed("")),
            seconds=BOARD_SECONDS,
        )
        self.views = Watches(self._look_at, seconds=PLATE_SECONDS)

    def measured(self, sample: str, limit: int) -> list[tuple[SampleLink, Item | None]]:
        """Return what was measured on a sample, named last first; None where it is not kept."""
        links = self.samples.of_sample(sample, limit=limit)
        return [(link, self.look_up(link.kind, link.item_id)) for link in links]

    def listed(self, search: str) -> list[Record]:
        """Return the newest plates whose barcode or name has a text."""
        found, _ = self.plates.all(
            Page(0, SHOWN_PLATES), search=search, sort="created_at", descending=True
        )
        return list(found)

    def _look_at(self, barcode: str) -> tuple[Any, Any, Any] | None:
        """Find a plate's wells, its history, and where it could go; None where it is not here."""
        free = {
            item["id"]: item["display_name"]
            for item in self.locations.all("", None, None)
            if item["current_plate_barcode"] is None
        }
        try:
            history = self.plates.history(barcode, Page(0, 20))
            return self.plates.overview(barcode), history, free
        except RecordNotFound:
            return None  # deleted since it was opened


def plate_path(barcode: str) -> str:
    """Return the page of a plate."""
    return f"/plates/plate/{quote(barcode, safe='')}"


def well_path(well_id: int) -> str:
    """Return the page of a well."""
    return f"/plates/well/{well_id}"


def preview_url(well_id: int, image_id: int, pixels: int) -> str:
    """Return where a smaller version of an image is fetched."""
    return f"/api/v1/wells/{well_id}/images/{image_id}/preview?pixels={pixels}"


def no_url(_: Any) -> str:
    """Return nothing: pages make their own addresses."""
    return ""


async def attempt(
    work: Callable[..., T], *arguments: object, needs: Role = Role.OPERATOR
) -> T | None:
    """Do something for the person at the page; if it is refused, tell every rule that it breaks."""
    return await act(work, *arguments, needs=needs, told=_reasons)


async def succeeds(
    work: Callable[..., object], *arguments: object, needs: Role = Role.OPERATOR
) -> bool:
    """Attempt something that returns nothing, and say whether it was done."""

    @wraps(work)
    def done() -> bool:
        work(*arguments)
        return True

    return await attempt(done, needs=needs) is True


def _reasons(error: BenchwireError) -> str:
    reasons = "; ".join(str(item.get("message", "")) for item in error.details)
    return f"{error.message}: {reasons}" if reasons else error.message
