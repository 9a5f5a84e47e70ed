"""One well: its images side by side in time, points on them, score and contents."""

from typing import Any

from nicegui import events, run, ui

from benchwire.domains.plates.errors import RecordNotFound
from benchwire.domains.plates.labels import WellPlace, place_label
from benchwire.domains.plates.pages.desk import (
    STYLE,
    Desk,
    attempt,
    no_url,
    plate_path,
    preview_url,
    well_path,
)
from benchwire.domains.plates.requests import Page
from benchwire.domains.plates.scores import POINT_TYPES, SCORES
from benchwire.foundation.catalogue import Item
from benchwire.foundation.samples.names import SampleLink
from benchwire.foundation.web.shell import picture
from benchwire.foundation.web.states import (
    badge,
    empty,
    failure,
    heading,
    minute,
    second,
    section,
)

_LARGE, _SMALL = 1600, 256
PAGE_SIZE = 50
_WHERE = (
    "(event) => { const box = event.target.getBoundingClientRect();"
    " emit((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height); }"
)
_KINDS = {"run": "Potentiostat runs", "workflow": "Microscopy", "fit": "Fits",
          "session": "Charges", "device": "Batteries"}  # fmt: skip
_NUMBERS = (
    ("pixel_size_x_mm", "Pixel width / mm", 0.001), ("pixel_size_y_mm", "Pixel height / mm", 0.001),
    ("reference_x_mm", "Left / mm", 0.0), ("reference_y_mm", "Top / mm", 0.0),
    ("reference_z_mm", "Height / mm", 0.0),
)  # fmt: skip


async def draw(desk: Desk, well_id: int) -> None:
    """Draw the page."""
    ui.add_head_html(STYLE)
    try:
        well = await run.io_bound(desk.wells.one, well_id, None, no_url)
    except RecordNotFound as error:
        failure(error.message, error.hint)
        ui.link("All plates", "/plates")
        return
    if well is None:
        return  # the server is ending
    view = _View(desk, well)
    view.draw()
    await view.refresh()


class _View:
    """The well; two of its images may be looked at side by side."""

    def __init__(self, desk: Desk, well: dict[str, Any]) -> None:
        self._desk = desk
        self._well = well
        self._id = int(well["id"])
        self._images: list[dict[str, Any]] = []
        self._chosen: list[int] = []
        self._pages = 1

    def draw(self) -> None:
        """Draw the empty page."""
        well = self._well
        with ui.row().classes("w-full items-center gap-3"):
            ui.link(well["plate_barcode"], plate_path(well["plate_barcode"])).classes("text-xl")
            ui.label(well["well_label_with_subwell"]).classes("text-xl font-medium").mark("well")
            for key, icon, title in (
                ("previous_well_id", "chevron_left", "Previous well"),
                ("next_well_id", "chevron_right", "Next well"),
            ):
                button = ui.button(icon=icon, on_click=lambda key=key: self._go(key))
                button.props(f'flat round aria-label="{title}"').set_enabled(well[key] is not None)
            self._score = ui.badge("", color=None).classes("bw-badge bw-tone-good").mark("score")
        ui.keyboard(on_key=self._key, ignore=["input", "select", "button", "textarea"])
        with ui.element("div").classes("w-full grid grid-cols-1 xl:grid-cols-3 gap-4 items-start"):
            with ui.column().classes("w-full gap-4 xl:col-span-2"):
                self._draw_images()
                with section("Measured on this well"):
                    self._measured = ui.column().classes("w-full gap-3").mark("measured")
                    self._more = ui.button("More", icon="expand_more", on_click=self._show_more)
                    self._more.props("outline")
            with ui.column().classes("w-full gap-4"):
                self._draw_scores()
                self._draw_contents()
                self._draw_upload()

    async def refresh(self) -> None:
        """Show what is stored now."""
        line = await run.io_bound(self._desk.wells.timeline, self._id, no_url)
        if line is None:
            return
        self._images = line["images"]
        ids = [image["id"] for image in self._images]
        self._chosen = [number for number in self._chosen if number in ids] or ids[-1:]
        self._show_images()
        newest = line["scores"][-1] if line["scores"] else None
        self._score.set_text("" if newest is None else newest["name"])
        self._score.set_visibility(newest is not None)
        self._history.clear()
        with self._history:
            for item in reversed(line["scores"]):
                text = f"{minute(item['scored_at'])}: {item['score']} {item['name']}"
                ui.label(text).classes("bw-small bw-muted")
        self._show_contents(line["contents"])
        await self._show_measured()

    # -- images -----------------------------------------------------------------------------

    def _draw_images(self) -> None:
        with section("Images"):
            with ui.row().classes("w-full items-center gap-3"):
                ui.label("Click to mark a point; Ctrl-click a small one to compare.").classes(
                    "bw-small bw-muted"
                )
                self._kind = ui.select(list(POINT_TYPES), value="crystal", label="Mark")
                self._kind.props("dense")
            self._large = ui.element("div").classes("w-full grid gap-2").mark("pictures")
            self._strip = ui.row().classes("w-full gap-2").mark("timeline")
            self._points = ui.column().classes("w-full gap-1").mark("points")
            self._typed = ui.expansion("Mark by coordinates").props("dense").classes("w-full")
            with self._typed, ui.row().classes("items-end gap-3"):
                self._x = ui.number("x / px", value=0, min=0, format="%d").classes("w-24")
                self._y = ui.number("y / px", value=0, min=0, format="%d").classes("w-24")
                ui.button("Mark", on_click=self._mark_typed).props("outline").mark("mark-typed")

    def _show_images(self) -> None:
        for part in (self._large, self._strip, self._points):
            part.clear()
        shown = [image for image in self._images if image["id"] in self._chosen]
        self._large.style(f"grid-template-columns: repeat({max(1, len(shown))}, 1fr)")
        with self._large:
            if not shown:
                empty("No image yet.", "Upload one on this page, or let the imager send it.")
            for image in shown:
                self._draw_large(image)
        with self._strip:
            for image in self._images:
                self._draw_small(image)
        with self._points:
            for image in shown:
                for point in image["points_of_interest"]:
                    self._draw_point(point)

    def _draw_large(self, image: dict[str, Any]) -> None:
        with ui.column().classes("gap-1 w-full"):
            with ui.element("div").classes("pl-picture"):
                drawn = ui.element("img")
                drawn.props["src"] = preview_url(self._id, image["id"], _LARGE)
                drawn.props["alt"] = f"Image of {_when(image)}"
                # Whoever cannot point at it marks by coordinates.
                drawn.props["aria-controls"] = self._typed.html_id
                drawn.on(
                    "click",
                    lambda event, image=image: self._mark(event, image),
                    js_handler=_WHERE,
                )
                for point in image["points_of_interest"]:
                    left = 100 * (point["pixel_x"] + 0.5) / image["pixel_width"]
                    top = 100 * (point["pixel_y"] + 0.5) / image["pixel_height"]
                    ui.element("div").classes("pl-point").style(f"left: {left}%; top: {top}%")
            ui.label(f"{_when(image)} {image['description'] or ''}").classes("bw-small")

    def _draw_small(self, image: dict[str, Any]) -> None:
        with ui.element("button").classes("pl-thumb").props("type=button") as thumb:
            is_chosen = image["id"] in self._chosen
            thumb.props["aria-pressed"] = str(is_chosen).lower()
            picture(preview_url(self._id, image["id"], _SMALL), f"Image of {_when(image)}")
            ui.label(image["captured_at"][:10]).classes("bw-small text-center w-full")
            thumb.on(
                "click",
                lambda event, number=image["id"]: self._choose(event, number),
                ["ctrlKey", "metaKey", "shiftKey"],
            )

    def _draw_point(self, point: dict[str, Any]) -> None:
        with ui.row().classes("items-center gap-2 no-wrap"):
            ui.label(point["display_name"]).classes("bw-small")
            ui.label(
                f"{point['real_world_x_mm']:.4f}, {point['real_world_y_mm']:.4f}, "
                f"{point['real_world_z_mm']:.4f} mm"
            ).classes("bw-small bw-muted").mark("point-mm")
            ui.button(
                icon="delete",
                on_click=lambda: self._do(self._desk.images.delete_point, point["id"]),
            ).props('flat round dense size=sm aria-label="Remove the point"')

    def _choose(self, event: events.GenericEventArguments, number: int) -> None:
        is_added = any(event.args.get(key) for key in ("ctrlKey", "metaKey", "shiftKey"))
        self._chosen = [*self._chosen, number][-2:] if is_added else [number]
        self._show_images()

    async def _mark(self, event: events.GenericEventArguments, image: dict[str, Any]) -> None:
        across, down = event.args
        await self._mark_at(
            image,
            min(int(across * image["pixel_width"]), image["pixel_width"] - 1),
            min(int(down * image["pixel_height"]), image["pixel_height"] - 1),
        )

    async def _mark_typed(self) -> None:
        image = next((item for item in self._images if item["id"] in self._chosen), None)
        if image is None:
            ui.notify("There is no image to mark", type="negative")
            return
        await self._mark_at(image, self._x.value, self._y.value)

    async def _mark_at(self, image: dict[str, Any], x: float | None, y: float | None) -> None:
        point = {"pixel_x": x, "pixel_y": y, "point_type": self._kind.value}
        body = {"point_of_interest": point}
        await self._do(self._desk.images.create_point, self._id, image["id"], body, None)

    # -- what was measured ------------------------------------------------------------------

    async def _show_more(self) -> None:
        self._pages += 1
        await self._show_measured()

    async def _show_measured(self) -> None:
        place = WellPlace(self._well["well_row"], self._well["well_column"], self._well["subwell"])
        sample = f"{self._well['plate_barcode']}/{place_label(place)}"
        limit = self._pages * PAGE_SIZE
        found = await run.io_bound(self._desk.measured, sample, limit + 1)
        if found is None or self._measured.is_deleted:
            return  # the server is ending, or the page was closed
        self._more.set_visibility(len(found) > limit)
        found = found[:limit]
        self._measured.clear()
        with self._measured:
            if not found:
                empty("Nothing yet.", f"Name {sample} as the sample of a run, a workflow or a fit.")
            for kind in dict.fromkeys(link.kind for link, _ in found):
                with ui.column().classes("w-full gap-0"):
                    heading(_KINDS.get(kind, f"{kind.capitalize()}s"), 3)
                    for link, item in found:
                        if link.kind == kind:
                            _draw_measured(link, item)

    # -- scores -----------------------------------------------------------------------------

    def _draw_scores(self) -> None:
        with section("Score (keys 1 to 9)"):
            with ui.row().classes("gap-1"):
                for number, name in SCORES.items():
                    ui.button(
                        f"{number} {name}", on_click=lambda number=number: self._give(number)
                    ).props("dense outline no-caps size=sm").mark(f"score-{number}")
            self._history = ui.column().classes("gap-0")

    async def _give(self, number: int) -> None:
        body = {"score": {"score": number, "scored_by": "dashboard"}}
        await self._do(self._desk.wells.add_score, self._id, body)

    async def _key(self, event: events.KeyEventArguments) -> None:
        if not event.action.keydown or event.action.repeat:
            return
        if event.key == "ArrowLeft":
            self._go("previous_well_id")
        elif event.key == "ArrowRight":
            self._go("next_well_id")
        elif event.key.number in SCORES:
            await self._give(int(event.key.number or 0))

    def _go(self, key: str) -> None:
        if self._well[key] is not None:
            ui.navigate.to(well_path(self._well[key]))

    # -- contents ---------------------------------------------------------------------------

    def _draw_contents(self) -> None:
        with section("Contents"):
            self._contents = ui.column().classes("w-full gap-1").mark("contents")
            with ui.row().classes("items-end w-full gap-2"):
                self._solution = ui.select({}, label="Stock solution", with_input=True)
                self._solution.classes("grow min-w-0").mark("content-solution")
                self._volume = ui.input("Volume", placeholder="50 ul").classes("w-24")
                self._volume.mark("content-volume")
                ui.button(icon="add", on_click=self._add).props(
                    'round dense aria-label="Add to the well"'
                ).mark("content-add")
            ui.timer(0.1, self._offer_solutions, once=True)

    async def _offer_solutions(self) -> None:
        found, _ = await run.io_bound(self._desk.chemistry.solutions, "", Page()) or ([], 0)
        self._solution.set_options({item["id"]: item["name"] for item in found})

    def _show_contents(self, contents: list[dict[str, Any]]) -> None:
        self._contents.clear()
        with self._contents:
            if not contents:
                empty("Empty.", "Add a stock solution and its volume below.")
            for item in contents:
                with ui.row().classes("items-center gap-2 w-full no-wrap"):
                    ui.label(f"{item['stock_solution']}, {item['volume']}").classes("grow")
                    ui.button(
                        icon="delete",
                        on_click=lambda item=item: self._do(
                            self._desk.wells.remove_content, self._id, item["id"]
                        ),
                    ).props('flat round dense size=sm aria-label="Remove from the well"')

    async def _add(self) -> None:
        body = {
            "well_content": {
                "stock_solution_id": self._solution.value,
                "volume_with_unit": self._volume.value,
            }
        }
        await self._do(self._desk.wells.add_content, self._id, body)

    # -- upload -----------------------------------------------------------------------------

    def _draw_upload(self) -> None:
        with section("Upload an image"):
            with ui.element("div").classes("grid grid-cols-2 gap-x-3 w-full"):
                self._fields = {
                    key: ui.number(label, value=value, format="%g").mark(f"image-{key}")
                    for key, label, value in _NUMBERS
                }
            self._text = ui.input("Description").classes("w-full")
            upload = ui.upload(
                auto_upload=True,
                on_upload=self._upload,
                multiple=True,
                max_file_size=self._desk.images.most_bytes,
            )
            upload.props("accept=image/*,.tif,.tiff flat bordered")
            upload.classes("w-full pl-upload").mark("upload")
            # In the library's header a button has no name, and in a header of our own it would be
            # made anew, and lose the focus, with every change of the page.
            with ui.row().classes("items-center gap-3"):
                choose = ui.button("Choose images", icon="add_photo_alternate").props("outline")
                choose.on("click", js_handler=f"() => runMethod({upload.id}, 'pickFiles', [])")
                ui.label("or drop them in the box").classes("bw-small bw-muted")

    async def _upload(self, event: events.UploadEventArguments) -> None:
        import io

        fields = {key: item.value for key, item in self._fields.items()}
        body = {"image": {**fields, "description": self._text.value, "file": event.file.name}}
        content = io.BytesIO(await event.file.read())
        await self._do(
            self._desk.images.create, self._id, body, content, event.file.name, None, no_url
        )

    async def _do(self, work: Any, *arguments: Any) -> None:
        await attempt(work, *arguments)
        await self.refresh()


def _when(image: dict[str, Any]) -> str:
    return second(image["captured_at"])


def _draw_measured(link: SampleLink, item: Item | None) -> None:
    """Draw one piece of work that was done on the well, also one that is not kept any more."""
    name = item.title if item else f"{link.item_id} (not here any more)"
    title = f"{name} ({link.part})" if link.part else name
    with ui.element("div").classes("bw-line"):
        if item is None:
            ui.label(title).classes("bw-line-main break-words")
            return
        if item.state is not None:
            badge(item.state)
        with ui.column().classes("bw-line-main gap-0"):
            if item.page is None:
                ui.label(title).classes("break-words")
            else:
                ui.link(title, item.page).classes("break-words")
            if item.detail:
                ui.label(item.detail).classes("bw-small bw-muted break-words")
        if item.at is not None:
            ui.label(minute(item.at)).classes("bw-small bw-muted whitespace-nowrap")
