"""Amounts as people write them: a number and a unit."""

import math
import re
import unicodedata

# A comma groups thousands; where it could be a decimal comma the text is refused.
_AMOUNT = re.compile(
    r"\s*((?:[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
    # An exponent is none of the unit, also where no unit follows.
    r"(?:[eE][+-]?[0-9]+|(?![eE][+-]?[0-9])))\s*([^\s0-9,.].*?)\s*"
)
LONGEST_AMOUNT = 255
# Spelled-out words, all folded, and the symbol that is meant.
_WORDS = {
    "microliter": "ul", "microliters": "ul", "microlitre": "ul", "microlitres": "ul",
    "milliliter": "ml", "milliliters": "ml", "millilitre": "ml", "millilitres": "ml",
    "nanoliter": "nl", "nanoliters": "nl", "nanolitre": "nl", "nanolitres": "nl",
    "liter": "l", "liters": "l", "litre": "l", "litres": "l",
    "milligram": "mg", "milligrams": "mg", "gram": "g", "grams": "g",
    "kilogram": "kg", "kilograms": "kg", "millimolar": "mM", "molar": "M",
}  # fmt: skip
# In mg, ul and mM, as the units that an inventory begins with.
_FACTORS = {
    "ng": 1e-6, "ug": 1e-3, "mg": 1.0, "g": 1e3, "kg": 1e6,
    "pl": 1e-6, "nl": 1e-3, "ul": 1.0, "ml": 1e3, "l": 1e6,
    "nM": 1e-6, "uM": 1e-3, "mM": 1.0, "M": 1e3,
}  # fmt: skip


def parse_amount(text: str) -> tuple[float, str] | None:
    """Return number and unit of a text such as ``50 mM`` or ``1,500ul``; None if it is none."""
    # Of a text without end the pattern's time would grow with the square.
    found = _AMOUNT.fullmatch(text) if len(text) <= LONGEST_AMOUNT else None
    if found is None:
        return None
    number = float(found[1].replace(",", ""))
    return (number, found[2]) if math.isfinite(number) else None


def unit_key(text: str) -> str:
    """Return what two spellings of a unit have in common.

    Both micro signs count as ``u``. Case is folded but for M and m alone and after a prefix, where
    it tells molar from milli-something.
    """
    plain = re.sub(r"\s+", "", unicodedata.normalize("NFKC", text))
    plain = plain.replace("\N{GREEK SMALL LETTER MU}", "u")
    word = _WORDS.get(plain.lower(), plain)
    return word if word.endswith("M") else word.lower()


def factor_of(unit: str) -> float:
    """Return what a unit counts in mg, ul or mM, 1 where that is not known."""
    return _FACTORS.get(unit_key(unit), 1.0)


def plain_number(value: float) -> str:
    """Return a number without a needless ``.0``: ``50``, ``0.5``."""
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
