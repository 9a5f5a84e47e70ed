"""A disk that fails on demand, and what would be on it had the power gone at some moment."""

import errno
import mmap
import os
import random
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

SHORT = -1
"""In place of an errno: half of a write is done, and that is what it says."""
HANG = -2
"""In place of an errno: the call does not return before `FailingDisk.recover`."""

# As in failing_disk.c.
_SOURCE = Path(__file__).with_name("failing_disk.c")
_CONTROL = struct.Struct("qqqiiII128s256s")
_RECORD = struct.Struct("IIIIQqqq")
_OPEN, _WRITE, _SYNC, _TRUNCATE, _RENAME, _MAKE_FOLDER, _UNLINK, _REMOVE_FOLDER = range(1, 9)
_MARK = 100


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """Give a folder on a disk of its own, in which anybody may write."""
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=777", "tmpfs", folder]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a disk of its own can be mounted by root alone")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def fill(folder: Path) -> Path:
    """Take all room on a disk, by a file whose path is returned."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))
    return ballast


def build(folder: Path) -> Path:
    """Compile the library that stands between a program and its disk."""
    compiler = shutil.which("cc")
    if compiler is None or os.uname().sysname != "Linux":
        pytest.skip("no C compiler, or no LD_PRELOAD")
    library = folder / "failing_disk.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O2", "-o", library, _SOURCE, "-ldl"], check=True
    )
    return library


class FailingDisk:
    """A folder whose files may fail to be written.

    Parameters
    ----------
    root
        The folder.
    log
        File that takes down all that is written below it; None for none.
    """

    def __init__(self, library: Path, root: Path, log: Path | None = None) -> None:
        self.root = root.resolve()
        self.log = log
        control = root.parent / f"{root.name}.control"
        control.write_bytes(bytes(mmap.PAGESIZE))
        with control.open("r+b") as file:
            self._control = mmap.mmap(file.fileno(), 0)
        self.environment = {
            "LD_PRELOAD": str(library),
            "FAILING_DISK_ROOT": str(self.root),
            "FAILING_DISK_CONTROL": str(control),
        }
        if log is not None:
            log.touch()
            self.environment["FAILING_DISK_LOG"] = str(log)

    def fail(self, call: int, error: int, *, only: str = "", for_good: bool = False) -> None:
        """Have the how-manieth call from now on fail; 0 for none.

        Parameters
        ----------
        error
            An errno, `SHORT` or `HANG`.
        only
            Only calls on paths that have this text in them count.
        for_good
            Whether all later calls fail as well; of a full disk, those that need room.
        """
        # The place of the count is written last, so that no process sees half of an order.
        self._control[0:8] = bytes(8)
        order = _CONTROL.pack(0, 0, 0, error, for_good, 0, 0, only.encode(), b"")
        self._control[8 : _CONTROL.size] = order[8:]
        self._control[0:8] = struct.pack("q", call)

    def recover(self) -> None:
        """Have no further call fail; what was counted can still be read."""
        self._control[0:8] = bytes(8)

    @property
    def seen(self) -> int:
        """Calls since the last order."""
        return int(_CONTROL.unpack_from(self._control)[1])

    @property
    def failed(self) -> int:
        """Calls that failed since the last order."""
        return int(_CONTROL.unpack_from(self._control)[2])

    @property
    def what(self) -> str:
        """The first call that failed."""
        text: bytes = _CONTROL.unpack_from(self._control)[-1]
        return text.partition(b"\0")[0].decode()

    @contextmanager
    def full(self) -> Iterator[None]:
        """Have no room on the disk within a block."""
        self.fail(1, errno.ENOSPC, for_good=True)
        try:
            yield
        finally:
            self.recover()

    @contextmanager
    def hanging(self, only: str = "") -> Iterator[None]:
        """Have no call return within a block, or none on paths that have a text in them."""
        self.fail(1, HANG, only=only, for_good=True)
        try:
            yield
        finally:
            self.recover()

    def mark(self, text: str) -> None:
        """Write into the log that something was promised by now."""
        assert self.log is not None
        content = text.encode()
        record = _RECORD.pack(_MARK, 0, 0, 0, 0, 0, len(content), time.monotonic_ns())
        with self.log.open("ab", buffering=0) as file:
            file.write(record + content)


@dataclass(frozen=True, slots=True)
class Call:
    """One thing that happened to the disk."""

    op: int
    path: str
    second: str
    flags: int
    inode: int
    offset: int
    length: int
    at_ns: int
    content: bytes

    @property
    def is_sync(self) -> bool:
        return self.op == _SYNC

    @property
    def promise(self) -> str | None:
        """What was promised, where this is a mark."""
        return self.content.decode() if self.op == _MARK else None


def calls(log: Path) -> Iterator[Call]:
    """Read a log from its beginning."""
    with log.open("rb") as file:
        while head := file.read(_RECORD.size):
            op, first, second, flags, inode, offset, length, at_ns = _RECORD.unpack(head)
            path, target = file.read(first).decode(), file.read(second).decode()
            content = file.read(length) if op in {_WRITE, _MARK} else b""
            yield Call(op, path, target, flags, inode, offset, length, at_ns, content)


@dataclass(slots=True)
class _File:
    """A file's content as it is for sure, and what was done to it since."""

    sure: bytearray = field(default_factory=bytearray)
    waiting: list[Call] = field(default_factory=list)

    def content(self, keep: int, torn: bool) -> bytes:
        """Return what is there if so many of the waiting calls reached the disk.

        Parameters
        ----------
        torn
            Whether the last of those got there by half.
        """
        found = bytearray(self.sure)
        for number, call in enumerate(self.waiting[:keep], 1):
            _apply(found, call, by_half=torn and number == keep)
        return bytes(found)


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _apply(content: bytearray, call: Call, *, by_half: bool = False) -> None:
    if call.op == _WRITE:
        written = call.content[: len(call.content) // 2] if by_half else call.content
        if len(content) < call.offset:
            content.extend(bytes(call.offset - len(content)))
        content[call.offset : call.offset + len(written)] = written
    else:
        length = call.offset if call.op == _TRUNCATE else 0
        del content[length:]
        content.extend(bytes(length - len(content)))


class Disk:
    """What a disk holds: for sure, and in a memory that a power cut empties.

    A file's content is sure once the file is synced, a name once its folder is. Nothing is
    assumed of the order in which the rest gets there, as POSIX does not promise any.

    Parameters
    ----------
    folders
        Those below the root that were there before.
    """

    def __init__(self, root: Path, *folders: str) -> None:
        self._root = str(root)
        self._files: dict[int, _File] = {}
        # By folder and name: what the running system sees, and what is on the disk. A folder is
        # a name with no file.
        there = [self._root, *(f"{root}/{folder}" for folder in folders)]
        self._names: dict[str, int | None] = dict.fromkeys(there)
        self._sure: dict[str, int | None] = dict.fromkeys(there)

    def take(self, call: Call) -> None:
        """Have a call happen."""
        path = call.path.removesuffix(" (deleted)")
        if call.op == _OPEN:
            if self._names.get(path) != call.inode:
                self._names[path] = call.inode
                self._files[call.inode] = _File()
            if call.flags & os.O_TRUNC:
                self._files[call.inode].waiting.append(call)
        elif call.op in {_WRITE, _TRUNCATE}:
            self._files.setdefault(call.inode, _File()).waiting.append(call)
        elif call.op == _SYNC:
            self._sync(path, call)
        elif call.op == _RENAME:
            self._rename(call.path, call.second)
        elif call.op == _MAKE_FOLDER:
            self._names[path] = None
        elif call.op in {_UNLINK, _REMOVE_FOLDER}:
            self._names.pop(path, None)

    def _sync(self, path: str, call: Call) -> None:
        if call.inode in self._files:
            file = self._files[call.inode]
            for waiting in file.waiting:
                _apply(file.sure, waiting)
            file.waiting.clear()
            return
        here = {name for name in {*self._names, *self._sure} if _parent(name) == path}
        for name in here:
            if name in self._names:
                self._sure[name] = self._names[name]
            else:
                self._sure.pop(name, None)

    def _rename(self, old: str, new: str) -> None:
        moved = [name for name in self._names if name == old or name.startswith(f"{old}/")]
        for name in [name for name in self._names if name.startswith(f"{new}/")]:
            del self._names[name]
        for name in moved:
            self._names[new + name[len(old) :]] = self._names.pop(name)

    def sure(self, path: Path | str) -> bytes | None:
        """Return what a file would hold of what is sure, None if it would not be there."""
        at = str(path)
        inode = self._sure.get(at)
        while at != self._root:
            if at not in self._sure:
                return None
            at = _parent(at)
        return None if inode is None else bytes(self._files[inode].sure)

    def write_to(self, folder: Path, *, kept: str, chance: random.Random) -> None:
        """Make a folder of what is on the disk after a power cut at this moment.

        Parameters
        ----------
        kept
            What became of the rest: ``nothing`` of it got there, ``all``, or ``some``: of each file
            what was done to it up to some moment, its last write torn, and names or not.
        """
        names = dict(self._sure)
        if kept == "all":
            names = dict(self._names)
        elif kept == "some":
            for name in sorted({*self._names, *self._sure}):
                if self._names.get(name, -1) != self._sure.get(name, -1) and chance.random() < 0.5:
                    if name in self._names:
                        names[name] = self._names[name]
                    else:
                        names.pop(name, None)
        made = set[str]()
        for name in sorted(names):
            place = folder / os.path.relpath(name, self._root)
            parent = _parent(name)
            if name != self._root and parent not in made:
                continue  # its folder is not there
            inode = names[name]
            if inode is None:
                place.mkdir(exist_ok=True)
                made.add(name)
                continue
            file = self._files[inode]
            number = {"nothing": 0, "all": len(file.waiting)}.get(kept)
            if number is None:
                number = chance.randint(0, len(file.waiting))
            place.write_bytes(file.content(number, torn=kept == "some"))
