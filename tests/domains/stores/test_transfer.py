"""What a worker does for a copy, step by step."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from benchwire.domains.stores import transfer
from benchwire.domains.stores.access import StoreAccess
from benchwire.domains.stores.errors import (
    CopyDiffers,
    CopyInvalid,
    ExtraMissing,
    StoreAway,
    StoreRefuses,
    TargetTaken,
)
from benchwire.domains.stores.sent import Sent, note, noted
from benchwire.domains.stores.transfer import Entry
from benchwire.foundation.files import AllowedFolders, DiskAlmostFull, DiskRefused, refuse_too_large
from tests.domains.stores.conftest import OPEN
from tests.support.s3 import BUCKET, ObjectStore

ALL = AllowedFolders()


class Silent:
    """A reporter to whom nothing matters."""

    def progress(self, fraction: float, message: str = "") -> None:
        assert 0 <= fraction <= 1

    def raise_if_stopped(self) -> None:
        pass


def test_what_a_killed_worker_had_begun_is_not_part_of_the_copy(tmp_path: Path) -> None:
    begun = tmp_path / ".copy.part"
    (begun / "sub").mkdir(parents=True)
    for name in ("a", "sub/.hidden.part", "sub/.b.x7.part"):
        (begun / name).write_bytes(b"1")
    entries = [Entry(name, 1, "") for name in ("a", "sub/.hidden.part")]
    transfer.settle(Silent(), begun, tmp_path / "copy", entries)
    left = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*"))
    assert left == ["copy", "copy/a", "copy/sub", "copy/sub/.hidden.part"]


def test_what_came_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    begun = tmp_path / ".copy.part"
    begun.mkdir()
    (begun / "a").write_bytes(b"1")
    (tmp_path / "copy").write_bytes(b"somebody's")
    with pytest.raises(TargetTaken):
        transfer.settle(Silent(), begun, tmp_path / "copy", [Entry("a", 1, "")])
    assert (tmp_path / "copy").read_bytes() == b"somebody's"


def waiting_file(folder: Path) -> tuple[Path, Path, list[Entry]]:
    """Return a file that has arrived, where it is to go, and what it is."""
    begun = folder / ".copy.part"
    begun.mkdir()
    (begun / "file").write_bytes(b"1")
    return begun, folder / "copy", [Entry("", 1, "")]


def test_a_file_that_comes_at_the_last_moment_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, target, entries = waiting_file(tmp_path)

    def coming_before(call: Any) -> Any:
        def called(path: Path, other: Path) -> Any:
            target.write_bytes(b"somebody's")
            return call(path, other)

        return called

    for name in ("rename", "hardlink_to"):
        monkeypatch.setattr(Path, name, coming_before(getattr(Path, name)))
    with pytest.raises(TargetTaken):
        transfer.settle(Silent(), begun, target, entries)
    assert target.read_bytes() == b"somebody's"


def test_a_file_whose_naming_was_cut_short_gets_its_name(tmp_path: Path) -> None:
    begun, target, entries = waiting_file(tmp_path)
    target.hardlink_to(begun / "file")
    transfer.settle(Silent(), begun, target, entries)
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


@pytest.mark.parametrize("is_taken", [False, True])
def test_a_disk_without_second_names_of_files_takes_a_copy_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_taken: bool
) -> None:
    begun, target, entries = waiting_file(tmp_path)

    def refuse(_: Path, other: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted", other)

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    if is_taken:
        target.symlink_to("nowhere")
        with pytest.raises(TargetTaken):
            transfer.settle(Silent(), begun, target, entries)
    else:
        transfer.settle(Silent(), begun, target, entries)
        assert target.read_bytes() == b"1"


@pytest.mark.parametrize("there", [{"a": b"1"}, {"a": b"1", "b": b"12"}, {"a": b"1", "b/c": b"1"}])
def test_what_has_gone_from_where_it_waited_makes_no_whole_copy(
    tmp_path: Path, there: dict[str, bytes]
) -> None:
    begun = tmp_path / ".copy.part"
    for name, content in there.items():
        (begun / name).parent.mkdir(parents=True, exist_ok=True)
        (begun / name).write_bytes(content)
    with pytest.raises(CopyDiffers, match="b has gone"):
        transfer.settle(Silent(), begun, tmp_path / "copy", [Entry("a", 1, ""), Entry("b", 1, "")])
    assert not (tmp_path / "copy").exists()


def test_a_folder_that_cannot_be_read_is_not_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As root everything can be read, so the system's call is made to fail."""
    for name in ("open/a", "shut/b"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"1")
    scan = os.scandir

    def scandir(path: str) -> Any:
        if str(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(DiskRefused, match="Permission denied"):
        transfer.list_here(Silent(), tmp_path, ALL)


@pytest.fixture
def notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a worker notes what it puts into a store."""
    return tmp_path_factory.mktemp("data") / "stores" / "job" / "0"


def test_an_object_of_somebody_else_stays_as_it_is(
    tmp_path: Path, known_store: ObjectStore, notes: Path
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"mine")
    entries = transfer.list_here(Silent(), tmp_path, ALL).entries
    known_store.put("open/x/b", b"a colleague's")
    with pytest.raises(TargetTaken, match="has put b there"):
        transfer.send(Silent(), tmp_path, entries, f"{OPEN}/x", ALL, notes)
    (sent,) = noted(notes.parent)
    assert transfer.take_back(Silent(), f"{OPEN}/x", sent) == []
    assert known_store.names() == ["open/x/b"]
    known_store.put("open/x/b", b"mime")
    with pytest.raises(CopyDiffers, match="b is not in the store as it was sent"):
        transfer.send(Silent(), tmp_path, entries, f"{OPEN}/x", ALL, notes)


def test_only_what_was_put_and_is_the_same_still_is_taken_back(
    tmp_path: Path, known_store: ObjectStore, notes: Path
) -> None:
    """Of objects of one size: another server's was there, a colleague has replaced a second."""
    for name in "abcd":
        (tmp_path / name).write_bytes(b"mine")
    entries = transfer.list_here(Silent(), tmp_path, ALL).entries
    known_store.put("open/x/b", b"mine")
    transfer.send(Silent(), tmp_path, entries, f"{OPEN}/x", ALL, notes)
    known_store.put("open/x/c", b"hers")
    known_store.client.delete_object(Bucket=BUCKET, Key="open/x/d")
    (sent,) = noted(notes.parent)
    assert [each.name for each in sent] == ["a", "c", "d"]
    assert transfer.take_back(Silent(), f"{OPEN}/x", sent) == ["c"]
    assert known_store.names() == ["open/x/b", "open/x/c"]


def test_a_manifest_of_somebody_else_stays_as_it_is(known_store: ObjectStore, notes: Path) -> None:
    known_store.put("open/x/benchwire-copy.json", b"hers")
    with pytest.raises(TargetTaken, match=r"has put benchwire-copy\.json there"):
        transfer.declare(Silent(), f"{OPEN}/x", [], notes)
    assert known_store.get("open/x/benchwire-copy.json") == b"hers"
    assert noted(notes.parent) == []


def test_half_a_note_costs_no_other(notes: Path) -> None:
    sent = [Sent(name, 1, "0f") for name in ("a", "ü", "")]
    note(notes, sent[0])
    with notes.open("ab") as file:
        file.write(b'\n["half')
    for each in (*sent[1:], sent[1]):
        note(notes, each)
    assert noted(notes.parent) == [sent]


@pytest.mark.parametrize("name", ["a?versionId=2", "a\\b", "a\nb", "\udcfc.txt", "x" * 241, "C:x"])
def test_a_name_that_could_not_come_back_does_not_go_out(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"1")
    with pytest.raises(CopyInvalid, match="is no name that"):
        transfer.list_here(Silent(), tmp_path, ALL)


def test_a_link_whose_name_is_no_text_is_refused_in_words_that_can_be_stored(
    tmp_path: Path,
) -> None:
    shown = tmp_path / "shown"
    shown.mkdir()
    (shown / "\udcfc.txt").symlink_to(tmp_path)
    with pytest.raises(CopyInvalid) as caught:
        transfer.list_here(Silent(), shown, AllowedFolders([shown]))
    assert caught.value.message.isascii()


def test_a_file_that_is_another_by_now_is_not_sent(
    tmp_path: Path, known_store: ObjectStore, notes: Path
) -> None:
    (tmp_path / "a").write_bytes(b"before")
    entries = transfer.list_here(Silent(), tmp_path, ALL).entries
    (tmp_path / "a").write_bytes(b"after it")
    with pytest.raises(CopyDiffers, match="a was changed"):
        transfer.send(Silent(), tmp_path, entries, f"{OPEN}/x", ALL, notes)
    (tmp_path / "a").unlink()
    with pytest.raises(CopyDiffers, match="a was changed"):
        transfer.send(Silent(), tmp_path, entries, f"{OPEN}/x", ALL, notes)
    assert known_store.names() == []


def test_a_large_file_goes_in_parts_and_is_whole(
    tmp_path: Path, known_store: ObjectStore, notes: Path
) -> None:
    content = bytes(range(256)) * 480_000  # S3's library sends more than 100 MB in parts
    (tmp_path / "large").write_bytes(content)
    entries = transfer.list_here(Silent(), tmp_path / "large", ALL).entries
    transfer.send(Silent(), tmp_path / "large", entries, f"{OPEN}/large", ALL, notes)
    assert known_store.get("open/large") == content


def test_an_upload_that_is_ended_leaves_no_object(tmp_path: Path, known_store: ObjectStore) -> None:
    (tmp_path / "large").write_bytes(bytes(120_000_000))

    def stop(_: int) -> None:
        raise RuntimeError("enough")

    with pytest.raises((RuntimeError, StoreAway)):
        StoreAccess(f"{OPEN}/large").put("", str(tmp_path / "large"), stop)
    assert known_store.names() == []


def test_a_library_that_is_not_installed_is_named() -> None:
    with pytest.raises(ExtraMissing) as caught:
        StoreAccess("gs://lab/open")
    assert "benchwire[stores]" in caught.value.hint


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (PermissionError("AccessDenied"), StoreRefuses),
        (OSError(16, "Please reduce your request rate."), StoreAway),
        (TimeoutError(), StoreAway),
        (UnicodeEncodeError("ascii", "x", 0, 1, "no"), StoreRefuses),
        (KeyError("ours"), KeyError),
        (MemoryError(), MemoryError),
    ],
)
def test_troubles_of_the_store_are_not_taken_for_those_of_the_disk(
    tmp_path: Path,
    known_store: ObjectStore,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    kind: type[Exception],
) -> None:
    """In the middle of a file, where the disk's own are told as such."""
    known_store.put("open/a", b"1" * 20_000_000)
    entries = transfer.list_store(Silent(), f"{OPEN}/a").entries
    from s3fs.core import S3File

    fetched: Any = S3File._fetch_range

    def failing(file: Any, start: int, end: int) -> bytes:
        if start > 0:
            raise error
        return bytes(fetched(file, start, end))

    monkeypatch.setattr(S3File, "_fetch_range", failing)
    with pytest.raises(kind):
        transfer.fetch(Silent(), f"{OPEN}/a", entries, tmp_path / "part", ALL)
    assert list((tmp_path / "part").iterdir()) == []
    monkeypatch.undo()


def test_troubles_of_the_disk_are_told_as_such(tmp_path: Path, known_store: ObjectStore) -> None:
    known_store.put("open/a", b"1")
    entries = transfer.list_store(Silent(), f"{OPEN}/a").entries
    (tmp_path / "part").write_bytes(b"in the way")
    with pytest.raises(DiskRefused):
        transfer.fetch(Silent(), f"{OPEN}/a", entries, tmp_path / "part", ALL)


def test_placeholders_of_folders_are_left_out_and_odd_objects_refused(
    known_store: ObjectStore,
) -> None:
    for key in ("open/f/", "open/f/sub/", "open/f/sub/a"):
        known_store.put(key, b"" if key.endswith("/") else b"1")
    assert [entry.name for entry in transfer.list_store(Silent(), f"{OPEN}/f").entries] == ["sub/a"]
    known_store.put("open/f/sub//b", b"1")
    with pytest.raises(CopyInvalid):
        transfer.list_store(Silent(), f"{OPEN}/f")
    for keys in (("open/g", "open/g/a"), ("open/h/a", "open/h/a/b")):
        for key in keys:
            known_store.put(key, b"1")
        with pytest.raises(CopyInvalid, match="an object and a folder at once"):
            transfer.list_store(Silent(), f"{OPEN}/{keys[0][5]}")


def test_what_would_not_fit_is_refused(tmp_path: Path) -> None:
    refuse_too_large(tmp_path, 1, "the copy")
    with pytest.raises(DiskAlmostFull, match="are needed for the copy"):
        refuse_too_large(tmp_path, 1 << 60, "the copy")
