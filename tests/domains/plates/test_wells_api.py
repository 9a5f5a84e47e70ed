"""Wells, their contents and scores."""

from typing import Any

import pytest

from benchwire.domains.plates.labels import WellPlace, parse_well, row_letters, row_number
from tests.domains.plates.conftest import Inventory

ELEMENT = {
    "id", "plate_id", "plate_barcode", "well_row", "well_column", "subwell", "position",
    "well_label", "well_label_with_subwell", "x_mm", "y_mm", "z_mm", "has_coordinates",
    "contents_count", "images_count",
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("A1", (1, 1, 1)), ("a01", (1, 1, 1)), ("A1-2", (1, 1, 2)), ("AA12", (27, 12, 1)),
        ("A1.2", (1, 1, 2)), ("B2_3", (2, 2, 3)), ("A1:2", (1, 1, 2)), ("A01a", (1, 1, 1)),
        ("A01c", (1, 1, 3)), ("h12", (8, 12, 1)), (" C 7 ", (3, 7, 1)), ("CU99", (99, 99, 1)),
        ("A1 2", (1, 1, 2)),
    ],
)  # fmt: skip
def test_labels_are_understood(text: str, place: tuple[int, int, int]) -> None:
    assert parse_well(text) == WellPlace(*place)


@pytest.mark.parametrize("text", ["", "A", "1", "A0", "1A", "A1-0", "A-1", "A1B", "Ä1", "A1--2",
                                  "A1-2-3", "ABCD1", "A123456"])  # fmt: skip
def test_what_is_no_label_is_none(text: str) -> None:
    assert parse_well(text) is None


@pytest.mark.parametrize(("row", "letters"), [(1, "A"), (26, "Z"), (27, "AA"), (99, "CU"),
                                              (702, "ZZ"), (703, "AAA")])  # fmt: skip
def test_rows_beyond_z_have_letters(row: int, letters: str) -> None:
    assert row_letters(row) == letters
    assert row_number(letters.lower()) == row


def test_the_list_is_in_order_with_counts(inventory: Inventory) -> None:
    inventory.small("B", rows=2)
    inventory.small("A")
    wells = inventory.data("/plates/B/wells")
    assert [well["position"] for well in wells] == ["A1", "A2", "B1", "B2"]
    assert set(wells[0]) >= ELEMENT
    assert (wells[0]["well_label"], wells[0]["well_label_with_subwell"]) == ("A1", "A1-1")
    everything = inventory.get("/wells")["data"]
    assert [well["plate_barcode"] for well in everything] == ["B"] * 4 + ["A"] * 2
    paged = inventory.client.get("/api/v1/wells", params={"page": 2, "per_page": 4})
    assert paged.json()["data"] == everything[4:]
    assert paged.headers["X-Total-Count"] == "6"


def test_a_well_is_made_in_a_plate(inventory: Inventory) -> None:
    plate = inventory.small()
    body = {"well": {"plate_id": plate["id"], "well_row": 27, "well_column": 1, "subwell": 2,
                     "x_mm": 12.50004, "y_mm": "8.75", "z_mm": 0}}  # fmt: skip
    answer = inventory.post("/wells", body)
    assert answer["message"] == "Well created successfully"
    well = answer["data"]
    assert set(well) >= ELEMENT | {"well_contents", "images", "created_at", "updated_at"}
    assert (well["well_label"], well["well_label_with_subwell"]) == ("AA1", "AA1-2")
    assert (well["x_mm"], well["y_mm"], well["z_mm"]) == (12.5, 8.75, 0.0)
    assert well["has_coordinates"] is True
    assert inventory.data("/plates/PLATE001")["rows"] == 27
    nested = inventory.post("/plates/PLATE001/wells", {"well": {"well_row": 1, "well_column": 9,
                                                                "plate_id": 9999}})  # fmt: skip
    assert (nested["data"]["plate_id"], nested["data"]["subwell"]) == (plate["id"], 1)
    by_code = {"well": {"plate_barcode": "PLATE001", "well_row": 2, "well_column": 9}}
    assert inventory.post("/wells", by_code)["data"]["plate_barcode"] == "PLATE001"
    inventory.post("/plates/NONE/wells", by_code, status=404)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"plate_id": 9999}, "Plate must exist"),
        ({"plate_id": None}, "Plate must exist"),
        ({"plate_id": 10**30}, "Plate must exist"),
        ({"well_row": None}, "Well row can't be blank"),
        ({"well_row": 0}, "Well row must be greater than 0"),
        ({"well_column": 1.5}, "Well column must be an integer"),
        ({"well_column": "x"}, "Well column is not a number"),
        ({"subwell": 0}, "Subwell must be greater than 0"),
        ({"well_row": 1, "well_column": 1}, "Subwell has already been taken"),
        ({"x_mm": "x"}, "X mm is not a number"),
        ({"y_mm": "nan"}, "Y mm is not a number"),
        ({"z_mm": 1e6}, "Z mm must be less than 1e+06"),
        ({"z_mm": True}, "Z mm is not a number"),
    ],
)
def test_what_a_well_cannot_be_is_told(
    inventory: Inventory, more: dict[str, Any], reason: str
) -> None:
    plate = inventory.small()
    well = {"plate_id": plate["id"], "well_row": 5, "well_column": 5, "subwell": 1, **more}
    answer = inventory.post("/wells", {"well": well}, status=422)
    assert answer["error"] == "Failed to create well"
    assert reason in answer["details"]


@pytest.mark.parametrize("body", [{}, {"well": {}}, {"foo": 1}, {"well": 5}], ids=str)
def test_a_missing_well_is_told(inventory: Inventory, body: Any) -> None:
    inventory.small()
    for path in ("/wells", "/plates/PLATE001/wells"):
        assert inventory.post(path, body, status=400)["error"] == "Missing parameter"


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_a_well_is_changed_and_deleted(inventory: Inventory, method: str) -> None:
    inventory.small("A")
    other = inventory.small("B")
    well = inventory.first_well("A")
    inventory.upload(well)
    answer = inventory.ask(method, f"/wells/{well}", {"well": {"x_mm": 1}})
    assert answer["message"] == "Well updated successfully"
    assert (answer["data"]["x_mm"], answer["data"]["well_row"]) == (1.0, 1)
    inventory.ask(method, f"/plates/B/wells/{well}", {"well": {"x_mm": 2}}, status=404)
    taken = inventory.ask(method, f"/wells/{well}", {"well": {"well_column": 2}}, status=422)
    assert taken["details"] == ["Subwell has already been taken"]
    moved = {"well": {"plate_id": other["id"], "well_row": 9}}
    assert inventory.ask(method, f"/wells/{well}", moved)["data"]["plate_barcode"] == "B"
    assert inventory.data("/plates/A")["wells_count"] == 1
    answer = inventory.delete(f"/plates/B/wells/{well}")
    assert answer == {"data": None, "message": "Well deleted successfully"}
    assert inventory.files == []
    inventory.get(f"/wells/{well}", status=404)


@pytest.mark.parametrize("wanted", ["0", "9999", "abc", str(2**65)])
def test_an_unknown_well_is_not_found(inventory: Inventory, wanted: str) -> None:
    inventory.small()
    for method, path in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("GET", "/images"),
                         ("GET", "/well_contents"), ("GET", "/timeline")):  # fmt: skip
        body = {"well": {"x_mm": 1}} if method == "PATCH" else None
        for base in ("/wells", "/plates/PLATE001/wells") if not path else ("/wells",):
            answer = inventory.ask(method, f"{base}/{wanted}{path}", body, status=404)
            assert answer["error"] == "Record not found"


# -- contents -------------------------------------------------------------------------------------


def test_a_solution_is_put_into_a_well(inventory: Inventory) -> None:
    inventory.small()
    well, solution = inventory.first_well(), inventory.solution()
    answer = inventory.post(
        f"/wells/{well}/well_contents",
        {"well_content": {"stock_solution_id": solution, "volume_with_unit": "50 \u03bcL"}},
    )
    content = answer["data"]
    assert (content["stock_solution"], content["volume"], content["volume_value"]) == (
        "Buffer A", "50.0 \u00b5l", 50.0,
    )  # fmt: skip
    shown = inventory.data(f"/wells/{well}")
    assert shown["contents_count"] == 1
    assert shown["well_contents"][0].items() >= {
        "stock_solution": "Buffer A", "volume": "50.0 \u00b5l", "stock_solution_id": solution,
    }.items()  # fmt: skip
    again = {"well_content": {"stock_solution_id": solution, "volume_with_unit": "1 ul"}}
    assert inventory.post(f"/wells/{well}/well_contents", again, status=422)["details"] == [
        "Stock solution is in this well already"
    ]
    path = f"/wells/{well}/well_contents/{content['id']}"
    changed = inventory.patch(
        path, {"well_content": {"volume": 20, "unit_id": inventory.unit("ml")}}
    )
    assert changed["data"]["volume"] == "20.0 ml"
    assert inventory.patch(path, {"well_content": {"volume": 21}})["data"]["volume"] == "21.0 ml"
    assert inventory.data("/stats")["wells"]["wells_with_content"] == 1
    inventory.delete(path)
    assert inventory.data(f"/wells/{well}/well_contents") == []
    inventory.delete(path, status=404)


@pytest.mark.parametrize("text", ["50 \u00b5l", "50\u03bcl", "50 uL", "50.0 ul", "0.05 ml",
                                  "50 microliters", "1,000 nl", ".5 L"])  # fmt: skip
def test_volumes_are_written_in_many_ways(inventory: Inventory, text: str) -> None:
    inventory.small()
    body = {"stock_solution_id": inventory.solution(), "volume_with_unit": text}
    inventory.post(f"/wells/{inventory.first_well()}/well_contents", {"well_content": body})


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"volume_with_unit": "5 parsec"}, "Volume with unit Unknown unit: parsec"),
        ({"volume_with_unit": "much"}, "Volume with unit Invalid format."),
        ({"volume_with_unit": "1,5 ml"}, "Volume with unit Invalid format."),
        ({"volume_with_unit": ""}, "Volume with unit Invalid format."),
        ({"volume_with_unit": "0 ul"}, "Volume must be greater than 0"),
        ({"volume": 5}, "Unit must exist"),
        ({"unit_id": 1}, "Volume can't be blank"),
        ({"volume": -1, "unit_id": 1}, "Volume must be greater than 0"),
        ({"volume": 5, "unit_id": 9999}, "Unit must exist"),
        ({"volume_with_unit": "5 ul", "stock_solution_id": 9999}, "Stock solution must exist"),
        ({"volume_with_unit": "5 ul", "stock_solution_id": None}, "Stock solution must exist"),
    ],
)
def test_what_a_content_cannot_be_is_told(
    inventory: Inventory, content: dict[str, Any], reason: str
) -> None:
    inventory.small()
    body = {"well_content": {"stock_solution_id": inventory.solution(), **content}}
    answer = inventory.post(f"/wells/{inventory.first_well()}/well_contents", body, status=422)
    assert any(detail.startswith(reason) for detail in answer["details"]), answer


def test_many_wells_are_filled_at_once(inventory: Inventory) -> None:
    inventory.small()
    solution = inventory.solution()
    wells = [well["id"] for well in inventory.data("/plates/PLATE001/wells")]
    body = {"well_ids": [*wells, 9999], "stock_solution_id": solution, "volume_with_unit": "5 ul"}
    answer = inventory.post("/wells/bulk_add_content", body, status=200)
    assert answer["data"] == {
        "added": 2, "failed": [{"well_id": 9999, "error": "Record not found"}],
    }  # fmt: skip
    inventory.post("/wells/bulk_add_content", body, status=422)
    for missing in ("well_ids", "stock_solution_id"):
        part = {key: value for key, value in body.items() if key != missing}
        inventory.post("/wells/bulk_add_content", part, status=400)
    inventory.post("/wells/bulk_add_content", {**body, "stock_solution_id": 9999}, status=404)
    inventory.delete(f"/wells/{wells[0]}/well_contents")
    assert inventory.data(f"/wells/{wells[0]}")["contents_count"] == 0


# -- scores ---------------------------------------------------------------------------------------


def test_scores_are_kept_and_the_best_shows_on_the_plate(inventory: Inventory) -> None:
    inventory.small()
    one, two = (well["id"] for well in inventory.data("/plates/PLATE001/wells"))
    assert inventory.data("/plates/PLATE001")["best_score"] is None
    inventory.post(f"/wells/{one}/scores", {"score": {"score": 9, "scored_by": "ann"}})
    inventory.post(f"/wells/{one}/scores", {"score": 3})
    inventory.post(f"/wells/{two}/scores", {"score": 6})
    # The newest of each well counts: what looked like a crystal was none.
    assert inventory.data("/plates")[0]["best_score"] == {"score": 6, "name": "Needles (1D)"}
    history = inventory.data(f"/wells/{one}/scores")
    assert [item["score"] for item in history] == [3, 9]
    assert history[1]["scored_by"] == "ann"
    for wrong in (0, 10, "x", None):
        inventory.post(f"/wells/{one}/scores", {"score": wrong}, status=422)
    words = inventory.data("/scores")["scores"]
    assert [item["score"] for item in words] == list(range(1, 10))


def test_the_timeline_is_in_order(inventory: Inventory) -> None:
    inventory.small()
    well = inventory.first_well()
    for day in (3, 1, 2):
        inventory.upload(well, captured_at=f"2026-01-0{day}T00:00:00Z", description=f"day {day}")
    inventory.post(f"/wells/{well}/scores", {"score": 5})
    line = inventory.data(f"/wells/{well}/timeline")
    assert [image["description"] for image in line["images"]] == ["day 1", "day 2", "day 3"]
    assert [score["score"] for score in line["scores"]] == [5]
    overview = inventory.data("/plates/PLATE001/overview")
    assert overview["wells"][0]["score"] == 5
    assert overview["wells"][0]["image_id"] == line["images"][-1]["id"]
