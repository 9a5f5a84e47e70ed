"""Fits as lists over all domains show them."""

from pathlib import Path
from urllib.parse import quote

from benchwire.domains.traces.service import FIT_ITEM, Fittings
from benchwire.foundation.catalogue import Bundle, BundledFile, Item
from benchwire.foundation.jobs.family import STATE_WORDS
from benchwire.foundation.jobs.states import JobRecord


class FitItems:
    """Fits of models to traces."""

    kinds: tuple[str, ...] = (FIT_ITEM,)
    bundled: tuple[str, ...] = (FIT_ITEM,)

    def __init__(self, fittings: Fittings) -> None:
        self._fittings = fittings

    def find(self, text: str, limit: int) -> list[Item]:
        """Return the fits that a text occurs in."""
        return [_item(record) for record in self._fittings.find(text, limit)]

    def item(self, _: str, item_id: str) -> Item:
        """Return one fit."""
        return _item(self._fittings.record(item_id))

    def of_job(self, record: JobRecord) -> Item | None:
        """Return the fit that a job makes."""
        return _item(record)

    def bundle(self, _: str, item_id: str) -> Bundle:
        """Return the table and the record of a completed fit, and the traces it was made of."""
        table, name = self._fittings.table_file(item_id)
        record = self._fittings.record(item_id)
        files = [
            BundledFile(name, "Parameters and residuals of every trace", "text/csv", table),
            BundledFile(
                "answer.json", "The same as the API answers it", "application/json",
                self._fittings.answer_file(item_id), role="record",
            ),
        ]  # fmt: skip
        note = self._fittings.record_file(item_id)
        traces = Path(record.params["csv_path"])
        if note is not None:
            files.append(
                BundledFile("run.json", "What was read, how, with which versions",
                            "application/json", note, role="record")
            )  # fmt: skip
        if traces.is_file() and self._fittings.allowed.is_allowed(traces):
            files.append(
                BundledFile(f"input/{traces.name}", "The traces as they are now", "text/csv",
                            self._fittings.allowed.real(traces), role="input")
            )  # fmt: skip
        return Bundle(
            item=_item(record),
            files=files,
            parameters=record.params,
            started=record.started_at,
            ended=record.ended_at,
            packages=("numpy", "numba"),
            requested_by=record.requested_by,
        )


def _item(record: JobRecord) -> Item:
    return Item(
        kind=FIT_ITEM,
        id=record.id,
        title=record.title,
        page=f"/traces/fit/{quote(record.id, safe='')}",
        api=f"/api/v1/analysis/fitting/status/{quote(record.id, safe='')}",
        at=record.created_at,
        state=STATE_WORDS[record.state],
        detail=f"{record.params['n_cells']} cells",
    )
