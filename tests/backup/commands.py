"""``benchwire backup`` and ``benchwire restore`` as a person or a timer calls them."""

import hashlib
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchwire.backup.restoring import restore_backup
from benchwire.backup.taking import take_backup
from benchwire.foundation.clock import Clock, SystemClock
from benchwire.foundation.settings import load_server_settings

TIMEOUT = 120
# Restores and ends like kill -9 before a step: a file that is copied or a name that is given.
_KILLED = """
import os, sys
from pathlib import Path
from benchwire.backup import restoring

def killed(work):
    def do(*arguments, **more):
        global left
        left -= 1
        if left < 0:
            os._exit(9)
        return work(*arguments, **more)
    return do

left = int(sys.argv[1])
restoring.copy_back = killed(restoring.copy_back)
os.rename = killed(os.rename)
backup, data, runs, url = (text or None for text in sys.argv[2:])
runs = runs and Path(runs)
restoring.restore_backup(Path(backup), Path(data), runs_root=runs, database_url=url)
"""


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


def restore_killed(step: int, source: Path, data: Path, runs: Path | None, url: str = "") -> bool:
    """Begin a restore that is killed before a step; False if it had no such step."""
    words = [str(step), str(source), str(data), "" if runs is None else str(runs), url]
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, *words],
        env=environment(), capture_output=True, text=True, timeout=TIMEOUT, check=False,
    )  # fmt: skip
    assert done.returncode in {0, 9}, done.stderr
    return done.returncode == 9


def forge(made: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a manifest and its checksum with it."""
    manifest = json.loads((made / "manifest.json").read_text("utf-8"))
    change(manifest)
    (made / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    own = hashlib.sha256((made / "manifest.json").read_bytes()).hexdigest()
    rest = (made / "SHA256SUMS").read_text("utf-8").split("\n", 1)[1]
    (made / "SHA256SUMS").write_text(f"{own}  manifest.json\n{rest}", "utf-8")
