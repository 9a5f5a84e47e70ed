"""The analysis API: models, traces, fits, and everything it refuses."""

import csv
import io
import json
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.analysis import Desk, running
from tests.support.waiting import until

START = "/analysis/fitting/start"
HOURS = np.linspace(0, 30, 31)
TRUTH = {(0, 1): (2.0, 0.3, 0.5), (0, 2): (4.0, 0.1, -0.5), (1, 1): (7.5, 0.9, 3.0)}


def curve(amplitude: float, rate: float, offset: float) -> Any:
    return amplitude * (1 - np.exp(-rate * HOURS)) + offset


def write_csv(path: Path, *, cells: int = 0, unit: str = "min", noise: float = 0.0) -> Path:
    """Traces of a rise, times in minutes; three of known parameters or many alike."""
    truth = TRUTH
    if cells:
        generator = np.random.default_rng(3)
        truth = {
            (k // 100, k % 100 + 1): (float(generator.uniform(1, 9)), 0.2, 0.0)
            for k in range(cells)
        }
    factor = {"min": 60, "h": 1, "s": 3600}[unit]
    generator = np.random.default_rng(4)
    with path.open("w") as file:
        file.write(f"# Time units: {unit}\ntime,fov,cell,value\n")
        for (fov, cell), values in truth.items():
            noisy = curve(*values) + noise * generator.normal(size=len(HOURS))
            for hour, value in zip(HOURS, noisy, strict=True):
                file.write(f"{hour * factor:.6f},{fov},{cell},{value:.9f}\n")
    return path


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("traces")
    (folder / "area").mkdir()
    with running(folder / "data", folder / "area") as desk:
        yield desk


@pytest.fixture(scope="module")
def traces(desk: Desk) -> Path:
    return write_csv(desk.area / "traces.csv")


@pytest.fixture(scope="module")
def fitted(desk: Desk, traces: Path) -> dict[str, Any]:
    return completed(desk, {"csv_path": str(traces), "model_type": "maturation"})


def completed(desk: Desk, body: dict[str, Any]) -> dict[str, Any]:
    job_id = desk.post(START, body)["job_id"]
    status = desk.ended(job_id, "analysis/fitting")
    assert status["status"] == "completed", status
    return desk.get(f"/analysis/fitting/results/{job_id}")


def test_models_come_with_all_their_parameters(desk: Desk) -> None:
    models = {item["name"]: item for item in desk.get("/analysis/models")["models"]}
    assert set(models) >= {"maturation", "maturation_kinetic", "trivial", "gene_expression"}
    parameters = {item["name"]: item for item in models["maturation"]["parameters"]}
    assert {name: item["default"] for name, item in parameters.items()} == {
        "amplitude": 1.0, "rate": 0.1, "offset": 0.0,
    }  # fmt: skip
    assert parameters["amplitude"]["bounds"] == [0.0, 1e9]
    assert parameters["rate"]["bounds"] == [1e-4, 100.0]
    assert models["maturation_kinetic"]["fixed_parameters"] == {
        "km": 1.28, "beta": 5.22e-3, "scale": 1.0,
    }  # fmt: skip
    for model in models.values():
        assert model["description"]
        assert model["equation"]
        for item in model["parameters"]:
            assert item["bounds"][0] <= item["default"] <= item["bounds"][1]


def test_traces_are_described_in_hours(desk: Desk, traces: Path) -> None:
    data = desk.post("/analysis/load-traces", {"csv_path": str(traces)})["data"]
    assert (data["n_cells"], data["n_timepoints"], data["n_fovs"]) == (3, 31, 2)
    assert data["time_units"] == "hours"
    assert data["time_range"] == [0.0, 30.0]
    assert data["columns"] == ["0_1", "0_2", "1_1"]


@pytest.mark.parametrize("unit", ["min", "h", "s"])
def test_fits_give_back_the_truth_whatever_the_unit(desk: Desk, unit: str) -> None:
    path = write_csv(desk.area / f"unit-{unit}.csv", unit=unit)
    found = completed(desk, {"csv_path": str(path), "model_type": "Maturation"})
    assert found["results_file"] == str(desk.area / f"unit-{unit}_fitted_maturation.csv")
    assert found["summary"] == {
        "total_cells": 3, "successful_fits": 3, "failed_fits": 0,
        "mean_r_squared": pytest.approx(1.0),
    }  # fmt: skip
    for item in found["results"]:
        amplitude, rate, offset = TRUTH[item["fov"], item["cell"]]
        assert item["cell_id"] == f"{item['fov']}_{item['cell']}"
        assert item["model_type"] == "maturation"
        assert item["success"] is True
        assert item["fitted_params"] == {
            "amplitude": pytest.approx(amplitude, rel=1e-4),
            "rate": pytest.approx(rate, rel=1e-4),
            "offset": pytest.approx(offset, abs=1e-4),
        }


def test_the_table_says_what_the_answer_says(desk: Desk, fitted: dict[str, Any]) -> None:
    with Path(fitted["results_file"]).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "fov", "cell", "model_type", "success", "r_squared", "amplitude", "rate", "offset",
    ]  # fmt: skip
    for row, item in zip(rows, fitted["results"], strict=True):
        assert (int(row["fov"]), int(row["cell"])) == (item["fov"], item["cell"])
        assert float(row["rate"]) == item["fitted_params"]["rate"]
    record = json.loads(Path(fitted["results_file"]).with_suffix(".run.json").read_text())
    assert record["job_id"] == fitted["job_id"]
    assert len(record["input"]["sha256"]) == 64
    assert record["parameters"]["choice"]["model"] == "maturation"
    download = desk.client.get(f"/api/v1/analysis/fitting/results/{fitted['job_id']}/download")
    assert download.content == Path(fitted["results_file"]).read_bytes()


def test_the_seeds_own_bounds_and_starts_hold(desk: Desk, traces: Path) -> None:
    body = {
        "csv_path": str(traces),
        "model_type": "maturation",
        "model_params": {"amplitude": 1.0, "rate": 0.1, "offset": 0.0},
        "model_bounds": {"amplitude": [0.0, 5.0], "rate": [0.01, 1.0], "offset": [-1.0, 5.0]},
    }
    found = completed(desk, body)
    inside = {item["cell_id"]: item["fitted_params"]["amplitude"] for item in found["results"]}
    assert inside["0_2"] == pytest.approx(4.0, rel=1e-4)
    assert inside["1_1"] <= 5.0


def test_a_trace_is_shown_with_its_curve(desk: Desk, fitted: dict[str, Any]) -> None:
    base = f"/analysis/fitting/results/{fitted['job_id']}/traces"
    found = desk.get(f"{base}/1/1")
    np.testing.assert_allclose(found["curve"], curve(*TRUTH[1, 1]), atol=1e-4)
    np.testing.assert_allclose(found["value"], curve(*TRUTH[1, 1]), atol=1e-8)
    assert found["time"] == pytest.approx(HOURS.tolist())
    assert found["fitted"] is True
    assert desk.get(f"{base}/1/9", status=404)["error_code"] == "NOT_FOUND"


def test_hopeless_traces_fail_honestly_and_answers_hold_no_nan(desk: Desk) -> None:
    path = desk.area / "hopeless.csv"
    rows = ["time,fov,cell,value", "0,0,1,1", "1,0,1,2"]
    rows += [f"{hour},0,2,5" for hour in range(10)]
    rows += [f"{hour},0,3,NaN" for hour in range(10)]
    rows += [f"{hour},0,4,{math.sqrt(hour)}" for hour in range(10)] + ["oops,0,4,1", "11,0,4,none"]
    path.write_text("\n".join(rows))
    found = completed(desk, {"csv_path": str(path), "model_type": "maturation"})
    by_cell = {item["cell"]: item for item in found["results"]}
    assert [by_cell[cell]["success"] for cell in (1, 2, 3, 4)] == [False, True, False, True]
    assert by_cell[1]["fitted_params"] == {"amplitude": 1.0, "rate": 0.1, "offset": 0.0}
    assert [by_cell[cell]["r_squared"] for cell in (1, 2, 3)] == [0, 0, 0]
    assert found["summary"]["failed_fits"] == 2
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model_type": "exponential"}, "exponential"),
        ({"model_type": None}, "model_type"),
        ({"model_params": {"slope": 1}}, "slope"),
        ({"model_params": {"rate": "fast"}}, "rate"),
        ({"model_params": {"rate": True}}, "rate"),
        ({"model_params": [1]}, "model_params"),
        ({"model_bounds": {"slope": [0, 1]}}, "slope"),
        ({"model_bounds": {"rate": [1]}}, "rate"),
        ({"model_bounds": {"rate": [2, 1]}}, "rate"),
        ({"model_bounds": {"rate": [1, 1]}}, "rate"),
        ({"model_bounds": {"rate": [0, None]}}, "rate"),
        ({"model_parms": {"rate": 1}}, "model_parms"),
        ({"csv_path": "a.csv"}, "absolute"),
    ],
)
def test_what_cannot_be_fitted_is_refused_at_once(
    desk: Desk, traces: Path, change: dict[str, Any], says: str
) -> None:
    body = {"csv_path": str(traces), "model_type": "maturation", **change}
    assert says in desk.refused(START, body, 400, "INVALID_PARAMETERS")


def test_numbers_that_are_none_are_refused(desk: Desk, traces: Path) -> None:
    for text in ("NaN", "Infinity", "1e999"):
        content = (
            f'{{"csv_path": "{traces}", "model_type": "maturation",'
            f' "model_bounds": {{"rate": [0.1, {text}]}}}}'
        )
        answer = desk.client.post(
            f"/api/v1{START}", content=content, headers={"content-type": "application/json"}
        )
        assert answer.status_code == 400, answer.text
        assert answer.json()["error_code"] == "INVALID_PARAMETERS"


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (None, 404, "FILE_NOT_FOUND"),
        ("", 400, "INVALID_PARAMETERS"),
        ("time,fov,cell\n1,2,3\n", 400, "INVALID_PARAMETERS"),
        ("time,fov,cell,value\n", 400, "INVALID_PARAMETERS"),
        ("# Time units: weeks\ntime,fov,cell,value\n1,2,3,4\n", 400, "INVALID_PARAMETERS"),
        (b"\xff\xfe\x00\x01" * 50, 400, "INVALID_PARAMETERS"),
        ("time,fov,cell,value\r0,0,1,5\r", 400, "INVALID_PARAMETERS"),
        ('time,fov,cell,value\n0,0,1,5\n1,0,1,"\n2,0,1,7\n', 400, "INVALID_PARAMETERS"),
    ],
)
def test_files_that_are_no_traces_are_refused(
    desk: Desk, content: str | bytes | None, status: int, code: str
) -> None:
    path = desk.area / "odd.csv"
    path.unlink(missing_ok=True)
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    for route, more in (("/analysis/load-traces", {}), (START, {"model_type": "maturation"})):
        desk.refused(route, {"csv_path": str(path), **more}, status, code)


def test_paths_outside_and_folders_are_refused(desk: Desk) -> None:
    for path, status, code in (
        ("/etc/passwd", 403, "FORBIDDEN"),
        ("/etc/none.csv", 403, "FORBIDDEN"),
        (str(desk.area), 400, "INVALID_PARAMETERS"),
    ):
        desk.refused("/analysis/load-traces", {"csv_path": path}, status, code)
        desk.refused(START, {"csv_path": path, "model_type": "trivial"}, status, code)


def test_jobs_are_known_only_in_their_own_family(desk: Desk, fitted: dict[str, Any]) -> None:
    job = fitted["job_id"]
    for path in (f"workflow/status/{job}", f"workflow/results/{job}"):
        answer = desk.get(f"/processing/{path}", status=404)
        assert answer["error_code"] == "JOB_NOT_FOUND"
    desk.refused(f"/processing/workflow/cancel/{job}", None, 404, "JOB_NOT_FOUND")
    for path in ("status", "results"):
        answer = desk.get(f"/analysis/fitting/{path}/job_none", status=404)
        assert answer["error_code"] == "JOB_NOT_FOUND"
    desk.refused(f"/analysis/fitting/cancel/{job}", None, 400, "JOB_ALREADY_COMPLETED")
    listed = {item["job_id"]: item["type"] for item in desk.get("/jobs")["jobs"]}
    assert listed[job] == "fitting"


def test_a_fitting_is_cancelled_and_leaves_no_table(desk: Desk) -> None:
    path = write_csv(desk.area / "many.csv", cells=20_000, noise=0.3)
    body = {"csv_path": str(path), "model_type": "gene_expression"}
    job_id = desk.post(START, body)["job_id"]
    status = f"/analysis/fitting/status/{job_id}"
    until(lambda: desk.get(status)["progress"]["percentage"] > 0, seconds=60)
    seen = desk.get(status)["progress"]
    assert seen["total_cells"] == 20_000
    assert 0 < seen["current_cell"] < 20_000
    answer = desk.get(f"/analysis/fitting/results/{job_id}", status=409)
    assert answer["error_code"] == "JOB_NOT_COMPLETED"
    desk.post(f"/analysis/fitting/cancel/{job_id}")
    assert desk.ended(job_id, "analysis/fitting")["status"] == "cancelled"
    assert not (desk.area / "many_fitted_gene_expression.csv").exists()


def test_figures_are_shown_to_the_page(desk: Desk, fitted: dict[str, Any]) -> None:
    from benchwire.domains.traces.service import Fittings

    domain = next(item for item in desk.app.domains if item.name == "traces")
    service = next(item for item in domain.services if isinstance(item, Fittings))
    found = service.figures(fitted["job_id"])
    assert set(found["histograms"]) == {"r_squared", "amplitude", "rate", "offset"}
    for histogram in found["histograms"].values():
        assert sum(histogram["counts"]) == 3
        assert len(histogram["edges"]) == len(histogram["counts"]) + 1
    assert [item["cell"] for item in found["cells"]]


def test_a_table_is_written_by_one_fitting_at_a_time_and_repeated_after(desk: Desk) -> None:
    path = write_csv(desk.area / "twice.csv", cells=2000, noise=0.3)
    body = {"csv_path": str(path), "model_type": "gene_expression"}
    job = desk.post(START, body)["job_id"]
    assert job in desk.post(START, body, status=409)["error"]
    assert desk.ended(job, "analysis/fitting")["status"] == "completed"
    again = desk.app.lab.jobs.repeat(job)
    assert desk.ended(again, "analysis/fitting")["status"] == "completed"
    path.write_text("time,fov,cell,value\n0,0,1,5\n")
    answer = desk.get(f"/analysis/fitting/results/{job}/traces/0/1", status=409)
    assert "changed" in answer["error"]


def test_values_without_any_number_are_refused(desk: Desk) -> None:
    path = desk.area / "commas.csv"
    path.write_text('time,fov,cell,value\n0,0,1,"0,5"\n1,0,1,"0,7"\n')
    body = {"csv_path": str(path), "model_type": "trivial"}
    assert "point" in desk.refused(START, body, 400, "INVALID_PARAMETERS")


def test_a_cancelled_fitting_never_ends_completed(desk: Desk, traces: Path) -> None:
    body = {"csv_path": str(traces), "model_type": "trivial"}
    for _ in range(10):
        job = desk.post(START, body)["job_id"]
        answer = desk.client.post(f"/api/v1/analysis/fitting/cancel/{job}")
        state = desk.ended(job, "analysis/fitting")["status"]
        assert state == ("cancelled" if answer.status_code == 200 else "completed")


def test_a_later_fitting_leaves_the_record_of_the_former_alone(desk: Desk) -> None:
    path = write_csv(desk.area / "records.csv")
    body = {"csv_path": str(path), "model_type": "maturation"}
    first = completed(desk, body)
    path.write_text(path.read_text().replace(",0,1,", ",0,7,"))
    second = completed(desk, {**body, "model_params": {"rate": 0.5}})
    checksums = set()
    for found in (first, second):
        record = json.loads(crate(desk, found["job_id"])["run.json"])
        assert record["job_id"] == found["job_id"]
        checksums.add(record["input"]["sha256"])
    assert len(checksums) == 2


def test_a_repeated_fitting_keeps_its_samples_and_tells_who_asked_for_it(desk: Desk) -> None:
    plate = {"plate": {"barcode": "P1", "rows": 1, "columns": 2}}
    assert desk.client.post("/api/v1/plates", json=plate).status_code == 201
    path = write_csv(desk.area / "samples.csv")
    body = {"csv_path": str(path), "model_type": "maturation", "sample": "P1/A1"}
    first = completed(desk, body)["job_id"]
    desk.client.patch("/api/v1/plates/P1", json={"plate": {"barcode": "New"}}).raise_for_status()
    again = desk.client.post(f"/work/{first}/retry").json()["id"]
    assert desk.ended(again, "analysis/fitting")["status"] == "completed"
    query = {"kind": "fit", "item_id": again}
    (link,) = desk.client.get("/samples/links", params=query).json()["links"]
    assert (link["sample"], link["plate"], link["named_by"]) == ("New/A1", "New", "testclient")
    assert b"testclient" in crate(desk, again)["ro-crate-metadata.json"]


def crate(desk: Desk, job_id: str) -> dict[str, bytes]:
    answer = desk.client.get(f"/crates/fit/{job_id}")
    assert answer.status_code == 200, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}
