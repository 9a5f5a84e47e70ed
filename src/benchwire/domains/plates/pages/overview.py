"""The carousel at a glance, special places, and all plates; where plates are moved."""

from html import escape
from typing import Any

from nicegui import events, run, ui

from benchwire.domains.plates.errors import RecordNotFound
from benchwire.domains.plates.pages.desk import STYLE, Desk, attempt, plate_path
from benchwire.domains.plates.requests import Page
from benchwire.foundation.web.shell import discard

REFRESH_SECONDS = 2.0
SHOWN_PLATES = 500
_COLUMNS: list[dict[str, Any]] = [
    {"name": key, "label": label, "field": key, "align": "left", "sortable": True}
    for key, label in (
        ("barcode", "Barcode"), ("name", "Name"), ("place", "Place"), ("wells", "Wells"),
        ("points", "Points"), ("best", "Best score"), ("created", "Made (UTC)"),
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
    with ui.card().classes("w-full"):
        with ui.row().classes("w-full items-center justify-between"):
            ui.label("Plates").classes("text-lg font-medium")
            ui.link("Open", path)
        text = ui.label("").mark("plates-summary")

        async def refresh() -> None:
            found = await run.io_bound(desk.plates.statistics)
            if found is not None:
                counts = found["overview"]
                text.set_text(
                    f"{counts['total_plates']} plates, {counts['total_wells']} wells, "
                    f"{counts['occupied_locations']} of {counts['total_locations']} places taken"
                )

        ui.timer(REFRESH_SECONDS * 2, refresh)
        ui.timer(0.1, refresh, once=True)


async def draw(desk: Desk) -> None:
    """Draw the page."""
    ui.add_head_html(STYLE)
    board = _Board(desk)
    _draw_search(desk, board)
    board.draw()
    await board.refresh()
    ui.timer(REFRESH_SECONDS, board.refresh)


def _draw_search(desk: Desk, board: "_Board") -> None:
    async def go() -> None:
        barcode = search.value.strip()
        if not barcode:
            return
        try:
            await run.io_bound(desk.plates.one, barcode)
        except RecordNotFound:
            board.search = barcode
            await board.refresh()
        else:
            ui.navigate.to(plate_path(barcode))

    async def narrow() -> None:
        board.search = search.value or ""
        await board.refresh()

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
        self._shown: object = None

    def draw(self) -> None:
        """Draw the empty board."""
        with ui.card().classes("w-full"):
            with ui.row().classes("w-full items-center justify-between"):
                ui.label("Places").classes("text-lg font-medium")
                self._hint = ui.label("").classes("text-sm").mark("held")
                with ui.row().classes("gap-2"):
                    ui.button("Make carousel", on_click=self._make_carousel).props("flat dense")
                    ui.button("New special place", on_click=self._new_place).props("flat dense")
            for name in ("carousel", "special"):
                grid = ui.html("", sanitize=False).classes("pl-scroll").mark(f"grid-{name}")
                grid.on("click", self._choose, js_handler=_CHOSEN)
                grid.on("keydown.enter", self._choose, js_handler=_CHOSEN)
                grid.on("dragstart", js_handler=_DRAG)
                grid.on("dragover.prevent", js_handler="() => {}")
                grid.on("drop.prevent", self._drop, js_handler=_DROP)
                setattr(self, f"_{name}", grid)
        with ui.card().classes("w-full"):
            ui.label("Plates").classes("text-lg font-medium")
            self._table = ui.table(columns=_COLUMNS, rows=[], row_key="barcode", pagination=15)
            self._table.classes("w-full").props("flat dense").mark("plates")
            self._table.on(
                "rowClick", lambda event: ui.navigate.to(plate_path(event.args[1]["barcode"]))
            )

    async def refresh(self) -> None:
        """Show what is stored now."""
        found = await run.io_bound(self._load)
        if found is None or (found, self._held) == self._shown:
            return
        self._shown = (found, self._held)
        grid, special, rows = found
        self._carousel.set_content(_grid_html(grid, self._held))  # type: ignore[attr-defined]
        self._special.set_content(_special_html(special, self._held))  # type: ignore[attr-defined]
        self._table.rows = rows
        held = "" if self._held is None else f"{self._held} is held: choose a free place, or itself"
        self._hint.set_text(held)

    def _load(self) -> tuple[Any, Any, Any]:
        plates, _ = self._desk.plates.all(
            Page(0, SHOWN_PLATES), search=self.search, sort="created_at", descending=True
        )
        rows = [
            {
                "barcode": item["barcode"],
                "name": item["name"] or "",
                "place": (item["current_location"] or {}).get("display_name", ""),
                "wells": item["wells_count"],
                "points": item["points_of_interest_count"],
                "best": (item["best_score"] or {}).get("name", ""),
                "created": item["created_at"][:19].replace("T", " "),
            }
            for item in plates
        ]
        return self._desk.locations.grid(), self._desk.locations.special(), rows

    async def _choose(self, event: events.GenericEventArguments) -> None:
        location, barcode = event.args
        if barcode:
            if self._held == barcode:
                ui.navigate.to(plate_path(barcode))
                return
            self._held = barcode
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
            ui.label("Make every position of a carousel").classes("text-lg font-medium")
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
            ui.label("New special place").classes("text-lg font-medium")
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
        ui.label("New plate").classes("text-lg font-medium")
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
        f'data-location="{int(location["id"])}" data-barcode="{text}" '
        f'draggable="{"true" if barcode else "false"}">{shown}</div>'
    )


def _grid_html(grid: dict[str, Any], held: str | None) -> str:
    rows = grid["grid"]
    if not any(cell["location"] for row in rows for cell in row):
        return "<p>No carousel yet.</p>"
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
        f'<div class="pl-label">{escape(item["name"] or "")}</div>'
        + _cell("free", item, item["current_plate_barcode"], held)
        for item in special
    ]
    style = "grid-template-columns: repeat(auto-fill, minmax(8rem, 1fr)); width: 100%"
    return f'<div class="pl-grid" style="{style}">{"".join(cells)}</div>'
