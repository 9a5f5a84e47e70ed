"""The processing API: every answer, every refusal, files looked for and merged."""

import csv
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from benchwire.domains.microscopy.errors import CellsReplaced
from benchwire.domains.microscopy.schemas import InspectionRequest
from benchwire.foundation.jobs.runner import JobNotRepeatable
from tests.domains.microscopy.conftest import FOVS, FRAMES, SIZE
from tests.support.analysis import Desk, running
from tests.support.waiting import until

START = "/processing/workflow/start"


@pytest.fixture(scope="module")
def finished(desk: Desk) -> dict[str, Any]:
    """A workflow that was completed, all FOVs of it."""
    return desk.completed(desk.workflow(movie_of(desk), desk.area / "out"))


def movie_of(desk: Desk) -> Path:
    return desk.area / "cells.ome.tif"


def rows_of(path: str | Path) -> list[dict[str, str]]:
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


# -- metadata -------------------------------------------------------------------------------


def test_metadata_are_flat_and_their_channels_start_a_workflow(desk: Desk) -> None:
    found = desk.post("/processing/load-metadata", {"file_path": str(movie_of(desk))})
    assert (found["base_name"], found["file_type"], found["dtype"]) == (
        "cells", "ome-tiff", "uint16",
    )  # fmt: skip
    assert (found["n_frames"], found["n_fovs"], found["n_channels"]) == (FRAMES, FOVS, 2)
    assert (found["height"], found["width"]) == (SIZE, SIZE)
    steps = np.diff(found["timepoints"])
    assert len(found["timepoints"]) == FRAMES
    assert found["timepoints"][0] == 0
    assert (steps > 0).all()
    assert found["pixel_size_um"] > 0
    assert found["suggested_channels"]["phase"] == {
        "channel": 0, "features": ["area", "aspect_ratio"],
    }  # fmt: skip
    assert found["metadata"]["n_fovs"] == FOVS
    body = desk.workflow(movie_of(desk), desk.area / "suggested", fov_end=0)
    started = desk.post(START, {**body, "channels": found["suggested_channels"]})
    assert desk.ended(started["job_id"])["status"] == "completed"


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("missing.nd2", 404, "FILE_NOT_FOUND"),
        ("", 400, "INVALID_PARAMETERS"),
        ("/etc/passwd", 403, "FORBIDDEN"),
        ("/etc/nothing.nd2", 403, "FORBIDDEN"),
        ("../data/x.nd2", 403, "FORBIDDEN"),
        ("notes.txt", 400, "INVALID_PARAMETERS"),
        ("broken.nd2", 500, "PROCESSING_ERROR"),
        ("broken.czi", 500, "PROCESSING_ERROR"),
        ("broken.ome.tif", 500, "PROCESSING_ERROR"),
        ("float.tif", 200, ""),
    ],
)
def test_every_kind_of_path_has_its_answer(desk: Desk, path: str, status: int, code: str) -> None:
    import tifffile

    (desk.area / "notes.txt").write_text("hello")
    for suffix in ("nd2", "czi", "ome.tif"):
        (desk.area / f"broken.{suffix}").write_bytes(b"\x00\x01garbage" * 30)
    tifffile.imwrite(
        desk.area / "float.tif", np.full((4, 64, 64), 0.5, np.float32), photometric="minisblack"
    )
    full = path if path.startswith("/") else f"{desk.area}/{path}" if path else "relative.nd2"
    answer = desk.post("/processing/load-metadata", {"file_path": full}, status=status)
    assert answer.get("error_code", "") == code


@pytest.mark.parametrize("body", [None, {}, [], "x", {"file_path": 5}, {"file_path": ["/a"]}])
def test_bodies_of_the_wrong_shape_are_refused(desk: Desk, body: Any) -> None:
    for path in ("/processing/load-metadata", "/processing/file-info"):
        desk.refused(path, body, 400, "INVALID_PARAMETERS")


def test_text_that_is_no_json_is_refused_in_the_same_shape(desk: Desk) -> None:
    answer = desk.client.post("/api/v1/processing/load-metadata", content=b"{nonsense")
    assert answer.status_code == 400
    assert answer.json()["error_code"] == "INVALID_PARAMETERS"
    for path, method in (("nothing", "GET"), ("merge", "GET")):
        answer = desk.client.request(method, f"/api/v1/processing/{path}")
        assert answer.status_code in {404, 405}
        assert answer.json()["success"] is False


def test_features_are_listed_by_kind(desk: Desk) -> None:
    found = desk.get("/processing/features")
    assert {"area", "aspect_ratio", "circularity"} <= set(found["phase_features"])
    assert {"intensity_total", "intensity_mean"} <= set(found["fluorescence_features"])


# -- start ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"parameters": {"fov_end": FOVS}}, "FOV"),
        ({"parameters": {"fov_start": 2, "fov_end": 1}}, "FOV"),
        ({"parameters": {"fov_start": -2}}, "fov_start"),
        ({"parameters": {"fov_start": True}}, "fov_start"),
        ({"parameters": {"batch_size": 0}}, "batch_size"),
        ({"parameters": {"n_workers": 0}}, "n_workers"),
        ({"parameters": {"n_worker": 2}}, "n_worker"),
        ({"parameters": {"background_weight": "much"}}, "background_weight"),
        ({"parameters": {"frame_interval": 0}}, "frame_interval"),
        ({"parameters": {"min_size": 9, "max_size": 3}}, "max_size"),
        ({"parameters": {"min_iou": 2}}, "min_iou"),
        ({"channels": {"phase": None}}, "phase"),
        ({"channels": {}}, "phase"),
        ({"channels": {"phase": {"channel": 7}}}, "channel 7"),
        ({"channels": {"phase": {"channel": -1}}}, "channel"),
        ({"channels": {"phase": {"channel": 0, "features": ["volume"]}}}, "volume"),
        ({"channels": {"phase": {"channel": 0, "features": ["intensity_total"]}}}, "phase"),
        ({"channels": {"phase": {"channel": 0}, "fluorescence": [{"channel": 2}]}}, "channel 2"),
        ({"params": {"fov_end": 0}}, "params"),
        ({"output_dir": "out"}, "absolute"),
        ({"microscopy_path": "a.nd2"}, "absolute"),
    ],
)
def test_what_cannot_be_done_is_refused_before_a_job_exists(
    desk: Desk, change: dict[str, Any], says: str
) -> None:
    before = len(desk.get("/jobs")["jobs"])
    body = {**desk.workflow(movie_of(desk), desk.area / "never"), **change}
    assert says in desk.refused(START, body, 400, "INVALID_PARAMETERS")
    assert len(desk.get("/jobs")["jobs"]) == before
    assert not (desk.area / "never").exists()


def test_paths_of_a_start_are_checked_in_order(desk: Desk) -> None:
    body = desk.workflow(movie_of(desk), desk.area / "never")
    desk.refused(START, {**body, "output_dir": "/etc/out"}, 403, "FORBIDDEN")
    desk.refused(START, {**body, "microscopy_path": "/etc/a.nd2"}, 403, "FORBIDDEN")
    gone = str(desk.area / "gone.nd2")
    desk.refused(START, {**body, "microscopy_path": gone}, 404, "FILE_NOT_FOUND")
    (desk.area / "a-file").write_text("x")
    desk.refused(START, {**body, "output_dir": f"{desk.area}/a-file"}, 400, "INVALID_PARAMETERS")
    desk.refused(
        START, {**body, "output_dir": f"{desk.area}/a-file/below"}, 400, "INVALID_PARAMETERS"
    )
    both = {**body, "output_dir": "/etc/out", "microscopy_path": "a.nd2"}
    desk.refused(START, both, 400, "INVALID_PARAMETERS")
    desk.refused(START, {**both, "microscopy_path": gone}, 403, "FORBIDDEN")
    both["output_dir"] = f"{desk.area}/a-file"
    desk.refused(START, {**both, "microscopy_path": gone}, 404, "FILE_NOT_FOUND")
    (desk.area / "bad.nd2").write_text("x")
    both["microscopy_path"] = f"{desk.area}/bad.nd2"
    desk.refused(START, both, 400, "INVALID_PARAMETERS")


@pytest.mark.parametrize("source", ["input_dir", "processing_results_yaml"])
def test_paths_of_a_merge_are_checked_in_order(desk: Desk, source: str) -> None:
    gone, folder = f"{desk.area}/gone", str(desk.area)

    def refused(sample_yaml: str, where: str, output_dir: str, status: int, code: str) -> None:
        body = {"sample_yaml": sample_yaml, source: where, "output_dir": output_dir}
        desk.refused("/processing/merge", body, status, code)

    refused("/etc/a.yaml", gone, "out", 400, "INVALID_PARAMETERS")
    refused(gone, "/etc/in", "out", 400, "INVALID_PARAMETERS")
    refused(gone, "in", "/etc/out", 400, "INVALID_PARAMETERS")
    refused(gone, "/etc/in", folder, 403, "FORBIDDEN")
    refused(gone, folder, "/etc/out", 403, "FORBIDDEN")
    refused(folder, gone, folder, 404, "FILE_NOT_FOUND")
    refused(folder, folder, folder, 400, "INVALID_PARAMETERS")


def test_every_path_of_a_merge_has_to_be_allowed(desk: Desk) -> None:
    area = str(desk.area)
    body = {"sample_yaml": area, "input_dir": area, "output_dir": area}
    body["processing_results_yaml"] = "/etc/processing_results.yaml"
    desk.refused("/processing/merge", body, 403, "FORBIDDEN")


def test_pixels_that_are_no_counts_are_refused_not_scaled(desk: Desk) -> None:
    import tifffile

    path = desk.area / "half.tif"
    tifffile.imwrite(path, np.full((4, 64, 64), 0.5, np.float32), photometric="minisblack")
    body = desk.workflow(path, desk.area / "never")
    body["channels"] = {"phase": {"channel": 0}}
    desk.refused(START, body, 400, "INVALID_PARAMETERS")


# -- results --------------------------------------------------------------------------------


def test_a_completed_workflow_has_all_its_files(desk: Desk, finished: dict[str, Any]) -> None:
    out = desk.area / "out"
    assert finished["output_dir"] == str(out)
    assert finished["results_file"] == str(out / "processing_results.yaml")
    expected = [str(out / f"fov_{k:03d}/cells_fov_{k:03d}_traces.csv") for k in range(FOVS)]
    assert finished["traces"] == expected
    index = yaml.safe_load(Path(finished["results_file"]).read_text())
    assert index["channels"] == {"pc": [0, ["area"]], "fl": [[1, ["intensity_total"]]]}
    assert set(index["results"]) == {str(k) for k in range(FOVS)}
    assert index["time_units"] == "min"
    for k in range(FOVS):
        for name, dtype in (
            ("pc_ch_0", np.uint16), ("fl_ch_1", np.uint16), ("seg_ch_0", np.bool_),
            ("seg_labeled_ch_0", np.uint16), ("fl_background_ch_1", np.float32),
        ):  # fmt: skip
            stack = np.load(out / f"fov_{k:03d}/cells_fov_{k:03d}_{name}.npy", mmap_mode="r")
            assert stack.dtype == dtype
            assert stack.shape == (FRAMES, SIZE, SIZE)
        rows = rows_of(expected[k])
        assert list(rows[0]) == [
            "fov", "cell", "frame", "time", "good", "position_x", "position_y", "bbox_x0",
            "bbox_y0", "bbox_x1", "bbox_y1", "area_ch_0", "intensity_total_ch_1",
        ]  # fmt: skip
        assert {row["fov"] for row in rows} == {str(k)}
        assert len(rows) >= 2 * FRAMES
        assert Path(expected[k]).with_suffix(".parquet").is_file()
    assert finished["stats"]["total_cells"] >= FOVS
    assert finished["stats"]["total_frames"] == FOVS * FRAMES


def test_the_record_of_a_run_says_what_it_was_made_of(desk: Desk, finished: dict[str, Any]) -> None:
    import hashlib

    record = json.loads((desk.area / "out/run.json").read_text())
    digest = hashlib.sha256(movie_of(desk).read_bytes()).hexdigest()
    assert record["input"]["sha256"] == digest
    assert record["job_id"] == finished["job_id"]
    assert record["versions"]["numpy"] == np.__version__
    assert record["parameters"]["plan"]["border_margin"] == 5


def test_the_same_workflow_again_does_nothing_again(desk: Desk, finished: dict[str, Any]) -> None:
    stamp = Path(finished["traces"][0]).stat().st_mtime_ns
    again = desk.completed(desk.workflow(movie_of(desk), desk.area / "out", fov_end=1))
    assert again["traces"] == finished["traces"][:2]
    assert Path(finished["traces"][0]).stat().st_mtime_ns == stamp
    # The index still names the FOV that was left out.
    assert set(yaml.safe_load(Path(again["results_file"]).read_text())["results"]) == {
        "0", "1", "2",
    }  # fmt: skip


def judged(desk: Desk, traces: str | Path, cell: int) -> Path:
    body = {"traces_path": str(traces), "good": {str(cell): False}}
    return Path(desk.post("/processing/inspect", body)["inspected_path"])


def test_verdicts_hold_as_long_as_the_tracks_do(desk: Desk) -> None:
    out = desk.area / "anew"
    first = desk.completed(desk.workflow(movie_of(desk), out, fov_end=0))
    path = Path(first["traces"][0])
    cell = int(rows_of(path)[0]["cell"])
    inspected = judged(desk, path, cell)
    assert {row["good"] for row in rows_of(inspected) if row["cell"] == str(cell)} == {"False"}
    column = "intensity_total_ch_1"
    whole = sum(float(row[column]) for row in rows_of(path))
    # Another background gives other intensities of the same tracks.
    none = desk.completed(desk.workflow(movie_of(desk), out, fov_end=0, background_weight=-3))
    assert none["warnings"] == []
    assert sum(float(row[column]) for row in rows_of(path)) > whole
    assert [row[column] for row in rows_of(inspected)] == [row[column] for row in rows_of(path)]
    assert {row["good"] for row in rows_of(inspected) if row["cell"] == str(cell)} == {"False"}
    # Without its small cells the FOV has other tracks.
    areas = sorted(float(row["area_ch_0"]) for row in rows_of(path))
    more = desk.workflow(movie_of(desk), out, fov_end=0, min_size=int(areas[len(areas) // 2]))
    found = desk.completed(more)
    assert not inspected.exists()
    (aside,) = path.parent.glob("*.bak")
    assert aside.name in found["warnings"][0]


def test_a_verdict_on_cells_that_were_found_anew_is_refused(desk: Desk) -> None:
    """A page shows what it has loaded; by now its numbers may stand for other cells."""
    out = desk.area / "outdated"
    first = desk.completed(desk.workflow(movie_of(desk), out, fov_end=0))
    domain = next(item for item in desk.app.domains if item.name == "microscopy")
    _, folders, workflows, _ = domain.services
    seen = workflows.traces(first["job_id"], 0)
    request = InspectionRequest(traces_path=seen["path"], good={1: False})
    inspected = folders.inspect(request, seen["identity"])
    # The same cells, as they were judged.
    again = workflows.traces(first["job_id"], 0)
    assert (again["identity"], again["cells"][0]["good"]) == (seen["identity"], False)
    areas = sorted(float(row["area_ch_0"]) for row in rows_of(Path(seen["path"])))
    desk.completed(
        desk.workflow(movie_of(desk), out, fov_end=0, min_size=int(areas[len(areas) // 2]))
    )
    assert not inspected.exists()
    with pytest.raises(CellsReplaced):
        folders.inspect(request, seen["identity"])
    assert not inspected.exists()
    folders.inspect(request)
    assert inspected.exists()


def test_nothing_of_a_former_run_stays_beside_the_new(desk: Desk) -> None:
    out = desk.area / "former"
    desk.completed(desk.workflow(movie_of(desk), out, fov_end=0))
    folder = out / "fov_000"
    former = {path.name for path in folder.iterdir()}
    shutil.rmtree(folder / "cells_fov_000.ome.zarr")
    desk.completed(desk.workflow(movie_of(desk), out, fov_end=0))
    assert {path.name for path in folder.iterdir()} == former
    body = desk.workflow(movie_of(desk), out, fov_end=0, ome_zarr="none", min_frames=3)
    body["channels"] = {"phase": {"channel": 1}}
    desk.completed(body)
    assert {path.name for path in folder.iterdir()} == {
        "cells_fov_000_pc_ch_1.npy", "cells_fov_000_seg_ch_1.npy",
        "cells_fov_000_seg_labeled_ch_1.npy", "cells_fov_000_traces.csv",
        "cells_fov_000_traces.parquet", "finished.json",
    }  # fmt: skip


def split_set(desk: Desk, movie: Path, folder: str) -> Path:
    import tifffile

    (desk.area / folder).mkdir()
    for fov in range(2):
        stack = tifffile.imread(movie, series=fov)
        path = desk.area / folder / f"s_scene{fov}.ome.tif"
        tifffile.imwrite(path, stack, ome=True, metadata={"axes": "TCYX"})
    return desk.area / folder / "s_scene0.ome.tif"


def test_a_changed_file_of_a_movie_is_processed_anew(desk: Desk, movie: Path) -> None:
    import tifffile

    path, out = split_set(desk, movie, "set"), desk.area / "set-out"
    first = desk.completed(desk.workflow(path, out))
    assert "10 min" in first["warnings"][0]
    before = rows_of(first["traces"][1])
    other = tifffile.imread(movie, series=2)
    target = path.with_name("s_scene1.ome.tif")
    tifffile.imwrite(target, other, ome=True, metadata={"axes": "TCYX"})
    second = desk.completed(desk.workflow(path, out))
    assert rows_of(second["traces"][1]) != before
    stack = np.load(out / "fov_001/s_fov_001_pc_ch_0.npy")
    np.testing.assert_array_equal(stack, other[:, 0])


def test_a_movie_that_changes_under_way_fails_the_run(desk: Desk, movie: Path) -> None:
    path, out = split_set(desk, movie, "moving"), desk.area / "moving-out"
    job = desk.post(START, desk.workflow(path, out, n_workers=1))["job_id"]
    until(lambda: (out / "fov_000").exists(), seconds=30)
    os.utime(path.with_name("s_scene1.ome.tif"), (1, 1))
    status = desk.ended(job)
    assert status["status"] == "failed"
    assert "was changed while it was processed" in status["message"]
    assert json.loads((out / "run.json").read_text())["state"] == "failed"


def test_times_that_cannot_be_right_are_refused_not_replaced(desk: Desk, movie: Path) -> None:
    import tifffile

    path = desk.area / "stamps.ome.tif"
    stack = tifffile.imread(movie, series=0)
    times = [float(10 * min(frame, 5)) for frame in range(len(stack)) for _ in range(2)]
    metadata = {"axes": "TCYX", "Plane": {"DeltaT": times, "DeltaTUnit": ["s"] * len(times)}}
    tifffile.imwrite(path, stack, ome=True, metadata=metadata)
    body = desk.workflow(path, desk.area / "stamps")
    assert "frame_interval" in desk.refused(START, body, 400, "INVALID_PARAMETERS")
    found = desk.completed(desk.workflow(path, desk.area / "stamps", frame_interval=0.5))
    assert float(rows_of(found["traces"][0])[1]["time"]) == 0.5


def test_a_folder_is_not_shared_by_two_movies(desk: Desk, finished: dict[str, Any]) -> None:
    other = desk.area / "other.ome.tif"
    other.hardlink_to(movie_of(desk))
    body = desk.workflow(other, Path(finished["output_dir"]))
    assert "another movie" in desk.refused(START, body, 400, "INVALID_PARAMETERS")


def test_a_stopped_run_leaves_its_record_and_merge_tells_what_is_unfinished(desk: Desk) -> None:
    out = desk.area / "half"
    desk.completed(desk.workflow(movie_of(desk), out))
    body = desk.workflow(movie_of(desk), out, background_weight=0, n_workers=1)
    job = desk.post(START, body)["job_id"]

    def first_is_done() -> bool:
        fovs = desk.get(f"/processing/workflow/status/{job}")["fovs"]
        return bool(fovs[0]["status"] == "completed")

    until(first_is_done, seconds=60)
    desk.post(f"/processing/workflow/cancel/{job}")
    assert desk.ended(job)["status"] == "cancelled"
    record = json.loads((out / "run.json").read_text())
    assert (record["job_id"], record["state"]) == (job, "cancelled")
    assert 0 in record["stats"]["fovs"]
    assert len(list(out.glob("run_job_*.json"))) == 1
    sheet = desk.area / "half.yaml"
    sheet.write_text("samples: [{name: all, fovs: 0-2}]")
    merged = desk.post(
        "/processing/merge",
        {"sample_yaml": str(sheet), "input_dir": str(out), "output_dir": f"{out}/merged"},
    )
    assert any("parameters" in warning for warning in merged["warnings"])


def test_a_workflow_is_repeated_only_once_it_has_ended(desk: Desk) -> None:
    jobs = desk.app.lab.jobs
    body = desk.workflow(movie_of(desk), desk.area / "repeated", fov_end=0)
    job = desk.post(START, body)["job_id"]
    with pytest.raises(JobNotRepeatable):
        jobs.repeat(job)
    assert desk.ended(job)["status"] == "completed"
    again = jobs.repeat(job)
    assert desk.ended(again)["status"] == "completed"


def test_the_message_names_the_fov_under_way(desk: Desk) -> None:
    body = desk.workflow(movie_of(desk), desk.area / "told", n_workers=1)
    job = desk.post(START, body)["job_id"]
    seen = set()
    while (status := desk.get(f"/processing/workflow/status/{job}"))["status"] != "completed":
        assert status["status"] in {"pending", "running"}
        seen.add(status["message"])
        time.sleep(0.01)
    assert {f"Processing FOV {k}/{FOVS}" for k in (1, 2, 3)} <= seen


def test_results_of_others_and_of_unfinished_jobs_are_refused(desk: Desk) -> None:
    for path in ("status", "results"):
        answer = desk.get(f"/processing/workflow/{path}/job_none", status=404)
        assert answer["error_code"] == "JOB_NOT_FOUND"
    desk.refused("/processing/workflow/cancel/job_none", None, 404, "JOB_NOT_FOUND")


def test_cancel_stops_a_workflow_and_leaves_no_half_files(desk: Desk) -> None:
    out = desk.area / "cancelled"
    job_id = desk.post(START, desk.workflow(movie_of(desk), out, n_workers=1))["job_id"]
    answer = desk.get(f"/processing/workflow/results/{job_id}", status=409)
    assert answer["error_code"] == "JOB_NOT_COMPLETED"
    until(lambda: desk.get(f"/processing/workflow/status/{job_id}")["status"] == "running")
    desk.post(f"/processing/workflow/cancel/{job_id}")
    assert desk.ended(job_id)["status"] == "cancelled"
    desk.refused(f"/processing/workflow/cancel/{job_id}", None, 400, "JOB_ALREADY_COMPLETED")
    assert list(out.rglob("*.part")) == []
    # What is there afterwards is taken up, and the rest is made.
    desk.completed(desk.workflow(movie_of(desk), out))


def test_two_workflows_never_write_the_same_fovs(desk: Desk) -> None:
    body = desk.workflow(movie_of(desk), desk.area / "shared")
    job_id = desk.post(START, body)["job_id"]
    answer = desk.post(START, body, status=409)
    assert job_id in answer["error"]
    desk.post(f"/processing/workflow/cancel/{job_id}")
    desk.ended(job_id)


def test_one_bad_fov_is_named_and_stops_no_other(desk: Desk, movie: Path) -> None:
    import tifffile

    path = desk.area / "mixed.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as writer:
        for fov in range(3):
            stack = tifffile.imread(movie, series=fov).astype(np.float32)
            # Whole counts, but for one pixel late in the second FOV.
            stack[-1, 0, 5, 5] += 0.5 * (fov == 1)
            writer.write(stack, photometric="minisblack", metadata={"axes": "TCYX"})
    out = desk.area / "mixed"
    status = desk.ended(desk.post(START, desk.workflow(path, out))["job_id"])
    assert status["status"] == "failed"
    assert "1 of 3 FOVs failed. FOV 1" in status["message"]
    assert status["error"] == status["message"]
    assert [item["status"] for item in status["fovs"]] == ["completed", "failed", "completed"]
    assert set(yaml.safe_load((out / "processing_results.yaml").read_text())["results"]) == {
        "0", "2",
    }  # fmt: skip
    assert (out / "fov_002/mixed_fov_002_traces.csv").exists()
    assert list((out / "fov_001").iterdir()) == []


def test_jobs_and_metrics_tell_of_all(desk: Desk, finished: dict[str, Any]) -> None:
    jobs = desk.get("/jobs")["jobs"]
    mine = next(item for item in jobs if item["job_id"] == finished["job_id"])
    assert (mine["type"], mine["status"]) == ("workflow", "completed")
    assert mine["progress"]["percentage"] == 100.0
    assert desk.get("/metrics")["jobs"]["completed"] >= 1
    assert desk.client.get("/api/v1/health").json()["status"] == "healthy"


# -- merge ----------------------------------------------------------------------------------


def test_merge_writes_a_file_for_each_sample_channel_and_feature(
    desk: Desk, finished: dict[str, Any]
) -> None:
    sheet = desk.area / "samples.yaml"
    sheet.write_text("samples:\n- name: control\n  fovs: '0-1'\n- name: drug\n  fovs: [2, 9]\n")
    target = desk.area / "merged"
    body = {
        "sample_yaml": str(sheet), "input_dir": finished["output_dir"], "output_dir": str(target),
    }  # fmt: skip
    merged = desk.post("/processing/merge", body)
    names = [Path(path).name for path in merged["merged_files"]]
    assert sorted(names) == [
        "control_area_ch_0.csv", "control_intensity_total_ch_1.csv", "drug_area_ch_0.csv",
        "drug_intensity_total_ch_1.csv",
    ]  # fmt: skip
    assert any("9" in warning for warning in merged["warnings"])
    first = target / "control_area_ch_0.csv"
    assert first.read_text().splitlines()[:2] == ["# Time units: min", "time,fov,cell,value"]
    assert {row["fov"] for row in rows_of(first)} == {"0", "1"}
    by_yaml = {**body, "processing_results_yaml": finished["results_file"]}
    del by_yaml["input_dir"]
    assert desk.post("/processing/merge", by_yaml)["merged_files"] == merged["merged_files"]
    assert (target / "run.json").is_file()


def test_merge_refuses_what_it_cannot_use(desk: Desk, finished: dict[str, Any]) -> None:
    sheet = desk.area / "bad.yaml"
    body = {
        "sample_yaml": str(sheet), "input_dir": finished["output_dir"],
        "output_dir": str(desk.area / "no-merge"),
    }  # fmt: skip
    desk.refused("/processing/merge", body, 404, "FILE_NOT_FOUND")
    for text in ("", "samples: 5", "samples: [{name: a}]", "samples: [{name: ../a, fovs: 1}]"):
        sheet.write_text(text)
        desk.refused("/processing/merge", body, 400, "INVALID_PARAMETERS")
    sheet.write_text("samples: [{name: a, fovs: 77}]")
    desk.refused("/processing/merge", body, 400, "INVALID_PARAMETERS")
    sheet.write_text("samples: [{name: a, fovs: 0}]")
    desk.refused("/processing/merge", {**body, "output_dir": "/etc/x"}, 403, "FORBIDDEN")
    desk.refused("/processing/merge", {**body, "input_dir": str(sheet)}, 400, "INVALID_PARAMETERS")


# -- files ----------------------------------------------------------------------------------


def test_folders_are_listed_and_searched(desk: Desk) -> None:
    root = desk.area / "files"
    (root / "sub/deep").mkdir(parents=True)
    for name in ("b.nd2", "A.CZI", "c.txt", ".hidden.nd2", "sub/d.nd2", "sub/deep/e.czi"):
        (root / name).write_bytes(b"x")
    listed = desk.post(
        "/processing/list-directory",
        {"directory_path": str(root), "filter_extensions": [".ND2"], "include_hidden": False},
    )
    assert [item["name"] for item in listed["items"]] == ["sub", "b.nd2"]
    assert set(listed["items"][1]) >= {
        "name", "path", "is_directory", "is_file", "size_bytes", "modified_time", "extension",
    }  # fmt: skip
    search = {
        "search_path": str(root), "pattern": "**/*.{nd2,czi}", "extensions": [".nd2", ".czi"],
        "max_depth": 5, "include_hidden": False,
    }  # fmt: skip
    found = desk.post("/processing/search-files", search)
    assert [item["name"] for item in found["files"]] == ["A.CZI", "b.nd2", "d.nd2", "e.czi"]
    assert found["total_found"] == 4
    shallow = desk.post("/processing/search-files", {**search, "max_depth": 1})
    assert shallow["total_found"] == 3
    desk.refused(
        "/processing/search-files", {**search, "pattern": "../*"}, 400, "INVALID_PARAMETERS"
    )
    desk.refused(
        "/processing/list-directory", {"directory_path": f"{root}/b.nd2"}, 400, "INVALID_PARAMETERS"
    )
    desk.refused("/processing/list-directory", {"directory_path": "/etc"}, 403, "FORBIDDEN")


def test_file_info_answers_for_broken_movies_too(desk: Desk) -> None:
    path = desk.area / "broken2.nd2"
    path.write_bytes(b"garbage")
    found = desk.post("/processing/file-info", {"file_path": str(path)})
    assert (found["is_microscopy_file"], found["metadata_preview"]) == (True, None)
    assert found["file_info"]["size_bytes"] == 7
    found = desk.post("/processing/file-info", {"file_path": str(movie_of(desk))})
    assert found["metadata_preview"]["n_fovs"] == FOVS
    desk.refused("/processing/file-info", {"file_path": str(desk.area)}, 400, "INVALID_PARAMETERS")


def test_a_name_alone_makes_no_movie_of_a_folder_or_file(desk: Desk) -> None:
    for name in ("exp.nd2", "exp.ome.tif", "store.ome.zarr"):
        (desk.area / name).mkdir()
    (desk.area / "plain.zarr").write_text("x")
    for name in ("exp.nd2", "exp.ome.tif"):
        body = {"file_path": f"{desk.area}/{name}"}
        desk.refused("/processing/file-info", body, 400, "INVALID_PARAMETERS")
    for name, is_movie in (("plain.zarr", False), ("store.ome.zarr", True)):
        found = desk.post("/processing/file-info", {"file_path": f"{desk.area}/{name}"})
        assert (found["is_microscopy_file"], found["metadata_preview"]) == (is_movie, None)


def test_recent_files_outlive_the_server_and_forget_the_gone(tmp_path: Path, movie: Path) -> None:
    area = tmp_path / "area"
    area.mkdir()
    names = ["one.ome.tif", "two.ome.tif", "three.ome.tif"]
    for name in names:
        (area / name).hardlink_to(movie)
    with running(tmp_path / "data", area) as first:
        for name in [*names, names[0]]:
            first.post("/processing/load-metadata", {"file_path": str(area / name)})
        (area / "two.ome.tif").unlink()
    with running(tmp_path / "data", area) as second:
        recent = second.get("/processing/recent-files")["recent_files"]
        assert [item["name"] for item in recent] == ["one.ome.tif", "three.ome.tif"]
        assert recent[0]["accessed_at"] > recent[1]["accessed_at"]
        assert second.get("/processing/recent-files", limit=1)["recent_files"] == recent[:1]
        assert second.get("/processing/recent-files", extensions=".nd2")["recent_files"] == []
        assert second.get("/processing/recent-files", limit=0, status=400)


def test_recent_files_are_filtered_as_folders_are(tmp_path: Path, movie: Path) -> None:
    area = tmp_path / "area"
    area.mkdir()
    for name in ("one.ome.tif", "two.tif"):
        (area / name).hardlink_to(movie)
    with running(tmp_path / "data", area) as desk:
        for name in ("one.ome.tif", "two.tif"):
            desk.post("/processing/load-metadata", {"file_path": f"{area}/{name}"})

        def names(extensions: str) -> list[str]:
            found = desk.get("/processing/recent-files", extensions=extensions)["recent_files"]
            return [item["name"] for item in found]

        assert names("tif") == names(".TIF, nd2") == names("") == ["two.tif", "one.ome.tif"]
        assert names(".ome.tif") == names("czi,OME.tif") == ["one.ome.tif"]
        assert names("e.tif") == []


def test_a_file_with_several_names_is_recent_once(tmp_path: Path, movie: Path) -> None:
    area = tmp_path / "area"
    (area / "sub").mkdir(parents=True)
    (area / "one.ome.tif").hardlink_to(movie)
    (area / "sub/link.ome.tif").symlink_to(area / "one.ome.tif")
    names = ("one.ome.tif", "sub/link.ome.tif", "sub/../one.ome.tif")
    with running(tmp_path / "data", area) as desk:
        for name in names:
            desk.post("/processing/load-metadata", {"file_path": f"{area}/{name}"})
        recent = desk.get("/processing/recent-files")["recent_files"]
        assert [item["path"] for item in recent] == [f"{area}/{names[-1]}"]
        (area / "sub/link.ome.tif").unlink()
        (area / "sub").rmdir()
        recent = desk.get("/processing/recent-files")["recent_files"]
        assert [item["path"] for item in recent] == [f"{area}/{names[0]}"]


def test_previews_and_overlays_are_pictures(desk: Desk, finished: dict[str, Any]) -> None:
    import cv2

    def drawn(path: str, **query: Any) -> Any:
        answer = desk.client.get(f"/api/v1/processing/{path}", params=query)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "image/png"
        return cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_UNCHANGED)

    plane = drawn("preview", file_path=str(movie_of(desk)), fov=1, frame=2, channel=1)
    assert plane.shape == (SIZE, SIZE)
    black = drawn("preview", file_path=str(movie_of(desk)), low=70000, high=80000)
    assert black.max() == 0
    shown = drawn("overlay", output_dir=finished["output_dir"], fov=1, frame=2)
    assert shown.shape == (SIZE, SIZE, 3)
    bare = drawn("overlay", output_dir=finished["output_dir"], fov=1, frame=2, labels=False)
    assert (bare != shown).any()
    for query in ({"fov": FOVS}, {"frame": FRAMES}, {"channel": 2}, {"fov": -1}):
        answer = desk.get("/processing/preview", file_path=str(movie_of(desk)), status=400, **query)
        assert answer["error_code"] == "INVALID_PARAMETERS"
    desk.get("/processing/overlay", output_dir=finished["output_dir"], fov=99, status=404)


@pytest.mark.parametrize(("wanted", "name"), [(True, ".zattrs"), ("0.5", "zarr.json")])
def test_an_fov_is_read_back_as_ome_zarr(desk: Desk, wanted: object, name: str) -> None:
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    out = desk.area / f"zarr-{wanted}"
    desk.completed(desk.workflow(movie_of(desk), out, fov_end=0, ome_zarr=wanted))
    folder = out / "fov_000/cells_fov_000.ome.zarr"
    assert (folder / name).exists()
    image, labels = (node.data[0] for node in Reader(parse_url(folder))() if node.data)
    stack = np.load(out / "fov_000/cells_fov_000_fl_ch_1.npy")
    np.testing.assert_array_equal(np.asarray(image)[:, 1, 0], stack)
    cells = np.load(out / "fov_000/cells_fov_000_seg_labeled_ch_0.npy")
    np.testing.assert_array_equal(np.asarray(labels)[:, 0, 0], cells)


def test_no_ome_zarr_is_written_where_none_is_wanted(desk: Desk) -> None:
    out = desk.area / "no-zarr"
    desk.completed(desk.workflow(movie_of(desk), out, fov_end=0, ome_zarr=False))
    assert not list(out.rglob("*.zarr"))
    body = desk.workflow(movie_of(desk), out, ome_zarr="0.6")
    assert "ome_zarr" in desk.refused(START, body, 400, "INVALID_PARAMETERS")


def test_a_workflow_downloads_as_one_archive(desk: Desk, finished: dict[str, Any]) -> None:
    import io
    import zipfile

    answer = desk.client.get(f"/api/v1/processing/workflow/results/{finished['job_id']}/download")
    names = zipfile.ZipFile(io.BytesIO(answer.content)).namelist()
    assert "processing_results.yaml" in names
    assert "fov_000/cells_fov_000_traces.csv" in names
    assert not any(name.endswith(".npy") for name in names)


# -- limits ---------------------------------------------------------------------------------


def test_more_jobs_than_places_wait(tmp_path: Path, movie: Path) -> None:
    area = tmp_path / "area"
    area.mkdir()
    (area / movie.name).hardlink_to(movie)
    with running(tmp_path / "data", area, max_jobs=1) as desk:
        jobs = [
            desk.post(START, desk.workflow(area / movie.name, area / f"out{k}", fov_end=0))[
                "job_id"
            ]
            for k in range(3)
        ]
        until(lambda: desk.get("/metrics")["jobs"]["running"] == 1)
        assert desk.get("/metrics")["jobs"]["pending"] >= 1
        assert [desk.ended(job)["status"] for job in jobs] == ["completed"] * 3


def test_a_workflow_beyond_its_time_is_stopped_and_failed(tmp_path: Path, movie: Path) -> None:
    area = tmp_path / "area"
    area.mkdir()
    (area / movie.name).hardlink_to(movie)
    with running(tmp_path / "data", area, job_timeout=0.2) as desk:
        job = desk.post(START, desk.workflow(area / movie.name, area / "out"))["job_id"]
        began = time.monotonic()
        status = desk.ended(job)
        assert status["status"] == "failed"
        assert "time limit" in status["message"]
        assert time.monotonic() - began < 60
