"""Plates, wells and contents as sheets: rows of text that any spreadsheet opens."""

import csv
import io
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchwire.domains.plates.amounts import parse_amount, plain_number
from benchwire.domains.plates.labels import WellPlace, parse_well

COLUMNS = (
    "barcode", "name", "location", "well", "x_mm", "y_mm", "z_mm", "stock_solution", "volume",
)  # fmt: skip
# A plain number in a sheet of contents is a volume in this unit.
PLAIN_UNIT = "ul"
# What fits into memory many times over; an inventory of more is imported in parts.
MOST_ROWS, MOST_COLUMNS = 200_000, 2000
# A spreadsheet may write all the empty rows it has.
_MOST_EMPTY = 1_100_000
# A line as `io.StringIO` with ``newline=""`` tells it, with its end.
_LINE = re.compile(r"[^\r\n]*+(?:\r\n?|\n)|[^\r\n]++")
# Cells that begin so are formulas to a spreadsheet.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the inventory's sheet, still as text; ``number`` is its line in the file."""

    number: int
    values: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Cell:
    """One volume in a plate's sheet of contents."""

    line: int
    place: WellPlace
    solution: str
    volume: float
    unit: str


def write(header: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """Yield rows as CSV (RFC 4180), a header first; no cell is a formula to a spreadsheet."""
    for row in itertools.chain([header], rows):
        line = io.StringIO()
        csv.writer(line).writerow([_guarded(value) for value in row])
        yield line.getvalue()


def _guarded(value: object) -> object:
    if value is None:
        return ""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _bare(text: str) -> str:
    """Return a cell without what `write` has put before it."""
    plain = text.strip()
    return plain[1:] if plain[:1] == "'" and plain[1:].startswith(_FORMULA) else plain


def _lines(text: str) -> Iterator[str]:
    """Yield the lines of a text with their ends; `io.StringIO` would take four times its memory."""
    return (found[0] for found in _LINE.finditer(text, text.startswith("\ufeff")))


def limited(lines: Iterable[list[str]]) -> Iterator[list[str]]:
    """Yield the lines of a sheet that have something in them, as long as they are not too many.

    Raises
    ------
    csv.Error
        It has more rows or columns than can be taken at once.
    """
    count = 0
    for number, line in enumerate(lines):
        if len(line) > MOST_COLUMNS:
            raise csv.Error(f"it has more than {MOST_COLUMNS} columns")
        if any(cell.strip() for cell in line):
            count += 1
            yield line
        if count > MOST_ROWS or number - count > _MOST_EMPTY:
            raise csv.Error(f"it has more than {MOST_ROWS} rows; import it in parts")


def read_inventory(text: str) -> tuple[list[Row], list[str]]:
    """Return the rows of an inventory's sheet, and what is wrong with the sheet as a whole."""
    reader = csv.reader(_lines(text))
    try:
        lines = limited(reader)
        names = [name.strip().lower() for name in next(lines, [])]
        if "barcode" not in names:
            return [], ["The sheet has no column called barcode"]
        rows = [
            Row(
                reader.line_num,
                {
                    name: _bare(cell)
                    for name, cell in itertools.zip_longest(names, line, fillvalue="")
                    if name in COLUMNS
                },
            )
            for line in lines
        ]
    except csv.Error as error:
        return [], [f"The CSV cannot be read: {error}"]
    return [row for row in rows if any(row.values.values())], []


def read_contents(text: str) -> tuple[list[Cell], list[str]]:
    """Return the volumes of a plate's sheet of contents, and what is wrong, row by row.

    The first column holds well labels, the header solutions by id or name, a cell a volume.
    """
    reader = csv.reader(_lines(text))
    try:
        lines = [(reader.line_num, [_bare(cell) for cell in line]) for line in limited(reader)]
    except csv.Error as error:
        return [], [f"The CSV cannot be read: {error}"]
    if not lines:
        return [], ["The sheet is empty"]
    (_, solutions), *rest = lines
    cells, problems = [], []
    seen: set[WellPlace] = set()
    for number, line in rest:
        place = parse_well(line[0])
        if place is None:
            problems.append(f"Row {number}: {line[0][:40]!r} is no well")
            continue
        if place in seen:
            problems.append(f"Row {number}: {line[0][:40]!r} is there twice")
        seen.add(place)
        if any(line[len(solutions) :]):
            problems.append(f"Row {number}: it has more cells than the header")
        for solution, cell in zip(solutions[1:], line[1:], strict=False):
            if not cell:
                continue
            found = parse_volume(cell)
            if found is None or found[0] <= 0:
                problems.append(f"Row {number}, {solution[:40]}: {cell[:40]!r} is no volume")
            else:
                cells.append(Cell(number, place, solution, *found))
    return cells, problems


def parse_volume(text: str) -> tuple[float, str] | None:
    """Return number and unit of a volume; a plain number is in microlitres."""
    try:
        number = float(text)
    except ValueError:
        return parse_amount(text)
    return (number, PLAIN_UNIT) if 0 <= number < 1e12 else None


def volume_text(content: Mapping[str, Any]) -> str:
    """Return a content's volume as `parse_volume` reads it."""
    return f"{plain_number(content['volume'])} {content['unit_symbol']}"


def contents_sheet(
    wells: Sequence[Mapping[str, Any]], contents: Sequence[Mapping[str, Any]]
) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of a plate's sheet of contents, the inverse of `read_contents`."""
    names = list(dict.fromkeys(item["solution_name"] for item in contents))
    by_well: dict[int, dict[str, str]] = {}
    for item in contents:
        by_well.setdefault(item["well_id"], {})[item["solution_name"]] = volume_text(item)
    rows = [
        [well["well_label_with_subwell"], *(by_well.get(well["id"], {}).get(n, "") for n in names)]
        for well in wells
    ]
    return ["well", *names], rows
