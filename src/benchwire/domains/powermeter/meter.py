"""One meter at work: asked on schedule, watched, recorded, and shown live."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from benchwire.domains.powermeter import driver
from benchwire.domains.powermeter.alarms import STALE, WATCHED, AlarmEvent, AlarmWatch
from benchwire.domains.powermeter.charging import Session, SessionWatch, session_id
from benchwire.domains.powermeter.config import MeterConfig
from benchwire.domains.powermeter.errors import (
    FrameDamaged,
    MeterSilent,
    MeterUnusable,
    RecordingUnderWay,
)
from benchwire.domains.powermeter.integration import steps
from benchwire.domains.powermeter.live import LiveFeed
from benchwire.domains.powermeter.polling import Poller
from benchwire.domains.powermeter.protocol import Frame, Identity
from benchwire.domains.powermeter.readings import Reading, Totals
from benchwire.domains.powermeter.recorder import Recorder
from benchwire.domains.powermeter.stamps import SLEW, Stamps
from benchwire.foundation.clock import SECOND, Clock, moment, utc_text
from benchwire.foundation.errors import BenchwireError
from benchwire.foundation.instruments.link import Link
from benchwire.foundation.instruments.transport import PortHeld, Transport

logger = logging.getLogger(__name__)

T = TypeVar("T")

# What lies between two readings is known if hardly any were missed.
GAP_PERIODS, SHORTEST_GAP_SECONDS = 5, 2.0
# Wall and monotonic clock differ by more only where somebody has set the one.
_CLOCK_STEP_SECONDS = 1.0
_LEAD_WORTH_TELLING_SECONDS = 60.0
_ANSWER_SECONDS = 30.0
_CONDITIONS: dict[type[BenchwireError], str] = {
    MeterSilent: "no answer",
    FrameDamaged: "damaged answers",
    MeterUnusable: "no meter",
    PortHeld: "port held",
}


@dataclass(frozen=True, slots=True)
class Past:
    """What is on the disk of a meter when the server starts."""

    newest: Reading | None = None
    open_session: Session | None = None
    standing_alarms: tuple[AlarmEvent, ...] = ()


class Meter:
    """A meter, from its port to the recorder.

    Parameters
    ----------
    id, name
        As stored.
    open_port
        Opens a serial port by its path.
    recorder
        Takes what is read.
    on_event
        Called with every alarm raised or cleared.
    is_expected
        Whether it is a fault that the meter has never been there.
    """

    def __init__(
        self,
        meter_id: int,
        name: str,
        config: MeterConfig,
        past: Past,
        *,
        clock: Clock,
        recorder: Recorder,
        feed: LiveFeed,
        open_port: Callable[[str], Transport],
        on_event: Callable[["Meter", AlarmEvent], None],
        is_expected: bool = True,
    ) -> None:
        self.id, self.name = meter_id, name
        self.config = config
        self.identity: Identity | None = None
        self.latest = past.newest
        self.frame_errors = 0
        self.last_read_ms: float | None = None
        self.recorder = recorder
        self.stamps = Stamps(clock, None if past.newest is None else past.newest.at)
        self.feed = feed
        self._clock = clock
        self._open_port = open_port
        self._on_event = on_event
        self._is_expected = is_expected
        self._recording = threading.Lock()
        self._age_told_at = float("-inf")
        self._lock = threading.RLock()
        self._read_at: float | None = None
        self._reconnects_before = 0
        self._failure: BenchwireError | None = None
        self._shown: object = None
        self._started_at = self.stamps.now()
        self._sessions = SessionWatch(
            config.session_threshold_a,
            config.session_end_delay_s,
            config.polling_interval,
            past.open_session,
        )
        self._alarms = AlarmWatch(
            config.limits, {event.kind: event for event in past.standing_alarms}
        )
        self._link = self._new_link()
        self._poller = Poller(name, self._poll, config.polling_interval, clock)

    # -- state ------------------------------------------------------------------------------

    @property
    def is_connected(self) -> bool:
        """Whether the port is open and the meter's last answer was good."""
        return self._link.connected and self._failure is None

    @property
    def last_error(self) -> str | None:
        """Why it is not connected or not recorded, None if all is well."""
        failure = self._link.failure or self._failure
        if failure is not None:
            return failure.message
        ahead = self.stamps.ahead_s
        if ahead > _LEAD_WORTH_TELLING_SECONDS:
            return f"The computer's clock was set back; stamps are {ahead:.0f} s ahead of it"
        return self.recorder.last_error

    @property
    def condition(self) -> str:
        """How it stands with the meter in a word or two, for people."""
        failure = self._link.failure or self._failure
        if failure is not None:
            return _CONDITIONS.get(type(failure), "unplugged")
        return "connected" if self._link.connected else "connecting"

    @property
    def reconnects(self) -> int:
        """How often a port was opened again."""
        return self._reconnects_before + max(0, self._link.opened - 1)

    @property
    def missed_polls(self) -> int:
        """Polls on schedule that brought nothing."""
        return self._poller.missed

    @property
    def age(self) -> float | None:
        """Seconds since the newest reading on the disk was taken, None if there is none."""
        newest = self.recorder.newest
        return None if newest is None else max(0, self.stamps.now() - newest.at) / SECOND

    @property
    def is_stale(self) -> bool:
        """Whether the newest reading on the disk is too old."""
        return STALE in self._alarms.raised

    @property
    def open_session(self) -> Session | None:
        """The charge under way."""
        return self._sessions.open

    @property
    def standing_alarms(self) -> list[AlarmEvent]:
        """Alarms that are raised."""
        with self._lock:
            return list(self._alarms.raised.values())

    def state(self) -> dict[str, Any]:
        """Return how the meter is, as plain values."""
        identity = self.identity
        return {
            "meter": self.name,
            "port": self.config.port,
            "polling_interval": self.config.polling_interval,
            "connected": self.is_connected,
            "condition": self.condition,
            "last_error": self.last_error,
            "stale": self.is_stale,
            "alarms": sorted(event.kind for event in self.standing_alarms),
            "product": identity and identity.product,
            "version": identity and identity.version,
            "serial": identity and identity.serial,
            "runs": identity and identity.runs,
        }

    def greeting(self) -> bytes:
        """Return what is now as events, for a viewer who has just come."""
        first = self.feed.event("state", self.state())
        first += self.feed.event("age", {"age_s": self.age})
        if self.open_session is not None:
            first += self.feed.event("session", session_json(self.open_session, self.name))
        return first + self.feed.newest()

    # -- orders -----------------------------------------------------------------------------

    def apply(self, config: MeterConfig) -> None:
        """Work by another configuration from now on."""
        with self._lock:
            before, self.config = self.config, config
            self._sessions.threshold = config.session_threshold_a
            self._sessions.end_delay = config.session_end_delay_s
            self._sessions.interval = config.polling_interval
            self._alarms.limits = config.limits
            old = self._link if before.port != config.port else None
            if old is not None:
                self._reconnects_before += max(0, old.opened - 1)
                self._failure = None
                self._link = self._new_link()
        if old is not None:
            old.close()
            self._poller.wake()
        self._poller.set_interval(config.polling_interval)
        self.look_after()

    def recording(self) -> list[tuple[float, float]]:
        """Return what the meter recorded by itself, V and A; polling pauses meanwhile.

        Raises
        ------
        RecordingUnderWay
            It is being read already; once more would keep the meter from measuring for longer.
        """
        if not self._recording.acquire(blocking=False):
            raise RecordingUnderWay(
                "The recording is being read already", hint="Ask again in a few seconds."
            )

        def read(transport: Transport) -> list[tuple[float, float]]:
            with self._silence.kept():
                return driver.recording(transport)

        try:
            return self._ask(read)
        finally:
            self._recording.release()

    def turn_screen(self, action: str) -> None:
        """Show the previous or next page on the meter's screen, or rotate it."""
        self._ask(lambda transport: driver.turn_screen(transport, action))

    def _ask(self, work: Callable[[Transport], T]) -> T:
        try:
            return self._link.run(work).result(_ANSWER_SECONDS)
        except TimeoutError as error:
            raise MeterSilent from error

    def look_after(self) -> None:
        """Send, settle, and raise what is due by the clock alone; called a few times a second."""
        now = self.stamps.now()
        with self._lock:
            settled = self._sessions.settle(now)
            events = self._look_at_age(now)
        self._note(None, [] if settled is None else [settled], events)
        self.recorder.push()
        self.feed.flush()
        self._tell_age()
        state = self.state()
        if state != self._shown:
            self._shown = state
            self.feed.tell("state", state)

    def _tell_age(self) -> None:
        now = self._clock.monotonic()
        if now - self._age_told_at >= 1.0:
            self._age_told_at = now
            self.feed.tell("age", {"age_s": self.age})

    def close(self) -> None:
        """Let the port go and see what was read onto the disk."""
        self._poller.close()
        self._link.close()
        self.recorder.drain(5.0)

    # -- polling ----------------------------------------------------------------------------

    def _new_link(self) -> Link:
        port = self.config.port
        self._silence = silence = driver.Silence(self._clock)

        def greet(transport: Transport) -> None:
            with silence.kept():
                driver.greet(transport)

        return Link(
            port,
            lambda: self._open_port(port),
            self._clock,
            on_open=greet,
            probe=driver.look,
        )

    def _poll(self) -> bool:
        link = self._link
        try:
            frame, at = link.run(self._read).result()
        except BenchwireError as error:
            if link is self._link:
                self._failure = error
                self.look_after()
            return False
        if link is not self._link:
            return False
        was_lost, self._failure = self._failure is not None, None
        self._take(frame, at)
        if was_lost:
            self.look_after()
        return True

    def _read(self, transport: Transport) -> tuple[Frame, int]:
        """Ask for a reading; a damaged answer is dropped, counted, and asked for once more."""
        began = self._clock.monotonic()
        with self._silence.kept():
            try:
                frame = driver.read(transport)
            except FrameDamaged as error:
                self.frame_errors += 1
                logger.warning("%s: %s", self.name, error.message)
                try:
                    frame = driver.read(transport)
                except FrameDamaged:
                    self.frame_errors += 1
                    raise
        at = self.stamps.next()
        self.last_read_ms = (self._clock.monotonic() - began) * 1e3
        return frame, at

    def _take(self, frame: Frame, at: int) -> None:
        with self._lock:
            reading = self._reading_of(frame, at)
            self.identity = frame.identity
            if not self.recorder.has_room():
                # Left out as if it had not been read, so that totals and what is stored agree.
                return
            self.latest, self._read_at = reading, self._clock.monotonic()
            sessions = self._sessions.see(reading)
            events = self._alarms.see(
                at, {key: reading.value(index) for key, index in WATCHED.items()}
            )
        self._note(reading, sessions, events)
        self.feed.feed(reading)

    def _reading_of(self, frame: Frame, at: int) -> Reading:
        before = self.latest
        elapsed = None if self._read_at is None else self._clock.monotonic() - self._read_at
        if before is None:
            return Reading(at, frame.codes, True, Totals())
        seconds = (at - before.at) / SECOND
        longest = max(GAP_PERIODS * self.config.polling_interval, SHORTEST_GAP_SECONDS)
        follows_gap = (
            seconds > longest
            or (elapsed is not None and abs(seconds - elapsed) > _tolerance(elapsed))
            or (self.identity is not None and self.identity != frame.identity)
        )
        step = steps(
            np.array([before.at, at]),
            np.array([before.codes, frame.codes]),
            np.array([False, follows_gap]),
        )[1]
        return Reading(at, frame.codes, follows_gap, before.totals.plus(step.tolist()))

    def _look_at_age(self, now: int) -> list[AlarmEvent]:
        newest = self.recorder.newest
        if newest is None and not self._is_expected:
            return []
        # What was not read while the server was off is no fault of the meter.
        since = self._started_at if newest is None else max(newest.at, self._started_at)
        if self.is_stale and since == self._started_at:
            return []
        age = (now - since) / SECOND
        return self._alarms.see_age(now, age, self.config.polling_interval)

    def _note(
        self, reading: Reading | None, sessions: list[Session], events: list[AlarmEvent]
    ) -> None:
        if reading is not None or sessions or events:
            self.recorder.add(reading, sessions, events)
        for session in sessions:
            if session.is_at_an_end:
                self.feed.tell("session", session_json(session, self.name))
        for event in events:
            logger.warning("%s: %s %s", self.name, event.kind,
                           "raised" if event.is_raised else "cleared")  # fmt: skip
            self.feed.tell("alarm", event_json(event))
            self._on_event(self, event)


def _tolerance(elapsed: float) -> float:
    """Return how far stamps and elapsed time (s) may differ though nobody set the clock."""
    return _CLOCK_STEP_SECONDS + 2 * SLEW * elapsed


def session_json(session: Session, meter: str) -> dict[str, Any]:
    """Return a session as the API writes it: Wh and mAh from start to end, and how sure they are.

    ``wh`` and ``mah`` are integrated from the readings, ``meter_wh`` and ``meter_mah`` counted by
    the meter itself, also through ``gap_s``, the time without readings.
    """
    return {
        "id": session_id(meter, session.started_at),
        "start_utc": utc_text(moment(session.started_at)),
        "end_utc": utc_text(moment(session.active_at)),
        "duration_s": (session.active_at - session.started_at) / SECOND,
        "reason": session.reason,
        **energy_json(session.gained),
    }


def energy_json(gained: Totals) -> dict[str, Any]:
    """Return charge and energy in mAh and Wh."""
    return {
        "wh": gained.energy_ws / 3600,
        "mah": gained.charge_as / 3.6,
        "gap_s": gained.gap_s,
        "meter_wh": gained.counter_mwh / 1000,
        "meter_mah": gained.counter_mah,
    }


def event_json(event: AlarmEvent) -> dict[str, Any]:
    """Return an alarm as the API writes it."""
    return {
        "kind": event.kind,
        "raised": event.is_raised,
        "utc": utc_text(moment(event.at)),
        "value": event.value,
        "threshold": event.threshold,
    }
