"""Amounts in requests: a number and a unit's id, or both as one text."""

from benchwire.domains.plates.amounts import parse_amount
from benchwire.domains.plates.store.chemistry import ChemistryStore
from benchwire.domains.plates.values import LONGEST_TEXT, Draft

_EXAMPLES = "Write a number and a unit: 50 ul, 1.5 ml, 20 mM."


class Measures:
    """Reads amounts, looking up units in the inventory."""

    def __init__(self, chemistry: ChemistryStore) -> None:
        self._chemistry = chemistry

    def take(
        self, draft: Draft, key: str, *, has_text: bool, takes_any: bool = False
    ) -> tuple[float | None, int | str | None]:
        """Take an amount from a draft: ``<key>`` and ``unit_id``, or ``<key>_with_unit``.

        Parameters
        ----------
        has_text
            Whether the request gives the text.
        takes_any
            Whether a unit may be one that is not known yet; it is returned as it is written.
        """
        if not has_text:
            number = draft.number(key, required=True, above=0)
            return number, draft.identifier("unit_id")
        text_key = f"{key}_with_unit"
        found = parse_amount(draft.text(text_key) or "")
        draft.values.pop(text_key, None)
        if found is None:
            draft.refuse(text_key, f"Invalid format. {_EXAMPLES}")
            return None, None
        number, symbol = found
        if number <= 0:
            draft.refuse(key, "must be greater than 0")
        unit = self._chemistry.unit_called(symbol)
        if unit is not None:
            return number, int(unit["id"])
        if takes_any and len(symbol) <= LONGEST_TEXT:
            return number, symbol
        draft.refuse(text_key, f"Unknown unit: {symbol[:60]}")
        return number, None
