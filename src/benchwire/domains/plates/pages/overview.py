"""The carousel at a glance, special places, and all plates; where plates are moved."""

from html import escape
from typing import Any

from nicegui import events, run, ui

from benchwire.domains.plates.errors import RecordNotFound
from benchwire.domains.plates.pages.desk import STYLE, Desk, attempt, plate_path
from benchwire.foundation.web.shell import discard
from benchwire.foundation.web.states import empty, heading, second, section
from benchwire.foundation.web.tables import table

_COLUMNS: list[dict[str, Any]] = [
    {"name": key, "label": label, "field": key, "align": "left", "sortable": True}
    for key, label in (
        ("barcode", "Barcode"), ("name", "Name"), ("place", "Place"), ("wells", "Wells"),
        ("points", "Points"), ("best", "Best score"), ("created", "Made"),
    )
]  # fmt: skip
_CHOSEN = (
    '(event) => { const cell = event.target.closest("[data-location]");'
    " if (cell) emit(cell.dataset.location, cell.dataset.barcode); }"
)
_DRAG = (
    '(event) => { const cell = event.target.closest("[data-barcode]");'
    ' if (cell && cell.dataset.barcode) event.dataTransfer.setData("text/plain", '
    "cell.dataset.barcode); }"
)
_DROP = (
    '(event) => { const cell = event.target.closest("[data-location]");'
    ' const barcode = event.dataTransfer.getData("text/plain");'
    " if (cell && barcode) emit(barcode, cell.dataset.location); }"
)


def draw_card(desk: Desk, path: str) -> None:
    """Draw the domain's part of the home page."""
    with section("Plates", link=("Open", path)):
        text = ui.label("").mark("plates-summary")

        def show(counts: dict[str, Any]) -> None:
            text.set_text(
                f"Plates {counts['total_plates']}, wells {counts['total_wells']}, "
                f"{counts['occupied_locations']} of {counts['total_locations']} places taken"
            )

        desk.counts.follow(show)


async def draw(desk: Desk) -> None:
    """Draw the page."""
    ui.add_head_html(STYLE)
    await desk.board.ready()
    board = _Board(desk)
    _draw_search(desk, board)
    board.draw()
    desk.board.follow(board.show)


def _draw_search(desk: Desk, board: "_Board") -> None:
    async def go() -> None:
        barcode = (search.value or "").strip()
        if not barcode:
            return
        try:
            await run.io_bound(desk.plates.one, barcode)
        except RecordNotFound:
            await board.look_for(barcode)
        else:
            ui.navigate.to(plate_path(barcode))

    async def narrow() -> None:
        await board.look_for(search.value or "")

    with ui.row().classes("w-full items-center gap-3"):
        search = ui.input("Scan or type a barcode", on_change=narrow).props(
            "outlined dense autofocus clearable"
        )
        search.classes("grow").on("keydown.enter", go).mark("plate-search")
        ui.button("New plate", icon="add", on_click=lambda: _new_plate(desk, board)).mark(
            "new-plate"
        )
        ui.link("Stock solutions", "/plates/solutions")


class _Board:
    """Grid and table, kept up to date; a plate is held by a click and put down by the next."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.search = ""
        self._held: str | None = None
        self._places: tuple[Any, Any] = ({}, [])

    def draw(self) -> None:
        """Draw the empty board."""
        with section("Places"):
            with ui.row().classes("w-full items-center gap-2"):
                ui.button("Make carousel", on_click=self._make_carousel).props("flat dense")
                ui.button("New special place", on_click=self._new_place).props("flat dense")
                self._hint = ui.label("").classes("bw-small").props("role=status").mark("held")
            self._carousel = self._draw_grid("carousel")
            self._special = self._draw_grid("special")
        with section("Plates"):
            self._table = table(
                _COLUMNS, name="Plates", row_key="barcode", link="barcode", pagination=15
            ).mark("plates")
            with ui.element("div") as self._nothing:
                empty("No plate here.", "Make one with “New plate”, or scan another barcode.")

    def _draw_grid(self, name: str) -> ui.html:
        grid = ui.html("", sanitize=False).classes("pl-scroll").mark(f"grid-{name}")
        for event in ("click", "keydown.enter", "keydown.space.prevent"):
            grid.on(event, self._choose, js_handler=_CHOSEN)
        grid.on("dragstart", js_handler=_DRAG)
        grid.on("dragover.prevent", js_handler="() => {}")
        grid.on("drop.prevent", self._drop, js_handler=_DROP)
        return grid

    async def show(self, found: tuple[Any, Any, list[dict[str, Any]]]) -> None:
        """Show what is stored now."""
        grid, special, plates = found
        self._places = (grid, special)
        self._show_places()
        if self.search:
            await self._show_found()
        else:
            self._show_plates(plates)

    async def refresh(self) -> None:
        """Show what a person at this page has just changed."""
        await self._desk.board.renew()
        self._show_places()

    async def look_for(self, text: str) -> None:
        """Show the plates with a text in their barcode or name."""
        self.search = text
        await self._show_found()

    async def _show_found(self) -> None:
        search = self.search
        found = await run.io_bound(self._desk.listed, search)
        if found is not None and search == self.search:
            self._show_plates(found)

    def _show_places(self) -> None:
        grid, special = self._places
        self._carousel.set_content(_grid_html(grid, self._held))
        self._special.set_content(_special_html(special, self._held))
        held = "" if self._held is None else f"{self._held} is held: choose a free place, or itself"
        self._hint.set_text(held)

    def _show_plates(self, plates: list[dict[str, Any]]) -> None:
        self._table.rows = [
            {
                "barcode": item["barcode"],
                "page": plate_path(item["barcode"]),
                "name": item["name"] or "",
                "place": (item["current_location"] or {}).get("display_name", ""),
                "wells": item["wells_count"],
                "points": item["points_of_interest_count"],
                "best": (item["best_score"] or {}).get("name", ""),
                "created": second(item["created_at"]),
            }
            for item in plates
        ]
        self._table.set_visibility(bool(plates))
        self._nothing.set_visibility(not plates)

    async def _choose(self, event: events.GenericEventArguments) -> None:
        location, barcode = event.args
        if barcode:
            if self._held == barcode:
                ui.navigate.to(plate_path(barcode))
                return
            self._held = barcode
            self._show_places()
        elif self._held is not None:
            await self._move(self._held, int(location))
            await self.refresh()

    async def _drop(self, event: events.GenericEventArguments) -> None:
        barcode, location = event.args
        await self._move(barcode, int(location))
        await self.refresh()

    async def _move(self, barcode: str, location: int) -> None:
        body = {"location_id": location, "moved_by": "dashboard"}
        answer = await attempt(self._desk.plates.move, barcode, body)
        if answer is not None:
            ui.notify(answer[0]["message"], type="positive")
        self._held = None

    async def _make_carousel(self) -> None:
        with ui.dialog() as dialog, ui.card():
            heading("Make every position of a carousel")
            carousels = ui.number("Carousel positions", value=10, min=1, format="%d")
            hotels = ui.number("Hotel positions", value=20, min=1, format="%d")
            with ui.row():
                ui.button("Make", on_click=lambda: dialog.submit(True))
                ui.button("Cancel", on_click=dialog.close).props("flat")
        if await dialog:
            body = {"carousel_positions": carousels.value, "hotel_positions": hotels.value}
            await attempt(self._desk.locations.initialise, body)
        discard(dialog)
        await self.refresh()

    async def _new_place(self) -> None:
        with ui.dialog() as dialog, ui.card():
            heading("New special place")
            name = ui.input("Name").props("autofocus").mark("place-name")
            name.on("keydown.enter", lambda: dialog.submit(True))
            with ui.row():
                ui.button("Make", on_click=lambda: dialog.submit(True))
                ui.button("Cancel", on_click=dialog.close).props("flat")
        if await dialog:
            body = {"location": {"name": name.value}, "location_type": "special"}
            await attempt(self._desk.locations.create, body)
        discard(dialog)
        await self.refresh()


async def _new_plate(desk: Desk, board: _Board) -> None:
    prototypes = {0: "Rows and columns"}
    for item in await run.io_bound(desk.plates.prototypes) or []:
        prototypes[item["id"]] = item["name"]
    with ui.dialog() as dialog, ui.card():
        heading("New plate")
        barcode = ui.input("Barcode (one is made up if empty)").props("autofocus").classes("w-72")
        barcode.mark("plate-barcode").on("keydown.enter", lambda: dialog.submit(True))
        name = ui.input("Name").classes("w-72")
        kind = ui.select(prototypes, value=0, label="Type").classes("w-72")
        with ui.row().bind_visibility_from(kind, "value", value=0):
            sizes = {
                key: ui.number(label, value=value, min=1, format="%d").classes("w-20")
                for key, label, value in (
                    ("rows", "Rows", 8), ("columns", "Columns", 12),
                    ("subwells_per_well", "Drops", 1),
                )
            }  # fmt: skip
        with ui.row():
            ui.button("Make", on_click=lambda: dialog.submit(True)).mark("plate-make")
            ui.button("Cancel", on_click=dialog.close).props("flat")
    if await dialog:
        body: dict[str, Any] = {"plate": {"barcode": barcode.value, "name": name.value}}
        if kind.value:
            body["plate_prototype_id"] = kind.value
        else:
            body.update({key: item.value for key, item in sizes.items()})
        made = await attempt(desk.plates.create, body)
        if made is not None:
            ui.navigate.to(plate_path(made["barcode"]))
    discard(dialog)
    await board.refresh()


def _cell(label: str, location: dict[str, Any], barcode: str | None, held: str | None) -> str:
    """Return one place; whatever people wrote is escaped, as this is the page's own language."""
    text = escape(barcode or "", quote=True)
    classes = ["pl-cell", "pl-occupied" if barcode else "pl-free"]
    if barcode is not None and barcode == held:
        classes.append("pl-held")
    shown = text or escape(label)
    title = escape(f"{location['display_name']}: {barcode or 'free'}", quote=True)
    return (
        f'<div tabindex="0" role="button" class="{" ".join(classes)}" title="{title}" '
        f'aria-label="{title}" '
        f'data-location="{int(location["id"])}" data-barcode="{text}" '
        f'draggable="{"true" if barcode else "false"}">{shown}</div>'
    )


def _grid_html(grid: dict[str, Any], held: str | None) -> str:
    rows = grid["grid"]
    if not any(cell["location"] for row in rows for cell in row):
        return '<p class="bw-muted">No carousel yet. “Make carousel” makes all its places.</p>'
    width = max(len(row) for row in rows)
    parts = [f'<div class="pl-grid" style="grid-template-columns: 2rem repeat({width}, '
             'minmax(4.2rem, 1fr))"><div></div>']  # fmt: skip
    parts += [f'<div class="pl-label">{int(cell["carousel_position"])}</div>' for cell in rows[0]]
    for row in rows:
        parts.append(f'<div class="pl-label">{int(row[0]["hotel_position"])}</div>')
        for cell in row:
            if cell["location"] is None:
                parts.append('<div class="pl-cell pl-hole"></div>')
            else:
                plate = cell["plate"]
                parts.append(_cell("", cell["location"], plate and plate["barcode"], held))
    return "".join(parts) + "</div>"


def _special_html(special: list[dict[str, Any]], held: str | None) -> str:
    cells = [
        f'<div class="pl-label pl-label-name">{escape(item["name"] or "")}</div>'
        + _cell("free", item, item["current_plate_barcode"], held)
        for item in special
    ]
    style = "grid-template-columns: repeat(auto-fill, minmax(8rem, 1fr)); width: 100%"
    return f'<div class="pl-grid" style="{style}">{"".join(cells)}</div>'
