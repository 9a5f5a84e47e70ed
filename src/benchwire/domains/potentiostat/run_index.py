"""The list of runs beside their folders: ``_run_paths.json``, from run id to relative folder.

Other programs of the lab read it, and it lets the runs be found again without the database.
"""

import json
import logging
import re
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from benchwire.domains.potentiostat.run_folder import WELLS, RunFolder
from benchwire.domains.potentiostat.schemas import RUN_NAME_PATTERN
from benchwire.domains.potentiostat.store import FINISHED, UNFINISHED, RunRecord, SlotRecord
from benchwire.foundation.clock import utc_moment
from benchwire.foundation.files import write_whole

logger = logging.getLogger(__name__)

INDEX_FILE = "_run_paths.json"


class RunIndex:
    """The index of one runs root."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._path = root / INDEX_FILE
        self._lock = threading.Lock()
        # What the disk has refused so far.
        self._owed: dict[str, str] = {}

    def add(self, run_id: str, folder: str) -> None:
        """Name a run's folder; the file is whole at any moment.

        What the disk refuses is written with the next run: a run goes on without.
        """
        with self._lock:
            self._owed[run_id] = folder
            try:
                entries = {**self._entries(), **self._owed}
                write_whole(self._path, json.dumps(entries, indent=0).encode())
            except OSError as error:
                logger.error("the index of runs cannot be kept: %s", error.strerror)
            else:
                self._owed.clear()

    def remove(self, run_id: str) -> None:
        """Take a run off the list, as its files are gone."""
        with self._lock:
            self._owed.pop(run_id, None)
            try:
                entries = self._entries()
                if entries.pop(run_id, None) is not None:
                    write_whole(self._path, json.dumps(entries, indent=0).encode())
            except OSError as error:
                logger.error("the index of runs cannot be kept: %s", error.strerror)

    def runs(self) -> Iterator[RunRecord]:
        """Yield what the index and the folders tell of each run whose folder is here."""
        root = self._root.resolve()
        try:
            entries = self._entries()
        except OSError as error:
            logger.error("the index of runs cannot be read: %s", error.strerror)
            return
        for run_id, folder in entries.items():
            path = (root / folder).resolve()
            if not re.fullmatch(RUN_NAME_PATTERN, run_id) or not path.is_relative_to(root):
                logger.warning("the index of runs names a run that cannot be: left out")
                continue
            if path != root and path.is_dir():
                yield _found_in(root, PurePosixPath(path.relative_to(root).as_posix()), run_id)

    def _entries(self) -> dict[str, str]:
        """Return what the index names; one that is damaged is set aside, as it names runs.

        Raises
        ------
        OSError
            It cannot be read now.
        """
        try:
            content = json.loads(self._path.read_text("utf-8"))
            if not isinstance(content, dict):
                raise ValueError("no object")
        except FileNotFoundError:
            return {}
        except ValueError:
            aside = self._path.with_name(f"{self._path.name}.damaged-{time.time_ns()}")
            self._path.rename(aside)
            logger.error("the index of runs is damaged: kept as %s and begun anew", aside.name)
            return {}
        return {str(key): value for key, value in content.items() if isinstance(value, str)}


def told_beside(run_id: str, folder: RunFolder) -> RunRecord | None:
    """Return a run as the summary beside its data tells it, None if that tells of no end."""
    summary, _ = _summary(run_id, folder.path)
    if summary.get("status") not in FINISHED:
        return None
    return _found_in(folder.root, folder.relative, run_id)


def _found_in(root: Path, relative: PurePosixPath, run_id: str) -> RunRecord:
    path = root / relative
    summary, label = _summary(run_id, path)
    wells = path / WELLS
    found = sorted(item.name for item in wells.iterdir() if item.is_dir()) if wells.is_dir() else []
    described = {item["slot"]: item for item in summary.get("slots", [])}
    folder = RunFolder(root, relative, tuple(described or found), label)
    modes = sorted(
        {item.name for name in found for item in (wells / name).iterdir() if item.is_dir()}
    )
    request = summary.get("request") or {
        "modes": modes or ["?"],
        "experiment_name": relative.parts[0],
        "subdir": relative.parts[1] if len(relative.parts) > 2 else None,
        "params_by_mode": {},
    }
    started = summary.get("started_at")
    ended = summary.get("ended_at")
    modified = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    status = summary.get("status", "done")
    return RunRecord(
        run_id=run_id,
        request=request,
        folder=relative.as_posix(),
        status="failed" if status in UNFINISHED else status,
        started_at=utc_moment(started) if started else modified,
        ended_at=utc_moment(ended) if ended else modified,
        slots=tuple(_slot(folder, name, described.get(name, {})) for name in folder.slots),
        label=label,
    )


def _summary(run_id: str, path: Path) -> tuple[dict[str, Any], str]:
    for label in ("", f"_{run_id}"):
        try:
            summary = json.loads((path / f"run{label}.json").read_text("utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(summary, dict) and summary.get("run_id") == run_id:
            return summary, label
    return {}, ""


def _slot(folder: RunFolder, name: str, described: dict[str, Any]) -> SlotRecord:
    started, ended = described.get("started_at"), described.get("ended_at")
    status = described.get("status", "done")
    return SlotRecord(
        slot=name,
        status="failed" if status in UNFINISHED else status,
        serial_number=described.get("instrument_serial_number"),
        started_at=utc_moment(started) if started else None,
        ended_at=utc_moment(ended) if ended else None,
        message=described.get("message"),
        files=folder.files([name]),
    )
