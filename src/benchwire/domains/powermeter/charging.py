"""Charging sessions: from the first current above a threshold until it has stayed below it."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

from benchwire.domains.powermeter.readings import CURRENT, Reading, Totals
from benchwire.foundation.clock import SECOND, microseconds, moment

# A charge goes on while the server or the meter's cable is away for a moment; after so long
# without a reading nobody can say that it was one and the same.
LONGEST_GAP_SECONDS = 3600.0


class MeterIdentity(Protocol):
    """What a meter says of itself, as far as a charge keeps it."""

    @property
    def product(self) -> str:
        """Its kind."""

    @property
    def serial(self) -> int:
        """Its number."""


@dataclass(frozen=True, slots=True)
class Setup:
    """The meter of a charge, and by what (A, s) it was told to be one, as it began."""

    product: str
    serial: int
    threshold: float
    end_delay: float


@dataclass(frozen=True, slots=True)
class Session:
    """One charge.

    Parameters
    ----------
    started_at, active_at
        First and, so far, last reading with current, in microseconds since 1970.
    before, totals
        Running totals at those two readings.
    reason
        Why it ended; None while it lasts.
    setup
        None where it was not noted.
    """

    started_at: int
    active_at: int
    before: Totals
    totals: Totals
    reason: str | None = None
    setup: Setup | None = None

    @property
    def gained(self) -> Totals:
        """What flowed from start to end."""
        return self.totals.since(self.before)

    @property
    def number(self) -> int:
        """How many readings were stored from start to end, both included."""
        return round(self.gained.number) + 1

    def is_kept(self, oldest: int | None) -> bool:
        """Whether it has ended and all of its readings are there; the oldest are deleted first.

        Parameters
        ----------
        oldest
            When its meter's oldest reading was taken; None if there is none.
        """
        return self.reason is not None and oldest is not None and oldest <= self.started_at

    @property
    def is_at_an_end(self) -> bool:
        """Whether it has only just begun, or is over."""
        return self.reason is not None or self.started_at == self.active_at


def session_id(meter: str, started_at: int) -> str:
    """Return the public id of a session: its meter and when it began, in UTC."""
    return f"{meter}.{moment(started_at):%Y%m%dT%H%M%S%fZ}"


def session_start(public_id: str) -> tuple[str, int] | None:
    """Return the meter and the start that a public id names, None if it is none."""
    meter, _, stamp = public_id.partition(".")
    try:
        began = datetime.strptime(stamp, "%Y%m%dT%H%M%S%fZ").replace(tzinfo=UTC)
    except ValueError:
        return None
    return meter, microseconds(began)


@dataclass(slots=True)
class SessionWatch:
    """Finds sessions in the readings of one meter.

    Parameters
    ----------
    threshold
        Current in A from which on something is being charged.
    end_delay
        Seconds the current has to stay below it for the session to be over; it ended when the
        current was last above.
    interval
        Seconds between two readings; several may be missing within one charge.
    open
        The session that was under way when the server last stopped.
    seen_at
        When the last reading was taken, with current or without, in microseconds since 1970.
    """

    threshold: float
    end_delay: float
    interval: float = 1.0
    open: Session | None = None
    seen_at: int | None = None

    def see(self, reading: Reading, meter: MeterIdentity | None = None) -> list[Session]:
        """Take the next reading and return each session it has begun, prolonged or ended.

        Parameters
        ----------
        meter
            What the reading is of, where that is known.
        """
        is_active = reading.value(CURRENT) >= self.threshold
        changed = []
        if self.open is not None and (ended := self._ended(self.open, reading, is_active)):
            changed.append(ended)
            self.open = None
        if is_active:
            if self.open is None:
                self.open = Session(
                    reading.at, reading.at, reading.totals, reading.totals, setup=self._setup(meter)
                )
            else:
                self.open = replace(self.open, active_at=reading.at, totals=reading.totals)
            changed.append(self.open)
        self.seen_at = reading.at
        return changed

    def settle(self, now: int) -> Session | None:
        """End a session for which no reading has come for too long, and return it."""
        if self.open is None or now - self._last_at(self.open) < self._longest_gap:
            return None
        ended, self.open = replace(self.open, reason="no readings"), None
        return ended

    def _setup(self, meter: MeterIdentity | None) -> Setup | None:
        if meter is None:
            return None
        return Setup(meter.product, meter.serial, self.threshold, self.end_delay)

    def _ended(self, session: Session, reading: Reading, is_active: bool) -> Session | None:
        if reading.at - self._last_at(session) > self._longest_gap:
            return replace(session, reason="no readings")
        if is_active or reading.at - session.active_at < self.end_delay * SECOND:
            return None
        return replace(session, reason="current below threshold")

    def _last_at(self, session: Session) -> int:
        """Return when anything was last heard of the meter."""
        return session.active_at if self.seen_at is None else self.seen_at

    @property
    def _longest_gap(self) -> float:
        return max(LONGEST_GAP_SECONDS, self.end_delay, 5 * self.interval) * SECOND
