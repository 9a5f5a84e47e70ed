"""What the pages share: the services, and the look of grids."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

from benchwire.domains.plates.service import Chemistry, Images, Locations, Plates, Wells
from benchwire.foundation.errors import BenchwireError
from benchwire.foundation.web.shell import act

T = TypeVar("T")

# From nothing to the best, light enough for black letters on them.
SCORE_COLOURS = (
    "#e5e7eb", "#d6e4f0", "#f3e3c3", "#f6d58b", "#f5c76b", "#c9e4a5", "#a4d98a", "#7fce7b",
    "#4dbb6a",
)  # fmt: skip
STYLE = """
<style>
  .pl-scroll { overflow: auto; width: 100%; }
  .pl-grid { display: grid; gap: 3px; width: max-content; min-width: 100%; }
  .pl-cell { min-height: 1.9rem; border-radius: 4px; border: 1px solid #8885; padding: 0 .25rem;
             font-size: .7rem; display: flex; align-items: center; justify-content: center;
             overflow: hidden; text-overflow: ellipsis; white-space: nowrap; cursor: pointer;
             background: transparent; color: inherit; position: relative; }
  .pl-cell:focus-visible { outline: 3px solid #0b6e69; outline-offset: 1px; }
  .pl-hole { border-style: dotted; opacity: .35; cursor: default; }
  .pl-occupied { background: #0b6e69; color: #fff; border-color: #0b6e69; }
  .pl-held { outline: 3px solid #e69f00; }
  .pl-over { background: #e69f0055; }
  .pl-label { font-size: .7rem; opacity: .7; display: flex; align-items: center;
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
  .pl-thumb { width: 7rem; cursor: pointer; border: 3px solid transparent; border-radius: 6px; }
  .pl-thumb[data-chosen="true"] { border-color: #e69f00; }
  .pl-thumb img { width: 100%; aspect-ratio: 1; object-fit: cover; border-radius: 4px; }
</style>
"""


@dataclass(frozen=True, slots=True)
class Desk:
    """The services behind the pages."""

    plates: Plates
    locations: Locations
    wells: Wells
    images: Images
    chemistry: Chemistry


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


async def attempt(work: Callable[..., T], *arguments: object) -> T | None:
    """Do something for the person at the page; if it is refused, tell every rule that it breaks."""
    return await act(work, *arguments, told=_reasons)


async def succeeds(work: Callable[..., object], *arguments: object) -> bool:
    """Attempt something that returns nothing, and say whether it was done."""

    def done() -> bool:
        work(*arguments)
        return True

    return await attempt(done) is True


def _reasons(error: BenchwireError) -> str:
    reasons = "; ".join(str(item.get("message", "")) for item in error.details)
    return f"{error.message}: {reasons}" if reasons else error.message
