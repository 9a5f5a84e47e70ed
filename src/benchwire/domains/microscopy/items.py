"""Workflows and movies as lists over all domains show them."""

from datetime import datetime
from pathlib import Path, PurePosixPath
from urllib.parse import quote, urlencode

from benchwire.domains.microscopy.plan import PACKAGES
from benchwire.domains.microscopy.service import Movies, Workflows
from benchwire.domains.microscopy.service.workflows import WORKFLOW_ITEM
from benchwire.foundation.catalogue import Bundle, BundledFile, Item
from benchwire.foundation.jobs.family import STATE_WORDS
from benchwire.foundation.jobs.states import JobRecord
from benchwire.foundation.run_record import RUN_NAME

MOVIE = "movie"
PAGE = "/microscopy"
_MEDIA_TYPES = {
    ".csv": "text/csv",
    ".json": "application/json",
    ".yaml": "application/yaml",
    ".parquet": "application/vnd.apache.parquet",
}


class MicroscopyItems:
    """Workflows, and the movies that were opened."""

    kinds: tuple[str, ...] = (WORKFLOW_ITEM, MOVIE)
    bundled: tuple[str, ...] = (WORKFLOW_ITEM,)

    def __init__(self, movies: Movies, workflows: Workflows) -> None:
        self._movies = movies
        self._workflows = workflows

    def find(self, text: str, limit: int) -> list[Item]:
        """Return the workflows and movies that a text occurs in."""
        wanted = text.lower()
        movies = [
            _movie_item(path, at)
            for path, at in self._movies.opened()
            if wanted in str(path).lower()
        ]
        workflows = [_workflow_item(record) for record in self._workflows.find(text, limit)]
        return workflows + movies[:limit]

    def item(self, kind: str, item_id: str) -> Item:
        """Return a workflow, or a movie by its path."""
        if kind == WORKFLOW_ITEM:
            return _workflow_item(self._workflows.record(item_id))
        return _movie_item(self._movies.allowed.file(item_id), None)

    def of_job(self, record: JobRecord) -> Item | None:
        """Return the workflow that a job runs."""
        return _workflow_item(record)

    def bundle(self, _: str, item_id: str) -> Bundle:
        """Return the tables and records of a completed workflow.

        Its image stacks, thousands of times larger, stay where they are; the record names the
        movie by its checksum.

        Raises
        ------
        JobNotFound, JobNotDone
            There is no such workflow, or it is not completed.
        PathForbidden, PathMissing, ResultsReplaced
            Its results cannot be had any more.
        """
        results = self._workflows.archive(item_id)
        record = self._workflows.record(item_id)
        return Bundle(
            item=_workflow_item(record),
            files=[_bundled(name, path) for name, path in results],
            parameters=record.params,
            started=record.started_at,
            ended=record.ended_at,
            packages=PACKAGES,
            requested_by=record.requested_by,
        )


def _bundled(name: PurePosixPath, path: Path) -> BundledFile:
    media_type = _MEDIA_TYPES.get(name.suffix.lower(), "application/octet-stream")
    if name.suffix == ".json":
        # The record, also where that of a later run has taken its name.
        return BundledFile(RUN_NAME, "What was read, how, with which versions", media_type, path,
                           role="record")  # fmt: skip
    what = "Which FOVs there are" if name.suffix == ".yaml" else "Traces of the cells of an FOV"
    return BundledFile(name.as_posix(), what, media_type, path)


def _workflow_item(record: JobRecord) -> Item:
    n_fovs = record.params["fov_end"] - record.params["fov_start"] + 1
    return Item(
        kind=WORKFLOW_ITEM,
        id=record.id,
        title=record.title,
        page=f"{PAGE}/run/{quote(record.id, safe='')}",
        api=f"/api/v1/processing/workflow/status/{quote(record.id, safe='')}",
        at=record.created_at,
        state=STATE_WORDS[record.state],
        detail=f"{n_fovs} FOV" if n_fovs == 1 else f"{n_fovs} FOVs",
    )


def _movie_item(path: Path, at: datetime | None) -> Item:
    return Item(
        kind=MOVIE,
        id=str(path),
        title=path.name,
        page=f"{PAGE}?{urlencode({'path': str(path)})}",
        at=at,
        detail=str(path.parent),
    )
