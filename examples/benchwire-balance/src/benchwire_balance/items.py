"""What the balances show of themselves in lists over all domains: their weighings."""

import json
from pathlib import Path

from benchwire.foundation.catalogue import Bundle, BundledFile, Instrument, Item
from benchwire.foundation.jobs.states import JobRecord
from benchwire_balance.errors import WeighingUnknown
from benchwire_balance.schemas import WeighingAnswer
from benchwire_balance.service import PAGE
from benchwire_balance.store import Weighing, WeighingStore

KIND = "weighing"
# Whatever has this many digits still fits into the integers of any database.
_MOST_DIGITS = 18


class WeighingItems:
    """Weighings, found by their label."""

    kinds: tuple[str, ...] = (KIND,)
    bundled: tuple[str, ...] = (KIND,)

    def __init__(self, store: WeighingStore) -> None:
        self._store = store

    def find(self, text: str, limit: int) -> list[Item]:
        """Return the weighings whose label holds a text, newest first."""
        return [_item(weighing) for weighing in self._store.newest(limit, text=text)]

    def item(self, kind: str, item_id: str) -> Item:
        """Return one weighing."""
        return _item(self._weighing(kind, item_id))

    def of_job(self, record: JobRecord) -> Item | None:
        """Return nothing: a weighing is no job."""
        return None

    def bundle(self, kind: str, item_id: str) -> Bundle:
        """Return a weighing as a file, with the balance it was made on."""
        weighing = self._weighing(kind, item_id)

        def write(path: Path) -> None:
            answer = WeighingAnswer.of(weighing).model_dump()
            path.write_text(json.dumps(answer, indent=2), "utf-8")

        file = BundledFile(
            "weighing.json", "Net weight and tare in g", "application/json", make=write
        )
        return Bundle(
            _item(weighing),
            [file],
            parameters={"label": weighing.label},
            started=weighing.at,
            ended=weighing.at,
            instruments=[Instrument(weighing.balance, weighing.serial_number)],
            packages=("benchwire-balance",),
        )

    def _weighing(self, kind: str, item_id: str) -> Weighing:
        if kind != KIND or not item_id.isdecimal() or len(item_id) > _MOST_DIGITS:
            raise WeighingUnknown(f"There is no {kind} {item_id!r:.40}")
        return self._store.one(int(item_id))


def _item(weighing: Weighing) -> Item:
    return Item(
        KIND,
        str(weighing.id),
        weighing.label or f"Weighing {weighing.id}",
        page=PAGE,
        api=f"/balance/weighings/{weighing.id}",
        at=weighing.at,
        state="done",
        detail=f"{weighing.grams} g on {weighing.balance}",
    )
