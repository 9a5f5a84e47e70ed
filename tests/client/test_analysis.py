"""Movies, workflows, traces and fits from Python."""

import zipfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from benchwire.client import Bench, Conflict, Invalid, NotFound, WorkCancelled
from benchwire.client.microscopy import Workflow
from benchwire.client.traces import Fit


@pytest.fixture(scope="module")
def workflow(lab: Any) -> Workflow:
    found = lab.bench.microscopy.workflow(
        lab.movie, lab.folder / "Ergebnisse", min_frames=2, border_margin=5,
        samples={0: "Zellen ä"}, sample="Schale 1",
    )  # fmt: skip
    return found.follow()


@pytest.fixture(scope="module")
def fit(lab: Any, workflow: Workflow) -> Fit:
    samples = lab.folder / "samples.yaml"
    samples.write_text("samples:\n  - name: demo\n    fovs: 0-1\n")
    merged = lab.bench.microscopy.merge(
        samples, workflow.results["output_dir"], lab.folder / "merged"
    )["merged_files"]
    csv = next(path for path in merged if "intensity_total" in path)
    return lab.bench.traces.fit(csv, "maturation_kinetic", params={"t0": 0.1}).follow()


def test_movie_is_looked_at(bench: Bench, lab: Any, tmp_path: Path) -> None:
    info = bench.microscopy.info(lab.movie)
    assert (info["n_fovs"], info["n_frames"]) == (2, 14)
    assert "area" in bench.microscopy.features()["phase"]
    picture = bench.microscopy.preview(lab.movie, frame=3, low=0, high=60000)
    assert picture._repr_png_().startswith(b"\x89PNG")
    assert picture.save(tmp_path / "frame.png").stat().st_size == len(picture.content)
    assert bench.microscopy.recent()["path"][0] == str(lab.movie)


def test_folders_are_looked_at(bench: Bench, lab: Any) -> None:
    names = bench.microscopy.list(lab.folder)
    assert "cells.ome.tif" in names["name"].to_list()
    assert names.schema["modified_time"] == pl.Datetime("us", "UTC")
    found = bench.microscopy.search(lab.folder, "**/CELLS.*", depth=1)
    assert found["name"].to_list() == ["cells.ome.tif"]


def test_traces_of_all_fovs_are_one_table(workflow: Workflow) -> None:
    frame = workflow.traces()
    assert frame["fov"].unique().sort().to_list() == [0, 1]
    assert frame["good"].dtype == pl.Boolean
    assert {"cell", "frame", "time", "area_ch_0", "intensity_total_ch_1"} <= set(frame.columns)
    cells = frame.select(pl.struct("fov", "cell").n_unique()).item()
    assert cells == workflow.results["stats"]["total_cells"]
    assert set(workflow.fovs["status"]) == {"completed"}


def test_workflow_is_downloaded(workflow: Workflow, tmp_path: Path) -> None:
    paths = workflow.download(tmp_path)
    assert any(path.name.endswith("_traces.csv") for path in paths)
    assert all(path.is_relative_to(tmp_path / workflow.id) for path in paths)
    assert workflow.overlay(1, 2).content.startswith(b"\x89PNG")


def test_cells_are_noted_as_good(bench: Bench, workflow: Workflow, fit: Fit) -> None:
    # Merging heeds it, and the fit is of all cells.
    assert fit.state == "done"
    traces = workflow.results["traces"][0]
    assert bench.microscopy.inspect(traces, {1: False}).endswith(".csv")


def test_channels_may_be_named(bench: Bench, lab: Any) -> None:
    found = bench.microscopy.workflow(
        lab.movie, lab.folder / "own", phase=0, phase_features=["area"],
        fluorescence={1: ["intensity_mean"]}, min_frames=2, fov_end=0, ome_zarr="none",
    )  # fmt: skip
    found.wait(90)
    assert bench.microscopy.get(found.id) == found
    columns = set(found.traces().columns)
    assert {"area_ch_0", "intensity_mean_ch_1"} <= columns
    assert "aspect_ratio_ch_0" not in columns


def test_workflow_is_cancelled(bench: Bench, lab: Any) -> None:
    found = bench.microscopy.workflow(lab.movie, lab.folder / "cut", min_frames=2)
    found.cancel()
    with pytest.raises(WorkCancelled):
        found.wait(60)
    with pytest.raises(Conflict) as caught:
        _ = found.results
    assert caught.value.code == "JOB_NOT_COMPLETED"


def test_fits_are_a_table(fit: Fit, workflow: Workflow) -> None:
    frame = fit.results()
    assert frame.height == fit.summary["total_cells"] == workflow.results["stats"]["total_cells"]
    assert {"fov", "cell", "success", "r_squared", "ktl", "delta"} <= set(frame.columns)
    curve = fit.curve(0, 1)
    assert curve.columns == ["time", "value", "fitted"]
    assert curve.height == 14
    with pytest.raises(NotFound, match="no cell 99"):
        fit.curve(0, 99)


def test_fit_is_downloaded(bench: Bench, fit: Fit, tmp_path: Path) -> None:
    (path,) = fit.download(tmp_path)
    assert pl.read_csv(path).height == fit.results().height
    assert bench.traces.get(fit.id) == fit
    with zipfile.ZipFile(fit.crate(tmp_path / "fit.zip")) as crate:
        assert "ro-crate-metadata.json" in crate.namelist()


def test_traces_are_described(bench: Bench, fit: Fit, lab: Any) -> None:
    models = {model["name"]: model for model in bench.traces.models()}
    assert models["maturation"]["equation"]
    csv = next((lab.folder / "merged").glob("*intensity_total*_1.csv"))
    assert bench.traces.describe(csv)["n_timepoints"] == 14
    other = bench.traces.fit(csv, "trivial", bounds={"amplitude": (0, 5)}, sample="ß")
    other.wait(60)
    assert other.summary["total_cells"] == fit.summary["total_cells"]
    assert bench.samples.of(other)["sample"].to_list() == ["ß"]


def test_refusals_are_told_in_one_way(bench: Bench, lab: Any, tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        bench.microscopy.info("/nowhere/films/ü.nd2")
    assert (caught.value.status, caught.value.code) == (404, "FILE_NOT_FOUND")
    with pytest.raises(Invalid) as caught:
        bench.microscopy.workflow(lab.movie, tmp_path, min_frames=-4)
    assert caught.value.status == 400
    assert "min_frames" in caught.value.message
    with pytest.raises(Invalid, match="no model"):
        bench.traces.fit(lab.movie, "nobody's")
    with pytest.raises(NotFound) as caught:
        bench.traces.get("job_0")
    assert caught.value.code == "JOB_NOT_FOUND"
