"""The job engine: takes work in durably, runs it within its limits, and always says how it ended.

A job is on the disk before `Jobs.submit` returns. It runs in a thread of its own, which for work on
instruments coordinates their threads and for computing hands parts to worker processes. At a start
after a crash, kinds that are ``resumable`` go on with the parts that were not finished; all others
are failed with the reason, since nothing is ever repeated on an instrument by itself.
"""

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future, wait
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import sqlalchemy as sa

from benchwire.foundation.clock import Clock
from benchwire.foundation.db import Database, OutcomeUnknown, storable
from benchwire.foundation.errors import BenchwireError, Conflict, Failed, NotFound
from benchwire.foundation.files import disk_refusal
from benchwire.foundation.jobs.sessions import Sessions
from benchwire.foundation.jobs.states import (
    Interruption,
    JobRecord,
    JobState,
    JobStopped,
    Stop,
    StopReason,
)
from benchwire.foundation.jobs.store import JobStore

logger = logging.getLogger(__name__)

T = TypeVar("T")

MAX_ATTEMPTS = 3
# A job may report as often as it likes; watchers are told at most this often.
_REPORT_INTERVAL = 0.2
# How far it is gets stored at most this often, so that one that goes on after a crash falls back
# by no more, and short ones cost no writes.
_STORE_INTERVAL = 5.0
_LOOK_SECONDS = 0.2
_SAVE_AGAIN_SECONDS = 2.0
# What was sent to a database that then went away has arrived there by then, or never will.
_ARRIVED_SECONDS = 10.0
_RESTARTED = "server restarted"
_NOBODY_KNEW = "the database was away as it was taken in"


class JobNotFound(NotFound):
    """There is no job of that id."""

    code = "jobs.not_found"


class JobNotRepeatable(Conflict):
    """A kind of job that cannot be repeated from its record."""

    code = "jobs.not_repeatable"


@dataclass(frozen=True, slots=True)
class JobKind:
    """One kind of job and its rules.

    Parameters
    ----------
    name
        ``<domain>.<noun>``.
    run
        Does the work; what it returns is kept as the result. It raises `JobStopped` when it has
        stopped because it was asked to.
    queue
        Kinds of one queue share its places; a queue of its own by default.
    concurrency
        How many jobs of the queue run at once; None for no limit.
    time_limit
        Seconds after which a job is stopped and failed; None for none.
    resumable
        Whether a job that the server's end cut short goes on by itself at the next start. Never
        true for work on an instrument.
    on_interrupted
        Asked about a job that nobody works on any more, as at a start after a crash; its message
        says why. Leaves the domain's own records consistent and says which files are partial.
    repeat
        Submits the same work again and returns the new job's id.
    """

    name: str
    run: Callable[["JobContext"], Mapping[str, Any] | None]
    queue: str = ""
    concurrency: int | None = None
    time_limit: float | None = None
    resumable: bool = False
    on_interrupted: Callable[[JobRecord], Interruption] = lambda _: Interruption()
    repeat: Callable[[JobRecord, str], str] | None = None

    @property
    def queue_name(self) -> str:
        """The queue its jobs wait in."""
        return self.queue or self.name


class JobContext:
    """What a running job may ask of the engine and tell it."""

    def __init__(self, record: JobRecord, stop: Stop, engine: "Jobs") -> None:
        self.id = record.id
        self.params = record.params
        self.requested_by = record.requested_by
        self.finished_parts = frozenset(record.finished_parts)
        self.stop = stop
        self._engine = engine

    def report(
        self, progress: float, *, remaining: float | None = None, message: str | None = None
    ) -> None:
        """Say how far the work is.

        Parameters
        ----------
        progress
            From 0 to 1.
        remaining
            Seconds still needed; reckoned from the elapsed time when not given.
        message
            What is being done, for people.
        """
        self._engine._reported(self.id, progress, remaining, message)  # noqa: SLF001 - one unit

    def finish_part(self, part: str) -> None:
        """Declare a part finished, so that it is not done again.

        It is on the disk when this returns, unless the database takes nothing at the moment.
        """
        self._engine._part_finished(self.id, part)  # noqa: SLF001 - one unit

    def result_of(self, work: Future[T]) -> T:
        """Wait for work done elsewhere on behalf of this job and return what came of it.

        Raises
        ------
        JobStopped
            It ended because the job was asked to stop.
        """
        while not work.done():
            wait([work], _LOOK_SECONDS)
            if self.stop.reason is not None:
                work.cancel()  # has an effect only if it was not begun
        try:
            return work.result()
        except (BenchwireError, CancelledError):
            self.stop.raise_if_asked()
            raise

    def note_partial_files(self, files: Sequence[str]) -> None:
        """Name files that hold what there is of unfinished work."""
        self._engine._partial_files(self.id, tuple(files))  # noqa: SLF001 - one unit


@dataclass(slots=True)
class _Running:
    stop: Stop
    thread: threading.Thread
    timer: threading.Timer | None
    started: float
    last_told: float = float("-inf")
    last_stored: float = field(init=False)
    storing: Future[None] | None = None
    has_ended: bool = False

    def __post_init__(self) -> None:
        self.last_stored = self.started


class Jobs:
    """The engine.

    Parameters
    ----------
    notify
        Called with a job's record after every change, from any thread; it must not block.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        sessions: Sessions,
        notify: Callable[[JobRecord], None] = lambda _: None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._sessions = sessions
        self._notify = notify
        self._store = JobStore(database)
        self._kinds: dict[str, JobKind] = {}
        self._records: dict[str, JobRecord] = {}
        self._queues: dict[str, deque[str]] = {}
        self._running: dict[str, _Running] = {}
        self._unsaved: dict[str, JobRecord] = {}
        self._in_doubt: dict[str, JobRecord] = {}
        self._cut_short: list[str] = []
        self._lock = threading.RLock()
        self._accepting = False

    # -- making and starting ----------------------------------------------------------------

    def register(self, kind: JobKind) -> None:
        """Make a kind of job known; done while the server is put together."""
        self._kinds[kind.name] = kind

    def start(self) -> None:
        """Settle what the last life left behind, then take and run jobs."""
        interrupted = []
        for record in self._store.unfinished():
            if record.id in self._records:
                continue  # handed in by a domain as it started
            goes_on = self._take_up(record, _RESTARTED)
            if not goes_on or record.state is JobState.RUNNING:
                interrupted.append(record.id)
        self._sessions.add_interrupted(tuple(interrupted))
        with self._lock:
            self._accepting = True
        self._pump()

    def _take_up(self, record: JobRecord, reason: str) -> bool:
        """Queue a stored job that nobody works on, or bring it to its end for a reason.

        Returns whether it goes on.
        """
        kind = self._kinds.get(record.kind)
        was_running = record.state is JobState.RUNNING
        if (
            kind is not None
            and kind.resumable
            and (not was_running or record.attempts < MAX_ATTEMPTS)
        ):
            self._enqueue(replace(record, state=JobState.QUEUED, interrupted=was_running))
            return True
        self._settle_interrupted(kind, replace(record, message=reason))
        return False

    def _settle_interrupted(self, kind: JobKind | None, record: JobRecord) -> None:
        try:
            found = kind.on_interrupted(record) if kind else Interruption()
        except Exception:
            logger.exception("could not settle job %s after the restart", record.id)
            found = Interruption()
        self._sessions.add_made_safe(found.made_safe)
        self._store.save(
            replace(
                record,
                state=found.state,
                message=None if found.state is JobState.DONE else record.message,
                partial_files=found.partial_files,
                ended_at=self._clock.now(),
                interrupted=True,
            )
        )
        logger.warning("job %s was cut short: %s", record.id, found.state.value)

    def close(self, seconds: float = 5.0) -> None:
        """Stop every running job, wait for their ends, and record this life's end."""
        self.stop_all()
        deadline = self._clock.monotonic() + seconds
        for running in self._snapshot():
            running.thread.join(max(0.0, deadline - self._clock.monotonic()))
        with self._lock:
            # What has not ended by now never will.
            cut_short = (*self._cut_short, *self._running)
        self._sessions.end(cut_short)

    def refuse(self) -> None:
        """Take no more jobs; what stops from here on is cut short by the server's end."""
        self._accepting = False

    def stop_all(self) -> None:
        """Ask every running job to stop and take no more; returns at once."""
        self.refuse()
        for running in self._snapshot():
            running.stop.ask(StopReason.SHUTDOWN)

    # -- what clients do --------------------------------------------------------------------

    def submit(
        self,
        kind: str,
        params: Mapping[str, Any],
        *,
        job_id: str,
        title: str,
        requested_by: str = "",
        idempotency_key: str | None = None,
        also: Sequence[Callable[[sa.Connection], None]] = (),
    ) -> JobRecord:
        """Take a job in; it is on the disk when this returns.

        Parameters
        ----------
        idempotency_key
            A repeated submission under the same key returns the first one's record.
        also
            Store more in the same transaction, as the domain's own record of the work.
        """
        if kind not in self._kinds:
            raise Failed(f"There is no kind of job called {kind}")
        record = JobRecord(
            id=job_id,
            kind=kind,
            title=title,
            state=JobState.QUEUED,
            params=params,
            requested_by=requested_by,
            idempotency_key=idempotency_key,
            created_at=self._clock.now(),
        )

        def work(connection: sa.Connection) -> JobRecord:
            if idempotency_key is not None:
                known = self._store.by_idempotency_key(connection, kind, idempotency_key)
                if known is not None:
                    return known
            self._store.insert(connection, record)
            for store in also:
                store(connection)
            return record

        try:
            stored = self._database.write(work)
        except OutcomeUnknown:
            with self._lock:
                self._in_doubt[job_id] = record
            threading.Thread(target=self._look_for, args=(record,), daemon=True).start()
            raise
        if stored is record:
            self._enqueue(record)
            self._notify(record)
            self._pump()
            return self.get(job_id)
        return self.get(stored.id)

    def _look_for(self, asked: JobRecord) -> None:
        """Take up a job that may have been stored, once the database can be asked.

        Whoever asked for it was told that nobody knows. It must not lie there until the next life.
        """
        until: float | None = None
        try:
            while self._accepting and (until is None or self._clock.monotonic() < until):
                self._clock.sleep(_SAVE_AGAIN_SECONDS)
                try:
                    found = self._store.get(asked.id)
                    if found is not None and found.created_at == asked.created_at:
                        self._take_up_late(found)
                except BenchwireError:
                    continue
                if found is not None:
                    break
                if until is None:
                    until = self._clock.monotonic() + _ARRIVED_SECONDS
        finally:
            with self._lock:
                self._in_doubt.pop(asked.id, None)

    def _take_up_late(self, found: JobRecord) -> None:
        logger.warning("job %s was stored after all", found.id)
        self._take_up(found, _NOBODY_KNEW)
        with self._lock:
            is_given_up = self._in_doubt.pop(found.id).state is JobState.CANCELLED
        # It is taken up by now; what fails from here on must not have that done again.
        with contextlib.suppress(BenchwireError):
            if is_given_up:
                self.cancel(found.id)
            self._notify(self.get(found.id))
        self._pump()

    def get(self, job_id: str) -> JobRecord:
        """Return a job's record.

        Raises
        ------
        JobNotFound
            There is no job of that id.
        """
        with self._lock:
            live = self._records.get(job_id) or self._unsaved.get(job_id)
            doubted = self._in_doubt.get(job_id)
        record = live or self._store.get(job_id) or doubted
        if record is None:
            raise JobNotFound(f"There is no job {job_id}")
        return record

    def find(self, kind: str, idempotency_key: str) -> JobRecord | None:
        """Return the job that was submitted under a key, None if there is none."""
        with self._database.read() as connection:
            return self._store.by_idempotency_key(connection, kind, idempotency_key)

    def kinds_in(self, queue: str) -> list[str]:
        """Return the names of the kinds that share a queue."""
        return [kind.name for kind in self._kinds.values() if kind.queue_name == queue]

    def kinds_of(self, domain: str) -> list[str]:
        """Return the names of a domain's kinds."""
        return [name for name in self._kinds if name.partition(".")[0] == domain]

    def listed(
        self,
        limit: int,
        *,
        kinds: Sequence[str] | None = None,
        states: Sequence[JobState] | None = None,
        before: JobRecord | None = None,
        text: str = "",
    ) -> list[JobRecord]:
        """Return the newest jobs as they stand now.

        Parameters
        ----------
        before
            Leaves out this job and all newer ones.
        text
            Leaves out the jobs in whose id, title and parameters it does not occur, whatever its
            case; the names of parameters do not count.
        """
        with self._lock:
            live = {**self._records, **self._unsaved}
        found = self._store.newest(limit, kinds=kinds, states=states, before=before, text=text)
        return [live.get(record.id, record) for record in found]

    def ended_last(self, limit: int, states: Sequence[JobState]) -> list[JobRecord]:
        """Return the jobs in some final states, those that ended last first."""
        return self._store.ended_last(limit, states)

    def newest_of(self, job_ids: Sequence[str]) -> dict[str, JobRecord]:
        """Return the known ones of some jobs by id."""
        return self._store.get_many(job_ids)

    def unfinished(self) -> list[JobRecord]:
        """Return the jobs that are queued or running, oldest first."""
        with self._lock:
            doubted = {
                job_id: record
                for job_id, record in self._in_doubt.items()
                if not record.state.is_final
            }
            left = list({**doubted, **self._records}.values())
        return sorted(left, key=lambda record: record.created_at)

    def count_by_state(self, kinds: Sequence[str] | None = None) -> dict[str, int]:
        """Return how many jobs are in each state, of some kinds or of all."""
        return self._store.count_by_state(kinds)

    def ask_to_stop(self, job_id: str) -> None:
        """Ask a job that runs to stop, without waiting for the database; `cancel` does the rest."""
        with self._lock:
            running = self._running.get(job_id)
        if running is not None:
            running.stop.ask(StopReason.CANCELLED)

    def cancel(self, job_id: str) -> JobRecord:
        """Cancel a job: at once while queued, by asking it to stop while running.

        A finished job is left as it is.

        Raises
        ------
        JobNotFound
            There is no job of that id.
        DatabaseUnavailable
            The cancellation of a queued job could not be stored; it stays queued.
        """
        with self._lock:
            record = self._records.get(job_id)
            running = self._running.get(job_id)
            if record is None and job_id in self._in_doubt:
                doubted = replace(self._in_doubt[job_id], state=JobState.CANCELLED)
                self._in_doubt[job_id] = doubted
                return doubted
            if record is not None and running is None:
                waiting = self._queues[self._kinds[record.kind].queue_name]
                place = waiting.index(job_id)
                del waiting[place], self._records[job_id]
        if record is None:
            return self.get(job_id)
        if running is not None:
            running.stop.ask(StopReason.CANCELLED)
            return self.get(job_id)
        ended = replace(
            record, state=JobState.CANCELLED, message="cancelled", ended_at=self._clock.now()
        )
        try:
            self._store.save(ended)
        except BenchwireError:
            # The next life would run it: it is not cancelled, and waits where it did.
            with self._lock:
                self._records[job_id] = record
                waiting.insert(place, job_id)
            self._pump()
            raise
        self._notify(ended)
        return ended

    def repeat(self, job_id: str, requested_by: str = "") -> str:
        """Submit the same work once more and return the new job's id.

        Raises
        ------
        JobNotRepeatable
            Its kind does not know how.
        """
        record = self.get(job_id)
        kind = self._kinds.get(record.kind)
        if kind is None or kind.repeat is None:
            raise JobNotRepeatable("This kind of work cannot be repeated from here")
        if not record.state.is_final:
            raise JobNotRepeatable("The job has not ended yet", hint="Wait for its end.")
        return kind.repeat(record, requested_by)

    def can_repeat(self, record: JobRecord) -> bool:
        """Whether `repeat` works for a job."""
        kind = self._kinds.get(record.kind)
        return kind is not None and kind.repeat is not None and record.state.is_final

    # -- running ----------------------------------------------------------------------------

    def _enqueue(self, record: JobRecord) -> None:
        with self._lock:
            self._records[record.id] = record
            queue = self._kinds[record.kind].queue_name
            self._queues.setdefault(queue, deque()).append(record.id)

    def _pump(self) -> None:
        """Start what may start."""
        with self._lock:
            if not self._accepting:
                return
            for name, waiting in self._queues.items():
                busy = sum(
                    self._kinds[self._records[job_id].kind].queue_name == name
                    for job_id in self._running
                )
                while waiting:
                    kind = self._kinds[self._records[waiting[0]].kind]
                    if kind.concurrency is not None and busy >= kind.concurrency:
                        break
                    self._launch(kind, waiting.popleft())
                    busy += 1

    def _launch(self, kind: JobKind, job_id: str) -> None:
        stop = Stop()
        timer = None
        if kind.time_limit is not None:
            timer = threading.Timer(kind.time_limit, stop.ask, (StopReason.TIME_LIMIT,))
            timer.daemon = True
        thread = threading.Thread(
            target=self._work, args=(kind, job_id, stop), name=f"job {job_id}", daemon=True
        )
        self._running[job_id] = _Running(stop, thread, timer, self._clock.monotonic())
        thread.start()
        if timer is not None:
            timer.start()

    def _work(self, kind: JobKind, job_id: str, stop: Stop) -> None:
        try:
            record = self._change(
                job_id,
                state=JobState.RUNNING,
                started_at=self._clock.now(),
                attempts=self._records[job_id].attempts + 1,
            )
            self._save_start(record)
            logger.info("job %s started: %s", job_id, record.title)
            result = kind.run(JobContext(record, stop, self))
            end: dict[str, Any] = {
                "state": JobState.DONE,
                "progress": 1.0,
                "message": None,
                "result": result,
            }
        except JobStopped as error:
            end = self._stopped(kind, stop, error)
        except BenchwireError as error:
            end = {"state": JobState.FAILED, "message": error.message}
        except Exception as error:
            logger.exception("job %s broke off", job_id)
            refusal = disk_refusal(error) if isinstance(error, OSError) else None
            message = refusal.message if refusal else "An unforeseen error; the log has it"
            end = {"state": JobState.FAILED, "message": message}
        self._finish(job_id, end)

    def _save_start(self, record: JobRecord) -> None:
        """Store that a job runs; it runs all the same, so that its domain settles what it holds."""
        try:
            self._store.save(record)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told at the end
            logger.error("the start of job %s could not be stored: %s", record.id, error)

    def _stopped(self, kind: JobKind, stop: Stop, error: JobStopped) -> dict[str, Any]:
        reason = stop.reason
        if reason is None and not self._accepting:
            # Its domain has stopped it before this could ask.
            reason = StopReason.SHUTDOWN
        if reason is StopReason.TIME_LIMIT:
            return {
                "state": JobState.FAILED,
                "message": f"Stopped at its time limit of {kind.time_limit:g} s",
            }
        if reason is StopReason.SHUTDOWN:
            if kind.resumable:
                return {"state": JobState.QUEUED, "interrupted": True}
            return {
                "state": JobState.FAILED,
                "message": "server stopped",
                "interrupted": True,
            }
        return {"state": JobState.CANCELLED, "message": error.message}

    def _finish(self, job_id: str, end: Mapping[str, Any]) -> None:
        now, is_final = self._clock.now(), JobState(end["state"]).is_final
        # What the work said last may hold a name that is no text, or a number that is none.
        words = {name: storable(end[name]) for name in ("message", "result") if name in end}
        with self._lock:
            # From here on work that outlives its job changes nothing.
            self._running[job_id].has_ended = True
            record = replace(
                self._records[job_id],
                **{**end, **words},
                remaining=0.0 if is_final else None,
                ended_at=now if is_final else None,
                updated_at=now,
            )
        # Nobody is told of an end that the next life would not know of.
        try:
            self._store.save(record)
        except Exception as error:  # noqa: BLE001 - its place in the queue is freed all the same
            logger.error("the end of job %s could not be stored: %r", job_id, error)
            with self._lock:
                self._unsaved[job_id] = record
            self._save_later()
        with self._lock:
            running = self._running.pop(job_id)
            self._records.pop(job_id)
            if end.get("interrupted"):
                self._cut_short.append(job_id)
        if running.timer is not None:
            running.timer.cancel()
        logger.info("job %s ended: %s", job_id, record.state.value)
        self._notify(record)
        self._pump()

    def _save_later(self) -> None:
        timer = threading.Timer(_SAVE_AGAIN_SECONDS, self._save_unsaved)
        timer.daemon = True
        timer.start()

    def _save_unsaved(self) -> None:
        """Store the ends of jobs that the disk refused; until then they are told from memory."""
        with self._lock:
            left = list(self._unsaved.values())
        for record in left:
            try:
                self._store.save(record)
            except Exception as error:  # noqa: BLE001 - or nobody would try again
                if not isinstance(error, BenchwireError):
                    logger.error("the end of job %s is not stored yet: %r", record.id, error)
                continue
            with self._lock:
                self._unsaved.pop(record.id, None)
        if self._unsaved:
            self._save_later()

    def _change(self, job_id: str, **values: Any) -> JobRecord:
        with self._lock:
            record = replace(self._records[job_id], **values, updated_at=self._clock.now())
            self._records[job_id] = record
        self._notify(record)
        return record

    def _live(self, job_id: str) -> _Running | None:
        """Return a running job; None for one whose work has outlived it."""
        running = self._running.get(job_id)
        return None if running is None or running.has_ended else running

    def _snapshot(self) -> list[_Running]:
        with self._lock:
            return list(self._running.values())

    # -- called by JobContext ---------------------------------------------------------------

    def _reported(
        self, job_id: str, progress: float, remaining: float | None, message: str | None
    ) -> None:
        now = self._clock.monotonic()
        progress = min(max(progress, 0.0), 1.0)
        with self._lock:
            running = self._live(job_id)
            if running is None:
                return
            if remaining is None and progress > 0:
                remaining = (now - running.started) * (1 - progress) / progress
            known = self._records[job_id]
            # A job that goes on after a restart begins behind what was told of it before.
            progress = max(progress, known.progress)
            record = replace(
                known,
                progress=progress,
                remaining=remaining,
                message=message,
                updated_at=self._clock.now(),
            )
            self._records[job_id] = record
            tell = now - running.last_told >= _REPORT_INTERVAL
            if tell:
                running.last_told = now
            if now - running.last_stored >= _STORE_INTERVAL:
                running.last_stored = now
                self._store_progress(running, record)
        if tell:
            self._notify(record)

    def _store_progress(self, running: _Running, record: JobRecord) -> None:
        # One write at a time waits for a database that is slow or away.
        if running.storing is None or running.storing.done():
            with contextlib.suppress(BenchwireError):
                running.storing = self._store.raise_progress_later(record.id, record.progress)

    def _part_finished(self, job_id: str, part: str) -> None:
        with self._lock:
            record = self._records.get(job_id)
            if record is None or self._live(job_id) is None or part in record.finished_parts:
                return
            record = replace(record, finished_parts=(*record.finished_parts, part))
            self._records[job_id] = record
        try:
            self._store.save(record)
        except BenchwireError as error:
            # The next change of the record stores it as well; at worst it is done once more.
            logger.error("part %s of job %s could not be stored: %s", part, job_id, error.message)
        self._notify(record)

    def _partial_files(self, job_id: str, files: tuple[str, ...]) -> None:
        self._store.save_later(self._change(job_id, partial_files=files))
