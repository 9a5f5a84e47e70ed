"""Runs on emulated instruments: data true to the waveform, and a cell open on every way out."""

import csv
import errno
import hashlib
import io
import json
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from benchwire.domains.potentiostat import run as run_module
from benchwire.domains.potentiostat import run_folder
from benchwire.foundation.jobs.states import JobState, StopReason
from tests.domains.potentiostat.conftest import CA, Bench, open_bench
from tests.support.server import children_named
from tests.support.waiting import until

PARAMETERS: dict[str, dict[str, Any]] = {
    "CA": {"potential": 0.5, "duration": 0.5},
    "LSV": {"start": 0.0, "end": 0.6, "scan_rate": 2.0},
    "CV": {
        "start": 0.3, "vertex1": 0.7, "vertex2": -0.1, "end": 0.3, "scan_rate": 4.0, "cycles": 2,
    },
    "PSTEP": {"potentials": [0.1, 0.5], "step_duration": 0.2},
    "CP": {"current": 1e-5, "duration": 0.5},
    "GS": {"start": 0.0, "end": 2e-5, "num_steps": 3, "step_duration": 0.2},
    "GCV": {
        "start": 0.0, "vertex1": 1e-5, "vertex2": -1e-5, "end": 5e-6, "num_steps": 2,
        "step_duration": 0.1, "cycles": 1,
    },
    "STEPSEQ": {"currents": [0.0, 1e-5], "step_duration": 0.3},
    "OCP": {"duration": 0.5},
    "EIS": {"start_freq": 100, "end_freq": 20, "points_per_decade": 4, "bias": 0.28},
}  # fmt: skip
POTENTIAL = ["Time (s)", "Potential (V)", "Current (A)"]
HEADERS = {
    "CA": [*POTENTIAL, "Exp", "Applied potential (V)"],
    "LSV": [*POTENTIAL, "Exp", "Applied potential (V)"],
    "CV": [*POTENTIAL, "Cycle", "Exp", "Applied potential (V)"],
    "PSTEP": [*POTENTIAL, "Step", "Exp", "Applied potential (V)"],
    "CP": [*POTENTIAL, "Exp", "Applied current (A)"],
    "GS": [*POTENTIAL, "Exp", "Applied current (A)"],
    "GCV": [*POTENTIAL, "Cycle", "Exp", "Applied current (A)"],
    "STEPSEQ": [*POTENTIAL, "Exp", "Applied current (A)"],
    "OCP": [*POTENTIAL, "Exp"],
    "EIS": ["Frequency (Hz)", "Z real (Ohm)", "Z imag (Ohm)", "|Z| (Ohm)", "Phase (deg)", "Exp"],
}


def table(rows: list[str]) -> dict[str, np.ndarray]:
    header, *lines = csv.reader(rows)
    values = np.array(lines, dtype=float)
    return {name: values[:, number] for number, name in enumerate(header)}


def long_ca(seconds: float = 20.0) -> dict[str, Any]:
    return {"params_by_mode": {"CA": {"potential": 0.5, "duration": seconds}}}


def has_begun(bench: Bench, run_id: str, slot: str = "slot01") -> bool:
    files = bench.client.get(f"/runs/{run_id}/files").json()["files"]
    name = next((item for item in files if f"/{slot}/" in item), None)
    if name is None:
        return False
    body = bench.client.get(f"/runs/{run_id}/file", params={"path": name}).text
    return body.count("\n") > 100


@pytest.fixture(scope="module")
def all_modes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Bench, dict[str, Any]]]:
    """Every mode one after another on one run, and the server it ran on."""
    with (
        pytest.MonkeyPatch.context() as environment,
        open_bench(tmp_path_factory.mktemp("modes"), environment) as bench,
    ):
        run = bench.start(
            *PARAMETERS, params_by_mode=PARAMETERS, devices=["slot01"], make_plot=True
        )
        yield bench, bench.end_of(run["run_id"], 120)


@pytest.mark.parametrize("mode", PARAMETERS)
def test_mode_writes_its_columns_and_a_plot(
    all_modes: tuple[Bench, dict[str, Any]], mode: str
) -> None:
    bench, run = all_modes
    assert run["status"] == "done", run
    rows = bench.rows(run, mode=mode)
    assert rows[0].split(",") == HEADERS[mode]
    data = table(rows)
    assert len(data["Exp"]) > 2
    assert (data["Exp"] == 1).all()
    assert all(np.isfinite(column).all() for column in data.values())
    assert any(f"/{mode}/" in name and name.endswith(".png") for name in run["slots"][0]["files"])


def test_row_k_is_point_k_of_the_waveform(all_modes: tuple[Bench, dict[str, Any]]) -> None:
    """The unfiltered shape shows it: the measured potential lags by the filter's delay alone."""
    bench, run = all_modes
    data = table(bench.rows(run, mode="CV"))
    applied, measured = data["Applied potential (V)"], data["Potential (V)"]
    assert np.allclose(data["Time (s)"], np.arange(len(applied)) * 0.00036, atol=1e-6)
    # The default running mean over 100 readings delays a ramp by 49.5 of them.
    middle = slice(400, 700)
    delay = np.abs(applied[middle] - measured[middle]) / (4.0 * 0.00036)
    assert np.allclose(delay, 49.5, atol=1.5)
    assert set(data["Cycle"]) == {1.0, 2.0}


def test_voltammogram_has_the_shape_of_a_duck(all_modes: tuple[Bench, dict[str, Any]]) -> None:
    bench, run = all_modes
    data = table(bench.rows(run, mode="CV"))
    second = data["Cycle"] == 2
    potential, current = data["Potential (V)"][second], data["Current (A)"][second]
    anodic, cathodic = potential[current.argmax()], potential[current.argmin()]
    assert 0.3 < anodic < 0.6
    assert 0.0 < cathodic < 0.3
    assert current.max() > 3e-4
    assert current.min() < -3e-4


def test_open_circuit_reads_the_rest_potential(all_modes: tuple[Bench, dict[str, Any]]) -> None:
    bench, run = all_modes
    data = table(bench.rows(run, mode="OCP"))
    assert 0.15 < data["Potential (V)"][-1] < 0.4
    # The running mean of the instrument still holds the mode before for its first 100 rows.
    assert np.abs(data["Current (A)"][100:]).max() < 1e-6


def test_polled_currents_follow_their_set_points(all_modes: tuple[Bench, dict[str, Any]]) -> None:
    bench, run = all_modes
    data = table(bench.rows(run, mode="GS"))
    assert len(data["Exp"]) == 3 * 60
    assert np.all(np.diff(data["Time (s)"]) > 0)
    last = data["Applied current (A)"] == data["Applied current (A)"][-1]
    assert data["Current (A)"][last][-10:].mean() == pytest.approx(2e-5, rel=0.05)


def test_averaging_is_restored_after_a_spectrum(all_modes: tuple[Bench, dict[str, Any]]) -> None:
    bench, _ = all_modes
    assert bench.true_state()["averaging"] == [100, 100]


def test_summary_names_instrument_units_and_checksums(
    all_modes: tuple[Bench, dict[str, Any]],
) -> None:
    bench, run = all_modes
    answer = bench.client.get(f"/runs/{run['run_id']}/file", params={"path": "run.json"})
    summary = answer.json()
    assert summary["slots"][0]["instrument_serial_number"] == "E000000000000001"
    assert summary["request"]["params_by_mode"]["CV"]["scan_rate"] == 4.0
    assert summary["sign_convention"].startswith("as the instrument reports")
    assert "not confirmed" in summary["sign_convention"]
    for item in summary["files"]:
        body = bench.client.get(
            f"/runs/{run['run_id']}/file", params={"path": item["path"]}
        ).content
        assert hashlib.sha256(body).hexdigest() == item["sha256"]
    first = next(item for item in summary["files"] if item["path"].endswith("_CV.csv"))
    assert first["columns"][:3] == [
        {"name": "Time", "unit": "s"},
        {"name": "Potential", "unit": "V"},
        {"name": "Current", "unit": "A"},
    ]


# -- stopping ----------------------------------------------------------------------------------


def test_cancel_opens_the_cell_at_once_and_keeps_the_data(bench: Bench) -> None:
    run = bench.start("CA", "OCP", params_by_mode={**long_ca()["params_by_mode"],
                                                   "OCP": {"duration": 5}})  # fmt: skip
    until(lambda: has_begun(bench, run["run_id"]))
    asked = time.monotonic()
    answer = bench.client.post(f"/jobs/{run['run_id']}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (202, "cancelled")
    ended = bench.end_of(run["run_id"], 5)
    assert time.monotonic() - asked < 2.5
    assert ended["status"] == "cancelled"
    assert [slot["message"] for slot in ended["slots"]] == ["cancelled", "cancelled"]
    assert ended["remaining_s"] is None
    for slot in ("slot01", "slot02"):
        state = bench.true_state(slot)
        assert not state["cell_closed"]
        assert not state["running"]
        assert not state["stop_requested"]
        assert state["opened_at"] - asked < 0.3
        assert len(bench.rows(ended, slot)) > 100
    files = ended["slots"][0]["files"]
    assert all("/OCP/" not in name for name in files)
    assert len(files) == 1


@pytest.mark.parametrize("path", ["/jobs/{}/cancel", "/work/{}/cancel"])
def test_cancel_waits_for_no_request_that_waits_for_the_database(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    asked, answer = [], threading.Event()

    def wait(_: object) -> dict[str, Any]:
        asked.append(1)
        answer.wait(30)
        return {}

    run = bench.start("CA", params_by_mode=long_ca()["params_by_mode"])
    until(lambda: has_begun(bench, run["run_id"]))
    monkeypatch.setattr(type(bench.potentiostats), "version", wait)
    with ThreadPoolExecutor(60) as pool:
        try:
            for _ in range(50):
                pool.submit(bench.client.get, "/version")
            until(lambda: len(asked) == 40, what="requests in all threads")
            told = pool.submit(bench.client.post, path.format(run["run_id"]))
            until(lambda: not bench.true_state("slot01")["cell_closed"], what="an open cell")
            if path.startswith("/jobs"):
                assert told.result(10).status_code == 202
        finally:
            answer.set()
        assert told.result(10).is_success
    assert bench.end_of(run["run_id"], 5)["status"] == "cancelled"


def test_no_cell_is_closed_again_after_a_cancel(bench: Bench) -> None:
    for delay in (0.0, 0.02, 0.1, 0.3):
        run = bench.start(devices=["slot01"], **long_ca())
        time.sleep(delay)
        bench.client.post(f"/jobs/{run['run_id']}/cancel")
        assert bench.end_of(run["run_id"], 5)["status"] == "cancelled"
        closings = bench.true_state()["closings"]
        time.sleep(0.3)
        state = bench.true_state()
        assert (state["closings"], state["cell_closed"]) == (closings, False)


def test_next_run_after_a_cancel_is_whole(bench: Bench) -> None:
    run = bench.start(**long_ca())
    until(lambda: has_begun(bench, run["run_id"]))
    bench.client.post(f"/jobs/{run['run_id']}/cancel")
    bench.end_of(run["run_id"])
    again = bench.end_of(bench.start()["run_id"])
    assert again["status"] == "done"
    assert len(bench.rows(again)) == 1 + 833


def test_unplugged_slot_fails_alone_and_comes_back_under_its_name(bench: Bench) -> None:
    run = bench.start(**long_ca(3.0))
    until(lambda: has_begun(bench, run["run_id"]))
    bench.emulators.control("p1", "unplug")
    ended = bench.end_of(run["run_id"])
    one, two = ended["slots"]
    assert (one["status"], two["status"]) == ("failed", "done")
    assert one["message"]
    assert len(bench.rows(ended, "slot01")) > 100
    assert len(bench.rows(ended, "slot02")) == 1 + 8333
    assert bench.rows(ended, "slot01")[-1].count(",") == 4
    assert bench.client.post("/admin/rescan").json() == {"devices": ["slot02"]}
    bench.emulators.control("p1", "replug")
    until(lambda: bench.client.get("/health").json()["devices"] == 2)
    devices = bench.client.get("/devices").json()
    assert devices[0]["slot"] == "slot01"
    assert devices[0]["sn"] == "E000000000000001"
    assert bench.end_of(bench.start()["run_id"])["status"] == "done"


def test_rescan_leaves_a_running_slot_alone(bench: Bench) -> None:
    run = bench.start(devices=["slot01"], **long_ca(1.5))
    until(lambda: has_begun(bench, run["run_id"]))
    assert bench.client.post("/admin/rescan").json() == {"devices": ["slot01", "slot02"]}
    assert bench.end_of(run["run_id"])["status"] == "done"


def test_frozen_instrument_fails_its_slot_with_a_clear_message(bench: Bench) -> None:
    run = bench.start(devices=["slot01"], **long_ca())
    until(lambda: has_begun(bench, run["run_id"]))
    bench.emulators.control("p1", "freeze")
    slot = bench.end_of(run["run_id"])["slots"][0]
    assert slot["status"] == "failed"
    assert "answer" in slot["message"]
    bench.emulators.control("p1", "freeze", on=False)
    until(lambda: not bench.true_state()["cell_closed"], what="the cell made safe on return")


def test_garbled_line_never_writes_a_wrong_row(bench: Bench) -> None:
    bench.emulators.control("p1", "garble", probability=0.05)
    run = bench.end_of(bench.start(devices=["slot01"], **long_ca(2.0))["run_id"])
    bench.emulators.control("p1", "garble", probability=0.0)
    files = run["slots"][0]["files"]
    if files:
        data = table(bench.rows(run))
        assert np.allclose(data["Applied potential (V)"], 0.5)
        assert np.all((data["Potential (V)"] > -0.01) & (data["Potential (V)"] < 0.51))
    assert run["status"] in {"done", "failed"}
    until(lambda: not bench.true_state()["cell_closed"])


def test_reset_instrument_is_not_called_done(bench: Bench) -> None:
    run = bench.start(devices=["slot01"], **long_ca())
    until(lambda: has_begun(bench, run["run_id"]))
    bench.emulators.control("p1", "reset")
    slot = bench.end_of(run["run_id"])["slots"][0]
    assert (slot["status"], "by itself" in slot["message"]) == ("failed", True)


def test_refused_start_command_fails_with_the_cell_open(bench: Bench) -> None:
    bench.emulators.control("p1", "refuse", code=0xE5)
    slot = bench.end_of(bench.start(devices=["slot01"])["run_id"])["slots"][0]
    assert slot["status"] == "failed"
    assert bench.true_state()["closings"] == 0


# -- slots, folders, names ---------------------------------------------------------------------


def test_busy_slot_is_refused_and_named(bench: Bench) -> None:
    run = bench.start(devices=["slot02"], **long_ca())
    answer = bench.post_job(devices=["slot01", "slot02"])
    assert answer.status_code == 409
    assert answer.json()["code"] == "jobs.slots_busy"
    assert answer.json()["message"] == "Slots busy: slot02"
    free = bench.start(devices=["slot01"])
    assert bench.end_of(free["run_id"])["status"] == "done"
    bench.client.post(f"/jobs/{run['run_id']}/cancel")
    bench.end_of(run["run_id"])


def test_race_for_a_slot_has_one_winner(bench: Bench) -> None:
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda: answers.append(bench.post_job(**long_ca()).status_code))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200] + [409] * 7
    for item in bench.client.get("/jobs?state=incomplete").json():
        bench.client.post(f"/jobs/{item['run_id']}/cancel")
        bench.end_of(item["run_id"])


def test_unknown_and_repeated_slots_are_dropped(bench: Bench) -> None:
    run = bench.start(devices=["slot01", "slot77", "slot01"])
    assert [slot["slot"] for slot in run["slots"]] == ["slot01"]
    bench.end_of(run["run_id"])


def test_runs_of_different_slots_share_a_folder_but_not_their_lists(bench: Bench) -> None:
    first = bench.end_of(bench.start(devices=["slot01"])["run_id"])
    second = bench.end_of(bench.start(devices=["slot02"])["run_id"])
    folders = list(bench.runs_root.glob("Test/*"))
    assert [folder.name for folder in folders] == ["2025-11-03T10_15_00"]
    files = bench.client.get(f"/runs/{second['run_id']}/files").json()["files"]
    assert files == second["slots"][0]["files"]
    other = first["slots"][0]["files"][0]
    answer = bench.client.get(f"/runs/{second['run_id']}/file", params={"path": other})
    assert answer.status_code == 404
    summaries = sorted(path.name for path in folders[0].glob("run*.json"))
    assert summaries == sorted(["run.json", f"run_{second['run_id']}.json"])


def test_same_slot_and_time_never_overwrites(bench: Bench) -> None:
    runs = [bench.end_of(bench.start(devices=["slot01"])["run_id"]) for _ in range(3)]
    names = sorted(folder.name for folder in bench.runs_root.glob("Test/*"))
    assert names == [f"2025-11-03T10_15_00{suffix}" for suffix in ("", "_2", "_3")]
    assert all(len(bench.rows(run)) == 834 for run in runs)


def test_a_blank_subdir_gives_way_to_its_older_name(bench: Bench) -> None:
    run = bench.start(devices=["slot01"], subdir="  ", folder_name="Batch ä 7")["run_id"]
    bench.end_of(run)
    assert [folder.name for folder in bench.runs_root.glob("Test/*")] == ["Batch_7"]
    for group in ("Batch ä 7", "batch_7"):
        found = bench.client.get("/jobs", params={"group_id": group}).json()
        assert [item["run_id"] for item in found] == [run]


def test_mode_listed_twice_writes_two_files(bench: Bench) -> None:
    run = bench.end_of(bench.start("CA", "CA", devices=["slot01"])["run_id"])
    names = [Path(name).stem for name in run["slots"][0]["files"]]
    assert names == [f"Test_2025-11-03_10-15-00_slot01_CA{suffix}" for suffix in ("", "_2")]


def test_thinning_averages_blocks(bench: Bench) -> None:
    parameters = {"CA": {"potential": 0.5, "duration": 1.0}}
    run = bench.end_of(
        bench.start(
            devices=["slot01"], params_by_mode=parameters, sampling_interval=0.01
        )["run_id"]
    )  # fmt: skip
    data = table(bench.rows(run))
    assert len(data["Exp"]) == -(-2777 // 28)
    assert np.allclose(np.diff(data["Time (s)"]), 0.01008)


def test_an_interval_longer_than_the_run_makes_one_row(bench: Bench) -> None:
    run = bench.end_of(bench.start(devices=["slot01"], sampling_interval=1e306)["run_id"])
    assert run["status"] == "done"
    data = table(bench.rows(run))
    assert data["Time (s)"].tolist() == [0.0]
    assert data["Applied potential (V)"].tolist() == [0.5]


def test_room_is_wanted_for_all_slots_and_all_runs(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A minute of a slot takes 12 MB, and here is room for that of one and a half."""
    room = bench.potentiostats.limits.min_free_bytes + 18_000_000
    real = shutil.disk_usage(bench.runs_root)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: real._replace(free=room))
    refused = bench.post_job(**long_ca(60))
    assert (refused.status_code, refused.json()["code"]) == (503, "storage.disk_full")
    assert "may take 23 MB" in refused.json()["message"]
    assert not bench.runs_root.joinpath("Test").exists()
    run = bench.start(devices=["slot01"], **long_ca(60))["run_id"]
    assert bench.post_job(devices=["slot02"], **long_ca(60)).status_code == 503
    assert bench.post_job(devices=["slot01"]).json()["code"] == "jobs.slots_busy"
    short = bench.start(devices=["slot02"], **long_ca(1))["run_id"]
    assert bench.end_of(short)["status"] == "done"
    bench.client.post(f"/jobs/{run}/cancel")
    bench.end_of(run)
    until(lambda: not bench.potentiostats._active, what="its stored end")
    again = bench.start(devices=["slot02"], **long_ca(60))["run_id"]
    bench.client.post(f"/jobs/{again}/cancel")
    bench.end_of(again)


def test_idempotency_key_starts_one_run(bench: Bench) -> None:
    body = {
        "devices": ["slot01"], "modes": ["CA"], "experiment_name": "Test",
        "params_by_mode": {"CA": {"potential": 0.1, "duration": 0.2}},
        "client_datetime": "2025-11-03T10:15:00", "make_plot": False,
    }  # fmt: skip
    headers = {"Idempotency-Key": "abc"}
    first = bench.client.post("/jobs", json=body, headers=headers).json()
    second = bench.client.post("/jobs", json=body, headers=headers).json()
    assert first["run_id"] == second["run_id"]
    later = {**body, "client_datetime": "2025-11-03T10:16:00"}
    third = bench.client.post("/jobs", json=later, headers=headers).json()
    assert first["run_id"] == third["run_id"]
    for change in (
        {"devices": "all"}, {"modes": ["OCP"], "params_by_mode": {"OCP": {"duration": 1}}},
        {"params_by_mode": {"CA": {"potential": 0.2, "duration": 0.2}}}, {"sample": "other"},
    ):  # fmt: skip
        refused = bench.client.post("/jobs", json={**body, **change}, headers=headers)
        assert refused.status_code == 409, change
        assert refused.json()["code"] == "jobs.idempotency_key_reused"
    bench.end_of(first["run_id"])
    assert len(bench.client.get("/jobs").json()) == 1


def test_one_key_sent_at_once_by_many_starts_one_run(bench: Bench) -> None:
    body = {
        "devices": "all", "modes": ["OCP"], "experiment_name": "Test",
        "params_by_mode": {"OCP": {"duration": 0.2}},
        "client_datetime": "2025-11-03T10:15:00", "make_plot": False,
    }  # fmt: skip

    def start(_: int) -> tuple[int, str | None]:
        answer = bench.client.post("/jobs", json=body, headers={"Idempotency-Key": "at once"})
        return answer.status_code, answer.json().get("run_id")

    with ThreadPoolExecutor(8) as threads:
        answers = set(threads.map(start, range(16)))
    ((status, run_id),) = answers
    assert status == 200
    bench.end_of(run_id)


def test_progress_grows_and_plans_all_modes(bench: Bench) -> None:
    parameters = {"CA": {"potential": 0.1, "duration": 1.0}, "OCP": {"duration": 1.0}}
    run = bench.start("CA", "OCP", params_by_mode=parameters, devices=["slot01"])
    assert run["status"] == "running"
    assert (run["current_mode"], run["remaining_modes"]) == ("CA", ["OCP"])
    seen = []
    while (status := bench.status(run["run_id"]))["status"] == "running":
        seen.append((status["progress_pct"], status["remaining_s"], status["current_mode"]))
        time.sleep(0.05)
    percents = [percent for percent, _, _ in seen]
    assert percents == sorted(percents)
    assert max(percents) <= 99
    assert seen[-1][2] == "OCP"
    assert {mode for _, _, mode in seen} == {"CA", "OCP"}
    assert (status["progress_pct"], status["remaining_s"]) == (100, 0)


def test_live_stream_carries_the_growing_curve(bench: Bench) -> None:
    run = bench.start(devices=["slot01"], **long_ca(1.0))
    points = 0
    with bench.client.stream("GET", f"/runs/{run['run_id']}/live") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith("data: {"):
                columns = json.loads(line[6:])["columns"]
                points += len(columns["Current (A)"])
                if points > 20:
                    break
    assert points > 20
    bench.end_of(run["run_id"])


# -- restarts ----------------------------------------------------------------------------------


def test_finished_runs_stay_listed_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_bench(tmp_path, monkeypatch) as bench:
        run = bench.end_of(bench.start()["run_id"])
    with open_bench(tmp_path, monkeypatch) as bench:
        assert bench.status(run["run_id"]) == run
        assert len(bench.rows(run)) == 834


def test_clean_stop_makes_safe_and_fails_running_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_bench(tmp_path, monkeypatch) as bench:
        run = bench.start(**long_ca())
        until(lambda: has_begun(bench, run["run_id"]))
    with open_bench(tmp_path, monkeypatch) as bench:
        status = bench.status(run["run_id"])
        assert status["status"] == "failed"
        assert {slot["message"] for slot in status["slots"]} == {"server stopped"}
        away = bench.client.get("/away").json()["last_stop"]
        assert (away["unclean"], away["interrupted_jobs"]) == (False, [run["run_id"]])


def test_runs_of_an_older_server_are_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "data/runs/Old/2024-01-01T10-00-00/Wells/slot03/CV"
    folder.mkdir(parents=True)
    (folder / "old.csv").write_text("Time (s)\r\n0.0\r\n")
    index = {"20240101T100000_abcdef": "Old/2024-01-01T10-00-00", "evil": "../../..", "..": "Old"}
    (tmp_path / "data/runs/_run_paths.json").write_text(json.dumps(index))
    with open_bench(tmp_path, monkeypatch) as bench:
        assert [run["run_id"] for run in bench.client.get("/jobs").json()] == [
            "20240101T100000_abcdef"
        ]
        files = bench.client.get("/runs/20240101T100000_abcdef/files").json()["files"]
        assert files == ["Wells/slot03/CV/old.csv"]


def test_lost_database_finds_runs_again_from_their_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_bench(tmp_path, monkeypatch) as bench:
        run = bench.end_of(bench.start()["run_id"])
    (tmp_path / "data/benchwire.db").write_bytes(b"damaged" * 1000)
    with open_bench(tmp_path, monkeypatch) as bench:
        assert bench.client.get("/away").json()["database_set_aside"].startswith("benchwire.db.")
        assert bench.status(run["run_id"]) == run


def test_no_instrument_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_bench(tmp_path, monkeypatch) as bench:
        bench.emulators.control("p1", "unplug")
        bench.emulators.control("p2", "unplug")
        until(lambda: bench.client.get("/health").json()["devices"] == 0)
        assert bench.client.post("/admin/rescan").json() == {"devices": []}
        assert bench.client.get("/devices").json() == []
        assert bench.client.get("/modes").json()["code"] == "devices.unavailable"
        assert bench.client.get("/modes/CV/params").status_code == 503
        assert bench.client.post("/modes/CV/validate", json={}).status_code == 200


def test_zip_of_large_run_is_readable(bench: Bench) -> None:
    import zipfile

    run = bench.end_of(bench.start("CA", "CA")["run_id"])
    content = bench.client.get(f"/runs/{run['run_id']}/zip").content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = [name for slot in run["slots"] for name in slot["files"]]
        assert sorted(archive.namelist()) == sorted([*names, "run.json"])


def test_a_repeated_run_is_measured_on_what_the_former_is_linked_to_now(bench: Bench) -> None:
    for barcode in ("P1", "P2"):
        plate = {"barcode": barcode, "rows": 1, "columns": 2}
        assert bench.client.post("/api/v1/plates", json={"plate": plate}).status_code == 201
    samples = {"slot01": "P1/A1", "slot02": "P2/A1"}
    first = bench.start(sample="wrong", samples=samples)["run_id"]
    bench.end_of(first)
    wrong = next(link for link in links_of(bench, first) if link["sample"] == "wrong")
    bench.client.delete(f"/samples/links/{wrong['id']}").raise_for_status()
    later = {"sample": "S-1", "kind": "run", "item_id": first, "part": "slot02"}
    assert bench.client.post("/samples/links", json=later).status_code == 201
    renamed = bench.client.patch("/api/v1/plates/P1", json={"plate": {"barcode": "New"}})
    assert renamed.status_code == 200
    bench.client.delete("/api/v1/plates/P2").raise_for_status()
    answer = bench.client.post(f"/work/{first}/retry")
    assert answer.status_code == 200, answer.text
    again = answer.json()["id"]
    bench.end_of(again)
    links = links_of(bench, again)
    assert {(link["part"], link["sample"], link["plate"]) for link in links} == {
        ("slot01", "New/A1", "New"), ("slot02", "P2/A1", "P2"), ("slot02", "S-1", None),
    }  # fmt: skip
    assert {link["named_by"] for link in links} == {"testclient"}
    summary = bench.client.get(f"/runs/{again}/file", params={"path": "run.json"}).json()
    assert summary["request"]["sample"] is None
    assert summary["request"]["samples"] == {"slot01": "New/A1", "slot02": "S-1"}


def links_of(bench: Bench, run_id: str) -> list[dict[str, Any]]:
    answer = bench.client.get("/samples/links", params={"kind": "run", "item_id": run_id})
    links: list[dict[str, Any]] = answer.json()["links"]
    return links


def test_a_plot_that_fails_in_any_way_leaves_a_run_that_is_done(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker may raise what it likes, as after an upgrade under a running server."""
    failed: Future[None] = Future()
    failed.set_exception(KeyError("columns"))
    workers = bench.potentiostats.parts.workers
    monkeypatch.setattr(type(workers), "submit", lambda *_, **__: failed)
    run = bench.end_of(bench.start(devices=["slot01"], make_plot=True)["run_id"])
    (slot,) = run["slots"]
    assert (slot["status"], slot["message"]) == (
        "done", "The data are complete; a plot could not be drawn",
    )  # fmt: skip
    until(
        lambda: bench.potentiostats.jobs.get(run["run_id"]).state.value == "done",
        what="the job's end",
    )
    bench.end_of(bench.start(devices=["slot01"])["run_id"])


@pytest.mark.parametrize(
    ("reason", "status", "message"),
    [
        (
            StopReason.CANCELLED,
            "cancelled",
            "cancelled; The data are complete; a plot could not be drawn",
        ),
        (StopReason.SHUTDOWN, "done", "The data are complete; a plot could not be drawn"),
    ],
)
def test_a_stop_is_heard_while_plots_are_drawn(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, reason: StopReason, status: str, message: str
) -> None:
    asked: list[Future[None]] = []

    def never_drawn(*_: Any, **__: Any) -> Future[None]:
        asked.append(Future())
        return asked[-1]

    monkeypatch.setattr(type(bench.potentiostats.parts.workers), "submit", never_drawn)
    run = bench.start(devices=["slot01"], make_plot=True)["run_id"]
    until(lambda: asked, what="the plot being asked for")
    time.sleep(0.3)
    assert bench.status(run)["status"] == "running"
    if reason is StopReason.CANCELLED:
        assert bench.client.post(f"/jobs/{run}/cancel").json()["status"] == "cancelled"
    else:
        bench.potentiostats._active[run].stop(reason)
    ended = bench.end_of(run, 2.0)
    (slot,) = ended["slots"]
    assert (ended["status"], slot["status"], slot["message"]) == (status, status, message)
    assert len(bench.rows(ended)) == 1 + 833
    until(lambda: bench.potentiostats.jobs.get(run).state.value == status, what="the job's end")
    bench.end_of(bench.start(devices=["slot01"], make_plot=False)["run_id"])


@pytest.mark.parametrize("fault", ["unplug", "kill"])
def test_a_filter_that_a_spectrum_has_altered_is_restored(bench: Bench, fault: str) -> None:
    """An instrument with a supply of its own keeps it, and the next run would be filtered so."""
    lengths = bench.true_state()["averaging"]
    spectrum = {**PARAMETERS["EIS"], "end_freq": 0.5}
    run_id = bench.start("EIS", devices=["slot01"], params_by_mode={"EIS": spectrum})["run_id"]
    until(lambda: bench.true_state()["averaging"][:2] == [1, 1], what="the spectrum's filter")
    if fault == "unplug":
        bench.emulators.control("p1", "unplug")
    else:
        # Other tests of the module may still have a server.
        holders = children_named(psutil.Process(), "potentiostat.holding")
        max(holders, key=psutil.Process.create_time).kill()
    assert bench.end_of(run_id)["status"] == "failed"
    bench.emulators.control("p1", "replug")
    until(lambda: bench.true_state()["averaging"] == lengths, seconds=10, what="the former filter")
    until(lambda: len(bench.client.get("/devices").json()) == 2, what="the instrument")
    assert bench.end_of(bench.start(devices=["slot01"])["run_id"])["status"] == "done"


def test_an_instrument_that_samples_in_another_rhythm_is_told_of(bench: Bench) -> None:
    parameters = {"CA": CA, "OCP": {"duration": 0.3}}
    for tick, modes, told in [
        (363, ("CA", "OCP"), None),
        (400, ("CA",), "a sample every 400 \N{MICRO SIGN}s"),
        (330, ("OCP", "CA"), "a sample every 330 \N{MICRO SIGN}s"),
    ]:
        bench.emulators.control("p1", "tick", microseconds=tick)
        started = bench.start(*modes, devices=["slot01"], params_by_mode=parameters)
        (slot,) = bench.end_of(started["run_id"])["slots"]
        assert slot["status"] == "done"
        message = slot["message"]
        assert message is None if told is None else message.count(told) == 1
        path = f"/runs/{started['run_id']}/file"
        summary = bench.client.get(path, params={"path": "run.json"}).json()
        assert summary["slots"][0]["message"] == message


def test_a_run_whose_files_cannot_be_listed_ends(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> bool:
        raise OSError(errno.EIO, "Input/output error", path)

    monkeypatch.setattr(run_folder, "_is_data", refuse)
    run = bench.start(devices=["slot01"])["run_id"]
    until(lambda: bench.potentiostats.jobs.get(run).state.is_final, seconds=20, what="its end")
    assert bench.status(run)["slots"][0]["status"] == "done"
    monkeypatch.undo()
    until(lambda: run not in bench.potentiostats._active, seconds=20, what="its stored end")
    bench.end_of(bench.start(devices=["slot01"])["run_id"])


@pytest.mark.parametrize("is_whole_folder", [False, True])
def test_a_run_whose_table_was_removed_is_not_called_done(
    bench: Bench, is_whole_folder: bool
) -> None:
    run = bench.start(devices=["slot01"])["run_id"]
    folder = bench.potentiostats.folder(run)
    until(lambda: [*folder.path.rglob("*.csv")], what="its table")
    (table,) = folder.path.rglob("*.csv")
    if is_whole_folder:
        shutil.rmtree(folder.path)
    else:
        table.unlink()
    slot = bench.end_of(run)["slots"][0]
    assert (slot["status"], slot["files"]) == ("failed", [])
    assert slot["message"] == f"Removed by somebody during the run: {table.name}"
    until(lambda: run not in bench.potentiostats._active, seconds=1.0, what="its stored end")
    assert folder.path.exists() is folder.has_summary is not is_whole_folder
    assert bench.end_of(bench.start(devices=["slot01"])["run_id"])["status"] == "done"


def cut_short(bench: Bench) -> str:
    """Have the records say that a run which has ended is still under way; return its id."""
    run = bench.end_of(bench.start(devices=["slot01"])["run_id"])["run_id"]
    store = bench.potentiostats.parts.store
    record = store.get_many([run])[run]
    slots = tuple(replace(slot, status="running", ended_at=None) for slot in record.slots)
    store.end_run(replace(record, status="running", slots=slots, ended_at=None))
    return run


def test_a_run_that_ended_keeps_its_end_where_its_records_are_older(bench: Bench) -> None:
    run = cut_short(bench)
    summary = bench.potentiostats.folder(run).summary
    before = summary.read_bytes()
    found = bench.potentiostats._settle_interrupted(bench.potentiostats.jobs.get(run))
    assert found.state.value == bench.status(run)["status"] == "done"
    assert summary.read_bytes() == before


def test_a_run_is_settled_where_its_files_cannot_be(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = cut_short(bench)
    bench.potentiostats.folder(run).summary.unlink()

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("benchwire.domains.potentiostat.service.drop_half_row", refuse)
    monkeypatch.setattr("benchwire.domains.potentiostat.service.write_summary", refuse)
    job = replace(bench.potentiostats.jobs.get(run), state=JobState.RUNNING)
    found = bench.potentiostats._settle_interrupted(job)
    assert found.state.value == bench.status(run)["status"] == "failed"


def test_a_table_that_a_person_put_there_is_left_as_it_is(bench: Bench) -> None:
    run = cut_short(bench)
    folder = bench.potentiostats.folder(run)
    folder.summary.unlink()
    (name,) = (name for name in folder.files() if name.endswith(".csv"))
    table = folder.path / name
    rows = table.read_bytes()
    table.write_bytes(rows + b"0.5,0.")
    notes = table.with_name("notes.csv")
    notes.write_text("a,b\n1,2")
    bench.potentiostats._settle_interrupted(bench.potentiostats.jobs.get(run))
    assert table.read_bytes() == rows
    assert notes.read_text() == "a,b\n1,2"


def test_no_run_is_repeated_on_another_instrument(bench: Bench) -> None:
    run = bench.end_of(bench.start(devices=["slot01"])["run_id"])["run_id"]
    until(lambda: bench.potentiostats.jobs.get(run).state.is_final, what="the end of its job")
    assert bench.client.post(f"/work/{run}/retry").status_code == 200
    slot = next(slot for slot in bench.potentiostats.slots.all() if slot.name == "slot01")
    until(lambda: slot.run_id is None, seconds=20, what="the end of the repeated run")
    slot.instrument.serial_number = "another"
    answer = bench.client.post(f"/work/{run}/retry")
    assert answer.status_code == 409
    assert "Another instrument is on slot01" in answer.text


def test_another_instrument_on_a_port_gets_a_slot_by_its_own_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_bench(tmp_path, monkeypatch) as bench:
        first, second = (slot.serial_number for slot in bench.potentiostats.slots.all())
        path, other = bench.emulators.paths.values()
        for name in ("p1", "p2"):
            bench.emulators.control(name, "unplug")
        until(lambda: bench.client.get("/health").json()["devices"] == 0, seconds=20)
        bench.emulators.control("p2", "replug")
        pty = other.readlink()
        other.unlink()
        path.symlink_to(pty)

        def connected() -> list[str | None]:
            return [slot.serial_number for slot in bench.potentiostats.slots.connected()]

        until(lambda: connected() == [second], seconds=30, what="the other instrument")
        assert first != second


def test_a_run_of_which_only_the_whole_end_is_not_stored_is_done(bench: Bench) -> None:
    run = bench.end_of(bench.start(devices=["slot01"])["run_id"])["run_id"]
    store = bench.potentiostats.parts.store
    record = store.get_many([run])[run]
    store.end_run(replace(record, status="running", ended_at=None))
    bench.potentiostats.folder(run).summary.unlink()
    found = bench.potentiostats._settle_interrupted(bench.potentiostats.jobs.get(run))
    assert found.state.value == bench.status(run)["status"] == "done"
    assert store.get_many([run])[run].ended_at == record.slots[0].ended_at
    path = bench.potentiostats.folder(run).summary
    assert json.loads(path.read_text("utf-8"))["status"] == "done"


def test_the_end_of_one_slot_undoes_nothing_of_another(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database is slow to store that one has failed, and another goes on meanwhile."""
    store = bench.potentiostats.parts.store
    real, gate = store.save_slot_later, threading.Event()

    def slow(run_id: str, record: Any) -> Future[None]:
        if record.status != "failed":
            return real(run_id, record)
        late: Future[None] = Future()

        def give() -> None:
            gate.wait(10)
            late.set_result(real(run_id, record).result())

        threading.Thread(target=give).start()
        return late

    monkeypatch.setattr(type(store), "save_slot_later", lambda _, *given: slow(*given))
    parameters = {"CA": {"potential": 0.1, "duration": 1.0}, "OCP": {"duration": 1.0}}
    run = bench.start("CA", "OCP", params_by_mode=parameters)["run_id"]
    bench.emulators.control("p1", "unplug")
    active = bench.potentiostats._active[run]
    until(lambda: active.record.slots[1].mode_number == 1, what="the next mode of the other")
    gate.set()
    until(lambda: active.record.slots[0].status == "failed", what="the end of the first")
    assert active.record.slots[1].mode_number == 1
    slots = bench.end_of(run)["slots"]
    assert [slot["status"] for slot in slots] == ["failed", "done"]
    bench.emulators.control("p1", "replug")


def test_a_cancel_while_the_end_is_written_is_told_that_end(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes minutes to go through large files."""
    begun, gate, real = threading.Event(), threading.Event(), run_module.write_summary

    def slow(*given: Any) -> None:
        begun.set()
        gate.wait(10)
        real(*given)

    monkeypatch.setattr(run_module, "write_summary", slow)
    run = bench.start(devices=["slot01"])["run_id"]
    try:
        assert begun.wait(20)
        assert bench.client.post(f"/jobs/{run}/cancel").json()["status"] == "done"
        bench.client.post(f"/work/{run}/cancel")
    finally:
        gate.set()
    assert bench.end_of(run)["status"] == "done"
    jobs = bench.potentiostats.jobs
    until(lambda: jobs.get(run).state.is_final, what="the end of the job")
    assert jobs.get(run).state.value == "done"


def test_no_slot_waits_for_the_end_of_another_to_be_stored(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database is slow; all slots are cancelled, and each is free as soon as it may be."""
    store = bench.potentiostats.parts.store
    real, gate = store.save_slot_later, threading.Event()
    asked: list[str] = []

    def slow(_: Any, run_id: str, record: Any) -> Future[None]:
        if record.status != "cancelled":
            return real(run_id, record)
        asked.append(record.slot)
        late: Future[None] = Future()
        threading.Thread(target=lambda: (gate.wait(10), late.set_result(None))).start()
        return late

    monkeypatch.setattr(type(store), "save_slot_later", slow)
    run = bench.start("CA", params_by_mode=long_ca()["params_by_mode"])["run_id"]
    until(lambda: has_begun(bench, run))
    bench.client.post(f"/jobs/{run}/cancel")
    try:
        until(lambda: len(asked) == 2, seconds=5, what="both ends on their way to the disk")
    finally:
        gate.set()
    ended = bench.end_of(run, 5)
    assert [slot["status"] for slot in ended["slots"]] == ["cancelled", "cancelled"]


@pytest.mark.parametrize("has_summary", [True, False])
def test_a_run_whose_end_was_not_stored_before_the_server_ended_has_one(
    bench: Bench, has_summary: bool
) -> None:
    """Its job had ended, so that nobody else asks for it at the next start."""
    run = bench.end_of(bench.start(devices=["slot01"])["run_id"])["run_id"]
    store = bench.potentiostats.parts.store
    before = store.get_many([run])[run]
    slots = tuple(replace(slot, status="running", ended_at=None, files=()) for slot in before.slots)
    store.end_run(replace(before, status="queued", slots=slots, ended_at=None))
    if not has_summary:
        bench.potentiostats.folder(run).summary.unlink()
    bench.potentiostats.settle_left_behind()
    after = store.get_many([run])[run]
    assert (after.status, after.slots[0].status, after.slots[0].message) == ("done", "done", None)
    assert after.slots[0].files == before.slots[0].files
    assert after.ended_at is not None
    assert json.loads(bench.potentiostats.folder(run).summary.read_text())["status"] == "done"


def test_a_run_whose_disk_is_away_at_its_end_is_done_once_that_is_back(bench: Bench) -> None:
    root = bench.potentiostats.runs_root
    away = root.with_name("away")
    run = bench.start("OCP", devices=["slot01"], params_by_mode={"OCP": {"duration": 1.5}})
    until(lambda: has_begun(bench, run["run_id"]))
    root.rename(away)
    active = bench.potentiostats._active[run["run_id"]]
    until(lambda: active.outcome == "done", what="its end")
    away.rename(root)
    folder = bench.potentiostats.folder(run["run_id"])
    until(folder.summary.is_file, what="the summary")
    until(lambda: bench.status(run["run_id"])["slots"][0]["files"], what="its files")
    ended = bench.status(run["run_id"])
    assert ended["status"] == "done"
    assert len(bench.rows(ended, mode="OCP")) == 1 + int(1.5 / 0.00036)


def test_a_key_whose_first_run_is_found_at_the_last_moment_holds_no_slot(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database had not said that it was stored, and has it by the second request."""
    key = {"Idempotency-Key": "again"}
    body = {"devices": ["slot01"], "modes": ["CA"], "params_by_mode": {"CA": CA},
            "experiment_name": "Key", "client_datetime": "2026-01-01T00:00:00"}  # fmt: skip
    first = bench.client.post("/jobs", json=body, headers=key).json()["run_id"]
    bench.end_of(first)
    jobs = bench.potentiostats.jobs
    until(lambda: jobs.get(first).state.is_final, what="the end of its job")
    monkeypatch.setattr(type(jobs), "find", lambda *_: None)
    again = bench.client.post("/jobs", json=body, headers=key)
    assert again.json()["run_id"] == first
    assert not bench.potentiostats._active
    assert all(slot.run_id is None for slot in bench.potentiostats.slots.all())
    other = {**body, "experiment_name": "Another"}
    assert bench.client.post("/jobs", json=other, headers=key).status_code == 409
    assert not bench.potentiostats._active
