"""The parts every page is made of: sections, the words for nothing, failure and waiting, states."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from nicegui import ui

from benchwire.foundation.clock import utc_moment, utc_text

# One colour for each word of any domain; a word that is not here is shown in grey.
_TONES = {
    "good": "done completed finished connected online idle ok ready open written normal charged "
            "enabled active succeeded uploaded passed",
    "busy": "running processing measuring uploading live charging discharging loading starting "
            "busy retrying",
    "warn": "cancelled canceled warning interrupted partial stale paused aborted skipped "
            "cancelling late medium",
    "bad": "failed error offline disconnected unplugged lost critical alarm damaged missing high "
           "fault",
    "idle": "queued pending waiting recorded unknown new none disabled off low",
}  # fmt: skip
# What some APIs call otherwise.
_WORDS = {"pending": "queued", "completed": "done"}
_TONE_OF = {word: tone for tone, words in _TONES.items() for word in words.split()}


def tone(state: str) -> str:
    """Return the tone of a state's word: good, busy, warn, bad or idle."""
    return _TONE_OF.get(state.lower(), "idle")


def word(state: str) -> str:
    """Return the one word that pages have for a state, also for one in the words of an API."""
    return _WORDS.get(state, state)


@contextmanager
def section(title: str, *, link: tuple[str, str] | None = None) -> Iterator[ui.card]:
    """Draw a part of a page under a heading of its own.

    Parameters
    ----------
    link
        The words and the address of a link beside the heading.
    """
    with ui.card().classes("bw-section").props("tag=section") as card:
        with ui.element("div").classes("bw-section-head"):
            heading(title)
            if link is not None:
                ui.link(*link)
        yield card


def heading(text: str, level: int = 2) -> ui.label:
    """Draw a heading; 1 is the page's own, which the frame draws."""
    word = {1: "bw-title", 2: "bw-heading"}.get(level, "bw-subheading")
    label = ui.label(text).classes(word)
    label.tag = f"h{level}"
    return label


def empty(text: str, hint: str = "") -> None:
    """Say that there is nothing, and what to do about it."""
    _state(text, hint, mark="empty", classes="bw-muted")


def failure(text: str, hint: str = "") -> None:
    """Say what went wrong, and what to do about it."""
    _state(text, hint, mark="failure", classes="bw-failure").props("role=alert")


def loading(text: str = "Loading") -> ui.element:
    """Say that something is on its way; delete or clear what is returned once it is there."""
    with (
        ui.element("div").classes("bw-line bw-muted").props("role=status").mark("loading") as shown
    ):
        ui.spinner(size="sm")
        ui.label(text)
    return shown


def badge(state: str) -> ui.badge:
    """Draw a state in the word and the colour it has everywhere."""
    return ui.badge(word(state), color=None).classes(f"bw-badge bw-tone-{tone(state)}")


def set_badge(shown: ui.badge, state: str) -> None:
    """Show another state in a badge drawn before."""
    if shown.text != word(state):
        shown.set_text(word(state))
        shown.classes(replace=f"bw-badge bw-tone-{tone(state)}")


def minute(at: datetime | str) -> str:
    """Return a moment, also one in the text of an API, as pages write it: UTC, to the minute."""
    return f"{_plain_utc(at)[:16]} UTC"


def second(at: datetime | str) -> str:
    """Return a moment, also one in the text of an API, as pages write it: UTC, to the second."""
    return f"{_plain_utc(at)[:19]} UTC"


def _plain_utc(at: datetime | str) -> str:
    moment = utc_moment(at) if isinstance(at, str) else at
    return utc_text(moment).replace("T", " ")


def _state(text: str, hint: str, *, mark: str, classes: str) -> ui.element:
    with ui.element("div").classes(f"bw-state {classes}").mark(mark) as shown:
        ui.label(text).classes("bw-state-title")
        if hint:
            ui.label(hint).classes("bw-muted bw-small")
    return shown
