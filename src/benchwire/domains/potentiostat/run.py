"""One run while it is under way: its slots in threads of their own, and one account of them."""

import json
import logging
import math
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchwire import __version__
from benchwire.domains.potentiostat import work
from benchwire.domains.potentiostat.acquisition import Measurement
from benchwire.domains.potentiostat.driver import RunLatch, Stopped
from benchwire.domains.potentiostat.keeper import InstrumentKeeper
from benchwire.domains.potentiostat.modes import Mode, Parameters
from benchwire.domains.potentiostat.run_folder import RunFolder, RunNames
from benchwire.domains.potentiostat.slots import Slot
from benchwire.domains.potentiostat.status import run_status
from benchwire.domains.potentiostat.store import UNFINISHED, RunRecord, RunStore, SlotRecord
from benchwire.foundation.clock import Clock, utc_text
from benchwire.foundation.errors import BenchwireError, Failed
from benchwire.foundation.files import disk_refusal, sha256_of, write_whole
from benchwire.foundation.jobs.runner import JobContext
from benchwire.foundation.jobs.states import JobStopped, StopReason
from benchwire.foundation.streams import Hub
from benchwire.foundation.workers import Executor

logger = logging.getLogger(__name__)

PLOT_SECONDS = 120.0
# A slot that was stopped has to be free soon; the plots of its finished modes may come later.
PLOT_SECONDS_AFTER_STOP = 0.5
_REPORT_SECONDS = 0.5
_LOOK_SECONDS = 0.1
_STOP_MESSAGES = {
    StopReason.CANCELLED: "cancelled",
    StopReason.TIME_LIMIT: "stopped at the time limit",
    StopReason.SHUTDOWN: "server stopped",
}


@dataclass(frozen=True, slots=True)
class ModeOrder:
    """One mode as ordered; ``repeat`` counts its turns in the run from 1."""

    name: str
    mode: Mode
    parameters: Parameters
    repeat: int


@dataclass(frozen=True, slots=True)
class RunOrder:
    """A run as ordered, checked and with its folder made. ``planned`` is in seconds per slot."""

    run_id: str
    modes: tuple[ModeOrder, ...]
    gain: int
    sampling_interval: float | None
    make_plot: bool
    names: RunNames
    folder: RunFolder
    planned: float | None


@dataclass(frozen=True, slots=True)
class RunParts:
    """What a run needs of the server."""

    store: RunStore
    clock: Clock
    hub: Hub
    workers: Executor
    keeper: InstrumentKeeper


class ActiveRun:
    """A run from its reservation to its end."""

    def __init__(
        self,
        order: RunOrder,
        slots: list[Slot],
        record: RunRecord,
        parts: RunParts,
        *,
        release: Callable[[Slot], None],
    ) -> None:
        self.order = order
        self._slots = slots
        self._record = record
        self._parts = parts
        self._release = release
        self._latches = {slot.name: RunLatch() for slot in slots}
        self._started: dict[str, float] = {}
        self._reason: StopReason | None = None
        self._ends: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()
        self._is_stored = False

    # -- what others may ask ----------------------------------------------------------------

    @property
    def record(self) -> RunRecord:
        """The run as it is at this moment."""
        with self._lock:
            return self._record

    @property
    def is_stored(self) -> bool:
        """Whether its end is on the disk."""
        return self._is_stored

    def elapsed(self, slot: str) -> float:
        """Return the seconds since a slot started, 0 before."""
        started = self._started.get(slot)
        return 0.0 if started is None else self._parts.clock.monotonic() - started

    def seconds_left(self) -> list[float]:
        """Return how long each slot that has not ended still measures, infinity if unknown."""
        planned = math.inf if self.order.planned is None else self.order.planned
        return [
            max(planned - self.elapsed(slot.slot), 0.0)
            for slot in self.record.slots
            if slot.status in UNFINISHED
        ]

    @property
    def outcome(self) -> str | None:
        """What the run's status will be once its end is stored, None before all slots have ended.

        No stop changes it any more, though it takes minutes to go through large files.
        """
        with self._lock:
            return self._outcome()

    def _outcome(self) -> str | None:
        if len(self._ends) < len(self._slots):
            return None
        return self._with_ends().status

    def stop(self, reason: StopReason) -> None:
        """Open every cell of this run, for good; the first reason stands."""
        with self._lock:
            if self._outcome() is None:
                self._reason = self._reason or reason
        for latch in self._latches.values():
            latch.trip(_STOP_MESSAGES[reason])

    # -- running ----------------------------------------------------------------------------

    def execute(self, context: JobContext) -> dict[str, Any]:
        """Run all slots side by side and return when the last has ended.

        Raises
        ------
        JobStopped
            The run was cancelled, or stopped by its limit or the server's end.
        Failed
            A slot failed; the message names it.
        """
        context.stop.on_stop(self.stop)
        threads = [
            threading.Thread(
                target=self._run_slot, args=(slot,), name=f"run {slot.name}", daemon=True
            )
            for slot in self._slots
        ]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                while thread.is_alive():
                    thread.join(_REPORT_SECONDS)
                    self._report(context)
        finally:
            self._parts.keeper.forget(self.order.run_id)
        record = self.record
        status = run_status(record.slots)
        if status == "cancelled" or (status == "failed" and self._reason is not None):
            context.note_partial_files([file for slot in record.slots for file in slot.files])
            stopped = next((slot for slot in record.slots if slot.status == status), None)
            raise JobStopped((stopped and stopped.message) or "cancelled")
        if status == "failed":
            failed = [slot for slot in record.slots if slot.status == "failed"]
            context.note_partial_files([file for slot in failed for file in slot.files])
            raise Failed("; ".join(f"{slot.slot}: {slot.message}" for slot in failed))
        if status in UNFINISHED:
            raise Failed("A slot broke off without an end; the server's log has it")
        return {"folder": record.folder}

    def _report(self, context: JobContext) -> None:
        planned = self.order.planned
        unfinished = [slot for slot in self.record.slots if slot.status in UNFINISHED]
        if planned is None or not unfinished:
            return
        elapsed = min(self.elapsed(slot.slot) for slot in unfinished)
        context.report(
            min(elapsed / planned, 0.99),
            remaining=max(planned - elapsed, 0.0),
            message=self._where(unfinished),
        )

    def _where(self, unfinished: list[SlotRecord]) -> str:
        number = min(slot.mode_number or 0 for slot in unfinished)
        return f"{self.order.modes[number].name} on {', '.join(s.slot for s in unfinished)}"

    def _run_slot(self, slot: Slot) -> None:
        latch = self._latches[slot.name]
        plots: list[Future[None]] = []
        notes: list[str | None] = []
        tables: list[Path] = []
        status, message = "done", None
        try:
            latch.raise_if_tripped()
            self._started[slot.name] = self._parts.clock.monotonic()
            self._change(slot, status="running", started_at=self._parts.clock.now())
            for number, order in enumerate(self.order.modes):
                latch.raise_if_tripped()
                self._change(slot, mode_number=number)
                tables.append(self._table_of(slot, order))
                notes.append(self._measure(slot, order, tables[-1], latch, plots))
            status, message = self._verdict_on(tables)
        except Stopped as stopped:
            cancelled = self._reason in {None, StopReason.CANCELLED}
            status = "cancelled" if cancelled else "failed"
            message = stopped.message
        except BenchwireError as error:
            status, message = "failed", error.message
        except Exception as error:
            logger.exception("run %s: %s broke off", self.order.run_id, slot.name)
            refusal = disk_refusal(error) if isinstance(error, OSError) else None
            message = refusal.message if refusal else "An unforeseen error; the server's log has it"
            status = "failed"
        if status == "done":
            notes.append(self._await_plots(plots, latch))
        else:
            wait(plots, PLOT_SECONDS_AFTER_STOP)
        self._end_slot(slot, status, [message, *notes])

    def _table_of(self, slot: Slot, order: ModeOrder) -> Path:
        """Return where a mode's samples go."""
        stem = self.order.names.stem(slot.name, order.name, order.repeat)
        return self.order.folder.csv_path(slot.name, order.name, stem)

    def _verdict_on(self, tables: list[Path]) -> tuple[str, str | None]:
        """Return the status and message of a slot that has measured all of its modes."""
        if not self.order.folder.root.is_dir():
            return "done", "The disk of the runs was away at the end"
        # Somebody may have tidied up meanwhile, which no write into an open file would tell.
        if removed := [table.name for table in tables if not table.is_file()]:
            return "failed", f"Removed by somebody during the run: {', '.join(removed)}"
        return "done", None

    def _measure(
        self,
        slot: Slot,
        order: ModeOrder,
        csv_path: Path,
        latch: RunLatch,
        plots: list[Future[None]],
    ) -> str | None:
        """Measure one mode and have it drawn; returns what is odd about it."""
        note = slot.instrument.measure(
            Measurement(
                order.mode, dict(order.parameters), csv_path, self.order.gain,
                self.order.sampling_interval,
            ),
            latch=latch,
            run_id=self.order.run_id,
            slot=slot.name,
        )  # fmt: skip
        if self.order.make_plot:
            title = f"{order.mode.title}, {self.order.names.experiment}, {slot.name}"
            plots.append(
                self._parts.workers.submit(
                    work.draw_plot,
                    str(csv_path),
                    str(csv_path.with_suffix(".png")),
                    order.mode.name,
                    title,
                    time_limit=PLOT_SECONDS,
                )
            )
        return note

    def _await_plots(self, plots: list[Future[None]], latch: RunLatch) -> str | None:
        """Wait for the plots; a plot that fails is a note on the slot, not a failed slot."""
        latest = self._parts.clock.monotonic() + PLOT_SECONDS
        while wait(plots, _LOOK_SECONDS).not_done and self._parts.clock.monotonic() < latest:
            if latch.is_tripped:
                wait(plots, PLOT_SECONDS_AFTER_STOP)
                break
        for plot in plots:
            try:
                plot.result(0)
            except Exception as error:  # noqa: BLE001 - whatever it is, the data are here
                logger.warning("a plot could not be drawn: %r", error)
                return "The data are complete; a plot could not be drawn"
        return None

    # -- the account ------------------------------------------------------------------------

    def _change(self, slot: Slot, **values: Any) -> None:
        with self._lock:
            self._record = _changed(self._record, slot, values)
            changed = _of(self._record, slot)
        # The next mode does not wait for the disk; what is not stored now is at the slot's end.
        self._parts.store.save_slot_later(self.order.run_id, changed).add_done_callback(
            self._note_unstored
        )

    def _note_unstored(self, stored: Future[None]) -> None:
        if (error := stored.exception()) is not None:
            logger.error("how far run %s is could not be stored: %s", self.order.run_id, error)

    def _end_slot(self, slot: Slot, status: str, notes: list[str | None]) -> None:
        """Settle a slot; the last one settles the run, after its summary is on the disk."""
        end: dict[str, Any] = {"files": self._files_of(slot)}
        with self._lock:
            end["ended_at"] = self._parts.clock.now()
            if status == "done" and self._reason is StopReason.CANCELLED:
                # Whoever cancelled was told so, although the data are complete.
                status, notes = "cancelled", [_STOP_MESSAGES[self._reason], *notes]
            message = "; ".join(dict.fromkeys(filter(None, notes))) or None
            self._ends[slot.name] = {**end, "status": status, "message": message}
            run = self._with_ends()
        if status == "failed":
            logger.warning("run %s: %s failed: %s", run.run_id, slot.name, message)
        stored = self._parts.store.save_slot_later(run.run_id, _of(run, slot))
        is_last = run.status not in UNFINISHED
        if is_last:
            # It takes minutes to go through large files, and the server may be stopped in them.
            stored.add_done_callback(self._note_unstored)
            run = replace(run, ended_at=end["ended_at"])
            self._store_end(run)
        elif (error := stored.exception()) is not None:
            # The slot is freed all the same; it is stored again with the end of the run.
            logger.error("the end of %s in run %s could not be stored: %s", slot.name,
                         run.run_id, error)  # fmt: skip
        with self._lock:
            # Other slots may have gone on meanwhile.
            self._record = run if is_last else _changed(self._record, slot, self._ends[slot.name])
        self._release(slot)

    def _with_ends(self) -> RunRecord:
        """Return the run with the ends of its slots, stored or not."""
        run = self._record
        for slot in self._slots:
            if slot.name in self._ends:
                run = _changed(run, slot, self._ends[slot.name])
        return run

    def _files_of(self, slot: Slot) -> tuple[str, ...]:
        try:
            return self.order.folder.files([slot.name])
        except OSError as error:
            logger.error("the files of run %s cannot be listed: %s", self.order.run_id, error)
            return ()

    def store_end(self) -> bool:
        """Store the end of the run where the disk has refused that; whether it is stored now."""
        for slot in self._slots:
            # With the disk away at the end there seemed to be none.
            if files := self._files_of(slot):
                with self._lock:
                    self._record = _changed(self._record, slot, {"files": files})
        self._store_end(self.record)
        return self._is_stored

    def _store_end(self, run: RunRecord) -> None:
        folder = self.order.folder
        try:
            # A folder that somebody removed gets no summary; without its root it may be back yet.
            if folder.path.is_dir() or not folder.root.is_dir():
                write_summary(run, folder)
            self._parts.store.end_run(run)
        except Exception as error:  # noqa: BLE001 - it is tried again, and the slot is freed
            logger.error("the end of run %s could not be stored: %r", run.run_id, error)
        else:
            self._is_stored = True


def _changed(run: RunRecord, slot: Slot, values: Mapping[str, Any]) -> RunRecord:
    """Return a run with other values of one of its slots."""
    slots = tuple(
        replace(record, **values) if record.slot == slot.name else record for record in run.slots
    )
    return replace(run, slots=slots, status=run_status(slots))


def _of(run: RunRecord, slot: Slot) -> SlotRecord:
    return next(record for record in run.slots if record.slot == slot.name)


def write_summary(run: RunRecord, folder: RunFolder) -> None:
    """Write how a run was made and what it wrote, beside its data.

    The file names the request, the instruments, the times, and for each file its SHA-256, its
    columns and their units.
    """
    content = {
        "run_id": run.run_id,
        "status": run.status,
        "software": {"name": "benchwire", "version": __version__},
        "started_at": utc_text(run.started_at),
        "ended_at": None if run.ended_at is None else utc_text(run.ended_at),
        "request": dict(run.request),
        "sign_convention": "as the instrument reports; not confirmed on hardware",
        "slots": [
            {
                "slot": slot.slot,
                "instrument_serial_number": slot.serial_number,
                "status": slot.status,
                "message": slot.message,
                "started_at": None if slot.started_at is None else utc_text(slot.started_at),
                "ended_at": None if slot.ended_at is None else utc_text(slot.ended_at),
            }
            for slot in run.slots
        ],
        "files": [_describe(folder, name) for name in folder.files()],
    }
    write_whole(folder.summary, json.dumps(content, indent=1, ensure_ascii=False).encode("utf-8"))


def _describe(folder: RunFolder, name: str) -> dict[str, Any]:
    path = folder.path / name
    described: dict[str, Any] = {
        "path": name,
        "bytes": path.stat().st_size,
        "sha256": sha256_of(path),
    }
    if path.suffix == ".csv":
        with path.open("r", encoding="ascii", errors="replace") as file:
            header = file.readline().strip()
        described["columns"] = [_column(column) for column in header.split(",")]
    return described


def _column(title: str) -> dict[str, str | None]:
    """Return a column's name and unit from a title such as ``Current (A)``."""
    name, bracket, unit = title.rpartition(" (")
    if not bracket:
        return {"name": title, "unit": None}
    return {"name": name, "unit": unit.rstrip(")")}
