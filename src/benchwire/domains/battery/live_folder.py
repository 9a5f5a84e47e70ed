"""Files of live readings: what the database had once, in order, for good."""

from pathlib import Path

from benchwire.domains.battery import work
from benchwire.domains.battery.signals import GROUPS
from benchwire.domains.battery.store import ReadingStore
from benchwire.domains.battery.tails import rows_of

Key = tuple[str, str]
"""A device and a group's name."""


class LiveFolder:
    """A folder for each device's group, with numbered files that are never written again.

    Whoever calls sees to it that nobody else writes the same device meanwhile.
    """

    def __init__(self, folder: Path, store: ReadingStore) -> None:
        self.folder = folder
        self._store = store

    def keys(self) -> set[Key]:
        """Return every device and group with readings, here or in the database."""
        found = {(path.parent.name, path.name) for path in self.folder.glob("*/*")}
        return {key for key in found.union(self._store.devices()) if key[1] in GROUPS}

    def files(self, key: Key) -> tuple[Path, ...]:
        """Return the files of a device's group, in the order in which they were made."""
        return tuple(sorted(self._of(key).glob("*.parquet")))

    def fold(self, key: Key, kept: int) -> int | None:
        """Make a file of all readings in the database but the newest; return up to which time.

        It is on the disk before they leave the database. None if there were too few.
        """
        group = GROUPS[key[1]]
        rows = rows_of(tuple(self._store.all(*key)), group)
        rows = rows.take(slice(0, max(len(rows) - kept, 0)))
        if not len(rows):
            return None
        work.write_rows(self.next_file(key), group.fields, [rows])
        until_us = int(rows.at_us[-1])
        self._store.forget(*key, up_to_us=until_us)
        return until_us

    def next_file(self, key: Key) -> Path:
        """Return a name that no file has or had."""
        numbers = (int(path.stem) for path in self._of(key).glob("[0-9]*"))
        return self._of(key) / f"{max(numbers, default=0) + 1:08d}.parquet"

    def _of(self, key: Key) -> Path:
        return self.folder / key[0] / key[1]
