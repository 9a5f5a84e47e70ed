"""Finished runs on their way to the NAS, and the removal of what has been there long enough."""

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from benchwire.domains.potentiostat import nas
from benchwire.domains.potentiostat.errors import (
    NasNotConfigured,
    RunFolderNotFound,
    RunNotCompleted,
)
from benchwire.domains.potentiostat.nas import NasSettings, NasSettingsFile, NasUnreachable, Share
from benchwire.domains.potentiostat.run_folder import WELLS, RunFolder
from benchwire.domains.potentiostat.store import UNFINISHED, RunRecord, RunStore
from benchwire.foundation.clock import Clock, utc_text
from benchwire.foundation.errors import BenchwireError
from benchwire.foundation.files import PARTIAL_SUFFIX, not_left_out, write_whole
from benchwire.foundation.jobs.runner import JobContext, JobKind, Jobs
from benchwire.foundation.jobs.states import JobRecord

logger = logging.getLogger(__name__)

UPLOAD_KIND = "potentiostat.upload"
RETENTION_SECONDS = 6 * 3600.0


@dataclass(slots=True)
class Uploads:
    """Copies finished runs to the NAS, each again until it has succeeded.

    Parameters
    ----------
    open_share
        Opens the share of the settings.
    folder_of
        Gives a run's place on the disk.
    on_removed
        Told when a run's local files have been deleted.
    pause
        Gives the seconds to wait after attempt 1, 2, ...
    """

    settings_file: NasSettingsFile
    store: RunStore
    jobs: Jobs
    clock: Clock
    open_share: Callable[[NasSettings], Share]
    folder_of: Callable[[RunRecord], RunFolder]
    on_removed: Callable[[str], None] = lambda _: None
    pause: Callable[[int], float] = nas.backoff
    _settings: NasSettings | None = None
    _last_checked: datetime | None = None
    _trial: tuple[NasSettings, Future[None]] | None = None
    _asked: "asyncio.Future[dict[str, Any]] | None" = None
    _owed: list[str] | None = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def load(self) -> None:
        """Read the stored settings, and queue what was asked for before."""
        self._settings = self.settings_file.load()
        owed, self._owed = self._owed or [], None
        for run_id in owed:
            self.enqueue_finished(run_id)

    @property
    def is_configured(self) -> bool:
        """Whether a NAS is set up."""
        return self._settings is not None

    @property
    def job_kind(self) -> JobKind:
        """How the job engine runs an upload; one that a restart cut short goes on by itself."""
        return JobKind(
            UPLOAD_KIND, self._execute, concurrency=2, resumable=True, repeat=self._repeat
        )

    def set_up(self, values: Mapping[str, Any]) -> tuple[bool, str]:
        """Store settings and try them; returns whether the share could be used, and a text.

        Raises
        ------
        NasRequestInvalid
            The settings cannot be used; the former ones stay.
        """
        settings = NasSettings(**values)
        self.settings_file.save(settings)
        self._settings = settings
        failure = self._probe(settings)
        return failure is None, failure or "ok"

    def health(self) -> dict[str, Any]:
        """Return whether the NAS can be used, within ten seconds."""
        settings = self._settings
        if settings is None:
            return {"ok": False, "last_checked": None, "message": "not configured"}
        failure = self._probe(settings)
        checked = self._last_checked
        return {
            "ok": failure is None,
            "last_checked": None if checked is None else utc_text(checked),
            "message": failure or "ok",
        }

    async def shared_health(self) -> dict[str, Any]:
        """Return the same to all who ask while the NAS is being tried; one thread waits for it.

        Called on the event loop.
        """
        if self._asked is None or self._asked.done():
            self._asked = asyncio.ensure_future(asyncio.to_thread(self.health))
        return await asyncio.shield(self._asked)

    def _probe(self, settings: NasSettings) -> str | None:
        asked, trial = self._trial or (settings, None)
        # One that hangs is waited for again: each would take a thread and a connection more.
        if trial is None or trial.done() or asked != settings:
            trial = nas.tried(lambda: self.open_share(settings))
            self._trial = (settings, trial)
        failure = nas.failure_of(trial, nas.HEALTH_SECONDS)
        self._last_checked = self.clock.now()
        return failure

    # -- uploading --------------------------------------------------------------------------

    def enqueue_finished(self, run_id: str) -> None:
        """Queue the upload of a run that is done, if a NAS is set up."""
        if self._owed is not None and not self.is_configured:
            self._owed.append(run_id)  # whether there is one is not known yet
        elif self.is_configured:
            try:
                self.enqueue(run_id)
            except BenchwireError as error:
                logger.warning("run %s is not uploaded: %s", run_id, error.message)

    def enqueue(self, run_id: str) -> bool:
        """Queue a run's upload; False when it is under way already.

        Raises
        ------
        RunFolderNotFound, RunNotCompleted, NasNotConfigured
            There is nothing to upload, or nowhere to.
        """
        _, is_new = self._enqueue(run_id)
        return is_new

    def _repeat(self, record: JobRecord, _requested_by: str) -> str:
        """Upload the same run again and return the id of that job, or of the one under way."""
        job_id, _ = self._enqueue(record.params["run_id"])
        return job_id

    def _enqueue(self, run_id: str) -> tuple[str, bool]:
        """Return the job that uploads a run, and whether it is a new one."""
        run = self.store.get_many([run_id]).get(run_id)
        if run is None or run.files_gone:
            raise RunFolderNotFound(f"There are no files of a run {run_id[:128]}")
        if run.status in UNFINISHED:
            raise RunNotCompleted(
                "The run has not ended yet", hint="Upload it once it is finished."
            )
        if not self.is_configured:
            raise NasNotConfigured("No NAS is set up", hint="POST /nas/setup first.")
        with self._lock:
            for record in self.jobs.unfinished():
                if record.kind == UPLOAD_KIND and record.params["run_id"] == run_id:
                    return record.id, False
            job_id = f"upload_{run_id}"[:120] + f"_{self.clock.now():%Y%m%dT%H%M%S%f}"
            self.jobs.submit(
                UPLOAD_KIND,
                {"run_id": run_id},
                job_id=job_id,
                title=f"Copy {run_id} to the NAS",
            )
        return job_id, True

    def _execute(self, context: JobContext) -> dict[str, Any]:
        """Copy a run, again and again with growing pauses until it succeeds or is stopped."""
        attempt = 0
        while True:
            attempt += 1
            run = self.store.get_many([context.params["run_id"]])[context.params["run_id"]]
            folder = self.folder_of(run)
            if run.files_gone or not folder.exists:
                raise RunFolderNotFound("The run's files are no longer here")
            try:
                return self._copy(context, folder)
            except (NasUnreachable, OSError) as error:
                reason = error.message if isinstance(error, NasUnreachable) else "A file vanished"
                logger.warning("upload of %s, attempt %d: %s", run.run_id, attempt, reason)
                write_whole(
                    folder.upload_failed,
                    f"{utc_text(self.clock.now())} {reason}\n".encode(),
                )
                pause = self.pause(attempt)
                context.report(0.0, remaining=pause, message=f"{reason}; tried again later")
                context.stop.event.wait(pause)
                context.stop.raise_if_asked()

    def _copy(self, context: JobContext, folder: RunFolder) -> dict[str, Any]:
        settings = self._settings
        if settings is None:
            raise NasUnreachable("No NAS is set up")
        share = self.open_share(settings)
        try:
            result = nas.upload(
                share,
                _to_copy(folder),
                report=lambda progress: context.report(progress, message="copying"),
                check=context.stop.raise_if_asked,
            )
        finally:
            share.close()
        write_whole(folder.upload_done, f"{utc_text(self.clock.now())}\n".encode())
        folder.upload_failed.unlink(missing_ok=True)
        return {"files": result.files, "skipped": result.skipped, "bytes": result.bytes}

    # -- retention --------------------------------------------------------------------------

    def remove_expired(self, over: threading.Event | None = None) -> list[str]:
        """Delete the local files of runs that were uploaded long enough ago; returns their ids.

        Only runs in the records are looked at, never one that was not uploaded, never an
        unfinished one. Every file is compared once more with its copy on the NAS that is set up
        now; where one has none the run is uploaded again first. The record stays.

        Parameters
        ----------
        over
            Ends it between two runs.
        """
        settings = self._settings
        if settings is None:
            return []
        removed = []
        share = self.open_share(settings)
        try:
            for run in self._expired(settings):
                if over is not None and over.is_set():
                    break
                folder = self.folder_of(run)
                try:
                    seen = nas.compare(share, _to_copy(folder))
                except NasUnreachable as error:
                    logger.warning("no local files are removed: %s", error.message)
                    break
                except OSError as error:
                    logger.warning("run %s is not removed: %s", run.run_id, error.strerror)
                    continue
                if seen is None:
                    logger.warning("run %s differs from its copy; not removed", run.run_id)
                    self._enqueue(run.run_id)
                    continue
                self._remove(run, folder, seen)
                removed.append(run.run_id)
        finally:
            share.close()
        return removed

    def _expired(self, settings: NasSettings) -> Iterator[RunRecord]:
        for run in self.store.newest():
            folder = self.folder_of(run)
            if run.status in UNFINISHED or run.files_gone or not folder.exists:
                continue
            if nas.is_expired(
                folder.upload_done, retention_days=settings.retention_days, now=self.clock.now()
            ):
                yield run

    def _remove(
        self, run: RunRecord, folder: RunFolder, seen: Mapping[Path, os.stat_result]
    ) -> None:
        """Remove what was compared with its copy, and no more."""
        self.store.save_run(run.run_id, files_gone=True)
        for path, before in seen.items():
            with contextlib.suppress(FileNotFoundError):
                now = path.stat()
                if (now.st_size, now.st_mtime_ns) == (before.st_size, before.st_mtime_ns):
                    path.unlink()
                else:
                    logger.warning("%s was changed meanwhile; it stays", path)
        for note in (folder.upload_done, folder.upload_failed):
            note.unlink(missing_ok=True)
        for slot in folder.slots:
            _remove_empty_below(folder.path / WELLS / slot)
        _remove_empty(folder.path / WELLS, folder.root)
        self.on_removed(run.run_id)
        logger.info("run %s: local files removed, they are on the NAS", run.run_id)


def _to_copy(folder: RunFolder) -> list[tuple[Path, PurePosixPath]]:
    """Return a run's files with their places on the NAS.

    Raises
    ------
    OSError
        A part of the folder cannot be read, so that files would be left out.
    """
    target = PurePosixPath(folder.relative)
    files = [(folder.path / name, target / name) for name in folder.files(onerror=not_left_out)]
    if folder.summary.is_file():
        files.append((folder.summary, target / folder.summary.name))
    return files


def _remove_empty_below(folder: Path) -> None:
    """Remove a folder and those below it, as far as nothing is left in them."""
    for place, _, names in os.walk(folder, topdown=False):
        for name in names:
            if name.startswith(".") and name.endswith(PARTIAL_SUFFIX):
                # Begun and never finished, by a server that was killed.
                Path(place, name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            Path(place).rmdir()


def _remove_empty(folder: Path, root: Path) -> None:
    """Remove a folder and its parents below the root, as far as they are empty."""
    while folder != root and folder.is_relative_to(root):
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent
