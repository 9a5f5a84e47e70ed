"""The door to everything: a server and its parts."""

from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from benchwire.client.connection import Connection

if TYPE_CHECKING:
    import polars as pl

    from benchwire.client.battery import Battery
    from benchwire.client.jobs import JobList
    from benchwire.client.meters import Meters
    from benchwire.client.microscopy import Microscopy
    from benchwire.client.plates import Plates
    from benchwire.client.potentiostats import Potentiostats
    from benchwire.client.samples import Samples
    from benchwire.client.stores import Stores
    from benchwire.client.traces import Traces

_MOST_FOUND = 200
_ITEM = ("kind", "id", "title", "state", "at", "detail", "page", "api")


class Bench:
    """A benchwire server.

    Parts are loaded when they are first used; one `Bench` may be used by several threads.

    Parameters
    ----------
    url
        Address of the server; ``BENCHWIRE_URL``, else ``http://127.0.0.1:8000``, if not given.
    api_key
        Its key; ``BENCHWIRE_API_KEY`` if not given.
    timeout
        Seconds to wait for an answer.
    patience
        Seconds for which work that is followed, and a start whose answer was lost, are tried again
        while the server does not answer.
    ca_file
        Certificate of a server that made its own, for ``https``.

    Raises
    ------
    BenchError
        The address cannot be one. Whether the server is there is seen by the first call.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        timeout: float = 60.0,
        patience: float = 120.0,
        ca_file: str | Path | None = None,
    ) -> None:
        if url is None or api_key is None:
            from benchwire.client.settings import ClientSettings

            settings = ClientSettings.load()
            url = settings.url if url is None else url
            if api_key is None and settings.api_key is not None:
                api_key = settings.api_key.get_secret_value()
        self._connection = Connection(
            url,
            api_key,
            timeout=timeout,
            patience=patience,
            ca_file=None if ca_file is None else Path(ca_file),
        )
        self.url = self._connection.url

    def __repr__(self) -> str:
        return f"<Bench {self.url}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections; work on the server goes on."""
        self._connection.close()

    # -- parts -------------------------------------------------------------------------------

    @cached_property
    def potentiostats(self) -> "Potentiostats":
        """Runs of electrochemical modes."""
        from benchwire.client.potentiostats import Potentiostats

        return Potentiostats(self._connection)

    @cached_property
    def meters(self) -> "Meters":
        """USB power meters."""
        from benchwire.client.meters import Meters

        return Meters(self._connection)

    @cached_property
    def plates(self) -> "Plates":
        """The inventory of plates."""
        from benchwire.client.plates import Plates

        return Plates(self._connection)

    @cached_property
    def microscopy(self) -> "Microscopy":
        """Movies, and workflows that find and follow their cells."""
        from benchwire.client.microscopy import Microscopy

        return Microscopy(self._connection)

    @cached_property
    def traces(self) -> "Traces":
        """Models fitted to traces of cells."""
        from benchwire.client.traces import Traces

        return Traces(self._connection)

    @cached_property
    def battery(self) -> "Battery":
        """Telemetry of storage systems."""
        from benchwire.client.battery import Battery

        return Battery(self._connection)

    @cached_property
    def stores(self) -> "Stores":
        """Copies from object stores and to them."""
        from benchwire.client.stores import Stores

        return Stores(self._connection)

    @cached_property
    def jobs(self) -> "JobList":
        """Work under way and done, over all domains."""
        from benchwire.client.jobs import JobList

        return JobList(self._connection)

    @cached_property
    def samples(self) -> "Samples":
        """What was measured on what, over all domains."""
        from benchwire.client.samples import Samples

        return Samples(self._connection)

    # -- over all domains --------------------------------------------------------------------

    def version(self) -> str:
        """Return the version of the server."""
        return str(self._connection.get("/")["version"])

    def search(
        self, text: str, kind: str | list[str] | None = None, limit: int = _MOST_FOUND
    ) -> "pl.DataFrame":
        """Return runs, plates, wells, images, devices and more that a text occurs in.

        Parameters
        ----------
        kind
            Only items of a kind, or of some.
        limit
            How many at most, up to 200.

        Returns
        -------
        pl.DataFrame
            ``kind``, ``id``, ``title``, ``state``, ``at`` (UTC), ``detail``, ``page``, ``api``.

        Warns
        -----
        IncompleteWarning
            There may be more than 200.
        """
        from benchwire.client.errors import IncompleteWarning
        from benchwire.client.frames import table

        kinds = [kind] if isinstance(kind, str) else kind
        rows = self._connection.get("/search", q=text, kind=kinds, limit=limit)["items"]
        if limit == _MOST_FOUND and len(rows) == limit:
            import warnings

            warnings.warn(
                f"These are the newest {limit}; there may be more. Search for more of the text",
                IncompleteWarning,
                stacklevel=2,
            )
        return table(rows, columns=_ITEM, moments={"at"})

    def notices(self) -> list[dict[str, Any]]:
        """Return what a person should look at: level, text, page."""
        return list(self._connection.get("/notices")["notices"])

    def crate(self, kind: str, item_id: str, path: str | Path = ".") -> Path:
        """Write a finished piece of work as an RO-Crate ZIP, to a file or into a folder.

        Parameters
        ----------
        kind, item_id
            Such as ``"run"`` and its id; `search` and `jobs` show both.

        Raises
        ------
        NotFound, Conflict
            There is none, or it has not ended.
        """
        from benchwire.client.work import fetch_crate

        return fetch_crate(self._connection, kind, item_id, path)
