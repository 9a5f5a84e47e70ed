"""Which devices and signals are found on a disk as people leave it."""

import os

import pytest

from benchwire.domains.battery.dataset import discover


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "data"
    (folder / "BESS" / "D2").mkdir(parents=True)
    (folder / "BESS" / "D1").mkdir()
    (folder / "meter" / "m1").mkdir(parents=True)
    put(folder / "meter" / "m1" / "com_ap.csv")
    put(folder / "BESS" / "D1" / "bms1_soc.csv")
    put(folder / "BESS" / "D2" / "pcs1_ap.csv")
    return folder


def put(path, content="ts,x\n"):
    path.write_text(content)


def signals(root, device="D1"):
    return {r.device_id: sorted(r.files) for r in discover(root)}[device]


def test_devices_are_found_from_the_data_set_and_from_its_inner_folder(root):
    assert [r.device_id for r in discover(root)] == ["D1", "D2"]
    assert [r.device_id for r in discover(root / "BESS")] == ["D1", "D2"]


def test_source_tells_size_time_and_inode_of_its_file(root):
    path = root / "BESS" / "D1" / "bms1_soc.csv"
    (source,) = discover(root)[0].files.values()
    status = path.stat()
    assert source.path == path
    assert (source.signal, source.size) == ("bms1_soc", 5)
    assert (source.mtime_ns, source.inode) == (status.st_mtime_ns, status.st_ino)
    assert not source.is_wrong_case


def test_files_beside_folders_empty_folders_and_other_files_are_ignored(root):
    put(root / "BESS" / "readme.csv")
    (root / "BESS" / "empty").mkdir()
    put(root / "BESS" / "D1" / "notes.txt")
    put(root / "BESS" / "D1" / "._bms1_soh.csv")
    (root / "BESS" / "D1" / "folder.csv").mkdir()
    assert [r.device_id for r in discover(root)] == ["D1", "D2"]
    assert signals(root) == ["bms1_soc"]


def test_unknown_csv_is_kept_under_its_own_name(root):
    put(root / "BESS" / "D1" / "Strange thing.csv")
    assert signals(root) == ["Strange thing", "bms1_soc"]


@pytest.mark.parametrize("name", ["BMS1_SOH.csv", "bms1_soh.CSV", "Bms1_Soh.Csv"])
def test_known_signal_in_the_wrong_case_is_found(root, name):
    put(root / "BESS" / "D1" / name)
    files = discover(root)[0].files
    assert sorted(files) == ["bms1_soc", "bms1_soh"]
    assert files["bms1_soh"].is_wrong_case


def test_smoke_flag_in_the_case_of_the_real_file_is_exact(root):
    put(root / "BESS" / "D1" / "fa1_SmokeFlag.csv")
    assert not discover(root)[0].files["fa1_SmokeFlag"].is_wrong_case


def test_exact_name_goes_before_one_in_the_wrong_case(root):
    put(root / "BESS" / "D1" / "BMS1_SOC.csv", "ts,other\n")
    files = discover(root)[0].files
    assert files["bms1_soc"].path.name == "bms1_soc.csv"
    assert files["BMS1_SOC"].path.name == "BMS1_SOC.csv"


def test_link_out_of_the_data_set_is_not_followed_and_one_inside_is(root, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    put(outside / "bms1_soh.csv")
    device = root / "BESS" / "D1"
    (root / "BESS" / "D3").symlink_to(outside)
    (root / "BESS" / "D4").symlink_to(root / "BESS" / "D2")
    (device / "bms1_soh.csv").symlink_to(outside / "bms1_soh.csv")
    (device / "bms1_v.csv").symlink_to(device / "bms1_soc.csv")
    (device / "bms1_c.csv").symlink_to(tmp_path / "nothing.csv")
    (device / "loop.csv").symlink_to(device / "loop.csv")
    assert [r.device_id for r in discover(root)] == ["D1", "D2", "D4"]
    assert signals(root) == ["bms1_soc", "bms1_v"]


def test_what_cannot_be_read_is_told_to_who_asks(root, tmp_path, caplog):
    told = []
    assert discover(tmp_path / "missing", told.append) == ()
    loop = root / "BESS" / "D1" / "loop.csv"
    loop.symlink_to(loop)
    discover(root, told.append)
    assert [sentence.partition(" is skipped: ")[0] for sentence in told] == [
        str(tmp_path / "missing"), str(loop),
    ]  # fmt: skip
    assert not caplog.records


def test_link_to_the_data_set_itself_is_followed(root, tmp_path):
    (tmp_path / "link").symlink_to(root)
    assert len(discover(tmp_path / "link")) == 2


def test_no_data_set_gives_no_devices(tmp_path):
    put(tmp_path / "file")
    assert discover(tmp_path / "missing") == ()
    assert discover(tmp_path / "file") == ()
    assert discover(tmp_path) == ()


def test_device_with_an_odd_name_keeps_it(root):
    odd = ["<img onerror=x>", "a b", ".hidden", "ü" * 127, "..."]
    for name in odd:
        (root / "BESS" / name).mkdir()
        put(root / "BESS" / name / "bms1_soc.csv")
    assert {r.device_id for r in discover(root)} == {"D1", "D2", *odd}


def test_name_that_is_no_text_is_skipped_and_told(root, caplog):
    folder = root / "BESS" / os.fsdecode(b"\xff\xfe")
    folder.mkdir()
    put(folder / "bms1_soc.csv")
    assert [r.device_id for r in discover(root)] == ["D1", "D2"]
    assert "its name is no text" in caplog.text


def test_pipe_named_like_a_signal_is_not_opened(root):
    os.mkfifo(root / "BESS" / "D1" / "bms1_v.csv")
    assert signals(root) == ["bms1_soc"]
