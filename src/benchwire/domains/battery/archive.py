"""Every device's rows: what its recordings hold, and what has come since.

One thread owns the building. It reads one recording at a time, so that memory is that of one, and
takes what somebody waits for before what nobody has asked for yet. Live readings are in the
database until there are enough of them for a file of their own; a file is on the disk before its
readings leave the database.
"""

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchwire.domains.battery import dataset, work
from benchwire.domains.battery.dataset import Recording
from benchwire.domains.battery.errors import DeviceUnknown, IngestFailed
from benchwire.domains.battery.orders import Orders
from benchwire.domains.battery.recorded import Options, Recorded
from benchwire.domains.battery.rows import Rows, RowsFile, Timeline
from benchwire.domains.battery.samples import Reading
from benchwire.domains.battery.series import SignalSource
from benchwire.domains.battery.shelf import Shelf, ShelfState, all_locked
from benchwire.domains.battery.signals import GROUPS, Group
from benchwire.domains.battery.store import ReadingStore
from benchwire.domains.battery.tails import filled, rows_of
from benchwire.foundation.clock import Clock
from benchwire.foundation.errors import BenchwireError
from benchwire.foundation.workers import Executor

logger = logging.getLogger(__name__)

FOLD_ROWS = 20_000
"""Live readings of a group that are kept in the database before they become a file."""
KEPT_ROWS = 1_000
"""The newest of them stay, so that late values still find their row."""
_RETRY_SECONDS = 30.0
_SIGNALS_AT_ONCE = 16
_URGENT, _USUAL, _WHOLE_VIEW, _OTHERS = range(4)

Key = tuple[str, str]
"""A device and a group's name."""


@dataclass(frozen=True, slots=True)
class _Order:
    """The rows of a device's group, or one of its signals."""

    device_id: str
    name: str
    is_signal: bool = False


class Archive:
    """The rows of all devices.

    Parameters
    ----------
    root
        Folder of the recordings, None where there is none.
    folder
        Where what is made of them and the files of live readings are kept.
    rescan_seconds
        How long a look at the recordings is believed.
    """

    def __init__(
        self,
        root: Path | None,
        folder: Path,
        store: ReadingStore,
        executor: Executor,
        clock: Clock,
        *,
        options: Options,
        rescan_seconds: float,
        fold_rows: int = FOLD_ROWS,
    ) -> None:
        self._root = root
        self._cache = folder / "recorded"
        self._live = folder / "live"
        self._store = store
        self._executor = executor
        self._clock = clock
        self._options = options
        self._rescan_seconds = rescan_seconds
        self._fold_rows = fold_rows
        self._recordings: Mapping[str, Recording] = {}
        self._scanned_at = float("-inf")
        self._scan_lock = threading.Lock()
        self._was_there = True
        self._shelves: dict[Key, Shelf] = {}
        self._live_keys: frozenset[Key] = frozenset()
        self._lock = threading.RLock()
        self._orders: Orders[_Order] = Orders()
        self._closing = threading.Event()
        self._reading: _Order | None = None
        self._thread = threading.Thread(target=self._build_for_ever, name="battery", daemon=True)

    # -- life -------------------------------------------------------------------------------

    def start(self) -> None:
        """Take up the live readings, look at the recordings and begin to read them."""
        for folder in (self._cache, self._live):
            folder.mkdir(parents=True, exist_ok=True)
        in_files = {(path.parent.name, path.name) for path in self._live.glob("*/*")}
        kept = in_files.union(self._store.devices())
        self._live_keys = frozenset(key for key in kept if key[1] in GROUPS)
        self._thread.start()

    def close(self) -> None:
        """End the reading; what is half read is left for the next start."""
        self._closing.set()
        self._orders.close(IngestFailed("The server is shutting down"))
        self._thread.join(10.0)
        for shelf in self._shelves.values():
            if shelf.timeline is not None and shelf.timeline.file is not None:
                shelf.timeline.file.close()

    # -- what there is ----------------------------------------------------------------------

    def recordings(self) -> Mapping[str, Recording]:
        """Return the recordings by device, looked for anew when the last look is old."""
        if self._clock.monotonic() - self._scanned_at >= self._rescan_seconds:
            with self._scan_lock:
                if self._clock.monotonic() - self._scanned_at >= self._rescan_seconds:
                    self._scan()
        return self._recordings

    def _scan(self) -> None:
        is_there = self._root is not None and self._root.is_dir()
        if self._root is not None and is_there != self._was_there:
            # Told once, since a disk that is away is looked for for as long as it takes.
            logger.warning("the recordings are %s: %s", "back" if is_there else "away", self._root)
        self._was_there = is_there
        found = dataset.discover(self._root) if self._root is not None and is_there else ()
        self._recordings = {recording.device_id: recording for recording in found}
        self._scanned_at = self._clock.monotonic()

    def has(self, device_id: str, group: Group) -> bool:
        """Whether a device may have rows of a group."""
        recording = self.recordings().get(device_id)
        recorded = recording is not None and has_signals(recording, group)
        return recorded or (device_id, group.name) in self._live_keys

    def has_signal(self, device_id: str, name: str) -> bool:
        """Whether a device has a recording of a signal."""
        return name in self.signal_names(device_id)

    def signal_names(self, device_id: str) -> list[str]:
        """Return the names of all recorded signals of a device."""
        recording = self.recordings().get(device_id)
        return sorted(recording.files) if recording else []

    def all_devices(self) -> list[str]:
        """Return every device, in order."""
        return sorted({*self.recordings(), *(device_id for device_id, _ in self._live_keys)})

    def devices(self, group: Group) -> list[str]:
        """Return the devices that may have rows of a group, in order."""
        return [device_id for device_id in self.all_devices() if self.has(device_id, group)]

    def state(self, device_id: str, group: Group) -> ShelfState:
        """Return how far the reading of a device's group is, without waiting for it."""
        key = (device_id, group.name)
        shelf = self._shelf(key)
        timeline = shelf.timeline
        message = ""
        if self._is_fresh(key, shelf):
            state = "ready"
        elif self._reading == _Order(*key):
            state = "reading"
        elif shelf.failure is not None:
            state, message = "failed", shelf.failure.message
        else:
            state = "waiting"
        return ShelfState(
            state,
            1.0 if state == "ready" else shelf.progress,
            message,
            len(timeline) if timeline else 0,
            timeline.first_us if timeline else None,
            timeline.last_us if timeline else None,
            shelf.is_live,
        )

    def newest(self, device_id: str, group: Group) -> Rows:
        """Return the newest row that is known without waiting; none if there is none."""
        return self._shelf((device_id, group.name)).newest()

    def rows_per_field(self, device_id: str, group: Group) -> dict[str, int]:
        """Return how many samples each field has, once they were read."""
        shelf = self._shelf((device_id, group.name))
        with shelf.lock:
            return shelf.rows_per_field()

    def recorded(self, device_id: str, group: Group) -> Recorded | None:
        """Return what was noted while the recording of a device's group was read."""
        return self._shelf((device_id, group.name)).recorded

    def version(self, device_id: str, group: Group) -> object:
        """Return what changes whenever the rows of a device's group do."""
        timeline = self._shelf((device_id, group.name)).timeline
        return timeline.version if timeline else None

    # -- what is asked for ------------------------------------------------------------------

    def request(self, device_id: str, group: Group) -> "Future[Timeline]":
        """Return the promise of the rows of a device's group as its files are now.

        Raises
        ------
        DeviceUnknown
            There is no such device, or it has no signal of that group.
        """
        if not self.has(device_id, group):
            raise DeviceUnknown(group.name)
        key = (device_id, group.name)
        shelf = self._shelf(key)
        ready: Future[Timeline] = Future()
        if shelf.timeline is not None and self._is_fresh(key, shelf):
            ready.set_result(shelf.timeline)
        elif shelf.failure is not None and self._failed_lately(shelf):
            ready.set_exception(shelf.failure)
        else:
            return self._orders.ask(_Order(*key), _URGENT)
        return ready

    def request_signal(self, device_id: str, name: str) -> "Future[None]":
        """Return the promise that a signal has been read, whatever group it is in or none."""
        if not self.signal_source(device_id, name).files:
            return self._orders.ask(_Order(device_id, name, is_signal=True), _URGENT)
        read: Future[None] = Future()
        read.set_result(None)
        return read

    def source(self, device_id: str, group: Group, field: str) -> SignalSource:
        """Return where the samples of a field are, once the group has been read."""
        shelf = self._shelf((device_id, group.name))
        with shelf.lock:
            live = tuple((path, field) for path in shelf.segments)
            tail = shelf.tail.column(group.fields.index(field)).without_nulls()
        recorded = self.signal_source(device_id, group.by_field[field].name)
        return SignalSource((*recorded.files, *live), tail)

    def signal_source(self, device_id: str, name: str) -> SignalSource:
        """Return where the samples of a recorded signal are, once it has been read."""
        recording = self.recordings().get(device_id)
        path = None
        if recording is not None and name in recording.files:
            path = work.signal_file(recording, name, self._cache, self._options)
        return SignalSource(((path, "value"),) if path else ())

    # -- live readings ----------------------------------------------------------------------

    def append(self, device_id: str, found: Mapping[str, Sequence[Reading]]) -> dict[str, int]:
        """Store readings durably, show them at once, and say how many times were new, by group.

        Parameters
        ----------
        found
            Readings by the name of their group.
        """
        with self._lock:
            self._live_keys |= {(device_id, name) for name in found}
        shelves = {name: self._shelf((device_id, name)) for name in sorted(found)}
        new: dict[str, int] = {}
        with all_locked(shelves.values()):
            self._store.add(device_id, found)
            for name, shelf in shelves.items():
                rows = rows_of(found[name], GROUPS[name])
                known = np.isin(rows.at_us, shelf.tail.at_us)
                if shelf.timeline is not None:
                    known |= shelf.timeline.exists(rows.at_us)
                new[name] = int((~known).sum())
                shelf.tail = filled(shelf.tail, rows)
                if shelf.timeline is not None:
                    shelf.timeline = shelf.timeline.with_tail(shelf.tail)
        for name, shelf in shelves.items():
            if self._is_long(shelf):
                self._orders.ask(_Order(device_id, name), _USUAL)
        return new

    def _is_long(self, shelf: Shelf) -> bool:
        return len(shelf.tail) >= self._fold_rows + KEPT_ROWS

    def _shelf(self, key: Key) -> Shelf:
        with self._lock:
            shelf = self._shelves.get(key)
            if shelf is not None:
                return shelf
            group = GROUPS[key[1]]
            if key in self._live_keys:
                tail = rows_of(tuple(self._store.all(*key)), group)
                segments = tuple(sorted(self._live_folder(key).glob("*.parquet")))
                shelf = Shelf(tail, segments)
            else:
                shelf = Shelf(Rows.none(len(group.fields)))
            # A name that nobody has is not remembered.
            if self.has(key[0], group):
                self._shelves[key] = shelf
            return shelf

    def _live_folder(self, key: Key) -> Path:
        return self._live / key[0] / key[1]

    # -- building ---------------------------------------------------------------------------

    def _build_for_ever(self) -> None:
        while not self._closing.is_set():
            order = self._orders.next()
            if order is None:
                if not self._order_what_is_due():
                    self._orders.wait(max(self._rescan_seconds, 0.2))
            elif order.is_signal:
                self._read_signals(order.device_id)
            else:
                self._keep(order)

    def _order_what_is_due(self) -> bool:
        """Order what nobody has asked for yet, and say whether there was anything."""
        due = False
        for priority, group in zip((_USUAL, _USUAL, _WHOLE_VIEW), GROUPS.values(), strict=True):
            for device_id in self.devices(group):
                key = (device_id, group.name)
                shelf = self._shelf(key)
                if not self._is_fresh(key, shelf) and not self._failed_lately(shelf):
                    self._orders.ask(_Order(*key), priority)
                    due = True
        for device_id, name in () if due else self._other_signals():
            self._orders.ask(_Order(device_id, name, is_signal=True), _OTHERS)
            due = True
        return due

    def _other_signals(self) -> Iterator[tuple[str, str]]:
        """Yield the signals of no group that are not read yet."""
        grouped = {signal.name for group in GROUPS.values() for signal in group.signals}
        for device_id, recording in self.recordings().items():
            for name in sorted(set(recording.files) - grouped):
                if not self.signal_source(device_id, name).files:
                    yield device_id, name

    def _build_order(self, key: Key, shelf: Shelf) -> work.BuildOrder:
        recording = self.recordings().get(key[0])
        if recording is not None:
            recording = work.of_group(recording, GROUPS[key[1]])
        return work.BuildOrder(*key, recording, self._cache, self._options, shelf.segments)

    def _is_fresh(self, key: Key, shelf: Shelf) -> bool:
        """Whether the timeline was made of the recording's files as they are now.

        Files of live readings do not count: the timeline holds their rows in memory as well until
        they are in its own.
        """
        made_of = self._build_order(key, shelf).recording
        return shelf.timeline is not None and shelf.made_of == made_of

    def _failed_lately(self, shelf: Shelf) -> bool:
        ago = self._clock.monotonic() - shelf.failed_at
        return shelf.failure is not None and ago < _RETRY_SECONDS

    def _keep(self, order: _Order) -> None:
        key = (order.device_id, order.name)
        shelf = self._shelf(key)
        self._reading = order
        try:
            timeline = self._build(key, shelf)
        except Exception as error:  # noqa: BLE001 - told to those who wait
            shelf.failure, shelf.failed_at = self._told(key, error), self._clock.monotonic()
            self._orders.keep(order, shelf.failure)
        else:
            shelf.failure = None
            self._orders.keep(order, timeline)
        finally:
            self._reading = None

    def _told(self, key: Key, error: Exception) -> BenchwireError:
        """Return an error for those who wait; the log gets what they must not see."""
        if not isinstance(error, BenchwireError):
            logger.error("%s of %s cannot be read", key[1], key[0], exc_info=error)
            return IngestFailed("The recording cannot be read; the server's log has it")
        if not self._closing.is_set():
            logger.error("%s of %s: %s", key[1], key[0], error.message)
        return error

    def _build(self, key: Key, shelf: Shelf) -> Timeline:
        if self._is_long(shelf):
            self._fold(key, shelf)
        order = self._build_order(key, shelf)
        built = work.built(order)
        if built is None:

            def on_progress(fraction: float, _: str) -> None:
                shelf.progress = fraction

            shelf.progress = 0.0
            built = self._run(work.build, order, on_progress=on_progress)
        group = GROUPS[key[1]]
        file = RowsFile(built.path, group.fields) if built.path is not None else None
        with shelf.lock:
            version = shelf.timeline.version + 1 if shelf.timeline else 0
            shelf.timeline = Timeline(group.fields, file, shelf.tail, version=version)
            # Of equal times the recording's row is shown; the other stays in the database.
            shelf.tail = shelf.timeline.tail
            shelf.recorded, shelf.made_of = built.recorded, order.recording
            shelf.live_values = built.live_values
            return shelf.timeline

    def _fold(self, key: Key, shelf: Shelf) -> None:
        """Make a file of the older live readings; it is on the disk before they are deleted."""
        with shelf.lock:
            rows = shelf.tail.take(slice(0, len(shelf.tail) - KEPT_ROWS))
            path = self._live_folder(key) / f"{len(shelf.segments):08d}.parquet"
            work.write_rows(path, GROUPS[key[1]].fields, [rows])
            self._store.forget(*key, up_to_us=int(rows.at_us[-1]))
            shelf.segments = (*shelf.segments, path)

    def _read_signals(self, device_id: str) -> None:
        """Read some of the signals of a device that were ordered."""
        orders = self._orders.alike(
            lambda order: order.is_signal and order.device_id == device_id, _SIGNALS_AT_ONCE
        )
        names = tuple(order.name for order in orders)
        outcome: BenchwireError | None = None
        try:
            recording = self.recordings().get(device_id)
            if recording is not None:
                self._run(work.build_signals, recording, names, self._cache, self._options)
        except Exception as error:  # noqa: BLE001 - told to those who wait
            outcome = self._told((device_id, "a signal"), error)
        for order in orders:
            self._orders.keep(order, outcome)

    def _run(self, function: Any, *arguments: Any, **more: Any) -> Any:
        return self._executor.submit(function, *arguments, stop=self._closing, **more).result()


def has_signals(recording: Recording, group: Group) -> bool:
    """Whether a recording has a file of at least one of a group's own signals."""
    return any(signal.name in recording.files for signal in group.signals)
