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
from benchwire.foundation.files import not_left_out, sanitise, sha256_of, write_whole

RUN_NAME = "run.json"


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
    """Who made the files of a folder, of what and how.

    Parameters
    ----------
    checksum
        None where the run was stopped and there was no time for it.
    packages
        Those whose versions the results depend on.
    state
        How the run ended, in the words of its API.
    """

    job_id: str | None
    inputs: Sequence[Path]
    checksum: InputChecksum | None
    parameters: Mapping[str, Any]
    packages: Sequence[str]
    started: datetime
    ended: datetime
    stats: Mapping[str, Any]
    state: str = "completed"


def input_checksum(
    paths: Sequence[Path], on_block: Callable[[int], None] = lambda _: None
) -> InputChecksum:
    """Return the checksum of a file, a folder or a set of files.

    Parameters
    ----------
    on_block
        Called with the number of bytes of each block read; what it raises stops the reading.
    """
    total = 0

    def count(size: int) -> None:
        nonlocal total
        total += size
        on_block(size)

    members = sorted(_members(paths), key=lambda item: item[0])
    digests = [sha256_of(path, count) for _, path in members]
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
        for folder, _folders, names in os.walk(path, onerror=not_left_out):
            for name in names:
                member = Path(folder, name)
                yield member.relative_to(path).as_posix(), member


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Return the versions of the program and of packages, without loading these."""
    found = {"benchwire": benchwire.__version__, "python": platform.python_version()}
    for package in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def write_run(path: Path, record: RunRecord) -> None:
    """Write the record of a run as JSON; that of another run is kept under that run's name."""
    _keep_former(path, record.job_id)
    checksum = record.checksum
    content = {
        "job_id": record.job_id,
        "state": record.state,
        "started_at": utc_text(record.started),
        "ended_at": utc_text(record.ended),
        "input": {
            "paths": [str(item) for item in record.inputs],
            "sha256": checksum and checksum.sha256,
            "size_bytes": checksum and checksum.size_bytes,
            "n_files": checksum and checksum.n_files,
        },
        "parameters": dict(record.parameters),
        "versions": versions(record.packages),
        "platform": platform.platform(),
        "stats": dict(record.stats),
    }
    write_whole(path, json.dumps(content, indent=2, ensure_ascii=True).encode())


def _keep_former(path: Path, job_id: str | None) -> None:
    try:
        former = json.loads(path.read_text("utf-8"))["job_id"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    if former and former != job_id and former == sanitise(former):
        path.rename(path.with_name(f"{path.stem}_{former}{path.suffix}"))
