"""The life of a job in values: its states, its record, and how it was stopped."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from benchwire.foundation.clock import utc_text
from benchwire.foundation.errors import BenchwireError


class JobState(StrEnum):
    """Where a job is; the last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether nothing changes any more."""
        return self in {JobState.DONE, JobState.FAILED, JobState.CANCELLED}


class StopReason(StrEnum):
    """Why a running job is asked to stop."""

    CANCELLED = "cancelled"
    TIME_LIMIT = "time limit"
    SHUTDOWN = "shutdown"


@dataclass(frozen=True, slots=True)
class JobRecord:
    """What is known of one job; a new record for every change.

    ``progress`` runs from 0 to 1, ``remaining`` is in seconds, None when unknown.
    ``interrupted`` is true when the server ended while the job was running. ``updated_at`` is when
    something of it last changed in this life of the server.
    """

    id: str
    kind: str
    title: str
    state: JobState
    params: Mapping[str, Any]
    requested_by: str
    created_at: datetime
    idempotency_key: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    progress: float = 0.0
    remaining: float | None = None
    message: str | None = None
    result: Mapping[str, Any] | None = None
    finished_parts: tuple[str, ...] = ()
    partial_files: tuple[str, ...] = ()
    attempts: int = 0
    interrupted: bool = False
    updated_at: datetime | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the record for clients: plain values, times as ISO 8601 UTC text."""
        return {
            "id": self.id,
            "kind": self.kind,
            "title": self.title,
            "state": self.state.value,
            "requested_by": self.requested_by,
            "created_at": utc_text(self.created_at),
            "started_at": None if self.started_at is None else utc_text(self.started_at),
            "ended_at": None if self.ended_at is None else utc_text(self.ended_at),
            "progress": round(self.progress, 4),
            "remaining_s": None if self.remaining is None else round(self.remaining, 1),
            "message": self.message,
            "partial_files": list(self.partial_files),
            "interrupted": self.interrupted,
        }


class JobStopped(BenchwireError):
    """Raised by a job's work when it has stopped because it was asked to."""

    code = "jobs.stopped"


@dataclass(frozen=True, slots=True)
class Interruption:
    """What a domain found of a job that nobody works on any more."""

    state: JobState = JobState.FAILED
    partial_files: tuple[str, ...] = ()
    made_safe: tuple[str, ...] = ()


@dataclass(slots=True)
class Stop:
    """A request to stop, made once and never taken back.

    Work looks at ``event`` between steps, or has ``on_stop`` call it at once.
    """

    event: threading.Event = field(default_factory=threading.Event)
    reason: StopReason | None = None
    _calls: list[Callable[[StopReason], None]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, reason: StopReason) -> None:
        """Ask the work to stop; the first reason given stands."""
        with self._lock:
            if self.reason is not None:
                return
            self.reason = reason
            self.event.set()
            calls = list(self._calls)
        for call in calls:
            call(reason)

    def on_stop(self, call: Callable[[StopReason], None]) -> None:
        """Have a function called when the stop is asked for, at once if it has been."""
        with self._lock:
            self._calls.append(call)
            reason = self.reason
        if reason is not None:
            call(reason)

    def raise_if_asked(self) -> None:
        """Raise `JobStopped` if a stop was asked for."""
        if self.reason is not None:
            raise JobStopped(self.reason.value)
