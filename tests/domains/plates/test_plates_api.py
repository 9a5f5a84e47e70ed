"""Plates, their wells as they are made, moves, history, deletion and restoring."""

import re
from datetime import datetime
from typing import Any
from urllib.parse import quote

import pytest

from tests.domains.plates.conftest import JSON, Inventory

ELEMENT = {
    "id", "barcode", "name", "display_name", "created_at", "updated_at", "rows", "columns",
    "subwells_per_well", "current_location", "wells_count", "points_of_interest_count",
}  # fmt: skip
PLACE = {"id", "display_name", "carousel_position", "hotel_position", "name"}


def stamp(text: str) -> datetime:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text)
    return datetime.fromisoformat(text)


# -- creating and showing -------------------------------------------------------------------------


def test_a_plate_is_made_with_96_wells_in_order(inventory: Inventory) -> None:
    answer = inventory.post("/plates", {"plate": {"barcode": "PLATE001"}})
    assert answer["message"] == "Plate created successfully"
    plate = answer["data"]
    assert set(plate) >= ELEMENT | {"wells", "points_of_interest"}
    assert (plate["barcode"], plate["name"], plate["display_name"]) == (
        "PLATE001",
        None,
        "PLATE001",
    )
    assert (plate["rows"], plate["columns"], plate["subwells_per_well"]) == (8, 12, 1)
    assert plate["current_location"] is None
    assert plate["wells_count"] == len(plate["wells"]) == 96
    assert set(plate["wells"][0]) == {"id", "well_row", "well_column", "subwell", "position"}
    positions = [well["position"] for well in plate["wells"]]
    assert positions == [f"{row}{column}" for row in "ABCDEFGH" for column in range(1, 13)]
    stamp(plate["created_at"])
    assert inventory.data("/plates/PLATE001") == plate


@pytest.mark.parametrize(
    "body", [None, {}, {"plate": None}, {"plate": {}}, {"plate": {"barcode": ""}},
             {"plate": {"barcode": "  "}}, {"plate": {"name": "x"}}, {"other": 1}],
    ids=str,
)  # fmt: skip
def test_a_missing_barcode_is_made_up(inventory: Inventory, body: Any) -> None:
    plate = inventory.post("/plates", body)["data"]
    assert re.fullmatch(r"6\d{7}", plate["barcode"])
    assert plate["wells_count"] == 96


def test_known_columns_count_without_the_root(inventory: Inventory) -> None:
    plate = inventory.post("/plates", {"barcode": "LOOSE", "name": "n", "foo": 1})["data"]
    assert (plate["barcode"], plate["display_name"]) == ("LOOSE", "LOOSE (n)")


@pytest.mark.parametrize("kind", ["urlencoded", "multipart"])
def test_forms_are_understood(inventory: Inventory, kind: str) -> None:
    fields = {"plate[barcode]": "FORM1", "plate[name]": "of a form"}
    more: dict[str, Any] = (
        {"data": fields} if kind == "urlencoded"
        else {"files": {key: (None, value) for key, value in fields.items()}}
    )  # fmt: skip
    answer = inventory.client.post("/api/v1/plates", **more)
    assert answer.status_code == 201
    assert answer.json()["data"]["display_name"] == "FORM1 (of a form)"


def test_a_barcode_is_taken_once(inventory: Inventory) -> None:
    inventory.small()
    answer = inventory.post("/plates", {"plate": {"barcode": "PLATE001"}}, status=422)
    assert answer["error"] == "Failed to create plate"
    assert answer["details"] == ["Barcode has already been taken"]
    inventory.small("plate001")


@pytest.mark.parametrize(
    "barcode",
    ["a b", "a.b", "a.json", "ünïcode-测试", "100%", "a?b#c", "a+b&c=d", "<img onerror=x>", "'; --",
     "..a", "-1", "x" * 255],
)  # fmt: skip
def test_odd_barcodes_work_in_every_path(inventory: Inventory, barcode: str) -> None:
    inventory.small(barcode)
    path = f"/plates/{quote(barcode, safe='')}"
    place = inventory.place()
    assert inventory.data(path)["barcode"] == barcode
    inventory.post(f"{path}/move_to_location", {"location_id": place}, status=200)
    assert len(inventory.data(f"{path}/location_history")) == 1
    assert len(inventory.data(f"{path}/wells")) == 2
    inventory.post(f"{path}/unassign_location", status=200)
    inventory.patch(path, {"plate": {"name": "named"}})
    inventory.delete(path)
    inventory.get(path, status=404)


@pytest.mark.parametrize(
    ("plate", "reason"),
    [
        ({"barcode": "a/b"}, "Barcode is invalid"),
        ({"barcode": "deleted"}, "Barcode is invalid"),
        ({"barcode": ".."}, "Barcode is invalid"),
        ({"barcode": "a\0b"}, "Barcode contains characters that cannot be stored"),
        ({"barcode": "x" * 256}, "Barcode is too long (maximum is 255 characters)"),
        ({"barcode": ["x"]}, "Barcode is not a text"),
        ({"barcode": "A", "name": "x" * 256}, "Name is too long (maximum is 255 characters)"),
        ({"barcode": "A", "rows": 0}, "Rows must be greater than or equal to 1"),
        ({"barcode": "A", "rows": 27}, "Rows must be less than or equal to 26"),
        ({"barcode": "A", "columns": 49}, "Columns must be less than or equal to 48"),
        ({"barcode": "A", "subwells_per_well": 17},
         "Subwells per well must be less than or equal to 16"),
        ({"barcode": "A", "rows": "many"}, "Rows is not a number"),
        ({"barcode": "A", "rows": 1.5}, "Rows must be an integer"),
    ],
)  # fmt: skip
def test_what_a_plate_cannot_be_is_told(
    inventory: Inventory, plate: dict[str, Any], reason: str
) -> None:
    answer = inventory.post("/plates", {"plate": plate}, status=422)
    assert answer["error"] == "Failed to create plate"
    assert reason in answer["details"]
    assert inventory.data("/plates") == []


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"plate": {"rows": 2, "columns": 3, "subwells_per_well": 2}}, (2, 3, 2, 12)),
        ({"plate": {}, "plate_rows": "2", "plate_columns": "3"}, (2, 3, 1, 6)),
        ({"rows": 26, "columns": 1}, (26, 1, 1, 26)),
    ],
)
def test_dimensions_are_chosen(
    inventory: Inventory, more: dict[str, Any], expected: tuple[int, ...]
) -> None:
    plate = inventory.post("/plates", more)["data"]
    keys = ("rows", "columns", "subwells_per_well", "wells_count")
    assert tuple(plate[key] for key in keys) == expected


def test_a_prototype_gives_wells_with_coordinates(inventory: Inventory) -> None:
    prototypes = {item["name"]: item for item in inventory.data("/plate_prototypes")}
    mitegen = prototypes["Mitegen InSitu-1"]
    assert mitegen["wells_count"] == 192
    plate = inventory.post(
        "/plates", {"plate": {"barcode": "M"}, "plate_prototype_id": mitegen["id"]}
    )
    assert (plate["data"]["subwells_per_well"], plate["data"]["wells_count"]) == (2, 192)
    wells = inventory.data("/plates/M/wells")
    place = {key: wells[1][key] for key in ("position", "subwell", "x_mm", "y_mm", "z_mm")}
    assert place == {"position": "A1", "subwell": 2, "x_mm": 2.45, "y_mm": 6.49, "z_mm": -0.2}
    assert wells[1]["has_coordinates"] is True
    unknown = inventory.post("/plates", {"plate": {"barcode": "N"}, "plate_prototype_id": 9999})
    assert unknown["data"]["wells_count"] == 96


def test_a_plate_is_put_somewhere_when_it_is_made(inventory: Inventory) -> None:
    place = inventory.place()
    body = {"plate": {"barcode": "A", "location_id": place}}
    assert inventory.post("/plates", body)["data"]["current_location"]["id"] == place
    inventory.post("/plates", {"plate": {"barcode": "B", "location_id": place}}, status=422)
    inventory.post("/plates", {"plate": {"barcode": "B", "location_id": 9999}}, status=404)
    assert [plate["barcode"] for plate in inventory.data("/plates")] == ["A"]


# -- lists ----------------------------------------------------------------------------------------


def test_the_list_has_counts_and_filters(inventory: Inventory) -> None:
    for barcode in ("A", "B", "C"):
        inventory.small(barcode)
    place = inventory.place()
    inventory.move("B", place)
    inventory.move("C", inventory.special())
    inventory.move("C", None)
    plates = inventory.data("/plates")
    assert [plate["barcode"] for plate in plates] == ["A", "B", "C"]
    assert set(plates[0]) >= ELEMENT
    assert set(plates[1]["current_location"]) == PLACE
    assert plates[1]["wells_count"] == 2

    def found(text: str) -> list[str]:
        return [plate["barcode"] for plate in inventory.data("/plates", assigned=text)]

    for word in ("true", "TRUE", "1"):
        assert found(word) == ["B"]
    for word in ("false", "False", "0"):
        assert found(word) == ["A", "C"]
    for word in ("", "maybe", "2"):
        assert found(word) == ["A", "B", "C"]


def test_lists_come_in_pages_with_a_total(inventory: Inventory) -> None:
    for number in range(5):
        inventory.small(f"P{number}")
    answer = inventory.client.get("/api/v1/plates", params={"page": 2, "per_page": 2})
    assert [plate["barcode"] for plate in answer.json()["data"]] == ["P2", "P3"]
    assert answer.headers["X-Total-Count"] == "5"
    down = inventory.data("/plates", sort="barcode", direction="desc", per_page=1)
    assert [plate["barcode"] for plate in down] == ["P4"]
    assert [p["barcode"] for p in inventory.data("/plates", search="p3")] == ["P3"]
    assert inventory.data("/plates", search="%") == []
    assert inventory.data("/plates", page=99, per_page=2) == []
    assert len(inventory.data("/plates", page="x", per_page="-1")) == 1


# -- changing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_a_plate_is_renamed(inventory: Inventory, method: str) -> None:
    plate = inventory.small()
    answer = inventory.ask(method, "/plates/PLATE001", {"plate": {"name": "Screen 1"}})
    assert answer["message"] == "Plate updated successfully"
    assert answer["data"]["display_name"] == "PLATE001 (Screen 1)"
    changed = inventory.ask(method, "/plates/PLATE001", {"plate": {"barcode": "NEW"}})["data"]
    assert (changed["id"], changed["barcode"], changed["name"]) == (plate["id"], "NEW", "Screen 1")
    inventory.get("/plates/PLATE001", status=404)


@pytest.mark.parametrize("body", [None, {}, {"plate": {}}, {"plate": None}, {"foo": 1},
                                  {"plate": {"rows": 3}}], ids=str)  # fmt: skip
def test_an_empty_change_changes_nothing(inventory: Inventory, body: Any) -> None:
    before = inventory.small()
    after = inventory.patch("/plates/PLATE001", body)["data"]
    for key in ("barcode", "name", "rows", "columns", "wells"):
        assert after[key] == before[key]


def test_a_change_that_cannot_be_is_told(inventory: Inventory) -> None:
    inventory.small("A")
    inventory.small("B")
    for barcode, reason in (
        ("B", "Barcode has already been taken"),
        ("", "Barcode can't be blank"),
        (" ", "Barcode can't be blank"),
        ("a/b", "Barcode is invalid"),
    ):
        answer = inventory.patch("/plates/A", {"plate": {"barcode": barcode}}, status=422)
        assert answer["error"] == "Failed to update plate"
        assert answer["details"] == [reason]


# -- moves ----------------------------------------------------------------------------------------


def test_a_move_tells_plate_place_and_what_was_done(inventory: Inventory) -> None:
    inventory.small()
    place = inventory.place(1, 5)
    answer = inventory.move("PLATE001", place, moved_by="api_test")
    assert answer["message"] == "Plate moved successfully"
    data = answer["data"]
    assert data["message"] == "Plate PLATE001 moved to Carousel 1, Hotel 5"
    assert set(data["plate"]) >= ELEMENT
    assert data["location"] == data["plate"]["current_location"] == {
        "id": place, "display_name": "Carousel 1, Hotel 5", "carousel_position": 1,
        "hotel_position": 5, "name": None,
    }  # fmt: skip
    (movement,) = inventory.data("/plates/PLATE001/location_history")
    assert movement["moved_by"] == "api_test"
    assert movement["location"] == data["location"]
    stamp(movement["moved_at"])


@pytest.mark.parametrize("nothing", [None, ""])
def test_a_null_place_unassigns(inventory: Inventory, nothing: Any) -> None:
    inventory.small()
    inventory.move("PLATE001", inventory.place())
    answer = inventory.move("PLATE001", nothing)
    assert answer["message"] == "Plate unassigned successfully"
    assert answer["data"]["location"] is None
    assert answer["data"]["message"] == "Plate PLATE001 unassigned from location"
    assert answer["data"]["plate"]["current_location"] is None
    again = inventory.post("/plates/PLATE001/unassign_location", status=200)
    assert again["message"] == "Plate unassigned successfully"
    assert again["data"]["location"] is None


def test_a_move_names_its_place(inventory: Inventory) -> None:
    inventory.small()
    place = inventory.place()
    inventory.move("PLATE001", place)
    answer = inventory.post("/plates/PLATE001/move_to_location", {}, status=400)
    assert answer["error"] == "Missing parameter"
    assert "location_id" in answer["message"]
    assert inventory.data("/plates/PLATE001")["current_location"]["id"] == place


@pytest.mark.parametrize("wanted", [9999, "abc", 10**30, -1, 1.5, True, [], {}])
def test_an_unknown_place_is_not_found(inventory: Inventory, wanted: Any) -> None:
    inventory.small()
    answer = inventory.move("PLATE001", wanted, status=404)
    assert answer["error"] == "Record not found"
    assert "Location" in answer["message"]
    assert inventory.data("/plates/PLATE001/location_history") == []


@pytest.mark.parametrize("kind", ["carousel", "special"])
def test_an_occupied_place_is_refused(inventory: Inventory, kind: str) -> None:
    inventory.small("PLATE001")
    inventory.small("B")
    place = inventory.place(1, 1) if kind == "carousel" else inventory.special("fridge")
    other = inventory.place(2, 2)
    inventory.move("PLATE001", place)
    inventory.move("B", other)
    answer = inventory.move("B", place, status=422)
    label = "Carousel 1, Hotel 1" if kind == "carousel" else "fridge"
    assert answer["error"] == (
        f"Validation failed: Location {label} is already occupied by plate PLATE001"
    )
    assert inventory.data("/plates/B")["current_location"]["id"] == other
    assert len(inventory.data("/plates/B/location_history")) == 1


def test_leaving_frees_a_place_at_once(inventory: Inventory) -> None:
    inventory.small("A")
    inventory.small("B")
    one, two = inventory.place(1, 1), inventory.place(1, 2)
    inventory.move("A", one)
    inventory.move("A", one)
    inventory.move("A", two)
    inventory.move("B", one)
    places = [item["location"]["id"] for item in inventory.data("/plates/A/location_history")]
    assert places == [two, one, one]


def test_the_history_tells_unassignments_newest_first(inventory: Inventory) -> None:
    inventory.small()
    assert inventory.data("/plates/PLATE001/location_history") == []
    place = inventory.place()
    for _ in range(30):
        inventory.move("PLATE001", place)
        inventory.move("PLATE001", None)
    history = inventory.data("/plates/PLATE001/location_history")
    assert len(history) == 50
    assert [item["location"] is None for item in history[:4]] == [True, False, True, False]
    stamps = [item["moved_at"] for item in history]
    assert stamps == sorted(stamps, reverse=True)
    second = inventory.data("/plates/PLATE001/location_history", page=2, per_page=50)
    assert len(second) == 10


# -- deleting and restoring -----------------------------------------------------------------------


def test_a_deleted_plate_vanishes_everywhere_and_frees_its_place(inventory: Inventory) -> None:
    inventory.small()
    place = inventory.place()
    inventory.move("PLATE001", place)
    well = inventory.first_well()
    answer = inventory.delete("/plates/PLATE001")
    assert answer == {"data": None, "message": "Plate deleted successfully"}
    for path in (
        "/plates/PLATE001",
        f"/wells/{well}",
        "/plates/PLATE001/wells",
        "/plates/PLATE001/location_history",
        f"/wells/{well}/images",
    ):
        assert inventory.get(path, status=404)["error"] == "Record not found"
    assert inventory.data("/plates") == []
    assert inventory.get("/wells")["data"] == []
    assert inventory.data(f"/locations/{place}")["is_occupied"] is False
    stats = inventory.data("/stats")
    assert stats["overview"]["total_plates"] == stats["overview"]["total_wells"] == 0
    assert inventory.data(f"/locations/{place}/history")[0]["plate"]["barcode"] == "PLATE001"
    inventory.delete("/plates/PLATE001", status=404)
    inventory.small()
    inventory.move("PLATE001", place)


def test_a_restored_plate_has_its_history_and_no_place(inventory: Inventory) -> None:
    inventory.small()
    place = inventory.place()
    inventory.move("PLATE001", place)
    well = inventory.first_well()
    inventory.delete("/plates/PLATE001")
    (gone,) = inventory.data("/plates/deleted")
    assert gone["barcode"] == "PLATE001"
    assert gone["deleted_at"]
    answer = inventory.post("/plates/PLATE001/restore", status=200)
    assert answer["message"] == "Plate restored successfully"
    assert answer["data"]["current_location"] is None
    history = inventory.data("/plates/PLATE001/location_history")
    assert [item["location"] and item["location"]["id"] for item in history] == [None, place]
    assert inventory.data(f"/wells/{well}")["plate_barcode"] == "PLATE001"
    assert inventory.data("/plates/deleted") == []
    inventory.post("/plates/PLATE001/restore", status=404)


def test_a_barcode_in_use_again_keeps_the_old_plate_away(inventory: Inventory) -> None:
    inventory.small()
    inventory.delete("/plates/PLATE001")
    inventory.small()
    answer = inventory.post("/plates/PLATE001/restore", status=422)
    assert answer["details"] == ["Barcode has already been taken"]
    inventory.patch("/plates/PLATE001", {"plate": {"barcode": "OTHER"}})
    inventory.post("/plates/PLATE001/restore", status=200)


@pytest.mark.parametrize("is_hidden", [False, True])
def test_a_plate_is_deleted_for_good_with_its_files(inventory: Inventory, is_hidden: bool) -> None:
    inventory.small()
    inventory.upload(inventory.first_well())
    assert len(inventory.files) == 1
    if is_hidden:
        inventory.delete("/plates/PLATE001")
        assert len(inventory.files) == 1
    inventory.delete("/plates/PLATE001?permanent=true")
    assert inventory.files == []
    assert inventory.data("/plates/deleted") == []
    inventory.post("/plates/PLATE001/restore", status=404)


# -- prototypes -----------------------------------------------------------------------------------


def test_prototypes_are_made_as_grids_or_well_by_well(inventory: Inventory) -> None:
    grid = {"name": "Grid", "rows": 2, "columns": 2, "pitch_mm": 4.5, "origin": {"x": 1, "y": 2}}
    made = inventory.post("/plate_prototypes", {"plate_prototype": grid})["data"]
    assert made["wells_count"] == 4
    assert (made["wells"][3]["x_mm"], made["wells"][3]["y_mm"]) == (5.5, 6.5)
    wells = [{"well_row": 1, "well_column": 1, "x_mm": 0.1}, {"well_row": 3, "well_column": 2}]
    changed = inventory.patch(
        f"/plate_prototypes/{made['id']}", {"plate_prototype": {"wells": wells}}
    )["data"]
    assert [well["position"] for well in changed["wells"]] == ["A1", "C2"]
    assert changed["name"] == "Grid"
    for bad, reason in (
        ({"name": "Grid"}, "Name has already been taken"),
        ({"name": ""}, "Name can't be blank"),
    ):
        answer = inventory.post("/plate_prototypes", {"plate_prototype": bad}, status=422)
        assert reason in answer["details"]
    inventory.delete(f"/plate_prototypes/{made['id']}")
    inventory.get(f"/plate_prototypes/{made['id']}", status=404)


def test_what_a_change_does_not_say_of_a_grid_stays(inventory: Inventory) -> None:
    grid = {"name": "Grid", "rows": 3, "columns": 4, "pitch_mm": 4.5, "origin": {"x": 1, "y": 2}}
    made = inventory.post("/plate_prototypes", {"plate_prototype": grid})["data"]
    path = f"/plate_prototypes/{made['id']}"

    def corner(change: dict[str, Any]) -> tuple[Any, ...]:
        found = inventory.patch(path, {"plate_prototype": change})["data"]
        last = found["wells"][-1]
        return found["wells_count"], last["position"], last["x_mm"], last["y_mm"]

    assert corner({"pitch_mm": 9}) == (12, "C4", 28.0, 20.0)
    assert corner({"rows": 2}) == (8, "B4", 28.0, 11.0)
    blank = dict.fromkeys(("rows", "columns", "subwells_per_well", "origin"), "")
    assert corner({**blank, "pitch_mm": "4.5"}) == (8, "B4", 14.5, 6.5)
    assert corner({"pitch_mm": 9, "origin": {"x_mm": 5}}) == (8, "B4", 32.0, 11.0)
    assert corner({"origin": [0, 0, 0]}) == (8, "B4", 27.0, 9.0)
    wells = [{"well_row": 1, "well_column": 1, "x_mm": 0.1}, {"well_row": 3, "well_column": 2}]
    inventory.patch(path, {"plate_prototype": {"wells": wells}})
    answer = inventory.patch(path, {"plate_prototype": {"rows": 2}}, status=422)
    assert "are no plain grid" in answer["details"][0]
    assert len(inventory.data(path)["wells"]) == 2


# -- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/plates/none",
        "/plates/none/wells",
        "/plates/none/overview",
        "/plates/none/location_history",
        "/plates/a%00b",
    ],
)
def test_an_unknown_plate_is_not_found(inventory: Inventory, path: str) -> None:
    answer = inventory.get(path, status=404)
    assert answer["error"] == "Record not found"
    assert "Couldn't find Plate" in answer["message"]


@pytest.mark.parametrize(
    "body",
    ["{", "[1]", '"x"', "5", '{"plate":', "\x00", "[" * 50_000, '{"a":' * 5000],
    ids=lambda body: body[:9],
)
def test_a_body_that_is_no_object_is_refused(inventory: Inventory, body: str) -> None:
    for method, path in (("POST", "/plates"), ("POST", "/locations"), ("PATCH", "/plates/none")):
        answer = inventory.client.request(method, f"/api/v1{path}", content=body, headers=JSON)
        assert answer.status_code == 400
        assert answer.json()["error"]


@pytest.mark.parametrize(("method", "path", "status"), [
    ("GET", "/nothing", 404), ("GET", "/plates/A/nothing", 404), ("DELETE", "/plates", 405),
    ("POST", "/stats", 405), ("GET", "/plates/A/move_to_location", 405),
])  # fmt: skip
def test_unknown_routes_answer_in_json(
    inventory: Inventory, method: str, path: str, status: int
) -> None:
    assert inventory.ask(method, path, status=status)["error"]


def test_a_body_too_large_is_refused_unread(inventory: Inventory) -> None:
    answer = inventory.client.post("/api/v1/plates", content=b"x" * 17_000_000, headers=JSON)
    assert answer.status_code == 413
    assert answer.json()["error"]


def test_any_origin_may_read(inventory: Inventory) -> None:
    answer = inventory.client.get("/api/v1/plates", headers={"Origin": "http://lab.example"})
    assert answer.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize("moved_by", ["a\0b", "x" * 256, {"a": 1}, ["x"]])
def test_who_moved_is_never_lost(inventory: Inventory, moved_by: Any) -> None:
    inventory.small()
    place = inventory.place()
    inventory.move("PLATE001", place, moved_by=moved_by, status=422)
    inventory.post("/plates/PLATE001/unassign_location", {"moved_by": moved_by}, status=422)
    assert inventory.data("/plates/PLATE001/location_history") == []


@pytest.mark.parametrize("wanted", [-(10**30), 10**30, "9" * 5000, "\u00b2", -1, 2**40, 1.5, True])
def test_odd_ids_are_unknown_everywhere(inventory: Inventory, wanted: Any) -> None:
    inventory.small()
    well = inventory.first_well()
    inventory.post("/wells", {"well": {"plate_id": wanted, "well_row": 5, "well_column": 5}},
                   status=422)  # fmt: skip
    content = {"stock_solution_id": wanted, "volume_with_unit": "5 ul"}
    inventory.post(f"/wells/{well}/well_contents", {"well_content": content}, status=422)
    part = {"chemical_id": wanted, "amount_with_unit": "5 g", "id": wanted}
    solution = {"stock_solution": {"name": "S", "components": [part]}}
    assert inventory.client.post("/api/v1/stock_solutions", json=solution).status_code in {404, 422}
    inventory.move("PLATE001", wanted, status=404)


@pytest.mark.parametrize("field", ["plate[\u00b2]", f"plate[{'1' * 5000}]", "plate[", "[]", "]["])
def test_odd_names_in_forms_are_no_error_of_the_server(inventory: Inventory, field: str) -> None:
    answer = inventory.client.post("/api/v1/plates", data={field: "x"})
    assert answer.status_code in {201, 400}


@pytest.mark.parametrize("path", [
    "/plates/%00", "/plates/%00/overview", "/plates?search=%00", "/chemicals/search?q=%00",
    "/stock_solutions?search=%00", "/points_of_interest/by_type?type=%00",
])  # fmt: skip
def test_a_nul_is_refused_wherever_it_is(inventory: Inventory, path: str) -> None:
    for method in ("GET", "DELETE"):
        answer = inventory.client.request(method, f"/api/v1{path}")
        assert answer.status_code in {404, 405, 422}, answer.text
        assert answer.json()["error"]


def test_plates_are_found_whatever_their_letters(inventory: Inventory) -> None:
    inventory.plate("\u00c9CRAN-1", name="Stra\u00dfe")
    for text in ("\u00e9cran", "STRASSE"):
        assert [item["id"] for item in inventory.data("/plates", search=text)]


@pytest.mark.parametrize("path", ["/locations", "/locations/carousel", "/units",
                                  "/plate_prototypes", "/points_of_interest"])  # fmt: skip
def test_every_list_comes_in_pages(inventory: Inventory, path: str) -> None:
    inventory.place(1, 1)
    inventory.place(1, 2)
    answer = inventory.client.get(f"/api/v1{path}", params={"per_page": 1, "page": 2})
    assert len(answer.json()["data"]) <= 1
    assert int(answer.headers["X-Total-Count"]) >= 0
