"""The index of an output folder: added to, never emptied, read in either form."""

import multiprocessing
from pathlib import Path

import pytest
import yaml

from benchwire.domains.microscopy import results
from benchwire.domains.microscopy.index import (
    FovFiles,
    ResultsIndex,
    read_results,
    write_results,
)
from benchwire.domains.microscopy.plan import FluorescenceChannel
from benchwire.domains.microscopy.yaml_files import YamlInvalid


def index(folder: Path, *fovs: int, features: tuple[str, ...] = ("area",)) -> ResultsIndex:
    entries = {}
    for fov in fovs:
        at = results.fov_folder(folder, fov)
        at.mkdir(exist_ok=True)
        files = {key: at / f"{key}.npy" for key in ("pc", "fl", "seg", "lab", "bg")}
        traces = at / f"a_fov_{fov:03d}_traces.csv"
        for path in (*files.values(), traces):
            path.touch()
        entries[fov] = FovFiles(
            pc=(0, files["pc"]),
            fl=((1, files["fl"]),),
            seg=(0, files["seg"]),
            seg_labeled=(0, files["lab"]),
            fl_background=((1, files["bg"]),),
            traces=traces,
        )
    fluorescence = (FluorescenceChannel(1, ("intensity_total",)),)
    return ResultsIndex(FluorescenceChannel(0, features), fluorescence, entries)


def test_index_has_the_form_of_the_contract(tmp_path: Path) -> None:
    path = write_results(tmp_path, index(tmp_path, 3), params={"min_iou": 0.1, "x": (1,)})
    document = yaml.safe_load(path.read_text())
    at = str(tmp_path / "fov_003")
    assert path == tmp_path / "processing_results.yaml"
    assert document == {
        "output_dir": str(tmp_path),
        "channels": {"pc": [0, ["area"]], "fl": [[1, ["intensity_total"]]]},
        "results": {
            "3": {
                "pc": [0, f"{at}/pc.npy"],
                "fl": [[1, f"{at}/fl.npy"]],
                "seg": [0, f"{at}/seg.npy"],
                "seg_labeled": [0, f"{at}/lab.npy"],
                "fl_background": [[1, f"{at}/bg.npy"]],
                "traces": f"{at}/a_fov_003_traces.csv",
            }
        },
        "params": {"min_iou": 0.1, "x": [1]},
        "time_units": "min",
    }


def test_index_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = index(tmp_path, 0, 12)
    assert read_results(write_results(tmp_path, written, params={})) == written
    assert written.columns() == ("area_ch_0", "intensity_total_ch_1")


def test_second_run_keeps_fovs_and_features_of_the_first(tmp_path: Path) -> None:
    write_results(tmp_path, index(tmp_path, 0, 1), params={"a": 1})
    second = index(tmp_path, 1, 2, features=("circularity",))
    path = write_results(tmp_path, second, params={"a": 2})
    read = read_results(path)
    assert sorted(read.fovs) == [0, 1, 2]
    assert read.phase == FluorescenceChannel(0, ("area", "circularity"))
    assert yaml.safe_load(path.read_text())["params"] == {"a": 2}


@pytest.mark.parametrize("text", ["{", "- 1", "", "\x00", "a: " + "[" * 5000, "&a [*a]"])
def test_damaged_index_is_set_aside(tmp_path: Path, text: str) -> None:
    (tmp_path / "processing_results.yaml").write_text(text)
    with pytest.raises(YamlInvalid):
        read_results(tmp_path / "processing_results.yaml")
    path = write_results(tmp_path, index(tmp_path, 0), params={})
    assert list(read_results(path).fovs) == [0]
    assert (tmp_path / "processing_results.yaml.1.damaged").read_text() == text


def test_other_forms_of_the_index_are_read(tmp_path: Path) -> None:
    path = tmp_path / "processing_results.yaml"
    path.write_text(
        """
channels:
  pc: {channel: 0, features: &f [area]}
  fl: [{channel: 1, features: *f}, [2, []], [x, []], 5]
results:
  0: {pc: [[0, p.npy]], traces: t.csv, fl: null, seg: [0], other: 1}
  1: null
  x: {traces: t.csv}
"""
    )
    read = read_results(path)
    assert read.phase == FluorescenceChannel(0, ("area",))
    assert read.fluorescence == (FluorescenceChannel(1, ("area",)), FluorescenceChannel(2, ()))
    assert read.fovs == {
        0: FovFiles(pc=(0, tmp_path / "p.npy"), traces=tmp_path / "t.csv"),
        1: FovFiles(),
    }


def test_merge_keys_and_tags_in_the_index_do_nothing(tmp_path: Path) -> None:
    path = tmp_path / "processing_results.yaml"
    bomb = "".join(f"k{i}: &k{i} {{<<: [{', '.join([f'*k{i - 1}'] * 9)}]}}\n" for i in range(1, 10))
    path.write_text("k0: &k0 {a: 1}\n" + bomb + "results: !!python/object:os.system {}\n")
    assert read_results(path) == ResultsIndex()


def test_moved_folder_is_found_at_its_new_place(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    write_results(tmp_path / "old", index(tmp_path / "old", 5), params={})
    (tmp_path / "old").rename(tmp_path / "new")
    read = read_results(tmp_path / "new/processing_results.yaml")
    assert read.fovs[5].traces == tmp_path / "new/fov_005/a_fov_005_traces.csv"
    assert read.fovs[5].fl == ((1, tmp_path / "new/fov_005/fl.npy"),)


def _add(folder: Path, fov: int) -> None:
    write_results(folder, index(folder, fov), params={})


def test_runs_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_add, args=(tmp_path, fov)) for fov in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    read = read_results(tmp_path / "processing_results.yaml")
    assert sorted(read.fovs) == [0, 1, 2, 3]
