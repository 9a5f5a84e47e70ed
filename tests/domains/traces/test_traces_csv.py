"""Traces read from CSV as people and programs write it, and fits written and read back."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchwire.domains.traces.errors import CsvInvalid
from benchwire.domains.traces.fitting import fit
from benchwire.domains.traces.kinetics import Maturation
from benchwire.domains.traces.traces_csv import (
    TraceSet,
    read_fits,
    read_traces,
    write_fits,
)

HEADING = "time,fov,cell,value\n"


def read(folder: Path, content: str | bytes) -> TraceSet:
    path = folder / "traces.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_traces(path)


def test_rows_become_traces_sorted_by_fov_and_cell(tmp_path: Path) -> None:
    found = read(tmp_path, HEADING + "2,1,2,5\n1,1,2,4\n1,0,7,3\n2,0,7,6\n1,1,1,9\n")
    np.testing.assert_array_equal(found.fov, [0, 1, 1])
    np.testing.assert_array_equal(found.cell, [7, 1, 2])
    np.testing.assert_array_equal(found.time, [[1, 2]] * 3)
    np.testing.assert_array_equal(found.values, [[3, 6], [9, np.nan], [4, 5]])
    assert found.cell_ids == ["0_7", "1_1", "1_2"]
    assert (found.n_cells, found.n_fovs, found.n_timepoints) == (3, 2, 2)
    assert found.time_range == (1.0, 2.0)
    assert found.value_range == (3.0, 9.0)


@pytest.mark.parametrize(
    ("line", "hours"),
    [
        ("# Time units: min\n", 1 / 60), ("# time units: Minutes\r\n", 1 / 60),
        ("#TIME UNITS:m\n", 1 / 60), ("# Time units: s\n", 1 / 3600),
        ("# Time units: SEC\n", 1 / 3600), ("# Time units: seconds\n", 1 / 3600),
        ("# Time units: h\n", 1), ("# Time units: hr\n", 1), ("# Time units: hrs\n", 1),
        ("# Time units: hour\n", 1), ("# Time units: Hours,,,\n", 1), ("", 1),
        ("\ufeff# Time units: min\n", 1 / 60), ("\ufeff", 1), ("# by hand\n\n", 1),
    ],
)  # fmt: skip
def test_times_become_hours(tmp_path: Path, line: str, hours: float) -> None:
    found = read(tmp_path, line + HEADING + "90,0,1,5\n")
    np.testing.assert_allclose(found.times, [90 * hours])


@pytest.mark.parametrize(
    "content",
    [
        HEADING.replace("\n", "\r\n") + "1,0,1,5\r\n\r\n2,0,1,6\r\n",
        "\n\n" + HEADING + "\n1,0,1,5\n\n\n2,0,1,6",
        "value,cell,note,fov,time\n5,1,any,0,1\n6,1,,0,2\n",
        " Time , FOV,Cell,VALUE \n1,0,1,5\n2,0,1,6\n",
        '"time","fov","cell","value"\n"1","0","1","5"\n2,0,1,6\n',
        HEADING + " 1 ,0.0, 1,5\n+2.0,0,1, 6e0 \n",
        "time,fov,cell,value,value\n1,0,1,5,8\n2,0,1,6,8\n",
    ],
)
def test_the_same_traces_are_read_from_many_ways_to_write_them(
    tmp_path: Path, content: str
) -> None:
    found = read(tmp_path, content)
    np.testing.assert_array_equal(found.time, [[1, 2]])
    np.testing.assert_array_equal(found.values, [[5, 6]])


@pytest.mark.parametrize("word", ["", "NA", "nan", "inf", "-", "#DIV/0!", "1.2.3", "eins", "1_0"])
def test_what_is_no_number_is_missing(tmp_path: Path, word: str) -> None:
    found = read(tmp_path, HEADING + f"1,0,1,5\n2,0,1,{word}\n{word},0,1,7\n3,0,2,+8\n")
    np.testing.assert_array_equal(found.times, [1, 2, 3])
    np.testing.assert_array_equal(found.values, [[5, np.nan, np.nan], [np.nan, np.nan, 8]])


def test_a_cell_without_any_time_is_a_trace_without_points(tmp_path: Path) -> None:
    found = read(tmp_path, HEADING + "never,3,4,5\n")
    assert (found.n_cells, found.n_timepoints) == (1, 0)
    assert found.time_range is None
    assert found.value_range is None
    fits = fit(Maturation(), found.time, found.values)
    assert not fits.success.any()


def test_the_last_known_value_of_a_cell_at_one_time_counts(tmp_path: Path) -> None:
    found = read(tmp_path, HEADING + "1,0,1,5\n1,0,1,6\n1,0,1,\n")
    np.testing.assert_array_equal(found.values, [[6]])


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("", "empty"), ("\n\n", "empty"), ("# Time units: min\n", "empty"),
        (HEADING, "no rows"), ("time,fov,value\n1,0,5\n", "cell"), ("1,0,1,5\n", "time"),
        ("# Time units: days\n" + HEADING + "1,0,1,5\n", "days"),
        ("# Time units:\n" + HEADING + "1,0,1,5\n", "unit"),
        (HEADING + "1,a,1,5\n", "fov"), (HEADING + "1,0,1.5,5\n", "cell"),
        (HEADING + "1,0,,5\n", "cell"), (HEADING + "1,0,1\n", "rows"),
        (HEADING + "1,0,1,5,6\n", "rows"), (b"\xff\xfe\x00t", "UTF-8"),
        (HEADING.encode() + b"1,0,1,\xff\n", "rows"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_table_of_traces_is_refused_with_the_reason(
    tmp_path: Path, content: str | bytes, word: str
) -> None:
    with pytest.raises(CsvInvalid) as refused:
        read(tmp_path, content)
    assert word in str(refused.value)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.tuples(
            st.integers(0, 5), st.integers(1, 9),
            st.floats(0, 1e6, allow_nan=False).map(lambda value: round(value, 3)),
        ),
        st.floats(-1e12, 1e12, allow_nan=False), min_size=1, max_size=60,
    ),
    st.randoms(),
)  # fmt: skip
def test_any_points_are_found_again(
    tmp_path_factory: pytest.TempPathFactory, points: dict[Any, float], order: random.Random
) -> None:
    rows = [f"{time},{fov},{cell},{value!r}\n" for (fov, cell, time), value in points.items()]
    order.shuffle(rows)
    found = read(tmp_path_factory.mktemp("any"), HEADING + "".join(rows))
    again = {
        (int(fov), int(cell), time): value
        for fov, cell, times, values in zip(
            found.fov, found.cell, found.time, found.values, strict=True
        )
        for time, value in zip(times.tolist(), values.tolist(), strict=True)
        if np.isfinite(value)
    }
    assert again == points


@pytest.mark.parametrize(("fovs", "each"), [(40, "fov"), (40, "cell")])
def test_times_of_their_own_do_not_fill_memory(tmp_path: Path, fovs: int, each: str) -> None:
    cells, count = 20, 100
    rows = [
        f"{k + 1e-6 * (fov if each == 'fov' else fov * cells + cell)},{fov},{cell},{k + fov}\n"
        for fov in range(fovs)
        for cell in range(cells)
        for k in range(count)
    ]
    found = read(tmp_path, HEADING + "".join(rows))
    assert found.values.shape == found.time.shape == (fovs * cells, count)
    assert found.n_timepoints == count * fovs * (1 if each == "fov" else cells)
    np.testing.assert_allclose(found.values, np.arange(count) + found.fov[:, None])
    assert (np.diff(found.time, axis=1) > 0).all()


def test_fits_are_written_sorted_and_read_back(tmp_path: Path) -> None:
    time = np.linspace(0, 10, 21)
    values = np.array([2.0, 3.0, np.nan])[:, None] * (1 - np.exp(-0.3 * time)) + 1
    fits = fit(Maturation(), time, values)
    path = tmp_path / "drug_fitted_maturation.csv"
    write_fits(path, Maturation(), fov=np.array([1, 0, 0]), cell=np.array([1, 9, 2]), fits=fits)
    lines = path.read_text().splitlines()
    assert lines[0] == "fov,cell,model_type,success,r_squared,amplitude,rate,offset"
    assert lines[1] == "0,2,maturation,False,0.0,1.0,0.1,0.0"
    assert [line.split(",")[:4] for line in lines[2:]] == [
        ["0", "9", "maturation", "True"],
        ["1", "1", "maturation", "True"],
    ]
    found = read_fits(path)
    order = [2, 1, 0]
    np.testing.assert_array_equal(found.fov, [0, 0, 1])
    np.testing.assert_array_equal(found.cell, [2, 9, 1])
    assert (found.model, found.names) == ("maturation", ("amplitude", "rate", "offset"))
    np.testing.assert_array_equal(found.fits.parameters, fits.parameters[order])
    np.testing.assert_array_equal(found.fits.r_squared, fits.r_squared[order])
    np.testing.assert_array_equal(found.fits.success, fits.success[order])
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "content", ["", "a,b\n1,2\n", "fov,cell,model_type,success,r_squared\n1,x,m,True,0.5\n"]
)
def test_what_is_no_table_of_fits_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "fits.csv"
    path.write_text(content)
    with pytest.raises(CsvInvalid):
        read_fits(path)
