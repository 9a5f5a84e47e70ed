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

from benchwire.domains.battery import work
from benchwire.domains.battery.errors import (
    DeviceUnknown,
    FileDamaged,
    IngestFailed,
    RecordingsAway,
    TooManyDevices,
)
from benchwire.domains.battery.live_folder import Key, LiveFolder
from benchwire.domains.battery.orders import Orders
from benchwire.domains.battery.recorded import Recorded
from benchwire.domains.battery.recordings import Recordings
from benchwire.domains.battery.rows import Rows, RowsFile, Timeline
from benchwire.domains.battery.samples import Reading
from benchwire.domains.battery.series import SignalSource
from benchwire.domains.battery.shelf import Appended, Shelf, ShelfState
from benchwire.domains.battery.signals import GROUPS, Group
from benchwire.domains.battery.store import ReadingStore
from benchwire.domains.battery.tails import rows_of
from benchwire.foundation.clock import Clock
from benchwire.foundation.errors import BenchwireError
from benchwire.foundation.files import DiskRefused, disk_refusal
from benchwire.foundation.workers import Executor

logger = logging.getLogger(__name__)

FOLD_ROWS = 20_000
"""Live readings of a group that are kept in the database before they become a file."""
_MOST_FOLD_ROWS = 200_000
_FOLD_SHARE = 50
KEPT_ROWS = 1_000
"""The newest of them stay, so that late values still find their row."""
MOST_LIVE_DEVICES = 1_000
MOST_SEGMENTS = 10
"""Files of live readings of a group before they become one."""
# Files that cannot be read stay so; room on a disk may be made at any moment.
_RETRY_SECONDS, _DISK_RETRY_SECONDS = 30.0, 2.0
_SIGNALS_AT_ONCE = 16
_CLOSE_SECONDS = 2.0
_URGENT, _USUAL, _WHOLE_VIEW, _OTHERS = range(4)


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
    live_folder
        Where the files of live readings are kept.
    rescan_seconds
        How often it is looked for what is due.
    """

    def __init__(
        self,
        recordings: Recordings,
        live_folder: Path,
        store: ReadingStore,
        executor: Executor,
        clock: Clock,
        *,
        rescan_seconds: float,
        fold_rows: int = FOLD_ROWS,
    ) -> None:
        self.recordings = recordings
        self._live = LiveFolder(live_folder, store)
        self._store = store
        self._executor = executor
        self._clock = clock
        self._rescan_seconds = rescan_seconds
        self._fold_rows = fold_rows
        self._writing: dict[str, threading.Lock] = {}
        self._shelves: dict[Key, Shelf] = {}
        self._live_keys: frozenset[Key] = frozenset()
        self._lock = threading.RLock()
        self._orders: Orders[_Order] = Orders()
        self._closing = threading.Event()
        self._reading: _Order | None = None
        self._signals_failed_at: dict[str, float] = {}
        self._thread = threading.Thread(target=self._build_for_ever, name="battery", daemon=True)

    # -- life -------------------------------------------------------------------------------

    def start(self) -> None:
        """Take up the live readings, look at the recordings and begin to read them."""
        for folder in (self.recordings.cache, self._live.folder):
            folder.mkdir(parents=True, exist_ok=True)
        self._live_keys = frozenset(self._live.keys())
        self._thread.start()

    def close(self) -> None:
        """End the reading; what is half read is left for the next start."""
        self._closing.set()
        self._orders.close(IngestFailed("The server is shutting down"))
        self._thread.join(_CLOSE_SECONDS)
        for shelf in self._shelves.values():
            if shelf.timeline is not None and shelf.timeline.file is not None:
                shelf.timeline.file.close()

    # -- what there is ----------------------------------------------------------------------

    def has(self, device_id: str, group: Group) -> bool:
        """Whether a device may have rows of a group."""
        return self.recordings.has(device_id, group) or (device_id, group.name) in self._live_keys

    def all_devices(self) -> list[str]:
        """Return every device, in order."""
        return sorted({*self.recordings.all(), *(device_id for device_id, _ in self._live_keys)})

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

    def newest(self, device_id: str, group: Group, most: int = 1) -> Rows:
        """Return the newest rows that are known without waiting; none if there are none."""
        return self._shelf((device_id, group.name)).newest(most)

    def rows_per_field(self, device_id: str, group: Group) -> dict[str, int]:
        """Return how many samples each field has, once they were read."""
        shelf = self._shelf((device_id, group.name))
        with shelf.lock:
            return shelf.rows_per_field()

    def recorded(self, device_id: str, group: Group) -> Recorded | None:
        """Return what was noted while the recording of a device's group was read."""
        return self._shelf((device_id, group.name)).recorded

    def current(self, device_id: str, group: Group) -> Timeline | None:
        """Return the rows as they were read last; what is stale is read anew meanwhile."""
        key = (device_id, group.name)
        shelf = self._shelf(key)
        if not self._is_fresh(key, shelf) and not self._failed_lately(shelf):
            self._orders.ask(_Order(*key), _URGENT)
        return shelf.timeline

    def version(self, device_id: str, group: Group) -> object:
        """Return what changes whenever the rows of a device's group do."""
        return self._shelf((device_id, group.name)).version

    # -- what is asked for ------------------------------------------------------------------

    def request(self, device_id: str, group: Group) -> "Future[Timeline]":
        """Return the promise of the rows of a device's group as its files are now.

        Raises
        ------
        DeviceUnknown
            There is no such device, or it has no signal of that group.
        RecordingsAway
            Nobody can tell, as the disk with the recordings is away.
        """
        if not self.has(device_id, group):
            raise RecordingsAway if self.recordings.is_away else DeviceUnknown(group.name)
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
        if not self.recordings.is_read(device_id, name):
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
        of_files = self.recordings.signal(device_id, group.by_field[field].name)
        return SignalSource(of_files.recorded, live, tail)

    # -- live readings ----------------------------------------------------------------------

    def append(self, device_id: str, found: Mapping[str, Sequence[Reading]]) -> dict[str, Appended]:
        """Store readings durably, show them at once, and say what became of them, by group.

        Parameters
        ----------
        found
            Readings by the name of their group.
        """
        with self._lock:
            live = {device for device, _ in self._live_keys}
            if device_id not in live and len(live) >= MOST_LIVE_DEVICES:
                raise TooManyDevices(MOST_LIVE_DEVICES)
        shelves = {name: self._shelf((device_id, name)) for name in found}
        rows = {name: rows_of(items, GROUPS[name]) for name, items in found.items()}
        # One writer of a device at a time: memory and database see its readings in one order, and
        # whoever reads waits for neither.
        with self._writer_of(device_id):
            self._store.add(device_id, found)
            with self._lock:
                self._live_keys |= {(device_id, name) for name in found}
            appended = {}
            for name, shelf in shelves.items():
                with shelf.lock:
                    appended[name] = shelf.take(rows[name])
        for name, shelf in shelves.items():
            if self._is_long(shelf):
                self._orders.ask(_Order(device_id, name), _USUAL)
        return appended

    def _writer_of(self, device_id: str) -> threading.Lock:
        with self._lock:
            return self._writing.setdefault(device_id, threading.Lock())

    def discard(self, path: Path) -> None:
        """Have a file that turned out to be damaged made anew."""
        self.recordings.forget(path)
        with self._lock:
            shelves = list(self._shelves.items())
        for key, shelf in shelves:
            with shelf.lock:
                is_own = shelf.timeline is not None and shelf.timeline.file is not None
                is_own = is_own and shelf.timeline.file.path == path  # type: ignore[union-attr]
                if is_own or path in shelf.segments:
                    self.recordings.forget(self._build_order(key, shelf).live_path)
                    shelf.timeline = shelf.made_of = None
                    shelf.version += 1

    def _is_long(self, shelf: Shelf) -> bool:
        """Whether there are enough readings for a file; the longer it all is, the more it takes."""
        live = 0 if shelf.timeline is None else len(shelf.timeline) // _FOLD_SHARE
        enough = min(max(self._fold_rows, live), max(self._fold_rows, _MOST_FOLD_ROWS))
        return shelf.unfolded >= enough + KEPT_ROWS

    def _shelf(self, key: Key) -> Shelf:
        with self._lock:
            shelf = self._shelves.get(key)
            if shelf is None:
                shelf = self._shelves[key] = Shelf(Rows.none(len(GROUPS[key[1]].fields)))
        if not shelf.is_loaded:
            with shelf.lock:
                if not shelf.is_loaded:
                    shelf.tail = rows_of(tuple(self._store.all(*key)), GROUPS[key[1]])
                    shelf.segments = self._live.files(key)
                    shelf.is_loaded = True
        return shelf

    # -- building ---------------------------------------------------------------------------

    def _build_for_ever(self) -> None:
        while not self._closing.is_set():
            order = self._orders.next()
            try:
                if order is None:
                    if not self._order_what_is_due():
                        self._orders.wait(max(self._rescan_seconds, 0.2))
                elif order.is_signal:
                    self._read_signals(order)
                else:
                    self._keep(order)
            except Exception as error:  # noqa: BLE001 - whoever asks next must still be served
                told = self._told("what is due", error)
                if order is not None:
                    self._orders.keep(order, told)
                self._closing.wait(1.0)

    def _order_what_is_due(self) -> bool:
        """Order what nobody has asked for yet, and say whether there was anything."""
        due = False
        for priority, group in zip((_USUAL, _USUAL, _WHOLE_VIEW), GROUPS.values(), strict=True):
            for device_id in self.devices(group):
                key = (device_id, group.name)
                shelf = self._shelf(key)
                is_due = self._is_long(shelf) or not self._is_fresh(key, shelf)
                if is_due and not self._failed_lately(shelf):
                    self._orders.ask(_Order(*key), priority)
                    due = True
        for device_id, name in () if due else self._other_signals():
            self._orders.ask(_Order(device_id, name, is_signal=True), _OTHERS)
            due = True
        return due

    def _other_signals(self) -> Iterator[tuple[str, str]]:
        """Yield the signals of no group that are not read yet."""
        grouped = {signal.name for group in GROUPS.values() for signal in group.signals}
        now = self._clock.monotonic()
        for device_id, recording in self.recordings.all().items():
            if now - self._signals_failed_at.get(device_id, float("-inf")) < _RETRY_SECONDS:
                continue
            for name in sorted(set(recording.files) - grouped):
                if not self.recordings.is_read(device_id, name):
                    yield device_id, name

    def _build_order(self, key: Key, shelf: Shelf) -> work.BuildOrder:
        recording = self.recordings.all().get(key[0])
        if recording is not None:
            recording = work.of_group(recording, GROUPS[key[1]])
        return work.BuildOrder(
            *key, recording, self.recordings.cache, self.recordings.options, shelf.segments
        )

    def _is_fresh(self, key: Key, shelf: Shelf) -> bool:
        """Whether the timeline was made of the recording's files as they are now.

        Files of live readings do not count: the timeline holds their rows in memory as well until
        they are in its own.
        """
        made_of = self._build_order(key, shelf).recording
        return shelf.timeline is not None and shelf.made_of == made_of

    def _failed_lately(self, shelf: Shelf) -> bool:
        ago = self._clock.monotonic() - shelf.failed_at
        is_disk = isinstance(shelf.failure, DiskRefused)
        pause = _DISK_RETRY_SECONDS if is_disk else _RETRY_SECONDS
        return shelf.failure is not None and ago < pause

    def _keep(self, order: _Order) -> None:
        key = (order.device_id, order.name)
        shelf = self._shelf(key)
        self._reading = order
        try:
            timeline = self._build(key, shelf)
            if not self._is_fresh(key, shelf):
                # Whoever asked meanwhile means the files as they are since. Once only: a file that
                # is always written to would never be read to its end.
                timeline = self._build(key, shelf)
        except Exception as error:  # noqa: BLE001 - told to those who wait
            shelf.failure = self._told(f"{key[1]} of {key[0]}", error)
            shelf.failed_at = self._clock.monotonic()
            self._orders.keep(order, shelf.failure)
        else:
            shelf.failure = None
            self._orders.keep(order, timeline)
        finally:
            self._reading = None

    def _told(self, what: str, error: Exception) -> BenchwireError:
        """Return an error for those who wait; the log gets what they must not see."""
        if isinstance(error, OSError) and (refusal := disk_refusal(error)) is not None:
            error = refusal
        if not isinstance(error, BenchwireError):
            logger.error("%s cannot be read", what, exc_info=error)
            return IngestFailed("The recording cannot be read; the server's log has it")
        if not self._closing.is_set():
            logger.error("%s: %s", what, error.message)
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
        try:
            file = RowsFile(built.path, group.fields) if built.path is not None else None
        except FileDamaged as error:
            self.discard(error.path)
            built = self._run(work.build, order)
            file = RowsFile(built.path, group.fields) if built.path is not None else None
        with shelf.lock:
            shelf.segments = tuple(path for path in shelf.segments if path.exists())
            shelf.version += 1
            shelf.timeline = Timeline(group.fields, file, shelf.tail, version=shelf.version)
            # Of equal times the recording's row is shown; the other stays in the database.
            shelf.tail = shelf.timeline.tail
            shelf.recorded, shelf.made_of = built.recorded, order.recording
            shelf.live_values = built.live_values
            return shelf.timeline

    def _fold(self, key: Key, shelf: Shelf) -> None:
        """Make a file of the older live readings, and one of several once there are many."""
        with self._writer_of(key[0]):
            folded_us = self._live.fold(key, KEPT_ROWS)
            with shelf.lock:
                shelf.segments = self._live.files(key)
                shelf.folded_us = folded_us or shelf.folded_us
        if len(shelf.segments) > MOST_SEGMENTS:
            old, path = shelf.segments, self._live.next_file(key)
            self._run(work.join_live, old, path, GROUPS[key[1]].fields)
            with shelf.lock:
                shelf.segments = (path,)
            for file in old:
                file.unlink(missing_ok=True)

    def _read_signals(self, first: _Order) -> None:
        """Read a signal that was ordered, and others of that device with it."""
        device_id = first.device_id
        orders = self._orders.alike(
            first,
            lambda order: order.is_signal and order.device_id == device_id,
            _SIGNALS_AT_ONCE,
        )
        names = tuple(order.name for order in orders)
        outcome: BenchwireError | None = None
        try:
            # Once more for those who asked meanwhile, and no more than that, as for rows.
            for _ in range(2):
                if not self._read_due(device_id, names):
                    break
        except Exception as error:  # noqa: BLE001 - told to those who wait
            outcome = self._told(f"a signal of {device_id}", error)
            self._signals_failed_at[device_id] = self._clock.monotonic()
        for order in orders:
            self._orders.keep(order, outcome)

    def _read_due(self, device_id: str, names: Sequence[str]) -> bool:
        """Read those signals that are not read as they are now, and say whether there were any."""
        recording = self.recordings.all().get(device_id)
        files = {} if recording is None else recording.files
        due = [name for name in names if name in files]
        due = [name for name in due if not self.recordings.is_read(device_id, name)]
        if recording is None or not due:
            return False
        self._run(
            work.build_signals, recording, due, self.recordings.cache, self.recordings.options
        )
        self.recordings.note_read(recording, due)
        return True

    def _run(self, function: Any, *arguments: Any, **more: Any) -> Any:
        return self._executor.submit(function, *arguments, stop=self._closing, **more).result()
