"""Samples, work, search, notices and exports over all domains, on a real server."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from benchwire.foundation.samples.names import Sample
from benchwire.home.catalogue import Catalogue
from tests.home.conftest import House
from tests.support import crate_validator
from tests.support.battery import DEVICE
from tests.support.waiting import until

NASTY = "<img src=x onerror=alert(1)>"


def kinds_of(answer: dict[str, Any]) -> set[tuple[str, str]]:
    return {(item["kind"], item["id"]) for item in answer["items"]}


# -- samples ---------------------------------------------------------------------------------


def test_a_well_shows_all_that_was_measured_on_it_across_domains(house: House) -> None:
    house.plate("TIE1")
    run_id = house.measure(samples={"slot01": "TIE1/a1", "slot02": {"plate": "TIE1", "well": "B3"}})
    workflow = house.process("tie1", samples={"0": "TIE1/A1", "1": "S-17"})
    fit = house.fit(house.traces_csv("tie1.csv"), sample="TIE1/A1")
    assert house.links("run", run_id) == [("slot01", "TIE1/A1"), ("slot02", "TIE1/B3")]
    assert house.links("workflow", workflow) == [("0", "TIE1/A1"), ("1", "S-17")]
    found = house.get("/samples/items", sample="TIE1/A1")["items"]
    assert [(item["kind"], item["item_id"], item["part"]) for item in found] == [
        ("fit", fit, ""), ("workflow", workflow, "0"), ("run", run_id, "slot01"),
    ]  # fmt: skip
    assert found[2]["item"]["title"] == "Ferrocene: CA"
    assert found[2]["item"]["page"] == f"/potentiostat/run/{run_id}"
    assert [item["item"]["state"] for item in found] == ["completed", "completed", "done"]
    summary = house.client.get(f"/runs/{run_id}/file", params={"path": "run.json"}).json()
    assert summary["request"]["samples"] == {"slot01": "TIE1/A1", "slot02": "TIE1/B3"}


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"samples": {"slot01": "NONE/A1"}}, 400),
        ({"samples": {"slot01": "TIE2/H12"}}, 400),
        ({"samples": {"slot09": "S-1"}}, 422),
        ({"samples": {"slot01": ""}}, 400),
        ({"sample": {"plate": "TIE2", "well": "top"}}, 400),
        ({"samples": {"slot01": "x" * 201}}, 400),
    ],
)
def test_a_run_on_a_sample_that_is_not_there_is_refused_and_holds_no_slot(
    house: House, fields: dict[str, Any], status: int
) -> None:
    if not house.client.get("/api/v1/plates/TIE2").is_success:
        house.plate("TIE2")
    before = house.get("/jobs")
    answer = house.post("/jobs", house.run_body(**fields), status=status)
    assert set(answer) == {"code", "message", "hint"}
    assert house.get("/jobs") == before
    assert all(slot["run_id"] is None for slot in house.get("/devices/status"))


@pytest.mark.parametrize(
    "fields", [{"samples": ["S-1"]}, {"sample": 7}, {"samples": {"slot01": 7}}]
)
def test_samples_of_another_shape_are_refused(house: House, fields: dict[str, Any]) -> None:
    answer = house.post("/jobs", house.run_body(**fields), status=422)
    assert {"code", "message", "hint"} <= set(answer)


def test_a_workflow_refuses_samples_in_its_own_words(house: House) -> None:
    start = "/api/v1/processing/workflow/start"
    for samples in ({"2": "S-1"}, {"0": "NONE/A1"}, {"first": "S-1"}):
        body = house.workflow_body("refused", samples=samples)
        answer = house.post(start, body, status=400)
        assert set(answer) == {"success", "error", "error_code"}
    assert not (house.area / "refused").exists()


def test_a_sample_is_named_later_and_taken_back(house: House) -> None:
    run_id = house.measure()
    assert house.links("run", run_id) == []
    body = {"sample": NASTY, "kind": "run", "item_id": run_id}
    link = house.post("/samples/links", body, status=201)
    assert house.post("/samples/links", body, status=201) == link
    assert house.links("run", run_id) == [("", NASTY)]
    listed = house.get("/samples", search="onerror")["samples"]
    assert [(item["sample"], item["items"]) for item in listed] == [(NASTY, 1)]
    house.ask("DELETE", f"/samples/links/{link['id']}")
    assert house.links("run", run_id) == []
    house.ask("DELETE", f"/samples/links/{link['id']}", status=404)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"sample": "S-1", "kind": "run", "item_id": "none"}, 404),
        ({"sample": "S-1", "kind": "dream", "item_id": "1"}, 404),
        ({"sample": "S-1", "kind": "movie", "item_id": "/etc/passwd"}, 403),
        ({"sample": "", "kind": "meter", "item_id": "meter1"}, 400),
        ({"sample": "S-1", "kind": "meter"}, 422),
        ({"sample": "S-1", "kind": "meter", "item_id": "meter1", "colour": "red"}, 422),
    ],
)
def test_naming_what_is_not_there_is_refused(
    house: House, body: dict[str, Any], status: int
) -> None:
    assert set(house.post("/samples/links", body, status=status)) == {"detail"}


@pytest.mark.parametrize(
    ("part", "status"),
    [
        ("slot99\n\u202e", 400), ("\0", 400), ("\x7f", 400), (" ", 400), ("slot02", 422),
        ("slot99", 422), ("x" * 81, 422), (" slot01 ", 201), ("", 201),
    ],
)  # fmt: skip
def test_a_part_is_one_that_the_run_has(house: House, part: str, status: int) -> None:
    run_id = house.measure(devices=["slot01"])
    body = {"sample": "Part", "kind": "run", "item_id": run_id, "part": part}
    house.post("/samples/links", body, status=status)
    assert house.links("run", run_id) == ([(part.strip(), "Part")] if status == 201 else [])


@pytest.mark.parametrize(
    ("kind", "item_id"), [("meter", "meter1"), ("slot", "slot01"), ("device", DEVICE)]
)
def test_what_has_no_parts_is_named_as_a_whole(house: House, kind: str, item_id: str) -> None:
    body = {"sample": "Whole", "kind": kind, "item_id": item_id, "part": "left"}
    house.post("/samples/links", body, status=422)


def test_what_was_measured_on_a_sample_comes_in_pages(house: House) -> None:
    samples = house.app.lab.samples
    for number in range(5):
        samples.link(Sample("Often"), "run", f"gone-{number}")

    def page(**asked: int) -> list[str]:
        found = house.get("/samples/items", sample="Often", **asked)["items"]
        return [item["item_id"] for item in found]

    assert page(limit=2) == ["gone-4", "gone-3"]
    assert page(limit=2, offset=3) == ["gone-1", "gone-0"]
    assert len(page()) == 5


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/samples/links/99999999999999999999999"),
        ("DELETE", "/samples/links/-99999999999999999999999"),
        ("DELETE", "/samples/links/2147483648"),
        ("GET", "/samples?offset=99999999999999999999999"),
        ("GET", "/samples/items?sample=S-1&offset=99999999999999999999999"),
        ("GET", "/samples/items?sample=S-1&limit=99999999999999999999999"),
        ("GET", "/work?limit=99999999999999999999999"),
        ("GET", "/search?q=a&limit=99999999999999999999999"),
    ],
)
def test_numbers_that_no_database_holds_are_refused(house: House, method: str, path: str) -> None:
    assert set(house.ask(method, path, status=422)) == {"detail"}


def test_every_kind_can_be_named_with_a_sample(house: House) -> None:
    plate = house.plate("TIE3")
    for kind, item_id in [
        ("meter", "meter1"), ("slot", "slot01"), ("device", DEVICE), ("plate", "TIE3"),
        ("well", "TIE3/A2-2"), ("movie", str(house.area / "cells.ome.tif")),
    ]:  # fmt: skip
        body = {"sample": "All", "kind": kind, "item_id": item_id}
        assert house.post("/samples/links", body, status=201)["item_id"] == item_id
    found = house.get("/samples/items", sample="All")["items"]
    assert len(found) == 6
    assert all(item["item"]["title"] for item in found)
    assert plate["barcode"] == "TIE3"


def test_what_a_deleted_plate_was_measured_with_stays_listed(house: House) -> None:
    house.plate("TIE4")
    run_id = house.measure(samples={"slot01": "TIE4/A1"})
    house.ask("DELETE", "/api/v1/plates/TIE4", status=200)
    (found,) = house.get("/samples/items", sample="TIE4/A1")["items"]
    assert found["item_id"] == run_id


def test_a_charge_takes_the_sample_that_its_meter_is_named_with(house: House) -> None:
    link = house.post(
        "/samples/links", {"sample": "Cell 9", "kind": "meter", "item_id": "meter2"}, status=201
    )
    meter = house.emulators["powermeter"]
    settings = {"session_threshold_a": 0.4, "session_end_delay_s": 1}
    house.ask("POST", "/api/config", json=settings, params={"meter": "meter2"})
    try:
        meter.control("p2", "set", voltage=5.0, current=0.0, power=0.0)
        until(lambda: not open_sessions(house), seconds=20, what="no charge")
        meter.control("p2", "set", voltage=5.0, current=1.0, power=5.0)
        until(lambda: open_sessions(house), seconds=20, what="a charge")
        until(lambda: open_sessions(house)[0]["duration_s"] > 0.5, what="some readings")
        (session,) = open_sessions(house)
        assert house.links("session", session["id"]) == [("", "Cell 9")]
        house.get(f"/crates/session/{session['id']}", status=409)
        meter.control("p2", "set", voltage=5.0, current=0.0, power=0.0)
        until(lambda: not open_sessions(house), seconds=20, what="the end of the charge")
    finally:
        meter.control("p2", "free")
        house.ask("DELETE", f"/samples/links/{link['id']}")
    found = house.get("/search", q=session["id"])["items"]
    assert [(item["kind"], item["id"]) for item in found] == [("session", session["id"])]
    names = crate(house, "session", session["id"])
    assert {"readings.csv", "readings.parquet", "session.json"} <= set(names)
    rows = names["readings.csv"].decode().splitlines()
    assert rows[0].startswith("time_utc,")
    assert len(rows) > 2


def open_sessions(house: House) -> list[dict[str, Any]]:
    found = house.get("/api/sessions", meter="meter2")
    return [session for session in found if session["reason"] is None]


# -- search ----------------------------------------------------------------------------------


def test_search_finds_things_of_every_domain(house: House) -> None:
    plate = house.plate("Needle-7")
    solution = house.post(
        "/api/v1/stock_solutions", {"stock_solution": {"name": "Needle buffer"}}, status=201
    )
    run_id = house.measure(experiment_name="Needle test", group_id="needles")
    fit = house.fit(house.traces_csv("needle.csv"))
    found = kinds_of(house.get("/search", q="nEEdle"))
    assert {
        ("plate", plate["barcode"]), ("solution", str(solution["id"])), ("run", run_id),
        ("fit", fit),
    } <= found  # fmt: skip
    only = kinds_of(house.get("/search", q="needle", kind=["run", "fit"]))
    assert only == {("run", run_id), ("fit", fit)}
    assert kinds_of(house.get("/search", q="Needle-7/b2")) == {("well", "Needle-7/B2")}
    assert ("device", DEVICE) in kinds_of(house.get("/search", q=DEVICE[:8].lower()))
    assert ("meter", "meter1") in kinds_of(house.get("/search", q="meter1"))
    slots = kinds_of(house.get("/search", q="slot02"))
    assert {("slot", "slot02"), ("run", run_id)} <= slots
    movie = str(house.area / "cells.ome.tif")
    house.post("/api/v1/processing/load-metadata", {"file_path": movie})
    assert ("movie", movie) in kinds_of(house.get("/search", q="cells.ome"))


def test_every_item_found_has_a_page_and_an_api_that_answer(house: House) -> None:
    house.measure(experiment_name="Linked")
    for text in ("Linked", "meter", "slot", DEVICE):
        for item in house.get("/search", q=text)["items"]:
            assert item["page"].startswith("/")
            if item["api"] is not None and item["kind"] != "movie":
                assert house.client.get(item["api"]).status_code == 200, item


@pytest.mark.parametrize(
    "text", ["", "   ", "%", "_", "'; DROP TABLE x; --", "\\", NASTY, "x" * 900]
)
def test_search_takes_any_text_as_it_stands(house: House, text: str) -> None:
    found = house.get("/search", q=text)["items"]
    for item in found:
        assert text.strip().lower() in json.dumps(item, ensure_ascii=False).lower()


def test_names_are_found_in_any_case_of_their_letters(house: House) -> None:
    run_id = house.measure(experiment_name="SÜDFLÜGEL")
    assert ("run", run_id) in kinds_of(house.get("/search", q="südfl"))
    house.post(
        "/samples/links", {"sample": "Probe ÄÖ", "kind": "run", "item_id": run_id}, status=201
    )
    assert [one["sample"] for one in house.get("/samples", search="äö")["samples"]] == ["Probe ÄÖ"]


def test_work_is_found_by_values_and_not_by_names_of_parameters(house: House) -> None:
    fit = house.fit(house.traces_csv("values.csv"))
    assert ("fit", fit) in kinds_of(house.get("/search", q="values.CSV", kind="fit"))
    for name in ("csv_path", "model_type"):
        assert house.get("/search", q=name, kind=["fit", "workflow"])["items"] == []


def test_search_refuses_an_endless_text(house: House) -> None:
    assert set(house.get("/search", q="x" * 1001, status=422)) == {"detail"}


# -- work ------------------------------------------------------------------------------------


def test_work_of_all_domains_is_one_list_newest_first(house: House) -> None:
    first = house.measure()
    second = house.fit(house.traces_csv("work.csv"))
    jobs = house.get("/work", limit=2)["jobs"]
    assert [(job["id"], job["domain"]) for job in jobs] == [
        (second, "traces"), (first, "potentiostat"),
    ]  # fmt: skip
    assert jobs[0]["item"]["page"] == f"/traces/fit/{second}"
    assert all(job["can_retry"] and not job["can_cancel"] for job in jobs)
    assert house.get("/work", limit=1, before=second)["jobs"][0]["id"] == first
    only = house.get("/work", domain="potentiostat", state=["done", "failed"])["jobs"]
    assert {job["domain"] for job in only} == {"potentiostat"}
    assert house.get("/work", state="queued")["jobs"] == []
    assert house.get("/work", domain="none")["jobs"] == []


def test_work_is_cancelled_and_done_again_from_the_list(house: House) -> None:
    house.plate("TIE5")
    long = house.run_body(
        params_by_mode={"CA": {"potential": 0.5, "duration": 300.0}},
        samples={"slot02": "TIE5/A1"},
    )
    run_id = house.post("/jobs", long)["run_id"]
    until(lambda: house.get(f"/work/{run_id}")["state"] == "running", what="the run")
    house.post(f"/work/{run_id}/retry", status=409)
    assert house.get("/work", state="running")["jobs"][0]["can_cancel"]
    house.post(f"/work/{run_id}/cancel")
    assert house.ended(run_id)["state"] == "cancelled"
    assert house.post(f"/work/{run_id}/cancel")["state"] == "cancelled"
    again = house.post(f"/work/{run_id}/retry")["id"]
    assert house.links("run", again) == [("slot02", "TIE5/A1")]
    house.post(f"/work/{again}/cancel")
    house.ended(again)


@pytest.mark.parametrize("path", ["/work/none", "/work?before=none"])
def test_unknown_work_is_not_found(house: House, path: str) -> None:
    assert set(house.ask("GET", path, status=404)) == {"detail"}


# -- notices ---------------------------------------------------------------------------------


def test_an_instrument_that_is_pulled_is_a_notice_until_it_is_back(house: House) -> None:
    assert not [item for item in notices(house) if "slot01" in item["text"]]
    house.emulators["potentiostat"].control("p1", "unplug")
    until(lambda: any("slot01" in item["text"] for item in notices(house)), what="the notice")
    (notice,) = [item for item in notices(house) if "slot01" in item["text"]]
    assert notice["level"] == "error"
    assert notice["page"] == "/potentiostat"
    house.emulators["potentiostat"].control("p1", "replug")
    until(lambda: len(house.get("/devices")) == 2, seconds=20, what="both slots")
    assert not [item for item in notices(house) if "slot01" in item["text"]]


def notices(house: House) -> list[dict[str, Any]]:
    return house.get("/notices")["notices"]


# -- exports ---------------------------------------------------------------------------------


def crate(house: House, kind: str, item_id: str) -> dict[str, bytes]:
    answer = house.client.get(f"/crates/{kind}/{quote(item_id, safe='')}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def findings(answer: bytes, folder: Path) -> list[str]:
    path = folder / "crate.zip"
    path.write_bytes(answer)
    return crate_validator.findings(path, crate_validator.PROCESS_RUN, "REQUIRED")


def test_what_can_be_exported_is_what_the_link_says(house: House) -> None:
    catalogue = Catalogue(house.app.lab, house.app.domains)

    def is_told_right(kind: str, item_id: str) -> bool:
        answer = house.client.get(f"/crates/{kind}/{quote(item_id, safe='')}")
        assert answer.status_code in {200, 409}, answer.text
        can = catalogue.can_export(catalogue.item(kind, item_id))
        assert can is (answer.status_code == 200)
        return can

    long = {"CA": {"potential": 0.5, "duration": 300.0}}
    run_id = house.post("/jobs", house.run_body(params_by_mode=long))["run_id"]
    until(lambda: house.get(f"/work/{run_id}")["state"] == "running", what="the run")
    assert not is_told_right("run", run_id)
    house.post(f"/work/{run_id}/cancel")
    assert house.ended(run_id)["state"] == "cancelled"
    assert is_told_right("run", run_id)
    path = house.traces_csv("lost.csv")
    assert is_told_right("fit", house.fit(path))
    house.plate("TIE7")
    assert is_told_right("plate", "TIE7")


@pytest.mark.parametrize("kind", ["run", "workflow", "fit", "plate"])
def test_the_validator_accepts_real_work_as_a_crate(
    house: House, kind: str, tmp_path: Path
) -> None:
    def made() -> str:
        if kind == "run":
            return house.measure(samples={"slot01": "Grün <1>"}, make_plot=True)
        if kind == "workflow":
            return house.process("validated")
        if kind == "fit":
            return house.fit(house.traces_csv("validated.csv"), sample="S-9")
        return str(house.plate("TIE8")["barcode"])

    answer = house.client.get(f"/crates/{kind}/{quote(made(), safe='')}")
    assert answer.status_code == 200, answer.text
    assert findings(answer.content, tmp_path) == []


def test_runs_workflows_fits_and_plates_have_their_files_in_an_ro_crate(house: House) -> None:
    house.plate("TIE6")
    run_id = house.measure(samples={"slot01": "TIE6/A1"}, make_plot=True)
    files = crate(house, "run", run_id)
    assert {"ro-crate-metadata.json", "run.json", "manifest-sha256.txt"} <= set(files)
    assert sum(name.endswith(".csv") for name in files) == 2
    assert sum(name.endswith(".png") for name in files) == 2
    assert b"TIE6/A1" in files["ro-crate-metadata.json"]
    workflow = house.process("crate")
    files = crate(house, "workflow", workflow)
    assert "run.json" in files
    assert sum(name.endswith("_traces.csv") for name in files) == 2
    fit = house.fit(house.traces_csv("crate.csv"))
    files = crate(house, "fit", fit)
    assert "run.json" in files
    assert "input/crate.csv" in files
    assert {"plate.json", "contents.csv"} <= set(crate(house, "plate", "TIE6"))


@pytest.mark.parametrize(
    ("kind", "item_id", "status"),
    [
        ("run", "none", 404),
        ("device", DEVICE, 404),
        ("dream", "1", 404),
        ("session", "meter1", 404),
    ],
)
def test_there_is_no_export_of_what_is_not_there(
    house: House, kind: str, item_id: str, status: int
) -> None:
    assert set(house.get(f"/crates/{kind}/{item_id}", status=status)) == {"detail"}
