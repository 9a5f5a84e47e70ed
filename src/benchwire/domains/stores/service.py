"""Copies between folders here and object stores, as jobs that outlive a restart."""

import logging
import shutil
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from benchwire.domains.stores import transfer
from benchwire.domains.stores.addresses import Stores, is_address
from benchwire.domains.stores.errors import (
    CopyDiffers,
    CopyInvalid,
    DiskTooSmall,
    StoreAway,
    TargetTaken,
)
from benchwire.domains.stores.schemas import CopyRequest
from benchwire.domains.stores.transfer import Entry
from benchwire.foundation.errors import BenchwireError
from benchwire.foundation.files import PARTIAL_SUFFIX, AllowedFolders, make_usable
from benchwire.foundation.jobs.family import JobFamily
from benchwire.foundation.jobs.runner import JobContext, Jobs
from benchwire.foundation.jobs.states import JobRecord, StopReason
from benchwire.foundation.samples.store import Given, Samples
from benchwire.foundation.workers import Executor, Turns, ask

logger = logging.getLogger(__name__)

T = TypeVar("T")

KIND = "stores.copy"
COPY_ITEM = "copy"
"""What one is called in lists over all domains."""

LOOK_SECONDS, LIST_SECONDS = 30.0, 300.0
SHOWN_OBJECTS = 1000
# A piece is as many files as together have so many bytes, or one that has more.
_PIECE_BYTES = 64 << 20
_PIECE_FILES = 200
# A network that is away for a moment ends no copy of hours.
_PAUSES = (1.0, 2.0, 5.0, 15.0, 60.0)
_TICK_SECONDS = 0.2
_ARRIVED = "arrived"
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
        target = Path(self.target)
        return target.with_name(f".{target.name[:60]}.{self.version[:16]}{PARTIAL_SUFFIX}")

    def is_settled(self, finished: Collection[str]) -> bool:
        """Whether an earlier life of the job has given what arrived its name, and told nobody."""
        return (
            self.is_inward
            and _ARRIVED in finished
            and Path(self.target).exists()
            and not any(self.partial.glob("*"))
        )


class Copies:
    """Takes copies in, makes them, and says how they went.

    Parameters
    ----------
    workers, compute
        For looks that somebody waits for, and for copies.
    at_once
        How many pieces of a copy move side by side.
    """

    def __init__(
        self,
        jobs: Jobs,
        samples: Samples,
        *,
        stores: Stores,
        allowed: AllowedFolders,
        workers: Executor,
        compute: Executor,
        at_once: int,
    ) -> None:
        self.stores = stores
        self.allowed = allowed
        self._workers = workers
        self._compute = compute
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
        for item in items:
            item["url"] = f"{address}/{item['name']}"
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
            source, target = self.stores.address(source), str(self.allowed.path(target))
        else:
            source, target = str(self.allowed.existing(source)), self.stores.address(target)
        with self._submitting:
            self._refuse_under_way(target)
            self._refuse_taken(target)
            entries = self._entries(source)
            size = sum(entry.size for entry in entries)
            if is_address(source):
                _refuse_too_large(Path(target), size)
            params = {
                "source": source,
                "target": target,
                "version": transfer.fingerprint(entries),
                "n_files": len(entries),
                "size_bytes": size,
            }
            return self._family.start(
                params, total=len(entries), title=_title(source, target), requested_by=requested_by
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
        make_usable(path.parent)

    def _entries(self, source: str) -> list[Entry]:
        if is_address(source):
            return self._ask(transfer.list_store, source, seconds=LIST_SECONDS)
        return self._ask(transfer.list_here, Path(source), self.allowed, seconds=LIST_SECONDS)

    def _ask(self, task: Callable[..., T], *arguments: Any, seconds: float) -> T:
        with self._turns.take():
            return ask(self._workers, task, *arguments, seconds=seconds)

    # -- the job ----------------------------------------------------------------------------

    def _run(self, job: JobContext) -> Mapping[str, Any]:
        course = _Course.of(job.params)
        entries: list[Entry] = []
        try:
            entries = self._patiently(job, 0.0, lambda: self._listed(job, course))
            if transfer.fingerprint(entries) != course.version:
                raise CopyDiffers("The source was changed since; start the copy again")
            if not course.is_settled(job.finished_parts):
                moved = self._move(job, course, entries)
                # Again, so that no file of before is beside one of after.
                if self._patiently(job, _MOVED, lambda: self._listed(job, course)) != entries:
                    raise CopyDiffers("The source was changed while it was copied; start it again")
                self._patiently(job, _MOVED, lambda: self._end(job, course, entries, moved))
        except BaseException:
            # What a server that ends has copied is there for the next one.
            if job.stop.reason is not StopReason.SHUTDOWN:
                self._clear(course, entries)
            raise
        return {"target": course.target, "n_files": len(entries)}

    def _listed(self, job: JobContext, course: _Course) -> list[Entry]:
        if course.is_inward:
            return self._do(job, transfer.list_store, course.source)
        return self._do(job, transfer.list_here, Path(course.source), self.allowed)

    def _move(
        self, job: JobContext, course: _Course, entries: Sequence[Entry]
    ) -> list[dict[str, Any]]:
        """Move all files, a few pieces side by side; return those that went out, by name."""
        pieces = list(pieces_of(entries))
        fractions = [0.0] * len(pieces)
        waiting, tries = deque(range(len(pieces))), [0] * len(pieces)
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
                        job.report(_MOVED * sum(fractions) / len(pieces), message="Copying")

                    running[self._moving(course, pieces[number], halt, tell)] = number
                done, _ = wait(running, _TICK_SECONDS, FIRST_COMPLETED)
                job.stop.raise_if_asked()
                for future in done:
                    number = running.pop(future)
                    try:
                        moved += job.result_of(future) or []
                    except StoreAway as error:
                        so_far = _MOVED * sum(fractions) / len(pieces)
                        self._pause(job, error, tries[number], so_far)
                        tries[number] += 1
                        waiting.append(number)
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
        halt: threading.Event,
        tell: Callable[[float, str], None],
    ) -> Future[Any]:
        if course.is_inward:
            return self._compute.submit(
                transfer.fetch, course.source, piece, course.partial, self.allowed,
                stop=halt, on_progress=tell,
            )  # fmt: skip
        return self._compute.submit(
            transfer.send, Path(course.source), piece, course.target, self.allowed,
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
            job.finish_part(_ARRIVED)
            names = [entry.name for entry in entries]
            self._do(job, transfer.settle, course.partial, Path(course.target), names)
        elif [item["name"] for item in moved] != [""]:
            self._do(job, transfer.declare, course.target, list(moved))

    def _clear(self, course: _Course, entries: Sequence[Entry]) -> None:
        """Remove what came of a copy that has failed or was given up."""
        try:
            if course.is_inward:
                self._ask(transfer.discard, course.partial, seconds=LIST_SECONDS)
            else:
                names = [entry.name for entry in entries]
                self._ask(transfer.take_back, course.target, names, seconds=LIST_SECONDS)
        except BenchwireError as error:
            logger.warning("what was copied to %s stays there: %s", course.target, error.message)

    def _do(self, job: JobContext, task: Callable[..., T], *arguments: Any) -> T:
        return job.result_of(self._compute.submit(task, *arguments, stop=job.stop.event))

    def _patiently(self, job: JobContext, so_far: float, work: Callable[[], T]) -> T:
        """Do something that needs the store, again while that is away."""
        tries = 0
        while True:
            try:
                return work()
            except StoreAway as error:
                self._pause(job, error, tries, so_far)
                tries += 1

    def _pause(self, job: JobContext, error: StoreAway, tries: int, so_far: float) -> None:
        """Wait before another try; raise the error after the last one."""
        if tries >= len(_PAUSES):
            raise error
        pause = _PAUSES[tries]
        logger.warning("%s: %s", job.id, error.message)
        job.report(so_far, message=f"{error.message}; trying again in {pause:.0f} s")
        job.stop.event.wait(pause)
        job.stop.raise_if_asked()


def _title(source: str, target: str) -> str:
    name = source.rstrip("/").rpartition("/")[2]
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


def _refuse_too_large(target: Path, size: int) -> None:
    free = shutil.disk_usage(target.parent).free
    if size > free:
        raise DiskTooSmall(
            f"The copy needs {size / 1e9:.2f} GB and {free / 1e9:.2f} GB are free on the disk",
            hint="Free space, or choose a folder on another disk.",
        )
