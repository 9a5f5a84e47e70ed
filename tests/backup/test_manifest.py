"""Lists of files that cannot be: refused in one line before anything is made."""

from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import pytest

from benchwire.backup.manifest import BackupUnusable, is_name_within
from tests.backup.commands import forge, refused, restore, run

Change = Callable[[dict[str, Any]], object]
IMPOSSIBLE: dict[str, Change] = {
    "name": lambda found: found["files"][0].update(name=5),
    "mode": lambda found: found["files"][0].update(mode="x"),
    "large mode": lambda found: found["files"][0].update(mode=1 << 40),
    "size": lambda found: found["files"][0].update(size=-1),
    "truth as size": lambda found: found["files"][0].update(size=True),
    "mtime": lambda found: found["files"][0].update(mtime_ns=10**30),
    "no file": lambda found: found["files"].append("data/x"),
    "schema": lambda found: found.update(schema=5),
    "odd schema": lambda found: found.update(schema="0001x"),
    "moment": lambda found: found.update(taken_at="soon"),
    "early moment": lambda found: found.update(taken_at="0001-01-01T00:00:00+23:00"),
    "runs root": lambda found: found.update(runs_root=0),
    "folder": lambda found: found.update(folders=[["data"]]),
    "folder mode": lambda found: found["folder_modes"].update(data="x"),
    "folder modes": lambda found: found.update(folder_modes=[1]),
    "unknown": lambda found: found.update(more=1),
}  # fmt: skip


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_value_of_another_kind_is_damage(small_backup: Path, tmp_path: Path, what: str) -> None:
    forge(small_backup, IMPOSSIBLE[what])
    with pytest.raises(BackupUnusable, match=r"manifest\.json is damaged"):
        restore(small_backup, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_damage_is_told_in_one_line(small_backup: Path, tmp_path: Path) -> None:
    forge(small_backup, IMPOSSIBLE["name"])
    said = refused(run("restore", small_backup, "--data-dir", tmp_path / "new"))
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "elsewhere", "on_windows"),
    [
        ("data/a b/c.csv", True, True),
        ("data/..", False, False),
        ("data/..\\..\\evil", True, False),
        ("data/C:\\evil", True, False),
        ("data/C:", True, False),
        ("data/C:evil", True, False),
        ("data/run.csv:stream", True, False),
        ("data/\\\\server\\share", True, False),
        ("data/\0", False, False),
    ],
)
def test_name_leads_nowhere_else(name: str, elsewhere: bool, on_windows: bool) -> None:
    """A backslash and a colon are letters of names, but on Windows."""
    assert is_name_within(name, PurePosixPath) is elsewhere
    assert is_name_within(name, PureWindowsPath) is on_windows
