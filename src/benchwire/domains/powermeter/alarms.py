"""Alarms: a limit that is passed raises one, and only a value well inside clears it again."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from benchwire.domains.powermeter.readings import CURRENT, POWER, QUANTITIES, TEMPERATURE, VOLTAGE

WATCHED = {QUANTITIES[index].key: index for index in (VOLTAGE, CURRENT, POWER, TEMPERATURE)}
STALE = "no_reading"
STALE_PERIODS = 5
# Below this a busy disk alone would raise it.
SHORTEST_STALE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What a quantity may be, in its unit.

    An alarm clears ``hysteresis`` inside the limit, so that noise around a limit does not raise one
    after the other. Where none is given it is 1 % of the limit, at most a quarter of the band
    between both, so that the middle of it clears each.
    """

    low: float | None = None
    high: float | None = None
    hysteresis: float | None = None

    def margin(self, threshold: float) -> float:
        """Return how far inside a limit a value has to be to clear the alarm."""
        if self.hysteresis is not None:
            return self.hysteresis
        if self.low is None or self.high is None:
            return 0.01 * abs(threshold)
        return min(0.01 * abs(threshold), (self.high - self.low) / 4)


@dataclass(frozen=True, slots=True)
class AlarmEvent:
    """An alarm raised or cleared.

    ``kind`` is the quantity and the side, ``voltage_high``, or ``no_reading``; ``at`` is in
    microseconds since 1970.
    """

    kind: str
    is_raised: bool
    at: int
    value: float | None = None
    threshold: float | None = None


@dataclass(slots=True)
class AlarmWatch:
    """The alarms of one meter.

    Parameters
    ----------
    limits
        By the keys of `WATCHED`.
    raised
        Alarms that stand, by kind.
    """

    limits: Mapping[str, Limits]
    raised: dict[str, AlarmEvent] = field(default_factory=dict)

    def see(self, at: int, values: Mapping[str, float]) -> list[AlarmEvent]:
        """Compare one reading with the limits and return what has changed."""
        events = []
        for quantity in WATCHED:
            limits, value = self.limits.get(quantity, Limits()), values[quantity]
            for side, threshold, sign in (("high", limits.high, 1), ("low", limits.low, -1)):
                kind = f"{quantity}_{side}"
                stands = kind in self.raised
                # A limit that was taken away cannot be exceeded any more.
                is_inside = threshold is None or (
                    sign * value <= sign * (threshold - sign * limits.margin(threshold))
                )
                is_beyond = threshold is not None and sign * value > sign * threshold
                if (stands and is_inside) or (not stands and is_beyond):
                    events.append(self._note(AlarmEvent(kind, not stands, at, value, threshold)))
        return events

    def see_age(self, at: int, age: float, period: float) -> list[AlarmEvent]:
        """Compare the age of the newest stored reading (s) with the polling interval (s)."""
        threshold = max(STALE_PERIODS * period, SHORTEST_STALE_SECONDS)
        is_raised = age > threshold
        if is_raised == (STALE in self.raised):
            return []
        return [self._note(AlarmEvent(STALE, is_raised, at, age, threshold))]

    def _note(self, event: AlarmEvent) -> AlarmEvent:
        if event.is_raised:
            self.raised[event.kind] = event
        else:
            self.raised.pop(event.kind, None)
        return event
