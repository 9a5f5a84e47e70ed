"""The jobs of one queue at a glance."""

from typing import Any

from benchwire.foundation.clock import utc_text
from benchwire.foundation.jobs.family import STATE_WORDS, percentage
from benchwire.foundation.jobs.runner import Jobs


class JobsOverview:
    """What is known of the jobs that share a queue, in the words of the analysis APIs."""

    def __init__(self, jobs: Jobs, queue: str) -> None:
        self._jobs = jobs
        self._queue = queue

    def newest(self, limit: int) -> list[dict[str, Any]]:
        """Return the newest jobs; a job's type is its kind's noun."""
        return [
            {
                "job_id": record.id,
                "type": record.kind.partition(".")[2],
                "title": record.title,
                "status": STATE_WORDS[record.state],
                "progress": {"percentage": percentage(record)},
                "started_at": None if record.started_at is None else utc_text(record.started_at),
            }
            for record in self._jobs.listed(limit, kinds=self._jobs.kinds_in(self._queue))
        ]

    def counts(self) -> dict[str, int]:
        """Return how many jobs are in each state."""
        found = self._jobs.count_by_state(self._jobs.kinds_in(self._queue))
        return {word: found.get(state.value, 0) for state, word in STATE_WORDS.items()}
