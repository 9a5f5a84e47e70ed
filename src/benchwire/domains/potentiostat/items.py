"""Runs and slots as lists over all domains show them, and what needs looking at."""

from pathlib import Path, PurePosixPath
from typing import Literal
from urllib.parse import quote

from benchwire.domains.potentiostat.service import RUN_ITEM, RUN_KIND, SUMMARY, Potentiostats
from benchwire.domains.potentiostat.slots import Slot
from benchwire.domains.potentiostat.store import UNFINISHED, RunRecord
from benchwire.foundation.catalogue import Bundle, BundledFile, Instrument, Item, Notice
from benchwire.foundation.errors import Conflict, NotFound
from benchwire.foundation.jobs.states import JobRecord

SLOT_ITEM = "slot"
PAGE = "/potentiostat"
_FILES = {".csv": ("text/csv", "Samples"), ".png": ("image/png", "Plot")}


class RunUnfinished(Conflict):
    """A run that is still under way has no bundle."""

    code = "runs.unfinished"


class RunItems:
    """Runs and slots."""

    kinds: tuple[str, ...] = (RUN_ITEM, SLOT_ITEM)
    bundled: tuple[str, ...] = (RUN_ITEM,)

    def __init__(self, potentiostats: Potentiostats) -> None:
        self._potentiostats = potentiostats

    def find(self, text: str, limit: int) -> list[Item]:
        """Return the runs and slots that a text occurs in."""
        wanted = text.lower()
        slots = [
            _slot_item(slot)
            for slot in self._potentiostats.slots.all()
            if wanted in f"{slot.name} {slot.serial_number or ''}".lower()
        ]
        return slots + [_run_item(run) for run in self._potentiostats.find(text, limit)]

    def item(self, kind: str, item_id: str) -> Item:
        """Return a run or a slot."""
        if kind == RUN_ITEM:
            return _run_item(self._potentiostats.record(item_id))
        for slot in self._potentiostats.slots.all():
            if slot.name == item_id:
                return _slot_item(slot)
        raise NotFound(f"There is no slot called {item_id!r:.60}")

    def of_job(self, record: JobRecord) -> Item | None:
        """Return the run that a job measures or uploads."""
        run_id = record.id if record.kind == RUN_KIND else record.params.get("run_id", "")
        return self.item(RUN_ITEM, run_id)

    def bundle(self, kind: str, item_id: str) -> Bundle:
        """Return all files of a finished run, whether it succeeded or not."""
        run = self._potentiostats.record(item_id)
        if run.status in UNFINISHED:
            raise RunUnfinished("The run is still under way", hint="Wait for its end.")
        job = self._potentiostats.jobs.newest_of([item_id]).get(item_id)
        return Bundle(
            item=_run_item(run),
            files=[_bundled(name, path) for name, path in self._potentiostats.archive(item_id)],
            parameters=run.request,
            started=run.started_at,
            ended=run.ended_at,
            instruments=[
                Instrument(f"Potentiostat {slot.slot}", slot.serial_number) for slot in run.slots
            ],
            packages=("numpy", "matplotlib"),
            requested_by="" if job is None else job.requested_by,
        )

    def notices(self) -> list[Notice]:
        """Return what is wrong with the instruments."""
        return [
            Notice("error", f"{slot.name}: the potentiostat does not answer", PAGE)
            for slot in self._potentiostats.slots.all()
            if not slot.is_connected
        ]


def run_page(run_id: str) -> str:
    """Return the page of a run."""
    return f"{PAGE}/run/{quote(run_id, safe='')}"


def _run_item(run: RunRecord) -> Item:
    modes = ", ".join(run.request.get("modes") or ())
    experiment = run.request.get("experiment_name") or run.run_id
    return Item(
        kind=RUN_ITEM,
        id=run.run_id,
        title=f"{experiment}: {modes}" if modes else str(experiment),
        page=run_page(run.run_id),
        api=f"/jobs/{quote(run.run_id, safe='')}",
        at=run.started_at,
        state=run.status,
        detail=", ".join(slot.slot for slot in run.slots),
        parts=tuple(slot.slot for slot in run.slots),
        has_bundle=run.status not in UNFINISHED,
    )


def _slot_item(slot: Slot) -> Item:
    return Item(
        kind=SLOT_ITEM,
        id=slot.name,
        title=f"Potentiostat {slot.name}",
        page=PAGE,
        api="/devices/status",
        state="connected" if slot.is_connected else "unplugged",
        detail=f"serial number {slot.serial_number}" if slot.serial_number else "",
        parts=(),
    )


def _bundled(name: PurePosixPath, path: Path) -> BundledFile:
    if name.as_posix() == SUMMARY:
        return BundledFile(
            SUMMARY, "How the run was made and what it wrote", "application/json", path,
            role="record",
        )  # fmt: skip
    media_type, what = _FILES.get(name.suffix, ("application/octet-stream", "File"))
    role: Literal["plot", "result"] = "plot" if name.suffix == ".png" else "result"
    return BundledFile(
        name.as_posix(), f"{what} of {name.parts[1]}, {name.parts[2]}", media_type, path, role=role
    )
