"""What is built, when it counts as fresh, and what is left after a crash."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchwire.domains.battery.dataset import SourceFile, discover
from benchwire.domains.battery.recorded import (
    Options,
    build,
    build_signals,
    recorded,
    signal_path,
    signal_recorded,
    timeline_path,
)
from benchwire.domains.battery.signals import BESS, BMS, PCS
from benchwire.foundation.files import DiskRefused
from tests.support.waiting import until

OPTIONS = Options()


def quiet(_fraction, _message):
    pass


def put(root, name, rows, device="D1"):
    folder = root / "BESS" / device
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"2024-03-01 00:{at // 60:02}:{at % 60:02},{value}" for at, value in rows]
    (folder / f"{name}.csv").write_text("\n".join([f"ts,{name}", *lines, ""]))


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "data"
    put(folder, "bms1_soc", [(0, 50), (60, 51)])
    put(folder, "bms1_v", [(0, 800.5), (30, 801.5), (60, "")])
    return folder


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def first(root):
    return discover(root)[0]


def test_built_group_is_told_and_found_again(root, cache):
    assert recorded(first(root), BMS, cache, OPTIONS) is None
    built = build(first(root), BMS, cache, OPTIONS, quiet)
    assert recorded(first(root), BMS, cache, OPTIONS) == built
    assert (built.group, built.device_id, built.rows, built.master) == ("bms", "D1", 3, "voltage")
    assert built.rows_per_field == {"soc": 2, "voltage": 3}
    assert (built.first_us, built.last_us) == (1709251200000000, 1709251260000000)
    assert built.reports["bms1_v"].nulls == 1
    table = pq.read_table(timeline_path(cache, "D1", "bms"))
    assert table.column_names == ["at_us", *BMS.fields]
    assert table["soc"].to_pylist() == [50.0, 50.0, 51.0]
    assert [v == v for v in table["soh"].to_pylist()] == [False] * 3


def test_timeline_has_statistics_of_its_times(root, cache):
    build(first(root), BMS, cache, OPTIONS, quiet)
    metadata = pq.read_metadata(timeline_path(cache, "D1", "bms"))
    times = metadata.row_group(0).column(0).statistics
    assert (times.min, times.max) == (1709251200000000, 1709251260000000)


def test_device_without_files_of_a_group_has_no_rows(root, cache):
    built = build(first(root), PCS, cache, OPTIONS, quiet)
    assert (built.rows, built.master, built.rows_per_field) == (0, None, {})
    assert recorded(first(root), PCS, cache, OPTIONS) == built
    assert pq.read_table(timeline_path(cache, "D1", "pcs")).num_rows == 0


def test_signal_of_two_groups_is_cleaned_once(root, cache):
    build(first(root), BMS, cache, OPTIONS, quiet)
    path = signal_path(cache, "D1", "bms1_soc")
    inode = path.stat().st_ino
    build(first(root), BESS, cache, OPTIONS, quiet)
    assert path.stat().st_ino == inode


def test_progress_goes_up_to_one(root, cache):
    seen = []
    build(first(root), BMS, cache, OPTIONS, lambda fraction, _: seen.append(fraction))
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


@pytest.mark.parametrize("begin", [0.0, 0.5, 0.8])
def test_progress_that_raises_stops_and_leaves_no_timeline(root, cache, begin):
    class Stopped(Exception):
        pass

    def stop(fraction, _message):
        if fraction >= begin:
            raise Stopped

    with pytest.raises(Stopped):
        build(first(root), BMS, cache, OPTIONS, stop)
    assert not list(cache.rglob("*.part"))
    assert recorded(first(root), BMS, cache, OPTIONS) is None
    assert build(first(root), BMS, cache, OPTIONS, quiet).rows == 3


def changed_content(root, cache):
    put(root, "bms1_soc", [(0, 50), (60, 52)])


def new_signal(root, cache):
    put(root, "bms1_soh", [(0, 99)])


def removed_signal(root, cache):
    (root / "BESS" / "D1" / "bms1_soc.csv").unlink()


def touched(root, cache):
    os.utime(root / "BESS" / "D1" / "bms1_soc.csv", ns=(1, 1))


def replaced_by_a_copy(root, cache):
    path = root / "BESS" / "D1" / "bms1_soc.csv"
    status = path.stat()
    copy = path.with_suffix(".new")
    copy.write_bytes(path.read_bytes())
    os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))
    copy.rename(path)


def lost_parquet(root, cache):
    timeline_path(cache, "D1", "bms").unlink()


def cut_parquet(root, cache):
    os.truncate(timeline_path(cache, "D1", "bms"), 100)


def lost_sidecar(root, cache):
    timeline_path(cache, "D1", "bms").with_suffix(".json").unlink()


def cut_sidecar(root, cache):
    path = timeline_path(cache, "D1", "bms").with_suffix(".json")
    path.write_bytes(path.read_bytes()[:50])


def foreign_sidecar(root, cache):
    timeline_path(cache, "D1", "bms").with_suffix(".json").write_text("[1, 2]")


def older_rule(root, cache):
    path = timeline_path(cache, "D1", "bms").with_suffix(".json")
    sidecar = json.loads(path.read_text())
    sidecar["stamp"]["rule"] -= 1
    path.write_text(json.dumps(sidecar))


@pytest.mark.parametrize(
    "event",
    [
        changed_content, new_signal, removed_signal, touched, replaced_by_a_copy, lost_parquet,
        cut_parquet, lost_sidecar, cut_sidecar, foreign_sidecar, older_rule,
    ],
)  # fmt: skip
def test_group_that_no_longer_fits_is_built_anew(root, cache, event):
    build(first(root), BMS, cache, OPTIONS, quiet)
    event(root, cache)
    assert recorded(first(root), BMS, cache, OPTIONS) is None
    built = build(first(root), BMS, cache, OPTIONS, quiet)
    assert recorded(first(root), BMS, cache, OPTIONS) == built
    assert pq.read_table(timeline_path(cache, "D1", "bms")).num_rows == built.rows


@pytest.mark.parametrize("options", [Options(tolerance_us=1), Options(zone="Europe/Berlin")])
def test_other_options_need_another_build(root, cache, options):
    before = build(first(root), BMS, cache, OPTIONS, quiet)
    assert recorded(first(root), BMS, cache, options) is None
    after = build(first(root), BMS, cache, options, quiet)
    moved_s = 3600 if options.zone else 0
    assert before.first_us - after.first_us == moved_s * 1_000_000


def test_damaged_signal_is_cleaned_again(root, cache):
    build(first(root), BMS, cache, OPTIONS, quiet)
    os.truncate(signal_path(cache, "D1", "bms1_soc"), 10)
    assert signal_recorded(first(root), "bms1_soc", cache, OPTIONS) is None
    assert build(first(root), BESS, cache, OPTIONS, quiet).rows_per_field["bms_soc"] == 2


def test_source_that_changes_after_it_was_looked_at_is_found_stale(root, cache):
    seen = first(root)
    put(root, "bms1_soc", [(0, 50), (30, 51), (45, 52), (60, 53)])
    build(seen, BMS, cache, OPTIONS, quiet)
    assert recorded(first(root), BMS, cache, OPTIONS) is None
    assert build(first(root), BMS, cache, OPTIONS, quiet).rows == 4


def test_signal_that_cannot_be_read_is_told_and_the_rest_is_built(root, cache):
    seen = first(root)
    status = Path("/proc/self/mem").stat()
    broken = SourceFile(Path("/proc/self/mem"), "bms1_c", 0, status.st_mtime_ns, status.st_ino)
    seen = replace(seen, files={**seen.files, "bms1_c": broken})
    built = build(seen, BMS, cache, OPTIONS, quiet)
    assert built.rows_per_field == {"soc": 2, "voltage": 3}
    assert "cannot be read" in built.reports["bms1_c"].error
    assert "/proc" not in built.reports["bms1_c"].error
    assert recorded(seen, BMS, cache, OPTIONS) == built


def test_file_gone_since_it_was_found_is_told_in_its_report(root, cache):
    seen = first(root)
    (root / "BESS" / "D1" / "bms1_soc.csv").unlink()
    assert build(seen, BMS, cache, OPTIONS, quiet).reports["bms1_soc"].error is not None


def test_signals_outside_groups_are_cleaned_on_their_own(root, cache):
    put(root, "bms1_p1_v1", [(0, 3.3), (1, 3.4)])
    put(root, "what is this?", [(0, 1)])
    names = ["bms1_p1_v1", "what is this?", "not there"]
    reports = build_signals(first(root), names, cache, OPTIONS, quiet)
    assert {name: report.rows for name, report in reports.items()} == {
        "bms1_p1_v1": 2, "what is this?": 1,
    }  # fmt: skip
    for name, report in reports.items():
        assert signal_recorded(first(root), name, cache, OPTIONS) == report
        assert pq.read_table(signal_path(cache, "D1", name)).num_rows == report.rows
    assert signal_recorded(first(root), "not there", cache, OPTIONS) is None


def test_devices_with_odd_names_have_safe_folders_of_their_own(root, cache):
    odd = ["<img onerror=x>", "_img_onerror_x_", "a b", "a_b", ".hidden", "...", "x" * 255, "D~1"]
    for name in odd:
        put(root, "bms1_soc", [(0, 1)], device=name)
    for recording in discover(root):
        build(recording, BMS, cache, OPTIONS, quiet)
    folders = {timeline_path(cache, name, "bms").parent for name in odd}
    assert len(folders) == len(odd)
    assert all(folder.parent == cache and not folder.name.startswith(".") for folder in folders)
    assert all(recorded(one, BMS, cache, OPTIONS) is not None for one in discover(root))


def test_cache_that_cannot_be_written_is_told_as_a_sentence(root, tmp_path):
    blocked = tmp_path / "cache"
    blocked.write_text("a file where the folder should be")
    with pytest.raises(DiskRefused, match="The disk refused"):
        build(first(root), BMS, blocked, OPTIONS, quiet)


FILL_THE_DISK = """
import resource, sys
from pathlib import Path
from benchwire.domains.battery.dataset import discover
from benchwire.domains.battery.recorded import Options, build
from benchwire.domains.battery.signals import BMS
from benchwire.foundation.files import DiskRefused
resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))
try:
    build(discover(Path(sys.argv[1]))[0], BMS, Path(sys.argv[2]), Options(), lambda *_: None)
except DiskRefused as error:
    print(error.message)
"""


def test_disk_that_takes_no_more_is_told_and_leaves_nothing_half(root, cache):
    put(root, "bms1_soc", [(at, at * 0.37) for at in range(1500)])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FILL_THE_DISK, str(root), str(cache)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout == "The disk refused: File too large\n"
    assert done.stderr == ""
    assert not list(cache.rglob("*.part"))
    assert build(first(root), BMS, cache, OPTIONS, quiet).rows == 1500


BUILD = """
import sys
from pathlib import Path
from benchwire.domains.battery.dataset import discover
from benchwire.domains.battery.recorded import Options, build
from benchwire.domains.battery.signals import BMS
build(discover(Path(sys.argv[1]))[0], BMS, Path(sys.argv[2]), Options(), lambda *_: None)
"""


@pytest.mark.parametrize("moment", ["cleaning", "synchronising"])
def test_killed_build_leaves_no_half_file_and_the_next_succeeds(root, cache, moment):
    start = datetime(2024, 1, 1, tzinfo=UTC)
    lines = [f"{start + timedelta(seconds=4 * k)},{k % 7}\n" for k in range(600_000)]
    for name in ("bms1_soc", "bms1_c", "bms1_soh"):
        path = root / "BESS" / "D1" / f"{name}.csv"
        path.write_text("".join([f"ts,{name}\n", *lines]))
    device = cache / "D1"
    pattern = "signals/.*.part" if moment == "cleaning" else ".bms.parquet.*.part"
    process = subprocess.Popen([sys.executable, "-c", BUILD, str(root), str(cache)])
    try:
        until(lambda: any(device.glob(pattern)))
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert recorded(first(root), BMS, cache, OPTIONS) is None
    for path in cache.rglob("*.parquet"):
        if ".part" not in str(path):
            assert pq.read_metadata(path).num_rows > 0
    built = build(first(root), BMS, cache, OPTIONS, quiet)
    assert recorded(first(root), BMS, cache, OPTIONS) == built
    assert not [path for path in cache.rglob("*") if ".part" in str(path)]
