"""Places for plates, and the grid they make."""

from collections.abc import Mapping
from typing import Any

from benchwire.domains.plates import answers
from benchwire.domains.plates.errors import Unacceptable
from benchwire.domains.plates.requests import Page, root
from benchwire.domains.plates.store.locations import HISTORY, LocationStore
from benchwire.domains.plates.store.plates import PlateStore
from benchwire.domains.plates.values import Draft

Answer = dict[str, Any]

MOST_POSITIONS = 10_000
MOST_CELLS = 20_000
_COLUMNS = ("name", "carousel_position", "hotel_position")
_POSITIONS = ("carousel_position", "hotel_position")
_EMPTY_GRID = (10, 20)
_NEITHER = (
    "Either name must be present, or both carousel_position and hotel_position must be present"
)


class Locations:
    """All locations."""

    def __init__(self, store: LocationStore, plates: PlateStore) -> None:
        self._store = store
        self._plates = plates

    def all(self, name: str, carousel: int | None, hotel: int | None) -> list[Answer]:
        """Return the locations that meet all filters."""
        found = self._store.matching(name.strip(), carousel, hotel)
        return [answers.location_element(item) for item in found]

    def carousel(self) -> list[Answer]:
        """Return the positions of the carousel."""
        return [answers.location_element(item) for item in self._store.carousel()]

    def special(self) -> list[Answer]:
        """Return the places with a name and no position."""
        return [answers.location_element(item) for item in self._store.special()]

    def one(self, location_id: int) -> Answer:
        """Return a location with the plate there."""
        return answers.location_details(self._store.one(location_id))

    def create(self, body: Mapping[str, Any]) -> Answer:
        """Make a location, a position of the carousel or a special one."""
        given = root(body, "location", _COLUMNS)
        kind = body.get("location_type") or _kind_of(given)
        if kind == "special" or _is_blank(given.get("carousel_position")):
            given = {key: value for key, value in given.items() if key not in _POSITIONS}
        else:
            given.pop("name", None)
        draft = Draft(given)
        return self.one(self._store.save(None, _checked(draft), draft.reasons))

    def update(self, location_id: int, body: Mapping[str, Any]) -> Answer:
        """Change a location; an explicit type clears what belongs to the other."""
        record = self._store.one(location_id)
        given = root(body, "location", _COLUMNS)
        kind = body.get("location_type")
        if kind == "special":
            given = {**given, **dict.fromkeys(_POSITIONS)}
        elif kind == "carousel":
            given = {**given, "name": None}
        draft = Draft(given, record)
        values = _checked(draft)
        self._store.save(location_id, values, draft.reasons, {*given, "special_key"})
        return self.one(location_id)

    def delete(self, location_id: int) -> None:
        """Delete a location that is free."""
        self._store.one(location_id)
        self._store.delete(location_id)

    def plates_at(self, location_id: int) -> list[Answer]:
        """Return the plate at a location, if there is one."""
        return answers.plates_there(self._store.one(location_id))

    def history(self, location_id: int, page: Page = Page()) -> list[Answer]:  # noqa: B008 - frozen
        """Return the arrivals at a location, newest first."""
        self._store.one(location_id)
        found = self._store.history(location_id, page.offset, page.limit or HISTORY)
        return [answers.arrival(item) for item in found]

    def clear(self, location_id: int) -> tuple[Answer, str]:
        """Take away the plate at a location; return what to say too."""
        record = self._store.one(location_id)
        shown = answers.location(record)
        taken = self._plates.clear(location_id)
        label = shown["display_name"]
        answer = {
            "location": shown,
            "plates_unassigned": [{"barcode": item, "status": "success"} for item in taken],
            "message": (
                f"Successfully unassigned {len(taken)} plates from location {label}"
                if taken
                else f"No plates found at location {label}"
            ),
        }
        return answer, "All plates unassigned successfully" if taken else "No plates to unassign"

    def initialise(self, body: Mapping[str, Any]) -> Answer:
        """Make every position of a carousel that is missing."""
        draft = Draft(body)
        carousel = draft.integer("carousel_positions", least=1, most=MOST_POSITIONS)
        hotel = draft.integer("hotel_positions", least=1, most=MOST_POSITIONS)
        carousel, hotel = carousel or _EMPTY_GRID[0], hotel or _EMPTY_GRID[1]
        if carousel * hotel > MOST_CELLS:
            draft.reasons.append(f"A carousel has {MOST_CELLS} positions at most")
        if draft.reasons:
            raise Unacceptable("create location", draft.reasons)
        created, existing = self._store.initialise(carousel, hotel)
        return {"created": created, "existing": existing}

    def grid(self) -> Answer:
        """Return the carousel as rows of one hotel level each, holes included."""
        rows = self._store.carousel(with_counts=True)
        here = {(row["carousel_position"], row["hotel_position"]): row for row in rows}
        if here:
            low = (min(c for c, _ in here), min(h for _, h in here))
            high = (max(c for c, _ in here), max(h for _, h in here))
        else:
            low, high = (1, 1), _EMPTY_GRID
        width, height = high[0] - low[0] + 1, high[1] - low[1] + 1
        is_sparse = width * height > MOST_CELLS
        carousels: Any = sorted({c for c, _ in here}) if is_sparse else range(low[0], high[0] + 1)
        hotels: Any = sorted({h for _, h in here}) if is_sparse else range(low[1], high[1] + 1)
        if is_sparse and len(carousels) * len(hotels) > MOST_CELLS:
            # Positions all over the place: only those there are, one row per level in use.
            grid = [[_cell(c, h, here) for c in carousels if (c, h) in here] for h in hotels]
        else:
            grid = [[_cell(c, h, here) for c in carousels] for h in hotels]
        answer: Answer = {
            "grid": grid,
            "dimensions": {
                "carousel_positions": width,
                "hotel_positions": height,
                "min_carousel": low[0],
                "max_carousel": high[0],
                "min_hotel": low[1],
                "max_hotel": high[1],
            },
        }
        return {**answer, "sparse": True} if is_sparse else answer


def _cell(carousel: int, hotel: int, here: Mapping[tuple[int, int], Any]) -> Answer:
    record = here.get((carousel, hotel))
    there = [] if record is None else answers.plates_there(record)
    return {
        "carousel_position": carousel,
        "hotel_position": hotel,
        "location": None if record is None else answers.location(record),
        "plate": there[0] if there else None,
        "occupied": bool(there),
    }


def _kind_of(given: Mapping[str, Any]) -> str:
    if not _is_blank(given.get("name")):
        return "special"
    has_both = not any(_is_blank(given.get(key)) for key in _POSITIONS)
    return "carousel" if has_both else "special"


def _is_blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _checked(draft: Draft) -> Answer:
    """Take a location's values, and note what is wrong with them."""
    name = draft.text("name")
    if name is not None and not name.strip():
        name = None
    before = len(draft.reasons)
    positions = [draft.integer(key, above=0, most=MOST_POSITIONS) for key in _POSITIONS]
    are_good = len(draft.reasons) == before
    if name is None and are_good and None in positions:
        if positions == [None, None]:
            draft.refuse("name", "can't be blank")
        draft.reasons.append(_NEITHER)
    is_special = name is not None and positions == [None, None]
    return {
        "name": name,
        "carousel_position": positions[0],
        "hotel_position": positions[1],
        "special_key": name.casefold() if is_special and name is not None else None,
    }
