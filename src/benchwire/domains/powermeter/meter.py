"""One meter at work: read in a process of its own, watched, recorded, and shown live."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchwire.domains.powermeter.alarms import STALE, WATCHED, AlarmEvent, AlarmWatch
from benchwire.domains.powermeter.charging import Session, SessionWatch, session_id
from benchwire.domains.powermeter.config import MeterConfig
from benchwire.domains.powermeter.errors import MeterSilent, RecordingUnderWay
from benchwire.domains.powermeter.integration import steps
from benchwire.domains.powermeter.live import LiveFeed
from benchwire.domains.powermeter.polled_port import Answer, Counts, PortState
from benchwire.domains.powermeter.protocol import Frame, Identity
from benchwire.domains.powermeter.readings import Reading, Totals
from benchwire.domains.powermeter.recorder import Recorder
from benchwire.domains.powermeter.stamps import SLEW, Stamps
from benchwire.foundation.clock import SECOND, Clock, moment, utc_text
from benchwire.foundation.companion import CompanionLost
from benchwire.foundation.errors import BenchwireError
from benchwire.foundation.instruments.transport import LinkLost
from benchwire.foundation.keeper import Keeper

logger = logging.getLogger(__name__)

# What lies between two readings is known if hardly any were missed.
GAP_PERIODS, SHORTEST_GAP_SECONDS = 5, 2.0
# Wall and monotonic clock differ by more only where somebody has set the one.
_CLOCK_STEP_SECONDS = 1.0
_LEAD_WORTH_TELLING_SECONDS = 60.0
_ANSWER_SECONDS = 30.0
_RELEASE_SECONDS = 5.0
# Who has not looked for so long stood still, and waits so long for what has come meanwhile.
_STANDSTILL_SECONDS, _CATCH_UP_SECONDS = 2.0, 1.0
_ASK_AGAIN = "The server reconnects automatically; ask again once it is connected."
# Until the process that reads it has had time to start, no reading of a meter is overdue.
_START_SECONDS = 10.0
# How soon a port that nobody has named may be another instrument's no more.
_LOOK_AGAIN_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Past:
    """What is on the disk of a meter when the server starts."""

    newest: Reading | None = None
    open_session: Session | None = None
    standing_alarms: tuple[AlarmEvent, ...] = ()


class Meter:
    """A meter, from what its port tells to the recorder.

    Parameters
    ----------
    id, name
        As stored.
    keeper
        Has its port read.
    recorder
        Takes what is read.
    on_event
        Called with every alarm raised or cleared.
    is_expected
        Whether it is a fault that the meter has never been there. If it is none, nothing is read
        before there is a port with no other domain's instrument.
    owner_at
        Says which domain talks to what is at a port, None if none is known to.
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
        keeper: Keeper["Meter"],
        on_event: Callable[["Meter", AlarmEvent], None],
        is_expected: bool = True,
        owner_at: Callable[[str], str | None] = lambda _: None,
    ) -> None:
        self.id, self.name = meter_id, name
        self.config = config
        self.identity: Identity | None = None
        self.latest = past.newest
        # Which meter the latest reading is of, None if that was before the server started.
        self._latest_of: Identity | None = None
        self.last_read_ms: float | None = None
        self.recorder = recorder
        self.stamps = Stamps(clock, None if past.newest is None else past.newest.at)
        self.feed = feed
        self._clock = clock
        self._keeper = keeper
        self._on_event = on_event
        self._is_expected = is_expected
        self._owner_at = owner_at
        self._look_again_at = float("-inf")
        self._recording = threading.Lock()
        self._age_told_at = float("-inf")
        self._lock = threading.RLock()
        self._read_at: float | None = None
        self._port = PortState()
        # What was counted at other ports and by other processes.
        self._counted_before = Counts()
        self._is_taken_up = False
        self._was_lost, self._missed_then = False, 0
        self._heard_at: float | None = None
        self._looked_at = clock.monotonic()
        self._catches_up, self._catch_up_until = False, float("-inf")
        self._shown: object = None
        self._read_since = self.stamps.now() + int(_START_SECONDS * SECOND)
        # The longest polling interval before the last change, and when that was.
        self._former_interval, self._changed_at = 0.0, -(2**63)
        self._sessions = SessionWatch(
            config.session_threshold_a,
            config.session_end_delay_s,
            config.polling_interval,
            past.open_session,
            None if past.newest is None else past.newest.at,
        )
        self._alarms = AlarmWatch(
            config.limits, {event.kind: event for event in past.standing_alarms}
        )

    # -- state ------------------------------------------------------------------------------

    @property
    def is_connected(self) -> bool:
        """Whether the port is open and the meter's last answer was good."""
        return self._port.is_connected

    @property
    def last_error(self) -> str | None:
        """Why it is not connected or not recorded, None if all is well."""
        if self._port.failure is not None:
            return self._port.failure
        ahead = self.stamps.ahead_s
        if ahead > _LEAD_WORTH_TELLING_SECONDS:
            return f"The computer's clock was set back; stamps are {ahead:.0f} s ahead of it"
        return self.recorder.last_error

    @property
    def condition(self) -> str:
        """How it stands with the meter in a word or two, for people."""
        return self._port.condition

    @property
    def counts(self) -> Counts:
        """What went wrong at its port since the server was started, and how often."""
        with self._lock:
            return self._counted_before.plus(self._port.counts)

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

    def start(self) -> None:
        """Have its port read, if somebody has named it."""
        if self._is_expected:
            self._take_up()

    def apply(self, config: MeterConfig) -> None:
        """Work by another configuration from now on."""
        with self._lock:
            before = self.config
            if before.polling_interval != config.polling_interval:
                newest = self.recorder.newest
                self._former_interval = self._interval_after(
                    self._changed_at if newest is None else newest.at
                )
                self._changed_at = self.stamps.now()
                # What was due while nobody polled cannot be told by the new interval.
                self._was_lost = False
            self.config = config
            self._sessions.threshold = config.session_threshold_a
            self._sessions.end_delay = config.session_end_delay_s
            self._sessions.interval = max(self._sessions.interval, config.polling_interval)
            self._alarms.limits = config.limits
            if before.port != config.port:
                self._is_expected = True
                self._begin_anew(PortState())
        if self._is_taken_up or self._is_expected:
            self._take_up()
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
        try:
            found: list[tuple[float, float]] = self._ask("recording")
            return found
        finally:
            self._recording.release()

    def turn_screen(self, action: str) -> None:
        """Show the previous or next page on the meter's screen, or rotate it."""
        self._ask("turn_screen", action)

    def _ask(self, method: str, *arguments: Any) -> Any:
        if (process := self._keeper.reached()) is None:
            raise LinkLost(self._port.failure or "The meter is not connected", hint=_ASK_AGAIN)
        try:
            return process.ask(method, self.key, *arguments).result(_ANSWER_SECONDS)
        except TimeoutError as error:
            raise MeterSilent from error
        except CompanionLost:
            raise LinkLost("The meter could not be asked", hint=_ASK_AGAIN) from None

    def look_after(self) -> None:
        """Send, settle, and raise what is due by the clock alone; called a few times a second."""
        self._look_for_port()
        now = self.stamps.now()
        with self._lock:
            is_behind = self._is_behind()
            settled = None if is_behind else self._sessions.settle(now)
            events = [] if is_behind else self._look_at_age(now)
        self._note(None, [] if settled is None else [settled], events)
        self.recorder.push()
        self.feed.flush()
        self._tell_age()
        state = self.state()
        if state != self._shown:
            self._shown = state
            self.feed.tell("state", state)

    def _is_behind(self) -> bool:
        """Whether readings may be waiting that were taken while the server stood still."""
        now = self._clock.monotonic()
        # Not twice in a row: on a computer that is always so slow nothing would ever be told.
        if now - self._looked_at > _STANDSTILL_SECONDS and not self._catches_up:
            self._catch_up_until = now + _CATCH_UP_SECONDS
        self._looked_at, self._catches_up = now, now < self._catch_up_until
        return self._catches_up

    def _tell_age(self) -> None:
        now = self._clock.monotonic()
        if now - self._age_told_at >= 1.0:
            self._age_told_at = now
            self.feed.tell("age", {"age_s": self.age})

    def close(self) -> None:
        """See what was read onto the disk, once nothing is read any more."""
        self.recorder.drain(5.0)

    def let_go(self) -> None:
        """Have its port let go for good."""
        with contextlib.suppress(BenchwireError, TimeoutError):
            self._keeper.release(self).result(_RELEASE_SECONDS)
        self.close()

    # -- its port ---------------------------------------------------------------------------

    @property
    def key(self) -> str:
        """What the process that reads it calls it by."""
        return str(self.id)

    @property
    def opening(self) -> tuple[str, str, float]:
        """How it is to be read: its key, the port, the polling interval (s)."""
        config = self.config
        return self.key, config.port, config.polling_interval

    def heard(self, event: str, *facts: Any) -> None:
        """Take in what the process tells of it."""
        path, fact = facts
        if event == "reading":
            self._take(path, fact)
        else:
            self._take_in(path, fact)

    def lost(self) -> None:
        """Take in that the process has ended; another will take its place."""
        with self._lock:
            self._was_lost = True
            self._begin_anew(
                PortState(failure="What reads the meters has ended and is started anew")
            )

    def _look_for_port(self) -> None:
        """Have a port read that nobody has named, once it is there and while it is a meter's."""
        now, port = self._clock.monotonic(), self.config.port
        if self._is_expected or self._port.is_connected or now < self._look_again_at:
            return
        if not Path(port).exists():
            if not self._is_taken_up:
                failure = f"There is no port {port}"
                self._port = PortState(condition="unplugged", failure=failure)
        elif (owner := self._owner_at(port)) is not None:
            self._look_again_at = now + _LOOK_AGAIN_SECONDS
            if self._is_taken_up:
                self._is_taken_up = False
                self._keeper.release(self)
            failure = f"At {port} is an instrument of the {owner}"
            self._begin_anew(PortState(condition="no meter", failure=failure))
        elif not self._is_taken_up:
            self._take_up()
        else:
            self._look_again_at = now + _LOOK_AGAIN_SECONDS

    def _take_up(self) -> None:
        self._is_taken_up = True
        self._keeper.take_up(self)

    def _begin_anew(self, state: PortState) -> None:
        self._counted_before, self._port = self.counts, state

    def _take_in(self, path: str, state: PortState) -> None:
        with self._lock:
            if path != self.config.port:
                return  # it has another by now
            before, self._port = self._port, state
            self._read_since = min(self._read_since, self.stamps.now())
        if (before.is_connected, before.failure) != (state.is_connected, state.failure):
            self.look_after()

    # -- readings ---------------------------------------------------------------------------

    def _take(self, path: str, answer: Answer) -> None:
        frame = answer.frame
        read_at = self._clock.monotonic() - (time.monotonic() - answer.at)
        with self._lock:
            if path != self.config.port:
                return
            self.last_read_ms = answer.took_ms
            self._count_what_nobody_did(read_at)
            at = self.stamps.next(read_at)
            self._read_since = min(self._read_since, at)
            reading = self._reading_of(frame, at, read_at)
            self.identity = frame.identity
            if not self.recorder.has_room():
                # Left out as if it had not been read, so that totals and what is stored agree.
                return
            self.latest, self._latest_of, self._read_at = reading, frame.identity, read_at
            sessions = self._sessions.see(reading, frame.identity)
            self._sessions.interval = self.config.polling_interval
            events = self._alarms.see(
                at, {key: reading.value(index) for key, index in WATCHED.items()}
            )
        self._note(reading, sessions, events)
        self.feed.feed(reading)

    def _count_what_nobody_did(self, read_at: float) -> None:
        """Count the polls that were due while no process was there to make them or to count."""
        if self._was_lost and self._heard_at is not None:
            missed = round((read_at - self._heard_at) / self.config.polling_interval) - 1
            uncounted = missed - (self.counts.missed - self._missed_then)
            self._counted_before = self._counted_before.plus(Counts(missed=max(0, uncounted)))
        self._was_lost, self._missed_then = False, self.counts.missed
        self._heard_at = read_at

    def _reading_of(self, frame: Frame, at: int, read_at: float) -> Reading:
        before = self.latest
        elapsed = None if self._read_at is None else read_at - self._read_at
        if before is None:
            return Reading(at, frame.codes, True, Totals())
        seconds = (at - before.at) / SECOND
        longest = max(GAP_PERIODS * self._interval_after(before.at), SHORTEST_GAP_SECONDS)
        follows_gap = (
            seconds > longest
            or (elapsed is not None and abs(seconds - elapsed) > _tolerance(elapsed))
            or (self._latest_of is not None and self._latest_of != frame.identity)
        )
        is_same = self._latest_of is None or self._latest_of.is_of_same_meter(frame.identity)
        step = steps(
            np.array([before.at, at]),
            # Another meter's counters have not gone on from where those of the one before stood.
            np.array([before.codes if is_same else frame.codes, frame.codes]),
            np.array([False, follows_gap]),
        )[1]
        return Reading(at, frame.codes, follows_gap, before.totals.plus(step.tolist()))

    def _look_at_age(self, now: int) -> list[AlarmEvent]:
        newest = self.recorder.newest
        if newest is None and not self._is_expected:
            return []
        # What was not read while the server was off is no fault of the meter.
        since = self._read_since if newest is None else max(newest.at, self._read_since)
        if self.is_stale and (newest is None or newest.at < self._read_since):
            return []
        age = (now - since) / SECOND
        return self._alarms.see_age(now, age, self._interval_after(since))

    def _interval_after(self, at: int) -> float:
        """Return within how many s the next reading was due at a moment, by the longer interval.

        What began in an earlier rhythm is no gap of a new and faster one.
        """
        interval = self.config.polling_interval
        return interval if at > self._changed_at else max(interval, self._former_interval)

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
