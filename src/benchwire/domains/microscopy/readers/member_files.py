"""Which files a movie is read from, and where they may be."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from benchwire.domains.microscopy.errors import FileUnreadable
from benchwire.domains.microscopy.plan import MovieInfo


def refuse_outside(path: Path, names: Iterable[str]) -> None:
    """Refuse a file that names, as a part of itself, a file anywhere but beside it."""
    folder = path.resolve().parent
    for name in names:
        if {"/", "\\"} & set(name) or name == ".." or (folder / name).resolve().parent != folder:
            raise FileUnreadable(
                f"{path.name} names a file outside its own folder as a part of the movie",
                hint="Put all files of the movie into one folder, or export it as one file.",
            )


def linked_paths(info: MovieInfo) -> Iterator[Path]:
    """Yield every member of a movie, and every symbolic link in the folders it is read from.

    A linked folder is only looked into once its link has been yielded, so whoever stops at a link
    that is not allowed never sees what is behind it.

    Raises
    ------
    FileUnreadable
        A folder cannot be listed, so that there may be links in it.
    """
    pending = []
    for member in info.members:
        yield member
        pending.append(member)
    seen = set()
    while pending:
        folder = pending.pop().resolve()
        if folder in seen or not folder.is_dir():
            continue
        seen.add(folder)
        try:
            entries = list(os.scandir(folder))
        except OSError as error:
            raise FileUnreadable(f"A folder of {info.path.name} cannot be listed") from error
        for entry in entries:
            if entry.is_symlink():
                yield Path(entry.path)
            if entry.is_dir():
                pending.append(Path(entry.path))
