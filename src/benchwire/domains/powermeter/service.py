"""The power meters of the bench: what was measured, how each is, and how each is to work."""

import contextlib
import logging
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from benchwire.domains.powermeter.alarms import AlarmEvent
from benchwire.domains.powermeter.charging import Session, session_id, session_start
from benchwire.domains.powermeter.config import MeterConfig, config_of
from benchwire.domains.powermeter.errors import (
    ConfigInvalid,
    MeterDeclared,
    MeterUnknown,
    NoReadings,
    PortTaken,
    SessionReadingsGone,
    SessionUnknown,
)
from benchwire.domains.powermeter.live import LiveFeed
from benchwire.domains.powermeter.meter import Meter, Past, energy_json
from benchwire.domains.powermeter.periods import LocalTime, Window, window
from benchwire.domains.powermeter.protocol import SCREENS
from benchwire.domains.powermeter.readings import CHARTED, QUANTITIES, Reading, Readings
from benchwire.domains.powermeter.recorder import Recorder
from benchwire.domains.powermeter.store import Buckets, MeterRecord, PowerStore
from benchwire.foundation.clock import SECOND, Clock
from benchwire.foundation.errors import BenchwireError
from benchwire.foundation.instruments.ports import all_serial_ports, is_serial_device
from benchwire.foundation.keeper import Keeper
from benchwire.foundation.samples.names import SampleLink
from benchwire.foundation.samples.store import Samples
from benchwire.foundation.streams import Hub

logger = logging.getLogger(__name__)

METER_ITEM, SESSION_ITEM = "meter", "session"
"""What both are called in lists over all domains."""

READER = "benchwire.domains.powermeter.holding:Holding"
WATCH_SECONDS = 0.25
PURGE_SECONDS = 15.0
# Deleted only this long after it has left every window, so that nobody is reading it.
PURGE_MARGIN_SECONDS = 120
PURGE_STEADY_SECONDS = 900
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")


class Listener(Protocol):
    """Somebody outside who is told of alarms."""

    def alarm(self, meter: Meter, event: AlarmEvent) -> None:
        """Take an alarm raised or cleared; returns at once."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Readings of a window, to be read piece by piece."""

    window: Window
    local: LocalTime
    parts: Iterator[Readings]


class PowerMeters:
    """All meters, by name; the first is the one meant where none is named.

    Parameters
    ----------
    declared
        Ports from the settings, each with a meter of its own.
    is_expected
        Whether somebody has named them, so that one that was never there is worth an alarm.
    beginning
        Configuration, without a port, that a new meter begins with.
    samples
        A session is named with the samples that its meter is named with when it begins.
    owner_at
        Says which domain talks to what is at a port, None if none is known to.
    listeners
        Told of every alarm.
    """

    def __init__(
        self,
        store: PowerStore,
        clock: Clock,
        hub: Hub,
        *,
        declared: Sequence[str],
        is_expected: bool,
        beginning: Mapping[str, Any],
        samples: Samples,
        owner_at: Callable[[str], str | None],
        listeners: Sequence[Listener] = (),
    ) -> None:
        self.store = store
        self.hub = hub
        self._clock = clock
        self._declared = tuple(dict.fromkeys(declared))
        self._is_expected = is_expected
        self._beginning = dict(beginning)
        self._keeper: Keeper[Meter] = Keeper(READER)
        self._samples = samples
        self._owner_at = owner_at
        self._listeners = tuple(listeners)
        # Held while a change is made, which may wait for the disk; readers use the other.
        self._changing = threading.Lock()
        self._lock = threading.Lock()
        self._meters: dict[str, Meter] = {}
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="power meters", daemon=True)

    # -- life -------------------------------------------------------------------------------

    def start(self) -> None:
        """Take up every meter where the last life of the server left it."""
        known = self.store.all_meters()
        records = [
            self._declared_record(port, known) or self._new_record(port, None)
            for port in self._declared
        ]
        taken = {record.id for record in records}
        records += [
            record for record in known if record.declared_port is None and record.id not in taken
        ]
        for record in records:
            self._begin(record, self._past_of(record.id))
        self._watcher.start()

    def hurry(self) -> None:
        """Wait no longer than a moment for what hangs, as the server is to end."""
        self._keeper.hurry()

    def close(self) -> None:
        """Let every port go; what was read is on the disk afterwards."""
        self._over.set()
        if self._watcher.is_alive():
            self._watcher.join(5)
        self._keeper.close(until_in_order=False)
        closing = [threading.Thread(target=meter.close) for meter in self.all()]
        for thread in closing:
            thread.start()
        for thread in closing:
            thread.join()

    def _declared_record(self, port: str, known: Sequence[MeterRecord]) -> MeterRecord | None:
        """Return the meter of a port in the settings: by it, or added at it before."""
        for record in known:
            if record.declared_port == port:
                return record
        for record in known:
            if record.declared_port is None and record.config.get("port") == port:
                self.store.declare(record.id, port)
                return record
        return None

    def _new_record(self, port: str, name: str | None) -> MeterRecord:
        config = config_of({**self._beginning, "port": port})
        taken = {record.name for record in self.store.all_meters()}
        if name is None:
            numbers = range(1, len(taken) + 2)
            name = next(free for free in (f"meter{n}" for n in numbers) if free not in taken)
        declared_port = port if port in self._declared else None
        return self.store.add_meter(name, declared_port, config.model_dump())

    def _past_of(self, meter_id: int) -> Past:
        return Past(
            self.store.newest(meter_id),
            self.store.open_session(meter_id),
            tuple(self.store.standing_alarms(meter_id)),
        )

    def _begin(self, record: MeterRecord, past: Past) -> Meter:
        def append(
            readings: list[Reading], sessions: Any, events: list[AlarmEvent], *, again: bool
        ) -> Any:
            return self.store.append_later(
                record.id,
                readings,
                sessions,
                events,
                again=again,
                on_session=lambda connection, session: self._samples.pass_on(
                    connection,
                    (METER_ITEM, record.name),
                    (SESSION_ITEM, session_id(record.name, session.started_at)),
                ),
            )

        meter = Meter(
            record.id,
            record.name,
            config_of(record.config),
            past,
            clock=self._clock,
            recorder=Recorder(append, self._clock, past.newest),
            feed=LiveFeed(self.hub, self._clock, record.id, record.name),
            keeper=self._keeper,
            on_event=self._tell,
            owner_at=self._owner_at,
            # Also one at a port that somebody has chosen for it.
            is_expected=self._is_expected or record.declared_port != record.config["port"],
        )
        meter.start()
        with self._lock:
            self._meters[record.name] = meter
        return meter

    def _tell(self, meter: Meter, event: AlarmEvent) -> None:
        for listener in self._listeners:
            listener.alarm(meter, event)

    def _watch(self) -> None:
        purge_at = self._clock.monotonic()
        while not self._over.wait(WATCH_SECONDS):
            is_purge_due = self._clock.monotonic() >= purge_at
            if is_purge_due:
                purge_at = self._clock.monotonic() + PURGE_SECONDS
            for meter in self.all():
                try:
                    meter.look_after()
                    # A clock that has leapt may leap back; nothing is deleted on its word alone.
                    if is_purge_due and meter.stamps.steady_s > PURGE_STEADY_SECONDS:
                        margin = PURGE_MARGIN_SECONDS * SECOND
                        self.store.purge_later(meter.id, self._cutoff(meter) - margin)
                except Exception:
                    # One meter's trouble must not leave the others unwatched.
                    logger.exception("looking after %s failed", meter.name)

    # -- the meters -------------------------------------------------------------------------

    def all(self) -> list[Meter]:
        """Return every meter, the first one first."""
        with self._lock:
            return list(self._meters.values())

    def meter(self, name: str | None = None) -> Meter:
        """Return a meter by its name, or the first.

        Raises
        ------
        MeterUnknown
            There is none of that name.
        """
        with self._lock:
            found = self._meters.get(name) if name else next(iter(self._meters.values()), None)
        if found is None:
            raise self._unknown(name)
        return found

    def _unknown(self, name: str | None) -> MeterUnknown:
        names = ", ".join(meter.name for meter in self.all())
        return MeterUnknown(f"There is no meter called {name!r:.60}", hint=f"There are: {names}")

    def add(self, port: str, name: str | None) -> Meter:
        """Take up one more meter.

        Raises
        ------
        ConfigInvalid, PortTaken
            The name or the port cannot be used.
        """
        with self._changing:
            if name is not None and (
                not _NAME.fullmatch(name)
                or any(record.name == name for record in self.store.all_meters())
            ):
                raise ConfigInvalid(
                    f"name: {name!r:.60} is already in use, or not a valid name",
                    hint="Up to 40 letters, digits, - and _, used by no meter before.",
                )
            self._check_port(port, None)
            return self._begin(self._new_record(port, name), Past())

    def remove(self, name: str) -> None:
        """Forget a meter that the settings do not name, and everything it measured.

        Raises
        ------
        MeterUnknown, MeterDeclared
            It is not there, or comes from the settings.
        """
        with self._changing:
            record = next((item for item in self.store.all_meters() if item.name == name), None)
            if record is None:
                raise self._unknown(name)
            if record.declared_port in self._declared:
                raise MeterDeclared(
                    f"{name} comes from the settings", hint="Remove its port there."
                )
            self.store.remove_meter(record.id)
            with self._lock:
                meter = self._meters.pop(name, None)
            if meter is not None:
                meter.let_go()
                # What came until its port was free; at the latest the next meter does away with it.
                with contextlib.suppress(BenchwireError):
                    self.store.remove_meter(record.id)

    def configure(self, name: str | None, changes: Mapping[str, Any]) -> MeterConfig:
        """Change a meter's configuration, all or nothing; it is on the disk and in force.

        Raises
        ------
        ConfigInvalid, PortTaken
            A value cannot be used; nothing has changed.
        """
        with self._changing:
            meter = self.meter(name)
            config = meter.config.changed(changes)
            if config.port != meter.config.port:
                self._check_port(config.port, meter)
            self.store.save_config(meter.id, config.model_dump())
            meter.apply(config)
            return config

    def ports(self) -> list[dict[str, Any]]:
        """Return the serial ports of this computer and of the settings, and who is read there."""
        found = {port.path: port.serial_number for port in all_serial_ports()}
        for path in self._declared:
            found.setdefault(path, None)
        users = {meter.config.port: meter.name for meter in self.all()}
        return [
            {"port": path, "serial_number": number, "meter": users.get(path)}
            for path, number in found.items()
        ]

    def _check_port(self, port: str, asking: Meter | None) -> None:
        if port not in self._declared and not is_serial_device(port):
            raise ConfigInvalid(
                f"port: {port!r:.120} is no serial port of this computer",
                hint="GET /api/ports lists them. The port in use was kept.",
            )
        for other in self.store.all_meters():
            is_at_rest = other.declared_port not in {None, *self._declared}
            is_own = asking is not None and other.id == asking.id
            if is_at_rest or is_own:
                continue
            if _resolved(other.config["port"]) == _resolved(port):
                raise PortTaken(
                    f"port: {port!r:.120} is read as {other.name}", hint="Choose another port."
                )

    # -- what was measured ------------------------------------------------------------------

    def data(self, period: str, name: str | None = None) -> Stored:
        """Return all readings of a period that ends now."""
        meter = self.meter(name)
        asked = window(period, meter.stamps.now())
        return Stored(
            asked, LocalTime.at(asked.end), self.store.walk(meter.id, self._kept(meter, asked))
        )

    def latest(self, name: str | None = None) -> tuple[Reading, LocalTime, Meter]:
        """Return the newest reading on the disk, also one older than the retention.

        Raises
        ------
        NoReadings
            There is none.
        """
        meter = self.meter(name)
        newest = meter.recorder.newest
        if newest is None:
            raise NoReadings("No reading is stored", hint="GET /api/status says how the meter is.")
        return newest, LocalTime.at(meter.stamps.now()), meter

    def statistics(self, period: str, name: str | None = None) -> dict[str, Any]:
        """Return count, extremes and means of a period, with its energy and charge.

        Raises
        ------
        NoReadings
            There is none in it.
        """
        meter = self.meter(name)
        kept = self._kept(meter, window(period, meter.stamps.now()))
        figures = self.store.figures(meter.id, kept)
        ends = self.store.ends_of(meter.id, kept)
        if not figures.count or ends is None:
            raise NoReadings(f"No reading is stored of the last {period}")
        return {
            "period": period,
            "sample_count": figures.count,
            **{
                key: {
                    "min": low / scale,
                    "max": high / scale,
                    "avg": total / figures.count / scale,
                }
                for key, scale, low, high, total in zip(
                    CHARTED,
                    (QUANTITIES[index].scale for index in range(len(CHARTED))),
                    figures.low,
                    figures.high,
                    figures.total,
                    strict=True,
                )
            },
            "energy": energy_json(ends[1].totals.since(ends[0].totals)),
        }

    def status(self, name: str | None = None) -> dict[str, Any]:
        """Return how a meter is and what is stored of it."""
        meter = self.meter(name)
        counts, now = meter.counts, meter.stamps.now()
        local = LocalTime.at(now)
        ends = self.store.ends_of(meter.id, Window(self._cutoff(meter), now))
        count = 0 if ends is None else round(ends[1].totals.number - ends[0].totals.number) + 1
        return {
            **meter.state(),
            "running": not self._over.is_set(),
            "data_count": count,
            "oldest_data": ends and local.text(ends[0].at),
            "newest_data": ends and local.text(ends[1].at),
            "retention_minutes": meter.config.data_retention_minutes,
            "age_s": meter.age,
            "reconnects": counts.reconnects,
            "frame_errors": counts.frame_errors,
            "missed_polls": counts.missed,
            "last_read_ms": meter.last_read_ms,
            "waiting_readings": meter.recorder.waiting,
            "dropped_readings": meter.recorder.dropped,
            "clock_ahead_s": meter.stamps.ahead_s,
        }

    def chart(self, period: str, buckets: int, name: str | None = None) -> tuple[Window, Buckets]:
        """Return a period in steps, each with the smallest and largest values in it."""
        meter = self.meter(name)
        asked = window(period, meter.stamps.now())
        return asked, self.store.buckets(meter.id, self._kept(meter, asked), buckets)

    def samples_of(self, name: str) -> list[SampleLink]:
        """Return what a meter measures."""
        return self._samples.of_item(METER_ITEM, name)

    def sessions(self, limit: int, name: str | None = None) -> list[Session]:
        """Return charges, newest first."""
        return self.store.newest_sessions(self.meter(name).id, limit)

    def session(self, public_id: str) -> tuple[Meter, Session]:
        """Return a charge by its public id, and the meter it was on.

        Raises
        ------
        SessionUnknown, MeterUnknown
            There is none.
        """
        found = session_start(public_id)
        if found is None:
            raise SessionUnknown(f"{public_id!r:.80} is no id of a session")
        meter = self.meter(found[0])
        session = self.store.session(meter.id, found[1])
        if session is None:
            raise SessionUnknown(f"There is no session {public_id!r:.80}")
        return meter, session

    def oldest_reading(self, meter: Meter) -> int | None:
        """Return when the oldest reading still stored was taken, in microseconds since 1970."""
        return self.store.oldest(meter.id)

    def session_readings(self, meter: Meter, session: Session) -> Iterator[Readings]:
        """Yield the readings of a charge piece by piece, all of them.

        Raises
        ------
        SessionReadingsGone
            Some have been deleted, perhaps since the first piece.
        """
        number = 0
        for part in self.store.walk(meter.id, Window(session.started_at, session.active_at)):
            number += len(part)
            yield part
        if number != session.number:
            raise SessionReadingsGone

    def alarms(self, limit: int, name: str | None = None) -> list[AlarmEvent]:
        """Return alarms raised and cleared, newest first."""
        return self.store.newest_events(self.meter(name).id, limit)

    def _cutoff(self, meter: Meter) -> int:
        retention = meter.config.data_retention_minutes * 60 * SECOND
        return meter.stamps.now() - retention

    def _kept(self, meter: Meter, asked: Window) -> Window:
        """Return the part of a window that lies within the meter's retention."""
        return Window(max(asked.start, self._cutoff(meter)), asked.end)

    # -- the meter itself -------------------------------------------------------------------

    def recording(self, name: str | None = None) -> list[tuple[float, float]]:
        """Return what the meter recorded by itself, V and A; polling pauses meanwhile."""
        return self.meter(name).recording()

    def turn_screen(self, action: str, name: str | None = None) -> None:
        """Show the meter's previous or next page, or rotate its screen.

        Raises
        ------
        ConfigInvalid
            There is no such action.
        """
        if action not in SCREENS:
            raise ConfigInvalid(f"action: {action!r:.40} is not one of {', '.join(SCREENS)}")
        self.meter(name).turn_screen(action)


def _resolved(port: str) -> str:
    with contextlib.suppress(OSError, RuntimeError, ValueError):
        return str(Path(port).resolve())
    return port
