"""Staying in touch with the cluster: found, watched, lost and found again."""

import logging
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

from distributed import Client, Future, KilledWorker, Security

from benchwire import __version__
from benchwire.foundation.cluster import host
from benchwire.foundation.cluster.host import Host, Needs, Outcome, Piece
from benchwire.foundation.errors import Failed, Unavailable
from benchwire.foundation.files import write_whole
from benchwire.foundation.workers import STOP_GRACE_SECONDS, WorkerDied

logger = logging.getLogger(__name__)

T = TypeVar("T")

PROBE_NAME = ".cluster-probe"
_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 2.0
_FETCH_SECONDS = 60.0
_LOOK_SECONDS = 1.0
# A scheduler under load may be late; one that is silent for this many looks is gone.
_SILENT_LOOKS = 5


class ClusterAway(Unavailable):
    """The cluster does not answer, or has no workers."""

    code = "cluster.away"


class ConnectionLost(Exception):
    """The scheduler went away while a piece of work was under way."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a cluster is, and how it is spoken to.

    Parameters
    ----------
    address
        Of its scheduler, ``tcp://host:8786`` or ``tls://host:8786``.
    ca, cert, key
        PEM files for TLS.
    """

    address: str
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def security(self) -> Security | None:
        """Return how connections are secured, None for not at all."""
        if not self.address.startswith("tls://"):
            return None
        return Security(
            require_encryption=True,
            tls_ca_file=self.ca and str(self.ca),
            tls_client_cert=self.cert and str(self.cert),
            tls_client_key=self.key and str(self.key),
        )


class Running:
    """A piece of work that was handed to the cluster, as the server sees it."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.told: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
        """What the worker tells; None once the piece is over."""
        self.wanted_worker: str | None = None
        """Address of the worker that should do it; another may, should that one go."""
        self.worker: str | None = None
        """Address of the worker that has begun it."""
        self.future: Future[Any] | None = None

    def outcome(self) -> Outcome:
        """Return what came of it.

        Raises
        ------
        ConnectionLost
            The cluster went away with it.
        WorkerDied
            Every worker it was given to has ended.
        Failed
            The workers cannot do it at all.
        """
        assert self.future is not None  # noqa: S101 - set before anything is told
        try:
            kind, payload = self.future.result(timeout=_FETCH_SECONDS)
        except KilledWorker:
            raise WorkerDied(
                "The workers of the cluster that did the work ended unexpectedly"
            ) from None
        except (CancelledError, TimeoutError, OSError) as error:
            raise ConnectionLost from error
        except Exception as error:
            raise Failed(
                f"The workers of the cluster cannot do this: {type(error).__name__}: {error:.200}",
                hint="Do scheduler and workers have the same benchwire as the server?",
            ) from error
        return kind, payload


class Connection:
    """One connection to the cluster's scheduler; once lost it stays lost."""

    def __init__(self, place: Place, needs: Needs, *, grace: float, memory: int | None) -> None:
        self._needs = needs
        self._memory = memory
        self._pieces: dict[str, Running] = {}
        self._placing = threading.Lock()
        self.lost = threading.Event()
        self.threads: dict[str, int] = {}
        """Threads of each worker, by its address."""
        self._client = Client(
            place.address,
            timeout=_CONNECT_SECONDS,
            security=place.security(),
            set_as_default=False,
            name="benchwire",
        )
        try:
            self._topic = f"benchwire-{self._client.id}"
            self._client.subscribe_topic(self._topic, self._told)
            self._client.register_plugin(Host(grace), name=host.PLUGIN)
            self.count()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the scheduler, and with it of all work."""
        self.lost.set()
        for running in list(self._pieces.values()):
            running.told.put(None)
        try:
            self._client.close(timeout=_ANSWER_SECONDS)
        except (OSError, TimeoutError) as error:
            logger.debug("the cluster did not take leave: %s", error)

    def count(self) -> None:
        """Look which workers there are.

        Raises
        ------
        OSError, TimeoutError
            The scheduler does not answer.
        """

        async def ask() -> dict[str, int]:
            return dict(await self._client.nthreads())

        self.threads = self._in_time(ask)

    @property
    def is_open(self) -> bool:
        """Whether the scheduler is there as far as is known."""
        return not self.lost.is_set() and self._client.status == "running"

    def unfit(self) -> list[str]:
        """Return what workers lack, a sentence each."""

        async def ask() -> dict[str, str | None]:
            return dict(await self._client.run(host.look, self._needs, on_error="ignore"))

        found = self._in_time(ask, _FETCH_SECONDS)
        return [f"The worker {name} of the cluster {what}" for name, what in found.items() if what]

    def start(self, key: str, order: bytes, *, time_limit: float | None, priority: int) -> Running:
        """Hand a piece of work to the cluster.

        Raises
        ------
        ConnectionLost
            The scheduler went away at this moment.
        """
        running = Running(key)
        with self._placing:
            running.wanted_worker = self._freest()
            self._pieces[key] = running
        piece = Piece(key, order, time_limit, self._memory, self._topic, self._needs)
        try:
            running.future = self._client.submit(
                host.do_piece,
                piece,
                key=key,
                pure=False,
                priority=priority,
                workers=running.wanted_worker,
                allow_other_workers=running.wanted_worker is not None,
            )
        except Exception as error:
            self.let_go(running)
            if self.is_open:
                raise
            raise ConnectionLost from error
        running.future.add_done_callback(lambda _: running.told.put(None))
        return running

    def _freest(self) -> str | None:
        """Return the worker with the most threads that have none of our pieces.

        Dask would guess from how long such pieces took before, and have a plot wait behind FOVs.
        """
        taken = Counter(running.wanted_worker for running in self._pieces.values())
        free = {worker: count - taken[worker] for worker, count in self.threads.items()}
        return max(free, key=lambda worker: free[worker], default=None)

    def stop(self, running: Running) -> bool:
        """Have a piece stopped or never begun, and return whether it is still under way."""

        async def ask() -> dict[str, bool]:
            workers = None if running.worker is None else [running.worker]
            found = await self._client.run(
                host.stop_piece, running.key, workers=workers, on_error="ignore"
            )
            return dict(found)

        try:
            return any(self._in_time(ask).values())
        except (OSError, TimeoutError, ValueError) as error:
            logger.warning("the cluster was not told to stop %s: %s", running.key, error)
            return False

    def let_go(self, running: Running) -> None:
        """Forget a piece; should it be under way the worker is told to end it."""
        with self._placing:
            del self._pieces[running.key]
        if running.future is not None:
            running.future.release()

    def _told(self, event: tuple[float, dict[str, Any]]) -> None:
        what = event[1]
        running = self._pieces.get(what["key"])
        if running is None:
            return
        if what["kind"] == host.BEGUN:
            running.worker = what["worker"]
        running.told.put(what)

    def _in_time(
        self, ask: Callable[[], Coroutine[Any, Any, T]], seconds: float = _ANSWER_SECONDS
    ) -> T:
        found: T = self._client.sync(ask, callback_timeout=seconds)
        return found


class Cluster:
    """The cluster that was named in the settings, whether it is there or not.

    Parameters
    ----------
    data_dir
        The server's data folder, which workers must see.
    folders
        Other folders that they must see.
    wanted_threads
        How many pieces of work there may be at once.
    memory
        Bytes that the process of a piece of work may have at most; None for any.
    patience
        Seconds that work waits for the cluster before it fails.
    """

    def __init__(
        self,
        place: Place,
        *,
        data_dir: Path,
        folders: Sequence[Path] = (),
        wanted_threads: int = 1,
        memory: int | None = None,
        grace: float = STOP_GRACE_SECONDS,
        patience: float = 60.0,
    ) -> None:
        _silence_dask()
        self.grace = grace
        self._memory = memory
        self.patience = patience
        self._place = place
        self._wanted_threads = wanted_threads
        token = secrets.token_hex(16)
        self._needs = Needs(__version__, data_dir / PROBE_NAME, token, tuple(folders))
        write_whole(self._needs.probe, token.encode())
        self._connection: Connection | None = None
        self._trouble: str | None = None
        self._unfit: list[str] = []
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="cluster", daemon=True)
        self._keeper.start()

    def close(self) -> None:
        """Take leave of the cluster."""
        self._closing.set()
        self._keeper.join(_CONNECT_SECONDS + _ANSWER_SECONDS)
        self._needs.probe.unlink(missing_ok=True)

    def troubles(self) -> list[str]:
        """Return what an operator should look at, a sentence each."""
        connection = self._connection
        if connection is None:
            return [self._trouble] if self._trouble else []
        if not connection.threads:
            return [self._without_workers()]
        found = list(self._unfit)
        n_threads = sum(connection.threads.values())
        if n_threads < self._wanted_threads:
            found.append(
                f"The cluster has {n_threads} threads for {self._wanted_threads} pieces "
                "of work at once; plots may wait for long work"
            )
        return found

    def connected(self, seconds: float, is_unwanted: Callable[[], bool]) -> Connection | None:
        """Wait for the cluster and return the connection; None if nobody wants it any more.

        Raises
        ------
        ClusterAway
            It is not there within that time.
        """
        deadline = time.monotonic() + seconds
        with self._changed:
            while True:
                if is_unwanted():
                    return None
                connection = self._connection
                if connection is not None and connection.is_open:
                    return connection
                if time.monotonic() > deadline:
                    raise ClusterAway(
                        self._trouble or f"The cluster at {self._place.address} does not answer",
                        hint="Is its scheduler running?",
                    )
                self._changed.wait(0.1)

    def raise_if_deserted(self, connection: Connection) -> None:
        """Raise `ClusterAway` if there is no worker."""
        if not connection.threads:
            raise ClusterAway(self._without_workers(), hint="Start some.")

    def _without_workers(self) -> str:
        return f"The cluster at {self._place.address} has no workers"

    # -- one thread that watches ------------------------------------------------------------

    def _keep(self) -> None:
        silent, workers = 0, set[str]()
        while not self._closing.is_set():
            connection = self._connection
            if connection is None:
                self._connect()
                silent, workers = 0, set()
            else:
                try:
                    connection.count()
                    silent = 0
                    if set(connection.threads) != workers:
                        workers = set(connection.threads)
                        self._look_at_workers(connection)
                except (OSError, TimeoutError):
                    silent += 1
                if not connection.is_open or silent >= _SILENT_LOOKS:
                    self._lose(connection)
            self._closing.wait(_LOOK_SECONDS)
        if self._connection is not None:
            self._connection.close()

    def _connect(self) -> None:
        try:
            connection = Connection(self._place, self._needs, grace=self.grace, memory=self._memory)
        except Exception as error:  # noqa: BLE001 - whatever is wrong may be mended there
            trouble = f"The cluster at {self._place.address} does not answer"
            if self._trouble != trouble:
                logger.warning("%s: %s: %s", trouble, type(error).__name__, error)
            self._trouble = trouble
            return
        logger.info(
            "cluster at %s: %d workers, %d threads",
            self._place.address,
            len(connection.threads),
            sum(connection.threads.values()),
        )
        with self._changed:
            self._connection, self._trouble = connection, None
            self._changed.notify_all()

    def _look_at_workers(self, connection: Connection) -> None:
        self._unfit = connection.unfit()
        for sentence in self._unfit:
            logger.error("%s", sentence)

    def _lose(self, connection: Connection) -> None:
        logger.warning("the cluster at %s is lost", self._place.address)
        self._trouble = f"The cluster at {self._place.address} does not answer"
        self._connection = None
        connection.close()


def _silence_dask() -> None:
    """Keep Dask's own lines, with handlers of their own, out of the log; we tell what matters."""
    for name in [*logging.root.manager.loggerDict]:
        if name.partition(".")[0] == "distributed":
            logging.getLogger(name).setLevel(logging.CRITICAL)
