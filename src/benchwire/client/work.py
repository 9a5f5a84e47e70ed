"""A piece of work on the server: followed, waited for, cancelled, fetched."""

import os
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal, Self
from urllib.parse import quote

from benchwire.client.connection import Connection, OnPause
from benchwire.client.errors import BenchError, StillRunning, WorkCancelled, WorkFailed
from benchwire.client.showing import Display, display

State = Literal["queued", "running", "done", "failed", "cancelled"]

_STATES: Mapping[str, State] = {
    "queued": "queued", "pending": "queued",
    "running": "running",
    "done": "done", "completed": "done",
    "failed": "failed",
    "cancelled": "cancelled",
}  # fmt: skip
# On Windows, what is before a colon can be a drive.
_SEPARATORS = {"\\", ":"} if os.name == "nt" else {"\\"}
_FIRST_POLL_SECONDS, _LONGEST_POLL_SECONDS = 0.1, 1.0


def state_of(word: str) -> State:
    """Return the state that a word of any API means."""
    return _STATES.get(word, "running")


def quoted(text: str) -> str:
    """Return text as one part of a path."""
    return quote(text, safe="")


def new_key() -> str:
    """Return a key by which the server knows a request it has carried out already."""
    return uuid.uuid4().hex


@dataclass(frozen=True, slots=True)
class Status:
    """How far a piece of work is.

    Parameters
    ----------
    progress
        From 0 to 1.
    message
        Why it failed, or what it does.
    step
        What it does, such as the mode that is measured.
    remaining_seconds
        None where it is not known.
    answer
        What the server said, in its own words.
    """

    state: State
    progress: float
    message: str = ""
    step: str = ""
    remaining_seconds: float | None = None
    answer: Mapping[str, Any] = field(default_factory=dict)

    @property
    def has_ended(self) -> bool:
        """Whether nothing will change any more."""
        return self.state in {"done", "failed", "cancelled"}

    @property
    def note(self) -> str:
        """A line for people."""
        if self.has_ended:
            return f"{self.state}: {self.message}" if self.message else self.state
        left = self.remaining_seconds
        parts = [self.step or self.state, "" if left is None else f"{left:.0f} s left"]
        return "  ".join(part for part in parts if part)


class Work(ABC):
    """Work on the server, known by its id; it goes on whether or not anybody watches.

    ``kind`` and ``id`` name it in `Bench.crate` and `Bench.samples`.
    """

    kind: ClassVar[str]

    def __init__(self, connection: Connection, work_id: str) -> None:
        self._connection = connection
        self.id = work_id

    @classmethod
    def found(cls, connection: Connection, work_id: str) -> Self:
        """Return work that the server knows.

        Raises
        ------
        NotFound
            It knows none of that id.
        """
        work = cls(connection, work_id)
        work._ask()
        return work

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Work) and (self.kind, self.id) == (other.kind, other.id)

    def __hash__(self) -> int:
        return hash((self.kind, self.id))

    @abstractmethod
    def _ask(self, **how: Any) -> Status:
        """Ask the server how far it is; ``how`` goes to the connection."""

    @abstractmethod
    def cancel(self) -> None:
        """Stop it; what it has written so far is kept.

        Raises
        ------
        Refused
            There is nothing left to cancel, where the API of the domain says so.
        """

    @abstractmethod
    def download(self, folder: str | Path = ".") -> list[Path]:
        """Write its results below a folder and return their paths."""

    @property
    def status(self) -> Status:
        """How far it is at this moment."""
        return self._ask()

    @property
    def state(self) -> State:
        """``queued``, ``running``, ``done``, ``failed`` or ``cancelled``, at this moment."""
        return self.status.state

    def follow(self, *, patience: float | None = None, check: bool = True) -> Self:
        """Show its progress until it has ended.

        A bar is drawn in a terminal and in a notebook; elsewhere it is quiet. A lost connection or
        a restart of the server is waited out. Interrupting it leaves the work running.

        Parameters
        ----------
        patience
            Seconds without a server after which it is given up; that of the `Bench` if None.
        check
            Whether work that did not end well is an error.

        Raises
        ------
        WorkFailed, WorkCancelled
            It did not end well.
        Unreachable
            The server did not come back.
        """
        with display(repr(self).strip("<>")) as shown:
            last = self._until(None, patience, shown)
        return self._checked(last) if check else self

    def wait(
        self, timeout: float | None = None, *, patience: float | None = None, check: bool = True
    ) -> Self:
        """Wait in silence until it has ended; as `follow` otherwise.

        Parameters
        ----------
        timeout
            Seconds to wait at most.

        Raises
        ------
        StillRunning
            It has not ended by then. It goes on.
        """
        last = self._until(timeout, patience, None)
        return self._checked(last) if check else self

    def crate(self, path: str | Path = ".") -> Path:
        """Write everything of it as an RO-Crate ZIP, to a file or into a folder.

        Raises
        ------
        Conflict
            It has not ended yet.
        """
        return fetch_crate(self._connection, self.kind, self.id, path)

    def watch(self, on_status: Callable[[Status], None], on_pause: OnPause) -> Status:
        """Call with every status until it has ended, and before every pause of a lost connection.

        For displays of one's own; `follow` has one.
        """
        return self._poll(None, None, on_status, on_pause)

    def _until(
        self, timeout: float | None, patience: float | None, shown: Display | None
    ) -> Status:
        def on_status(status: Status) -> None:
            if shown is not None:
                shown.show(status)

        def on_pause(error: BenchError, seconds: float) -> None:
            if shown is not None:
                shown.note(f"{error.message}; next try in {seconds:.0f} s")

        return self._poll(timeout, patience, on_status, on_pause)

    def _poll(
        self,
        timeout: float | None,
        patience: float | None,
        on_status: Callable[[Status], None],
        on_pause: OnPause,
    ) -> Status:
        patience = self._connection.patience if patience is None else patience
        deadline = None if timeout is None else time.monotonic() + timeout
        pause = _FIRST_POLL_SECONDS
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            status = self._ask(
                patience=patience if left is None else min(patience, left), on_pause=on_pause
            )
            on_status(status)
            if status.has_ended:
                return status
            if left is not None:
                if left <= 0:
                    raise StillRunning(
                        f"{self.kind.capitalize()} {self.id} has not ended after {timeout} s",
                        code="still_running",
                        hint="It goes on; wait() and follow() can be called again.",
                    )
                pause = min(pause, left)
            time.sleep(pause)
            pause = min(1.5 * pause, _LONGEST_POLL_SECONDS)

    def _checked(self, status: Status) -> Self:
        if status.state in {"failed", "cancelled"}:
            kind = WorkFailed if status.state == "failed" else WorkCancelled
            reason = f": {status.message}" if status.message else ""
            raise kind(
                f"{self.kind.capitalize()} {self.id} {status.state}{reason}",
                code=f"work.{status.state}",
                hint="What it had written by then is kept: download() fetches it.",
            )
        return self


def fetch_crate(connection: Connection, kind: str, item_id: str, path: str | Path) -> Path:
    """Write a finished item as an RO-Crate ZIP, to a file ``*.zip`` or into a folder."""
    target = Path(path)
    if target.is_dir() or target.suffix.lower() != ".zip":
        target = target / f"{safe_name(item_id)}.crate.zip"
    return connection.download(f"/crates/{quoted(kind)}/{quoted(item_id)}", target)


def safe_name(text: str) -> str:
    """Return text as the name of a file on any system."""
    kept = "".join(sign if sign.isalnum() or sign in "._- " else "_" for sign in text)
    return kept.strip(" .")[:120] or "item"


def below(folder: str | Path, name: str) -> Path:
    """Return where a server's relative path lies below a folder of ours.

    Raises
    ------
    BenchError
        It would lie outside.
    """
    parts = PurePosixPath(name).parts
    if (
        not parts
        or name.startswith("/")
        or any(part in {"..", ""} or _SEPARATORS & set(part) for part in parts)
    ):
        raise BenchError(f"The server names a file {name!r}, which cannot be written here")
    return Path(folder).joinpath(*parts)
