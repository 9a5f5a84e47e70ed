"""The results of a workflow as others take them away: all of them, and its own alone."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.domains.microscopy.test_api import START, movie_of
from tests.support.analysis import Desk


def crate(desk: Desk, job_id: str) -> dict[str, bytes]:
    answer = desk.client.get(f"/crates/workflow/{job_id}")
    assert answer.status_code == 200, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def refusals(desk: Desk, job_id: str) -> set[tuple[int, str]]:
    """Return how the crate and the archive of a workflow are refused."""
    answers = [
        desk.client.get(f"/crates/workflow/{job_id}"),
        desk.client.get(f"/api/v1/processing/workflow/results/{job_id}/download"),
    ]
    return {
        (answer.status_code, answer.json().get("detail") or answer.json()["error"])
        for answer in answers
    }


def ended(desk: Desk, body: dict[str, Any]) -> str:
    return str(desk.completed(body)["job_id"])


def test_results_that_a_later_workflow_replaced_are_not_handed_out_as_one_s_own(
    desk: Desk,
) -> None:
    out = desk.area / "replaced"
    first = ended(desk, desk.workflow(movie_of(desk), out, fov_end=1))
    second = ended(desk, desk.workflow(movie_of(desk), out, fov_start=1, min_frames=3))
    for status, reason in refusals(desk, first):
        assert status == 409
        assert f"fov_001 were replaced by {second}" in reason
    assert json.loads(crate(desk, second)["run.json"])["job_id"] == second


def test_each_workflow_of_a_folder_has_its_own_fovs_and_record(desk: Desk) -> None:
    out = desk.area / "added"
    first = ended(desk, desk.workflow(movie_of(desk), out, fov_end=0))
    second = ended(desk, desk.workflow(movie_of(desk), out, fov_start=1, fov_end=1, min_frames=3))
    same_as_first = ended(desk, desk.workflow(movie_of(desk), out, fov_end=0))
    for job_id, fov in ((first, 0), (second, 1), (same_as_first, 0)):
        files = crate(desk, job_id)
        traces = f"fov_00{fov}/cells_fov_00{fov}_traces"
        assert {name for name in files if name.startswith("fov")} == {
            f"{traces}.csv", f"{traces}.parquet",
        }  # fmt: skip
        assert [name for name in files if name.startswith("run")] == ["run.json"]
        record = json.loads(files["run.json"])
        assert (record["job_id"], record["stats"]["fovs"]) == (job_id, [fov])


def test_an_fov_that_is_processed_anew_is_nobody_s(desk: Desk) -> None:
    out = desk.area / "under-way"
    job_id = ended(desk, desk.workflow(movie_of(desk), out, fov_end=0))
    (out / "fov_000/finished.json").unlink()
    assert {status for status, _ in refusals(desk, job_id)} == {409}


@pytest.mark.parametrize(
    "name", ["fov_001/cells_fov_001_traces.csv", "run.json", "processing_results.yaml"]
)
def test_a_part_of_the_results_is_not_handed_out_as_the_whole(desk: Desk, name: str) -> None:
    out = desk.area / f"part-{Path(name).stem}"
    job_id = ended(desk, desk.workflow(movie_of(desk), out, fov_end=1))
    (out / name).rename(out / "elsewhere")
    assert {status for status, _ in refusals(desk, job_id)} == {404}
    (out / "elsewhere").rename(out / name)
    assert name in crate(desk, job_id)


def test_results_that_lead_out_are_refused(desk: Desk, tmp_path: Path) -> None:
    out = desk.area / "leads-out"
    job_id = ended(desk, desk.workflow(movie_of(desk), out, fov_end=0))
    traces = out / "fov_000/cells_fov_000_traces.csv"
    traces.rename(tmp_path / "traces.csv")
    traces.symlink_to(tmp_path / "traces.csv")
    assert {status for status, _ in refusals(desk, job_id)} == {403}


def test_files_that_a_workflow_can_do_without_may_be_gone(desk: Desk) -> None:
    out = desk.area / "without"
    job_id = ended(desk, desk.workflow(movie_of(desk), out, fov_end=0))
    (out / "fov_000/cells_fov_000_traces.parquet").unlink()
    assert "fov_000/cells_fov_000_traces.csv" in crate(desk, job_id)


def test_a_repeated_workflow_keeps_its_samples_and_tells_who_asked_for_it(desk: Desk) -> None:
    plate = {"plate": {"barcode": "P1", "rows": 1, "columns": 2}}
    assert desk.client.post("/api/v1/plates", json=plate).status_code == 201
    body = desk.workflow(movie_of(desk), desk.area / "again", fov_end=0)
    first = desk.post(START, {**body, "samples": {"0": "P1/A1"}})["job_id"]
    assert desk.ended(first)["status"] == "completed"
    desk.client.delete("/api/v1/plates/P1").raise_for_status()
    again = desk.client.post(f"/work/{first}/retry").json()["id"]
    assert desk.ended(again)["status"] == "completed"
    query = {"kind": "workflow", "item_id": again}
    (link,) = desk.client.get("/samples/links", params=query).json()["links"]
    assert (link["part"], link["sample"], link["named_by"]) == ("0", "P1/A1", "testclient")
    assert b"testclient" in crate(desk, again)["ro-crate-metadata.json"]
