"""The recordings as they are on the disk now, and which of their signals have been read."""

import logging
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchwire.domains.battery import dataset, recorded
from benchwire.domains.battery.dataset import Recording, SourceFile
from benchwire.domains.battery.recorded import Options
from benchwire.domains.battery.series import SignalSource
from benchwire.domains.battery.signals import Group
from benchwire.foundation.clock import Clock

logger = logging.getLogger(__name__)

# What a look takes at most on a disk that is well.
_LOOK_SECONDS = 0.5
_FIRST_LOOK_SECONDS = 5.0


class Recordings:
    """The recordings in a folder, looked for anew when the last look is old.

    Parameters
    ----------
    root
        The folder, None where there is none.
    cache
        Where what is made of them is kept.
    believed_seconds
        How long a look is believed.
    """

    def __init__(
        self,
        root: Path | None,
        cache: Path,
        clock: Clock,
        *,
        options: Options,
        believed_seconds: float,
    ) -> None:
        self.cache = cache
        self.options = options
        self._is_away = False
        self._root = root
        self._clock = clock
        self._believed_seconds = believed_seconds
        self._found: Mapping[str, Recording] = {}
        self._looked_at = float("-inf")
        self._began_at = float("-inf")
        self._looking = threading.Lock()
        self._unreadable: set[str] = set()
        self._read: dict[tuple[str, str], SourceFile] = {}

    def all(self) -> Mapping[str, Recording]:
        """Return the recordings by device."""
        if self._is_old() and self._looking.acquire(timeout=self._patience()):
            try:
                if self._is_old():
                    self._began_at = self._clock.monotonic()
                    self._look()
            finally:
                self._looking.release()
        return self._found

    @property
    def is_away(self) -> bool:
        """Whether nobody can tell what there is: the disk is away, or was never seen so far."""
        return self._is_away or self._looked_at == float("-inf")

    def _is_old(self) -> bool:
        return self._clock.monotonic() - self._looked_at >= self._believed_seconds

    def _patience(self) -> float:
        """Return how long to wait for one who looks; a disk that hangs is to hold up no other."""
        patience = _LOOK_SECONDS
        if self._looked_at == float("-inf"):
            patience = _FIRST_LOOK_SECONDS  # nothing is known yet
            if self._began_at == float("-inf"):
                return patience
        return max(0.0, self._began_at + patience - self._clock.monotonic())

    def has(self, device_id: str, group: Group) -> bool:
        """Whether a device has a file of at least one of a group's signals."""
        recording = self.all().get(device_id)
        return recording is not None and any(
            signal.name in recording.files for signal in group.signals
        )

    def signal_names(self, device_id: str) -> list[str]:
        """Return the names of all signals of a device."""
        recording = self.all().get(device_id)
        return sorted(recording.files) if recording else []

    def is_read(self, device_id: str, name: str) -> bool:
        """Whether a signal was read as its file is now."""
        recording = self.all().get(device_id)
        if recording is None or name not in recording.files:
            return False
        # What was found read once is not looked up again until its file changes.
        if self._read.get((device_id, name)) != recording.files[name]:
            if recorded.signal_recorded(recording, name, self.cache, self.options) is None:
                return False
            self.note_read(recording, (name,))
        return True

    def note_read(self, recording: Recording, names: Sequence[str]) -> None:
        """Note that signals were read as their files were when they were looked at."""
        for name in names:
            self._read[recording.device_id, name] = recording.files[name]

    def signal(self, device_id: str, name: str) -> SignalSource:
        """Return where the samples of a signal are as it was read last; nowhere before.

        A file that is always written to is never read as it is now, and still has samples.
        """
        recording = self.all().get(device_id)
        if recording is None or name not in recording.files:
            return SignalSource()
        if not self.is_read(device_id, name) and (device_id, name) not in self._read:
            return SignalSource()
        return SignalSource(recorded.signal_path(self.cache, device_id, name))

    def stamps(self, device_id: str, names: Sequence[str]) -> tuple[object, ...]:
        """Return what changes whenever one of some signals is read anew."""
        return tuple(self._read.get((device_id, name)) for name in names)

    def forget(self, path: Path) -> None:
        """Believe a file made of them no more, as it turned out to be damaged."""
        recorded.forget(path)
        self._read.clear()

    def _look(self) -> None:
        is_away = self._root is not None and not self._root.is_dir()
        if is_away != self._is_away:
            # Told once, since a disk that is away is looked for for as long as it takes.
            logger.warning("the recordings are %s: %s", "away" if is_away else "back", self._root)
        self._is_away = is_away
        found: tuple[Recording, ...] = ()
        if self._root is not None and not is_away:
            unreadable: list[str] = []
            found = dataset.discover(self._root, unreadable.append)
            for sentence in sorted(set(unreadable) - self._unreadable):
                logger.warning("%s", sentence)
            self._unreadable = set(unreadable)
        self._found = {recording.device_id: recording for recording in found}
        self._looked_at = self._clock.monotonic()
