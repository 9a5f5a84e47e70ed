"""What must not happen: ways out of the allowed area, lost verdicts, requests that hold others."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import tifffile

from benchwire.domains.microscopy import work
from benchwire.foundation.files import AllowedFolders, PathForbidden
from tests.support.analysis import Desk
from tests.support.waiting import until

START = "/processing/workflow/start"


@pytest.fixture
def outside(desk: Desk, tmp_path: Path) -> Path:
    """A folder that requests may not name, with a file of somebody else in it."""
    (tmp_path / "victim.txt").write_text("keep me")
    return tmp_path


def untouched(outside: Path) -> bool:
    return [path.name for path in outside.iterdir()] == ["victim.txt"] and (
        outside / "victim.txt"
    ).read_text() == "keep me"


def movie_of(desk: Desk) -> Path:
    return desk.area / "cells.ome.tif"


def merge_body(desk: Desk, source: Path, target: Path) -> dict[str, str]:
    sheet = desk.area / "one.yaml"
    sheet.write_text("samples: [{name: a, fovs: 0}]")
    return {"sample_yaml": str(sheet), "input_dir": str(source), "output_dir": str(target)}


@pytest.mark.parametrize(
    "column",
    ["/../../../x_ch_1", "../x_ch_1", "a\0_ch_1", "x_ch_" + "9" * 5000, "a" * 250 + "_ch_1"],
)
def test_no_column_names_a_file_elsewhere(desk: Desk, outside: Path, column: str) -> None:
    folder = desk.area / "mrg/fov_000"
    folder.mkdir(parents=True, exist_ok=True)
    table = f"fov,cell,frame,time,good,{column}\n0,1,0,0,True,5\n"
    (folder / "x_fov_000_traces.csv").write_text(table)
    before = sorted(desk.area.rglob("*"))
    body = merge_body(desk, desk.area / "mrg", desk.area / "mrg-out")
    desk.refused("/processing/merge", body, 400, "INVALID_PARAMETERS")
    assert set(desk.area.rglob("*")) - set(before) <= {desk.area / "one.yaml"}
    assert untouched(outside)


def test_a_merged_file_is_not_written_through_a_link(desk: Desk, outside: Path) -> None:
    folder = desk.area / "lnk/fov_000"
    folder.mkdir(parents=True)
    table = "fov,cell,frame,time,good,area_ch_1\n0,1,0,0,True,5\n"
    (folder / "x_fov_000_traces.csv").write_text(table)
    target = desk.area / "lnk-out"
    target.mkdir()
    (target / "a_area_ch_1.csv").symlink_to(outside / "victim.txt")
    body = merge_body(desk, desk.area / "lnk", target)
    desk.refused("/processing/merge", body, 403, "FORBIDDEN")
    assert untouched(outside)


def failed(desk: Desk, body: dict[str, Any]) -> str:
    status = desk.ended(desk.post(START, body)["job_id"])
    assert status["status"] == "failed", status
    return str(status["message"])


def test_an_fov_folder_that_leads_out_is_not_written(desk: Desk, outside: Path) -> None:
    out = desk.area / "linked-fov"
    out.mkdir()
    (out / "fov_000").symlink_to(outside)
    message = failed(desk, desk.workflow(movie_of(desk), out, fov_end=0))
    assert "outside" in message
    assert untouched(outside)


def test_a_part_file_that_is_a_link_is_not_written_through(desk: Desk, outside: Path) -> None:
    out = desk.area / "linked-part"
    (out / "fov_000").mkdir(parents=True)
    part = out / "fov_000/cells_fov_000_pc_ch_0.npy.part"
    part.symlink_to(outside / "victim.txt")
    desk.completed(desk.workflow(movie_of(desk), out, fov_end=0))
    assert untouched(outside)
    assert not (out / "fov_000/cells_fov_000_pc_ch_0.npy").is_symlink()


def test_no_file_of_a_movie_may_lie_outside(desk: Desk, outside: Path, movie: Path) -> None:
    import shutil

    secret = outside.parent / f"{outside.name}-secret.ome.tif"
    shutil.copy(movie, secret)
    (desk.area / "sp").mkdir()
    stack = tifffile.imread(movie, series=0)
    named = desk.area / "sp/sp_scene0.ome.tif"
    tifffile.imwrite(named, stack, ome=True, metadata={"axes": "TCYX"})
    one = outside.parent / f"{outside.name}-one.ome.tif"
    tifffile.imwrite(one, stack, ome=True, metadata={"axes": "TCYX"})
    (desk.area / "sp/sp_scene1.ome.tif").symlink_to(one)
    for path in ("/processing/load-metadata",):
        answer = desk.client.post(f"/api/v1{path}", json={"file_path": str(named)})
        assert answer.status_code in {403, 500}
        assert answer.json()["success"] is False
    preview = desk.client.get(
        "/api/v1/processing/preview", params={"file_path": str(named), "fov": 1}
    )
    assert preview.status_code in {403, 500}
    assert untouched(outside)


def test_a_pipe_in_a_file_s_place_holds_nobody(desk: Desk) -> None:
    os.mkfifo(desk.area / "pipe.ome.tif")
    body = {"file_path": f"{desk.area}/pipe.ome.tif"}
    desk.refused("/processing/load-metadata", body, 400, "INVALID_PARAMETERS")
    folder = desk.area / "piped/fov_000"
    folder.mkdir(parents=True)
    table = "fov,cell,frame,time,good,area_ch_1\n0,1,0,0,True,5\n"
    (folder / "x_fov_000_traces.csv").write_text(table)
    os.mkfifo(desk.area / "piped/processing_results.yaml")
    found = desk.post(
        "/processing/merge", merge_body(desk, desk.area / "piped", desk.area / "piped-out")
    )
    assert "not a file" in found["warnings"][0]


def test_wrong_kinds_of_paths_are_told_as_such(desk: Desk) -> None:
    (desk.area / "dir.tif").mkdir()
    (desk.area / "file.zarr").write_text("x")
    for name in ("dir.tif", "file.zarr"):
        body = {"file_path": f"{desk.area}/{name}"}
        desk.refused("/processing/load-metadata", body, 400, "INVALID_PARAMETERS")
    long = desk.area / f"{'n' * 240}.ome.tif"
    long.hardlink_to(movie_of(desk))
    body = desk.workflow(long, desk.area / "long")
    assert "too long" in desk.refused(START, body, 400, "INVALID_PARAMETERS")
    out = desk.area / "mrg-file"
    out.write_text("x")
    folder = desk.area / "plain/fov_000"
    folder.mkdir(parents=True)
    table = "fov,cell,frame,time,good,area_ch_1\n0,1,0,0,True,5\n"
    (folder / "x_fov_000_traces.csv").write_text(table)
    body = merge_body(desk, desk.area / "plain", out)
    desk.refused("/processing/merge", body, 400, "INVALID_PARAMETERS")


def test_verdicts_given_at_once_all_count(desk: Desk) -> None:
    folder = desk.area / "many/fov_000"
    folder.mkdir(parents=True)
    path = folder / "x_fov_000_traces.csv"
    rows = "".join(f"0,{cell},0,0,True,5\n" for cell in range(1, 31))
    path.write_text(f"fov,cell,frame,time,good,area_ch_1\n{rows}")

    def judge(cell: int) -> int:
        # Some name the traces, some what was inspected before.
        named = path if cell % 2 else path.with_name("x_fov_000_traces_inspected.csv")
        if not named.exists():
            named = path
        body = {"traces_path": str(named), "good": {str(cell): False}}
        return desk.client.post("/api/v1/processing/inspect", json=body).status_code

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(judge, range(1, 31)))
    inspected = path.with_name("x_fov_000_traces_inspected.csv").read_text()
    assert inspected.count("False") == answers.count(200) == 30
    assert len(list(folder.iterdir())) == 2
    body = {"traces_path": str(movie_of(desk)), "good": {"1": True}}
    desk.refused("/processing/inspect", body, 400, "INVALID_PARAMETERS")


def test_a_link_to_foreign_verdicts_is_not_followed(desk: Desk, outside: Path) -> None:
    folder = desk.area / "foreign/fov_000"
    folder.mkdir(parents=True)
    path = folder / "x_fov_000_traces.csv"
    path.write_text("fov,cell,frame,time,good,area_ch_1\n0,1,0,0,True,5\n")
    path.with_name("x_fov_000_traces_inspected.csv").symlink_to(outside / "victim.txt")
    body = {"traces_path": str(path), "good": {"1": False}}
    desk.refused("/processing/inspect", body, 403, "FORBIDDEN")
    assert untouched(outside)


@pytest.mark.parametrize("linked", ["x_fov_000_traces.csv", "x_fov_000_traces_inspected.csv"])
def test_cells_of_foreign_traces_are_not_shown(tmp_path: Path, linked: str) -> None:
    foreign = tmp_path / "foreign.csv"
    foreign.write_text("fov,cell,frame,time,good,position_x,position_y\n0,1,0,0,True,5,5\n")
    folder = tmp_path / "area/fov_000"
    folder.mkdir(parents=True)
    path = folder / "x_fov_000_traces.csv"
    path.write_bytes(foreign.read_bytes())
    allowed = AllowedFolders([tmp_path / "area"])
    assert work.traces_of_fov(None, path, allowed)["cells"]
    (folder / linked).unlink(missing_ok=True)
    (folder / linked).symlink_to(foreign)
    with pytest.raises(PathForbidden):
        work.traces_of_fov(None, path, allowed)


def test_a_cancelled_workflow_never_ends_completed(desk: Desk) -> None:
    body = desk.workflow(movie_of(desk), desk.area / "quick", fov_end=0)
    desk.completed(body)
    for _ in range(8):
        job = desk.post(START, body)["job_id"]
        answer = desk.client.post(f"/api/v1/processing/workflow/cancel/{job}")
        state = desk.ended(job)["status"]
        expected = "cancelled" if answer.status_code == 200 else "completed"
        assert state == expected
    until(lambda: desk.get("/metrics")["jobs"]["running"] == 0)


def test_samples_that_name_millions_of_fovs_are_refused(desk: Desk) -> None:
    sheet = desk.area / "bomb.yaml"
    lines = "".join(f"- {{name: s{k}, fovs: 0-99999}}\n" for k in range(400))
    sheet.write_text(f"samples:\n{lines}")
    body = {"sample_yaml": str(sheet), "input_dir": str(desk.area), "output_dir": str(desk.area)}
    assert "200000" in desk.refused("/processing/merge", body, 400, "INVALID_PARAMETERS")
