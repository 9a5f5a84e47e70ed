"""The mark of a finished FOV, written last: only what it vouches for counts as done."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchwire.foundation.files import sync_folder, write_whole

FINISHED_NAME = "finished.json"


def mark(
    folder: Path, *, fingerprint: str, files: Iterable[Path], facts: Mapping[str, Any]
) -> None:
    """Mark an FOV as finished, once all its files are written.

    Parameters
    ----------
    fingerprint
        Another one whenever the files would come out otherwise.
    files
        In the folder itself; of a folder among them only the name counts.
    facts
        What is to be known of the FOV: how it was made, and what was found.
    """
    sizes = {
        path.name: None if path.is_dir() else (folder / path.name).stat().st_size for path in files
    }
    content = {"fingerprint": fingerprint, "files": sizes, **facts}
    write_whole(folder / FINISHED_NAME, json.dumps(content, indent=2).encode())


def facts(folder: Path) -> dict[str, Any]:
    """Return what was marked of an FOV; empty where it is not marked."""
    try:
        content = json.loads((folder / FINISHED_NAME).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def is_finished(folder: Path, fingerprint: str) -> bool:
    """Return whether the FOV was finished in just this way and its files are still the same."""
    found = facts(folder)
    try:
        return found["fingerprint"] == fingerprint and all(
            (folder / name).is_dir()
            if size is None
            else (folder / name).is_file() and (folder / name).stat().st_size == size
            for name, size in found["files"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def forget(folder: Path) -> None:
    """Take the mark away, before any file of the FOV is changed."""
    (folder / FINISHED_NAME).unlink(missing_ok=True)
    sync_folder(folder)
