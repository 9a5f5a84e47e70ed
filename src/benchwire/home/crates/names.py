"""Names of files in a crate, which every system can unpack, and what the metadata call them."""

import re
import unicodedata
from collections.abc import Callable, Iterable
from urllib.parse import quote

_LONGEST_PART = 100
# Linux takes 255 bytes; a number and the suffix still have to fit.
_LONGEST_PART_BYTES = 230
_DEEPEST = 20
_FORBIDDEN = re.compile(r'[<>:"\\|?*]')
_SUFFIX = re.compile(r"(?:\.[0-9A-Za-z]{1,12}){1,2}$")
# Windows opens these as devices, whatever follows a dot.
_DEVICES = frozenset(
    ["con", "prn", "aux", "nul", "conin$", "conout$"]
    + [f"{port}{digit}" for port in ("com", "lpt") for digit in "0123456789¹²³"]
)


class Names:
    """Gives each file of a crate a name of its own.

    No two names differ by case or by the form of their accents alone, none is also a folder, and
    none leads out of the crate.

    Parameters
    ----------
    reserved
        Names that no file may get.
    """

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        self._files = {_key(name) for name in reserved}
        self._folders: dict[str, str] = {}

    def __contains__(self, name: str) -> bool:
        return _key(name) in self._files

    def give(self, wanted: str) -> str:
        """Return a safe name, as like the wanted one as can be."""
        parts = [part for part in map(_safe_part, wanted.split("/")) if part] or ["file"]
        parts = parts[-_DEEPEST:]
        folder = ""
        for part in parts[:-1]:
            folder = self._folder(folder, part)
        name = self._free(folder, parts[-1], lambda key: key in self._folders)
        self._files.add(_key(name))
        return name

    def _folder(self, parent: str, part: str) -> str:
        # A folder seen before keeps the spelling it was given first.
        known = self._folders.get(_key(f"{parent}{part}"))
        if known is None:
            known = f"{self._free(parent, part)}/"
            self._folders[_key(f"{parent}{part}")] = known
            self._folders[_key(known[:-1])] = known
        return known

    def _free(
        self, folder: str, part: str, is_taken: Callable[[str], bool] = lambda _key: False
    ) -> str:
        stem, suffix = _split(part)
        name, number = f"{folder}{part}", 1
        while _key(name) in self._files or is_taken(_key(name)):
            number += 1
            name = f"{folder}{stem}_{number}{suffix}"
        return name


def entity_id(name: str) -> str:
    """Return the ``@id`` of a file: its path as a relative IRI."""
    return "".join(sign if sign > "\x7f" else quote(sign, safe="/") for sign in name)


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _safe_part(text: str) -> str:
    """Return one part of a path; empty where nothing of it can be used."""
    shown = "".join(
        " " if unicodedata.category(sign)[0] == "Z" else sign
        for sign in unicodedata.normalize("NFC", text)
        # Signs that cannot be seen make two names look alike, or one look like another.
        if unicodedata.category(sign)[0] != "C"
    )
    part = _shortened(_FORBIDDEN.sub("_", shown).strip()).rstrip(". ")
    if part.split(".", 1)[0].rstrip().casefold() in _DEVICES:
        return f"_{part}"
    return part


def _shortened(part: str) -> str:
    stem, suffix = _split(part)
    stem = stem[: _LONGEST_PART - len(suffix)]
    while len(f"{stem}{suffix}".encode()) > _LONGEST_PART_BYTES:
        stem = stem[:-1]
    return stem + suffix


def _split(part: str) -> tuple[str, str]:
    """Return a name and its suffix, such as ``.csv`` or ``.ome.tif``."""
    suffix = match[0] if (match := _SUFFIX.search(part)) else ""
    return part[: len(part) - len(suffix)], suffix
