"""What runs in a worker process: looking into a store, and moving files to and from it.

Every file that arrives here has its name only once it is whole and on the disk. Of what goes out,
each object is read back and its SHA-256 compared; the list of all of them, `MANIFEST_NAME`, is
written last, so that a folder in a store is whole exactly if it has one.
"""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PureWindowsPath
from typing import Any

from benchwire.domains.stores.access import StoreAccess
from benchwire.domains.stores.errors import CopyDiffers, CopyInvalid, NothingThere, TargetTaken
from benchwire.domains.stores.sent import Sent, note
from benchwire.foundation.files import (
    AllowedFolders,
    disk_troubles_told,
    make_folders,
    not_left_out,
    sha256_of,
    sync_folder,
    whole_file,
)
from benchwire.foundation.workers import Reporter

MANIFEST_NAME = "benchwire-copy.json"
_ONLY_NAME = "file"
_MOST_MANIFEST_BYTES = 256 << 20
_LONGEST_NAME = 240
# The last one is cut off by the library of S3.
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\\\ud800-\udfff]|\?versionId=")
# What disks say that know no second name of a file: memory cards, some shares.
_NO_LINKS = frozenset({errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK})
_VERSIONS = ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated")


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a copy.

    Parameters
    ----------
    name
        Below the source, with slashes; empty where the source itself is the file.
    size
        In bytes.
    version
        Another text whenever the store's object, or the file here, is another one.
    sha256
        As the manifest says; empty where there is none.
    """

    name: str
    size: int
    version: str
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a source, by name.

    Parameters
    ----------
    version
        Another text whenever any of them has changed.
    """

    entries: Sequence[Entry]
    version: str

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> "Listing":
        """Return a listing of these files."""
        content = json.dumps([asdict(entry) for entry in entries])
        return cls(entries, hashlib.sha256(content.encode()).hexdigest())

    @property
    def size_bytes(self) -> int:
        """Size of all of them together."""
        return sum(entry.size for entry in self.entries)


# -- looking --------------------------------------------------------------------------------


def look(_: Reporter, url: str, limit: int) -> tuple[list[dict[str, Any]], bool]:
    """Return what is in a folder of a store, and whether there is more than that.

    Raises
    ------
    NothingThere
        The store has no such folder.
    """
    protocol = url.partition("://")[0]
    items = [
        {
            "name": str(item["name"]).rstrip("/").rpartition("/")[2],
            "url": f"{protocol}://{str(item['name']).strip('/')}",
            "type": "folder" if item["type"] == "directory" else "file",
            "size_bytes": item.get("size") if item["type"] != "directory" else None,
        }
        for item in StoreAccess(url).children()
    ]
    items.sort(key=lambda item: (item["type"] != "folder", item["name"]))
    return items[:limit], len(items) > limit


def list_store(_: Reporter, url: str) -> Listing:
    """Return every object at or below an address, by name, as its manifest knows it if it has one.

    Raises
    ------
    NothingThere
        There is none.
    CopyInvalid
        One has a name that no file here can have, or is a folder as well.
    CopyDiffers
        One that the manifest names is not there.
    """
    store = StoreAccess(url)
    entries = []
    sums: Mapping[str, str] = {}
    for name, item in store.below():
        if name == MANIFEST_NAME:
            sums = _manifest(store, item["size"])
        else:
            _refuse_unsafe(name)
            version = next((str(item[key]) for key in _VERSIONS if item.get(key)), "")
            entries.append(Entry(name, int(item["size"]), version))
    if not entries:
        raise NothingThere("The store has nothing at that address")
    _refuse_files_that_are_folders(store, entries)
    missing = sorted(sums.keys() - {entry.name for entry in entries})
    if missing:
        raise CopyDiffers(f"{missing[0]:.100} is in {MANIFEST_NAME} and not in the store")
    return Listing.of([replace(entry, sha256=sums.get(entry.name, "")) for entry in entries])


def _refuse_files_that_are_folders(store: StoreAccess, entries: Sequence[Entry]) -> None:
    """Refuse an object whose name is also the beginning of others': no path here can be both."""
    folders = {
        entry.name[:at] for entry in entries for at, each in enumerate(entry.name) if each == "/"
    }
    both = next((entry.name for entry in entries if entry.name in folders), None)
    # Of the address itself a store lists what is below it alone.
    if both is not None or (entries[0].name and store.size_of("") is not None):
        raise CopyInvalid(f"{both or 'That address':.100} is an object and a folder at once")


def _manifest(store: StoreAccess, size: int) -> Mapping[str, str]:
    if size > _MOST_MANIFEST_BYTES:
        raise CopyInvalid(f"{MANIFEST_NAME} is too large to be one of ours")
    try:
        files = json.loads(store.read(MANIFEST_NAME))["files"]
        return {str(item["name"]): str(item["sha256"]) for item in files}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CopyInvalid(f"{MANIFEST_NAME} cannot be read") from error


def _refuse_unsafe(name: str) -> None:
    """Refuse a name that would lead out of the folder, or that some system cannot have."""
    parts = name.split("/") if name else []
    if (
        PureWindowsPath(name).drive
        or _UNSAFE.search(name)
        or any(part in {"", ".", ".."} or len(part.encode()) > _LONGEST_NAME for part in parts)
    ):
        raise CopyInvalid(f"{name!a:.120} is no name that stores and all computers can have")


def list_here(_: Reporter, path: Path, allowed: AllowedFolders) -> Listing:
    """Return every file at or below a path, by name.

    Raises
    ------
    PathForbidden
        One of them leads out of the allowed folders.
    CopyInvalid
        There is none, or something else than files and folders, or a manifest of another copy, or
        a name that cannot be had everywhere.
    DiskRefused
        A folder cannot be read.
    """
    if path.is_file():
        return Listing.of([_entry(path, "")])
    entries = []
    with disk_troubles_told():
        for folder, folders, names in os.walk(path, onerror=not_left_out):
            linked = [name for name in folders if Path(folder, name).is_symlink()]
            for name in [*linked, *names]:
                file = Path(folder, name)
                relative = file.relative_to(path).as_posix()
                # The name first: what else is said of the file names it.
                _refuse_unsafe(relative)
                allowed.refuse_foreign(file)
                if not file.is_file():
                    raise CopyInvalid(f"{relative} is neither a file nor a folder")
                if relative == MANIFEST_NAME:
                    raise CopyInvalid(f"The folder has a {MANIFEST_NAME} of its own")
                entries.append(_entry(file, relative))
    if not entries:
        raise CopyInvalid("There is no file in that folder")
    return Listing.of(sorted(entries, key=lambda entry: entry.name))


def _entry(path: Path, name: str) -> Entry:
    seen = path.stat()
    return Entry(name, seen.st_size, str(seen.st_mtime_ns))


def refuse_taken(_: Reporter, url: str) -> None:
    """Raise `TargetTaken` if a store has anything at or below an address."""
    if StoreAccess(url).below(depth=1):
        raise TargetTaken("The store has something at that address", hint="Choose another target.")


# -- moving ---------------------------------------------------------------------------------


def fetch(
    reporter: Reporter, url: str, entries: Sequence[Entry], partial: Path, allowed: AllowedFolders
) -> None:
    """Bring files here; those that are there have come whole before.

    Parameters
    ----------
    partial
        Folder they wait in until all are there.

    Raises
    ------
    PathForbidden
        The folder has come to lead out of the allowed ones.
    CopyDiffers
        A file is not what the store said, or not what its manifest says.
    """
    tell = _teller(reporter, entries)
    store = StoreAccess(url)
    for entry in entries:
        file = _arrived_at(partial, entry.name)
        if file.is_file() and file.stat().st_size == entry.size:
            tell(entry.size)
            continue
        allowed.refuse_foreign(file)
        with disk_troubles_told():
            make_folders(file.parent)
            with whole_file(file) as written:
                digest, size = hashlib.sha256(), 0
                for block in store.blocks(entry.name, entry.size):
                    written.write(block)
                    digest.update(block)
                    size += len(block)
                    tell(len(block))
                if size != entry.size or entry.sha256 not in {"", digest.hexdigest()}:
                    name = entry.name or url.rpartition("/")[2]
                    raise CopyDiffers(f"{name} did not arrive as it was sent")


def settle(_: Reporter, partial: Path, target: Path, entries: Sequence[Entry]) -> None:
    """Give what has arrived its name; what a killed worker had begun is removed first.

    Raises
    ------
    CopyDiffers
        Not all of it is there.
    TargetTaken
        Somebody else has put something there meanwhile.
    """
    wanted = {_arrived_at(partial, entry.name) for entry in entries}
    with disk_troubles_told():
        for entry in entries:
            file = _arrived_at(partial, entry.name)
            if file.is_symlink() or not file.is_file() or file.stat().st_size != entry.size:
                raise CopyDiffers(f"{entry.name or target.name} has gone from where it waited")
        for file in partial.rglob("*"):
            if not file.is_dir() and file not in wanted:
                file.unlink()
        if not entries[0].name:
            _name_file(_arrived_at(partial, ""), target)
            partial.rmdir()
        else:
            _refuse_there(target)
            partial.rename(target)
        sync_folder(target.parent)


def _name_file(waiting: Path, target: Path) -> None:
    """Give a file its name; renaming it would replace what somebody puts there at that moment."""
    try:
        target.hardlink_to(waiting)
    except FileExistsError as error:
        # A worker that was killed right here has left it with both names.
        if not os.path.samestat(target.lstat(), waiting.lstat()):
            raise _taken(target) from error
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _refuse_there(target)
        waiting.rename(target)
        return
    sync_folder(target.parent)
    waiting.unlink()


def _refuse_there(target: Path) -> None:
    if target.exists() or target.is_symlink():
        raise _taken(target)


def _taken(target: Path) -> TargetTaken:
    return TargetTaken(f"{target.name} is there by now", hint="Choose another target.")


def _arrived_at(partial: Path, name: str) -> Path:
    """Return where a file waits, or with no name, the only one there is."""
    return partial / (name or _ONLY_NAME)


def send(
    reporter: Reporter,
    source: Path,
    entries: Sequence[Entry],
    url: str,
    allowed: AllowedFolders,
    notes: Path,
) -> list[dict[str, Any]]:
    """Put files into a store, read each back, and return them as the manifest names them.

    Parameters
    ----------
    notes
        File in which every object is noted before it is put.

    Raises
    ------
    CopyDiffers
        What the store has is not what was sent, or the file was changed meanwhile.
    TargetTaken
        Somebody else has put something there meanwhile.
    """
    # Each is read here, sent, and read back.
    tell = _teller(reporter, entries, times=3)
    store = StoreAccess(url)
    sent = []
    for entry in entries:
        file = source / entry.name if entry.name else source
        allowed.refuse_foreign(file)
        sha256 = _sum_here(file, entry, tell)
        name = entry.name or file.name
        found = store.size_of(entry.name)
        if found is None:
            note(notes, Sent(entry.name, entry.size, sha256))
            store.put(entry.name, str(file), tell)
            found = store.size_of(entry.name)
        # From an earlier life of the copy, or somebody else's, which stays as it is.
        elif found != entry.size:
            raise TargetTaken(f"Somebody else has put {name} there")
        if found != entry.size or store.sum_of(entry.name, entry.size, tell) != sha256:
            raise CopyDiffers(f"{name} is not in the store as it was sent")
        sent.append({"name": entry.name, "size": entry.size, "sha256": sha256})
    return sent


def declare(_: Reporter, url: str, files: Sequence[Mapping[str, Any]], notes: Path) -> None:
    """Write the manifest, which says that a folder is whole, and note that before.

    Raises
    ------
    CopyDiffers
        What the store has is another one.
    TargetTaken
        Somebody else has put one there meanwhile.
    """
    content = json.dumps({"files": list(files)}, indent=1).encode()
    store = StoreAccess(url)
    found = store.size_of(MANIFEST_NAME)
    if found is None:
        note(notes, Sent(MANIFEST_NAME, len(content), hashlib.sha256(content).hexdigest()))
        store.write(MANIFEST_NAME, content)
    elif found != len(content):
        raise TargetTaken(f"Somebody else has put {MANIFEST_NAME} there")
    if store.read(MANIFEST_NAME) != content:
        raise CopyDiffers("The manifest is not in the store as it was sent")


def take_back(reporter: Reporter, url: str, noted: Sequence[Sent]) -> list[str]:
    """Remove what a copy that was given up has put into a store.

    What is another by now stays, whoever has made it so; its names are returned.
    """
    store = StoreAccess(url)
    left = []
    for sent in noted:
        found = store.size_of(sent.name)
        if found is None:
            continue
        if found == sent.size and _sum_there(reporter, store, sent) == sent.sha256:
            store.remove(sent.name)
        else:
            left.append(sent.name)
    return left


def _sum_there(reporter: Reporter, store: StoreAccess, sent: Sent) -> str:
    return store.sum_of(sent.name, sent.size, lambda _: reporter.raise_if_stopped())


def discard(_: Reporter, partial: Path) -> None:
    """Remove what a copy that was given up has brought here."""
    shutil.rmtree(partial, ignore_errors=True)


def _sum_here(file: Path, entry: Entry, tell: Callable[[int], None]) -> str:
    """Return the SHA-256 of a file that is still the one that was listed."""
    with disk_troubles_told():
        try:
            if _entry(file, entry.name) == entry:
                return sha256_of(file, tell)
        except FileNotFoundError:
            pass  # which is a change too
    raise CopyDiffers(f"{entry.name or file.name} was changed while it was copied")


def _teller(reporter: Reporter, entries: Sequence[Entry], times: int = 1) -> Callable[[int], None]:
    """Return what is told of each block that has moved, and ends the work once it should end."""
    total, done = max(1, times * sum(entry.size for entry in entries)), 0

    def tell(size: int) -> None:
        nonlocal done
        done += size
        reporter.raise_if_stopped()
        reporter.progress(min(1.0, done / total), "")

    return tell
