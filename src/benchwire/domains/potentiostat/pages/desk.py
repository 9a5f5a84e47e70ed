"""What the pages share: the service, and what all open pages watch together."""

from dataclasses import dataclass, field
from urllib.parse import quote

from benchwire.domains.potentiostat.schemas import JobOverview, JobStatus
from benchwire.domains.potentiostat.service import Potentiostats
from benchwire.foundation.web.watch import Watch, Watches

PATH = "/potentiostat"
HISTORY = 200
SLOTS_SECONDS, RUNS_SECONDS, RUN_SECONDS = 0.5, 2.0, 1.0


@dataclass(frozen=True, slots=True)
class SlotView:
    """A slot as pages show it; ``state`` is a word people know."""

    name: str
    state: str
    serial_number: str | None
    run_id: str | None

    @property
    def is_connected(self) -> bool:
        """Whether its instrument is plugged in."""
        return self.state != "unplugged"


@dataclass(slots=True)
class Desk:
    """The service behind the pages, looked at once for all of them."""

    potentiostats: Potentiostats
    slots: Watch[list[SlotView]] = field(init=False)
    runs: Watch[list[JobOverview]] = field(init=False)
    statuses: Watches[JobStatus] = field(init=False)

    def __post_init__(self) -> None:
        self.slots = Watch(self._slots, seconds=SLOTS_SECONDS)
        self.runs = Watch(lambda: self.potentiostats.overview(limit=HISTORY), seconds=RUNS_SECONDS)
        self.statuses = Watches(self.potentiostats.status, seconds=RUN_SECONDS)

    def _slots(self) -> list[SlotView]:
        known = {slot.name: slot.serial_number for slot in self.potentiostats.slots.all()}
        return [
            SlotView(
                item["slot"],
                item["status"] if item["connected"] else "unplugged",
                known.get(item["slot"]),
                item["run_id"],
            )
            for item in self.potentiostats.device_status()
        ]


def run_path(run_id: str) -> str:
    """Return the page of a run."""
    return f"{PATH}/run/{quote(run_id, safe='')}"
