"""Where a run's files lie and what they are called.

::

    <runs root>/<experiment>/[<subdir>/]<timestamp>/Wells/<slot>/<MODE>/<stem>.csv

Runs of one experiment and timestamp share a folder as long as their slots differ; a run that
would meet another's data takes the timestamp with ``_2``, ``_3`` and so on.
"""

import os
import re
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from benchwire.domains.potentiostat.errors import NameInvalid
from benchwire.foundation.files import (
    MAX_NAME_LENGTH,
    PARTIAL_SUFFIX,
    is_text,
    make_folders,
    sanitise,
)

WELLS = "Wells"
_DATE_TIME = re.compile(r"(\d{4}-\d{2}-\d{2})[T_](.+)")


@dataclass(frozen=True, slots=True)
class RunNames:
    """The sanitised names of a run.

    ``folder_stamp`` reads ``2025-11-03T10_15_00``, ``file_stamp`` ``2025-11-03_10-15-00``.
    """

    experiment: str
    subdir: str | None
    folder_stamp: str
    file_stamp: str

    @classmethod
    def of(cls, experiment: str, subdir: str | None, client_datetime: str) -> "RunNames":
        """Sanitise what a client sent.

        Raises
        ------
        NameInvalid
            Nothing usable is left of one of them.
        """
        stamp = _sanitise_stamp(client_datetime)
        folder_stamp = file_stamp = stamp
        if parts := _DATE_TIME.fullmatch(stamp):
            date, time = parts.groups()
            folder_stamp = f"{date}T{time.replace('-', '_')}"
            file_stamp = f"{date}_{time}"
        given_subdir = subdir if subdir and subdir.strip() else None
        return cls(
            experiment=_part("experiment_name", experiment),
            subdir=None if given_subdir is None else _part("subdir", given_subdir),
            folder_stamp=folder_stamp,
            file_stamp=file_stamp,
        )

    def folder(self, number: int = 1) -> PurePosixPath:
        """Return the run's folder below the runs root; from the second on, numbered."""
        stamp = self.folder_stamp if number == 1 else f"{self.folder_stamp}_{number}"
        return PurePosixPath(*filter(None, (self.experiment, self.subdir, stamp)))

    def stem(self, slot: str, mode: str, repeat: int = 1) -> str:
        """Return a file's name without its ending; a mode's second turn in a run ends in ``_2``."""
        parts = [self.experiment, self.subdir, self.file_stamp, slot, mode]
        suffix = "" if repeat == 1 else f"_{repeat}"
        return "_".join(filter(None, parts)) + suffix


def subdir_of(request: Mapping[str, Any]) -> str | None:
    """Return the folder in between that a request names; a blank name counts as none."""
    for name in ("subdir", "folder_name"):
        text: str | None = request.get(name)
        if text and text.strip():
            return text
    return None


def _part(field: str, text: str) -> str:
    name = sanitise(text)
    if not name:
        raise NameInvalid(
            f"{field} has no character that a folder name can hold",
            hint="Use letters, digits, hyphens and underscores.",
        )
    return name


def _sanitise_stamp(text: str) -> str:
    stamp = re.sub(r"[:/\\.]", "-", text.strip()).replace(" ", "_")
    stamp = re.sub(r"[^0-9A-Za-z_-]", "-", stamp)
    stamp = re.sub(r"_{2,}", "_", re.sub(r"-{2,}", "-", stamp)).strip("_-")
    if not stamp:
        raise NameInvalid(
            "client_datetime has no character that a folder name can hold",
            hint="Send a time such as 2025-11-03T10:15:00.",
        )
    return stamp[:MAX_NAME_LENGTH].strip("_-")


def mode_name(mode: str) -> str:
    """Return a mode's spelling as a folder name."""
    return _part("mode", mode)


@dataclass(frozen=True, slots=True)
class RunFolder:
    """One run's place on the disk.

    Parameters
    ----------
    root
        The runs root.
    relative
        The folder below it, with ``/``.
    slots
        The slots whose data in this folder are the run's own.
    label
        Ends the names of the run's own notes where it shares the folder; empty for the first run.
    """

    root: Path
    relative: PurePosixPath
    slots: tuple[str, ...]
    label: str = ""

    @property
    def path(self) -> Path:
        """The folder itself."""
        return self.root / self.relative

    @property
    def summary(self) -> Path:
        """The file that says how the run was made and what it wrote."""
        return self.path / f"run{self.label}.json"

    @property
    def upload_done(self) -> Path:
        """The file that says since when the run is on the NAS."""
        return self.path / f"UPLOAD_DONE{self.label}"

    @property
    def upload_failed(self) -> Path:
        """The file that says why it is not."""
        return self.path / f"upload_failed{self.label}"

    @property
    def exists(self) -> bool:
        """Whether the run's files are still here, and inside the runs root."""
        return self.followed() is not None

    def followed(self) -> "RunFolder | None":
        """Return the folder with every link on the way to it followed, None if it is not here.

        It counts as here inside the runs root only.
        """
        root, path = self.root.resolve(), self.path.resolve()
        if not (path.is_dir() and path.is_relative_to(root)):
            return None
        return replace(self, root=root, relative=PurePosixPath(path.relative_to(root)))

    def csv_path(self, slot: str, mode: str, stem: str) -> Path:
        """Return where a mode's samples go; the folder is made."""
        folder = self.path / WELLS / slot / mode_name(mode)
        make_folders(folder)
        return folder / f"{stem}.csv"

    def files(
        self,
        slots: Iterable[str] | None = None,
        *,
        onerror: Callable[[OSError], None] | None = None,
    ) -> tuple[str, ...]:
        """Return the run's data files as sorted paths below the folder, with ``/``.

        Links, files half written and names that are no text are left out.

        Parameters
        ----------
        onerror
            Told of a folder that cannot be read, which is left out otherwise.
        """
        found: list[str] = []
        wells = self.path.resolve() / WELLS
        for slot in self.slots if slots is None else slots:
            top = self.path / WELLS / slot
            if top.resolve() != wells / slot:
                continue
            for folder, _, names in os.walk(top, onerror=onerror):
                below = Path(folder).relative_to(self.path).as_posix()
                found += [f"{below}/{name}" for name in names if _is_data(f"{folder}/{name}")]
        return tuple(sorted(found))

    @property
    def has_summary(self) -> bool:
        """Whether the summary is there, and no link."""
        return _is_data(str(self.summary))

    def owns(self, relative: str) -> bool:
        """Whether a path below the folder, links resolved, is one of the run's own files."""
        if relative == self.summary.name:
            return True
        parts = PurePosixPath(relative).parts
        return len(parts) > 2 and parts[0] == WELLS and parts[1] in self.slots


def _is_data(path: str) -> bool:
    """Whether a path is a whole file with a name that can be told."""
    if path.endswith(PARTIAL_SUFFIX) or not is_text(path):
        return False
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


def allocate(
    root: Path,
    names: RunNames,
    slots: Sequence[str],
    run_id: str,
    *,
    slots_in: Callable[[str], set[str]],
) -> RunFolder:
    """Make a folder that holds, and ever held, no data of another run for these slots.

    The slots' own folders are made at once, so that no later run can take the same place.

    Parameters
    ----------
    slots_in
        Gives the slots that known runs have in a folder, also those whose files are gone from here:
        what they wrote there is on the NAS under the same names.
    """
    number = 1
    while True:
        relative = names.folder(number)
        taken = slots_in(relative.as_posix())
        if not any(slot in taken or (root / relative / WELLS / slot).exists() for slot in slots):
            break
        number += 1
    shared = bool(taken) or (root / relative / "run.json").exists()
    for slot in slots:
        make_folders(root / relative / WELLS / slot)
    return RunFolder(root, relative, tuple(slots), f"_{run_id}" if shared else "")
