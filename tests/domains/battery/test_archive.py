"""The archive under faults: nothing acknowledged is lost or done twice, nobody left waiting."""

import asyncio
import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchwire.domains.battery import archive as archives
from benchwire.domains.battery import dataset, service, work
from benchwire.domains.battery.archive import Archive
from benchwire.domains.battery.dataset import Recording
from benchwire.domains.battery.errors import (
    FileDamaged,
    RecordingsAway,
    TooManyDevices,
    TooMuchData,
)
from benchwire.domains.battery.recorded import Options
from benchwire.domains.battery.recordings import Recordings
from benchwire.domains.battery.rows import Rows, RowsFile
from benchwire.domains.battery.samples import Reading
from benchwire.domains.battery.series import SignalSource
from benchwire.domains.battery.signals import BESS, BMS
from benchwire.domains.battery.store import ReadingStore
from benchwire.domains.battery.tails import rows_of
from benchwire.foundation import schema
from benchwire.foundation.clock import SystemClock
from benchwire.foundation.companion import promised
from benchwire.foundation.db import Database, open_database
from benchwire.foundation.errors import Failed
from benchwire.foundation.streams import Hub
from benchwire.foundation.workers import ProcessExecutor
from tests.support.battery import DEVICE, minutes, write_group, write_signal
from tests.support.waiting import until

START = 1_800_000_000_000_000
MIDNIGHT = 1_709_942_400_000_000  # 2024-03-09, where the recordings begin


class FailingStore(ReadingStore):
    """A store that fails as often as it is told to."""

    failures = 0

    def all(self, device_id: str, group: str) -> Iterator[Reading]:
        self._fail()
        return super().all(device_id, group)

    def add(self, device_id: str, found: Any) -> None:
        self._fail()
        super().add(device_id, found)

    def _fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise Failed("The database is away")


class Place:
    """An archive that can be closed and opened again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.recordings = folder / "set"
        self.live = folder / "kept/live"
        self.database: Database = open_database(folder)
        schema.upgrade(self.database)
        self.executor = ProcessExecutor(1)
        self.open()

    def open(self) -> None:
        self.store = FailingStore(self.database)
        recordings = Recordings(
            self.recordings, self.folder / "kept/recorded", SystemClock(),
            options=Options(), believed_seconds=0.1,
        )  # fmt: skip
        self.archive = Archive(
            recordings, self.live, self.store, self.executor, SystemClock(),
            rescan_seconds=0.1, fold_rows=100,
        )  # fmt: skip
        self.archive.start()

    def reopen(self) -> None:
        self.archive.close()
        self.open()

    def close(self) -> None:
        self.archive.close()
        self.executor.close()
        self.database.close()

    def add(self, count: int, *, first: int = START, **values: float) -> int:
        readings = [
            Reading(first + number * 1_000_000, values or {"soc": number / 100})
            for number in range(count)
        ]
        return self.archive.append(DEVICE, {"bms": readings})["bms"].new

    def rows(self) -> Rows:
        timeline = self.archive.request(DEVICE, BMS).result(60)
        return timeline.read(0, len(timeline))

    def segments(self) -> list[Path]:
        return sorted((self.live / DEVICE / "bms").glob("*.parquet"))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setattr(archives, "KEPT_ROWS", 20)
    found = Place(tmp_path)
    yield found
    found.close()


def test_error_between_two_readings_of_recordings_stops_nobody(place: Place) -> None:
    place.store.failures = 3
    write_group(place.recordings, DEVICE, "bms", 5)
    until(lambda: place.archive.has(DEVICE, BMS))
    until(lambda: place.store.failures == 0)
    assert len(place.rows()) == 5


def test_live_row_behind_a_recorded_one_is_kept_through_a_fold(place: Place) -> None:
    place.add(1, first=MIDNIGHT, soc=77.0)
    write_group(place.recordings, DEVICE, "bms", 5)
    until(lambda: len(place.rows()) == 5)
    assert place.rows().values[0, 0] == 0.0  # the recording's
    place.add(200)
    until(place.segments)
    kept = [RowsFile(path, ["soc"]).read(0, 10**6) for path in place.segments()]
    assert 77.0 in [value for part in kept for value in part.values[:, 0]]
    for path in (place.recordings / "BESS" / DEVICE).iterdir():
        path.unlink()
    until(lambda: len(place.rows()) == 201)
    assert place.rows().values[0, 0] == 77.0


def test_new_file_of_live_readings_never_takes_the_place_of_another(place: Place) -> None:
    place.add(130)
    until(place.segments)
    until(lambda: place.archive._reading is None)
    (first,) = place.segments()
    lost = first.with_name("00000007.parquet")
    first.rename(lost)
    before = lost.read_bytes()
    place.reopen()
    place.add(200, first=START + 10**9)
    until(lambda: len(place.segments()) == 2)
    assert lost.read_bytes() == before
    assert len(place.rows()) == 330


def test_build_that_fails_after_a_fold_does_not_fold_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.add(10)
    assert len(place.rows()) == 10

    def fails(*_: object, **__: object) -> None:
        raise Failed("The worker is away")

    monkeypatch.setattr(place.executor, "submit", fails)
    place.add(200, first=START + 10**9)
    until(place.segments)
    for number in range(5):
        place.add(1, first=START + 2 * 10**9 + number)
    assert len(place.segments()) == 1
    timeline = place.archive.current(DEVICE, BMS)
    assert timeline is not None
    assert len(timeline) == 215


def test_many_files_of_live_readings_become_one_and_nothing_is_lost(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MOST_SEGMENTS", 3)
    for number in range(6):
        before = place.segments()
        place.add(150, first=START + number * 10**9)
        until(lambda before=before: place.segments() != before)
    until(lambda: len(place.segments()) <= 3)
    assert len(place.rows()) == 900
    place.reopen()
    rows = place.rows()
    assert len(rows) == 900
    assert rows.values[:, 0].tolist() == [number / 100 for number in range(150)] * 6


def test_value_that_comes_late_is_shown_once_the_readings_are_a_file(place: Place) -> None:
    place.add(150, soc=1.0)
    until(place.segments)
    assert place.add(1, voltage=800.0) == 0
    place.add(150, first=START + 10**9, soc=1.0)
    until(lambda: place.rows().values[0, 2] == 800.0)
    assert place.rows().values[0, 0] == 1.0
    assert len(place.rows()) == 300


def test_device_whose_first_reading_was_not_stored_does_not_exist(place: Place) -> None:
    place.store.failures = 1
    with pytest.raises(Failed):
        place.add(1)
    assert not place.archive.has(DEVICE, BMS)
    assert place.add(1) == 1
    assert len(place.rows()) == 1


def test_series_is_the_same_before_and_after_the_readings_are_a_file(place: Place) -> None:
    place.add(60, soc=5.0)
    place.add(50, first=START + 10**9, voltage=800.0)
    place.rows()
    before = place.archive.source(DEVICE, BMS, "soc")
    assert not before.live
    samples = before.samples()
    assert len(samples) == 60
    place.add(30, first=START + 2 * 10**9, voltage=800.0)
    until(place.segments)
    until(lambda: place.archive.source(DEVICE, BMS, "soc").live)
    after = place.archive.source(DEVICE, BMS, "soc").samples()
    assert after.at_us.tolist() == samples.at_us.tolist()


def test_signal_that_cannot_be_made_is_not_tried_without_pause(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries = []

    def fails(*_: object, **__: object) -> None:
        tries.append(1)
        raise Failed("The disk is full")

    monkeypatch.setattr(place.executor, "submit", fails)
    write_signal(place.recordings, DEVICE, "my_own", [(at, 1) for at in minutes(5)])
    until(lambda: tries)
    with pytest.raises(Failed):
        place.archive.request_signal(DEVICE, "my_own").result(10)
    asked = len(tries)
    until(lambda: place.archive._orders.next() is None)
    assert len(tries) <= asked + 1
    assert len(caplog.records) < 20


def damage(path: Path, at: float) -> None:
    content = bytearray(path.read_bytes())
    place = int(len(content) * at)
    content[place : place + 2] = bytes(byte ^ 0xFF for byte in content[place : place + 2])
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("at", [0.3, 0.6, 0.995])
@pytest.mark.parametrize("name", ["bms.parquet", "bms.json", "signals/bms1_soc.parquet"])
def test_damaged_file_of_the_cache_is_made_anew(place: Place, name: str, at: float) -> None:
    write_group(place.folder / "made", DEVICE, "bms", 600)
    (place.folder / "made").rename(place.recordings)
    until(lambda: place.archive.has(DEVICE, BMS))
    before = place.rows()
    cache = place.folder / "kept/recorded" / DEVICE
    until(lambda: place.archive._reading is None)
    place.archive.close()
    damage(cache / name, at)
    place.open()

    def read() -> bool:
        try:
            rows = place.rows()
            place.archive.request_signal(DEVICE, "bms1_soc").result(60)
            samples = place.archive.source(DEVICE, BMS, "soc").samples()
        except FileDamaged as error:
            place.archive.discard(error.path)
            return False
        assert rows.values.tolist() == before.values.tolist()
        assert samples.values.tolist() == before.values[:, 0].tolist()
        return True

    until(lambda: place.archive.has(DEVICE, BMS))
    until(read)


def test_damaged_signal_is_read_anew_for_another_view(place: Place) -> None:
    write_group(place.folder / "made", DEVICE, "bms", 600)
    (place.folder / "made").rename(place.recordings)
    until(lambda: place.archive.has(DEVICE, BMS))
    place.rows()
    place.archive.request(DEVICE, BESS).result(60)
    until(lambda: place.archive._reading is None)
    place.archive.close()
    cache = place.folder / "kept/recorded" / DEVICE
    damage(cache / "signals/bms1_soc.parquet", 0.4)
    (cache / "bess.json").unlink()
    place.open()
    until(lambda: place.archive.has(DEVICE, BESS))
    rows = place.archive.request(DEVICE, BESS).result(60).read(0, 600)
    assert rows.values[:, 0].tolist() == [number / 1000 for number in range(600)]


def test_damaged_live_file_is_kept_aside_and_the_rest_is_served(place: Place) -> None:
    place.add(130)
    until(place.segments)
    place.add(150, first=START + 10**9)
    until(lambda: len(place.segments()) == 2)
    until(lambda: place.archive._reading is None)
    place.archive.close()
    damage(place.segments()[0], 0.5)
    (place.folder / "kept/recorded" / DEVICE / "bms.live.json").unlink()
    place.open()
    assert len(place.rows()) == 280 - 110
    assert [path.name for path in (place.live / DEVICE / "bms").glob("*.damaged")] == [
        "00000001.damaged"
    ]


@pytest.mark.parametrize("at", ["__init__", "read_row_groups"])
@pytest.mark.parametrize(
    "error",
    [
        *(OSError(number, os.strerror(number)) for number in (errno.EMFILE, errno.EIO)),
        PermissionError(errno.EACCES, os.strerror(errno.EACCES)),
        pa.ArrowMemoryError("malloc of size 1 failed"),
    ],
    ids=repr,
)
def test_sound_live_file_that_cannot_be_read_at_the_moment_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, at: str
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise error

    segment, target = (tmp_path / f"bms/{number:08d}.parquet" for number in (1, 2))
    work.write_rows(segment, BMS.fields, [rows_of([Reading(START, {"soc": 1.0})], BMS)])
    with monkeypatch.context() as patches:
        patches.setattr(pq.ParquetFile, at, fails)
        with pytest.raises(type(error)):
            work.join_live(None, [segment], target, BMS.fields)
    assert [path.name for path in segment.parent.iterdir()] == [segment.name]
    work.join_live(None, [segment], target, BMS.fields)
    assert RowsFile(target, BMS.fields).read(0, 10).at_us.tolist() == [START]


@pytest.mark.parametrize("content", [b"[]", b"{}", b"null", b"{", b'{"sources": [], "bytes": 1}'])
def test_damaged_note_on_live_rows_is_made_anew(place: Place, content: bytes) -> None:
    place.add(130)
    until(place.segments)
    until(lambda: place.archive._reading is None)
    place.archive.close()
    note = place.folder / "kept/recorded" / DEVICE / "bms.live.json"
    note.write_bytes(content)
    place.open()
    assert len(place.rows()) == 130
    assert note.read_bytes() != content


def test_disk_that_hangs_holds_up_one_who_looks_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_group(tmp_path, DEVICE, "bms", 1)
    recordings = Recordings(
        tmp_path, tmp_path / "kept", SystemClock(), options=Options(), believed_seconds=0.0
    )
    assert list(recordings.all()) == [DEVICE]
    looks, answer = [], threading.Event()

    def hang(*_: object) -> tuple[Recording, ...]:
        looks.append(1)
        answer.wait(30)
        return ()

    monkeypatch.setattr(dataset, "discover", hang)
    looking = promised(recordings.all)
    until(lambda: looks)
    for _ in range(20):
        assert promised(recordings.all).result(5) == recordings._found
    answer.set()
    assert looking.result(5) == {}
    assert len(looks) == 1


def test_disk_that_hangs_from_the_start_is_told_as_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_group(tmp_path, DEVICE, "bms", 1)
    recordings = Recordings(
        tmp_path, tmp_path / "kept", SystemClock(), options=Options(), believed_seconds=0.0
    )
    looks, answer, real = [], threading.Event(), dataset.discover

    def hang(*given: Any) -> tuple[Recording, ...]:
        looks.append(1)
        answer.wait(30)
        return real(*given)

    monkeypatch.setattr(dataset, "discover", hang)
    monkeypatch.setattr("benchwire.domains.battery.recordings._FIRST_LOOK_SECONDS", 0.2)
    looking = promised(recordings.all)
    until(lambda: looks)
    for _ in range(20):
        assert promised(recordings.all).result(5) == {}
    assert recordings.is_away
    answer.set()
    assert list(looking.result(5)) == [DEVICE]
    assert not recordings.is_away


def test_readings_are_stored_while_all_who_read_hang(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(service, "_CLOSE_SECONDS", 0.1)
    telemetry = service.Telemetry(place.archive, Hub(), SystemClock())
    answer = threading.Event()
    hanging = [telemetry._threads.submit(answer.wait, 30) for _ in range(20)]
    taken = telemetry.take(DEVICE, BMS, [Reading(START, {"soc": 1.0})])
    assert asyncio.run(asyncio.wait_for(taken, 10)).new == 1
    assert promised(telemetry.close).result(5) is None
    answer.set()
    assert hanging[0].result(5)


def test_unplugged_recordings_are_told_as_that(place: Place) -> None:
    write_group(place.recordings, DEVICE, "bms", 5)
    until(lambda: place.archive.has(DEVICE, BMS))
    place.recordings.rename(place.folder / "away")
    until(lambda: not place.archive.has(DEVICE, BMS))
    with pytest.raises(RecordingsAway):
        place.archive.request(DEVICE, BMS)
    (place.folder / "away").rename(place.recordings)
    until(lambda: place.archive.has(DEVICE, BMS))
    assert len(place.rows()) == 5


def test_only_so_many_devices_are_taken_up(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MOST_LIVE_DEVICES", 2)
    reading = Reading(START, {"soc": 1.0})
    for name in ("one", "two"):
        place.archive.append(name, {"bms": [reading]})
    with pytest.raises(TooManyDevices):
        place.archive.append("three", {"bms": [reading]})
    assert place.archive.append("two", {"pcs": [reading]})["pcs"].new == 1


def test_versions_never_repeat(place: Place) -> None:
    write_group(place.recordings, DEVICE, "bms", 5)
    until(lambda: place.archive.has(DEVICE, BMS))
    seen: list[object] = []
    for number in range(2):
        timeline = place.archive.request(DEVICE, BMS).result(60)
        assert timeline.version == place.archive.version(DEVICE, BMS)
        seen.append(timeline.version)
        place.add(1, first=START + number)
        seen.append(place.archive.version(DEVICE, BMS))
        timeline = place.archive.request(DEVICE, BMS).result(60)
        assert timeline.file is not None
        place.archive.discard(timeline.file.path)
        seen.append(place.archive.version(DEVICE, BMS))
    assert len(set(seen)) == len(seen)


def test_versions_of_no_rows_do_not_repeat(place: Place) -> None:
    seen: list[object] = []

    def is_new() -> bool:
        assert len(place.archive.request(DEVICE, BMS).result(60)) == 0
        return place.archive.version(DEVICE, BMS) not in seen

    for number in range(3):
        write_signal(place.recordings, DEVICE, "bms1_soc", [("no time", 1.0)] * number)
        until(lambda: place.archive.has(DEVICE, BMS))
        until(is_new)
        seen.append(place.archive.version(DEVICE, BMS))


def test_too_many_samples_are_refused_by_what_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "signal.parquet"
    import numpy as np

    at_us = np.arange(1000, dtype=np.int64) * 60_000_000
    work.write_rows(path, ["value"], [Rows(at_us, np.ones((1000, 1)))])
    sources = {"soc": SignalSource(path)}
    monkeypatch.setattr(work, "MOST_SAMPLES", 100)
    with pytest.raises(TooMuchData):
        work._read(sources, (None, None))
    assert len(work._read(sources, (0, 99 * 60_000_000))["soc"]) == 99
