"""The mark of a finished FOV, written last: only what it vouches for counts as done."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchwire.foundation.files import sync_folder, write_whole

FINISHED_NAME = "finished.json"


def mark(
    folder: Path, *, fingerprint: str, files: Iterable[Path], stats: Mapping[str, int]
) -> None:
    """Mark an FOV as finished, once all its files are written.

    Parameters
    ----------
    fingerprint
        Another one whenever the files would come out otherwise.
    files
        In the folder itself.
    stats
        What is to be told of the FOV.
    """
    sizes = {path.name: (folder / path.name).stat().st_size for path in files}
    content = {"fingerprint": fingerprint, "files": sizes, "stats": dict(stats)}
    write_whole(folder / FINISHED_NAME, json.dumps(content, indent=2).encode())


def is_finished(folder: Path, fingerprint: str) -> bool:
    """Return whether the FOV was finished in just this way and its files are still the same."""
    try:
        content = json.loads((folder / FINISHED_NAME).read_text("utf-8"))
        return content["fingerprint"] == fingerprint and all(
            (folder / name).is_file() and (folder / name).stat().st_size == size
            for name, size in content["files"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False


def forget(folder: Path) -> None:
    """Take the mark away, before any file of the FOV is changed."""
    (folder / FINISHED_NAME).unlink(missing_ok=True)
    sync_folder(folder)


def stats(folder: Path) -> dict[str, Any]:
    """Return what was told of a finished FOV."""
    found: dict[str, Any] = json.loads((folder / FINISHED_NAME).read_text("utf-8"))["stats"]
    return found
