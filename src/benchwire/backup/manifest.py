"""What a backup says of itself: whose it is, of which moment, and every file in it.

``manifest.json`` lists the files; ``SHA256SUMS`` covers them and the manifest in the form that
``sha256sum --check`` reads, so a backup can be verified where no benchwire is installed.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from benchwire.foundation.errors import Conflict, Invalid, Unavailable
from benchwire.foundation.files import sha256_of, write_whole

FORMAT = 1
MANIFEST_FILE = "manifest.json"
SUMS_FILE = "SHA256SUMS"
SNAPSHOT_FILE = "database.sqlite"
DATA_FOLDER = "data"
RUNS_FOLDER = "runs"


class BackupUnusable(Invalid):
    """The folder is no whole backup, or one of a newer version."""

    code = "backup.unusable"


class BackupRefused(Conflict):
    """A backup or restore cannot be done there; nothing was changed."""

    code = "backup.refused"


class BackupFailed(Unavailable):
    """A backup or restore broke off; nothing of it is left."""

    code = "backup.failed"


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
        if found.pop("format") != FORMAT:
            raise BackupUnusable("The backup was made by a newer version of benchwire")
        for name in ("folders", "vanished", "links"):
            found[name] = tuple(found[name])
        found["files"] = tuple(KeptFile(**item) for item in found["files"])
        manifest = Manifest(**found)
    except (ValueError, TypeError, KeyError) as error:
        raise BackupUnusable(f"{MANIFEST_FILE} cannot be understood: {error}") from error
    _check_names(manifest)
    return manifest


def _check_names(manifest: Manifest) -> None:
    """Refuse names that lead out of the backup, and any file that stands there twice."""
    names = [file.name for file in manifest.files]
    for name in (*names, *manifest.folders):
        parts = PurePosixPath(name).parts
        is_known = name == SNAPSHOT_FILE or parts[:1] in {(DATA_FOLDER,), (RUNS_FOLDER,)}
        if not is_known or ".." in parts or "\0" in name:
            raise BackupUnusable(f"{MANIFEST_FILE} names a file that cannot be: {name[:80]}")
    if len(set(names)) < len(names) or SNAPSHOT_FILE not in names:
        raise BackupUnusable(f"{MANIFEST_FILE} names a file twice, or no database")


def _sum_line(sha256: str, name: str) -> str:
    # Names with line breaks or backslashes are written as sha256sum does.
    if "\n" in name or "\\" in name or "\r" in name:
        escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
        return f"\\{sha256}  {escaped}\n"
    return f"{sha256}  {name}\n"
