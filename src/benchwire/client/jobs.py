"""Jobs: work under way and done, over all domains."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from benchwire.client.connection import Connection
from benchwire.client.events import events
from benchwire.client.frames import table
from benchwire.client.microscopy import Workflow
from benchwire.client.potentiostats import Run
from benchwire.client.stores import Copy
from benchwire.client.traces import Fit
from benchwire.client.work import State, Status, Work, fetch_crate, quoted, state_of

if TYPE_CHECKING:
    import polars as pl

_AT_ONCE = 500
_JOB = ("id", "domain", "title", "state", "progress", "created_at", "started_at", "ended_at",
    "message", "kind", "item_kind", "item_id",
)  # fmt: skip
_MOMENTS = ("created_at", "started_at", "ended_at")
_WORK: dict[str, type[Work]] = {kind.kind: kind for kind in (Run, Workflow, Fit, Copy)}


class Job(Work):
    """Work of a kind that has no class of its own here."""

    kind: ClassVar[str] = "job"

    def _ask(self, **how: Any) -> Status:
        answer = self._connection.get(f"/work/{quoted(self.id)}", **how)
        return Status(
            state=state_of(answer["state"]),
            progress=answer["progress"],
            message=answer["message"] or "",
            remaining_seconds=answer["remaining_s"],
            answer=answer,
        )

    def cancel(self) -> None:
        """Stop it."""
        self._connection.send("POST", f"/work/{quoted(self.id)}/cancel")

    def crate(self, path: str | Path = ".") -> Path:
        """Write what it made as an RO-Crate ZIP."""
        item = self.status.answer["item"] or {"kind": self.kind, "id": self.id}
        return fetch_crate(self._connection, item["kind"], item["id"], path)

    def download(self, folder: str | Path = ".") -> list[Path]:
        """Write its results as an RO-Crate ZIP into a folder."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        return [self.crate(folder)]


class JobList:
    """The work of a server over all domains: ``bench.jobs``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def all(
        self,
        *,
        state: State | Sequence[State] | None = None,
        domain: str | None = None,
        limit: int | None = 100,
    ) -> "pl.DataFrame":
        """Return jobs, newest first.

        Parameters
        ----------
        state
            Only those in a state, or in one of some.
        domain
            Only those of a domain, such as ``"potentiostat"``.
        limit
            How many at most; None for all there are.

        Returns
        -------
        pl.DataFrame
            ``id``, ``domain``, ``title``, ``state``, ``progress`` (0 to 1), times (UTC),
            ``message``, and ``item_kind`` and ``item_id`` of what it made.
        """
        rows = [_row(row) for row in self.listed(state=state, domain=domain, limit=limit)]
        return table(rows, columns=_JOB, moments=set(_MOMENTS))

    def listed(
        self,
        *,
        state: State | Sequence[State] | None = None,
        domain: str | None = None,
        limit: int | None = 100,
    ) -> list[dict[str, Any]]:
        """Return what `all` does, as the server tells it."""
        states = [state] if isinstance(state, str) else state
        found: list[dict[str, Any]] = []
        while limit is None or len(found) < limit:
            wanted = _AT_ONCE if limit is None else min(_AT_ONCE, limit - len(found))
            before = found[-1]["id"] if found else None
            page = self._connection.get(
                "/work", state=states, domain=domain, limit=wanted, before=before
            )["jobs"]
            found += page
            if len(page) < wanted:
                break
        return found

    def get(self, job_id: str) -> Work:
        """Return a job's work: a run, a workflow, a fit, a copy, or a plain job.

        Raises
        ------
        NotFound
            There is none.
        """
        answer = self._connection.get(f"/work/{quoted(job_id)}")
        item = answer["item"] or {}
        kind = _WORK.get(item.get("kind", ""))
        return Job(self._connection, job_id) if kind is None else kind(self._connection, item["id"])

    def cancel(self, job_id: str) -> State:
        """Stop a job and return how it stands; one that has ended is left as it is."""
        answer = self._connection.send("POST", f"/work/{quoted(job_id)}/cancel")
        return state_of(answer["state"])

    def retry(self, job_id: str) -> Work:
        """Do the work of a job that has ended once more, with the same parameters.

        Raises
        ------
        Conflict
            It has not ended, or cannot be repeated.
        """
        return self.get(self._connection.send("POST", f"/work/{quoted(job_id)}/retry")["id"])

    def watch(self, *, patience: float | None = None) -> Iterator[dict[str, Any]]:
        """Yield every change of every job, beginning with those that are not finished."""
        for event in events(self._connection, "/events/jobs", patience=patience):
            if event.name == "job":
                yield dict(event.data)


def _row(row: dict[str, Any]) -> dict[str, Any]:
    item = row.get("item") or {}
    return {**row, "item_kind": item.get("kind"), "item_id": item.get("id")}
