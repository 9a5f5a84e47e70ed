"""What goes into a backup while a server changes its files, and what is refused beforehand."""

import json
import os
import shutil
import stat
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Any

import pytest

from benchwire.backup import taking
from benchwire.backup.files import Found, OnBytes, copy_growing
from benchwire.backup.manifest import BackupFailed, KeptFile
from benchwire.foundation import files
from tests.backup.commands import backup, forge, refused, restore, run
from tests.support.clock import ManualClock


def manifest_of(made: Path) -> dict[str, Any]:
    return json.loads((made / "manifest.json").read_text("utf-8"))


def names_of(made: Path) -> set[str]:
    return {file["name"] for file in manifest_of(made)["files"]}


# -- the folder of the runs -----------------------------------------------------------------------


def test_runs_root_that_is_not_there_is_refused_and_older_backups_stay(
    small: Path, tmp_path: Path
) -> None:
    """As on a morning on which its disk was not mounted."""
    shelf, runs = tmp_path / "shelf", small.with_name("small runs")
    good = backup(small, shelf, clock=ManualClock())
    runs.rename(tmp_path / "unmounted")
    said = refused(run("backup", shelf, "--data-dir", small, "--keep", "1"))
    assert str(runs) in said
    assert "Mount" in said
    assert [path.name for path in shelf.glob("benchwire-2*")] == [good.name]


def test_runs_root_that_was_emptied_is_no_obstacle(small: Path, tmp_path: Path) -> None:
    runs = small.with_name("small runs")
    shutil.rmtree(runs)
    runs.mkdir()
    assert not [name for name in names_of(backup(small, tmp_path / "shelf")) if "runs" in name]


def test_runs_root_around_the_data_folder_does_not_take_it_twice(
    small: Path, tmp_path: Path
) -> None:
    top = tmp_path / "top"
    shutil.copytree(small.with_name("small runs"), top)
    data = small.rename(top / "data")
    (data / "benchwire.toml").write_text(f'[potentiostat]\nruns_root = "{top}"\n')
    (data / ".session_key").write_bytes(b"secret")
    made = backup(data, tmp_path / "shelf")
    assert not list(made.rglob(".session_key"))
    assert not (made / "runs/data").exists()
    assert {"runs/Exp/1.csv", "data/plates/1.png"} <= names_of(made)


# -- the folder of backups ------------------------------------------------------------------------


def test_backups_of_another_server_are_not_counted(small: Path, tmp_path: Path) -> None:
    other, shelf, clock = tmp_path / "other", tmp_path / "shelf", ManualClock()
    shutil.copytree(small, other)
    made = []
    for data in (other, other, small, small, small):
        made.append(backup(data, shelf, keep=2, clock=clock).name)
        clock.wind(1)
    assert {path.name for path in shelf.glob("benchwire-2*")} == {*made[:2], *made[3:]}


def test_backups_made_without_the_settings_push_out_no_whole_ones(
    small: Path, tmp_path: Path
) -> None:
    """As by a person who has forgotten the environment: no runs root, another database."""
    shelf, clock = tmp_path / "shelf", ManualClock()
    whole = []
    for _ in range(2):
        whole.append(backup(small, shelf, clock=clock))
        clock.wind(1)
    of_postgresql = backup(small, shelf, clock=clock)
    forge(of_postgresql, lambda manifest: manifest.update(database="postgresql"))
    (small / "benchwire.toml").unlink()
    clock.wind(1)
    lacking = backup(small, shelf, keep=1, clock=clock)
    there = {path.name for path in shelf.glob("benchwire-2*")}
    assert there == {path.name for path in (*whole, of_postgresql, lacking)}


def test_backups_of_a_time_to_come_are_the_first_to_give_way(small: Path, tmp_path: Path) -> None:
    """The clock was a year ahead for some nights, and was set right."""
    shelf, clock = tmp_path / "shelf", ManualClock()
    day, year = 86_400, 365 * 86_400
    made = []
    for seconds in (year, day, -year, day, day):
        clock.wind(seconds)
        made.append(backup(small, shelf, keep=2, clock=clock).name)
    assert {path.name for path in shelf.glob("benchwire-2*")} == {*made[-2:]}


# -- names ----------------------------------------------------------------------------------------


def test_only_what_a_server_has_half_written_is_left_out(small: Path, tmp_path: Path) -> None:
    runs = small.with_name("small runs")
    own = {"data/big.part", "runs/Exp/movie.tif.part", "runs/Exp/.part", "data/plates/x.part"}
    half = {
        "data/.limits.json.x7.part", "data/results/a_fov_000_mask_ch_0.npy.part",
        "data/plates/images/tmpab12cd34.part", "runs/Exp/.1.csv.\n.part",
    }  # fmt: skip
    for name in own | half:
        top, _, rest = name.partition("/")
        path = (small if top == "data" else runs) / rest
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half or whole")
    made = names_of(backup(small, tmp_path / "shelf"))
    assert {name for name in made if name.endswith(".part")} == own


# -- files that change meanwhile ------------------------------------------------------------------


@pytest.fixture
def before_copy(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[Path], object]], None]:
    """Have something happen to a file as its turn comes."""

    def arrange(name: str, happen: Callable[[Path], object]) -> None:
        def copy(found: Found, target: Path, on_bytes: OnBytes) -> KeptFile:
            if found.name == name and found.path.exists():
                happen(found.path)
            return copy_growing(found, target, on_bytes)

        monkeypatch.setattr(taking, "copy_growing", copy)

    return arrange


Arrange = Callable[[str, Callable[[Path], object]], None]


def test_file_that_is_deleted_is_told_and_the_rest_is_whole(
    small: Path, tmp_path: Path, before_copy: Arrange
) -> None:
    before_copy("data/plates/1.png", Path.unlink)
    made = backup(small, tmp_path / "shelf")
    assert manifest_of(made)["vanished"] == ["data/plates/1.png"]
    assert "data/plates/1.png" not in names_of(made)
    restore(made, tmp_path / "new")
    assert not (tmp_path / "new/plates/1.png").exists()
    assert (tmp_path / "new/plates/2.png").read_bytes() == (small / "plates/2.png").read_bytes()


def test_folder_that_is_deleted_is_told_by_its_files(
    small: Path, tmp_path: Path, before_copy: Arrange
) -> None:
    before_copy("data/plates/1.png", lambda path: shutil.rmtree(path.parent))
    made = backup(small, tmp_path / "shelf")
    assert manifest_of(made)["vanished"] == ["data/plates/1.png", "data/plates/2.png"]
    assert "data/nas_smb.json" in names_of(made)


def test_file_that_is_renamed_is_taken_by_its_new_name(
    small: Path, tmp_path: Path, before_copy: Arrange
) -> None:
    """Into a folder that was looked through already and one that is new."""
    content = (small / "plates/1.png").read_bytes()

    def move(path: Path) -> None:
        (small / "a").mkdir()
        path.rename(small / "a/moved.png")

    before_copy("data/plates/1.png", move)
    made = backup(small, tmp_path / "shelf")
    assert manifest_of(made)["vanished"] == ["data/plates/1.png"]
    restore(made, tmp_path / "new")
    assert (tmp_path / "new/a/moved.png").read_bytes() == content


def test_file_that_goes_and_comes_back_is_taken(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone: list[bool] = []

    def copy(found: Found, target: Path, on_bytes: OnBytes) -> KeptFile:
        if found.name == "data/plates/1.png" and not gone:
            gone.append(True)
            raise FileNotFoundError
        return copy_growing(found, target, on_bytes)

    monkeypatch.setattr(taking, "copy_growing", copy)
    made = backup(small, tmp_path / "shelf")
    assert manifest_of(made)["vanished"] == []
    assert "data/plates/1.png" in names_of(made)


# -- disks ----------------------------------------------------------------------------------------


def test_file_that_the_disk_does_not_give_is_named(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fails while an open file is read names no file by itself."""

    class OnBadSectors(FileIO):
        def read(self, *_: object) -> bytes:
            raise OSError(5, "Input/output error")

    def open_file(path: Path, *arguments: Any, **more: Any) -> Any:
        return OnBadSectors(path) if path == bad else real(path, *arguments, **more)

    bad, real = small / "plates/1.png", Path.open
    monkeypatch.setattr(Path, "open", open_file)
    with pytest.raises(BackupFailed, match=f"Input/output error: {bad}"):
        backup(small, tmp_path / "shelf")


def test_file_that_may_only_be_read_is_on_the_disk_before_it_is_closed_to_writing(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where each file is synchronised by itself, which needs it open for writing."""
    (small / "plates/1.png").chmod(0o444)
    synced: dict[int, int] = {}
    real = os.fsync

    def fsync(descriptor: int) -> None:
        status = os.fstat(descriptor)
        synced.setdefault(status.st_ino, stat.S_IMODE(status.st_mode))
        real(descriptor)

    monkeypatch.setattr(files, "_syncfs", lambda: None)
    monkeypatch.setattr(os, "fsync", fsync)
    made = backup(small, tmp_path / "shelf")
    restore(made, tmp_path / "new")
    for top in (made / "data", tmp_path / "new"):
        assert stat.S_IMODE((top / "plates/1.png").stat().st_mode) == 0o444
        assert synced[(top / "plates/1.png").stat().st_ino] & 0o200
        assert {path.stat().st_ino for path in top.rglob("*.png")} <= synced.keys()
