"""Copies as lists over all domains show them."""

from urllib.parse import quote

from benchwire.domains.stores.service import COPY_ITEM, Copies
from benchwire.foundation.catalogue import Bundle, Item
from benchwire.foundation.errors import NotFound
from benchwire.foundation.jobs.family import STATE_WORDS
from benchwire.foundation.jobs.states import JobRecord


class CopyItems:
    """Copies from stores and to them."""

    kinds: tuple[str, ...] = (COPY_ITEM,)
    bundled: tuple[str, ...] = ()

    def __init__(self, copies: Copies) -> None:
        self._copies = copies

    def find(self, text: str, limit: int) -> list[Item]:
        """Return the copies that a text occurs in."""
        return [_item(record) for record in self._copies.find(text, limit)]

    def item(self, _: str, item_id: str) -> Item:
        """Return one copy."""
        return _item(self._copies.record(item_id))

    def of_job(self, record: JobRecord) -> Item | None:
        """Return the copy that a job makes."""
        return _item(record)

    def bundle(self, kind: str, item_id: str) -> Bundle:
        """Refuse: a copy is no result of its own."""
        raise NotFound(f"There is no bundle of a {kind}")


def _item(record: JobRecord) -> Item:
    return Item(
        kind=COPY_ITEM,
        id=record.id,
        title=record.title,
        page="/jobs",
        api=f"/stores/copies/{quote(record.id, safe='')}",
        at=record.created_at,
        state=STATE_WORDS[record.state],
        detail=f"{record.params['source']} to {record.params['target']}",
    )
