"""Names of wells and places as people write them."""

import re
from typing import NamedTuple

_LABEL = re.compile(
    r"\s*([A-Za-z]{1,3})\s*0*([1-9][0-9]{0,4})\s*(?:[-.:_/ ]\s*0*([1-9][0-9]{0,4})|([a-z]))?\s*"
)
LONGEST_LABEL = 64


class WellPlace(NamedTuple):
    """A well by numbers, all counted from 1."""

    row: int
    column: int
    subwell: int


def row_letters(row: int) -> str:
    """Return a row's letters as a spreadsheet writes its columns: 1 is A, 27 is AA."""
    letters = ""
    while row > 0:
        row, rest = divmod(row - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters


def row_number(letters: str) -> int:
    """Return the row that letters mean, whatever their case."""
    number = 0
    for letter in letters.upper():
        number = number * 26 + ord(letter) - ord("A") + 1
    return number


def well_label(row: int, column: int) -> str:
    """Return a well's name without its subwell: ``A1``."""
    return f"{row_letters(row)}{column}"


def place_label(place: WellPlace) -> str:
    """Return the shortest name of a well: ``A1``, and ``A1-2`` from its second drop on."""
    label = well_label(place.row, place.column)
    return label if place.subwell == 1 else f"{label}-{place.subwell}"


def parse_well(text: str) -> WellPlace | None:
    """Return the well that a label means, None if it means none.

    Understood are all usual notations, the subwell being 1 where none is given: ``A1``, ``a01``,
    ``AA12``, ``A1-2``, ``A1.2``, ``A1:2``, ``B2_3``, and ``A01a`` with a small letter for the
    drop.
    """
    # Of a text without end the pattern's time would grow with the square.
    found = _LABEL.fullmatch(text) if len(text) <= LONGEST_LABEL else None
    if found is None:
        return None
    letters, column, number, drop = found.groups()
    subwell = int(number) if number else ord(drop) - ord("a") + 1 if drop else 1
    return WellPlace(row_number(letters), int(column), subwell)


def location_label(
    location_id: int, carousel: int | None, hotel: int | None, name: str | None
) -> str:
    """Return a place's own name, or ``Carousel 1, Hotel 5``, or ``Location #1``."""
    if name and name.strip():
        return name
    if carousel is not None and hotel is not None:
        return f"Carousel {carousel}, Hotel {hotel}"
    return f"Location #{location_id}"
