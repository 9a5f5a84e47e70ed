"""A record's new values, taken from a request one by one; what is wrong is gathered and told.

The sentences are those that clients of this API know: the field's name in words and what it must
be, as in ``Pixel size x mm must be greater than 0``.
"""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

T = TypeVar("T")

LONGEST_TEXT = 255
LARGEST_INTEGER = 2**31 - 1


def id_of(value: object) -> int | None:
    """Return an id, also from its digits; None where it is none that a record can have."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    if isinstance(value, str):
        plain = value.strip()
        value = int(plain) if plain.isascii() and plain.isdigit() and len(plain) < 11 else 0
    return value if 0 < value <= LARGEST_INTEGER else None


def is_storable(text: str) -> bool:
    """Whether any database can keep a text: whole characters, and none of them NUL."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def in_words(key: str) -> str:
    """Return a field's name for a person: ``plate_id`` is Plate."""
    words = key.removesuffix("_id").replace("_", " ")
    return words[:1].upper() + words[1:]


class Draft:
    """The values of a record that is to be made or changed.

    Parameters
    ----------
    given
        What the request says.
    now
        What the record holds already; None for a new one, whose missing fields count as blank.
    """

    def __init__(self, given: Mapping[str, Any], now: Mapping[str, Any] | None = None) -> None:
        self._given = given
        self._now = now
        self.values: dict[str, Any] = {}
        self.reasons: list[str] = []

    @property
    def given(self) -> dict[str, Any]:
        """The values that the request names; what it does not name is not to be written."""
        return {key: value for key, value in self.values.items() if key in self._given}

    def is_given(self, key: str) -> bool:
        """Whether the request says anything of a field."""
        return key in self._given

    def refuse(self, key: str, predicate: str) -> None:
        """Note what is wrong with a field."""
        self.reasons.append(f"{in_words(key)} {predicate}")

    def text(
        self, key: str, *, required: bool = False, longest: int | None = LONGEST_TEXT
    ) -> str | None:
        """Take a text, exactly as it is; None where it is not given or blank."""
        value = self._taken(key)
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        if value is not None and not isinstance(value, str):
            self.refuse(key, "is not a text")
            return None
        if value is not None and not is_storable(value):
            self.refuse(key, "contains characters that cannot be stored")
            return None
        if value is None or not value.strip():
            if required:
                self.refuse(key, "can't be blank")
            return self._keep(key, value)
        if longest is not None and len(value) > longest:
            self.refuse(key, f"is too long (maximum is {longest} characters)")
        return self._keep(key, value)

    def integer(
        self,
        key: str,
        *,
        required: bool = False,
        above: int | None = None,
        least: int | None = None,
        most: int = LARGEST_INTEGER,
    ) -> int | None:
        """Take a whole number, also from its digits."""
        number = self._number(key, required=required)
        if number is None:
            return None
        if not number.is_integer():
            self.refuse(key, "must be an integer")
            return None
        if not self._is_within(key, number, above, least, most):
            return None
        return self._keep(key, int(number))

    def number(
        self,
        key: str,
        *,
        required: bool = False,
        above: float | None = None,
        least: float | None = None,
        below: float = 1e15,
        places: int | None = None,
    ) -> float | None:
        """Take a number, rounded to so many decimal places."""
        number = self._number(key, required=required)
        if number is None:
            return None
        rounded = number if places is None else round(number, places)
        if abs(rounded) >= below:
            self.refuse(key, f"must be less than {below:g}")
            return None
        if not self._is_within(key, rounded, above, least, None):
            return None
        return self._keep(key, rounded)

    def moment(self, key: str, default: datetime) -> datetime | None:
        """Take a point in time in ISO 8601, UTC where it names no offset; else the default."""
        value = self._taken(key)
        if value in (None, ""):
            return self._keep(key, default) if self._now is None else None
        try:
            found = datetime.fromisoformat(str(value).strip())
            found = (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):
            self.refuse(key, "is not a valid date and time")
            return None
        return self._keep(key, found)

    def choice(self, key: str, choices: tuple[str, ...], default: str) -> str | None:
        """Take one of some words."""
        value = self._taken(key)
        if value is None:
            return self._keep(key, default) if self._now is None else None
        if value not in choices:
            self.refuse(key, "is not included in the list")
            return None
        return self._keep(key, str(value))

    def identifier(self, key: str) -> int | None:
        """Take the id of another record; whether it exists is for the database to say."""
        value = self._taken(key)
        found = id_of(value)
        if found is not None:
            return self._keep(key, found)
        if self._now is None or self.is_given(key):
            self.refuse(key, "must exist")
        return None

    def _taken(self, key: str) -> Any:
        if key in self._given:
            return self._given[key]
        return None if self._now is None else self._now.get(key)

    def _keep(self, key: str, value: T) -> T:
        self.values[key] = value
        return value

    def _number(self, key: str, *, required: bool) -> float | None:
        value = self._taken(key)
        if value is None or (isinstance(value, str) and not value.strip()):
            if required:
                self.refuse(key, "can't be blank")
            else:
                self._keep(key, None)
            return None
        number = _as_number(value)
        if number is None:
            self.refuse(key, "is not a number")
        return number

    def _is_within(
        self,
        key: str,
        number: float,
        above: float | None,
        least: float | None,
        most: float | None,
    ) -> bool:
        for is_wrong, predicate in (
            (above is not None and number <= above, f"must be greater than {above}"),
            (least is not None and number < least, f"must be greater than or equal to {least}"),
            (most is not None and number > most, f"must be less than or equal to {most}"),
        ):
            if is_wrong:
                self.refuse(key, predicate)
                return False
        return True


def _as_number(value: object) -> float | None:
    """Return a number or the text of one as a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and (not value.isascii() or "_" in value):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
