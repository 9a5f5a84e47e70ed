"""What a copy has put into a store, noted here, so that it takes back that and nothing else."""

import json
import os
from dataclasses import astuple, dataclass
from pathlib import Path

from benchwire.foundation.files import disk_troubles_told, make_folders, sync_folder


@dataclass(frozen=True, slots=True)
class Sent:
    """An object that was put where there was none.

    Parameters
    ----------
    name
        Below the target, with slashes; empty where the target itself is the object.
    size
        In bytes.
    """

    name: str
    size: int
    sha256: str


def note(notes: Path, sent: Sent) -> None:
    """Add an object to a file of notes; it is on the disk when this returns.

    To be done before the object is put: one that nobody knows of would stay for ever.

    Raises
    ------
    DiskRefused
    """
    with disk_troubles_told():
        is_new = not notes.exists()
        make_folders(notes.parent)
        with notes.open("ab") as file:
            # The line's end comes first, as a power cut may have left half a line.
            file.write(f"\n{json.dumps(astuple(sent))}".encode())
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            sync_folder(notes.parent)


def noted(folder: Path) -> list[list[Sent]]:
    """Return what is noted in each file of a folder.

    Raises
    ------
    DiskRefused
    """
    with disk_troubles_told():
        files = sorted(folder.iterdir()) if folder.exists() else []
        return [_read(file) for file in files]


def _read(file: Path) -> list[Sent]:
    found = {}
    for line in file.read_bytes().splitlines():
        try:
            sent = Sent(*json.loads(line))
        except (ValueError, TypeError):
            continue  # half a line, whose object was never put
        found[sent.name] = sent
    return list(found.values())
