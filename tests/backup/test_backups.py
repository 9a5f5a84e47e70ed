"""Backups of a folder with work of every domain: whole, verified, or refused and nothing left."""

import hashlib
import json
import os
import signal
import sqlite3
import stat
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from benchwire.backup.manifest import BackupFailed
from benchwire.foundation import schema
from benchwire.foundation.jobs.sessions import DataFolderLock, RestoreCutShort, hold_for_server
from tests.backup.commands import arguments, backup, environment, forge, refused, restore, run
from tests.support.clock import ManualClock
from tests.support.waiting import until
from tests.upgrades.placing import extract

MADE = {"benchwire.db", "benchwire.lock"}
LEFT_OUT = {
    ".session_key", "benchwire.lock", "owner.json", "battery/recorded", "emulated",
    "plates/previews",
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = extract("0.1.0", tmp_path_factory.mktemp("kept")).data
    (folder / "nas_smb.json").write_text('{"password": "secret"}')
    (folder / "nas_smb.json").chmod(0o600)
    (folder / "benchwire.toml").write_text("port = 8123\n")
    (folder / "emulated").mkdir()
    (folder / "emulated/potentiostat-1").symlink_to("/dev/null")
    (folder / "runs/Größe 1").mkdir()
    (folder / "runs/Größe 1/.half.csv.x7.part").write_text("not yet")
    (folder / "runs/Größe 1/a;b 'c\".txt").write_text("odd names are names")
    return folder


@pytest.fixture(scope="module")
def made(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return backup(data, tmp_path_factory.mktemp("shelf"))


def files_of(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def rows_of(path: Path) -> dict[str, list[tuple[object, ...]]]:
    with closing(sqlite3.connect(path)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        names = [name for (name,) in tables.fetchall()]
        return {
            name: sorted(connection.execute(f'SELECT * FROM "{name}"').fetchall(), key=repr)
            for name in names
        }


def is_kept(name: str) -> bool:
    return not (
        name.endswith(".part")
        or name.startswith("benchwire.db")
        or any(name == item or name.startswith(f"{item}/") for item in LEFT_OUT)
    )


# -- what is in it ------------------------------------------------------------------------------


def test_restored_elsewhere_it_is_the_same(data: Path, made: Path, tmp_path: Path) -> None:
    restore(made, tmp_path / "new")
    for answer in (tmp_path / "new").glob("traces/*/answer.json"):
        # Paths in these are moved, and nothing else is changed.
        moved = answer.read_text("utf-8")
        seen = answer.stat()
        assert f'"results_file": "{tmp_path}/new/' in moved
        answer.write_text(moved.replace(f"{tmp_path}/new/", f"{data}/"), "utf-8")
        os.utime(answer, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    old, new = files_of(data), files_of(tmp_path / "new")
    assert {name: old[name] for name in old if is_kept(name)} == {
        name: new[name] for name in new if name not in MADE
    }
    for name in new:
        if name not in MADE:
            before, after = (data / name).stat(), (tmp_path / "new" / name).stat()
            assert (before.st_mtime_ns, before.st_mode) == (after.st_mtime_ns, after.st_mode)
    kept = {path.relative_to(data).as_posix() for path in data.rglob("*") if path.is_dir()}
    for name in filter(is_kept, kept):
        assert (tmp_path / "new" / name).is_dir()
    before, after = rows_of(data / "benchwire.db"), rows_of(tmp_path / "new/benchwire.db")
    moved = repr(before).replace(str(data), str(tmp_path / "new"))
    assert {name: len(rows) for name, rows in before.items()} == {
        name: len(rows) for name, rows in after.items()
    }
    assert str(data) not in repr(after)
    assert moved.count(str(tmp_path / "new")) == repr(after).count(str(tmp_path / "new"))


def test_command_says_what_it_did(data: Path, tmp_path: Path) -> None:
    for number in (1, 2):
        done = run("backup", tmp_path / "shelf", "--data-dir", data, "--keep", "1")
        assert done.returncode == 0, done.stderr
        assert "files" in done.stdout
        assert ("deleted: benchwire-" in done.stdout) is (number == 2)
    (made,) = (tmp_path / "shelf").glob("benchwire-2*")
    done = run("restore", made, "--data-dir", tmp_path / "new")
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "new") in done.stdout
    assert "benchwire.toml" in done.stdout
    done = run("restore", made, BENCHWIRE_DATA_DIR=str(tmp_path / "named"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "named" / "benchwire.db").is_file()


def test_same_place_changes_nothing_in_the_database(made: Path, tmp_path: Path) -> None:
    manifest = json.loads((made / "manifest.json").read_text("utf-8"))
    assert manifest["schema"] == "0005"
    first, second = tmp_path / "one", tmp_path / "two"
    restore(made, first)
    again = backup(first, tmp_path / "shelf")
    first.rename(second)
    restore(again, first)
    assert rows_of(first / "benchwire.db") == rows_of(second / "benchwire.db")


def test_checksums_are_those_of_sha256sum(made: Path) -> None:
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"],
        cwd=made, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    listed = (made / "SHA256SUMS").read_text("utf-8").splitlines()
    assert len(listed) == len(files_of(made)) - 1


def test_password_stays_private_and_sessions_do_not_travel(made: Path, tmp_path: Path) -> None:
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    assert not list(made.rglob(".session_key"))
    restore(made, tmp_path / "new")
    assert stat.S_IMODE((tmp_path / "new/nas_smb.json").stat().st_mode) == 0o600


def test_runs_in_a_folder_of_their_own_are_taken_too(data: Path, tmp_path: Path) -> None:
    first = tmp_path / "first"
    restore(backup(data, tmp_path / "a"), first)
    runs = tmp_path / "disk/runs"
    runs.parent.mkdir()
    (first / "runs").rename(runs)
    (first / "benchwire.toml").write_text(f'[potentiostat]\nruns_root = "{runs}"\n')
    made = backup(first, tmp_path / "b")
    restore(made, tmp_path / "together")
    restore(made, tmp_path / "apart", runs_root=tmp_path / "other")
    assert files_of(tmp_path / "together/runs") == files_of(runs) == files_of(tmp_path / "other")
    assert not (tmp_path / "apart/runs").exists()


def test_links_are_named_and_not_followed(data: Path, tmp_path: Path) -> None:
    first = tmp_path / "first"
    restore(backup(data, tmp_path / "a"), first)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("not of this lab")
    (first / "linked").symlink_to(tmp_path / "outside")
    made = backup(first, tmp_path / "b")
    assert json.loads((made / "manifest.json").read_text())["links"] == ["data/linked"]
    assert not list(made.rglob("secret"))


def backups_on(shelf: Path) -> set[str]:
    return {path.name for path in shelf.glob("benchwire-2*")}


def test_oldest_give_way_and_nothing_else(data: Path, tmp_path: Path) -> None:
    shelf, clock = tmp_path / "shelf", ManualClock()
    others = {"benchwire-notes", "other", "benchwire-20200101T000000Z"}
    for name in others:
        (shelf / name).mkdir(parents=True)
        (shelf / name / "mine").write_text("kept")
    names = []
    for seconds in (0, 0, 0, 0, 1, 0):
        clock.wind(seconds)
        names.append(backup(data, shelf, keep=2, clock=clock).name)
        there = {path.name for path in shelf.iterdir() if path.is_dir()}
        assert there == {*names[-2:], *others}
    assert len(set(names)) == len(names)


def test_newest_stays_though_the_clock_was_set_back(data: Path, tmp_path: Path) -> None:
    shelf, clock = tmp_path / "shelf", ManualClock()
    first = backup(data, shelf, clock=clock).name
    clock.wind(-3600)
    second = backup(data, shelf, keep=2, clock=clock).name
    assert backups_on(shelf) == {first, second}
    third = backup(data, shelf, keep=1, clock=clock).name
    assert backups_on(shelf) == {third}


# -- what is refused ------------------------------------------------------------------------------


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def largest(folder: Path) -> Path:
    return max((path for path in folder.rglob("*") if path.is_file()), key=os.path.getsize)


@pytest.mark.parametrize("what", ["file", "database", "manifest", "missing", "sums", "escaping"])
def test_damaged_backup_is_refused_and_nothing_made(data: Path, tmp_path: Path, what: str) -> None:
    made = backup(data, tmp_path / "shelf")
    if what == "file":
        flip(largest(made / "data"))
    elif what == "database":
        flip(made / "database.sqlite")
    elif what == "manifest":
        flip(made / "manifest.json")
    elif what == "missing":
        largest(made / "data").unlink()
    elif what == "sums":
        (made / "SHA256SUMS").unlink()
    else:
        forge(made, lambda manifest: manifest["files"][0].update(name="data/../../escaped"))
    said = refused(run("restore", made, "--data-dir", tmp_path / "new"))
    assert said.startswith("benchwire: ")
    assert [path.name for path in tmp_path.iterdir()] == ["shelf"]


def test_newer_schema_is_refused(data: Path, tmp_path: Path) -> None:
    made = backup(data, tmp_path / "shelf")
    forge(made, lambda manifest: manifest.update(schema="9999"))
    said = refused(run("restore", made, "--data-dir", tmp_path / "new"))
    assert "9999" in said
    assert schema.head() in said
    assert not (tmp_path / "new").exists()


def test_folder_in_use_is_no_target(made: Path, tmp_path: Path) -> None:
    for name, file in (("full", "something"), ("served", "benchwire.lock")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).touch()
    lock = DataFolderLock(tmp_path / "served")
    try:
        for name, file in (("full", "something"), ("served", "benchwire.lock")):
            refused(run("restore", made, "--data-dir", tmp_path / name))
            assert [path.name for path in (tmp_path / name).iterdir()] == [file]
    finally:
        lock.close()


def test_folder_that_is_there_is_filled_where_it_is(data: Path, made: Path, tmp_path: Path) -> None:
    """As it may be a disk of its own, which cannot be replaced by another folder."""
    target = tmp_path / "disk"
    (target / ".restore.part/data").mkdir(parents=True)
    (target / "lost+found").mkdir()
    before = target.stat().st_ino
    restore(made, target)
    assert target.stat().st_ino == before
    there = {path.name for path in target.iterdir()} - {"lost+found"}
    restore(made, tmp_path / "new")
    assert there == {path.name for path in (tmp_path / "new").iterdir()}
    assert files_of(target).keys() == files_of(tmp_path / "new").keys()


def test_locked_database_is_not_waited_for_for_ever(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchwire.backup.database.BUSY_SECONDS", 0.5)
    restore(backup(data, tmp_path / "a"), tmp_path / "first")
    with closing(sqlite3.connect(tmp_path / "first/benchwire.db")) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(BackupFailed, match="locked"):
            backup(tmp_path / "first", tmp_path / "b")
    assert not list((tmp_path / "b").glob("benchwire-*"))


def test_nothing_to_keep_and_places_that_cannot_be(data: Path, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    refused(run("backup", tmp_path / "shelf", "--data-dir", tmp_path / "nothing"))
    refused(run("backup", data / "shelf", "--data-dir", data))
    assert not (tmp_path / "shelf").exists()
    assert not (data / "shelf").exists()
    refused(run("restore", tmp_path / "nothing", "--data-dir", tmp_path / "new"))
    lock = DataFolderLock(tmp_path / "nothing")
    try:
        refused(run("backup", tmp_path / "nothing", "--data-dir", data))
    finally:
        lock.close()


def test_damaged_database_is_not_kept_as_a_backup(data: Path, tmp_path: Path) -> None:
    first = tmp_path / "first"
    restore(backup(data, tmp_path / "a"), first)
    content = bytearray((first / "benchwire.db").read_bytes())
    for place in range(len(content) // 3, 2 * len(content) // 3):
        content[place] ^= 0x5A
    (first / "benchwire.db").write_bytes(content)
    assert "damaged" in refused(run("backup", tmp_path / "b", "--data-dir", first))
    assert not list((tmp_path / "b").glob("benchwire-*"))


# -- what breaks off ------------------------------------------------------------------------------


def test_too_little_room_is_known_beforehand(data: Path, tmp_path: Path) -> None:
    first = tmp_path / "first"
    restore(backup(data, tmp_path / "a"), first)
    with (first / "huge").open("wb") as file:
        file.truncate(8 << 40)
    assert "are free" in refused(run("backup", tmp_path / "b", "--data-dir", first))
    assert not list((tmp_path / "b").glob("benchwire-*"))


@pytest.mark.parametrize("largest_file", [4096, 200_000, 1_000_000])
def test_full_disk_leaves_nothing_half(
    data: Path, made: Path, tmp_path: Path, largest_file: int
) -> None:
    """The database, a table or the movie is the first that does not fit."""
    shelf = tmp_path / "shelf"
    said = refused(run("backup", shelf, "--data-dir", data, largest_file=largest_file))
    assert "cannot be copied" in said or ("Nothing of it is left" in said and ".part/" in said)
    assert not [path for path in shelf.iterdir() if path.name != "benchwire.lock"]
    (tmp_path / "there").mkdir()
    for name in ("new", "there"):
        words = ("restore", made, "--data-dir", tmp_path / name)
        assert f"{name}/.restore.part/" in refused(run(*words, largest_file=largest_file))
    assert not (tmp_path / "new").exists()
    assert not list(tmp_path.rglob("*.part"))
    assert not list((tmp_path / "there").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("command", ["backup", "restore"])
def test_killed_half_way_it_does_not_count(data: Path, tmp_path: Path, command: str) -> None:
    first, shelf = tmp_path / "first", tmp_path / "shelf"
    restore(backup(data, tmp_path / "a"), first)
    with (first / "zz.bin").open("wb") as file:
        for _ in range(150):
            file.write(os.urandom(1 << 20))
    if command == "backup":
        words, part = ("backup", shelf, "--data-dir", first), "benchwire-*.part/data/zz.bin"
        home = shelf
    else:
        made = backup(first, shelf)
        words = ("restore", made, "--data-dir", tmp_path / "new")
        home, part = tmp_path, "new/.restore.part/zz.bin"
    process = subprocess.Popen(arguments(*words), env=environment())
    until(lambda: list(home.glob(part)), seconds=30, what="the copy of the large file")
    process.send_signal(signal.SIGKILL)
    assert process.wait(10) == -signal.SIGKILL
    if command == "backup":
        assert not [path for path in shelf.glob("benchwire-2*") if path.suffix != ".part"]
        made = backup(first, shelf)
        assert [path.name for path in shelf.glob("benchwire-2*")] == [made.name]
    else:
        with pytest.raises(RestoreCutShort):
            hold_for_server(tmp_path / "new")
    restore(made, tmp_path / "new")
    assert not list(tmp_path.rglob("*.part"))
    assert (tmp_path / "new/zz.bin").read_bytes() == (first / "zz.bin").read_bytes()
