"""One plate: its wells as a grid, where it is and was, and filling many wells at once."""

from typing import Any
from urllib.parse import quote

from nicegui import events, run, ui

from benchwire.domains.plates.errors import RecordNotFound
from benchwire.domains.plates.labels import row_letters
from benchwire.domains.plates.pages.desk import (
    SCORE_COLOURS,
    STYLE,
    Desk,
    attempt,
    plate_path,
    preview_url,
    succeeds,
    well_path,
)
from benchwire.domains.plates.requests import Page
from benchwire.domains.plates.scores import SCORES
from benchwire.foundation.web.roles import Role
from benchwire.foundation.web.shell import discard, download
from benchwire.foundation.web.states import empty, failure, heading, second, section

_CLICK = (
    '(event) => { const cell = event.target.closest("[data-well]");'
    " if (cell) emit(cell.dataset.well, event.ctrlKey || event.metaKey || event.shiftKey); }"
)


async def draw(desk: Desk, barcode: str) -> None:
    """Draw the page."""
    ui.add_head_html(STYLE)
    try:
        await run.io_bound(desk.plates.one, barcode)
    except RecordNotFound as error:
        failure(error.message, error.hint)
        ui.link("All plates", "/plates")
        return
    watch = desk.views.of(barcode)
    await watch.ready()
    view = _View(desk, barcode)
    view.draw()
    watch.follow(view.show)


class _View:
    """The plate, kept up to date; wells are opened by a click, chosen while choosing is on."""

    def __init__(self, desk: Desk, barcode: str) -> None:
        self._desk = desk
        self._barcode = barcode
        self._chosen: set[int] = set()
        self._overview: dict[str, Any] = {}
        self._name = ""

    def draw(self) -> None:
        """Draw the empty page."""
        with ui.row().classes("w-full items-center gap-3"):
            self._title = ui.label(self._barcode).classes("text-xl font-medium").mark("title")
            self._place = ui.label("").mark("place")
            self._best = ui.badge("", color=None).classes("bw-badge bw-tone-good").mark("best")
            ui.space()
            ui.button("Rename", on_click=self._rename).props("flat dense")
            ui.button("Delete", on_click=self._delete).props("flat dense color=negative")
            barcode = quote(self._barcode, safe="")
            download("Contents CSV", f"/api/v1/plates/{barcode}/contents_csv")
        with section("Wells"):
            with ui.row().classes("w-full items-center gap-3"):
                self._choosing = ui.switch("Choose wells").mark("choose")
                self._choosing.on_value_change(self._choosing_changed)
                self._count = ui.label("").classes("bw-small bw-muted")
                ui.button("Fill", icon="opacity", on_click=self._fill).props("dense").mark(
                    "fill"
                ).bind_visibility_from(self._choosing, "value")
            self._grid = ui.html("", sanitize=False).classes("pl-scroll").mark("wells")
            for event in ("click", "keydown.enter", "keydown.space.prevent"):
                self._grid.on(event, self._click, js_handler=_CLICK)
            with ui.element("ul").classes("pl-legend").props('aria-label="Scores"'):
                for number, name in SCORES.items():
                    with ui.element("li").style(f"background: {SCORE_COLOURS[number - 1]}"):
                        ui.label(f"{number} {name}")
        with ui.element("div").classes("bw-columns"):
            with section("Move"):
                self._places = ui.select({}, label="Free place", with_input=True)
                self._places.classes("w-full").mark("move-place")
                with ui.row():
                    ui.button("Move", on_click=self._move).mark("move")
                    ui.button("Take away", on_click=self._take_away).props("flat")
            with section("History"):
                self._history = ui.column().classes("gap-1 w-full").mark("history")

    def show(self, found: tuple[Any, Any, Any] | None) -> None:
        """Show what is stored now."""
        if found is None:
            return  # what is gone stays as it was last seen
        overview, history, free = found
        self._overview = overview
        plate = overview["plate"]
        self._name = plate["name"] or ""
        self._title.set_text(plate["display_name"])
        here = plate["current_location"]
        self._place.set_text(here["display_name"] if here else "not in any place")
        self._best.set_text(plate["best_score"]["name"] if plate["best_score"] else "")
        self._best.set_visibility(plate["best_score"] is not None)
        self._show_wells()
        self._places.set_options(free)
        self._history.clear()
        with self._history:
            if not history:
                empty("Never moved.")
            for item in history:
                where = item["location"]["display_name"] if item["location"] else "taken away"
                who = f" by {item['moved_by']}" if item["moved_by"] else ""
                ui.label(f"{second(item['moved_at'])}: {where}{who}").classes("bw-small")

    def _show_wells(self) -> None:
        self._count.set_text(f"{len(self._chosen)} chosen" if self._choosing.value else "")
        self._grid.set_content(_grid_html(self._overview.get("wells", []), self._chosen))

    async def _refresh(self) -> None:
        """Show what a person at this page has just changed."""
        await self._desk.views.of(self._barcode).renew()
        self._show_wells()

    def _choosing_changed(self) -> None:
        self._chosen.clear()
        self._show_wells()

    def _click(self, event: events.GenericEventArguments) -> None:
        well = int(event.args[0])
        if not self._choosing.value and not event.args[1]:
            ui.navigate.to(well_path(well))
            return
        self._choosing.value = True
        self._chosen ^= {well}
        self._show_wells()

    async def _move(self) -> None:
        if self._places.value is not None:
            await self._put({"location_id": self._places.value})

    async def _take_away(self) -> None:
        await self._put({"location_id": None})

    async def _put(self, body: dict[str, Any]) -> None:
        body = {**body, "moved_by": "dashboard"}
        answer = await attempt(self._desk.plates.move, self._barcode, body)
        if answer is not None:
            ui.notify(answer[0]["message"], type="positive")
            self._places.value = None
        await self._refresh()

    async def _fill(self) -> None:
        if not self._chosen:
            ui.notify("Choose wells first: click them while choosing is on")
            return
        found, _ = await run.io_bound(self._desk.chemistry.solutions, "", Page()) or ([], 0)
        names = {item["id"]: item["name"] for item in found}
        with ui.dialog() as dialog, ui.card():
            heading(f"Fill {len(self._chosen)} wells")
            solution = ui.select(names, label="Stock solution", with_input=True).classes("w-72")
            solution.mark("fill-solution")
            volume = ui.input("Volume", placeholder="50 ul").classes("w-72").mark("fill-volume")
            with ui.row():
                ui.button("Fill", on_click=lambda: dialog.submit(True)).mark("fill-do")
                ui.button("Cancel", on_click=dialog.close).props("flat")
        if await dialog:
            body = {
                "well_ids": sorted(self._chosen),
                "stock_solution_id": solution.value,
                "volume_with_unit": volume.value,
            }
            answer = await attempt(self._desk.wells.add_to_many, body)
            if answer is not None:
                ui.notify(answer[1], type="positive")
                self._chosen.clear()
        discard(dialog)
        await self._refresh()

    async def _rename(self) -> None:
        with ui.dialog() as dialog, ui.card():
            heading("Rename")
            barcode = ui.input("Barcode", value=self._barcode)
            name = ui.input("Name", value=self._name)
            with ui.row():
                ui.button("Rename", on_click=lambda: dialog.submit(True))
                ui.button("Cancel", on_click=dialog.close).props("flat")
        if await dialog:
            body = {"plate": {"barcode": barcode.value, "name": name.value}}
            changed = await attempt(self._desk.plates.update, self._barcode, body)
            if changed is not None:
                ui.navigate.to(plate_path(changed["barcode"]))
        discard(dialog)

    async def _delete(self) -> None:
        with ui.dialog() as dialog, ui.card():
            ui.label(f"Delete {self._barcode}? It can be restored over the API.")
            with ui.row():
                ui.button("Delete", color="negative", on_click=lambda: dialog.submit(True))
                ui.button("Cancel", on_click=dialog.close).props("flat")
        if await dialog and await succeeds(
            self._desk.plates.delete, self._barcode, needs=Role.ADMIN
        ):
            ui.navigate.to("/plates")
        discard(dialog)


def _grid_html(wells: list[dict[str, Any]], chosen: set[int]) -> str:
    """Return the wells as a grid; it holds numbers and letters of our own alone."""
    if not wells:
        return '<p class="bw-muted">This plate has no wells.</p>'
    rows = sorted({well["well_row"] for well in wells})
    columns = sorted({well["well_column"] for well in wells})
    by_place: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for well in wells:
        by_place.setdefault((well["well_row"], well["well_column"]), []).append(well)
    parts = ['<div class="pl-grid" style="grid-template-columns: 2rem repeat('
             f'{len(columns)}, minmax(2.6rem, 8rem))"><div></div>']  # fmt: skip
    parts += [f'<div class="pl-label">{column}</div>' for column in columns]
    for row in rows:
        parts.append(f'<div class="pl-label">{row_letters(row)}</div>')
        for column in columns:
            drops = by_place.get((row, column), [])
            parts.append(
                "<div>" + "".join(_well(drop, chosen, len(drops)) for drop in drops) + "</div>"
            )
    return "".join(parts) + "</div>"


def _well(well: dict[str, Any], chosen: set[int], drops: int) -> str:
    number, image, score = int(well["id"]), well["image_id"], well["score"]
    colour = f"background-color: {SCORE_COLOURS[score - 1]}" if score else ""
    picture = (
        f'<img alt="" loading="lazy" src="{preview_url(number, int(image), 256)}">' if image else ""
    )
    label = f"<span>{well['subwell']}</span>" if drops > 1 or score else ""
    if score:
        label = f"<span>{score}</span>"
    name = well["well_label_with_subwell"]
    return (
        f'<div tabindex="0" role="button" class="pl-cell pl-well" style="{colour}" '
        f'title="{name}" aria-label="{name}" data-well="{number}" '
        f'data-filled="{"true" if well["contents_count"] else "false"}" '
        f'data-chosen="{"true" if number in chosen else "false"}">{picture}{label}</div>'
    )
