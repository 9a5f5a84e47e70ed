"""Chemicals, units, and stock solutions made of them."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import sqlalchemy as sa

from benchwire.domains.plates.amounts import factor_of, unit_key
from benchwire.domains.plates.errors import RecordNotFound, Refused
from benchwire.domains.plates.store.records import (
    Records,
    Row,
    contains,
    first_row,
    is_taken,
    paged,
)
from benchwire.domains.plates.tables import chemicals, components, contents, solutions, units

_SEARCHED = ("name", "cas", "barcode")
_CHEMICAL_ORDERS = {
    key: chemicals.c[key] for key in ("name", "cas", "barcode", "sciformation_id", "created_at")
}

_KNOWN = sa.select(
    chemicals.c.id, chemicals.c.sciformation_id, *(chemicals.c[key] for key in _SEARCHED)
)


class ChemistryStore(Records):
    """Chemicals, units, stock solutions and their components."""

    # -- chemicals --------------------------------------------------------------------------

    def chemicals(
        self,
        search: str = "",
        *,
        sort: str = "name",
        descending: bool = False,
        offset: int = 0,
        limit: int | None = None,
    ) -> list[Row]:
        """Return chemicals whose name, CAS number or barcode contains a text."""
        order: sa.ColumnElement[Any] = _CHEMICAL_ORDERS[sort]
        chosen = sa.select(chemicals.c.id)
        if search:
            chosen = chosen.where(contains(chemicals.c.search_key, search))
            # Few match, so reading all in place and sorting those beats a walk along an index.
            order = sa.case((order.isnot(None), order))
        page = paged(
            chosen.order_by(order.desc() if descending else order, chemicals.c.id), offset, limit
        ).cte("page")
        used = (
            sa.select(sa.func.count())
            .where(components.c.chemical_id == chemicals.c.id)
            .correlate(chemicals)
            .scalar_subquery()
        )
        return self._read(
            sa.select(chemicals, used.label("used"))
            .join(page, page.c.id == chemicals.c.id)
            .order_by(order.desc() if descending else order, chemicals.c.id)
        )

    def count_chemicals(self, search: str = "") -> int:
        """Return how many chemicals match."""
        query = sa.select(sa.func.count()).select_from(chemicals)
        if search:
            query = query.where(contains(chemicals.c.search_key, search))
        return int(self._read(query)[0]["count"])

    def chemical(self, chemical_id: int) -> Row:
        """Return a chemical.

        Raises
        ------
        RecordNotFound
            There is none.
        """
        used = (
            sa.select(sa.func.count())
            .where(components.c.chemical_id == chemicals.c.id)
            .correlate(chemicals)
            .scalar_subquery()
        )
        found = self._read(
            sa.select(chemicals, used.label("used")).where(chemicals.c.id == chemical_id)
        )
        if not found:
            raise RecordNotFound("Chemical", "id", chemical_id)
        return found[0]

    def save_chemical(
        self,
        chemical_id: int | None,
        values: Mapping[str, Any],
        reasons: Sequence[str],
        only: Collection[str] | None = None,
    ) -> int:
        """Make a chemical, or change one; return its id."""

        def check(connection: sa.Connection) -> list[str]:
            number = values.get("sciformation_id")
            same = chemicals.c.sciformation_id == number
            is_known = number is not None and is_taken(connection, chemicals, same, chemical_id)
            return ["Sciformation has already been taken"] if is_known else []

        def search_anew(connection: sa.Connection, saved: int) -> None:
            """Take the key from what is stored now, whoever else has changed a part of it."""
            own = chemicals.c.id == saved
            row = first_row(connection, sa.select(chemicals).where(own))
            if row is not None:
                key = _searchable(row)["search_key"]
                connection.execute(chemicals.update().where(own).values(search_key=key))

        return self._save(
            "chemical",
            chemicals,
            chemical_id,
            _searchable(values),
            reasons,
            check,
            only=only,
            then=search_anew,
        )

    def delete_chemical(self, chemical_id: int) -> None:
        """Delete a chemical that is in no stock solution."""

        def work(connection: sa.Connection) -> None:
            if is_taken(connection, components, components.c.chemical_id == chemical_id):
                raise Refused("Cannot delete chemical that is used in stock solutions")
            connection.execute(chemicals.delete().where(chemicals.c.id == chemical_id))

        self._write("delete chemical", work)

    def import_chemicals(
        self, rows: Sequence[tuple[Mapping[str, Any], Collection[str]]]
    ) -> tuple[int, int]:
        """Add chemicals, or change those of the same number or barcode; return how many of each.

        Parameters
        ----------
        rows
            For each its values, and the names of those that a chemical which is known takes over.
        """

        def work(connection: sa.Connection) -> tuple[int, int]:
            found = connection.execute(_KNOWN.order_by(chemicals.c.id)).mappings()
            there = {row["id"]: dict(row) for row in found}
            by_number = {row["sciformation_id"]: key for key, row in there.items()}
            by_barcode = {row["barcode"]: key for key, row in there.items()}
            new = 0
            for row, given in rows:
                number, barcode = row.get("sciformation_id"), row.get("barcode")
                known = None if number is None else by_number.get(number)
                if known is None and barcode is not None:
                    known = by_barcode.get(barcode)
                    other = None if known is None else there[known].get("sciformation_id")
                    # Of another number it is another chemical, whatever its barcode.
                    known = known if None in (number, other) else None
                values = row if known is None else {key: row[key] for key in given}
                whole = {**there.get(known, {}), **values}
                search_key = _searchable(whole)["search_key"]
                saved = self._put(
                    connection, chemicals, known, {**values, "search_key": search_key}
                )
                new += known is None
                # What it was called by is free for another one.
                before = there.get(saved, {})
                for key, index in (("sciformation_id", by_number), ("barcode", by_barcode)):
                    if index.get(before.get(key)) == saved:
                        del index[before[key]]
                there[saved] = whole
                by_number[whole.get("sciformation_id")] = saved
                by_barcode[whole.get("barcode")] = saved
            return new, len(rows) - new

        return self._write("import chemicals", work)

    # -- units ------------------------------------------------------------------------------

    def units(self) -> list[Row]:
        """Return all units with whether something is measured in them."""
        return self._read(_units().order_by(units.c.name))

    def unit(self, unit_id: int) -> Row:
        """Return a unit.

        Raises
        ------
        RecordNotFound
            There is none.
        """
        found = self._read(_units().where(units.c.id == unit_id))
        if not found:
            raise RecordNotFound("Unit", "id", unit_id)
        return found[0]

    def unit_called(self, text: str) -> Row | None:
        """Return the unit that a text means, however its micro sign and case are written."""
        return _meant(self.units(), text)

    def save_unit(
        self,
        unit_id: int | None,
        values: Mapping[str, Any],
        reasons: Sequence[str],
        only: Collection[str] | None = None,
    ) -> int:
        """Make a unit, or change one; return its id."""

        def check(connection: sa.Connection) -> list[str]:
            return [
                f"{word} has already been taken"
                for key, word in (("name", "Name"), ("symbol", "Symbol"))
                if values.get(key) is not None
                and is_taken(connection, units, units.c[key] == values[key], unit_id)
            ]

        return self._save("unit", units, unit_id, values, reasons, check, only=only)

    def delete_unit(self, unit_id: int) -> None:
        """Delete a unit in which nothing is measured."""

        def work(connection: sa.Connection) -> None:
            for table in (components, contents):
                if is_taken(connection, table, table.c.unit_id == unit_id):
                    raise Refused("Cannot delete unit that is in use")
            connection.execute(units.delete().where(units.c.id == unit_id))

        self._write("delete unit", work)

    # -- stock solutions --------------------------------------------------------------------

    def solutions(self, search: str = "", offset: int = 0, limit: int | None = None) -> list[Row]:
        """Return stock solutions by name, with how many wells they are in."""
        query = sa.select(solutions.c.id).order_by(solutions.c.name, solutions.c.id)
        if search:
            query = query.where(contains(solutions.c.search_key, search))
        return self._read(_solutions(paged(query, offset, limit)))

    def count_solutions(self, search: str = "") -> int:
        """Return how many stock solutions match."""
        query = sa.select(sa.func.count()).select_from(solutions)
        if search:
            query = query.where(contains(solutions.c.search_key, search))
        return int(self._read(query)[0]["count"])

    def solution(self, solution_id: int) -> Row:
        """Return a stock solution.

        Raises
        ------
        RecordNotFound
            There is none.
        """
        found = self._read(
            _solutions(sa.select(solutions.c.id).where(solutions.c.id == solution_id))
        )
        if not found:
            raise RecordNotFound("StockSolution", "id", solution_id)
        return found[0]

    def solution_called(self, name: str) -> int | None:
        """Return the id of the stock solution of that name."""
        found = self._read(sa.select(solutions.c.id).where(solutions.c.name == name))
        return int(found[0]["id"]) if found else None

    def has_solution(self, solution_id: int) -> bool:
        """Return whether there is a stock solution of that id."""
        return bool(self._read(sa.select(solutions.c.id).where(solutions.c.id == solution_id)))

    def components(self, solution_ids: Sequence[int]) -> list[Row]:
        """Return the components of some stock solutions, in the order they were added."""
        return self._read(
            sa.select(
                components,
                chemicals.c.name.label("chemical_name"),
                units.c.name.label("unit_name"),
                units.c.symbol.label("unit_symbol"),
            )
            .select_from(components.join(chemicals).join(units))
            .where(components.c.stock_solution_id.in_(solution_ids))
            .order_by(components.c.stock_solution_id, components.c.id)
        )

    def component(self, component_id: int) -> Row:
        """Return a component by its own id.

        Raises
        ------
        RecordNotFound
            There is none.
        """
        found = self._read(sa.select(components).where(components.c.id == component_id))
        if not found:
            raise RecordNotFound("StockSolutionComponent", "id", component_id)
        return found[0]

    def save_solution(
        self,
        solution_id: int | None,
        values: Mapping[str, Any],
        parts: Sequence["ComponentChange"],
        reasons: Sequence[str],
    ) -> int:
        """Make a stock solution with its components, or change it; all of it or nothing."""
        name = values.get("name")
        row = values if name is None else {**values, "search_key": name.casefold()}

        def check(connection: sa.Connection) -> Iterator[str]:
            same = solutions.c.name == name
            if name is not None and is_taken(connection, solutions, same, solution_id):
                yield "Name has already been taken"
            yield from _wrong_parts(connection, solution_id, parts)

        def apply_parts(connection: sa.Connection, saved: int) -> None:
            for part in parts:
                self._apply(connection, saved, part)

        return self._save(
            "stock solution",
            solutions,
            solution_id,
            row,
            reasons,
            lambda c: list(check(c)),
            then=apply_parts,
        )

    def delete_solution(self, solution_id: int) -> None:
        """Delete a stock solution that is in no well."""

        def work(connection: sa.Connection) -> None:
            if is_taken(connection, contents, contents.c.stock_solution_id == solution_id):
                raise Refused("Cannot delete stock solution that is used in wells")
            connection.execute(solutions.delete().where(solutions.c.id == solution_id))

        self._write("delete stock solution", work)

    def _apply(self, connection: sa.Connection, solution_id: int, part: "ComponentChange") -> None:
        if part.is_removed:
            connection.execute(components.delete().where(components.c.id == part.id))
        else:
            row = {**part.values, "stock_solution_id": solution_id}
            if part.new_unit is not None:
                row["unit_id"] = self._unit(connection, part.new_unit)
            self._put(connection, components, part.id, row)

    def _unit(self, connection: sa.Connection, symbol: str) -> int:
        """Return the id of a unit, which is added to the inventory if nobody has done so yet."""
        there = cast("list[Row]", connection.execute(sa.select(units)).mappings().all())
        if (found := _meant(there, symbol)) is not None:
            return int(found["id"])
        values = {"name": symbol, "symbol": symbol, "conversion_to_base": factor_of(symbol)}
        return self._put(connection, units, None, values)


class ComponentChange:
    """One component that is to be added, changed by its id, or removed by it.

    Its unit is ``new_unit`` where the inventory did not know it.
    """

    def __init__(
        self,
        values: Mapping[str, Any],
        own_id: int | None = None,
        *,
        new_unit: str | None = None,
        is_removed: bool = False,
    ) -> None:
        self.values = dict(values)
        self.id = own_id
        self.new_unit = new_unit
        self.is_removed = is_removed


def _meant(rows: Iterable[Row], text: str) -> Row | None:
    """Return the unit that a text means."""
    key = unit_key(text)
    return next(
        (row for row in rows if key in (unit_key(row["symbol"]), unit_key(row["name"]))), None
    )


def _searchable(values: Mapping[str, Any]) -> dict[str, Any]:
    parts = (values.get(key) or "" for key in _SEARCHED)
    return {**values, "search_key": "\n".join(parts).casefold()}


def _units() -> sa.Select[Any]:
    in_use = sa.or_(
        sa.exists().where(components.c.unit_id == units.c.id),
        sa.exists().where(contents.c.unit_id == units.c.id),
    )
    return sa.select(units, in_use.label("is_used"))


def _solutions(chosen: sa.Select[Any]) -> sa.Select[Any]:
    page = chosen.cte("page")
    in_wells = (
        sa.select(contents.c.stock_solution_id, sa.func.count().label("used"))
        .where(contents.c.stock_solution_id.in_(sa.select(page.c.id)))
        .group_by(contents.c.stock_solution_id)
        .subquery()
    )
    return (
        sa.select(solutions, sa.func.coalesce(in_wells.c.used, 0).label("used"))
        .select_from(
            page.join(solutions, solutions.c.id == page.c.id).outerjoin(
                in_wells, in_wells.c.stock_solution_id == solutions.c.id
            )
        )
        .order_by(solutions.c.name, solutions.c.id)
    )


def _wrong_parts(
    connection: sa.Connection, solution_id: int | None, parts: Sequence[ComponentChange]
) -> list[str]:
    """Return what is wrong with components as a whole: strangers, and a chemical twice."""
    told = []
    there = {
        row.id: row.chemical_id
        for row in connection.execute(
            sa.select(components.c.id, components.c.chemical_id).where(
                components.c.stock_solution_id == solution_id
            )
        )
    }
    for part in parts:
        if part.id is not None and part.id not in there:
            raise RecordNotFound("StockSolutionComponent", "id", part.id)
        if part.is_removed:
            there.pop(part.id, None)
            continue
        for key, table, word in (
            ("chemical_id", chemicals, "chemical"),
            ("unit_id", units, "unit"),
        ):
            value = part.values.get(key)
            if value is not None and not is_taken(connection, table, table.c.id == value):
                told.append(f"Stock solution components {word} must exist")
        if part.id is not None and "chemical_id" in part.values:
            there[part.id] = part.values["chemical_id"]
    ids = [*there.values(), *(p.values.get("chemical_id") for p in parts
                              if p.id is None and not p.is_removed)]  # fmt: skip
    if len(ids) != len(set(ids)):
        told.append("Stock solution components chemical can only be added once per stock solution")
    return told
