"""Uploads to real SMB servers: verified, resumed, repeated, and never claimed too early."""

import logging
import os
import shutil
import socket
import stat
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from benchwire.domains.potentiostat import nas
from benchwire.domains.potentiostat.nas import (
    NasRequestInvalid,
    NasSettings,
    NasSettingsFile,
    NasUnreachable,
    SmbShare,
)
from tests.domains.potentiostat.conftest import Bench
from tests.support import smb
from tests.support.waiting import until

needs_server = pytest.mark.skipif(smb.unavailable() is not None, reason=str(smb.unavailable()))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[smb.SmbServer]:
    if (reason := smb.unavailable()) is not None:
        pytest.skip(reason)
    with smb.samba_server(tmp_path_factory.mktemp("smb")) as running:
        yield running


def settings_for(host: str, **more: object) -> NasSettings:
    return NasSettings(
        **{"host": host, "share": smb.SHARE, "username": smb.USER, "password": smb.PASSWORD,
           "base_subdir": "projectA/line2", **more}
    )  # fmt: skip


def failure(settings: NasSettings) -> str | None:
    return nas.failure_of(nas.tried(lambda: SmbShare(settings)), nas.HEALTH_SECONDS)


def copy(settings: NasSettings, files: list[tuple[Path, PurePosixPath]]) -> nas.UploadResult:
    share = SmbShare(settings)
    try:
        return nas.upload(share, files, report=lambda _: None, check=lambda: None)
    finally:
        share.close()


@pytest.fixture
def files(tmp_path: Path) -> list[tuple[Path, PurePosixPath]]:
    made = []
    for name, size in [("a.csv", 10), ("empty.csv", 0), ("Wells/slot01/big.csv", 3_000_000)]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(size))
        made.append((path, PurePosixPath("Demo/2025") / name))
    return made


def test_files_arrive_whole_and_are_not_sent_twice(
    server: smb.SmbServer, files: list[tuple[Path, PurePosixPath]]
) -> None:
    settings = settings_for(server.host)
    assert failure(settings) is None
    first = copy(settings, files)
    assert (first.files, first.skipped) == (3, 0)
    for path, target in files:
        arrived = server.folder / "projectA/line2" / target
        assert arrived.read_bytes() == path.read_bytes()
    again = copy(settings, files)
    assert (again.files, again.skipped) == (0, 3)
    assert not list(server.folder.rglob("*.part"))
    shutil.rmtree(server.folder / "projectA")


def test_file_that_differs_is_sent_again_and_what_was_there_stays(
    server: smb.SmbServer, files: list[tuple[Path, PurePosixPath]]
) -> None:
    settings = settings_for(server.host)
    copy(settings, files)
    there = server.folder / "projectA/line2" / files[0][1]
    for number in (1, 2):
        there.write_bytes(b"of another's" + bytes([number]))
        assert copy(settings, files).files == 1
        assert there.read_bytes() == files[0][0].read_bytes()
        former = there.with_name(f"a.before-{number}.csv")
        assert former.read_bytes() == b"of another's" + bytes([number])
    shutil.rmtree(server.folder / "projectA")


def test_wrong_password_is_named_as_such(server: smb.SmbServer) -> None:
    settings = settings_for(server.host, password="wrong")
    assert failure(settings) == "The NAS refuses the user name or password"


def test_unknown_share_is_named_as_such(server: smb.SmbServer) -> None:
    settings = settings_for(server.host, share="nothing")
    told = failure(settings)
    assert told is not None
    assert "share" in told or "NAS" in told


def test_nobody_listening_is_told_quickly() -> None:
    settings = settings_for(f"127.0.0.1:{smb.free_port()}")
    started = time.monotonic()
    assert failure(settings) == "The NAS cannot be reached"
    assert time.monotonic() - started < 10


def test_server_that_never_answers_does_not_hang_health() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        settings = settings_for(f"127.0.0.1:{listener.getsockname()[1]}")
        started = time.monotonic()
        assert nas.failure_of(nas.tried(lambda: SmbShare(settings)), 1.0) is not None
        assert time.monotonic() - started < 5


class Hanging:
    """A share that does not answer before it is told to."""

    def __init__(self) -> None:
        self.asked: list[threading.Thread] = []
        self.answer = threading.Event()

    def probe(self) -> None:
        self.asked.append(threading.current_thread())
        self.answer.wait(30)

    def close(self) -> None:
        pass


def test_all_who_try_a_nas_that_hangs_share_a_thread_that_keeps_nothing_alive(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    share, uploads = Hanging(), bench.potentiostats.uploads
    monkeypatch.setattr(nas, "HEALTH_SECONDS", 0.1)
    uploads.open_share = lambda _: share
    try:
        assert set_up(bench, "nas")["ok"] is False
        for _ in range(3):
            assert bench.client.get("/nas/health").json()["message"] == "The NAS does not answer"
        assert len(share.asked) == 1
        assert share.asked[0].daemon
        assert set_up(bench, "other")["ok"] is False
        assert len(share.asked) == 2
    finally:
        share.answer.set()
    until(lambda: bench.client.get("/nas/health").json()["ok"], what="the answer")


@needs_server
@pytest.mark.parametrize("passed", [400, 1_500_000])
def test_server_that_falls_silent_is_given_up(
    server: smb.SmbServer,
    files: list[tuple[Path, PurePosixPath]],
    passed: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After the negotiation, and in the midst of a file; saying goodbye does not hang either."""
    monkeypatch.setattr(nas, "SILENT_SECONDS", 2.0)
    with smb.cutting_proxy(server.port, passed, is_held=True) as port:
        started = time.monotonic()
        with pytest.raises(NasUnreachable, match="does not answer"):
            copy(settings_for(f"127.0.0.1:{port}"), files)
        assert time.monotonic() - started < 15
    until(lambda: not any(one.name == "nas watch" for one in threading.enumerate()))
    copy(settings_for(server.host), files)
    shutil.rmtree(server.folder / "projectA")


def test_upload_that_is_cut_fails_and_the_next_one_finishes(
    server: smb.SmbServer, files: list[tuple[Path, PurePosixPath]]
) -> None:
    with smb.cutting_proxy(server.port, 1_500_000) as port, pytest.raises(NasUnreachable):
        copy(settings_for(f"127.0.0.1:{port}"), files)
    result = copy(settings_for(server.host), files)
    assert result.skipped >= 1
    big = server.folder / "projectA/line2" / files[2][1]
    assert big.read_bytes() == files[2][0].read_bytes()
    shutil.rmtree(server.folder / "projectA")


def test_copy_that_reads_back_wrong_is_refused(
    server: smb.SmbServer, files: list[tuple[Path, PurePosixPath]]
) -> None:
    class Bad(SmbShare):
        def write(self, path: PurePosixPath, blocks: Iterator[bytes]) -> None:
            super().write(path, (block[::-1] for block in blocks))

    share = Bad(settings_for(server.host))
    try:
        with pytest.raises(NasUnreachable, match="differs"):
            nas.upload(share, files, report=lambda _: None, check=lambda: None)
    finally:
        share.close()
    arrived = [path for path in server.folder.rglob("*") if path.is_file()]
    assert not [path for path in arrived if path.suffix != ".part"]
    shutil.rmtree(server.folder / "projectA")


# -- settings ----------------------------------------------------------------------------------


def test_credentials_are_0600_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        NasSettingsFile(tmp_path / "nas.json").save(settings_for("nas"))
    finally:
        os.umask(before)
    mode = (tmp_path / nas.CREDENTIALS_FILE).stat().st_mode
    assert stat.S_IMODE(mode) == 0o600
    assert smb.PASSWORD not in (tmp_path / "nas.json").read_text()


def test_settings_are_read_back(tmp_path: Path) -> None:
    file = NasSettingsFile(tmp_path / "nas.json")
    assert file.load() is None
    file.save(settings_for("nas:1445", domain="LAB"))
    assert file.load() == settings_for("nas:1445", domain="LAB")


def test_damaged_settings_are_not_configured(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "nas.json").write_text('{"password": "hunter2"')
    assert NasSettingsFile(tmp_path / "nas.json").load() is None
    assert "hunter2" not in caplog.text


def test_password_shows_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    settings = settings_for(f"127.0.0.1:{smb.free_port()}")
    nas.failure_of(nas.tried(lambda: SmbShare(settings)), 3)
    assert smb.PASSWORD not in repr(settings) + str(settings) + caplog.text


@pytest.mark.parametrize(
    "change",
    [
        {"host": ""}, {"share": " "}, {"username": ""}, {"password": ""}, {"host": "a/b"},
        {"base_subdir": "a/../.."}, {"username": "a\nb"}, {"domain": "a,b"},
        {"retention_days": 0}, {"host": "nas:x"}, {"host": "nas:99999"},
    ],
)  # fmt: skip
def test_unusable_settings_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(NasRequestInvalid):
        settings_for(**{"host": "nas", **change})


def test_pauses_double_up_to_an_hour() -> None:
    assert [nas.backoff(attempt) for attempt in (1, 2, 3, 8, 100)] == [30, 60, 120, 3600, 3600]


def test_marker_decides_on_retention(tmp_path: Path) -> None:
    now = datetime(2026, 1, 20, tzinfo=UTC)
    marker = tmp_path / "UPLOAD_DONE"
    assert not nas.is_expired(marker, retention_days=14, now=now)
    marker.write_text("nonsense")
    assert not nas.is_expired(marker, retention_days=14, now=now)
    for days, expired in [(13, False), (15, True)]:
        marker.write_text(f"{(now - timedelta(days=days)).isoformat()}\n")
        assert nas.is_expired(marker, retention_days=14, now=now) is expired


# -- through the API ---------------------------------------------------------------------------


def setup_of(host: str) -> dict[str, object]:
    return {
        "host": host, "share": smb.SHARE, "username": smb.USER, "password": smb.PASSWORD,
        "base_subdir": "box", "retention_days": 14,
    }  # fmt: skip


def set_up(bench: Bench, host: str) -> dict[str, object]:
    answer = bench.client.post("/nas/setup", json=setup_of(host))
    assert answer.status_code == 200
    assert smb.PASSWORD not in answer.text
    return answer.json()


@needs_server
def test_finished_run_is_uploaded_by_itself_and_removed_after_its_time(
    bench: Bench, tmp_path: Path
) -> None:
    with smb.samba_server(tmp_path) as server:
        assert set_up(bench, server.host) == {"ok": True, "message": "ok"}
        health = bench.client.get("/nas/health").json()
        assert (health["ok"], health["message"]) == (True, "ok")
        run = bench.end_of(bench.start()["run_id"])
        folder = bench.runs_root / "Test/2025-11-03T10_15_00"
        until(lambda: (folder / "UPLOAD_DONE").exists(), seconds=20)
        copies = server.folder / "box/Test/2025-11-03T10_15_00"
        for name in [*run["slots"][0]["files"], "run.json"]:
            assert (copies / name).read_bytes() == (folder / name).read_bytes()
        listed = bench.client.get(f"/runs/{run['run_id']}/files").json()["files"]
        assert all(name.startswith("Wells/") for name in listed)
        long_ago = datetime.now(UTC) - timedelta(days=20)
        (folder / "UPLOAD_DONE").write_text(long_ago.isoformat())
        assert bench.potentiostats.uploads.remove_expired() == [run["run_id"]]
        assert not folder.exists()
        assert bench.client.get(f"/runs/{run['run_id']}/files").status_code == 404
        assert bench.status(run["run_id"])["status"] == "done"


def test_all_who_ask_for_the_nas_at_once_wait_in_one_thread(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A NAS that is away takes each of them eight seconds; who stops a run needs a thread too."""
    asked, answer = [], threading.Event()

    def health() -> dict[str, Any]:
        asked.append(1)
        answer.wait(20)
        return {"ok": False, "last_checked": None, "message": "away"}

    monkeypatch.setattr(type(bench.potentiostats.uploads), "health", lambda _: health())
    with ThreadPoolExecutor(50) as pool:
        found = [pool.submit(bench.client.get, "/nas/health") for _ in range(50)]
        until(lambda: asked, what="the first question")
        assert bench.client.get("/devices").status_code == 200
        answer.set()
        assert {one.result(20).json()["message"] for one in found} == {"away"}
    assert len(asked) < 5


@needs_server
def test_upload_waits_for_the_nas_and_says_why(bench: Bench, tmp_path: Path) -> None:
    port = smb.free_port()
    bench.potentiostats.uploads.pause = lambda _: 0.2
    assert set_up(bench, f"127.0.0.1:{port}")["ok"] is False
    run = bench.end_of(bench.start(devices=["slot01"])["run_id"])
    folder = bench.runs_root / "Test/2025-11-03T10_15_00"
    until(lambda: (folder / "upload_failed").exists(), seconds=20)
    assert "cannot be reached" in (folder / "upload_failed").read_text()
    again = bench.client.post(f"/runs/{run['run_id']}/upload").json()
    assert again == {"ok": True, "enqueued": False, "run_id": run["run_id"]}
    with smb.samba_server(tmp_path, port):
        until(lambda: (folder / "UPLOAD_DONE").exists(), seconds=30)
    assert not (folder / "upload_failed").exists()


@needs_server
def test_a_cancelled_upload_is_done_again_from_the_list_of_work(
    bench: Bench, tmp_path: Path
) -> None:
    port = smb.free_port()
    bench.potentiostats.uploads.pause = lambda _: 0.2
    set_up(bench, f"127.0.0.1:{port}")
    run = bench.end_of(bench.start(devices=["slot01"])["run_id"])
    until(lambda: uploads_of(bench), seconds=20, what="the upload")
    (upload,) = uploads_of(bench)
    assert upload["item"]["id"] == run["run_id"]
    bench.client.post(f"/work/{upload['id']}/cancel")
    until(lambda: uploads_of(bench)[0]["can_retry"], seconds=20, what="its end")
    with smb.samba_server(tmp_path, port):
        again = bench.client.post(f"/work/{upload['id']}/retry").json()["id"]
        assert again != upload["id"]
        until(lambda: uploads_of(bench)[0]["state"] == "done", seconds=30, what="the copy")


def uploads_of(bench: Bench) -> list[dict[str, Any]]:
    jobs = bench.client.get("/work", params={"domain": "potentiostat"}).json()["jobs"]
    return [job for job in jobs if job["kind"] == "potentiostat.upload"]


def test_unfinished_run_is_not_uploaded(bench: Bench) -> None:
    set_up(bench, f"127.0.0.1:{smb.free_port()}")
    run = bench.start(devices=["slot01"], params_by_mode={"CA": {"potential": 0, "duration": 9}})
    answer = bench.client.post(f"/runs/{run['run_id']}/upload")
    assert (answer.status_code, answer.json()["code"]) == (409, "runs.not_completed")
    bench.client.post(f"/jobs/{run['run_id']}/cancel")
    bench.end_of(run["run_id"])
