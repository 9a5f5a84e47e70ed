"""Folders and files for people to choose from, never outside the area they may see.

Names that are not valid UTF-8 are left out: no JSON request could ask for such a file.
"""

import fnmatch
import os
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchwire.domains.microscopy.errors import ParametersInvalid
from benchwire.foundation.files import is_text

DEFAULT_EXTENSIONS = (".nd2", ".czi")
MAX_PATTERN_LENGTH = 500
MAX_ALTERNATIVES = 64

FileItem = dict[str, Any]
Allowed = Callable[[Path], bool]
State = frozenset[tuple[int, int]]
"""Positions reached in the alternatives of a pattern: (alternative, component)."""

_PIECE = re.compile(r"[{},]|\[!?\]?[^\]]*\]|[^{},\[]+|\[", re.DOTALL)
_ANYWHERE = "**"


def file_item(path: Path) -> FileItem | None:
    """Return what there is to know about a file or folder; None for anything else."""
    return _item(os.fspath(path), path.name)


def _item(path: str, name: str) -> FileItem | None:
    try:
        name.encode()
        status = os.stat(path)  # noqa: PTH116 - thousands of them: no object for each path
    except (OSError, ValueError):
        return None
    kind = status.st_mode & 0o170000
    if kind not in {0o040000, 0o100000}:
        return None
    is_folder = kind == 0o040000
    return {
        "name": name,
        "path": path,
        "is_directory": is_folder,
        "is_file": not is_folder,
        "size_bytes": None if is_folder else status.st_size,
        "modified_time": str(status.st_mtime),
        "extension": None if is_folder else os.path.splitext(name)[1],  # noqa: PTH122 - as above
    }


def list_directory(
    folder: Path,
    is_allowed: Allowed,
    *,
    include_hidden: bool = False,
    extensions: Sequence[str] | None = None,
) -> list[FileItem]:
    """Return the folders, then the files of a folder, each by name ignoring case.

    Links that lead outside the allowed area are left out.
    """
    wanted = endings(extensions)
    items = []
    for entry in _entries(os.fspath(folder)):
        if entry.name.startswith(".") and not include_hidden:
            continue
        if entry.is_symlink() and not is_allowed(Path(entry.path)):
            continue
        item = _item(entry.path, entry.name)
        if item and (item["is_directory"] or not wanted or has_ending(entry.name, wanted)):
            items.append(item)
    return sorted(items, key=lambda item: (item["is_file"], *_order(item)))


def search_files(
    folder: Path,
    is_allowed: Allowed,
    *,
    pattern: str | None = None,
    extensions: Sequence[str] | None = None,
    max_depth: int = 10,
    include_hidden: bool = False,
) -> list[FileItem]:
    """Return the files below a folder that match, by name ignoring case.

    Parameters
    ----------
    pattern
        Components with ``*``, ``?``, ``[...]``; ``{a,b}`` for alternatives; ``**`` for any number
        of folders.
    extensions
        Endings of names; without a pattern those of `DEFAULT_EXTENSIONS` when missing.
    max_depth
        Most folders between the folder and a file.

    Raises
    ------
    ParametersInvalid
        A pattern that leads out of the folder, has too many alternatives or odd braces.
    """
    if max_depth < 0:
        raise ParametersInvalid("max_depth is negative")
    wanted = endings(extensions) or (() if pattern else DEFAULT_EXTENSIONS)
    search = _Search(
        Pattern.of(pattern or "**/*"),
        is_allowed,
        endings=wanted,
        max_depth=max_depth,
        include_hidden=include_hidden,
    )
    found = (_item(path, name) for path, name in search.files(os.fspath(folder)))
    return sorted((item for item in found if item), key=_order)


def _order(item: FileItem) -> tuple[str, str, str]:
    return item["name"].casefold(), item["name"], item["path"]


def endings(extensions: Sequence[str] | None) -> tuple[str, ...]:
    """Return extensions as ends of names, the dot added where it is missing."""
    texts = (text.strip().lower() for text in extensions or ())
    return tuple(text if text.startswith(".") else f".{text}" for text in texts if text)


def has_ending(name: str, wanted: tuple[str, ...]) -> bool:
    """Whether a name has one of some `endings`, ignoring case."""
    return name.lower().endswith(wanted)


def _entries(folder: str) -> list[os.DirEntry[str]]:
    """Return what is in a folder; nothing when it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []


# --- patterns ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern, as alternatives made of components.

    A name is matched against one component at a time, so the time it takes grows with the number
    of components and not with the ways to spread them over a path.
    """

    alternatives: tuple[tuple[str, ...], ...]
    _lasts: dict[State, re.Pattern[str] | None] = field(default_factory=dict)
    _compiled: dict[str, re.Pattern[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, text: str) -> "Pattern":
        """Return the pattern that a text stands for."""
        if len(text) > MAX_PATTERN_LENGTH:
            raise ParametersInvalid(f"The pattern is longer than {MAX_PATTERN_LENGTH} characters")
        return cls(tuple(dict.fromkeys(_components(part) for part in expand_braces(text))))

    def start(self) -> State:
        """Return the state in the folder where the search begins."""
        return self._closed({(number, 0) for number in range(len(self.alternatives))})

    def enter(self, state: State, folder: str) -> State:
        """Return the state inside a folder of that name; empty when nothing below can match."""
        reached = set()
        for number, at in state:
            components = self.alternatives[number]
            if at == len(components) - 1:
                continue  # the last component is for files
            if components[at] == _ANYWHERE:
                reached.add((number, at))
            elif self._regex(components[at]).match(folder):
                reached.add((number, at + 1))
        return self._closed(reached)

    def takes(self, state: State) -> Callable[[str], Any]:
        """Return the function that says whether a file of a name matches in this state."""
        if state not in self._lasts:
            lasts = {self.alternatives[number][at] for number, at in state
                     if at == len(self.alternatives[number]) - 1}  # fmt: skip
            texts = sorted(fnmatch.translate(text) for text in lasts)
            self._lasts[state] = re.compile("|".join(texts), re.IGNORECASE) if texts else None
        regex = self._lasts[state]
        return regex.match if regex else lambda name: None

    def _regex(self, component: str) -> re.Pattern[str]:
        if component not in self._compiled:
            self._compiled[component] = re.compile(fnmatch.translate(component), re.IGNORECASE)
        return self._compiled[component]

    def _closed(self, state: set[tuple[int, int]]) -> State:
        # `**` also stands for no folder at all.
        closed = set(state)
        for number, at in state:
            if self.alternatives[number][at] == _ANYWHERE:
                closed.add((number, at + 1))
        return frozenset(closed)


def _components(text: str) -> tuple[str, ...]:
    if text.startswith(("/", "\\")) or re.match(r"[A-Za-z]:[\\/]", text):
        raise ParametersInvalid("The pattern is not relative to the folder")
    components: list[str] = []
    for part in text.split("/"):
        if part == ".." or part.startswith("..\\"):
            raise ParametersInvalid("The pattern leads out of the folder")
        if part in {"", "."} or (part == _ANYWHERE and components[-1:] == [_ANYWHERE]):
            continue
        components.append(part)
    if not components or components[-1] == _ANYWHERE:
        components.append("*")
    return tuple(components)


def expand_braces(text: str) -> list[str]:
    """Return the texts that ``{a,b}`` stands for; braces may be nested.

    Raises
    ------
    ParametersInvalid
        Braces without partner, or more than `MAX_ALTERNATIVES` texts.
    """
    # One level per open brace: the finished alternatives, and the one being read.
    levels: list[tuple[list[str], list[str]]] = [([], [""])]
    for piece in _PIECE.findall(text):
        done, current = levels[-1]
        if piece == "{":
            levels.append(([], [""]))
        elif piece == "," and len(levels) > 1:
            levels[-1] = ([*done, *current], [""])
        elif piece == "}":
            if len(levels) == 1:
                raise ParametersInvalid("The pattern closes a brace that it does not open")
            levels.pop()
            outer, before = levels[-1]
            levels[-1] = (outer, [a + b for a in before for b in [*done, *current]])
        else:
            levels[-1] = (done, [text + piece for text in current])
        if sum(len(one) for one in levels[-1]) > MAX_ALTERNATIVES:
            raise ParametersInvalid(f"The pattern has more than {MAX_ALTERNATIVES} alternatives")
    if len(levels) > 1:
        raise ParametersInvalid("The pattern opens a brace that it does not close")
    return levels[0][1]


# --- walking -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Search:
    pattern: Pattern
    is_allowed: Allowed
    endings: tuple[str, ...] = field(kw_only=True)
    max_depth: int = field(kw_only=True)
    include_hidden: bool = field(kw_only=True)

    def files(self, root: str) -> Iterator[tuple[str, str]]:
        """Yield path and name of each file that matches.

        Folders behind links come after all others, and no folder is entered twice in one state:
        a link neither makes a loop nor repeats what is found in its own place.
        """
        seen: set[tuple[int, int, State]] = set()
        folders = [(root, 0, self.pattern.start())]
        linked: deque[tuple[str, int, State]] = deque()
        while folders or linked:
            path, depth, state = folders.pop() if folders else linked.popleft()
            try:
                status = os.stat(path)  # noqa: PTH116 - no object for each folder
            except OSError:
                continue
            key = (status.st_dev, status.st_ino, state)
            if key in seen:
                continue
            seen.add(key)
            takes = self.pattern.takes(state)
            for entry in _entries(path):
                name = entry.name
                if name[0] == "." and not self.include_hidden:
                    continue
                if self._is_folder(entry):
                    inside = self._entered(entry, depth, state)
                    if inside:
                        (linked if entry.is_symlink() else folders).append(
                            (entry.path, depth + 1, inside)
                        )
                elif takes(name) and self._wanted(entry):
                    yield entry.path, name

    def _entered(self, entry: os.DirEntry[str], depth: int, state: State) -> State | None:
        """Return the state inside a folder; None when it is not to be entered."""
        if depth >= self.max_depth or not is_text(entry.name):
            return None
        inside = self.pattern.enter(state, entry.name)
        if not inside or (entry.is_symlink() and not self.is_allowed(Path(entry.path))):
            return None
        return inside

    def _wanted(self, entry: os.DirEntry[str]) -> bool:
        if self.endings and not has_ending(entry.name, self.endings):
            return False
        return not entry.is_symlink() or self.is_allowed(Path(entry.path))

    @staticmethod
    def _is_folder(entry: os.DirEntry[str]) -> bool:
        try:
            return entry.is_dir()
        except OSError:
            return False
