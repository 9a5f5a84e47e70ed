"""What the page of any piece of work leads to: its samples, and all of it as one archive."""

from collections.abc import Sequence
from typing import Protocol
from urllib.parse import quote, urlencode

from nicegui import ui

from benchwire.foundation.web.shell import download


class NamedSample(Protocol):
    """That an item, or a part of it, was measured on a sample."""

    @property
    def sample(self) -> str:
        """Id of the sample."""

    @property
    def part(self) -> str:
        """Slot or FOV; empty for the whole."""


def draw_samples(links: Sequence[NamedSample]) -> None:
    """Draw what an item was measured on; nothing if it was not said."""
    if not links:
        return
    with ui.row().classes("w-full items-baseline gap-x-3 gap-y-1").mark("samples"):
        ui.label("Measured on").classes("bw-muted")
        for link in links:
            part = f" ({link.part})" if link.part else ""
            ui.link(f"{link.sample}{part}", sample_path(link.sample)).classes("break-words")


def sample_path(sample: str) -> str:
    """Return the page of all that was measured on a sample."""
    return f"/samples/view?{urlencode({'sample': sample})}"


def draw_crate(kind: str, item_id: str) -> None:
    """Draw a link to an item with all its files and where they come from, as an RO-Crate."""
    download("RO-Crate", crate_url(kind, item_id))


def crate_url(kind: str, item_id: str) -> str:
    """Return where the RO-Crate of an item is fetched."""
    return f"/crates/{quote(kind, safe='')}/{quote(item_id, safe='')}"
