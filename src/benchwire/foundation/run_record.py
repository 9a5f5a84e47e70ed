"""The record of a run: what was read, how and with which versions, kept beside the results."""

import contextlib
import hashlib
import json
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import benchwire
from benchwire.foundation.clock import utc_text
from benchwire.foundation.files import write_whole

RUN_NAME = "run.json"
# Packages that results depend on.
PACKAGES = (
    "numpy", "scipy", "opencv-python-headless", "nd2", "pylibCZIrw", "tifffile", "zarr", "pyarrow",
)  # fmt: skip
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class InputChecksum:
    """What was read, by content.

    Parameters
    ----------
    sha256
        Of a single file its own; of a folder or a set of files that of the lines
        ``<sha256>  <name>``, sorted by name.
    """

    sha256: str
    size_bytes: int
    n_files: int


@dataclass(frozen=True, slots=True)
class RunRecord:
    """Who made the files of a folder, of what and how."""

    job_id: str | None
    inputs: Sequence[Path]
    checksum: InputChecksum
    parameters: Mapping[str, Any]
    started: datetime
    ended: datetime
    stats: Mapping[str, Any]


def input_checksum(
    paths: Sequence[Path], on_block: Callable[[int], None] = lambda _: None
) -> InputChecksum:
    """Return the checksum of a file, a folder or a set of files.

    Parameters
    ----------
    on_block
        Called with the number of bytes of each block read; what it raises stops the reading.
    """
    members = sorted(_members(paths), key=lambda item: item[0])
    digests: list[str] = []
    total = 0
    for _name, path in members:
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
                total += len(block)
                on_block(len(block))
        digests.append(digest.hexdigest())
    if len(paths) == 1 and paths[0].is_file():
        return InputChecksum(digests[0], total, 1)
    lines = [f"{x}  {name}\n" for x, (name, _path) in zip(digests, members, strict=True)]
    whole = hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
    return InputChecksum(whole, total, len(members))


def _members(paths: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    for path in paths:
        if not path.is_dir():
            yield path.name, path
            continue
        for folder, _folders, names in os.walk(path, onerror=_not_left_out):
            for name in names:
                member = Path(folder, name)
                yield member.relative_to(path).as_posix(), member


def _not_left_out(error: OSError) -> None:
    """Raise what `os.walk` would pass over: a checksum of a part is worse than none."""
    raise error


def versions() -> dict[str, str]:
    """Return the versions that results depend on, without loading the packages."""
    found = {"benchwire": benchwire.__version__, "python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def write_run(path: Path, record: RunRecord) -> None:
    """Write the record of a run as JSON."""
    content = {
        "job_id": record.job_id,
        "started_at": utc_text(record.started),
        "ended_at": utc_text(record.ended),
        "input": {
            "paths": [str(item) for item in record.inputs],
            "sha256": record.checksum.sha256,
            "size_bytes": record.checksum.size_bytes,
            "n_files": record.checksum.n_files,
        },
        "parameters": dict(record.parameters),
        "versions": versions(),
        "platform": platform.platform(),
        "stats": dict(record.stats),
    }
    write_whole(path, json.dumps(content, indent=2, ensure_ascii=True).encode())
