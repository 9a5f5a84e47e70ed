"""Keys: the one of the settings, those made by name, and the sessions opened with either."""

import hashlib
import hmac
import json
import logging
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path
from types import MappingProxyType

from itsdangerous import BadSignature, TimestampSigner

from benchwire.foundation.clock import Clock, SystemClock, utc_text
from benchwire.foundation.errors import Conflict, Invalid, NotFound
from benchwire.foundation.files import write_whole
from benchwire.foundation.jobs.sessions import DataFolderInUse, DataFolderLock
from benchwire.foundation.web.roles import Role

logger = logging.getLogger(__name__)

KEYS_FOLDER = "keys"
LONGEST_ADDRESS = 100
SESSION_SECONDS = 30 * 24 * 3600
WRONG_KEYS_PER_MINUTE = 20
STRANGERS_PER_MINUTE, ALL_STRANGERS_PER_MINUTE = 60, 240
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,39}")
_MARK = "bw"
_ID_BYTES, _SECRET_BYTES = 4, 32
# Of nothing that anybody can send.
_NO_DIGEST = secrets.token_bytes(32)


class KeyNameTaken(Conflict):
    """There is a key of that name."""

    code = "keys.name_taken"


class KeyUnknown(NotFound):
    """There is no key of that name."""

    code = "keys.unknown"


class KeyNameInvalid(Invalid):
    """A key cannot be called so."""

    code = "keys.name_invalid"


class KeysBusy(Conflict):
    """Another command changes the keys at this moment."""

    code = "keys.busy"


class KeysUnreadable(Conflict):
    """The file of the keys is damaged."""

    code = "keys.unreadable"


@dataclass(frozen=True, slots=True)
class NamedKey:
    """A key made for somebody; only its digest is kept.

    Parameters
    ----------
    id
        Its public part, by which it is found; eight hexadecimal digits.
    digest
        SHA-256 of all of it.
    """

    id: str
    name: str
    role: Role
    digest: bytes
    made_at: datetime
    expires_at: datetime | None

    def is_over(self, now: datetime) -> bool:
        """Whether its time is up."""
        return self.expires_at is not None and now >= self.expires_at


@dataclass(frozen=True, slots=True)
class Holder:
    """Who a request comes from.

    Parameters
    ----------
    name
        Of the key. What is no key's name has a space in it.
    key_id
        Public id of a key made by name.
    """

    name: str
    role: Role
    key_id: str | None = None


OPEN = Holder("open server", Role.ADMIN)
"""Anybody, where no key is needed."""
OWNER = Holder("the key", Role.ADMIN)
"""Who has the key of the settings."""


class NamedKeys:
    """The file of the keys made by name, which commands change while the server reads it.

    Parameters
    ----------
    data_dir
        The file lies in a folder of its own in it, readable by the owner alone.
    """

    def __init__(self, data_dir: Path, clock: Clock | None = None) -> None:
        self._folder = data_dir / KEYS_FOLDER
        self._path = self._folder / "keys.json"
        self._clock = clock or SystemClock()
        self._seen: tuple[int, int, int] | None = None
        self._keys: Mapping[str, NamedKey] = MappingProxyType({})

    @property
    def are_used(self) -> bool:
        """Whether one was ever made. Withdrawing the last does not open the server."""
        return self._path.exists()

    def add(self, name: str, role: Role, *, days: int | None = None) -> str:
        """Make a key and return it; it is told this once.

        Raises
        ------
        KeyNameTaken, KeyNameInvalid
            It cannot be called so.
        KeysBusy
            Another command is at it.
        """
        if not _NAME.fullmatch(name):
            raise KeyNameInvalid(
                "A key's name has up to 40 letters, digits and . _ @ -",
                hint="Name it after the person or the program that gets it.",
            )
        now = self._clock.now()
        key_id = secrets.token_hex(_ID_BYTES)
        key = f"{_MARK}_{key_id}_{secrets.token_hex(_SECRET_BYTES)}"
        expires_at = None if days is None else now + timedelta(days=days)
        with self._changing() as keys:
            if any(known.name.casefold() == name.casefold() for known in keys.values()):
                raise KeyNameTaken(f"There is a key called {name}", hint="Remove it first.")
            keys[key_id] = NamedKey(key_id, name, role, digest_of(key), now, expires_at)
        return key

    def remove(self, name: str) -> None:
        """Withdraw a key; its sessions end with it.

        Raises
        ------
        KeyUnknown
            There is none of that name.
        KeysBusy
            Another command is at it.
        """
        with self._changing() as keys:
            found = next((key for key in keys.values() if key.name == name), None)
            if found is None:
                raise KeyUnknown(f"There is no key called {name}")
            del keys[found.id]

    def all(self) -> list[NamedKey]:
        """Return every key, by name.

        Raises
        ------
        KeysUnreadable
            The file is damaged.
        """
        return sorted(self._read().values(), key=lambda key: key.name.casefold())

    def find(self, key_id: str) -> NamedKey | None:
        """Return the key of an id if it holds at this moment."""
        self._look()
        found = self._keys.get(key_id)
        return None if found is None or found.is_over(self._clock.now()) else found

    def _look(self) -> None:
        """Read the file again if it has changed."""
        try:
            status = os.stat(self._path)  # noqa: PTH116 - asked with every request
            seen = (status.st_ino, status.st_mtime_ns, status.st_size)
        except OSError:
            self._seen, self._keys = None, MappingProxyType({})
            return
        if seen == self._seen:
            return
        try:
            self._keys = self._read()
        except KeysUnreadable as error:
            logger.error("%s; none of them is accepted", error.message)
            self._keys = MappingProxyType({})
        self._seen = seen

    def _read(self) -> Mapping[str, NamedKey]:
        try:
            listed = json.loads(self._path.read_bytes())["keys"]
            keys = [
                NamedKey(
                    item["id"],
                    item["name"],
                    Role(item["role"]),
                    bytes.fromhex(item["sha256"]),
                    datetime.fromisoformat(item["made_at"]),
                    item["expires_at"] and datetime.fromisoformat(item["expires_at"]),
                )
                for item in listed
            ]
        except FileNotFoundError:
            return MappingProxyType({})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise KeysUnreadable(
                f"The file of the keys cannot be read ({type(error).__name__})",
                hint="Take it from a backup, or delete it and make the keys anew.",
            ) from error
        return MappingProxyType({key.id: key for key in keys})

    @contextmanager
    def _changing(self) -> Iterator[dict[str, NamedKey]]:
        """Give the keys to be changed, and keep other commands out until they are written."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        try:
            lock = DataFolderLock(self._folder)
        except DataFolderInUse as error:
            raise KeysBusy("Another command is changing the keys", hint="Try again.") from error
        try:
            keys = dict(self._read())
            yield keys
            listed = [
                {
                    "id": key.id,
                    "name": key.name,
                    "role": key.role,
                    "sha256": key.digest.hex(),
                    "made_at": utc_text(key.made_at),
                    "expires_at": None if key.expires_at is None else utc_text(key.expires_at),
                }
                for key in keys.values()
            ]
            write_whole(self._path, json.dumps({"keys": listed}, indent=1).encode(), mode=0o600)
        finally:
            lock.close()


class KeyRing:
    """The server's keys and the sessions that were opened with them.

    Parameters
    ----------
    key
        The API key; None leaves the server open until a key is made by name.
    secret
        Random bytes kept in the data folder. Sessions are signed with it and the key together, so
        that a new key ends them all.
    """

    def __init__(self, key: str | None, secret: bytes, named: NamedKeys) -> None:
        self._key_digest = None if key is None else digest_of(key)
        self._named = named
        signing_key = hashlib.sha256(secret + (self._key_digest or b"")).digest()
        self._signer = TimestampSigner(signing_key, salt="dashboard session")
        self._guesses = _PerMinute(WRONG_KEYS_PER_MINUTE)
        self._strangers = _PerMinute(STRANGERS_PER_MINUTE)
        self._all_strangers = _PerMinute(ALL_STRANGERS_PER_MINUTE)

    @property
    def is_open(self) -> bool:
        """Whether no key is needed."""
        return self._key_digest is None and not self._named.are_used

    def holder(self, key: str | None) -> Holder | None:
        """Return whose key it is, compared in constant time; None if it is nobody's."""
        if self.is_open:
            return OPEN
        given = key or ""
        digest = digest_of(given)
        mark, _, rest = given.partition("_")
        named = self._named.find(rest.partition("_")[0]) if mark == _MARK else None
        is_owner = hmac.compare_digest(digest, self._key_digest or _NO_DIGEST)
        is_named = hmac.compare_digest(digest, _NO_DIGEST if named is None else named.digest)
        if is_owner:
            return OWNER
        return _holder(named) if is_named else None

    def may_guess(self, client: str) -> bool:
        """Note that a client sent a wrong key; whether it is still told so.

        The right key is answered whatever came before, so nobody can lock others out.
        """
        is_within, is_last = self._guesses.note(client)
        if is_last:
            logger.warning("%s has sent %s wrong keys in a minute", client, WRONG_KEYS_PER_MINUTE)
        return is_within

    def may_fill_log(self, client: str) -> bool:
        """Note that a client without a key was refused; whether the audit log is to have it.

        There is a bound for all of them together, as addresses are cheap.
        """
        return self._strangers.note(client)[0] and self._all_strangers.note("")[0]

    def new_session(self, holder: Holder) -> str:
        """Return the cookie value of a new dashboard session."""
        content = f"{secrets.token_urlsafe(16)}:{holder.key_id or ''}"
        return self._signer.sign(content).decode("ascii")

    def session_holder(self, cookie: str | None) -> Holder | None:
        """Return whose session a cookie is, None if it was not signed here or is too old."""
        if self.is_open:
            return OPEN
        if not cookie:
            return None
        try:
            content = self._signer.unsign(cookie, max_age=SESSION_SECONDS).decode("ascii")
        except BadSignature:
            return None
        key_id = content.partition(":")[2]
        if not key_id:
            # Of a server that has no key of its own any more.
            return None if self._key_digest is None else OWNER
        return _holder(self._named.find(key_id))

    def still_hold(self, holder: Holder) -> bool:
        """Whether what somebody was let in with has not been withdrawn since."""
        if holder.key_id is not None:
            return _holder(self._named.find(holder.key_id)) == holder
        return holder != OPEN or self.is_open


class _PerMinute:
    """What was noted in a minute, which begins with the first of it, by where it came from.

    A place is forgotten after its minute, so that nobody fills the memory with addresses.
    """

    def __init__(self, most: int) -> None:
        from limits import RateLimitItemPerMinute
        from limits.storage import MemoryStorage
        from limits.strategies import FixedWindowRateLimiter

        self._most = RateLimitItemPerMinute(most)
        # The one with a moving window keeps every address for ever (limits 5.8).
        self._limiter = FixedWindowRateLimiter(MemoryStorage())

    def note(self, client: str) -> tuple[bool, bool]:
        """Count one more; whether it is within what is allowed, and the last that is."""
        place = _place_of(client)
        is_within = self._limiter.hit(self._most, place)
        left = self._limiter.get_window_stats(self._most, place).remaining
        return is_within, is_within and left == 0


def _place_of(client: str) -> str:
    """Return what a client cannot change at will: its address, of IPv6 the network's half."""
    try:
        address = ip_address(client)
    except ValueError:
        return client
    if address.version == 4 or address.ipv4_mapped is not None:
        return client
    return str(ip_network((address, 64), strict=False))


def digest_of(key: str) -> bytes:
    """Return the SHA-256 of a key, which is all that is kept of one made by name."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def _holder(key: NamedKey | None) -> Holder | None:
    return None if key is None else Holder(key.name, key.role, key.id)
