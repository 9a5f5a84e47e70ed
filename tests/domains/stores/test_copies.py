"""Copies from an object store and to it, over the API, with a store that speaks S3."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from benchwire.domains.stores.service import pieces_of
from benchwire.domains.stores.transfer import Entry
from tests.domains.stores.conftest import OPEN, Desk, serving
from tests.support.lines import CutLine
from tests.support.ports import free_port
from tests.support.s3 import BUCKET, ObjectStore
from tests.support.waiting import until

FILES = {
    "a.bin": os.urandom(9_000_000), "sub/b.txt": b"b", "sub/deep/none": b"", "ü €.txt": b"u",
    "pos[1] #2 {x}.tif": b"t",
}  # fmt: skip
LARGE = 30_000_000


def make_folder(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_folder_goes_out_and_comes_back_as_it_was(desk: Desk) -> None:
    source = make_folder(desk.area / "movie", FILES)
    status = desk.copied(source, f"{OPEN}/2026/movie")
    assert (status["n_files"], status["size_bytes"]) == (5, 9_000_003)
    assert status["progress"] == {"current_file": 5, "total_files": 5, "percentage": 100.0}
    assert {key: desk.store.get(f"open/2026/movie/{key}") for key in FILES} == FILES
    manifest = json.loads(desk.store.get("open/2026/movie/benchwire-copy.json"))["files"]
    assert {item["name"]: item["sha256"] for item in manifest} == {
        name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()
    }
    desk.copied(f"{OPEN}/2026/movie", desk.area / "new" / "back")
    assert contents(desk.area / "new" / "back") == FILES
    assert not [name for name in desk.left() if name.endswith(".part")]


def test_a_single_file_goes_out_and_comes_back_as_it_was(desk: Desk) -> None:
    source = make_folder(desk.area, {"one.nd2": FILES["a.bin"]}) / "one.nd2"
    desk.copied(source, f"{OPEN}/one.nd2")
    assert desk.store.names() == ["open/one.nd2"]
    desk.copied(f"{OPEN}/one.nd2", desk.area / "two.nd2")
    assert (desk.area / "two.nd2").read_bytes() == FILES["a.bin"]
    assert desk.left() == ["one.nd2", "two.nd2"]


def test_the_stores_and_what_is_in_them_can_be_seen(desk: Desk) -> None:
    assert desk.client.get("/stores").json() == {"success": True, "stores": [OPEN]}
    desk.store.put("open/movies/b.tif", b"12")
    desk.store.put("open/movies/a/x", b"1")
    found = desk.client.get("/stores/objects", params={"url": f"{OPEN}/movies/"}).json()
    assert found == {
        "success": True,
        "url": f"{OPEN}/movies",
        "items": [
            {"name": "a", "type": "folder", "size_bytes": None, "url": f"{OPEN}/movies/a"},
            {"name": "b.tif", "type": "file", "size_bytes": 2, "url": f"{OPEN}/movies/b.tif"},
        ],
        "has_more": False,
    }
    answer = desk.client.get("/stores/objects", params={"url": f"{OPEN}/movies/b.tif"})
    assert answer.json()["items"] == found["items"][1:]
    for url, status in (("s3://lab-movies/closed", 403), (f"{OPEN}/none", 404), ("/etc", 400)):
        answer = desk.client.get("/stores/objects", params={"url": url})
        assert answer.status_code == status, answer.text


def test_what_cannot_be_copied_is_refused_before_there_is_a_job(desk: Desk) -> None:
    here = make_folder(desk.area / "here", {"a": b"1"})
    desk.store.put("open/there/a", b"1")
    (desk.area / "empty").mkdir()
    outside = make_folder(desk.area.parent / "outside", {"secret": b"s"})
    make_folder(desk.area / "linking", {"a": b"1"})
    (desk.area / "linking" / "b").symlink_to(outside / "secret")
    refusals = [
        (here, desk.area / "x", 400, "one of source and target"),
        (f"{OPEN}/there", f"{OPEN}/x", 400, "one of source and target"),
        (f"{OPEN}/there", here, 409, "is there already"),
        (f"{OPEN}/none", desk.area / "x", 404, "nothing at that address"),
        (f"{OPEN}/there", outside / "x", 403, "outside the folders"),
        (f"{OPEN}/there", "relative", 400, "absolute"),
        ("s3://lab-movies/closed", desk.area / "x", 403, "in no store"),
        (here, f"{OPEN}/there", 409, "something at that address"),
        (here, f"{OPEN}/there/a", 409, "something at that address"),
        (here, f"{OPEN}/../closed", 400, "only points"),
        (outside, f"{OPEN}/x", 403, "outside the folders"),
        (desk.area / "none", f"{OPEN}/x", 404, "no none"),
        (desk.area / "empty", f"{OPEN}/x", 400, "no file in that folder"),
        (desk.area / "linking", f"{OPEN}/x", 403, "outside the folders"),
        (desk.area / "own", f"{OPEN}/x", 400, "of its own"),
        (desk.area / "folder", f"{OPEN}/x", 400, "neither a file nor a folder"),
        (f"{OPEN}/none", desk.area / "new" / "deep" / "x", 404, "nothing at that address"),
    ]
    make_folder(desk.area / "own", {"benchwire-copy.json": b"{}", "a": b"1"})
    folder_linked = make_folder(desk.area / "folder", {"a": b"1"})
    (folder_linked / "link").symlink_to(here, target_is_directory=True)
    before = desk.left()
    for source, target, status, words in refusals:
        answer = desk.refused(source, target)
        assert answer[0] == status, (source, target, answer)
        assert words.lower() in answer[1].lower()
    assert desk.left() == before
    assert desk.store.names() == ["open/there/a"]


@pytest.mark.parametrize("name", ["../out", "a\\b", "C:/x", "sub/../../out", "x" * 250, "a/\x01"])
def test_a_name_that_leads_elsewhere_is_refused(desk: Desk, name: str) -> None:
    desk.store.put("open/odd/fine", b"1")
    desk.store.put(f"open/odd/{name}", b"1")
    status, words = desk.refused(f"{OPEN}/odd", desk.area / "odd")
    assert status == 400, words
    assert "is no name that stores and all computers can have" in words
    assert desk.left() == []


def test_what_differs_from_its_manifest_is_refused_and_leaves_nothing(desk: Desk) -> None:
    make_folder(desk.area / "movie", {"a": b"right", "b": b"b"})
    desk.copied(desk.area / "movie", f"{OPEN}/movie")
    desk.store.put("open/movie/a", b"wrong")
    status = desk.ended(desk.start(f"{OPEN}/movie", desk.area / "back"))
    assert status["status"] == "failed"
    assert status["error"] == "a did not arrive as it was sent"
    assert desk.left() == ["movie", "movie/a", "movie/b"]
    desk.store.client.delete_object(Bucket=BUCKET, Key="open/movie/b")
    code, words = desk.refused(f"{OPEN}/movie", desk.area / "back")
    assert code == 409
    assert words == "b is in benchwire-copy.json and not in the store"


def test_a_manifest_that_is_none_of_ours_is_refused(desk: Desk) -> None:
    for content in (b"{", b"[]", b'{"files": [1]}', b"[" * 100_000):
        desk.store.put("open/movie/a", b"1")
        desk.store.put("open/movie/benchwire-copy.json", content)
        assert desk.refused(f"{OPEN}/movie", desk.area / "back")[0] == 400


def test_a_cancelled_copy_leaves_nothing_in_either_place(desk: Desk) -> None:
    source = make_folder(
        desk.area / "many", {f"{n:03}.bin": os.urandom(300_000) for n in range(60)}
    )
    out = desk.start(source, f"{OPEN}/many")
    until(lambda: desk.store.names("open/many"), what="the first object")
    assert desk.client.post(f"/stores/copies/{out}/cancel").json()["success"]
    assert desk.ended(out)["status"] == "cancelled"
    until(lambda: not desk.store.names("open/many"), what="an empty store")
    desk.copied(source, f"{OPEN}/many")
    back = desk.start(f"{OPEN}/many", desk.area / "back")
    until(lambda: len([x for x in desk.left() if ".part/" in x]) > 3, what="the first files")
    desk.client.post(f"/stores/copies/{back}/cancel")
    assert desk.ended(back)["status"] == "cancelled"
    until(lambda: not [x for x in desk.left() if ".part" in x], what="an empty folder")
    assert desk.client.post(f"/stores/copies/{back}/cancel").status_code == 400


def test_a_cancelled_copy_leaves_what_another_server_has_put_there(desk: Desk) -> None:
    """That server copies the same files, so that theirs are those of this copy."""
    files = {f"{number:03}": os.urandom(100_000) for number in range(100)}
    source = make_folder(desk.area / "many", files)
    job = desk.start(source, f"{OPEN}/many")
    until(lambda: desk.store.names("open/many"), what="the first object")
    desk.store.put("open/many/099", files["099"])
    desk.client.post(f"/stores/copies/{job}/cancel")
    assert desk.ended(job)["status"] == "cancelled"
    assert desk.store.names("open/many") == ["open/many/099"]
    assert not list((desk.area.parent / "data" / "stores").iterdir())


def test_two_copies_to_one_place_do_not_meet(desk: Desk) -> None:
    source = make_folder(desk.area / "one", {f"{n}": os.urandom(2_000_000) for n in range(20)})
    first = desk.start(source, f"{OPEN}/one")
    for target in (f"{OPEN}/one", f"{OPEN}/one/below", OPEN):
        status, words = desk.refused(source, target)
        assert (status, words.split(".")[0]) == (409, f"{first} is copying there"), words
    assert desk.ended(first)["status"] == "completed"


def test_a_source_that_changes_meanwhile_is_told(desk: Desk) -> None:
    desk.store.put("open/growing/a", b"1" * LARGE)
    job = desk.start(f"{OPEN}/growing", desk.area / "back")
    desk.store.put("open/growing/b", b"later")
    status = desk.ended(job)
    assert status["status"] == "failed"
    assert "was changed" in status["error"]
    assert desk.left() == []


def test_a_store_that_is_away_for_a_moment_ends_no_copy(
    tmp_path: Path, known_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its line loses every answer for a while, as an unplugged one does."""
    known_store.put("open/a.bin", FILES["a.bin"])
    with CutLine(known_store.port) as line:
        monkeypatch.setenv("AWS_ENDPOINT_URL", line.url)
        with serving(tmp_path, known_store) as desk:
            assert desk.client.get("/stores/objects", params={"url": OPEN}).status_code == 200
            job = desk.start(f"{OPEN}/a.bin", desk.area / "a.bin")
            line.answers_to_lose = 100_000
            until(
                lambda: "The store does not answer" in desk.status(job)["message"],
                seconds=40,
                what="a word about the store",
            )
            assert "trying again in" in desk.status(job)["message"]
            line.answers_to_lose = 0
            assert desk.ended(job)["status"] == "completed"
            assert (desk.area / "a.bin").read_bytes() == FILES["a.bin"]


def test_a_store_that_is_not_there_is_told_in_words(
    tmp_path: Path, known_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    with serving(tmp_path, known_store) as desk:
        answer = desk.client.get("/stores/objects", params={"url": OPEN})
        assert answer.status_code == 503
        assert answer.json()["error"].startswith("The store does not answer (")


def test_pieces_are_of_one_size() -> None:
    entries = [Entry(f"{n:04}", 1 << 21, "") for n in range(70)]
    entries += [Entry(f"small {n:04}", 1, "") for n in range(120)]
    entries.append(Entry("large", 1 << 30, ""))
    pieces = list(pieces_of(entries))
    assert [entry for piece in pieces for entry in piece] == entries
    assert [len(piece) for piece in pieces] == [32, 32, 50, 50, 26, 1]


def test_what_waited_for_its_turn_takes_nothing_that_came_meanwhile(desk: Desk) -> None:
    """Two copies run at once; the third finds its target taken, and leaves it as it is."""
    source = make_folder(desk.area / "one", {f"{n}": os.urandom(3_000_000) for n in range(12)})
    running = [desk.start(source, f"{OPEN}/{n}") for n in range(2)]
    waiting = [desk.start(source, f"{OPEN}/{name}") for name in ("taken", "given up")]
    assert [desk.status(job)["status"] for job in waiting] == ["pending", "pending"]
    desk.store.put("open/taken/0", b"a colleague's")
    desk.store.put("open/given up/benchwire-copy.json", b"a colleague's too")
    desk.client.post(f"/stores/copies/{waiting[1]}/cancel")
    for job in running:
        assert desk.ended(job)["status"] == "completed"
    status = desk.ended(waiting[0])
    assert (status["status"], status["error"]) == (
        "failed",
        "The store has something at that address",
    )
    assert desk.ended(waiting[1])["status"] == "cancelled"
    assert desk.store.get("open/taken/0") == b"a colleague's"
    assert desk.store.names("open/taken") == ["open/taken/0"]
    assert desk.store.get("open/given up/benchwire-copy.json") == b"a colleague's too"


def test_a_copy_is_made_again_from_the_list_of_jobs(desk: Desk) -> None:
    desk.store.put("open/a", b"1")
    job = desk.start(f"{OPEN}/a", desk.area / "a")
    assert desk.ended(job)["status"] == "completed"
    assert desk.client.post(f"/work/{job}/retry").status_code == 409
    (desk.area / "a").unlink()
    again = desk.client.post(f"/work/{job}/retry").json()["id"]
    assert desk.ended(again)["status"] == "completed"
    assert (desk.area / "a").read_bytes() == b"1"
    found = desk.client.get("/search", params={"q": "Copy of a from s3://lab-movies"}).json()
    assert {item["kind"] for item in found["items"]} == {"copy"}


def test_two_spellings_of_one_target_are_one(desk: Desk) -> None:
    desk.store.put("open/large", b"1" * LARGE)
    (desk.area / "sub").mkdir()
    first = desk.start(f"{OPEN}/large", desk.area / "x")
    status, words = desk.refused(f"{OPEN}/large", desk.area / "sub" / ".." / "x")
    assert status == 409, words
    assert desk.ended(first)["status"] == "completed"
