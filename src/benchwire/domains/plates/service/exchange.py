"""The inventory to and from files: sheets of contents, and everything as CSV or JSON."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchwire.domains.plates import answers, sheets
from benchwire.domains.plates.errors import Unacceptable
from benchwire.domains.plates.labels import location_label, parse_well
from benchwire.domains.plates.service.plates import is_barcode
from benchwire.domains.plates.store.chemistry import ChemistryStore
from benchwire.domains.plates.store.locations import LocationStore
from benchwire.domains.plates.store.plates import PlateStore
from benchwire.domains.plates.store.wells import WellStore
from benchwire.domains.plates.values import LONGEST_TEXT, Draft, id_of, is_storable

Answer = dict[str, Any]

_PLATES_AT_ONCE = 100
_MOST_PROBLEMS = 1000


class Exchange:
    """Imports and exports."""

    def __init__(
        self,
        plates: PlateStore,
        wells: WellStore,
        locations: LocationStore,
        chemistry: ChemistryStore,
    ) -> None:
        self._plates = plates
        self._wells = wells
        self._locations = locations
        self._chemistry = chemistry

    # -- one plate's contents ---------------------------------------------------------------

    def contents_sheet(self, barcode: str) -> Iterator[str]:
        """Return what is in a plate's wells as CSV: a row per well, a column per solution."""
        plate = self._plates.one(barcode)
        wells = [answers.well(item) for item in self._wells.page(plate["id"])]
        header, rows = sheets.contents_sheet(wells, self._wells.contents_of_plate(plate["id"]))
        return sheets.write(header, rows)

    def put_contents(self, barcode: str, text: str, *, is_dry: bool) -> Answer:
        """Set what is in a plate's wells from CSV, all of it or nothing.

        Raises
        ------
        Unacceptable
            Something is wrong; every problem is told by its row.
        """
        plate = self._plates.one(barcode)
        cells, problems = sheets.read_contents(text)
        here = self._places_in(plate["id"])
        rows = []
        # Looked up once for each name, not for each of a thousand cells.
        solution_of = functools.cache(self.solution_id)
        unit_of = functools.cache(self.unit_id)
        seen: set[tuple[int, object]] = set()
        for cell in cells:
            solution, unit = solution_of(cell.solution), unit_of(cell.unit)
            well = here.get(cell.place)
            # By name and by id it may be the same one.
            if solution is not None and (cell.line, solution) in seen:
                problems.append(f"Row {cell.line}: {_twice(cell.solution)}")
            seen.add((cell.line, solution))
            for thing, name in (
                (well, "There is no such well"),
                (solution, f"There is no stock solution {cell.solution[:60]!r}"),
                (unit, f"Unknown unit {cell.unit[:40]!r}"),
            ):
                if thing is None:
                    problems.append(f"Row {cell.line}: {name}")
            if well is not None and solution is not None and unit is not None:
                rows.append((well, solution, cell.volume, unit))
        if is_dry:
            return {"dry_run": True, "contents": len(rows), "problems": list(problems)}
        if problems:
            reasons = list(dict.fromkeys(problems))[:_MOST_PROBLEMS]
            raise Unacceptable("import contents", reasons)
        added, changed = self._wells.put_contents(rows)
        return {"dry_run": False, "added": added, "updated": changed, "problems": []}

    def _places_in(self, plate_id: int) -> dict[tuple[int, int, int], int]:
        return {
            (item["well_row"], item["well_column"], item["subwell"]): int(item["id"])
            for item in self._wells.page(plate_id)
        }

    # -- everything -------------------------------------------------------------------------

    def export_csv(self) -> Iterator[str]:
        """Yield every plate, well and content as CSV: a row per content, or per empty well."""
        yield from sheets.write(sheets.COLUMNS, self._rows())

    def _rows(self) -> Iterator[list[Any]]:
        for plate, wells, contents in self._walk():
            place = plate["current_location"]
            head = [plate["barcode"], plate["name"], place and place["display_name"]]
            for well in wells:
                spot = [well["well_label_with_subwell"], *(well[k] for k in answers.COORDINATES)]
                for item in contents.get(well["id"], [None]):
                    volume = None if item is None else sheets.volume_text(item)
                    yield [*head, *spot, item and item["solution_name"], volume]

    def export_json(self) -> Iterator[Answer]:
        """Yield every plate as an object with its wells and contents."""
        for plate, wells, contents in self._walk():
            place = plate["current_location"]
            yield {
                "barcode": plate["barcode"],
                "name": plate["name"],
                "location": place and place["display_name"],
                "wells": [
                    {
                        "well": well["well_label_with_subwell"],
                        **{key: well[key] for key in answers.COORDINATES},
                        "contents": [
                            {
                                "stock_solution": item["solution_name"],
                                "volume": sheets.volume_text(item),
                            }
                            for item in contents.get(well["id"], [])
                        ],
                    }
                    for well in wells
                ],
            }

    def _walk(self) -> Iterator[tuple[Answer, list[Answer], dict[int, list[Any]]]]:
        after = 0
        while found := self._plates.page(after=after, limit=_PLATES_AT_ONCE):
            for record in found:
                wells = [answers.well(item) for item in self._wells.page(record["id"])]
                contents: dict[int, list[Any]] = {}
                for item in self._wells.contents_of_plate(record["id"]):
                    contents.setdefault(item["well_id"], []).append(item)
                yield answers.plate(record), wells, contents
            after = found[-1]["id"]

    def load(self, rows: Sequence[sheets.Row], problems: list[str], *, is_dry: bool) -> Answer:
        """Make plates with wells and contents from rows; of those that exist volumes are set.

        Nothing is made if anything is wrong.

        Raises
        ------
        Unacceptable
            Something is wrong; every problem is told by its row.
        """
        plan = _Plan(self, problems)
        for row in rows:
            plan.take(row)
        answer = {
            "dry_run": is_dry,
            "plates": len(plan.new),
            "wells": sum(len(item["wells"]) for item in plan.new.values()),
            "contents": plan.contents,
            "problems": problems[:_MOST_PROBLEMS],
        }
        if is_dry:
            return answer
        if problems:
            raise Unacceptable("import plates", problems[:_MOST_PROBLEMS])
        self._plates.load(*plan.changes())
        return answer

    def plate_wells(self, barcode: str) -> dict[tuple[int, int, int], int] | None:
        """Return the wells of a plate by place, None if there is no such plate."""
        found = self._plates.find(barcode)
        return None if found is None else self._places_in(found)

    def places(self) -> dict[str, list[tuple[int, str | None]]]:
        """Return the ids of places and the plates there, by what folded texts they are known.

        Those are its position, which is its alone, and its name.
        """
        called: dict[str, list[tuple[int, str | None]]] = {}
        positions: dict[str, list[tuple[int, str | None]]] = {}
        for item in self._locations.all():
            found = (item["id"], item["barcode"])
            at = (item["id"], item["carousel_position"], item["hotel_position"])
            called.setdefault(location_label(*at, item["name"]).casefold(), []).append(found)
            positions[location_label(*at, None).casefold()] = [found]
        return called | positions

    def solution_id(self, name: str) -> int | None:
        """Return a stock solution by name or id."""
        found = self._chemistry.solution_called(name)
        number = None if found is not None else id_of(name)
        if number is None:
            return found
        return number if self._chemistry.has_solution(number) else None

    def unit_id(self, text: str) -> int | None:
        """Return a unit by any of its spellings."""
        found = self._chemistry.unit_called(text)
        return None if found is None else int(found["id"])


def rows_of(listed: Any) -> tuple[list[sheets.Row], list[str]]:
    """Return an inventory given as JSON as the rows its sheet would have, and what is wrong."""
    rows: list[sheets.Row] = []
    problems: list[str] = []
    for number, plate in enumerate(_objects(listed, "plates", problems), 1):
        wrong: list[str] = []
        head = {key: plate.get(key) for key in ("barcode", "name", "location")}
        for well in _objects(plate.get("wells"), "wells", wrong) or [{}]:
            spot = {key: well.get(key) for key in ("well", *answers.COORDINATES)}
            for item in _objects(well.get("contents"), "contents", wrong) or [{}]:
                values = {**head, **spot, **{k: item.get(k) for k in ("stock_solution", "volume")}}
                plain = {k: "" if v is None else str(v) for k, v in values.items()}
                rows.append(sheets.Row(number, plain))
        if len(rows) > sheets.MOST_ROWS:
            return [], [f"There are more than {sheets.MOST_ROWS} contents; import them in parts"]
        problems.extend(f"Row {number}: {reason}" for reason in wrong)
    return rows, problems


def _objects(listed: Any, name: str, problems: list[str]) -> list[Mapping[str, Any]]:
    """Return a list of objects; what is none is told and left out."""
    if listed is None and name != "plates":
        return []
    found = (
        [item for item in listed if isinstance(item, Mapping)] if isinstance(listed, list) else []
    )
    if not isinstance(listed, list) or len(found) < len(listed):
        problems.append(f"{name} has to be a list of objects")
    return found


def _twice(solution: str) -> str:
    return f"The well has {solution[:60]!r} in it twice; give one volume"


class _Plan:
    """What an import would do, and everything that keeps it from it."""

    def __init__(self, exchange: Exchange, problems: list[str]) -> None:
        self._exchange = exchange
        self._problems = problems
        self._places = exchange.places()
        self._taken: dict[int, str] = {}
        # Looked up once for each name, not for each of many thousand rows.
        self._solution_of = functools.cache(exchange.solution_id)
        self._unit_of = functools.cache(exchange.unit_id)
        self._known: dict[str, dict[tuple[int, int, int], int] | None] = {}
        self._filled: set[tuple[str, tuple[int, int, int], int]] = set()
        self.new: dict[str, Answer] = {}
        self._added: list[tuple[int, int, float, int]] = []
        self.contents = 0

    def take(self, row: sheets.Row) -> None:
        """Add one row."""
        barcode = row.values.get("barcode", "")
        if not all(map(is_storable, row.values.values())):
            self._wrong(row, "Text contains characters that cannot be stored")
            return
        if not barcode or len(barcode) > LONGEST_TEXT or not is_barcode(barcode):
            self._wrong(row, "Barcode is invalid" if barcode else "Barcode can't be blank")
            return
        if barcode not in self._known:
            self._known[barcode] = self._exchange.plate_wells(barcode)
        here = self._known[barcode]
        plate = self._new_plate(row, barcode) if here is None else None
        label = row.values.get("well", "")
        if not label:
            return
        place = parse_well(label)
        if place is None:
            self._wrong(row, f"{label[:40]!r} is no well")
            return
        if plate is not None:
            self._take_place(row, plate, place)
        elif here is not None and place not in here:
            self._wrong(row, f"Plate {barcode} has no well {label[:40]}")
            return
        self._take_content(row, plate, None if here is None else here.get(place), place)

    def _take_place(self, row: sheets.Row, plate: Answer, place: tuple[int, int, int]) -> None:
        coordinates = Draft({key: row.values.get(key) for key in answers.COORDINATES})
        for key in answers.COORDINATES:
            coordinates.number(key, places=4, below=1e6)
        for reason in coordinates.reasons:
            self._wrong(row, reason)
        known = plate["wells"].setdefault(place, coordinates.values)
        if known != coordinates.values and not coordinates.reasons:
            self._wrong(row, "The well has other coordinates in an earlier row")

    def changes(self) -> tuple[list[Answer], list[tuple[int, int, float, int]]]:
        """Return the plates to be made, and the contents to be added to others."""
        return list(self.new.values()), self._added

    def _new_plate(self, row: sheets.Row, barcode: str) -> Answer:
        name, place = row.values.get("name", ""), row.values.get("location", "")
        known = self.new.get(barcode)
        if known is not None:
            for told, before, word in ((name, known["name"], "name"),
                                       (place, known["place"], "location")):  # fmt: skip
                if told and told != (before or ""):
                    self._wrong(row, f"The plate has another {word} in an earlier row")
            return known
        if len(name) > LONGEST_TEXT:
            self._wrong(row, f"Name is too long (maximum is {LONGEST_TEXT} characters)")
        made: Answer = {
            "barcode": barcode,
            "name": name or None,
            "place": place,
            "location_id": self._free_place(row, place) if place else None,
            "wells": {},
            "contents": [],
        }
        self.new[barcode] = made
        return made

    def _free_place(self, row: sheets.Row, name: str) -> int | None:
        places = self._places.get(name.casefold(), [])
        if len(places) != 1:
            are = "are several locations" if places else "is no location"
            self._wrong(row, f"There {are} {name[:60]!r}")
            return None
        ((found, there),) = places
        there = there or self._taken.get(found)
        if there is not None:
            self._wrong(row, f"Location {name[:60]} is already occupied by plate {there}")
        else:
            self._taken[found] = row.values["barcode"]
        return found

    def _take_content(
        self, row: sheets.Row, plate: Answer | None, well: int | None, place: tuple[int, int, int]
    ) -> None:
        name, volume = row.values.get("stock_solution", ""), row.values.get("volume", "")
        if not name and not volume:
            return
        amount = sheets.parse_volume(volume)
        if amount is None or amount[0] <= 0:
            self._wrong(row, f"{volume[:40]!r} is no volume")
            return
        solution, unit = self._solution_of(name), self._unit_of(amount[1])
        if solution is None:
            self._wrong(row, f"There is no stock solution {name[:60]!r}")
        if unit is None:
            self._wrong(row, f"Unknown unit {amount[1][:40]!r}")
        if solution is None or unit is None:
            return
        content = (row.values["barcode"], place, solution)
        if content in self._filled:
            self._wrong(row, _twice(name))
            return
        self._filled.add(content)
        self.contents += 1
        if plate is not None:
            plate["contents"].append((place, solution, amount[0], unit))
        elif well is not None:
            self._added.append((well, solution, amount[0], unit))

    def _wrong(self, row: sheets.Row, reason: str) -> None:
        self._problems.append(f"Row {row.number}: {reason}")
