"""Chemicals, units, and stock solutions made of them."""

import csv
import io
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, BinaryIO

from benchwire.domains.plates import answers, sheets
from benchwire.domains.plates.errors import MissingParameter, RecordNotFound, Unacceptable
from benchwire.domains.plates.requests import Page, root
from benchwire.domains.plates.service.amounts import Measures
from benchwire.domains.plates.store.chemistry import ChemistryStore, ComponentChange
from benchwire.domains.plates.values import LONGEST_TEXT, Draft, id_of
from benchwire.foundation.web.bodies import BodyUnreadable

Answer = dict[str, Any]

FOUND = 10
_CHEMICAL_TEXTS = ("name", "cas", "smiles", "barcode", "amount", "storage")
# What is looked up by an index has to fit into one.
_LONG = ("smiles", "amount", "storage")
_CHEMICAL_COLUMNS = (*_CHEMICAL_TEXTS, "sciformation_id")
# By these a chemical is known on import; a row that lacks one does not take it away.
_NUMBERS = ("barcode", "sciformation_id")
_SORTS = ("name", "cas", "barcode", "sciformation_id", "created_at")
_UNIT_COLUMNS = ("name", "symbol", "conversion_to_base")
_COMPONENT_COLUMNS = ("chemical_id", "amount", "unit_id", "amount_with_unit")
_PARTS = ("stock_solution_components_attributes", "components")


class Chemistry:
    """All chemicals, units and stock solutions."""

    def __init__(self, store: ChemistryStore) -> None:
        self._store = store
        self._measures = Measures(store)

    # -- chemicals --------------------------------------------------------------------------

    def search_chemicals(self, text: str) -> list[Answer]:
        """Return the first chemicals whose name, CAS number or barcode contains a text."""
        if not text.strip():
            return []
        found = self._store.chemicals(text.strip(), limit=FOUND)
        return [answers.found_chemical(item) for item in found]

    def chemicals(
        self, search: str, page: Page, *, sort: str = "name", descending: bool = False
    ) -> tuple[list[Answer], int]:
        """Return chemicals, and how many there are on all pages."""
        found = self._store.chemicals(
            search.strip(),
            sort=sort if sort in _SORTS else "name",
            descending=descending,
            offset=page.offset,
            limit=page.limit,
        )
        total = len(found) if page.limit is None else self._store.count_chemicals(search.strip())
        return [answers.chemical(item) for item in found], total

    def chemical(self, chemical_id: int) -> Answer:
        """Return a chemical."""
        return answers.chemical(self._store.chemical(chemical_id))

    def save_chemical(self, chemical_id: int | None, body: Mapping[str, Any]) -> Answer:
        """Make a chemical, or change one."""
        now = None if chemical_id is None else self._store.chemical(chemical_id)
        draft = _chemical(root(body, "chemical", _CHEMICAL_COLUMNS), now)
        only = None if now is None else draft.given.keys()
        saved = self._store.save_chemical(chemical_id, draft.values, draft.reasons, only)
        return self.chemical(saved)

    def delete_chemical(self, chemical_id: int) -> None:
        """Delete a chemical that is in no stock solution."""
        self._store.chemical(chemical_id)
        self._store.delete_chemical(chemical_id)

    def import_chemicals(self, rows: Sequence[Any]) -> Answer:
        """Add or change many chemicals; rows that cannot be used are told and left out."""
        good, errors = [], []
        for number, row in enumerate(rows, 1):
            draft = _chemical(row if isinstance(row, Mapping) else {}, None)
            if draft.reasons:
                errors.append({"row": number, "error": "; ".join(draft.reasons)})
            else:
                blank = {key for key in _NUMBERS if draft.values.get(key) is None}
                good.append((draft.values, draft.given.keys() - blank))
        imported, updated = self._store.import_chemicals(good)
        return {
            "imported": imported,
            "updated": updated,
            "skipped": len(errors),
            "errors": errors,
            "total_records": len(rows),
        }

    # -- units ------------------------------------------------------------------------------

    def units(self) -> list[Answer]:
        """Return all units."""
        return [answers.unit(item) for item in self._store.units()]

    def unit(self, unit_id: int) -> Answer:
        """Return a unit."""
        return answers.unit(self._store.unit(unit_id))

    def save_unit(self, unit_id: int | None, body: Mapping[str, Any]) -> Answer:
        """Make a unit, or change one."""
        now = None if unit_id is None else self._store.unit(unit_id)
        given = {"conversion_to_base": 1.0} if now is None else {}
        draft = Draft({**given, **root(body, "unit", _UNIT_COLUMNS)}, now)
        draft.text("name", required=True)
        draft.text("symbol", required=True)
        draft.number("conversion_to_base", required=True, above=0)
        only = None if now is None else draft.given.keys()
        return self.unit(self._store.save_unit(unit_id, draft.values, draft.reasons, only))

    def delete_unit(self, unit_id: int) -> None:
        """Delete a unit in which nothing is measured."""
        self._store.unit(unit_id)
        self._store.delete_unit(unit_id)

    # -- stock solutions --------------------------------------------------------------------

    def solutions(self, search: str, page: Page) -> tuple[list[Answer], int]:
        """Return stock solutions, and how many there are on all pages."""
        found = self._store.solutions(search.strip(), page.offset, page.limit)
        total = len(found) if page.limit is None else self._store.count_solutions(search.strip())
        parts = self._parts([item["id"] for item in found])
        return [answers.solution(item, parts.get(item["id"], [])) for item in found], total

    def solution(self, solution_id: int) -> Answer:
        """Return a stock solution with its components."""
        record = self._store.solution(solution_id)
        return answers.solution_details(record, self._store.components([solution_id]))

    def save_solution(self, solution_id: int | None, body: Mapping[str, Any]) -> Answer:
        """Make a stock solution, or change it, components included."""
        now = None if solution_id is None else self._store.solution(solution_id)
        given = root(body, "stock_solution", ("name", "description", *_PARTS))
        draft = Draft(given, now)
        draft.text("name", required=True)
        draft.text("description", longest=None)
        listed: Any = next((given[key] for key in _PARTS if given.get(key)), [])
        parts = [self._component(draft, item) for item in _as_list(listed)]
        saved = self._store.save_solution(
            solution_id,
            draft.values if now is None else draft.given,
            [part for part in parts if part is not None],
            draft.reasons,
        )
        return self.solution(saved)

    def delete_solution(self, solution_id: int) -> None:
        """Delete a stock solution that is in no well."""
        self._store.solution(solution_id)
        self._store.delete_solution(solution_id)

    def components(self, solution_id: int) -> list[Answer]:
        """Return the components of a stock solution."""
        self._store.solution(solution_id)
        return [answers.component(item) for item in self._store.components([solution_id])]

    def component(self, solution_id: int, component_id: int) -> Answer:
        """Return one component of a stock solution."""
        for item in self.components(solution_id):
            if item["id"] == component_id:
                return item
        raise RecordNotFound("StockSolutionComponent", "id", component_id)

    def save_component(
        self, solution_id: int, component_id: int | None, body: Mapping[str, Any]
    ) -> Answer:
        """Add a component to a stock solution, or change one."""
        given = root(body, "component", _COMPONENT_COLUMNS)
        if component_id is not None:
            self.component(solution_id, component_id)
        self._store.solution(solution_id)
        draft = Draft({})
        change = self._change(draft, given, component_id)
        self._store.save_solution(solution_id, {}, [change], draft.reasons)
        # A chemical is in a solution once.
        chemical = change.values["chemical_id"]
        for item in self._store.components([solution_id]):
            if item["chemical_id"] == chemical:
                return answers.component(item)
        raise RecordNotFound("StockSolutionComponent", "chemical_id", chemical)

    def delete_component(self, solution_id: int, component_id: int) -> None:
        """Remove a component from a stock solution."""
        self.component(solution_id, component_id)
        change = ComponentChange({}, component_id, is_removed=True)
        self._store.save_solution(solution_id, {}, [change], [])

    def _parts(self, solution_ids: Sequence[int]) -> dict[int, list[Any]]:
        found = self._store.components(solution_ids)
        return {
            key: list(group)
            for key, group in groupby(found, lambda item: item["stock_solution_id"])
        }

    def _component(self, draft: Draft, item: Any) -> ComponentChange | None:
        """Return what one entry of the list wants, None for a blank one."""
        given = dict(item) if isinstance(item, Mapping) else {}
        own_id = id_of(given.get("id"))
        if str(given.get("_destroy", "")).lower() in {"true", "1"}:
            return None if own_id is None else ComponentChange({}, own_id, is_removed=True)
        if all(value in (None, "") for value in given.values()):
            return None
        return self._change(draft, given, own_id)

    def _change(
        self, draft: Draft, given: Mapping[str, Any], own_id: int | None
    ) -> ComponentChange:
        now = None if own_id is None else self._store.component(own_id)
        inner = Draft(given, now)
        chemical = inner.identifier("chemical_id")
        amount, unit = self._measures.take(
            inner, "amount", has_text=bool(given.get("amount_with_unit")), takes_any=True
        )
        draft.reasons.extend(f"Stock solution components {_lower(text)}" for text in inner.reasons)
        values = {"chemical_id": chemical, "amount": amount}
        if isinstance(unit, str):
            return ComponentChange(values, own_id, new_unit=unit)
        return ComponentChange({**values, "unit_id": unit}, own_id)


def read_chemicals(file: BinaryIO | None, body: Mapping[str, Any]) -> list[Any]:
    """Return the rows of an import: of a CSV file with a header, or listed in the body.

    Raises
    ------
    MissingParameter
        There are none.
    BodyUnreadable
        The file is no UTF-8 text.
    Unacceptable
        It is no CSV, or too long.
    """
    if file is not None:
        text = io.TextIOWrapper(file, "utf-8-sig", newline="")
        try:
            lines = sheets.limited(csv.reader(text))
            names = [name.strip().lower() for name in next(lines, [])]
            rows = [
                # A cell that is blank leaves what is known as it is.
                {
                    name: cell.strip()
                    for name, cell in zip(names, line, strict=False)
                    if name and cell.strip()
                }
                for line in lines
            ]
        except csv.Error as error:
            raise Unacceptable("import chemicals", [f"The CSV cannot be read: {error}"]) from error
        except UnicodeDecodeError as error:
            raise BodyUnreadable("The file is not UTF-8 text") from error
        finally:
            text.detach()
        return rows
    listed = body.get("chemicals")
    if not isinstance(listed, list):
        raise MissingParameter("chemicals")
    if len(listed) > sheets.MOST_ROWS:
        raise Unacceptable("import chemicals", [f"There are more than {sheets.MOST_ROWS}"])
    return listed


def _chemical(given: Mapping[str, Any], now: Mapping[str, Any] | None) -> Draft:
    draft = Draft(given, now)
    for key in _CHEMICAL_TEXTS:
        draft.text(key, required=key == "name", longest=None if key in _LONG else LONGEST_TEXT)
    for key in ("cas", "barcode"):
        # Blank is no barcode, or two chemicals without one would be the same on import.
        draft.values[key] = (draft.values.get(key) or "").strip() or None
    draft.integer("sciformation_id")
    return draft


def _as_list(listed: Any) -> list[Any]:
    return (
        list(listed.values())
        if isinstance(listed, Mapping)
        else (listed if isinstance(listed, list) else [])
    )


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
