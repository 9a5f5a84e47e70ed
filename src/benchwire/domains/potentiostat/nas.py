"""Copies of finished runs on a NAS, over SMB in user space: no mount, no root, also on Windows.

A file is written under a temporary name, read back and compared by size and SHA-256, and only then
renamed. A run is marked as uploaded when all its files are.
"""

import contextlib
import errno
import hashlib
import json
import logging
import math
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from benchwire.foundation.companion import promised
from benchwire.foundation.errors import Invalid, Unavailable
from benchwire.foundation.files import PARTIAL_SUFFIX, sha256_of, write_whole

logger = logging.getLogger(__name__)

SMB_PORT = 445
CREDENTIALS_FILE = ".smbcredentials_nas"
HEALTH_SECONDS = 8.0
# The library waits for ever for an answer. Longer than disks that sleep take to spin up.
SILENT_SECONDS = 60.0
_LOOK_SECONDS = 1.0
_CONNECT_SECONDS = 6
_BLOCK_BYTES = 1 << 20
_FIRST_PAUSE = 30.0
_LONGEST_PAUSE = 3600.0
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f,]")


class NasRequestInvalid(Invalid):
    """The NAS settings cannot be used."""

    code = "nas.invalid_request"


class NasUnreachable(Unavailable):
    """The share does not take the files at the moment."""

    code = "nas.unreachable"


@dataclass(frozen=True, slots=True)
class NasSettings:
    """Where finished runs go. ``host`` may end in ``:port``.

    Raises
    ------
    NasRequestInvalid
        A field is empty or holds what no share, folder or user can be called.
    """

    host: str
    share: str
    username: str
    password: str = field(repr=False)
    base_subdir: str = ""
    retention_days: int = 14
    domain: str | None = None

    def __post_init__(self) -> None:
        for name in ("host", "share", "username", "password"):
            if not getattr(self, name).strip():
                raise NasRequestInvalid(f"{name} is empty", hint="Give all of host, share, "
                                        "username and password.")  # fmt: skip
        for name in ("host", "share", "username", "base_subdir", "domain", "password"):
            if _FORBIDDEN.search(getattr(self, name) or ""):
                raise NasRequestInvalid(f"{name} holds a comma or a control character")
        if re.search(r"[/\\]", self.host + self.share):
            raise NasRequestInvalid("host and share are plain names, without slashes")
        object.__setattr__(self, "base_subdir", self.base_subdir.replace("\\", "/").strip("/ "))
        if ".." in PurePosixPath(self.base_subdir).parts:
            raise NasRequestInvalid("base_subdir may not lead upwards")
        if self.retention_days < 1:
            raise NasRequestInvalid("retention_days has to be 1 or more")
        if not self.port:
            raise NasRequestInvalid("the port behind host is not a number")

    @property
    def server(self) -> str:
        """The host without its port."""
        return self.host.partition(":")[0]

    @property
    def port(self) -> int:
        """The host's port; 0 if it is no number."""
        _, colon, port = self.host.partition(":")
        if not colon:
            return SMB_PORT
        return int(port) if port.isascii() and port.isdigit() and int(port) < 65536 else 0


class NasSettingsFile:
    """The settings on disk: a JSON file, and the credentials apart in a file nobody else reads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._credentials = path.with_name(CREDENTIALS_FILE)

    def save(self, settings: NasSettings) -> None:
        """Store settings; each file is whole or absent, the credentials 0600 from the start."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        content = asdict(settings)
        secret = {"username": content.pop("username"), "password": content.pop("password")}
        write_whole(self._credentials, json.dumps(secret).encode(), mode=0o600)
        write_whole(self._path, json.dumps(content, indent=1).encode())

    def load(self) -> NasSettings | None:
        """Return the stored settings, None when there are none that can be used."""
        try:
            content: dict[str, Any] = json.loads(self._path.read_text("utf-8"))
            if self._credentials.exists():
                content |= json.loads(self._credentials.read_text("utf-8"))
            known = {name: content[name] for name in NasSettings.__slots__ if name in content}
            return NasSettings(**known)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, AttributeError, NasRequestInvalid) as error:
            # The text of a JSON error may quote the file; its kind is enough.
            logger.error("the NAS settings cannot be read: %s", type(error).__name__)
            return None


class Share(Protocol):
    """A place for copies; paths are relative to the base folder, with ``/``."""

    def probe(self) -> None:
        """Make the base folder and write in it; raises `NasUnreachable`."""

    def digest(self, path: PurePosixPath) -> tuple[int, str] | None:
        """Return size and SHA-256 of a file as read back, None if it is not there."""

    def write(self, path: PurePosixPath, blocks: Iterator[bytes]) -> None:
        """Write a file, making its folders."""

    def rename(self, path: PurePosixPath, new: PurePosixPath) -> bool:
        """Give a file another name; False if there is a file of that name already."""

    def close(self) -> None:
        """End the connection."""


class SmbShare:
    """A share on an SMB server, over a connection of its own that is closed after use.

    Connections are not kept: an idle one is cut by the server and the library would go on using it.
    """

    def __init__(self, settings: NasSettings) -> None:
        self._settings = settings
        self._cache: dict[str, Any] = {}
        self._root = f"\\\\{settings.server}\\{settings.share}"
        self._connected = False
        self._made: set[str] = set()
        self._due = math.inf
        self._is_silent = False
        self._over = threading.Event()

    def probe(self) -> None:
        """Make the base folder and write in it."""
        path = PurePosixPath(f".benchwire-probe-{threading.get_ident()}")
        self.write(path, iter([b"probe"]))
        with self._errors():
            self._remove(path)

    def digest(self, path: PurePosixPath) -> tuple[int, str] | None:
        """Return size and SHA-256 of a file as read back, None if it is not there."""
        import smbclient
        from smbprotocol.exceptions import SMBOSError

        self._connect()
        with self._errors():
            digest, size = hashlib.sha256(), 0
            try:
                with smbclient.open_file(
                    self._full(path), mode="rb", share_access="r", buffering=0, **self._options
                ) as file:
                    while block := file.read(_BLOCK_BYTES):
                        self._expect_answer()
                        digest.update(block)
                        size += len(block)
            except SMBOSError as error:
                if _is_missing(error):
                    return None
                raise
            return size, digest.hexdigest()

    def write(self, path: PurePosixPath, blocks: Iterator[bytes]) -> None:
        """Write a file, making its folders."""
        import smbclient

        self._connect()
        with self._errors():
            self._make_folders(path.parent)
            self._remove(path)
            with smbclient.open_file(
                self._full(path), mode="xb", buffering=0, **self._options
            ) as file:
                for block in blocks:
                    self._expect_answer()
                    file.write(block)

    def rename(self, path: PurePosixPath, new: PurePosixPath) -> bool:
        """Give a file another name; False if there is a file of that name already."""
        import smbclient
        from smbprotocol.exceptions import SMBOSError

        with self._errors():
            try:
                smbclient.rename(self._full(path), self._full(new), **self._options)
            except SMBOSError as error:
                if error.errno == errno.EEXIST:
                    return False
                raise
        return True

    def close(self) -> None:
        """End the connection."""
        import smbclient

        self._expect_answer()
        # The server may have gone first, in which case there is nothing to say goodbye to.
        with contextlib.suppress(Exception):
            # The library empties what it is given, and the watch needs to know the connections.
            known = self._cache.copy()
            smbclient.reset_connection_cache(connection_cache=known, fail_on_error=False)
        self._over.set()

    def _remove(self, path: PurePosixPath) -> None:
        """Remove what a former attempt may have left."""
        import smbclient
        from smbprotocol.exceptions import SMBOSError

        try:
            smbclient.remove(self._full(path), **self._options)
        except SMBOSError as error:
            if not _is_missing(error):
                raise

    def _make_folders(self, path: PurePosixPath) -> None:
        """Make a folder from the share downwards; servers differ in what they call a lack of it."""
        import smbclient
        from smbprotocol.exceptions import SMBOSError

        parts = PurePosixPath(self._settings.base_subdir, path).parts
        for depth in range(1, len(parts) + 1):
            folder = "\\".join([self._root, *parts[:depth]])
            if folder in self._made:
                continue
            try:
                smbclient.mkdir(folder, **self._options)
            except SMBOSError as error:
                if error.errno != errno.EEXIST:
                    raise
            self._made.add(folder)

    @property
    def _options(self) -> dict[str, Any]:
        return {"connection_cache": self._cache, "port": self._settings.port}

    def _full(self, path: PurePosixPath) -> str:
        parts = PurePosixPath(self._settings.base_subdir, path).parts
        return "\\".join([self._root, *parts])

    def _connect(self) -> None:
        if self._connected:
            return
        threading.Thread(target=self._watch, name="nas watch", daemon=True).start()
        with self._errors():
            import smbclient

            name = self._settings.username
            if self._settings.domain:
                name = f"{self._settings.domain}\\{name}"
            smbclient.register_session(
                self._settings.server,
                username=name,
                password=self._settings.password,
                connection_timeout=_CONNECT_SECONDS,
                auth_protocol="ntlm",
                **self._options,
            )
        self._connected = True

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn what the library raises into one error without secrets."""
        from smbprotocol.exceptions import SMBException
        from spnego.exceptions import SpnegoError

        self._expect_answer()
        try:
            yield
        except (SMBException, SpnegoError, OSError, ValueError) as error:
            reason = _NO_ANSWER if self._is_silent else _explain(error)
            raise NasUnreachable(reason, hint="Check the NAS settings.") from error
        finally:
            self._due = math.inf

    def _expect_answer(self) -> None:
        self._due = time.monotonic() + SILENT_SECONDS

    def _watch(self) -> None:
        """Cut a connection that brings no answer any more; whoever waits for it then fails."""
        while not self._over.wait(_LOOK_SECONDS):
            if time.monotonic() > self._due:
                self._is_silent = True
                for connection in list(self._cache.values()):
                    # Its own way to close waits for whoever is in the midst of sending.
                    with contextlib.suppress(OSError):
                        connection.transport._sock.shutdown(socket.SHUT_RDWR)  # noqa: SLF001


# Servers answer a missing file in either of two ways; the library knows the first as an errno.
_NO_SUCH_FILE = 0xC000000F


def _is_missing(error: OSError) -> bool:
    return error.errno == errno.ENOENT or getattr(error, "ntstatus", None) == _NO_SUCH_FILE


_NO_ANSWER = "The NAS does not answer"
_EXPLANATIONS = (
    ("LOGON_FAILURE", "The NAS refuses the user name or password"),
    ("ACCESS_DENIED", "The NAS refuses access to the folder"),
    ("BAD_NETWORK_NAME", "The NAS has no such share"),
    ("DISK_FULL", "The NAS is full"),
    ("Failed to connect", "The NAS cannot be reached"),
    ("timed out", _NO_ANSWER),
    ("Connection", "The connection to the NAS was cut"),
)


def _explain(error: Exception) -> str:
    chain: BaseException | None = error
    texts = []
    while chain is not None:
        texts.append(f"{type(chain).__name__} {chain}")
        chain = chain.__cause__ or chain.__context__
    whole = " ".join(texts)
    for sign, text in _EXPLANATIONS:
        if sign.lower() in whole.lower():
            return text
    return f"The NAS does not take the files ({type(error).__name__})"


def tried(open_share: Callable[[], Share]) -> Future[None]:
    """Try a share, and return the promise that it can be used; it keeps no process from ending."""

    def probe() -> None:
        share = open_share()
        try:
            share.probe()
        finally:
            share.close()

    return promised(probe)


def failure_of(trial: Future[None], seconds: float) -> str | None:
    """Return why a share cannot be used, None if it can; never takes longer than ``seconds``."""
    try:
        trial.result(seconds)
    except TimeoutError:
        return _NO_ANSWER
    except NasUnreachable as error:
        return error.message
    return None


@dataclass(frozen=True, slots=True)
class UploadResult:
    """What an upload copied and what it found copied already."""

    files: int
    bytes: int
    skipped: int


def upload(
    share: Share,
    files: Sequence[tuple[Path, PurePosixPath]],
    *,
    report: Callable[[float], None],
    check: Callable[[], None],
) -> UploadResult:
    """Copy files and verify each; what is there already and the same is left alone.

    Nothing on the share is ever replaced: a file that is in the way may be another run's only copy,
    so it stays under a name of its own, ``.before-1`` and so on before its ending.

    Parameters
    ----------
    files
        Local paths with their paths on the share.
    report
        Told how far it is, from 0 to 1.
    check
        Called for every block; raises when the upload is to stop.

    Raises
    ------
    NasUnreachable
        The share failed, or a copy differs from its original.
    """
    total = sum(path.stat().st_size for path, _ in files) or 1
    done = copied = skipped = 0
    for path, target in files:
        wanted = _digest(path)
        there = share.digest(target)
        if there == wanted:
            skipped += 1
        else:
            partial = target.with_name(target.name + PARTIAL_SUFFIX)
            share.write(partial, _blocks(path, check))
            if share.digest(partial) != wanted:
                raise NasUnreachable(f"The copy of {path.name} on the NAS differs")
            if there is not None:
                _put_aside(share, target)
            if not share.rename(partial, target):
                raise NasUnreachable(f"Another program writes {path.name} on the NAS")
            copied += 1
        done += wanted[0]
        report(done / total)
    return UploadResult(copied, done, skipped)


def compare(
    share: Share, files: Sequence[tuple[Path, PurePosixPath]]
) -> dict[Path, os.stat_result] | None:
    """Return what files were when each was compared with its copy; None if one has none.

    Raises
    ------
    NasUnreachable
        The share failed.
    """
    seen = {}
    for path, target in files:
        before = path.stat()
        if share.digest(target) != _digest(path):
            return None
        seen[path] = before
    return seen


def _digest(path: Path) -> tuple[int, str]:
    return path.stat().st_size, sha256_of(path)


def _put_aside(share: Share, target: PurePosixPath) -> None:
    for number in count(1):
        if share.rename(target, target.with_stem(f"{target.stem}.before-{number}")):
            return


def _blocks(path: Path, check: Callable[[], None]) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            check()
            yield block


def backoff(attempt: int) -> float:
    """Return the pause in s after a failed attempt 1, 2, ...: 30 s, doubling up to an hour."""
    return float(min(_FIRST_PAUSE * 2 ** min(attempt - 1, 20), _LONGEST_PAUSE))


def uploaded_at(marker: Path) -> datetime | None:
    """Return the time that a marker file holds; None if it is not there or not readable."""
    try:
        moment = datetime.fromisoformat(marker.read_text("ascii").strip())
    except (OSError, ValueError):
        return None
    return moment if moment.tzinfo is not None else None


def is_expired(marker: Path, *, retention_days: int, now: datetime) -> bool:
    """Whether a run was uploaded long enough ago; never when its marker cannot be read."""
    moment = uploaded_at(marker)
    return moment is not None and (now - moment).total_seconds() > retention_days * 86400
