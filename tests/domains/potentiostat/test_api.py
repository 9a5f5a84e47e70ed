"""Every path, every error code and every state of the API, on both databases."""

import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.domains.potentiostat.conftest import CA, Bench, open_bench

CV = {
    "start": -0.2, "vertex1": 0.8, "vertex2": -0.2, "end": 0.0, "scan_rate": 5.0, "cycles": 1,
}  # fmt: skip


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shared(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    """One server for all tests here, with a finished run called ``finished``."""
    url = None
    if request.param == "postgresql":
        server = request.getfixturevalue("postgres_server")
        server.psql('CREATE DATABASE "api";')
        url = server.get_uri("api")
    with (
        pytest.MonkeyPatch.context() as environment,
        open_bench(tmp_path_factory.mktemp("api"), environment, database_url=url) as bench,
    ):
        run = bench.start("CA", run_name="finished", subdir="Batch A", make_plot=True)
        assert bench.end_of(run["run_id"])["status"] == "done"
        yield bench


def is_error(answer: Any, status: int, code: str) -> bool:
    body = answer.json()
    assert answer.status_code == status, answer.text
    assert {type(body[name]) for name in ("code", "message", "hint")} == {str}
    assert not isinstance(body.get("detail"), str)
    assert body["code"] == code
    return True


# -- system and devices ------------------------------------------------------------------------


def test_version_is_all_text(shared: Bench) -> None:
    body = shared.client.get("/version").json()
    assert {"api", "pybeep", "python", "build"} <= body.keys()
    assert all(isinstance(value, str) and value for value in body.values())


def test_health_counts_devices(shared: Bench) -> None:
    assert shared.client.get("/health").json() == {
        "ok": True,
        "devices": 2,
        "box_id": "",
        "status": "healthy",
    }


def test_devices_are_listed_by_slot(shared: Bench) -> None:
    devices = shared.client.get("/devices").json()
    assert [device["slot"] for device in devices] == ["slot01", "slot02"]
    assert [device["sn"] for device in devices] == ["E000000000000001", "E000000000000002"]
    assert all(device["port"].startswith("/") for device in devices)


def test_device_status_shows_idle_slots(shared: Bench) -> None:
    states = shared.client.get("/devices/status").json()
    assert [(item["slot"], item["status"]) for item in states] == [
        ("slot01", "idle"),
        ("slot02", "idle"),
    ]


def test_modes_are_in_the_drivers_order(shared: Bench) -> None:
    assert shared.client.get("/modes").json() == [
        "CA", "LSV", "CV", "PSTEP", "CP", "GS", "GCV", "STEPSEQ", "OCP", "EIS",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["CV", "cv"])
def test_mode_parameters_carry_type_texts(shared: Bench, name: str) -> None:
    body = shared.client.get(f"/modes/{name}/params").json()
    assert body["start"] == "<class 'float'>"
    assert body["cycles"] == "<class 'int'>"


def test_list_parameters_carry_their_type_text(shared: Bench) -> None:
    body = shared.client.get("/modes/PSTEP/params").json()
    assert body["potentials"] == "typing.List[float]"


def test_parameters_of_an_unknown_mode_are_refused(shared: Bench) -> None:
    assert is_error(shared.client.get("/modes/XYZ/params"), 400, "modes.parameter_error")


def test_validation_of_an_unknown_mode_is_refused(shared: Bench) -> None:
    answer = shared.client.post("/modes/XYZ/validate", json={})
    assert is_error(answer, 404, "modes.not_found")


def test_validation_takes_only_an_object(shared: Bench) -> None:
    answer = shared.client.post("/modes/CV/validate", json=[1])
    assert is_error(answer, 422, "request.validation_error")


def test_good_parameters_are_valid(shared: Bench) -> None:
    body = shared.client.post("/modes/CV/validate", json=CV).json()
    assert body == {"ok": True, "errors": [], "warnings": []}


def test_currents_are_checked_at_the_runs_gain(shared: Bench) -> None:
    current = {"current": 2e-4, "duration": 1}
    assert shared.client.post("/modes/CP/validate", json=current).json()["ok"]
    checked = shared.client.post("/modes/CP/validate?tia_gain=2", json=current).json()
    message = "is beyond the 50 uA of tia_gain 2; tia_gain 1 goes to 0.5 mA"
    assert checked["errors"] == [{"field": "current", "code": "max_value", "message": message}]
    refused = shared.post_job("CP", params_by_mode={"CP": current}, tia_gain=2)
    assert is_error(refused, 422, "jobs.invalid_request")
    assert message in refused.json()["message"]
    assert "/modes/CP/validate?tia_gain=2" in refused.json()["hint"]
    strange = shared.client.post("/modes/CP/validate?tia_gain=5", json=current)
    assert is_error(strange, 422, "request.validation_error")


def test_rescan_lists_slots(shared: Bench) -> None:
    assert shared.client.post("/admin/rescan").json() == {"devices": ["slot01", "slot02"]}


# -- jobs: refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"modes": []}, 422, "jobs.invalid_request"),
        ({"params_by_mode": {}}, 422, "jobs.invalid_request"),
        ({"modes": ["XX"], "params_by_mode": {"XX": {}}}, 422, "jobs.invalid_request"),
        ({"params_by_mode": {"CA": {"duration": 1}}}, 422, "jobs.invalid_request"),
        ({"params_by_mode": {"CA": {**CA, "potential": "NaN"}}}, 422, "jobs.invalid_request"),
        ({"run_name": "../up"}, 422, "jobs.invalid_request"),
        ({"run_name": "a..b"}, 422, "jobs.invalid_request"),
        ({"run_name": "x" * 129}, 422, "jobs.invalid_request"),
        ({"tia_gain": 5}, 422, "jobs.invalid_request"),
        ({"tia_gain": -1}, 422, "jobs.invalid_request"),
        ({"sampling_interval": 0}, 422, "jobs.invalid_request"),
        ({"sampling_interval": -1}, 422, "jobs.invalid_request"),
        ({"params_by_mode": {"CA": {**CA, "duration": 1e9}}}, 422, "jobs.invalid_request"),
        ({"params_by_mode": {"CA": {**CA, "duration": 1e300}}}, 422, "jobs.invalid_request"),
        ({"params_by_mode": {"CA": {**CA, "duration": 1e-4}}}, 422, "jobs.invalid_request"),
        ({"devices": ["slot99"]}, 400, "jobs.invalid_devices"),
        ({"devices": []}, 400, "jobs.invalid_devices"),
        ({"devices": "slot01"}, 422, "request.validation_error"),
        ({"devices": None}, 422, "request.validation_error"),
        ({"modes": "CA"}, 422, "request.validation_error"),
        ({"tia_gain": True}, 422, "request.validation_error"),
        ({"experiment_name": None}, 422, "request.validation_error"),
        ({"run_name": "finished"}, 409, "jobs.run_id_conflict"),
        ({"experiment_name": "///"}, 400, "storage.invalid_name"),
        ({"subdir": "../.."}, 400, "storage.invalid_name"),
        ({"client_datetime": "::"}, 400, "storage.invalid_name"),
        ({"client_datetime": ""}, 400, "storage.invalid_name"),
    ],
)
def test_bad_job_is_refused_and_reserves_nothing(
    shared: Bench, fields: dict[str, Any], status: int, code: str
) -> None:
    before = shared.client.get("/jobs").json()
    assert is_error(shared.post_job(**fields), status, code)
    assert shared.client.get("/jobs").json() == before
    states = shared.client.get("/devices/status").json()
    assert {item["status"] for item in states} == {"idle"}
    assert not list(shared.runs_root.glob("*.."))


def test_spectrum_above_the_limit_is_refused(shared: Bench) -> None:
    parameters = {"start_freq": 1e5, "end_freq": 1e4, "points_per_decade": 5}
    answer = shared.post_job("EIS", params_by_mode={"EIS": parameters})
    assert is_error(answer, 422, "jobs.invalid_request")


def test_broken_json_is_a_validation_error(shared: Bench) -> None:
    answer = shared.client.post("/jobs", content=b"{", headers={"Content-Type": "application/json"})
    assert is_error(answer, 422, "request.validation_error")


def test_text_no_encoding_can_carry_is_refused_not_crashed(shared: Bench) -> None:
    body = b'{"run_ids": ["\\ud800", "\\u0000"]}'
    answer = shared.client.post(
        "/jobs/status", content=body, headers={"Content-Type": "application/json"}
    )
    assert is_error(answer, 404, "jobs.run_ids_unknown")


# -- jobs: looked up ---------------------------------------------------------------------------


def test_finished_job_has_the_documented_shape(shared: Bench) -> None:
    body = shared.status("finished")
    stamp = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
    assert stamp.fullmatch(body.pop("started_at"))
    assert stamp.fullmatch(body.pop("ended_at"))
    slots = body.pop("slots")
    assert body == {
        "run_id": "finished", "mode": "CA", "status": "done", "progress_pct": 100,
        "remaining_s": 0, "modes": ["CA"], "current_mode": None, "remaining_modes": [],
    }  # fmt: skip
    stem = "Test_Batch_A_2025-11-03_10-15-00_slot01_CA"
    assert slots[0]["files"] == [f"Wells/slot01/CA/{stem}.csv", f"Wells/slot01/CA/{stem}.png"]
    assert slots[0]["status"] == "done"
    assert slots[0]["message"] is None


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/jobs/nope", "jobs.not_found"),
        ("POST", "/jobs/nope/cancel", "jobs.not_found"),
        ("GET", "/runs/nope/files", "runs.not_found"),
        ("GET", "/runs/nope/zip", "runs.not_found"),
        ("GET", "/runs/nope/file?path=x", "runs.not_found"),
        ("POST", "/runs/nope/upload", "runs.not_found"),
        ("GET", "/runs/%2e%2e/files", "runs.not_found"),
        ("GET", "/runs/%2e%2e/zip", "runs.not_found"),
        ("GET", "/jobs/a%00b", "jobs.not_found"),
        ("GET", "/runs/finished/nothing", "request.not_found"),
    ],
)
def test_unknown_things_are_not_found(shared: Bench, method: str, path: str, code: str) -> None:
    assert is_error(shared.client.request(method, path), 404, code)


def test_wrong_method_has_the_same_shape(shared: Bench) -> None:
    assert is_error(shared.client.delete("/jobs"), 405, "request.method_not_allowed")


def test_list_shows_overviews(shared: Bench) -> None:
    entry = next(item for item in shared.client.get("/jobs").json() if item["run_id"] == "finished")
    assert entry.keys() == {"run_id", "mode", "status", "started_at", "ended_at", "devices"}
    assert (entry["status"], entry["devices"]) == ("done", ["slot01", "slot02"])


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("state=completed", True),
        ("state=incomplete", False),
        ("group_id=Batch A", True),
        ("group_id=batch_a", True),
        ("group_id=  BATCH A ", True),
        ("group_id=", True),
        ("group_id=other", False),
        ("state=completed&group_id=Batch_A", True),
    ],
)
def test_list_is_filtered(shared: Bench, query: str, found: bool) -> None:
    runs = [item["run_id"] for item in shared.client.get(f"/jobs?{query}").json()]
    assert ("finished" in runs) is found


def test_list_of_an_unknown_state_is_refused(shared: Bench) -> None:
    assert is_error(shared.client.get("/jobs?state=odd"), 422, "request.validation_error")


def test_bulk_status_keeps_the_order_asked_for(shared: Bench) -> None:
    ids = ["finished", "", "finished"]
    body = shared.client.post("/jobs/status", json={"run_ids": ids}).json()
    assert [item["run_id"] for item in body] == ["finished", "finished"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"run_ids": []}, 422, "request.validation_error"),
        ({}, 422, "request.validation_error"),
        ({"run_ids": ["", ""]}, 400, "jobs.missing_run_ids"),
        ({"run_ids": ["finished", "zzz", "aaa"]}, 404, "jobs.run_ids_unknown"),
    ],
)
def test_bulk_status_refuses(shared: Bench, body: Any, status: int, code: str) -> None:
    answer = shared.client.post("/jobs/status", json=body)
    assert is_error(answer, status, code)
    if code == "jobs.run_ids_unknown":
        assert "aaa, zzz" in answer.json()["message"]


def test_cancel_of_a_finished_run_changes_nothing(shared: Bench) -> None:
    answer = shared.client.post("/jobs/finished/cancel")
    assert answer.status_code == 202
    assert answer.json() == {"run_id": "finished", "status": "done"}


# -- files -------------------------------------------------------------------------------------


def test_files_are_listed_below_wells(shared: Bench) -> None:
    files = shared.client.get("/runs/finished/files").json()["files"]
    assert files == sorted(files)
    assert len(files) == 4
    assert all(name.startswith("Wells/slot0") for name in files)


@pytest.mark.parametrize(("ending", "kind"), [(".csv", "text/csv"), (".png", "image/png")])
def test_file_is_a_download(shared: Bench, ending: str, kind: str) -> None:
    files = shared.client.get("/runs/finished/files").json()["files"]
    name = next(item for item in files if item.endswith(ending))
    answer = shared.client.get("/runs/finished/file", params={"path": name})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(kind)
    disposition = answer.headers["content-disposition"]
    assert disposition == f'attachment; filename="{Path(name).name}"'


@pytest.mark.parametrize(
    "path",
    [
        "", ".", "Wells", "Wells/slot01", "nothing.csv", "../../../_run_paths.json", "/etc/passwd",
        "a\0b", "x" * 5000, "Wells/../../2025/x", "..\\..\\x", "Wells/../run.json/x",
    ],
)  # fmt: skip
def test_file_outside_or_missing_is_not_found(shared: Bench, path: str) -> None:
    answer = shared.client.get("/runs/finished/file", params={"path": path})
    assert is_error(answer, 404, "runs.file_not_found")


def test_file_needs_its_path(shared: Bench) -> None:
    answer = shared.client.get("/runs/finished/file")
    assert is_error(answer, 422, "request.validation_error")


def test_link_out_of_the_run_is_not_followed(shared: Bench) -> None:
    folder = next(shared.runs_root.glob("Test/Batch_A/*/Wells/slot01/CA"))
    link = folder / "out.csv"
    link.symlink_to("/etc/hostname")
    try:
        answer = shared.client.get(
            "/runs/finished/file", params={"path": "Wells/slot01/CA/out.csv"}
        )
        assert is_error(answer, 404, "runs.file_not_found")
        files = shared.client.get("/runs/finished/files").json()["files"]
        assert not any("out.csv" in name for name in files)
    finally:
        link.unlink()


def test_zip_holds_files_and_summary(shared: Bench) -> None:
    answer = shared.client.get("/runs/finished/zip")
    assert answer.headers["content-type"] == "application/zip"
    assert 'filename="finished.zip"' in answer.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        files = shared.client.get("/runs/finished/files").json()["files"]
        assert set(archive.namelist()) == {*files, "run.json"}


# -- nas ---------------------------------------------------------------------------------------


def test_nas_health_without_settings(shared: Bench) -> None:
    assert shared.client.get("/nas/health").json() == {
        "ok": False,
        "last_checked": None,
        "message": "not configured",
    }


def test_upload_without_nas_is_refused(shared: Bench) -> None:
    assert is_error(shared.client.post("/runs/finished/upload"), 409, "nas.not_configured")


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"host": ""}, 400, "nas.invalid_request"),
        ({"password": " "}, 400, "nas.invalid_request"),
        ({"base_subdir": "a/../b"}, 400, "nas.invalid_request"),
        ({"username": "a,b"}, 400, "nas.invalid_request"),
        ({"share": "a\nb"}, 400, "nas.invalid_request"),
        ({"retention_days": 0}, 400, "nas.invalid_request"),
        ({"host": None}, 422, "request.validation_error"),
    ],
)
def test_bad_nas_settings_are_refused(
    shared: Bench, fields: dict[str, Any], status: int, code: str
) -> None:
    body = {"host": "nas", "share": "s", "username": "u", "password": "p", **fields}
    assert is_error(shared.client.post("/nas/setup", json=body), status, code)
    assert shared.client.get("/nas/health").json()["message"] == "not configured"
