"""What the pages over all domains look at, looked up once for all that are open."""

from dataclasses import dataclass
from datetime import timedelta

from benchwire.foundation.catalogue import Item, Notice
from benchwire.foundation.jobs.states import JobRecord, JobState
from benchwire.foundation.lab import Lab
from benchwire.foundation.web.shell import Shell
from benchwire.foundation.web.watch import Watch
from benchwire.home.catalogue import Catalogue
from benchwire.home.routes import JOBS_TOPIC

FINISHED_SHOWN, FAILED_SHOWN, UNDER_WAY_SHOWN = 8, 5, 20
FAILED_WITHIN = timedelta(days=1)
NOTICE_SECONDS = 5.0

Work = tuple[JobRecord, Item | None]
"""A job, and what it works on or has made."""


@dataclass(frozen=True, slots=True)
class Lately:
    """Jobs that have ended, the last first; ``failed`` are those of the last day.

    ``has_any`` is whether any has ended, at whatever time.
    """

    finished: tuple[Work, ...]
    failed: tuple[Work, ...]
    more_failed: bool
    has_any: bool


class Desk:
    """The catalogue and the frame, with what many pages show of them at once."""

    def __init__(self, lab: Lab, catalogue: Catalogue, shell: Shell) -> None:
        self.lab = lab
        self.catalogue = catalogue
        self.shell = shell
        self._items: dict[str, Item] = {}
        self.under_way: Watch[list[Work]] = Watch(
            self._look_under_way, hub=lab.hub, topic=JOBS_TOPIC
        )
        self.lately: Watch[Lately] = Watch(self.look_lately, hub=lab.hub, topic=JOBS_TOPIC)
        self.notices: Watch[list[Notice]] = Watch(catalogue.notices, seconds=NOTICE_SECONDS)

    def _look_under_way(self) -> list[Work]:
        records = self.lab.jobs.unfinished()
        # An item is looked up until it is there, and not again each time its job gets further.
        items = {
            record.id: self._items.get(record.id) or self.catalogue.of_job(record)
            for record in records[:UNDER_WAY_SHOWN]
        }
        self._items = {job_id: item for job_id, item in items.items() if item is not None}
        return [(record, items.get(record.id)) for record in records]

    def look_lately(self) -> Lately:
        """Find the jobs that have ended lately."""
        jobs = self.lab.jobs
        done = jobs.ended_last(FINISHED_SHOWN, [JobState.DONE, JobState.CANCELLED])
        failed = jobs.ended_last(FAILED_SHOWN + 1, [JobState.FAILED])
        since = self.lab.clock.now() - FAILED_WITHIN
        recent = [record for record in failed if (record.ended_at or record.created_at) >= since]
        return Lately(
            finished=tuple((record, self.catalogue.of_job(record)) for record in done),
            failed=tuple(
                (record, self.catalogue.of_job(record)) for record in recent[:FAILED_SHOWN]
            ),
            more_failed=len(recent) > FAILED_SHOWN,
            has_any=bool(done or failed),
        )
