"""``benchwire backup`` and ``benchwire restore`` as a person or a timer calls them."""

import os
import resource
import subprocess
import sys
from pathlib import Path

from benchwire.backup.restoring import restore_backup
from benchwire.backup.taking import take_backup
from benchwire.foundation.clock import Clock, SystemClock
from benchwire.foundation.settings import load_server_settings

TIMEOUT = 120


def environment(**more: str) -> dict[str, str]:
    clean = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("BENCHWIRE_", "BOX_", "RUNS_ROOT", "NAS_", "PYAMA_"))
    }
    return {**clean, **more}


def arguments(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "benchwire", *map(str, words)]


def run(
    *words: str | Path, largest_file: int | None = None, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run a command; ``largest_file`` stands for a disk that is full then."""

    def limit() -> None:
        assert largest_file is not None
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

    return subprocess.run(
        arguments(*words),
        env=environment(**more),
        preexec_fn=limit if largest_file is not None else None,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


def backup(
    data: Path, shelf: Path, *, keep: int | None = None, clock: Clock | None = None, **more: str
) -> Path:
    """Make a backup and return its folder; in a process of its own where its environment counts."""
    if not more:
        settings = load_server_settings({"data_dir": data})
        return take_backup(settings, shelf, clock or SystemClock(), keep=keep).folder
    known = set(shelf.glob("benchwire-*")) if shelf.exists() else set()
    done = run("backup", shelf, "--data-dir", data, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = set(shelf.glob("benchwire-2*")) - known
    return made


def restore(source: Path, data: Path, *, runs_root: Path | None = None, **more: str) -> None:
    if not more:
        restore_backup(source, data, runs_root=runs_root)
        return
    done = run("restore", source, "--data-dir", data, **more)
    assert done.returncode == 0, done.stdout + done.stderr


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """Return what was said to a person, in one line."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr
