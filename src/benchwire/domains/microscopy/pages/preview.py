"""A look at a movie: FOV, channel, frame and contrast by hand."""

from functools import partial
from typing import Any

from nicegui import events, run, ui

from benchwire.domains.microscopy.pages.viewer import Viewer, picture_url
from benchwire.domains.microscopy.plan import MS_PER_MINUTE, MovieInfo
from benchwire.domains.microscopy.service import Movies
from benchwire.foundation.errors import BenchwireError
from benchwire.foundation.web.states import section

_MOST_BUTTONS = 4
_CONTRAST_STEPS = 500


class Preview:
    """One plane of a movie at a time."""

    def __init__(self, movies: Movies, path: str, info: MovieInfo) -> None:
        self._movies = movies
        self._path = path
        self._info = info
        self._contrast: tuple[float, float] | None = None

    def draw(self) -> None:
        """Draw the card, without a picture as yet."""
        info = self._info
        with section("Preview") as card:
            card.mark("preview")
            with ui.row().classes("w-full items-center gap-3"):
                fovs = {number: f"FOV {number}" for number in range(info.n_fovs)}
                self._fov = ui.select(fovs, value=0, label="FOV", on_change=self.refresh)
                self._fov.props("dense outlined").mark("preview-fov")
                self._channel = _channel_choice(info, self.refresh).mark("preview-channel")
            self._viewer = Viewer("Frame of the movie", height=info.height, width=info.width)
            with ui.row().classes("w-full items-center gap-3 no-wrap"):
                self._frame = ui.slider(
                    min=0, max=max(info.n_frames - 1, 1), value=0, on_change=self._show
                )
                self._frame.props('aria-label="Frame"').classes("grow").mark("preview-frame")
                self._frame.set_enabled(info.n_frames > 1)
                self._when = ui.label("").classes("bw-small w-36 text-right whitespace-nowrap")
                self._when.mark("preview-when")
            with ui.row().classes("w-full items-center gap-3 no-wrap"):
                self._range = ui.range(min=0, max=1, step=1).classes("grow")
                self._range.props('aria-label="Contrast"')
                self._range.props["aria-valuenow"] = 0
                self._range.mark("preview-contrast")
                self._range.on("update:model-value", self._by_hand, throttle=0.05)
                self._levels = ui.label("").classes("bw-small w-28 text-right whitespace-nowrap")
                self._levels.mark("preview-levels")
                with self._levels:
                    ui.tooltip("Counts that are drawn black and white")
                ui.button("Auto", on_click=self._automatic).props("flat dense").mark("preview-auto")

    async def refresh(self) -> None:
        """Show the plane that is chosen, with its own range of counts."""
        self._contrast = None
        self._show()
        levels = partial(
            self._movies.levels,
            self._path,
            fov=self._fov.value,
            frame=self._shown_frame,
            channel=self._channel.value,
        )
        try:
            found = await run.io_bound(levels)
        except BenchwireError:
            return  # the viewer says why the plane cannot be shown
        if found is None:
            return  # the server is ending
        least, most = found["smallest"], max(found["largest"], found["smallest"] + 1)
        self._range.min, self._range.max = least, most
        self._range.step = max(1, round((most - least) / _CONTRAST_STEPS))
        self._range.value = {"min": found["low"], "max": found["high"]}
        self._tell_levels()

    @property
    def _shown_frame(self) -> int:
        return min(int(self._frame.value or 0), self._info.n_frames - 1)

    def _show(self) -> None:
        frame = self._shown_frame
        low, high = self._contrast or (None, None)
        self._viewer.show(
            picture_url(
                "preview",
                file_path=self._path,
                fov=self._fov.value,
                frame=frame,
                channel=self._channel.value,
                low=low,
                high=high,
            )
        )
        minutes = self._info.timepoints_ms[frame] / MS_PER_MINUTE
        self._when.set_text(f"Frame {frame} · {minutes:.4g} min")

    def _by_hand(self, event: events.GenericEventArguments) -> None:
        chosen: dict[str, float] = event.args
        self._contrast = (chosen["min"], chosen["max"])
        self._tell_levels()
        self._show()

    async def _automatic(self) -> None:
        await self.refresh()

    def _tell_levels(self) -> None:
        low, high = self._contrast or (self._range.value["min"], self._range.value["max"])
        self._levels.set_text(f"{low:.0f} to {high:.0f}")
        # The library gives both ends as one value, which no screen reader can take for a number.
        self._range.props["aria-valuenow"] = round(low)
        self._range.props["aria-valuetext"] = f"{low:.0f} to {high:.0f} counts"


def _channel_choice(info: MovieInfo, changed: Any) -> ui.toggle | ui.select:
    names = {number: f"{number} {name}" for number, name in enumerate(info.channel_names)}
    if len(names) <= _MOST_BUTTONS:
        return ui.toggle(names, value=0, on_change=changed).props("dense no-caps")
    return ui.select(names, value=0, label="Channel", on_change=changed).props("dense outlined")
