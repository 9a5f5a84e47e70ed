"""Copies between folders here and object stores, as jobs that outlive a restart."""

import hashlib
import logging
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from benchwire.domains.stores import transfer
from benchwire.domains.stores.addresses import AllowedAddresses, is_address
from benchwire.domains.stores.errors import (
    CopyDiffers,
    CopyGivenUp,
    CopyInvalid,
    StoreAway,
    StoreRefuses,
    TargetTaken,
)
from benchwire.domains.stores.schemas import CopyRequest
from benchwire.domains.stores.sent import noted
from benchwire.domains.stores.transfer import MANIFEST_NAME, Entry, Listing
from benchwire.foundation.errors import BenchwireError
from benchwire.foundation.files import (
    PARTIAL_SUFFIX,
    AllowedFolders,
    make_usable,
    refuse_too_large,
)
from benchwire.foundation.jobs.family import JobFamily
from benchwire.foundation.jobs.runner import JobContext, Jobs
from benchwire.foundation.jobs.states import JobRecord, StopReason
from benchwire.foundation.samples.store import Given, Samples
from benchwire.foundation.workers import Executor, Turns, WorkTimedOut, ask

logger = logging.getLogger(__name__)

T = TypeVar("T")

KIND = "stores.copy"
COPY_ITEM = "copy"
"""What one is called in lists over all domains."""

LOOK_SECONDS, LIST_SECONDS, CLEAR_SECONDS = 30.0, 300.0, 60.0
SHOWN_OBJECTS = 1000
# A piece is as many files as together have so many bytes, or one that has more.
_PIECE_BYTES = 64 << 20
_PIECE_FILES = 50
# A network that is away for a night ends no copy of days.
_PAUSES = (1.0, 2.0, 5.0, 15.0, 60.0)
_PATIENCE_SECONDS = 86_400.0
_TICK_SECONDS = 0.2
_CLEARING_PAUSES = (1.0, 2.0, 5.0)
# An object is read before it is removed.
_SLOWEST_BYTES_PER_SECOND = 1_000_000
# What a job notes of itself: the target was empty, all has arrived, it has failed or was cancelled
# and what came of it is to go.
_BEGUN, _ARRIVED, _GIVEN_UP = "begun", "arrived", "given up"
# The rest is making it count.
_MOVED = 0.99


@dataclass(frozen=True, slots=True)
class _Course:
    """From where to where, as a job keeps it."""

    is_inward: bool
    source: str
    target: str
    version: str

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> "_Course":
        return cls(
            is_address(params["source"]), params["source"], params["target"], params["version"]
        )

    @property
    def partial(self) -> Path:
        """Where what arrives waits for the rest; of a source that has changed, elsewhere."""
        mark = hashlib.sha256(f"{self.target}\0{self.version}".encode()).hexdigest()[:16]
        return Path(self.target).with_name(f".copy-{mark}{PARTIAL_SUFFIX}")

    def is_settled(self, finished: Collection[str]) -> bool:
        """Whether an earlier life of the job has given what arrived its name, and told nobody."""
        return (
            self.is_inward
            and _ARRIVED in finished
            # Else what is at the target is somebody else's, for which the copy failed.
            and _GIVEN_UP not in finished
            and Path(self.target).exists()
            and not any(self.partial.glob("*"))
        )


class Copies:
    """Takes copies in, makes them, and says how they went.

    Parameters
    ----------
    workers, compute
        For looks that somebody waits for, and for copies.
    notes
        Folder of what each copy has put into a store; workers write there.
    at_once
        How many pieces of a copy move side by side.
    """

    def __init__(
        self,
        jobs: Jobs,
        samples: Samples,
        *,
        stores: AllowedAddresses,
        allowed: AllowedFolders,
        workers: Executor,
        compute: Executor,
        notes: Path,
        at_once: int,
    ) -> None:
        self.stores = stores
        self.allowed = allowed
        self._workers = workers
        self._compute = compute
        self._notes = notes
        self._at_once = at_once
        self._family = JobFamily(jobs, samples, kind=KIND, item=COPY_ITEM, unit="file")
        self._submitting = threading.Lock()
        self._turns = Turns(at_once=2, waiting=6)

    def register(self, *, queue: str, concurrency: int) -> None:
        """Make copies known to the job engine; they take as long as the network does."""
        self._family.register(
            self._run, queue=queue, concurrency=concurrency, time_limit=None, repeat=self._again
        )

    # -- what clients do --------------------------------------------------------------------

    def look(self, url: str) -> dict[str, Any]:
        """Return what is in a folder of a store, folders first."""
        address = self.stores.address(url)
        items, has_more = self._ask(transfer.look, address, SHOWN_OBJECTS, seconds=LOOK_SECONDS)
        return {"url": address, "items": items, "has_more": has_more}

    def start(self, request: CopyRequest) -> str:
        """Take a copy in and return its job's id; whatever can be wrong is found first."""
        return self._submit(request.source, request.target)

    def _again(
        self, params: Mapping[str, Any], _title: str, requested_by: str, _linked: Given
    ) -> str:
        return self._submit(params["source"], params["target"], requested_by)

    def _submit(self, source: str, target: str, requested_by: str = "") -> str:
        if is_address(source) == is_address(target):
            raise CopyInvalid(
                "A copy goes from a store to here, or from here to a store",
                hint="One of source and target is an address such as s3://bucket/folder.",
            )
        if is_address(source):
            source, target = self.stores.address(source), str(self.allowed.path(target).resolve())
        else:
            source = str(self.allowed.existing(source).resolve())
            target = self.stores.address(target)
        self._refuse_taken(target)
        listing = self._listing(source)
        if is_address(source):
            make_usable(Path(target).parent)
            refuse_too_large(Path(target).parent, listing.size_bytes, "the copy")
        params = {
            "source": source,
            "target": target,
            "version": listing.version,
            "n_files": len(listing.entries),
            "size_bytes": listing.size_bytes,
        }
        with self._submitting:
            self._refuse_under_way(target)
            return self._family.start(
                params,
                total=len(listing.entries),
                title=_title(source, target),
                requested_by=requested_by,
            )

    def status(self, job_id: str) -> dict[str, Any]:
        """Return how far a copy is."""
        params = self._family.get(job_id).params
        told = {name: params[name] for name in ("source", "target", "n_files", "size_bytes")}
        return {**self._family.status(job_id), **told}

    def cancel(self, job_id: str) -> None:
        """Stop a copy; what has arrived of it is removed."""
        self._family.cancel(job_id)

    def record(self, job_id: str) -> JobRecord:
        """Return the record of a copy's job."""
        return self._family.get(job_id)

    def known(self, limit: int = 20) -> list[JobRecord]:
        """Return the newest copies."""
        return self._family.newest(limit)

    def find(self, text: str, limit: int) -> list[JobRecord]:
        """Return the newest copies in whose title or parameters a text occurs."""
        return self._family.find(text, limit)

    def _refuse_under_way(self, target: str) -> None:
        for record in self._family.unfinished():
            if _overlap(record.params["target"], target):
                raise TargetTaken(
                    f"{record.id} is copying there", hint="Wait for it, or cancel it."
                )

    def _refuse_taken(self, target: str) -> None:
        if is_address(target):
            self._ask(transfer.refuse_taken, target, seconds=LOOK_SECONDS)
            return
        path = Path(target)
        if path.exists() or path.is_symlink():
            raise TargetTaken(f"{path.name} is there already", hint="Choose another target.")

    def _listing(self, source: str) -> Listing:
        if is_address(source):
            return self._ask(transfer.list_store, source, seconds=LIST_SECONDS)
        return self._ask(transfer.list_here, Path(source), self.allowed, seconds=LIST_SECONDS)

    def _ask(self, task: Callable[..., T], *arguments: Any, seconds: float) -> T:
        with self._turns.take():
            try:
                return ask(self._workers, task, *arguments, seconds=seconds)
            except WorkTimedOut as error:
                raise StoreAway("There was no answer in time") from error

    # -- the job ----------------------------------------------------------------------------

    def _run(self, job: JobContext) -> Mapping[str, Any]:
        course, patience = _Course.of(job.params), _Patience(job)
        if course.is_settled(job.finished_parts):
            return {"target": course.target}
        has_begun = _BEGUN in job.finished_parts
        try:
            if _GIVEN_UP in job.finished_parts:
                raise _given_up()
            listing = patience.with_(lambda: self._listed(job, course))
            if listing.version != course.version:
                raise CopyDiffers("The source was changed since; start the copy again")
            if not course.is_inward and not has_begun:
                # It may have waited for long.
                patience.with_(lambda: self._do(job, transfer.refuse_taken, course.target))
            job.finish_part(_BEGUN)
            has_begun = True
            moved = self._move(job, course, listing.entries, patience)
            # Again, so that no file of before is beside one of after.
            if patience.with_(lambda: self._listed(job, course)).version != course.version:
                raise CopyDiffers("The source was changed while it was copied; start it again")
            job.finish_part(_ARRIVED)
            patience.with_(lambda: self._end(job, course, listing.entries, moved))
        except BaseException as error:
            # What a server that ends has copied is there for the next one, and what has arrived
            # here is there for a copy that is started again once the store is.
            is_kept = course.is_inward and isinstance(error, StoreAway | StoreRefuses)
            if has_begun and not is_kept and job.stop.reason is not StopReason.SHUTDOWN:
                job.finish_part(_GIVEN_UP)
                self._clear(job, course)
            raise
        self._forget_sent(job)
        return {"target": course.target}

    def _listed(self, job: JobContext, course: _Course) -> Listing:
        if course.is_inward:
            return self._do(job, transfer.list_store, course.source)
        return self._do(job, transfer.list_here, Path(course.source), self.allowed)

    def _move(
        self, job: JobContext, course: _Course, entries: Sequence[Entry], patience: "_Patience"
    ) -> list[dict[str, Any]]:
        """Move all files, a few pieces side by side; return those that went out, by name."""
        pieces = list(pieces_of(entries))
        fractions = [0.0] * len(pieces)
        waiting = deque(range(len(pieces)))
        running: dict[Future[Any], int] = {}
        moved: list[dict[str, Any]] = []
        halt = threading.Event()
        job.stop.on_stop(lambda _: halt.set())
        try:
            while waiting or running:
                while waiting and len(running) < self._at_once:
                    number = waiting.popleft()

                    def tell(fraction: float, _: str, number: int = number) -> None:
                        fractions[number] = fraction
                        patience.so_far = _MOVED * sum(fractions) / len(pieces)
                        job.report(patience.so_far, message="Copying")

                    notes = self._notes / job.id / f"{number}"
                    running[self._moving(course, pieces[number], notes, halt, tell)] = number
                done, _ = wait(running, _TICK_SECONDS, FIRST_COMPLETED)
                job.stop.raise_if_asked()
                for future in done:
                    number = running.pop(future)
                    try:
                        moved += job.result_of(future) or []
                        patience.renew()
                    except StoreAway as error:
                        waiting.append(number)
                        patience.pause(error)
        finally:
            halt.set()
            for future in running:
                future.cancel()
            wait(running)
        return sorted(moved, key=lambda item: str(item["name"]))

    def _moving(
        self,
        course: _Course,
        piece: Sequence[Entry],
        notes: Path,
        halt: threading.Event,
        tell: Callable[[float, str], None],
    ) -> Future[Any]:
        if course.is_inward:
            return self._compute.submit(
                transfer.fetch, course.source, piece, course.partial, self.allowed,
                stop=halt, on_progress=tell,
            )  # fmt: skip
        return self._compute.submit(
            transfer.send, Path(course.source), piece, course.target, self.allowed, notes,
            stop=halt, on_progress=tell,
        )  # fmt: skip

    def _end(
        self,
        job: JobContext,
        course: _Course,
        entries: Sequence[Entry],
        moved: Sequence[Mapping[str, Any]],
    ) -> None:
        """Make what has been moved count."""
        if course.is_inward:
            self._do(job, transfer.settle, course.partial, Path(course.target), entries)
        elif entries[0].name:
            notes = self._notes / job.id / MANIFEST_NAME
            self._do(job, transfer.declare, course.target, list(moved), notes)

    def _clear(self, job: JobContext, course: _Course) -> None:
        """Remove what came of a copy that has failed or was given up; note where that stays."""
        try:
            if course.is_inward:
                self._persistently(transfer.discard, course.partial, seconds=CLEAR_SECONDS)
            else:
                self._take_back(job, course)
        except BenchwireError as error:
            logger.warning("what was copied to %s stays there: %s", course.target, error.message)
            job.note_partial_files([str(course.partial) if course.is_inward else course.target])
        else:
            self._forget_sent(job)

    def _take_back(self, job: JobContext, course: _Course) -> None:
        """Remove what a copy has put into a store, the manifest first."""
        pieces = [piece for piece in noted(self._notes / job.id) if piece]
        left = []
        for piece in sorted(pieces, key=lambda piece: piece[0].name != MANIFEST_NAME):
            reading = sum(sent.size for sent in piece) / _SLOWEST_BYTES_PER_SECOND
            left += self._persistently(
                transfer.take_back, course.target, piece, seconds=CLEAR_SECONDS + reading
            )
        if left:
            raise CopyDiffers(f"{len(left)} of its objects are others by now")

    def _forget_sent(self, job: JobContext) -> None:
        shutil.rmtree(self._notes / job.id, ignore_errors=True)

    def _persistently(self, task: Callable[..., T], *arguments: Any, seconds: float) -> T:
        """Do something for nobody who waits, a few times if need be."""
        for pause in _CLEARING_PAUSES:
            try:
                return ask(self._compute, task, *arguments, seconds=seconds)
            except BenchwireError:
                time.sleep(pause)
        return ask(self._compute, task, *arguments, seconds=seconds)

    def _do(self, job: JobContext, task: Callable[..., T], *arguments: Any) -> T:
        return job.result_of(self._compute.submit(task, *arguments, stop=job.stop.event))


class _Patience:
    """Waits while a store is away, longer each time it has answered nothing since the last."""

    def __init__(self, job: JobContext) -> None:
        self._job = job
        self.so_far = 0.0
        self.renew()

    def renew(self) -> None:
        """Begin to count anew, since the store has answered."""
        self._tries, self._waited = 0, 0.0

    def with_(self, work: Callable[[], T]) -> T:
        """Do something that needs the store, again while that is away."""
        while True:
            try:
                return work()
            except StoreAway as error:
                self.pause(error)

    def pause(self, error: StoreAway) -> None:
        """Wait before another try; raise the error once that has lasted too long."""
        if self._waited >= _PATIENCE_SECONDS:
            raise error
        pause = _PAUSES[min(self._tries, len(_PAUSES) - 1)]
        self._tries, self._waited = self._tries + 1, self._waited + pause
        logger.warning("%s: %s", self._job.id, error.message)
        self._job.report(self.so_far, message=f"{error.message}; trying again in {pause:.0f} s")
        self._job.stop.event.wait(pause)
        self._job.stop.raise_if_asked()


def _given_up() -> CopyGivenUp:
    return CopyGivenUp("It had failed or was cancelled before the server ended")


def _title(source: str, target: str) -> str:
    name = source.rpartition("/")[2]
    way, address = ("from", source) if is_address(source) else ("to", target)
    return f"Copy of {name} {way} {'/'.join(address.split('/')[:3])}"


def pieces_of(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    """Yield the files in pieces of about one size."""
    piece: list[Entry] = []
    size = 0
    for entry in entries:
        if piece and (size + entry.size > _PIECE_BYTES or len(piece) == _PIECE_FILES):
            yield piece
            piece, size = [], 0
        piece.append(entry)
        size += entry.size
    if piece:
        yield piece


def _overlap(one: str, other: str) -> bool:
    """Whether two targets are the same, or one lies in the other."""
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")
