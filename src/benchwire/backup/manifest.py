"""What a backup says of itself: whose it is, of which moment, and every file in it.

``manifest.json`` lists the files; ``SHA256SUMS`` covers them and the manifest in the form that
``sha256sum --check`` reads, so a backup can be verified where no benchwire is installed.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath

from benchwire.foundation.clock import utc_moment
from benchwire.foundation.errors import Conflict, Invalid, Unavailable
from benchwire.foundation.files import sha256_of, write_whole

FORMAT = 1
MANIFEST_FILE = "manifest.json"
SUMS_FILE = "SHA256SUMS"
SNAPSHOT_FILE = "database.sqlite"
DATA_FOLDER = "data"
RUNS_FOLDER = "runs"
# Read, write and execute for owner, group and others: a file that comes out of a backup runs with
# nobody's rights but its caller's.
PERMISSIONS = 0o777
_MAX_INT64 = (1 << 63) - 1
_PATHS = type(PurePath())


class BackupUnusable(Invalid):
    """The folder is no whole backup, or one of a newer version."""

    code = "backup.unusable"


class BackupRefused(Conflict):
    """A backup or restore cannot be done there; nothing was changed."""

    code = "backup.refused"


class BackupFailed(Unavailable):
    """A backup or restore broke off; nothing of it is left."""

    code = "backup.failed"


def disk_reason(error: OSError) -> str:
    """Return what a disk refused, and for which file."""
    reason = error.strerror or str(error)
    return f"{reason}: {error.filename}" if error.filename else reason


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A file of a backup.

    Parameters
    ----------
    name
        Its path in the backup, with ``/``.
    mtime_ns
        When it was last changed, in nanoseconds since 1970; results know their sources by it.
    mode
        Its permission bits.
    """

    name: str
    size: int
    sha256: str
    mtime_ns: int
    mode: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is in a backup.

    Parameters
    ----------
    taken_at
        The moment of the database, ISO 8601 in UTC.
    database
        The kind of database it was taken from; here it is SQLite always.
    data_dir, runs_root
        Where the folders were; the latter is None where runs lay in the data folder.
    folders
        All folders, with ``/``.
    folder_modes
        Permission bits of folders by their names; backups of earlier versions have none.
    vanished
        Files that were removed by the server between the moment and their turn.
    links
        Symbolic links, which are not followed.
    """

    version: str
    schema: str
    taken_at: str
    database: str
    data_dir: str
    runs_root: str | None
    files: tuple[KeptFile, ...]
    folders: tuple[str, ...] = ()
    folder_modes: Mapping[str, int] = field(default_factory=dict)
    vanished: tuple[str, ...] = ()
    links: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """All files together, in bytes."""
        return sum(file.size for file in self.files)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the list of a backup's files, last of all."""
    body = json.dumps({"format": FORMAT, **asdict(manifest)}, indent=1, ensure_ascii=False)
    write_whole(folder / MANIFEST_FILE, body.encode("utf-8", "surrogateescape"), mode=0o600)
    own = sha256_of(folder / MANIFEST_FILE)
    lines = [_sum_line(own, MANIFEST_FILE)]
    lines += [_sum_line(file.sha256, file.name) for file in manifest.files]
    text = "".join(lines).encode("utf-8", "surrogateescape")
    write_whole(folder / SUMS_FILE, text, mode=0o600)


def read_manifest(folder: Path) -> Manifest:
    """Read the list of a backup's files; it is checked against its own checksum.

    Raises
    ------
    BackupUnusable
        It is not there, damaged, or in a form that this version does not know.
    """
    try:
        body = (folder / MANIFEST_FILE).read_bytes()
        first = (folder / SUMS_FILE).read_bytes().split(b"\n", 1)[0]
    except OSError as error:
        raise BackupUnusable(
            f"{folder} is no whole backup: {error.strerror}",
            hint="Name the folder that holds manifest.json.",
        ) from error
    if first + b"\n" != _sum_line(sha256_of(folder / MANIFEST_FILE), MANIFEST_FILE).encode():
        raise BackupUnusable(f"{MANIFEST_FILE} does not match its checksum")
    try:
        found = json.loads(body.decode("utf-8", "surrogateescape"))
        if not isinstance(found, dict):
            raise TypeError("no object")
        if found.pop("format") != FORMAT:
            raise BackupUnusable("The backup was made by a newer version of benchwire")
        for name in ("folders", "vanished", "links"):
            found[name] = tuple(found[name])
        found["files"] = tuple(KeptFile(**item) for item in found["files"])
        manifest = Manifest(**found)
        _check_values(manifest)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise BackupUnusable(
            f"{MANIFEST_FILE} is damaged: {error}", hint="Nothing was restored. Use another backup."
        ) from error
    _check_names(manifest)
    return manifest


def _check_values(manifest: Manifest) -> None:
    """Refuse values of another kind than they have to be.

    Raises
    ------
    TypeError, ValueError, OverflowError
    """
    for text in _texts(manifest):
        if not isinstance(text, str):
            raise TypeError(f"{text!r} is no text")
    modes = [file.mode for file in manifest.files]
    if not isinstance(manifest.folder_modes, dict):
        raise TypeError("the modes of folders are no object")
    for low, high, numbers in (
        (0, 0o7777, [*modes, *manifest.folder_modes.values()]),
        (0, _MAX_INT64, [file.size for file in manifest.files]),
        (-_MAX_INT64, _MAX_INT64, [file.mtime_ns for file in manifest.files]),
    ):
        for number in numbers:
            if type(number) is not int or not low <= number <= high:
                raise ValueError(f"{number!r} is no number that can be")
    if not re.fullmatch(r"\d{4}", manifest.schema):
        raise ValueError(f"{manifest.schema!r} is no schema")
    utc_moment(manifest.taken_at)


def _texts(manifest: Manifest) -> Iterator[object]:
    yield from (manifest.version, manifest.schema, manifest.taken_at, manifest.database)
    yield manifest.data_dir
    if manifest.runs_root is not None:
        yield manifest.runs_root
    yield from (*manifest.folders, *manifest.vanished, *manifest.links)
    for file in manifest.files:
        yield from (file.name, file.sha256)


def _check_names(manifest: Manifest) -> None:
    """Refuse names that lead out of the backup, and any file that stands there twice."""
    names = [file.name for file in manifest.files]
    for name in (*names, *manifest.folders):
        first = PurePosixPath(name).parts[:1]
        is_known = name == SNAPSHOT_FILE or first in {(DATA_FOLDER,), (RUNS_FOLDER,)}
        if not is_known or not is_name_within(name):
            raise BackupUnusable(f"{MANIFEST_FILE} names a file that cannot be: {name[:80]}")
    if len(set(names)) < len(names) or SNAPSHOT_FILE not in names:
        raise BackupUnusable(f"{MANIFEST_FILE} names a file twice, or no database")


def is_name_within(name: str, paths: type[PurePath] = _PATHS) -> bool:
    """Whether a name with ``/`` leads to something inside the folder it is joined to.

    Parameters
    ----------
    paths
        The kind of path it becomes. On Windows a backslash divides and a colon ends a drive's name,
        which both are letters of names elsewhere.
    """
    parts = PurePosixPath(name).parts
    has_drive = issubclass(paths, PureWindowsPath) and ":" in name
    return (
        not has_drive
        and "\0" not in name
        and all(part != ".." and paths(part).name == part for part in parts)
    )


def _sum_line(sha256: str, name: str) -> str:
    # Names with line breaks or backslashes are written as sha256sum does.
    if "\n" in name or "\\" in name or "\r" in name:
        escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
        return f"\\{sha256}  {escaped}\n"
    return f"{sha256}  {name}\n"
