"""Stock solutions with their components, and the chemicals they are made of."""

from typing import Any

from nicegui import run, ui

from benchwire.domains.plates.pages.desk import Desk, succeeds
from benchwire.domains.plates.requests import Page
from benchwire.foundation.web.roles import Role
from benchwire.foundation.web.states import empty, section

SHOWN = 200


async def draw(desk: Desk) -> None:
    """Draw the page."""
    view = _View(desk)
    view.draw()
    await view.refresh()


class _View:
    """Solutions on the left, what is needed to make one on the right."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._parts: list[tuple[ui.select, ui.input]] = []

    def draw(self) -> None:
        """Draw the empty page."""
        with ui.element("div").classes("bw-columns"):
            with section("All solutions"):
                self._search = ui.input("Search solutions", on_change=self.refresh).props(
                    "outlined dense autofocus clearable"
                )
                self._search.classes("w-full").mark("solution-search")
                self._list = ui.column().classes("w-full gap-2").mark("solutions")
            with ui.column().classes("w-full gap-4"):
                self._draw_new_solution()
                self._draw_new_chemical()

    async def refresh(self) -> None:
        """Show what is stored now."""
        found = await run.io_bound(self._load)
        if found is None:
            return
        self._list.clear()
        with self._list:
            if not found:
                empty(
                    "No stock solution here.", "Make one beside this list, or search for another."
                )
            for item in found:
                self._draw_solution(item)

    def _load(self) -> list[dict[str, Any]]:
        text = self._search.value or ""
        found, _ = self._desk.chemistry.solutions(text, Page(0, SHOWN))
        return found

    def _draw_solution(self, item: dict[str, Any]) -> None:
        with ui.row().classes("w-full items-center no-wrap"):
            with ui.column().classes("gap-0 grow"):
                ui.label(item["name"]).classes("font-medium")
                ui.label(item["component_summary"] or "no components").classes("bw-small")
                if item["description"]:
                    ui.label(item["description"]).classes("bw-small bw-muted")
            count = item["used_in_wells_count"]
            ui.label(f"in {count} {'well' if count == 1 else 'wells'}").classes("bw-small bw-muted")
            button = ui.button(
                icon="delete",
                on_click=lambda: self._do(
                    self._desk.chemistry.delete_solution, item["id"], needs=Role.ADMIN
                ),
            ).props('flat round dense aria-label="Delete the solution"')
            button.set_enabled(item["can_be_deleted"])

    def _draw_new_solution(self) -> None:
        with section("New stock solution"):
            self._name = ui.input("Name").classes("w-full").mark("solution-name")
            self._description = ui.input("Description").classes("w-full")
            self._rows = ui.column().classes("w-full gap-1")
            with ui.row():
                ui.button("Add component", icon="add", on_click=self._add_part).props(
                    "flat dense"
                ).mark("add-component")
                ui.button("Make", on_click=self._make).mark("solution-make")

    async def _add_part(self) -> None:
        found, _ = await run.io_bound(self._desk.chemistry.chemicals, "", Page(0, 1000)) or ([], 0)
        names = {item["id"]: item["display_text"] for item in found}
        number = len(self._parts) + 1
        with self._rows, ui.row().classes("w-full no-wrap"):
            chemical = ui.select(names, label="Chemical", with_input=True).classes("grow")
            amount = ui.input("Amount", placeholder="50 mM").classes("w-28")
            chemical.mark(f"component-chemical-{number}")
            amount.mark(f"component-amount-{number}")
        self._parts.append((chemical, amount))

    async def _make(self) -> None:
        parts = [
            {"chemical_id": chemical.value, "amount_with_unit": amount.value}
            for chemical, amount in self._parts
            if chemical.value is not None or amount.value
        ]
        body = {
            "stock_solution": {
                "name": self._name.value,
                "description": self._description.value,
                "components": parts,
            }
        }
        if await self._do(self._desk.chemistry.save_solution, None, body):
            self._name.value = self._description.value = ""
            self._parts.clear()
            self._rows.clear()

    def _draw_new_chemical(self) -> None:
        with section("New chemical"):
            fields = {
                key: ui.input(label).classes("w-full").mark(f"chemical-{key}")
                for key, label in (("name", "Name"), ("cas", "CAS number"), ("barcode", "Barcode"))
            }

            async def make() -> None:
                body = {"chemical": {key: item.value for key, item in fields.items()}}
                if await self._do(self._desk.chemistry.save_chemical, None, body):
                    ui.notify(f"{fields['name'].value} was added", type="positive")
                    for item in fields.values():
                        item.value = ""

            ui.button("Add", on_click=make).mark("chemical-add")

    async def _do(self, work: Any, *arguments: Any, needs: Role = Role.OPERATOR) -> bool:
        is_done = await succeeds(work, *arguments, needs=needs)
        if is_done:
            await self.refresh()
        return is_done
