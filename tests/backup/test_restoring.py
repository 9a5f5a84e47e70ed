"""What comes out of a backup: all of it, at its place, and nothing over anybody else's."""

import json
import shutil
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from benchwire.app import create_app
from benchwire.backup import restoring
from benchwire.backup.manifest import BackupFailed, BackupRefused
from benchwire.backup.restoring import restore_backup
from benchwire.backup.taking import Progress
from benchwire.checks import check_all
from benchwire.foundation.jobs.sessions import (
    DataFolderInUse,
    DataFolderLock,
    RestoreCutShort,
    hold_for_server,
)
from benchwire.foundation.settings import ServerSettings, load_server_settings
from tests.backup.commands import backup, forge, restore_killed


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def names_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def params_of(data: Path) -> dict[str, str]:
    with closing(sqlite3.connect(data / "benchwire.db")) as connection:
        return json.loads(connection.execute("SELECT params FROM jobs_record").fetchone()[0])


# -- cut short ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("is_there", [False, True], ids=["new", "there"])
def test_killed_at_any_step_no_server_starts_and_the_next_restore_is_whole(
    small: Path, small_backup: Path, tmp_path: Path, is_there: bool
) -> None:
    step = 0
    while True:
        data, runs = tmp_path / f"{step}/data", tmp_path / f"{step}/runs"
        if is_there:
            data.mkdir(parents=True)
            runs.mkdir()
        was_killed = restore_killed(step, small_backup, data, runs)
        if was_killed:
            with pytest.raises(RestoreCutShort, match="restore"):
                create_app(load_server_settings({"data_dir": data}))
            assert not (data / "benchwire.db-wal").exists()
            restore_backup(small_backup, data, runs_root=runs)
        assert names_in(data) == names_in(small) | {"benchwire.lock"}
        assert names_in(runs) == names_in(small.with_name("small runs"))
        assert params_of(data) == {"image": f"{data}/plates/1.png", "run": f"{runs}/Exp/1.csv"}
        hold_for_server(data).close()
        if not was_killed:
            break
        step += 1
    assert step > 10


def test_what_another_put_beside_leftovers_stays(small_backup: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    assert restore_killed(3, small_backup, new, None)
    (new / "thesis.txt").write_text("mine")
    with pytest.raises(BackupRefused, match="not empty"):
        restore_backup(small_backup, new)
    assert (new / "thesis.txt").read_text() == "mine"
    with pytest.raises(RestoreCutShort):
        hold_for_server(new)


def test_folder_cut_short_is_not_backed_up(small: Path, tmp_path: Path) -> None:
    (small / ".restoring").write_text("[]")
    with pytest.raises(BackupRefused, match="cut short"):
        backup(small, tmp_path / "shelf")


def test_list_of_leftovers_reaches_nothing_outside(small_backup: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    new.mkdir()
    (tmp_path / "thesis.txt").write_text("mine")
    (new / ".restoring").write_text(json.dumps(["../thesis.txt", str(tmp_path / "thesis.txt"), 5]))
    (folder,) = (check for check in check_all(settings_of(new)) if check.name == "data folder")
    assert (folder.ok, "cut short" in folder.text) == (False, True)
    restore_backup(small_backup, new)
    assert (tmp_path / "thesis.txt").read_text() == "mine"
    assert all(check.ok for check in check_all(settings_of(new)))


def settings_of(data: Path) -> ServerSettings:
    return load_server_settings({"data_dir": data})


# -- somebody else in the folder ------------------------------------------------------------------


def test_no_server_starts_in_the_folder_meanwhile(small_backup: Path, tmp_path: Path) -> None:
    tried = []

    def try_to_serve(_: int) -> None:
        with pytest.raises(DataFolderInUse):
            DataFolderLock(tmp_path / "new")
        tried.append(True)

    restore_backup(small_backup, tmp_path / "new", progress=Progress(advance=try_to_serve))
    assert len(tried) > 10
    hold_for_server(tmp_path / "new").close()


@pytest.mark.parametrize("name", ["benchwire.db", "plates"])
def test_what_came_into_the_folder_meanwhile_is_not_overwritten(
    small_backup: Path, tmp_path: Path, name: str
) -> None:
    mine = tmp_path / "new" / name

    def put(_: int) -> None:
        if not mine.exists():
            mine.mkdir() if name == "plates" else mine.write_text("mine")

    with pytest.raises(BackupFailed, match=f"File exists: .*{name}"):
        restore_backup(small_backup, tmp_path / "new", progress=Progress(advance=put))
    assert {path.name for path in (tmp_path / "new").iterdir()} == {name, "benchwire.lock"}
    assert mine.is_dir() or mine.read_text() == "mine"


def test_disk_of_its_own_goes_onto_another(small: Path, tmp_path: Path) -> None:
    """File systems have a lost+found of their own, which is nobody's data."""
    (small / "lost+found").mkdir()
    (tmp_path / "new/lost+found").mkdir(parents=True)
    restore_backup(backup(small, tmp_path / "shelf"), tmp_path / "new")
    assert (tmp_path / "new/benchwire.db").exists()


# -- where the runs go ----------------------------------------------------------------------------


def test_runs_in_two_places_need_to_be_told_where(small: Path, tmp_path: Path) -> None:
    """As in a lab that moved its runs to a second disk and left the older ones."""
    (small / "runs/Exp").mkdir(parents=True)
    (small / "runs/Exp/1.csv").write_text("older")
    made = backup(small, tmp_path / "shelf")
    for runs_root in (None, tmp_path / "new/runs"):
        with pytest.raises(BackupRefused, match="folder of their own") as refused:
            restore_backup(made, tmp_path / "new", runs_root=runs_root)
        assert "--runs-root" in refused.value.hint
        assert not (tmp_path / "new").exists()
    restore_backup(made, tmp_path / "new", runs_root=tmp_path / "apart")
    assert (tmp_path / "new/runs/Exp/1.csv").read_text() == "older"
    assert (tmp_path / "apart/Exp/1.csv").read_text() == "t,i\n1,2\n"


def test_runs_root_at_its_usual_place_is_as_none(small_backup: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    restore_backup(small_backup, new, runs_root=new / "runs")
    assert params_of(new)["run"] == f"{new}/runs/Exp/1.csv"
    assert (new / "runs/Exp/1.csv").exists()


@pytest.mark.parametrize("runs", ["new/elsewhere", "."])
def test_folders_within_each_other_are_refused(
    small_backup: Path, tmp_path: Path, runs: str
) -> None:
    with pytest.raises(BackupRefused, match="in each other"):
        restore_backup(small_backup, tmp_path / "new", runs_root=tmp_path / runs)
    assert not (tmp_path / "new").exists()


def test_room_is_looked_for_on_each_disk(
    small_backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = json.loads((small_backup / "manifest.json").read_text("utf-8"))["files"]
    of_runs = sum(file["size"] for file in files if file["name"].startswith("runs/"))
    of_data = sum(file["size"] for file in files) - of_runs
    data, runs = tmp_path / "data", tmp_path / "runs"
    disks = {data: 1, runs: 2}
    free = {data: restoring._ROOM_BYTES + of_data, runs: restoring._ROOM_BYTES + of_runs - 1}
    monkeypatch.setattr(restoring, "disk_of", lambda folder: disks[folder])
    monkeypatch.setattr(restoring, "free_bytes", lambda folder: free[folder])
    with pytest.raises(BackupRefused, match=f"are free at {runs}"):
        restore_backup(small_backup, data, runs_root=runs)
    free[runs] += 1
    disks[runs] = disks[data]
    with pytest.raises(BackupRefused, match=f"are free at {data}"):
        restore_backup(small_backup, data, runs_root=runs)
    assert not data.exists()
    disks[runs] = 2
    restore_backup(small_backup, data, runs_root=runs)


# -- permissions ----------------------------------------------------------------------------------


def test_folders_keep_their_permissions(small: Path, tmp_path: Path) -> None:
    small.chmod(0o700)
    (small / "plates").chmod(0o750)
    small.with_name("small runs").chmod(0o770)
    made = backup(small, tmp_path / "shelf")
    restore_backup(made, tmp_path / "new", runs_root=tmp_path / "runs")
    assert mode_of(tmp_path / "new") == 0o700
    assert mode_of(tmp_path / "new/plates") == 0o750
    assert mode_of(tmp_path / "runs") == 0o770
    (tmp_path / "there").mkdir(mode=0o711)
    restore_backup(made, tmp_path / "there")
    assert mode_of(tmp_path / "there") == 0o711


def test_backup_without_permissions_of_folders_is_restored(
    small_backup: Path, tmp_path: Path
) -> None:
    forge(small_backup, lambda manifest: manifest.pop("folder_modes"))
    restore_backup(small_backup, tmp_path / "new")
    assert mode_of(tmp_path / "new") == 0o755


def test_no_file_gets_the_rights_of_its_owner(small: Path, tmp_path: Path) -> None:
    (small / "plates/1.png").chmod(0o4755)
    made = backup(small, tmp_path / "shelf")
    manifest = json.loads((made / "manifest.json").read_text("utf-8"))
    modes = {file["name"]: file["mode"] for file in manifest["files"]}
    assert modes["data/plates/1.png"] == 0o755
    for file in manifest["files"]:
        file["mode"] |= 0o6000
    forge(made, lambda found: found.update(files=manifest["files"]))
    restore_backup(made, tmp_path / "new")
    for path in (tmp_path / "new").rglob("*"):
        assert mode_of(path) & 0o7000 == 0


# -- paths in files -------------------------------------------------------------------------------


def test_answers_of_fittings_name_the_new_place(small: Path, tmp_path: Path) -> None:
    """In a folder whose name JSON may write in two ways."""
    lab = small.rename(small.with_name("Größe"))
    answer = lab / "traces/job_1/answer.json"
    answer.parent.mkdir(parents=True)
    answer.write_text(json.dumps({"results_file": f"{lab}/fits.csv", "results": [1.5]}))
    made = backup(lab, tmp_path / "shelf")
    shutil.rmtree(lab)
    new = tmp_path / "Maß"
    restore_backup(made, new)
    moved = json.loads((new / "traces/job_1/answer.json").read_text())
    assert moved == {"results_file": f"{new}/fits.csv", "results": [1.5]}
