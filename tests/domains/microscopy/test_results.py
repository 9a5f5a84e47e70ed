"""Files of a run: traces, verdicts, index, marks of finished FOVs and the record."""

import contextlib
import csv
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from benchwire.domains.microscopy import results
from benchwire.domains.microscopy.errors import ParametersInvalid
from benchwire.domains.microscopy.plan import FovTable
from benchwire.domains.microscopy.results import (
    TracesInvalid,
)

HEADER = (
    "fov,cell,frame,time,good,position_x,position_y,bbox_x0,bbox_y0,bbox_x1,bbox_y1,"
    "area_ch_0,aspect_ratio_ch_0,intensity_total_ch_1"
)


def table(cells: int = 2, frames: int = 3, *, fov: int = 4) -> FovTable:
    n = cells * frames
    rng = np.random.default_rng(cells)
    columns: dict[str, Any] = dict.fromkeys(HEADER.split(","))
    columns |= {name: rng.uniform(0, 1e7, n) for name in HEADER.split(",")[5:]}
    columns["fov"] = np.full(n, fov)
    columns["cell"] = np.repeat(np.arange(1, cells + 1), frames)
    columns["frame"] = np.tile(np.arange(frames), cells)
    columns["time"] = columns["frame"] * 10.0
    columns["good"] = np.ones(n, bool)
    return FovTable(columns)


def lines(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines()


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- traces


def test_names_follow_the_layout(tmp_path: Path) -> None:
    path = results.traces_path(tmp_path, 7, base_name="exp.1")
    assert path == tmp_path / "fov_007/exp.1_fov_007_traces.csv"
    assert results.inspected_path(path).name == "exp.1_fov_007_traces_inspected.csv"
    assert results.fov_folder(tmp_path, 1234).name == "fov_1234"


def test_traces_are_written_with_six_decimals_and_plain_whole_numbers(tmp_path: Path) -> None:
    values = table(1, 2)
    values.columns["area_ch_0"][:] = [1.0000005, 123456789.1234567]  # type: ignore[index]
    values.columns["aspect_ratio_ch_0"][:] = [np.nan, -0.5]  # type: ignore[index]
    values.columns["intensity_total_ch_1"][:] = [np.inf, 1e12]  # type: ignore[index]
    values.columns["good"][1] = False  # type: ignore[index]
    results.write_traces(values, tmp_path / "a_traces.csv")
    header, first, second = lines(tmp_path / "a_traces.csv")
    assert header == HEADER
    assert first.split(",")[:5] == ["4", "1", "0", "0.000000", "True"]
    assert first.split(",")[11:] == [f"{1.0000005:.6f}", "", ""]
    assert second.split(",")[3:5] == ["10.000000", "False"]
    assert second.split(",")[11:] == ["123456789.123457", "-0.500000", "1000000000000.000000"]
    assert visible(tmp_path) == ["a_traces.csv", "a_traces.parquet"]


def test_six_decimals_are_those_of_python() -> None:
    rng = np.random.default_rng(3)
    numbers = np.concatenate([rng.normal(0, 10.0**power, 2000) for power in range(-6, 13)])
    written = results.six_decimals(numbers).cast("string").to_pylist()
    assert written == [f"{x:.6f}".replace("-0.000000", "0.000000") for x in numbers]
    assert results.six_decimals(np.array([1e40])).to_pylist() == [f"{1e40:.6f}"]


def test_traces_without_cells_are_a_header_only(tmp_path: Path) -> None:
    path = tmp_path / "a_traces.csv"
    results.write_traces(table(0), path)
    assert path.read_bytes() == HEADER.encode() + b"\n"
    read = results.read_traces(path)
    assert (read.n_rows, list(read.columns)) == (0, HEADER.split(","))
    assert pq.read_table(tmp_path / "a_traces.parquet").num_rows == 0


def test_traces_are_read_as_they_were_written(tmp_path: Path) -> None:
    written = table(20, 30)
    written.columns["good"][5:9] = False  # type: ignore[index]
    results.write_traces(written, tmp_path / "a_traces.csv")
    read = results.read_traces(tmp_path / "a_traces.csv")
    assert list(read.columns) == list(written.columns)
    for name, values in written.columns.items():
        np.testing.assert_allclose(read.columns[name], values, atol=5.1e-7, rtol=0)
    assert read.columns["good"].dtype == np.bool_
    assert read.columns["cell"].dtype == np.int64


def test_parquet_has_units(tmp_path: Path) -> None:
    results.write_traces(table(), tmp_path / "a_traces.csv")
    read = pq.read_table(tmp_path / "a_traces.parquet")
    units = json.loads(read.schema.metadata[b"units"])
    assert (units["time"], units["bbox_x0"], units["area_ch_0"]) == ("min", "px", "px^2")
    assert read.schema.field("intensity_total_ch_1").metadata[b"unit"] == b"counts"
    np.testing.assert_array_equal(
        read["intensity_total_ch_1"], table().columns["intensity_total_ch_1"]
    )


def test_file_from_a_spreadsheet_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a_traces.csv"
    text = (
        'note,fov,cell,frame,time,good,area_ch_0\r\n"a, b",1.0,2,0,0.5,TRUE,\r\nx,1,2,1,1,false,3'
    )
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    read = results.read_traces(path).columns
    assert list(read) == ["fov", "cell", "frame", "time", "good", "area_ch_0"]
    assert list(read["good"]) == [True, False]
    assert list(read["fov"]) == [1, 1]
    np.testing.assert_array_equal(read["area_ch_0"], [np.nan, 3.0])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\x00\xff",
        "a,b\n1,2\n",
        "fov,cell,frame,time,good,good\n",
        "fov,cell,frame,time,good\n1,x,0,0,True\n",
        "fov,cell,frame,time,good\n1,1.5,0,0,True\n",
        "fov,cell,frame,time,good\n1,,0,0,True\n",
        "fov,cell,frame,time,good\n1,1,0,0,maybe\n",
        "fov,cell,frame,time,good\n1,1,0,0,\n",
        "fov,cell,frame,time,good\n1,1,0\n",
        "fov,cell,frame,time,good\n1,1e300,0,0,True\n",
    ],
)
def test_file_that_is_no_traces_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a_traces.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(TracesInvalid, match=r"a_traces\.csv"):
        results.read_traces(path)


def test_failed_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a_traces.csv"
    path.write_text("old")
    with pytest.raises(TypeError), results.whole_file(path) as file:
        file.writelines([b"half", None])  # type: ignore[list-item]
    assert path.read_text() == "old"
    assert visible(tmp_path) == ["a_traces.csv"]


# --- a person's verdict


def test_verdict_changes_all_rows_of_a_cell_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a_fov_000_traces.csv"
    results.write_traces(table(3), path)
    before = path.read_bytes()
    inspected = results.write_inspected(path, {2: False})
    assert inspected.name == "a_fov_000_traces_inspected.csv"
    assert path.read_bytes() == before
    expected = [
        line.replace("True", "False") if line.split(",")[1] == "2" else line for line in lines(path)
    ]
    assert lines(inspected) == expected
    assert results.preferred(path) == inspected


def test_second_verdict_keeps_the_first(tmp_path: Path) -> None:
    path = tmp_path / "a_traces.csv"
    results.write_traces(table(3, 1), path)
    results.write_inspected(path, {1: False, 2: False})
    results.write_inspected(path, {2: True, 3: False})
    read = results.read_traces(results.preferred(path))
    assert list(read.columns["good"]) == [False, True, False]


def test_verdict_keeps_columns_of_others(tmp_path: Path) -> None:
    path = tmp_path / "a_traces.csv"
    path.write_text('fov,cell,frame,time,good,note\n0,1,0,0.0,True,"a, ""b"""\n\n0,2,0,0.0,True,\n')
    inspected = results.write_inspected(path, {1: False})
    rows = list(csv.reader(lines(inspected)))
    assert rows[1] == ["0", "1", "0", "0.0", "False", 'a, "b"']


def test_verdict_on_a_cell_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a_traces.csv"
    results.write_traces(table(3), path)
    with pytest.raises(ParametersInvalid, match="no cell 9"):
        results.write_inspected(path, {1: False, 9: False})
    assert results.preferred(path) == path
    assert visible(tmp_path) == ["a_traces.csv", "a_traces.parquet"]


def test_verdicts_are_carried_over_to_the_same_tracks(tmp_path: Path) -> None:
    path = tmp_path / "a_fov_000_traces.csv"
    old = table()
    results.write_traces(old, path)
    assert results.renew_traces(old, path) is None
    results.write_inspected(path, {2: False})
    brighter = FovTable({**old.columns, "area_ch_0": old.columns["area_ch_0"] * 2})
    assert results.renew_traces(brighter, path) is None
    judged = results.read_traces(results.preferred(path)).columns
    assert results.preferred(path) != path
    assert judged["good"].tolist() == (judged["cell"] != 2).tolist()
    np.testing.assert_allclose(judged["area_ch_0"], brighter.columns["area_ch_0"], atol=1e-6)


def test_verdicts_on_other_tracks_are_set_aside_where_nothing_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "a_fov_000_traces.csv"
    old = table()
    results.write_traces(old, path)
    asides = []
    for cells in (3, 2):
        results.write_inspected(path, {1: False})
        asides.append(results.renew_traces(table(cells), path))
    assert len(set(asides)) == 2
    assert all(aside and (tmp_path / aside).is_file() for aside in asides)
    assert results.preferred(path) == path
    assert list(tmp_path.glob("*.csv")) == [path]


def test_verdicts_that_name_cells_of_nobody_are_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "a_fov_000_traces.csv"
    results.write_traces(table(), path)
    inspected = results.write_inspected(path, {1: False})
    with inspected.open("a") as file:
        file.write(lines(inspected)[-1].replace("4,2,", "4,9,", 1) + "\n")
    assert results.renew_traces(table(), path) == f"{inspected.name}.1.bak"
    assert results.preferred(path) == path


class Killed(BaseException):
    """The process ends without a word."""


def killed_at(moment: int, patch: pytest.MonkeyPatch) -> None:
    """Have the process end before or after the n-th call that changes something on the disk."""
    count = 0

    def patched(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            nonlocal count
            for is_done in (False, True):
                if is_done:
                    found = real(*args, **more)
                count += 1
                if count == moment:
                    raise Killed
            return found

        return call

    for name in ("replace", "rename", "fsync"):
        patch.setattr(os, name, patched(getattr(os, name)))


@pytest.mark.parametrize("is_same", [True, False])
def test_verdicts_stay_with_their_cells_whenever_a_run_is_killed(
    tmp_path: Path, is_same: bool
) -> None:
    old = table()
    new = table(2 if is_same else 3)
    n_moments = 0
    for moment in range(1, 100):
        path = tmp_path / str(moment) / "a_fov_000_traces.csv"
        path.parent.mkdir()
        results.write_traces(old, path)
        judged = results.write_inspected(path, {2: False}).read_bytes()
        with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Killed):
            killed_at(moment, patch)
            results.renew_traces(new, path)
            n_moments = moment
        # Whatever is beside the traces is of just their cells, also as long as nobody goes on.
        assert len(lines(results.preferred(path))) == len(lines(path))
        aside = results.renew_traces(new, path)
        good = results.read_traces(results.preferred(path)).columns["good"]
        if is_same:
            assert aside is None
            assert good.tolist() == (new.columns["cell"] != 2).tolist()
        else:
            assert aside is not None
            assert (path.parent / aside).read_bytes() == judged
            assert [item.name for item in path.parent.glob("*.bak")] == [aside]
            assert good.all()
        if n_moments:
            break
    assert n_moments > 12


def test_verdicts_set_aside_are_told_until_that_has_been_said(tmp_path: Path) -> None:
    path = tmp_path / "a_fov_000_traces.csv"
    results.write_traces(table(), path)
    results.write_inspected(path, {1: False})
    aside = results.renew_traces(table(3), path)
    assert results.renew_traces(table(3), path) == aside
    results.forget_aside(path)
    assert results.renew_traces(table(3), path) is None
    assert visible(tmp_path) == [path.name, f"{path.stem}.parquet", aside]


def test_verdict_given_while_traces_are_made_anew_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a_fov_000_traces.csv"
    results.write_traces(table(3), path)
    results.write_inspected(path, {1: False})
    person = threading.Thread(target=results.write_inspected, args=(path, {2: False}))
    real = results.write_traces

    def write_meanwhile(new: FovTable, csv_path: Path) -> None:
        person.start()
        person.join(0.3)
        real(new, csv_path)

    monkeypatch.setattr(results, "write_traces", write_meanwhile)
    results.renew_traces(table(3), path)
    person.join(10)
    judged = results.read_traces(results.preferred(path)).columns
    assert judged["good"].tolist() == (judged["cell"] == 3).tolist()
