"""What the pages share: the service, and what all open pages watch together."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from benchwire.domains.powermeter.alarms import AlarmEvent
from benchwire.domains.powermeter.charging import Session
from benchwire.domains.powermeter.errors import MeterUnknown
from benchwire.domains.powermeter.service import PowerMeters
from benchwire.foundation.web.watch import Watch

SHOWN_SESSIONS = 50
LISTS_SECONDS, STATUS_SECONDS = 2.0, 3.0


@dataclass(frozen=True, slots=True)
class MeterWatches:
    """What is kept up to date on the pages of one meter."""

    sessions: Watch[list[tuple[Session, bool]]]
    alarms: Watch[list[AlarmEvent]]
    status: Watch[dict[str, Any]]


@dataclass(slots=True)
class Desk:
    """The service behind the pages, looked at once for all of them."""

    meters: PowerMeters
    _watches: dict[str, MeterWatches] = field(init=False, default_factory=dict)

    def sessions(self, name: str) -> list[tuple[Session, bool]]:
        """Return the newest charges of a meter, each with whether it can be had as a whole."""
        oldest = self.meters.oldest_reading(self.meters.meter(name))
        found = self.meters.sessions(SHOWN_SESSIONS, name)
        return [(session, session.is_kept(oldest)) for session in found]

    def watches(self, name: str) -> MeterWatches:
        """Return what is watched of a meter."""
        if name not in self._watches:
            meters = self.meters
            self._watches[name] = MeterWatches(
                Watch(_unless_gone(lambda: self.sessions(name), []), seconds=LISTS_SECONDS),
                Watch(
                    _unless_gone(lambda: meters.alarms(SHOWN_SESSIONS, name), []),
                    seconds=LISTS_SECONDS,
                ),
                Watch(_unless_gone(lambda: meters.status(name), {}), seconds=STATUS_SECONDS),
            )
        return self._watches[name]


def _unless_gone(look: Callable[[], Any], nothing: Any) -> Callable[[], Any]:
    """Return what looks, and finds nothing once the meter was removed."""

    def looked() -> Any:
        try:
            return look()
        except MeterUnknown:
            return nothing

    return looked
