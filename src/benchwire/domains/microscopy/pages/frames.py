"""The frames of a FOV with the outlines of its cells, by hand or playing."""

from collections.abc import Callable

from nicegui import ui

from benchwire.domains.microscopy.pages.viewer import Clicked, Viewer, picture_url

PLAY_SECONDS = 0.3


class Frames:
    """The picture and its time slider.

    Parameters
    ----------
    output_dir
        Folder of the results that are shown.
    moved
        Called when another frame is to be shown.
    clicked
        Called with the place of a click, in parts of the picture's width and height.
    """

    def __init__(self, output_dir: str, *, moved: Callable[[], None], clicked: Clicked) -> None:
        self._output_dir = output_dir
        self._moved = moved
        self._clicked = clicked
        self._viewer: Viewer | None = None
        self._n_frames = 1

    def draw(self) -> None:
        """Draw the slider, and room for the picture."""
        self._picture = ui.element("div").classes("w-full")
        with ui.row().classes("w-full items-center gap-3 no-wrap"):
            self._play = ui.button(icon="play_arrow", on_click=self._play_or_pause)
            self._play.props('flat round dense aria-label="Play or pause"').mark("play")
            self._slider = ui.slider(min=0, max=1, value=0, on_change=self._moved)
            self._slider.props('aria-label="Frame"').classes("grow").mark("run-frame")
            self._when = ui.label("").classes("bw-small w-36 text-right whitespace-nowrap")
            self._when.mark("run-when")
        self._timer = ui.timer(PLAY_SECONDS, self._advance, active=False)

    def load(self, *, n_frames: int, height: int, width: int, controls: str) -> None:
        """Make ready for pictures of this many frames and this size in px.

        Parameters
        ----------
        controls
            DOM id of what chooses a cell by keyboard.
        """
        if self._viewer is None:
            with self._picture:
                self._viewer = Viewer(
                    "Frame with the outlines of its cells",
                    height=height,
                    width=width,
                    clicked=self._clicked,
                    controls=controls,
                )
        self._n_frames = max(n_frames, 1)
        self._slider.props["max"] = max(n_frames - 1, 1)
        self._slider.set_enabled(n_frames > 1)
        self._slider.value = self.frame

    @property
    def frame(self) -> int:
        """The frame that is chosen."""
        return min(int(self._slider.value or 0), self._n_frames - 1)

    def show(
        self,
        fov: int,
        *,
        with_names: bool,
        ring: dict[str, float] | None,
        minutes: float | None,
    ) -> None:
        """Show the frame that is chosen; before anything is loaded, nothing."""
        if self._viewer is None:
            return
        url = picture_url(
            "overlay",
            output_dir=self._output_dir,
            fov=fov,
            frame=self.frame,
            labels=with_names,
        )
        self._viewer.show(url, ring)
        time = "" if minutes is None else f" · {minutes:.4g} min"
        self._when.set_text(f"Frame {self.frame}{time}")

    def _play_or_pause(self) -> None:
        self._timer.active = not self._timer.active
        self._play.props(f"icon={'pause' if self._timer.active else 'play_arrow'}")

    def _advance(self) -> None:
        self._slider.value = (self.frame + 1) % self._n_frames
