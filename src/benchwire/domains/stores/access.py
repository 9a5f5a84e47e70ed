"""One store as its library gives it, with its troubles in our words."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from benchwire.domains.stores.errors import ExtraMissing, NothingThere, StoreAway, StoreRefuses
from benchwire.foundation.errors import BenchwireError

_BLOCK_BYTES = 8 << 20
# The library's own would have a person wait for minutes before a store is said to be away.
_OPTIONS = {
    "s3": {
        "config_kwargs": {"connect_timeout": 5, "read_timeout": 10, "retries": {"max_attempts": 1}}
    }
}
# What only a mistake in a program raises, here or there; it is not to be tried again.
_MISTAKES = (MemoryError, TypeError, AttributeError, KeyError, IndexError, AssertionError)
_PATIENT_STATUSES = frozenset({408, 429})


class StoreAccess:
    """The objects of a store by their paths below an address.

    Every method may raise `StoreAway`, `StoreRefuses` or `NothingThere`.

    Raises
    ------
    ExtraMissing
        The library for that kind of store is not installed.
    """

    def __init__(self, url: str) -> None:
        protocol = url.partition(":")[0]
        try:
            from fsspec.core import url_to_fs

            with _told():
                self._store, path = url_to_fs(
                    url,
                    skip_instance_cache=True,
                    use_listings_cache=False,
                    **_OPTIONS.get(protocol, {}),
                )
            # Who asks has a patience of its own.
            self._store.retries = 1
        except ImportError as error:
            raise ExtraMissing(
                f"What speaks to {protocol} stores is not installed",
                hint="Install benchwire[stores]; for others than s3, what fsspec names for them.",
            ) from error
        self._root = str(path).rstrip("/")

    def children(self) -> list[dict[str, Any]]:
        """Return what is right below the address, or the object there: full names, as given."""
        with _told():
            found = self._store.ls(self._root, detail=True)
        own = self._root.strip("/")
        return [
            item
            for item in found
            if item["type"] != "directory" or str(item["name"]).strip("/") != own
        ]

    def below(self, depth: int | None = None) -> list[tuple[str, dict[str, Any]]]:
        """Return the objects at and below the address with their names from there on, sorted.

        Empty ones that some programs put in the place of folders are left out.
        """
        with _told():
            found = self._store.find(self._root, maxdepth=depth, detail=True)
        root = self._root.strip("/")
        return sorted(
            (full.lstrip("/").removeprefix(root).removeprefix("/"), item)
            for full, item in found.items()
            if item["type"] != "directory" and not (full.endswith("/") and not item["size"])
        )

    def size_of(self, name: str) -> int | None:
        """Return the size of an object in bytes, None where there is none."""
        try:
            with _told():
                found = self._store.info(self._path(name))
        except NothingThere:
            return None
        return None if found["type"] == "directory" else int(found["size"])

    def blocks(self, name: str, size: int) -> Iterator[bytes]:
        """Yield an object of a size piece by piece."""
        if size == 0:
            return
        with _told():
            file = self._store.open(
                self._path(name), "rb", block_size=_BLOCK_BYTES, cache_type="readahead"
            )
        with file:
            while True:
                with _told():
                    block = file.read(_BLOCK_BYTES)
                if not block:
                    return
                yield block

    def sum_of(self, name: str, size: int, tell: Callable[[int], None]) -> str:
        """Return the SHA-256 of an object of a size."""
        digest = hashlib.sha256()
        for block in self.blocks(name, size):
            digest.update(block)
            tell(len(block))
        return digest.hexdigest()

    def put(self, name: str, file: str, tell: Callable[[int], None]) -> None:
        """Make an object of a file; what `tell` raises ends it, and leaves none."""
        from fsspec.callbacks import Callback

        class Told(Callback):  # type: ignore[misc]
            def relative_update(self, inc: int = 1) -> None:
                tell(inc)

        with _told():
            self._store.put_file(file, self._path(name), callback=Told())

    def read(self, name: str) -> bytes:
        """Return a small object."""
        with _told():
            return bytes(self._store.cat_file(self._path(name)))

    def write(self, name: str, content: bytes) -> None:
        """Make a small object."""
        with _told():
            self._store.pipe_file(self._path(name), content)

    def remove(self, name: str) -> None:
        """Remove an object, if there is one."""
        try:
            with _told():
                self._store.rm_file(self._path(name))
        except NothingThere:
            pass

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root


@contextmanager
def _told() -> Iterator[None]:
    """Turn what the library raises within a block into a sentence for people."""
    try:
        yield
    except (BenchwireError, ImportError, *_MISTAKES):
        raise
    except FileNotFoundError as error:
        raise NothingThere("The store has nothing at that address") from error
    except Exception as error:
        # Each library has errors of its own, and some quote what they were called with.
        if _is_final(error):
            raise StoreRefuses(
                f"The store refused ({type(error).__name__})",
                hint="See to the keys of the server, what they may do, and what the store takes.",
            ) from error
        raise StoreAway(f"The store does not answer ({type(error).__name__})") from error


def _is_final(error: Exception) -> bool:
    """Whether asking again would be answered alike."""
    if isinstance(error, PermissionError | ValueError):
        return True
    answer = getattr(error.__cause__, "response", None)
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode") if answer else None
    return status is not None and 400 <= status < 500 and status not in _PATIENT_STATUSES
