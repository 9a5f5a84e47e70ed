"""Runs on potentiostats: start, follow, cancel, and hand out what was measured."""

import asyncio
import contextlib
import logging
import platform
import secrets
import shutil
import subprocess
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import benchwire
from benchwire.domains.potentiostat import status, validation
from benchwire.domains.potentiostat.checks import (
    RunLimits,
    bytes_of_tables,
    check_limits,
    check_options,
    check_samples,
    check_space,
    gain_of,
    is_run_id,
    ordered_modes,
)
from benchwire.domains.potentiostat.errors import (
    KeyReused,
    ModeParametersUnknown,
    NoInstrument,
    NoRunIds,
    RunFileNotFound,
    RunFolderNotFound,
    RunIdsUnknown,
    RunIdTaken,
    RunNotFound,
    SlotChanged,
)
from benchwire.domains.potentiostat.live import snapshot, topic_of
from benchwire.domains.potentiostat.modes import MODES, UnknownMode, mode_named
from benchwire.domains.potentiostat.progress import plan_total
from benchwire.domains.potentiostat.recording import drop_half_row
from benchwire.domains.potentiostat.run import (
    ActiveRun,
    ModeOrder,
    RunOrder,
    RunParts,
    write_summary,
)
from benchwire.domains.potentiostat.run_folder import RunFolder, RunNames, allocate, subdir_of
from benchwire.domains.potentiostat.run_index import RunIndex, told_beside
from benchwire.domains.potentiostat.schemas import JobOverview, JobStatus
from benchwire.domains.potentiostat.slots import Slot, SlotRegistry
from benchwire.domains.potentiostat.store import FINISHED, UNFINISHED, RunRecord, SlotRecord
from benchwire.domains.potentiostat.uploads import Uploads
from benchwire.domains.potentiostat.validation import Validation
from benchwire.foundation.clock import Clock
from benchwire.foundation.db import storable
from benchwire.foundation.errors import BenchwireError
from benchwire.foundation.files import FileNotInFolder, file_inside, open_plain
from benchwire.foundation.jobs.runner import JobContext, JobKind, Jobs
from benchwire.foundation.jobs.states import Interruption, JobRecord, JobState, StopReason
from benchwire.foundation.samples.names import by_part, names_of
from benchwire.foundation.samples.store import Given, Samples
from benchwire.foundation.streams import Hub

logger = logging.getLogger(__name__)

RUN_KIND = "potentiostat.run"
RUN_ITEM = "run"
"""What a run is called in lists over all domains."""

API_VERSION = "1.0"
SUMMARY = "run.json"
"""What clients call a run's summary, whatever its name in a folder it shares."""

STORE_AGAIN_SECONDS = 2.0
_CURVES_SECONDS = 2.0


@dataclass(slots=True)
class Potentiostats:
    """All potentiostats of this box and the runs on them."""

    slots: SlotRegistry
    parts: RunParts
    jobs: Jobs
    uploads: Uploads
    samples: Samples
    runs_root: Path
    index: RunIndex
    limits: RunLimits
    box_id: str
    build: Callable[[], str]
    _active: dict[str, ActiveRun] = field(default_factory=dict)
    _starting: threading.Lock = field(default_factory=threading.Lock)

    @property
    def hub(self) -> Hub:
        """Where live events go."""
        return self.parts.hub

    @property
    def clock(self) -> Clock:
        """The time."""
        return self.parts.clock

    # -- the box ----------------------------------------------------------------------------

    def version(self) -> dict[str, str]:
        """Return the versions of what runs here."""
        return {
            "api": API_VERSION,
            "pybeep": f"benchwire-{benchwire.__version__}",
            "python": platform.python_version(),
            "build": self.build(),
            "benchwire": benchwire.__version__,
        }

    def health(self) -> dict[str, Any]:
        """Return how the box is, from what is known already."""
        return {"ok": True, "devices": len(self.slots.connected()), "box_id": self.box_id}

    def devices(self) -> list[dict[str, str | None]]:
        """Return the connected instruments by slot."""
        return [
            {"slot": slot.name, "port": slot.instrument.port.path, "sn": slot.serial_number}
            for slot in self.slots.connected()
        ]

    def device_status(self) -> list[dict[str, Any]]:
        """Return what every slot is doing, unplugged ones included."""
        return [self._device_status(slot) for slot in self.slots.all()]

    def _device_status(self, slot: Slot) -> dict[str, Any]:
        active = self._active.get(slot.run_id or "")
        found = None
        if active is not None:
            found = next((s for s in active.record.slots if s.slot == slot.name), None)
        idle = SlotRecord(slot.name)
        shown = status.slot_status(found or idle).model_dump()
        return {
            **shown,
            "status": found.status if found else "idle",
            "run_id": slot.run_id,
            "connected": slot.is_connected,
        }

    def rescan(self) -> list[str]:
        """Look for instruments again and return the connected slots."""
        return self.slots.rescan()

    # -- modes ------------------------------------------------------------------------------

    def modes(self) -> list[str]:
        """Return the modes of the connected instruments.

        Raises
        ------
        NoInstrument
            None is connected.
        """
        self._need_instrument()
        return list(MODES)

    def mode_parameters(self, name: str) -> dict[str, str]:
        """Return a mode's parameters and their types.

        Raises
        ------
        NoInstrument, ModeParametersUnknown
            No instrument is connected, or it lacks the mode.
        """
        self._need_instrument()
        try:
            mode = mode_named(name)
        except UnknownMode as error:
            raise ModeParametersUnknown(error.message, hint=error.hint) from error
        return {parameter.name: parameter.annotation for parameter in mode.parameters}

    def validate(self, name: str, parameters: Mapping[str, Any], gain: int = 0) -> Validation:
        """Check a mode's parameters, at the gain of a run, without an instrument."""
        return validation.validate(name, parameters, gain)

    def _need_instrument(self) -> None:
        if not self.slots.connected():
            raise NoInstrument(
                "No potentiostat is connected",
                hint="Plug one in and POST /admin/rescan.",
            )

    # -- starting ---------------------------------------------------------------------------

    def start(
        self,
        request: Mapping[str, Any],
        *,
        requested_by: str = "",
        idempotency_key: str | None = None,
        linked: Given | None = None,
    ) -> str:
        """Check a request, reserve its slots, and begin the run; returns its id.

        Nothing is reserved and no folder made before the whole request is known to be good.

        Parameters
        ----------
        linked
            What is measured, as links tell it. Names in the request are not read then: the plate
            they mean may have another barcode by now, or be gone.

        Raises
        ------
        JobInvalid, NoValidSlot, KeyReused, RunIdTaken, SlotsBusy, NameInvalid, DiskAlmostFull,
        SampleInvalid
            The request cannot be carried out; nothing has changed.
        """
        check_options(request)
        modes = ordered_modes(request)
        planned = plan_total([(order.mode, order.parameters) for order in modes])
        wanted = None if request["devices"] == "all" else request["devices"]
        if linked is None:
            given = self.samples.given(by_part(request.get("sample"), request.get("samples")))
        else:
            given = linked
        kept = storable({**request, **names_of(given), "params_by_mode": _used_parameters(modes)})
        with self._starting:
            if idempotency_key is not None:
                known = self.jobs.find(RUN_KIND, idempotency_key)
                if known is not None:
                    self._check_same(known.id, kept)
                    return known.id
            check_limits(modes, planned, self.limits)
            self.slots.choose(wanted)
            run_id = request.get("run_name") or self._new_run_id()
            if run_id in self._active or self.parts.store.exists(run_id):
                raise RunIdTaken(
                    f"There is a run called {run_id} already",
                    hint="Choose another run_name, or leave it out.",
                )
            slots = self.slots.reserve(wanted, run_id)
            try:
                own = bytes_of_tables(modes, request.get("sampling_interval")) * len(slots)
                check_space(own + self._bytes_to_come(), self.limits, self.runs_root)
                check_samples(given, [slot.name for slot in slots])
                begun = self._begin(
                    run_id, kept, modes, planned, slots, given, requested_by, idempotency_key
                )
            except BaseException:
                self._give_up(run_id, slots)
                raise
            if begun != run_id:
                # What the same key had asked for before was stored a moment ago.
                self._give_up(run_id, slots)
                self._check_same(begun, kept)
        return begun

    def _give_up(self, run_id: str, slots: list[Slot]) -> None:
        self._active.pop(run_id, None)
        for slot in slots:
            self.slots.release(slot)

    def _bytes_to_come(self) -> float:
        """Return the most that the runs under way will still write."""
        return sum(
            bytes_of_tables(active.order.modes, active.order.sampling_interval, seconds)
            for active in list(self._active.values())
            for seconds in active.seconds_left()
        )

    def _check_same(self, run_id: str, request: Mapping[str, Any]) -> None:
        """Refuse a key that began another run; only its time may differ."""
        begun = self.parts.store.get_many([run_id]).get(run_id)
        if begun is not None and _told_apart(begun.request) != _told_apart(request):
            raise KeyReused(
                f"The Idempotency-Key was used for the run {run_id} with a different request",
                hint="Send a new key with a new request.",
            )

    def _begin(
        self,
        run_id: str,
        request: Mapping[str, Any],
        modes: tuple[ModeOrder, ...],
        planned: float | None,
        slots: list[Slot],
        given: Given,
        requested_by: str,
        idempotency_key: str | None,
    ) -> str:
        names = _names_of(request)
        slot_names = [slot.name for slot in slots]
        folder = allocate(
            self.runs_root,
            names,
            slot_names,
            run_id,
            slots_in=self.parts.store.slots_in,
        )
        record = RunRecord(
            run_id=run_id,
            request=request,
            folder=folder.relative.as_posix(),
            label=folder.label,
            status="queued",
            started_at=self.clock.now(),
            slots=tuple(SlotRecord(slot.name, serial_number=slot.serial_number) for slot in slots),
        )
        order = RunOrder(
            run_id=run_id,
            modes=modes,
            gain=gain_of(request),
            sampling_interval=request.get("sampling_interval"),
            make_plot=request.get("make_plot", True),
            names=names,
            folder=folder,
            planned=planned,
        )
        self._active[run_id] = ActiveRun(
            order, slots, record, self.parts, release=self.slots.release
        )
        job = self.jobs.submit(
            RUN_KIND,
            {"run_id": run_id},
            job_id=run_id,
            title=f"{', '.join(order.name for order in modes)} on {', '.join(slot_names)}",
            requested_by=requested_by,
            idempotency_key=idempotency_key,
            also=(
                lambda connection: self.parts.store.insert(connection, record),
                self.samples.linker(given, RUN_ITEM, run_id, requested_by),
            ),
        )
        if job.id == run_id:
            self.index.add(run_id, record.folder)
        return job.id

    def _new_run_id(self) -> str:
        return f"{self.clock.now():%Y%m%dT%H%M%S}_{secrets.token_hex(3)}"

    # -- running ----------------------------------------------------------------------------

    @property
    def job_kind(self) -> JobKind:
        """How the job engine runs a run."""
        return JobKind(
            RUN_KIND,
            self._execute,
            on_interrupted=self._settle_interrupted,
            repeat=self._repeat,
        )

    def _execute(self, context: JobContext) -> Mapping[str, Any]:
        active = self._active[context.id]
        try:
            result = active.execute(context)
        finally:
            if active.is_stored:
                self._active.pop(context.id, None)
            else:
                self._store_end_later(context.id, active)
        if active.is_stored:
            self.uploads.enqueue_finished(context.id)
        return result

    def _store_end_later(self, run_id: str, active: ActiveRun) -> None:
        """Try again until the end of a run is on the disk; it is told from memory meanwhile."""

        def store() -> None:
            if active.store_end():
                self._active.pop(run_id, None)
                if active.record.status == "done":
                    self.uploads.enqueue_finished(run_id)
            else:
                self._store_end_later(run_id, active)

        timer = threading.Timer(STORE_AGAIN_SECONDS, store)
        timer.daemon = True
        timer.start()

    def settle_left_behind(self) -> None:
        """Settle runs whose job has ended, but whose own end the disk had refused so far."""
        try:
            left = self.parts.store.newest(statuses=UNFINISHED)
            jobs = [self.jobs.get(run.run_id) for run in left]
        except BenchwireError as error:
            logger.error("runs that are left behind are not settled: %s", error)
            return
        for run, job in zip(left, jobs, strict=True):
            is_away = not folder_of(self.runs_root, run).path.is_dir()
            if not job.state.is_final or (job.state is JobState.DONE and is_away):
                continue  # what was measured is told once its disk is back
            try:
                self._settle_interrupted(job)
            except Exception:
                logger.exception("run %s is not settled", run.run_id)

    def _settle_interrupted(self, record: JobRecord) -> Interruption:
        """Bring a run that the server's end cut short to its end, from what is on the disk."""
        run = self.parts.store.get_many([record.id]).get(record.id)
        if run is None:
            return Interruption()
        folder = folder_of(self.runs_root, run)
        cut_short = [slot.slot for slot in run.slots if slot.status in UNFINISHED]
        files: tuple[str, ...] = ()
        if cut_short:
            told = told_beside(run.run_id, folder)
            if told is not None:
                # It had ended, and only its records are from before that.
                run = replace(run, slots=told.slots, status=told.status, ended_at=told.ended_at)
            else:
                try:
                    files = _settle_files(run, folder, cut_short)
                except OSError as error:
                    # Its end is stored all the same: nobody asks for it again.
                    logger.error("the files of run %s are not settled: %s", run.run_id, error)
                run = self._cut_short(run, folder, cut_short, record)
            self.parts.store.end_run(run)
        elif run.status in UNFINISHED:
            # Only the end of the whole was not stored any more.
            run = self._settled(run, folder, run.slots)
            self.parts.store.end_run(run)
        if run.status == "done":
            self.uploads.enqueue_finished(run.run_id)
        return Interruption(JobState(run.status), files)

    def _cut_short(
        self, run: RunRecord, folder: RunFolder, cut_short: Sequence[str], record: JobRecord
    ) -> RunRecord:
        now = self.clock.now()
        # A job that has ended knows how; the others were cut short with their server.
        ended_as = record.state.value if record.state.is_final else "failed"
        message = None if record.state is JobState.DONE else record.message
        slots = tuple(
            replace(
                slot,
                status=ended_as,
                message=message,
                ended_at=record.ended_at or now,
                files=folder.files([slot.slot]),
            )
            if slot.slot in cut_short
            else slot
            for slot in run.slots
        )
        return self._settled(run, folder, slots)

    def _settled(
        self, run: RunRecord, folder: RunFolder, slots: tuple[SlotRecord, ...]
    ) -> RunRecord:
        """Return a run whose slots have all ended, after its summary is written."""
        ended_at = max(slot.ended_at or self.clock.now() for slot in slots)
        run = replace(run, slots=slots, status=status.run_status(slots), ended_at=ended_at)
        try:
            write_summary(run, folder)
        except OSError as error:
            logger.error("the summary of run %s is not written: %s", run.run_id, error)
        return run

    def adopt_indexed_runs(self) -> int:
        """Take in runs that the index names and the records lack; returns how many.

        So the runs of an older server in the same folder stay listed, and those of a database that
        was damaged and set aside.
        """
        known = self.parts.store.known()
        adopted = 0
        for run in self.index.runs():
            if run.run_id not in known and not self.parts.store.exists(run.run_id):
                self.parts.store.add(run)
                adopted += 1
        return adopted

    def _repeat(self, record: JobRecord, requested_by: str) -> str:
        """Start the same work again, as a new run of this moment."""
        run = self.record(record.id)
        serial_numbers = {slot.name: slot.serial_number for slot in self.slots.connected()}
        for slot in run.slots:
            if slot.serial_number not in {None, serial_numbers.get(slot.slot, slot.serial_number)}:
                raise SlotChanged(
                    f"Another instrument is on {slot.slot} now than in that run",
                    hint="Start a run on the slot that the cell is connected to.",
                )
        request = {
            **run.request,
            "devices": [slot.slot for slot in run.slots],
            "client_datetime": f"{self.clock.now():%Y-%m-%dT%H:%M:%S}",
            "run_name": None,
        }
        return self.start(
            request, requested_by=requested_by, linked=self.samples.linked(RUN_ITEM, record.id)
        )

    def make_safe(self) -> None:
        """Open every cell that a run has connected; returns at once."""
        self.parts.keeper.hurry()
        for active in list(self._active.values()):
            active.stop(StopReason.SHUTDOWN)

    def cancel(self, run_id: str) -> str:
        """Cancel a run and return what its status will be; a finished run is left as it is."""
        run = self.record(run_id)
        if run.status in FINISHED:
            return run.status
        outcome = self.open_cells(run_id)
        if outcome is not None:
            return outcome
        job = self.jobs.cancel(run_id)
        return job.state.value if job.state.is_final else "cancelled"

    def open_cells(self, run_id: str) -> str | None:
        """Have a run that is under way stopped for good, without waiting for the database.

        Returns
        -------
        str | None
            The status that it will have where it had ended already.
        """
        active = self._active.get(run_id)
        if active is None:
            return None
        active.stop(StopReason.CANCELLED)
        return active.outcome

    # -- following --------------------------------------------------------------------------

    def status(self, run_id: str) -> JobStatus:
        """Return how far a run is.

        Raises
        ------
        RunNotFound
            There is none of that id.
        """
        active = self._active.get(run_id)
        if active is not None:
            return self._active_status(active)
        return self._finished_status(self.record(run_id))

    def statuses(self, run_ids: Sequence[str]) -> list[JobStatus]:
        """Return the status of many runs in the order asked for.

        Raises
        ------
        NoRunIds, RunIdsUnknown
            Nothing was asked, or one of them does not exist.
        """
        wanted = [run_id for run_id in run_ids if run_id]
        if not wanted:
            raise NoRunIds("No run id was given", hint="Send the run_ids to look up.")
        active = {run_id: self._active.get(run_id) for run_id in wanted}
        rest = [key for key, run in active.items() if run is None and is_run_id(key)]
        stored = self.parts.store.get_many(rest) if rest else {}
        unknown = sorted(key for key, run in active.items() if run is None and key not in stored)
        if unknown:
            raise RunIdsUnknown(
                f"Unknown run ids: {', '.join(key[:128] for key in unknown[:20])}",
                hint="GET /jobs lists all runs.",
            )
        found = {
            key: self._finished_status(stored[key]) if run is None else self._active_status(run)
            for key, run in active.items()
        }
        return [found[run_id] for run_id in wanted]

    def overview(
        self, *, state: str | None = None, group_id: str | None = None, limit: int | None = None
    ) -> list[JobOverview]:
        """Return runs, newest first: all, the unfinished or the finished, of one group or all."""
        statuses = {"incomplete": UNFINISHED, "completed": FINISHED}.get(state or "")
        group = (group_id or "").strip()
        runs = self.parts.store.newest(statuses=statuses, limit=None if group else limit)
        if group:
            runs = [run for run in runs if status.belongs_to_group(run, group)][:limit]
        current = (self._active.get(run.run_id) for run in runs)
        return [
            status.overview(run if active is None else active.record)
            for run, active in zip(runs, current, strict=True)
        ]

    def request_of(self, run_id: str) -> Mapping[str, Any]:
        """Return what was asked for when a run was started."""
        return self.record(run_id).request

    def find(self, text: str, limit: int) -> list[RunRecord]:
        """Return the newest runs whose id, request or instruments a text occurs in."""
        found = self.parts.store.find(text, limit)
        current = (self._active.get(run.run_id) for run in found)
        return [
            run if active is None else active.record
            for run, active in zip(found, current, strict=True)
        ]

    async def live(self, run_id: str) -> tuple[str, Callable[[], Awaitable[bytes]]]:
        """Return the topic of a run's live events and what gives its curves so far."""
        if run_id not in self._active:
            await asyncio.to_thread(self.record, run_id)

        async def hello() -> bytes:
            found = b""
            if run_id in self._active:
                with contextlib.suppress(BenchwireError, TimeoutError):
                    async with asyncio.timeout(_CURVES_SECONDS):
                        found = await asyncio.wrap_future(self.parts.keeper.curves(run_id))
            return found or snapshot([])

        return topic_of(run_id), hello

    def _active_status(self, active: ActiveRun) -> JobStatus:
        return status.job_status(
            active.record, planned=active.order.planned, elapsed=active.elapsed
        )

    @staticmethod
    def _finished_status(run: RunRecord) -> JobStatus:
        return status.job_status(run, planned=None, elapsed=lambda _: 0.0)

    def record(self, run_id: str) -> RunRecord:
        """Return what is known of a run.

        Raises
        ------
        RunNotFound
            There is none of that id.
        """
        active = self._active.get(run_id)
        if active is not None:
            return active.record
        found = None
        if is_run_id(run_id):
            found = self.parts.store.get_many([run_id]).get(run_id)
        if found is None:
            raise RunNotFound(f"There is no run {run_id[:128]}", hint="GET /jobs lists all runs.")
        return found

    # -- files ------------------------------------------------------------------------------

    def files(self, run_id: str) -> tuple[str, ...]:
        """Return the paths of a run's data files, as far as they are written."""
        return self.folder(run_id).files()

    def file(self, run_id: str, path: str) -> tuple[BinaryIO, str]:
        """Return one of the run's own files, opened, and its name.

        Raises
        ------
        RunFolderNotFound, RunFileNotFound
            The run or the file is not there; files of other runs are not either.
        """
        folder = self.folder(run_id)
        if path == SUMMARY:
            path = folder.summary.name
        try:
            found = file_inside(folder.path, path)
            if folder.owns(found.relative_to(folder.path).as_posix()):
                return open_plain(found), found.name
        except (FileNotInFolder, OSError, ValueError):
            pass  # it is not there, or was exchanged since it was looked at
        raise RunFileNotFound("The run has no such file", hint=_FILES_HINT)

    def archive(self, run_id: str) -> Iterator[tuple[PurePosixPath, Path]]:
        """Return the members of a run's archive: its data files and its summary."""
        folder = self.folder(run_id)
        members = [(PurePosixPath(name), folder.path / name) for name in folder.files()]
        if folder.has_summary:
            members.append((PurePosixPath(SUMMARY), folder.summary))
        return iter(members)

    def folder(self, run_id: str) -> RunFolder:
        """Return a run's place on the disk, links followed.

        Raises
        ------
        RunFolderNotFound
            The run is unknown or its files are gone.
        """
        try:
            run = self.record(run_id)
        except RunNotFound as error:
            raise RunFolderNotFound(error.message, hint=error.hint) from error
        folder = folder_of(self.runs_root, run).followed()
        if run.files_gone or folder is None:
            raise RunFolderNotFound(
                f"The files of run {run_id} are no longer here",
                hint="They were removed after their upload, or by hand.",
            )
        return folder


def _settle_files(run: RunRecord, folder: RunFolder, cut_short: Sequence[str]) -> tuple[str, ...]:
    """Cut the half row off tables that were being written; return all files of these slots."""
    for name in _tables_of(run, folder, cut_short):
        drop_half_row(folder.path / name)
    return folder.files(cut_short)


def _tables_of(run: RunRecord, folder: RunFolder, slots: Sequence[str]) -> list[str]:
    """Return the tables that a run wrote for some slots, and none that a person put there."""
    names = _names_of(run.request)
    return [
        path
        for slot in slots
        for path in folder.files([slot])
        if PurePosixPath(path).name.startswith(names.stem(slot, "") + "_") and path.endswith(".csv")
    ]


def _names_of(request: Mapping[str, Any]) -> RunNames:
    return RunNames.of(request["experiment_name"], subdir_of(request), request["client_datetime"])


_FILES_HINT = "GET /runs/{run_id}/files lists its files."


def folder_of(runs_root: Path, run: RunRecord) -> RunFolder:
    """Return where a run's files are."""
    slots = tuple(slot.slot for slot in run.slots)
    return RunFolder(runs_root, PurePosixPath(run.folder), slots, run.label)


def _told_apart(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return what makes two requests different ones."""
    return {
        name: value
        for name, value in request.items()
        if name != "client_datetime" and value is not None
    }


def _used_parameters(modes: tuple[ModeOrder, ...]) -> dict[str, dict[str, Any]]:
    return {order.name: dict(order.parameters) for order in modes}


def build_id(configured: str | None, started: str) -> Callable[[], str]:
    """Return a function that names the build: as configured, the source's commit, or the start."""

    def name() -> str:
        if configured:
            return configured
        package = Path(benchwire.__file__).parent
        git = shutil.which("git")
        if git is None:
            return started
        answer = subprocess.run(  # noqa: S603 - fixed arguments, no shell
            [git, "-C", str(package), "log", "-1", "--format=%h", "--", "__init__.py"],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
        return answer.stdout.strip() or started

    return name
