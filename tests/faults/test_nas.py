"""A NAS that is slow, full, cut off or a stranger: runs go on, no copy is claimed too early.

Single refusals, the growing pauses and the marker's time are in
``tests/domains/potentiostat/test_nas.py``.
"""

import contextlib
import hashlib
import os
import random
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any

import httpx
import pytest

from benchwire.domains.potentiostat import nas, run_folder
from benchwire.domains.potentiostat.nas import NasUnreachable, SmbShare
from tests.domains.potentiostat.conftest import Bench, open_bench
from tests.domains.potentiostat.test_nas import (
    copy,
    failure,
    needs_server,
    set_up,
    settings_for,
    setup_of,
)
from tests.faults import bench as whole
from tests.faults.disk import fill, small_disk
from tests.support import smb
from tests.support.ports import free_port
from tests.support.soaking import SoakOr
from tests.support.waiting import until

pytestmark = [pytest.mark.paced, needs_server]

SIZE = 3_000_000


class NasLine:
    """A way to an SMB server that is cut, paced or closed; may be changed at any time.

    ``cuts`` holds for each next connection after how many bytes, and in which direction (``up`` to
    the server), it is cut. ``pace`` is a pause (s) before each piece of 64 KiB. ``sent`` is what
    the client sent.
    """

    def __init__(self, target: int) -> None:
        self.cuts: list[tuple[str, int]] = []
        self.is_closed = False
        self.pace = 0.0
        self.sent = bytearray()
        self.made = 0
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> "NasLine":
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        if self.is_closed:
            client.close()
            return
        self.made += 1
        direction, limit = self.cuts.pop(0) if self.cuts else ("", 0)
        with client, socket.create_connection(("127.0.0.1", self._target)) as server:
            up_limit = limit if direction == "up" else None
            down_limit = limit if direction == "down" else None
            back = threading.Thread(
                target=self._pump, args=(server, client, down_limit, None), daemon=True
            )
            back.start()
            self._pump(client, server, up_limit, self.sent)
            back.join(10)

    def _pump(
        self,
        source: socket.socket,
        sink: socket.socket,
        limit: int | None,
        record: bytearray | None,
    ) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if self.pace:
                    time.sleep(self.pace)
                passed += len(data)
                if limit is not None and passed > limit:
                    sink.sendall(data[: limit - passed] if limit > passed - len(data) else b"")
                    break
                if record is not None:
                    record += data
                sink.sendall(data)
        for side in (source, sink):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[smb.SmbServer]:
    with smb.samba_server(tmp_path_factory.mktemp("smb")) as running:
        yield running


@pytest.fixture
def line(server: smb.SmbServer) -> Iterator[NasLine]:
    with NasLine(server.port) as made:
        yield made


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# -- one upload --------------------------------------------------------------------------------


def test_a_cut_anywhere_leaves_no_file_that_is_not_whole(
    server: smb.SmbServer, line: NasLine, tmp_path: Path, soak_or: SoakOr
) -> None:
    """Cut on the way there or back; a file has its name on the share only once it is the same."""
    chance = random.Random(11)
    failures = 0
    for turn in range(soak_or(4, 300)):
        source = tmp_path / "data.csv"
        source.write_bytes(os.urandom(SIZE))
        target = PurePosixPath(f"cut/{turn}/data.csv")
        arrived = server.folder / "projectA/line2" / target
        at = SIZE // 2 if turn < 2 else chance.randrange(200, SIZE)
        line.cuts = [("down" if turn % 2 else "up", at)]
        with contextlib.suppress(NasUnreachable):
            copy(settings_for(line.host), [(source, target)])
            failures -= 1
        failures += 1
        assert not arrived.exists() or digest(arrived) == digest(source)
        copy(settings_for(line.host), [(source, target)])
        assert digest(arrived) == digest(source)
        assert not list(arrived.parent.glob("*.part"))
    print(f"{failures} of {soak_or(4, 300)} uploads were cut")
    assert failures > 0


def test_the_password_is_never_on_the_line(
    server: smb.SmbServer, line: NasLine, tmp_path: Path
) -> None:
    source = tmp_path / "a.csv"
    source.write_bytes(b"1,2\r\n")
    copy(settings_for(line.host), [(source, PurePosixPath("line/a.csv"))])
    assert b"NTLMSSP" in line.sent
    for form in (smb.PASSWORD.encode(), smb.PASSWORD.encode("utf-16-le")):
        assert form not in line.sent


def test_a_server_that_takes_anybody_as_a_guest_is_refused(tmp_path: Path) -> None:
    """A guest's session is not signed: anybody on the way could be the server."""
    with smb.samba_server(tmp_path, more="map to guest = bad password\nguest ok = yes") as server:
        settings = settings_for(server.host, password="wrong")
        assert failure(settings) is not None
        assert not any(server.folder.rglob("*"))


def test_another_host_is_not_given_the_password(server: smb.SmbServer) -> None:
    """As when a server refers to a stranger: the name and password are known for one host alone."""
    import smbclient

    share = SmbShare(settings_for(server.host))
    try:
        share.probe()
        with pytest.raises(Exception, match=r"(?i)credential|user|auth|logon"):
            smbclient.listdir(rf"\\localhost\{smb.SHARE}", **share._options)
        config = smbclient.ClientConfig()
        assert (config.username, config.password) == (None, None)
    finally:
        share.close()


# -- runs and their uploads --------------------------------------------------------------------


@pytest.fixture
def bench(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    database_url: str | None,
    server: smb.SmbServer,
) -> Iterator[Bench]:
    """A bench whose NAS is empty, so that no run finds one of its name there."""
    with open_bench(tmp_path, monkeypatch, database_url=database_url) as opened:
        yield opened
    for copies in server.folder.iterdir():
        shutil.rmtree(copies)


def folder_of(bench: Bench, run: dict[str, Any]) -> Path:
    return folder_below(bench.runs_root, run["run_id"])


def folder_below(root: Path, run_id: str) -> Path:
    return next(path.parent for path in root.rglob("run*.json")
                if run_id in path.read_text("utf-8"))  # fmt: skip


def files_in(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): digest(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix in {".csv", ".json"}
    }


def test_runs_and_files_are_untouched_by_a_nas_that_fails_in_every_way(
    server: smb.SmbServer, line: NasLine, bench: Bench, soak_or: SoakOr
) -> None:
    """Cut again and again, and slow: never a marker before every copy is the same."""
    chance = random.Random(12)
    pauses: list[int] = []
    spoilt = 0
    bench.potentiostats.uploads.pause = lambda attempt: pauses.append(attempt) or 0.05
    set_up(bench, line.host)
    for turn in range(soak_or(2, 30)):
        line.cuts = [
            (chance.choice(["up", "down"]), chance.randrange(500, 60_000)) for _ in range(4)
        ]
        line.pace = 0.01
        run = bench.end_of(bench.start(devices=["slot01"], experiment_name=f"Cut{turn}")["run_id"])
        folder = folder_of(bench, run)
        before = files_in(folder)
        # Another run goes on meanwhile.
        other = bench.start(
            devices=["slot02"],
            experiment_name=f"Other{turn}",
            params_by_mode={"CA": {"potential": 0.5, "duration": 1.0}},
        )
        marker = folder / "UPLOAD_DONE"
        copies = server.folder / "box" / folder.relative_to(bench.runs_root)
        deadline = time.monotonic() + 60
        while not marker.exists():
            # It is asked to delete all the while.
            assert bench.potentiostats.uploads.remove_expired() == []
            assert time.monotonic() < deadline, "the upload ends"
            time.sleep(0.02)
        assert files_in(copies) == files_in(folder) == before
        ended = bench.end_of(other["run_id"])
        text = ended["slots"][0]["message"] or ""
        if "too busy" in text or "ran over" in text:
            # Other programs took the processor; says nothing about the NAS.
            spoilt += 1
            continue
        assert ended["status"] == "done", ended
        assert len(bench.rows(ended, "slot02")) == 1 + 2777
    print(f"{len(pauses)} attempts at {2 * (turn + 1)} runs were cut; {spoilt} runs beside them "
          "were spoilt by a busy machine")  # fmt: skip
    assert spoilt <= turn
    assert pauses, "they were cut and tried again"


def test_an_upload_goes_on_after_the_server_was_killed_in_it(
    server: smb.SmbServer, line: NasLine, tmp_path: Path, soak_or: SoakOr
) -> None:
    """Killed at any moment of it; at no moment a marker without all copies being the same."""
    chance = random.Random(14)
    with whole.open_bench(tmp_path, free_port(), slots=1, meters=1) as bench:
        url, root = bench.server.url, bench.server.data_dir / "runs"
        httpx.post(f"{url}/nas/setup", json=setup_of(line.host), timeout=30).raise_for_status()
        line.pace = 0.1
        within = 0
        for _ in range(soak_or(2, 20)):
            sent = len(line.sent)
            run = bench.start_run("slot01", 1.0)
            until(lambda sent=sent: len(line.sent) > sent, seconds=30, what="the upload")
            time.sleep(chance.uniform(0, 1.5))
            bench.server.kill()
            folder = folder_below(root, run)
            copies = server.folder / "box" / folder.relative_to(root)
            within += not (folder / "UPLOAD_DONE").exists()
            assert not (folder / "UPLOAD_DONE").exists() or files_in(copies) == files_in(folder)
            bench.server.start()
            until((folder / "UPLOAD_DONE").exists, seconds=60, what="the copy")
            assert files_in(copies) == files_in(folder)
            assert not [*copies.rglob("*.part")]
            bench.until_ready()
        print(f"killed within {within} of {soak_or(2, 20)} uploads")
        assert within > 0


def test_a_full_nas_is_told_and_the_upload_goes_on_once_there_is_room(
    tmp_path: Path, bench: Bench
) -> None:
    bench.potentiostats.uploads.pause = lambda _: 0.2
    with (
        small_disk(tmp_path / "nas" / "shared", 2) as disk,
        smb.samba_server(tmp_path / "nas") as server,
    ):
        set_up(bench, server.host)
        ballast = fill(disk)
        run = bench.end_of(bench.start(devices=["slot01"])["run_id"])
        folder = folder_of(bench, run)
        until(lambda: (folder / "upload_failed").exists(), seconds=30, what="the failure")
        assert "full" in (folder / "upload_failed").read_text()
        assert not (folder / "UPLOAD_DONE").exists()
        ballast.unlink()
        until(lambda: (folder / "UPLOAD_DONE").exists(), seconds=30, what="the copy")
        copies = server.folder / "box" / folder.relative_to(bench.runs_root)
        assert files_in(copies) == files_in(folder)


def test_a_changed_password_is_told_and_nothing_is_claimed_or_deleted(
    server: smb.SmbServer, bench: Bench
) -> None:
    bench.potentiostats.uploads.pause = lambda _: 0.1
    body = {"host": server.host, "share": smb.SHARE, "username": smb.USER, "password": "former",
            "base_subdir": "secret", "retention_days": 1}  # fmt: skip
    assert bench.client.post("/nas/setup", json=body).json()["ok"] is False
    run = bench.end_of(bench.start(devices=["slot01"])["run_id"])
    folder = folder_of(bench, run)
    until(lambda: (folder / "upload_failed").exists(), seconds=30, what="the failure")
    assert "refuses the user name or password" in (folder / "upload_failed").read_text()
    before = files_in(folder)
    assert bench.potentiostats.uploads.remove_expired() == []
    assert bench.client.post("/nas/setup", json={**body, "password": smb.PASSWORD}).json()["ok"]
    until(lambda: (folder / "UPLOAD_DONE").exists(), seconds=30, what="the copy")
    assert files_in(folder) == before


def test_a_run_that_was_changed_since_is_copied_again_before_it_is_deleted(
    server: smb.SmbServer, bench: Bench
) -> None:
    set_up(bench, server.host)
    run = bench.end_of(bench.start(devices=["slot01"], experiment_name="Late")["run_id"])
    folder = folder_of(bench, run)
    marker = folder / "UPLOAD_DONE"
    until(marker.exists, seconds=30, what="the copy")
    long_ago = datetime.now(UTC) - timedelta(days=20)
    marker.write_text(long_ago.isoformat())
    os.utime(marker, (long_ago.timestamp(), long_ago.timestamp()))
    data = folder / run["slots"][0]["files"][0]
    data.write_bytes(data.read_bytes() + b"a note\r\n")
    uploads = bench.potentiostats.uploads
    assert uploads.remove_expired() == []
    assert data.exists()
    copied = server.folder / "box" / data.relative_to(bench.runs_root)
    until(lambda: nas.uploaded_at(marker) > long_ago, seconds=30, what="the newer marker")
    assert digest(copied) == digest(data)
    assert uploads.remove_expired() == []


def say_copied_long_ago(marker: Path) -> datetime:
    moment = datetime.now(UTC) - timedelta(days=20)
    marker.write_text(moment.isoformat())
    return moment


def test_a_file_that_came_while_a_run_was_copied_is_copied_before_it_is_deleted(
    server: smb.SmbServer, line: NasLine, bench: Bench
) -> None:
    """The copying has not seen it, and its time says that it is years old."""
    set_up(bench, line.host)
    probes, line.pace = line.made, 0.05
    run = bench.end_of(bench.start(devices=["slot01"], experiment_name="Joined")["run_id"])
    folder = folder_of(bench, run)
    uploads, marker = bench.potentiostats.uploads, folder / "UPLOAD_DONE"
    # What is to be copied is listed before anybody is called.
    until(lambda: line.made > probes, seconds=30, what="the copying")
    late = (folder / run["slots"][0]["files"][0]).with_name("calibration.txt")
    late.write_text("of another year")
    os.utime(late, (1e9, 1e9))
    assert not marker.exists(), "it came in time"
    until(marker.exists, seconds=30, what="the copy")
    long_ago = say_copied_long_ago(marker)
    copied = server.folder / "box" / late.relative_to(bench.runs_root)
    assert not copied.exists()
    assert uploads.remove_expired() == []
    until(copied.exists, seconds=30, what="its copy")
    until(lambda: nas.uploaded_at(marker) > long_ago, seconds=30, what="the newer marker")
    assert copied.read_text() == late.read_text()
    say_copied_long_ago(marker)
    assert uploads.remove_expired() == [run["run_id"]]
    assert not folder.exists()


def test_nothing_is_deleted_whose_copy_is_not_on_the_nas_that_is_set_up_now(
    server: smb.SmbServer, bench: Bench, tmp_path: Path
) -> None:
    set_up(bench, server.host)
    run = bench.end_of(bench.start(devices=["slot01"], experiment_name="Moved")["run_id"])
    folder = folder_of(bench, run)
    marker, uploads = folder / "UPLOAD_DONE", bench.potentiostats.uploads
    until(marker.exists, seconds=30, what="the copy")
    before = files_in(folder)
    long_ago = say_copied_long_ago(marker)
    (tmp_path / "other").mkdir()
    with smb.samba_server(tmp_path / "other") as other:
        set_up(bench, other.host)
        assert uploads.remove_expired() == []
        assert files_in(folder) == before
        until(lambda: nas.uploaded_at(marker) > long_ago, seconds=30, what="the copy there")
        say_copied_long_ago(marker)
        (other.folder / "box" / folder.relative_to(bench.runs_root) / "run.json").write_text("{}")
        assert uploads.remove_expired() == []
        until(lambda: nas.uploaded_at(marker) > long_ago, seconds=30, what="the copy again")
    say_copied_long_ago(marker)
    assert uploads.remove_expired() == [], "nobody there to ask"
    assert files_in(folder) == before


def test_a_folder_that_cannot_be_read_is_neither_left_out_nor_deleted(
    server: smb.SmbServer, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up(bench, server.host)
    bench.potentiostats.uploads.pause = lambda _: 0.2
    walk, is_dark = os.walk, threading.Event()

    def sometimes(top: Path, **more: Any) -> Iterator[Any]:
        if is_dark.is_set() and more.get("onerror"):
            more["onerror"](PermissionError(13, "Permission denied"))
        return walk(top, **more)

    monkeypatch.setattr(run_folder.os, "walk", sometimes)
    is_dark.set()
    run = bench.end_of(bench.start(devices=["slot01"], experiment_name="Dark")["run_id"])
    folder = folder_of(bench, run)
    until(lambda: (folder / "upload_failed").exists(), seconds=30, what="the failure")
    assert not (folder / "UPLOAD_DONE").exists()
    is_dark.clear()
    until(lambda: (folder / "UPLOAD_DONE").exists(), seconds=30, what="the copy")
    say_copied_long_ago(folder / "UPLOAD_DONE")
    is_dark.set()
    assert bench.potentiostats.uploads.remove_expired() == []
    is_dark.clear()
    assert bench.potentiostats.uploads.remove_expired() == [run["run_id"]]


def test_a_run_at_the_same_moment_takes_no_place_of_one_that_is_on_the_nas_alone(
    server: smb.SmbServer, bench: Bench
) -> None:
    set_up(bench, server.host)
    first = bench.end_of(bench.start(devices=["slot01"], experiment_name="Same")["run_id"])
    folder = folder_of(bench, first)
    until((folder / "UPLOAD_DONE").exists, seconds=30, what="the copy")
    copies = server.folder / "box" / folder.relative_to(bench.runs_root)
    kept = files_in(copies)
    say_copied_long_ago(folder / "UPLOAD_DONE")
    assert bench.potentiostats.uploads.remove_expired() == [first["run_id"]]
    second = bench.end_of(bench.start(devices=["slot01"], experiment_name="Same")["run_id"])
    other = folder_of(bench, second)
    assert other.name == f"{folder.name}_2"
    until((other / "UPLOAD_DONE").exists, seconds=30, what="the other copy")
    assert files_in(copies) == kept


def test_what_was_never_copied_is_not_deleted(server: smb.SmbServer, bench: Bench) -> None:
    set_up(bench, server.host)
    run = bench.end_of(bench.start(devices=["slot01"], experiment_name="More")["run_id"])
    folder = folder_of(bench, run)
    data = folder / run["slots"][0]["files"][0]
    half = data.with_name(".half.x1.part")
    half.write_text("left by a killed server")
    odd = [data.with_name("notes.part"), Path(os.fsdecode(bytes(data.parent) + b"/\xff.txt"))]
    for path in odd:
        path.write_text("by hand")
    link = data.with_name("link.csv")
    link.symlink_to(data.name)
    marker = folder / "UPLOAD_DONE"
    until(marker.exists, seconds=30, what="the copy")
    listed = bench.client.get(f"/runs/{run['run_id']}/files").json()["files"]
    assert not any(name.endswith((".part", ".txt", "link.csv")) for name in listed)
    say_copied_long_ago(marker)
    assert bench.potentiostats.uploads.remove_expired() == [run["run_id"]]
    assert not data.exists()
    assert not half.exists()
    assert [path.read_text() for path in odd] == ["by hand"] * 2
    assert link.is_symlink()
    assert bench.client.get(f"/runs/{run['run_id']}/files").status_code == 404
