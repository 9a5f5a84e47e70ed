"""Things that a process of its own holds, kept through the death of that process.

The first of them has the process started. Should it be lost, another takes its place, which takes
up all that was held before anything else is asked of it.
"""

import logging
import threading
import time
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from benchwire.foundation.companion import Companion, CompanionLost, kept_promise

if TYPE_CHECKING:
    from concurrent.futures import Future

logger = logging.getLogger(__name__)

_RESTART_SECONDS = 0.5
_LONGEST_RESTART_SECONDS = 10.0
# One that has lasted so long was not ended by what it found at its start.
_STEADY_SECONDS = 5.0


class Kept(Protocol):
    """One thing that is held, as the server sees it."""

    @property
    def key(self) -> str:
        """What the process calls it by."""

    @property
    def opening(self) -> tuple[Any, ...]:
        """What the process's ``open`` is called with to take it up."""

    def heard(self, event: str, *facts: Any) -> None:
        """Take in what the process tells of it."""

    def lost(self) -> None:
        """Take in that the process has ended unasked; returns at once."""


K = TypeVar("K", bound=Kept)


class Keeper(Generic[K]):
    """Starts the process, and again whenever it is lost.

    Parameters
    ----------
    factory
        ``module:callable`` that makes the object there, which has the methods ``open`` and
        ``release(key)``. The first argument of all that it tells is a key, unless `heard` is
        overridden.
    """

    def __init__(self, factory: str) -> None:
        self._factory = factory
        self._companion: Companion | None = None
        self._held: dict[str, K] = {}
        self._lock = threading.Lock()
        self._starting = threading.Lock()
        self._closing = threading.Event()
        self._hurried = threading.Event()
        self._is_starting = self._is_loss_told = False
        self._started_at = float("-inf")
        self._pause = _RESTART_SECONDS

    def hold(self, kept: K) -> "Future[Any]":
        """Take something up, or anew as it is to be opened now; waits for the process to start.

        The promise is that of its opening.

        Raises
        ------
        CompanionLost
            No process can be started at the moment.
        """
        with self._lock:
            self._held[kept.key] = kept
        companion = self._started()
        with self._lock:
            if self._held.get(kept.key) is not kept:
                raise CompanionLost("It has been let go meanwhile")
            return companion.ask("open", *kept.opening)

    def take_up(self, kept: K) -> None:
        """Take something up, or anew as it is to be opened now, as soon as there is a process."""
        with self._lock:
            self._held[kept.key] = kept
            if (companion := self.reached()) is not None:
                self._open(companion, kept)
            elif not self._is_starting:
                self._is_starting = True
                threading.Thread(target=self._start_now, daemon=True).start()

    def release(self, kept: K) -> "Future[Any]":
        """Let something go; the promise says when that is done."""
        with self._lock:
            if self._held.get(kept.key) is kept:
                del self._held[kept.key]
                if self._companion is not None:
                    return self._companion.ask("release", kept.key)
        return kept_promise(None)

    def reached(self) -> Companion | None:
        """Return the process, if there is one at the moment."""
        companion = self._companion
        return None if companion is None or companion.is_over else companion

    def expect_the_worst(self) -> None:
        """Have a process that is lost from here on replaced soon, however many were before it."""
        self._pause = _RESTART_SECONDS

    def heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Take in what the process tells."""
        key, *facts = arguments
        with self._lock:
            kept = self._held.get(key)
        if kept is None:
            self.unclaimed(event, key)
        else:
            kept.heard(event, *facts)

    def unclaimed(self, event: str, key: str) -> None:
        """Take in what is told of something that has been let go."""

    def hurry(self) -> None:
        """Wait for a process that hangs no longer than a moment, as the server is to end."""
        self._hurried.set()

    def close(self, *, until_in_order: bool) -> None:
        """Have all let go and the process ended.

        Parameters
        ----------
        until_in_order
            If it is lost at this moment, or does not leave things in order, another does it in its
            place.
        """
        self._closing.set()
        self.hurry()
        with self._starting:
            companion = self._companion
            if (companion is not None and companion.close()) or not (self._held and until_in_order):
                return
            logger.warning("another process leaves in order what was held")
            try:
                if self._start().close():
                    return
            except Exception:
                logger.exception("a process that does it cannot be started")
            logger.error("what was held may have been left as it was")

    def _started(self) -> Companion:
        with self._starting:
            if self._closing.is_set():
                raise CompanionLost("The server is shutting down")
            return self.reached() or self._start()

    def _start(self) -> Companion:
        """Start a process that takes up everything before it does anything else."""
        self._started_at = time.monotonic()
        companion = Companion(
            self._factory, told=self.heard, lost=self._lost, hurried=self._hurried
        )
        # What is held or let go from here on is asked of this process, after what is held now.
        with self._lock:
            if self._companion is not None:
                self._tell_loss()
            self._companion, self._is_loss_told = companion, False
            for kept in self._held.values():
                self._open(companion, kept)
        return companion

    def _open(self, companion: Companion, kept: K) -> None:
        def note(opened: "Future[Any]") -> None:
            if (error := opened.exception()) is not None:
                logger.error("%s could not be taken up: %s", kept.key, error)

        companion.ask("open", *kept.opening).add_done_callback(note)

    def _lost(self) -> None:
        with self._lock:
            # By now there may be another already, which has told how things are.
            if self.reached() is None:
                self._tell_loss()
        if time.monotonic() - self._started_at > _STEADY_SECONDS:
            self._pause = _RESTART_SECONDS
        threading.Thread(target=self._keep_starting, daemon=True).start()

    def _tell_loss(self) -> None:
        if not self._is_loss_told:
            self._is_loss_told = True
            for kept in self._held.values():
                kept.lost()

    def _start_now(self) -> None:
        if not self._tries_to_start():
            self._keep_starting()
        with self._lock:
            self._is_starting = False

    def _keep_starting(self) -> None:
        """Start the process, after a pause that grows while it does not last."""
        while not self._closing.wait(self._pause):
            self._pause = min(2 * self._pause, _LONGEST_RESTART_SECONDS)
            if self._tries_to_start():
                return

    def _tries_to_start(self) -> bool:
        """Start the process if it is not there; whether it is there now."""
        try:
            self._started()
        except Exception:
            # Nobody else would try again, and what was held may need it.
            if not self._closing.is_set():
                logger.exception("a process cannot be started")
            return False
        return True
