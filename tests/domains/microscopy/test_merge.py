"""Merging real files of traces by sample."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from benchwire.domains.microscopy import finished, results
from benchwire.domains.microscopy import merge as merging
from benchwire.domains.microscopy.errors import ParametersInvalid
from benchwire.domains.microscopy.index import FovFiles, ResultsIndex, write_results
from benchwire.domains.microscopy.plan import FluorescenceChannel, FovTable
from benchwire.domains.microscopy.results import TracesInvalid
from benchwire.domains.microscopy.samples import Sample


def merge(
    samples: Sequence[Sample],
    source: Path,
    target: Path,
    *,
    is_allowed: Callable[[Path], bool] = lambda _: True,
) -> merging.Merged:
    return merging.merge(samples, source, target, is_allowed=is_allowed)


def put(
    folder: Path,
    fov: int,
    *,
    cells: int = 2,
    frames: int = 2,
    base: str = "a",
    features: tuple[str, ...] = ("area_ch_0", "intensity_total_ch_1"),
) -> Path:
    n = cells * frames
    cell = np.repeat(np.arange(1, cells + 1), frames)
    frame = np.tile(np.arange(frames), cells)
    columns = {
        "fov": np.full(n, fov), "cell": cell, "frame": frame, "time": frame * 10.0,
        "good": np.ones(n, bool),
    }  # fmt: skip
    for number, name in enumerate(features):
        columns[name] = fov * 1000 + cell * 100 + frame * 10 + number * 0.5
    path = results.traces_path(folder, fov, base_name=base)
    path.parent.mkdir(parents=True, exist_ok=True)
    results.write_traces(FovTable(columns), path)
    return path


def indexed(folder: Path, traces: dict[int, Path], *, phase: tuple[str, ...] = ("area",)) -> None:
    index = ResultsIndex(
        FluorescenceChannel(0, phase),
        (FluorescenceChannel(1, ("intensity_total",)),),
        {fov: FovFiles(traces=path) for fov, path in traces.items()},
    )
    write_results(folder, index, params={})


def test_merged_file_has_the_form_of_the_contract(tmp_path: Path) -> None:
    for fov in (2, 0):
        put(tmp_path, fov)
    merged = merge([Sample("drug", (0, 2))], tmp_path, tmp_path / "out")
    assert merged.warnings == ()
    assert merged.files == (
        tmp_path / "out/drug_area_ch_0.csv",
        tmp_path / "out/drug_intensity_total_ch_1.csv",
    )
    assert merged.files[0].read_text() == (
        "# Time units: min\n"
        "time,fov,cell,value\n"
        "0.000000,0,1,100.000000\n"
        "0.000000,0,2,200.000000\n"
        "0.000000,2,1,2100.000000\n"
        "0.000000,2,2,2200.000000\n"
        "10.000000,0,1,110.000000\n"
        "10.000000,0,2,210.000000\n"
        "10.000000,2,1,2110.000000\n"
        "10.000000,2,2,2210.000000\n"
    )


@pytest.mark.parametrize("with_index", [True, False])
def test_index_and_headers_lead_to_the_same_files(tmp_path: Path, with_index: bool) -> None:
    path = put(tmp_path, 0)
    if with_index:
        indexed(tmp_path, {0: path})
    merged = merge([Sample("s", (0,))], tmp_path, tmp_path)
    assert [path.name for path in merged.files] == [
        "s_area_ch_0.csv", "s_intensity_total_ch_1.csv",
    ]  # fmt: skip


def test_channels_come_from_the_index(tmp_path: Path) -> None:
    indexed(tmp_path, {0: put(tmp_path, 0)}, phase=())
    merged = merge([Sample("s", (0,))], tmp_path, tmp_path)
    assert [path.name for path in merged.files] == ["s_intensity_total_ch_1.csv"]


def test_features_of_every_phase_channel_are_merged(tmp_path: Path) -> None:
    for fov, phase in enumerate((0, 2, 0)):
        name = f"{'circularity' if fov == 2 else 'area'}_ch_{phase}"
        path = put(
            tmp_path, fov, cells=1, frames=1, features=(name, "intensity_total_ch_1", "odd_ch_1")
        )
        index = ResultsIndex(
            FluorescenceChannel(phase, (name.partition("_ch_")[0],)),
            (FluorescenceChannel(1, ("intensity_total",)),),
            {fov: FovFiles(pc=(phase, tmp_path / "pc.npy"), traces=path)},
        )
        write_results(tmp_path, index, params={})
        merged = merge([Sample("s", tuple(range(fov + 1)))], tmp_path, tmp_path / f"out{fov}")
    assert {path.name: path.read_text().splitlines()[2:] for path in merged.files} == {
        "s_area_ch_0.csv": ["0.000000,0,1,100.000000"],
        "s_area_ch_2.csv": ["0.000000,1,1,1100.000000"],
        "s_circularity_ch_0.csv": ["0.000000,2,1,2100.000000"],
        "s_intensity_total_ch_1.csv": [
            "0.000000,0,1,100.500000", "0.000000,1,1,1100.500000", "0.000000,2,1,2100.500000",
        ],
    }  # fmt: skip


def test_feature_that_only_some_fovs_have_is_written_for_those(tmp_path: Path) -> None:
    put(tmp_path, 0, cells=1, frames=1)
    put(tmp_path, 1, cells=1, frames=1, features=("area_ch_0",))
    merged = merge([Sample("s", (0, 1))], tmp_path, tmp_path / "out")
    texts = {path.name: path.read_text().splitlines()[2:] for path in merged.files}
    assert len(texts["s_area_ch_0.csv"]) == 2
    assert texts["s_intensity_total_ch_1.csv"] == ["0.000000,0,1,100.500000"]


def test_rows_that_are_not_good_or_empty_are_left_out(tmp_path: Path) -> None:
    path = put(tmp_path, 0, cells=3, frames=1)
    text = path.read_text().splitlines()
    text[1] = text[1].replace("True", "False")
    text[2] = text[2].replace("200.000000", "")
    path.write_text("\n".join(text))
    area, total = merge([Sample("s", (0,))], tmp_path, tmp_path / "out").files
    assert area.read_text().splitlines()[2:] == ["0.000000,0,3,300.000000"]
    assert total.read_text().splitlines()[2:] == [
        "0.000000,0,2,200.500000", "0.000000,0,3,300.500000",
    ]  # fmt: skip


@pytest.mark.parametrize("with_index", [True, False])
def test_inspected_traces_win(tmp_path: Path, with_index: bool) -> None:
    path = put(tmp_path, 0, frames=1)
    results.write_inspected(path, {1: False})
    if with_index:
        indexed(tmp_path, {0: path})
    merged = merge([Sample("s", (0,))], tmp_path, tmp_path / "out")
    assert merged.files[0].read_text().splitlines()[2:] == ["0.000000,0,2,200.000000"]


def test_doubts_about_the_fovs_are_told(tmp_path: Path) -> None:
    paths = [put(tmp_path, fov) for fov in range(4)]
    samples = [Sample("s", (0, 1, 2, 3))]
    assert merge(samples, tmp_path, tmp_path / "out").warnings == ()
    for fov, weight, aside in ((0, 1.0, None), (1, 0.5, None), (2, 1.0, "x.1.bak")):
        finished.mark(
            paths[fov].parent,
            fingerprint="f",
            files=[paths[fov]],
            facts={"plan": {"background_weight": weight}, "verdicts_set_aside": aside},
        )
    warnings = merge(samples, tmp_path, tmp_path / "out").warnings
    assert warnings[0] == "FOV 3 was not finished by its last workflow"
    assert "same parameters" in warnings[1]
    assert warnings[2].startswith("FOV 2 has other cells")


def test_fovs_without_traces_are_named(tmp_path: Path) -> None:
    put(tmp_path, 1)
    (tmp_path / "fov_003").mkdir()
    samples = [Sample("s", (0, 1, 3)), Sample("empty", (3,))]
    merged = merge(samples, tmp_path, tmp_path / "out")
    assert merged.warnings == ("No traces for FOV 0, 3", "No values for sample empty")
    assert {path.name for path in merged.files} == {
        path.name for path in (tmp_path / "out").iterdir()
    }


def test_nothing_to_write_is_refused(tmp_path: Path) -> None:
    put(tmp_path, 0, cells=0)
    with pytest.raises(ParametersInvalid, match="nothing to merge; No traces for FOV 5"):
        merge([Sample("s", (0, 5))], tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_files_of_others_are_neither_read_nor_listed(tmp_path: Path) -> None:
    put(tmp_path, 0)
    (tmp_path / "fov_000/notes.csv").write_text("x")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/old.csv").write_text("x")
    merged = merge([Sample("s", (0,))], tmp_path, tmp_path / "out")
    assert len(merged.files) == 2
    assert (tmp_path / "out/old.csv").read_text() == "x"


def test_moved_folder_is_merged(tmp_path: Path) -> None:
    old = tmp_path / "old"
    indexed(old, {0: put(old, 0)})
    shutil.move(old, tmp_path / "new")
    assert len(merge([Sample("s", (0,))], tmp_path / "new", tmp_path / "out").files) == 2


def test_damaged_index_is_a_warning(tmp_path: Path) -> None:
    put(tmp_path, 0)
    (tmp_path / "processing_results.yaml").write_text("{")
    merged = merge([Sample("s", (0,))], tmp_path, tmp_path / "out")
    assert len(merged.files) == 2
    assert "taken from the traces" in merged.warnings[0]


def test_damaged_traces_are_refused_by_name(tmp_path: Path) -> None:
    put(tmp_path, 0).write_text("nothing")
    with pytest.raises(TracesInvalid, match=r"a_fov_000_traces\.csv"):
        merge([Sample("s", (0,))], tmp_path, tmp_path / "out")


def test_two_movies_in_one_folder_are_not_mixed(tmp_path: Path) -> None:
    path = put(tmp_path, 0, base="a")
    put(tmp_path, 0, base="b")
    with pytest.raises(ParametersInvalid, match="FOV 0 has traces of more than one movie"):
        merge([Sample("s", (0,))], tmp_path, tmp_path / "out")
    indexed(tmp_path, {0: path})
    assert len(merge([Sample("s", (0,))], tmp_path, tmp_path / "out").files) == 2


def below(folder: Path) -> Callable[[Path], bool]:
    return lambda path: path.resolve().is_relative_to(folder.resolve())


def test_traces_outside_the_allowed_area_are_not_read(tmp_path: Path) -> None:
    area = tmp_path / "area"
    area.mkdir()
    secret = put(tmp_path / "secret", 0)
    indexed(area, {0: secret})
    (area / "fov_001").symlink_to(secret.parent)
    with pytest.raises(ParametersInvalid, match="No traces for FOV 0, 1"):
        merge([Sample("s", (0, 1))], area, area / "out", is_allowed=below(area))
    assert len(merge([Sample("s", (0,))], area, area / "out").files) == 2


def test_samples_whose_files_would_be_the_same_are_refused(tmp_path: Path) -> None:
    put(tmp_path, 0, features=("b_c_ch_0", "c_ch_0"))
    with pytest.raises(ParametersInvalid, match="same file"):
        merge([Sample("a", (0,)), Sample("a_b", (0,))], tmp_path, tmp_path / "out")


def test_large_merge_keeps_every_row_in_order(tmp_path: Path) -> None:
    for fov in range(30):
        put(tmp_path, fov, cells=50, frames=40)
    merged = merge([Sample("s", tuple(range(30)))], tmp_path, tmp_path / "out")
    rows = np.loadtxt(merged.files[0], delimiter=",", skiprows=2)
    assert len(rows) == 30 * 50 * 40
    np.testing.assert_array_equal(rows, rows[np.lexsort((rows[:, 2], rows[:, 1], rows[:, 0]))])
    expected = rows[:, 1] * 1000 + rows[:, 2] * 100 + rows[:, 0]
    np.testing.assert_allclose(rows[:, 3], expected)
