"""Copies between folders of the server's computer and object stores.

Paths are paths on the server's computer, addresses are such as ``s3://bucket/folder``.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from benchwire.client.connection import Connection
from benchwire.client.errors import BenchError
from benchwire.client.frames import table
from benchwire.client.microscopy import analysis_status
from benchwire.client.work import Status, Work, quoted

if TYPE_CHECKING:
    import polars as pl

_PATH = "/stores"


class Copy(Work):
    """A copy of a file or a folder from a store or to it."""

    kind: ClassVar[str] = "copy"

    def _ask(self, **how: Any) -> Status:
        return analysis_status(self._connection.get(f"{_PATH}/copies/{quoted(self.id)}", **how))

    def cancel(self) -> None:
        """Stop it; what has been copied is removed."""
        self._connection.send("POST", f"{_PATH}/copies/{quoted(self.id)}/cancel")

    @property
    def target(self) -> str:
        """Where it goes: a path on the server's computer, or an address."""
        return str(self._connection.get(f"{_PATH}/copies/{quoted(self.id)}")["target"])

    def download(self, folder: str | Path = ".") -> list[Path]:
        """Refuse: what it has copied is at its `target`.

        Raises
        ------
        BenchError
        """
        raise BenchError(f"A copy has nothing to download; it is at {self.target}")


class Stores:
    """The object stores of a server: ``bench.stores``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def all(self) -> list[str]:
        """Return the addresses below which the server may copy from and to."""
        return list(self._connection.get(_PATH)["stores"])

    def look(self, url: str) -> "pl.DataFrame":
        """Return what is in a folder of a store, folders first.

        Returns
        -------
        pl.DataFrame
            ``name``, ``type`` (``file`` or ``folder``), ``size_bytes``, ``url``; of a very large
            folder the first thousand.

        Raises
        ------
        Unauthorised
            It is in no store that may be used.
        NotFound
            There is no such folder.
        """
        found = self._connection.get(f"{_PATH}/objects", url=url)
        return table(found["items"], columns=("name", "type", "size_bytes", "url"))

    def copy(self, source: str | Path, target: str | Path) -> Copy:
        """Start to copy a file or a folder; one of both is an address.

        Raises
        ------
        Invalid, Unauthorised, NotFound
            Something of it cannot be used.
        Conflict
            Something is at the target.
        AnswerLost
            The connection was cut; whether it began is shown by ``bench.jobs.all()``.
        """
        body = {"source": str(source), "target": str(target)}
        answer = self._connection.send("POST", f"{_PATH}/copies", body)
        return Copy(self._connection, answer["job_id"])

    def get(self, copy_id: str) -> Copy:
        """Return a copy by its id.

        Raises
        ------
        NotFound
            There is none.
        """
        return Copy.found(self._connection, copy_id)
