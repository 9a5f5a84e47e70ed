"""Absolute paths in texts, written anew where the folders they lead into lie elsewhere."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path


def mover(moved: Mapping[Path, Path], *, in_json: bool = False) -> Callable[[str], str]:
    """Return what writes new places over old ones in a text.

    All are written in one pass, so that no path is moved twice where one folder takes the place of
    another. Of folders within each other the inner one counts; a folder that stays guards what is
    in it.

    Parameters
    ----------
    moved
        New place of each folder by its old one.
    in_json
        Whether the texts are JSON, in which paths stand with escapes.
    """
    spellings = _in_json if in_json else _as_is
    places = {
        spelled: new
        for before, after in moved.items()
        for spelled, new in zip(spellings(str(before)), spellings(str(after)), strict=True)
    }
    longest_first = sorted(places, key=len, reverse=True)
    # A path begins and ends where a name does: /data is not the beginning of /data2.
    pattern = re.compile(rf"(?<![\w/\\.-])(?:{'|'.join(map(re.escape, longest_first))})(?![\w.-])")

    def move(text: str) -> str:
        return pattern.sub(lambda match: places[match[0]], text)

    return move


def _as_is(path: str) -> Iterator[str]:
    yield path


def _in_json(path: str) -> Iterator[str]:
    """Yield a path as JSON holds it, which may write letters beyond ASCII as numbers."""
    for ensure_ascii in (False, True):
        yield json.dumps(path, ensure_ascii=ensure_ascii)[1:-1]
