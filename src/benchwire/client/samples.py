"""Samples: what was measured on what, over all domains."""

from typing import TYPE_CHECKING, Any

from benchwire.client.connection import Connection
from benchwire.client.frames import table
from benchwire.client.work import Work

if TYPE_CHECKING:
    import polars as pl

_AT_ONCE = 500
_SAMPLE = ("sample", "plate", "well", "items", "named_at")
_LINK = ("id", "sample", "kind", "item_id", "part", "title", "named_at", "named_by")


class Samples:
    """The samples of a server: ``bench.samples``.

    A sample is named by a free id, or by ``"<barcode>/<well>"``, which has to be a well of a plate.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def all(self, search: str = "") -> "pl.DataFrame":
        """Return all samples that something was measured on, those named last first."""
        rows = self._paged("/samples", "samples", search=search)
        return table(rows, columns=_SAMPLE, moments={"named_at"})

    def items(self, sample: str) -> "pl.DataFrame":
        """Return all that was measured on a sample, named last first: kind, item_id, title."""
        rows = self._paged("/samples/items", "items", sample=sample)
        return table([_row(row) for row in rows], columns=_LINK, moments={"named_at"})

    def _paged(self, path: str, key: str, **query: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while True:
            answer = self._connection.get(path, limit=_AT_ONCE, offset=len(found), **query)
            found += answer[key]
            if len(answer[key]) < _AT_ONCE:
                return found

    def of(self, work: Work | tuple[str, str]) -> "pl.DataFrame":
        """Return the samples a piece of work, or an item of a kind and id, was measured on."""
        kind, item_id = _named(work)
        rows = self._connection.get("/samples/links", kind=kind, item_id=item_id)["links"]
        return table([_row(row) for row in rows], columns=_LINK, moments={"named_at"})

    def link(self, sample: str, work: Work | tuple[str, str], part: str = "") -> int:
        """Say what was measured on a sample, and return the id by which that is taken back.

        Parameters
        ----------
        work
            A piece of work, or kind and id, such as ``("session", "...")``.
        part
            A slot of a run or an FOV of a workflow; empty for all of it.

        Raises
        ------
        NotFound, Invalid
            There is no such item or no such well.
        """
        kind, item_id = _named(work)
        body = {"sample": sample, "kind": kind, "item_id": item_id, "part": part}
        return int(self._connection.send("POST", "/samples/links", body)["id"])

    def unlink(self, link_id: int) -> None:
        """Take back what was said of a sample."""
        self._connection.send("DELETE", f"/samples/links/{link_id}")


def _named(work: Work | tuple[str, str]) -> tuple[str, str]:
    return (work.kind, work.id) if isinstance(work, Work) else work


def _row(row: dict[str, Any]) -> dict[str, Any]:
    item = row.get("item") or {}
    return {**row, "title": item.get("title")}
