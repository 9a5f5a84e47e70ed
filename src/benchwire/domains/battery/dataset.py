"""The data set on the disk: a folder per device, a CSV file per signal."""

import logging
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from benchwire.domains.battery.signals import (
    CELLS_PER_STACK,
    GROUPS,
    STACKS,
    cell_temperature,
    cell_voltage,
)
from benchwire.foundation.files import is_text

logger = logging.getLogger(__name__)

DEVICES_FOLDER = "BESS"
_SUFFIX = ".csv"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """The file of one signal as it was found.

    Parameters
    ----------
    mtime_ns, changed_ns
        When its content, and when its content or permissions, changed last.
    """

    path: Path
    signal: str
    size: int
    mtime_ns: int
    inode: int
    changed_ns: int = 0

    @property
    def is_wrong_case(self) -> bool:
        """Whether its name differs in case from what it should be."""
        return self.path.name != self.signal + _SUFFIX


@dataclass(frozen=True, slots=True)
class Recording:
    """What was recorded of one device: its files by signal."""

    device_id: str
    files: Mapping[str, SourceFile]


Told = Callable[[str], object]


def discover(root: Path, tell: Told = logger.warning) -> tuple[Recording, ...]:
    """Return the devices that have signal files, sorted by id; none if there is no data set.

    The root is the data set or the folder of devices in it. Links that lead out of it are not
    followed.

    Parameters
    ----------
    tell
        Gets a sentence on whatever cannot be read.
    """
    found = []
    with _unreadable_told(root, tell):
        top = root.resolve(strict=True)
        inner = top / DEVICES_FOLDER
        is_whole = inner.is_dir() and inner.resolve().is_relative_to(top)
        for folder in _entries(inner if is_whole else top):
            if not is_text(folder.name):
                tell(f"{folder.name!r} is skipped: its name is no text")
                continue
            with _unreadable_told(Path(folder.path), tell):
                if folder.is_dir() and _stays_inside(folder, top):
                    found.append(Recording(folder.name, _signal_files(folder.path, top, tell)))
    return tuple(sorted((one for one in found if one.files), key=lambda one: one.device_id))


def _signal_files(folder: str, top: Path, tell: Told) -> Mapping[str, SourceFile]:
    """Return the CSV files of a folder by signal; an exact name goes before one in wrong case."""
    entries = [
        entry
        for entry in _entries(folder)
        if entry.name[-len(_SUFFIX) :].lower() == _SUFFIX and is_text(entry.name)
    ]
    known = _known_signals()
    exact = {entry.name for entry in entries}
    files: dict[str, SourceFile] = {}
    # Names that are right come first, so that no other can take their place.
    for entry in sorted(
        entries, key=lambda entry: (entry.name[-len(_SUFFIX) :] != _SUFFIX, entry.name)
    ):
        stem = entry.name[: -len(_SUFFIX)]
        meant = known.get(stem.lower(), stem)
        if meant != stem and (meant in files or meant + _SUFFIX in exact):
            meant = stem
        if meant in files or entry.name.startswith("."):
            continue
        try:
            status = entry.stat()
            is_ours = stat.S_ISREG(status.st_mode) and _stays_inside(entry, top)
        except (OSError, RuntimeError) as error:
            tell(_is_skipped(entry.path, error))
            continue
        if is_ours:
            files[meant] = SourceFile(
                Path(entry.path), meant, status.st_size, status.st_mtime_ns, status.st_ino,
                status.st_ctime_ns,
            )  # fmt: skip
    return files


@cache
def _known_signals() -> Mapping[str, str]:
    """Return the names of signals by their lower case."""
    names = [signal.name for group in GROUPS.values() for signal in group.signals]
    for stack in range(1, STACKS + 1):
        for cell in range(1, CELLS_PER_STACK + 1):
            names += [cell_voltage(stack, cell), cell_temperature(stack, cell)]
    return {name.lower(): name for name in names}


def _entries(folder: str | Path) -> list["os.DirEntry[str]"]:
    with os.scandir(folder) as entries:
        return list(entries)


def _stays_inside(entry: "os.DirEntry[str]", top: Path) -> bool:
    return not entry.is_symlink() or Path(entry.path).resolve().is_relative_to(top)


@contextmanager
def _unreadable_told(path: Path, tell: Told) -> Iterator[None]:
    """Say what cannot be read, and go on without it."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # a loop of links is a RuntimeError
        tell(_is_skipped(path, error))


def _is_skipped(path: Path | str, error: Exception) -> str:
    return f"{path} is skipped: {getattr(error, 'strerror', None) or error}"
