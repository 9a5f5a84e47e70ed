"""The inventory to files and back."""

import csv
import io
import json
from typing import Any

import pytest

from tests.domains.plates.conftest import Inventory


def send(
    inventory: Inventory, path: str, text: str, *, status: int = 200, dry: bool = False
) -> Any:
    answer = inventory.client.post(
        f"/api/v1{path}", files={"file": ("sheet.csv", text.encode())},
        params={"dry_run": "true"} if dry else {},
    )  # fmt: skip
    assert answer.status_code == status, answer.text
    return answer.json()


def rows(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


@pytest.fixture
def filled(inventory: Inventory) -> Inventory:
    inventory.small("PLATE001", rows=2, columns=2)
    inventory.solution("Buffer A")
    inventory.solution("Salt, 2 M")
    return inventory


CONTENTS = 'well,Buffer A,"Salt, 2 M"\r\nA1,50,\r\na02,1.5 ml,2\r\nB1.1,,10 ul\r\n'


def test_contents_go_in_and_come_out_as_a_sheet(filled: Inventory) -> None:
    answer = send(filled, "/plates/PLATE001/contents_csv", CONTENTS)
    assert answer["data"] == {"dry_run": False, "added": 4, "updated": 0, "problems": []}
    text = filled.client.get("/api/v1/plates/PLATE001/contents_csv")
    assert text.headers["content-type"] == "text/csv; charset=utf-8"
    sheet = rows(text.text)
    assert sheet[0] == ["well", "Buffer A", "Salt, 2 M"]
    assert sheet[1] == ["A1-1", "50 \u00b5l", ""]
    assert sheet[2] == ["A2-1", "1.5 ml", "2 \u00b5l"]
    assert sheet[4] == ["B2-1", "", ""]
    again = send(filled, "/plates/PLATE001/contents_csv", text.text)
    assert again["data"]["added"] == 0
    assert again["data"]["updated"] == 4
    filled.small("EMPTY", rows=2, columns=2)
    send(filled, "/plates/EMPTY/contents_csv", text.text)
    other = filled.client.get("/api/v1/plates/EMPTY/contents_csv").text
    assert rows(other) == sheet


def test_every_problem_is_told_by_its_row_and_nothing_is_changed(filled: Inventory) -> None:
    wrong = "well,Buffer A,None\nA1,50,\nZ9,1,\nA2,much,1\nx,1,\nB1,1 parsec,\n"
    checked = send(filled, "/plates/PLATE001/contents_csv", wrong, dry=True)["data"]
    assert checked["dry_run"] is True
    expected = [
        "Row 4, Buffer A: 'much' is no volume", "Row 5: 'x' is no well",
        "Row 3: There is no such well", "Row 4: There is no stock solution 'None'",
        "Row 6: Unknown unit 'parsec'",
    ]  # fmt: skip
    assert checked["problems"] == expected
    refused = send(filled, "/plates/PLATE001/contents_csv", wrong, status=422)
    assert refused["details"] == expected
    assert filled.data("/stats")["wells"]["wells_with_content"] == 0
    good = send(filled, "/plates/PLATE001/contents_csv", CONTENTS, dry=True)["data"]
    assert (good["contents"], good["problems"]) == (4, [])
    assert filled.data("/stats")["wells"]["wells_with_content"] == 0


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_everything_goes_out_and_comes_back_the_same(filled: Inventory, kind: str) -> None:
    send(filled, "/plates/PLATE001/contents_csv", CONTENTS)
    filled.patch("/plates/PLATE001", {"plate": {"name": "named"}})
    filled.move("PLATE001", filled.place(1, 5))
    filled.patch(f"/wells/{filled.first_well()}", {"well": {"x_mm": 1.5, "y_mm": 2, "z_mm": 0}})
    exported = filled.client.get("/api/v1/export", params={"format": kind})
    assert "attachment" in exported.headers["content-disposition"]
    before = filled.data("/plates/PLATE001")
    wells = [{**well, "id": 0, "plate_id": 0} for well in filled.data("/plates/PLATE001/wells")]
    filled.delete("/plates/PLATE001?permanent=true")
    if kind == "csv":
        checked = send(filled, "/import", exported.text, dry=True)["data"]
        assert checked == {"dry_run": True, "plates": 1, "wells": 4, "contents": 4, "problems": []}
        assert filled.data("/plates") == []
        send(filled, "/import", exported.text)
    else:
        filled.post("/import", exported.json(), status=200)
    after = filled.data("/plates/PLATE001")
    for key in ("name", "rows", "columns", "wells_count", "current_location"):
        assert after[key] == before[key]
    assert wells == [
        {**well, "id": 0, "plate_id": 0} for well in filled.data("/plates/PLATE001/wells")
    ]
    again = filled.client.get("/api/v1/export", params={"format": kind})
    assert again.text == exported.text


def test_an_import_with_problems_makes_nothing(filled: Inventory) -> None:
    text = (
        "barcode,location,well,x_mm,stock_solution,volume\n"
        "NEW,nowhere,A1,,,\n"
        "NEW,,A1,far,Buffer A,5\n"
        "NEW,,??,,,\n"
        ",,A1,,,\n"
        "PLATE001,,Z99,,Buffer A,5\n"
        "PLATE001,,A1,,Unknown,5\n"
    )
    problems = [
        "Row 2: There is no location 'nowhere'", "Row 3: X mm is not a number",
        "Row 4: '??' is no well", "Row 5: Barcode can't be blank",
        "Row 6: Plate PLATE001 has no well Z99", "Row 7: There is no stock solution 'Unknown'",
    ]  # fmt: skip
    assert send(filled, "/import", text, dry=True)["data"]["problems"] == problems
    assert send(filled, "/import", text, status=422)["details"] == problems
    assert [plate["barcode"] for plate in filled.data("/plates")] == ["PLATE001"]
    assert send(filled, "/import", "a,b\n1,2\n", status=422)["details"]
    filled.post("/import", {}, status=400)


def test_an_import_into_an_occupied_place_is_refused_whole(filled: Inventory) -> None:
    filled.move("PLATE001", filled.place(1, 5))
    filled.special("shelf")
    text = 'barcode,location\nA,shelf\nB,"Carousel 1, Hotel 5"\nC,Shelf\n'
    expected = [
        "Row 3: Location Carousel 1, Hotel 5 is already occupied by plate PLATE001",
        "Row 4: Location Shelf is already occupied by plate A",
    ]
    assert send(filled, "/import", text, dry=True)["data"]["problems"] == expected
    assert send(filled, "/import", text, status=422)["details"] == expected
    assert len(filled.data("/plates")) == 1


def test_positions_of_one_name_are_told_apart(filled: Inventory) -> None:
    for number in (1, 2):
        place = filled.place(number, 5)
        filled.patch(f"/locations/{place}", {"location": {"name": "Rack"}})
    text = 'barcode,location\nA,"Carousel 2, Hotel 5"\nB,rack\nC,"carousel 1, hotel 5"\n'
    problem = "Row 3: There are several locations 'rack'"
    assert send(filled, "/import", text, status=422)["details"] == [problem]
    send(filled, "/import", text.replace("B,rack\n", ""))
    for barcode, carousel in (("A", 2), ("C", 1)):
        place = filled.data(f"/plates/{barcode}")["current_location"]
        assert (place["carousel_position"], place["display_name"]) == (carousel, "Rack")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("barcode\ndeleted\n", "Row 2: Barcode is invalid"),
        (f"barcode\n{'x' * 256}\n", "Row 2: Barcode is invalid"),
        (f"barcode,name\nA,{'x' * 256}\n", "Row 2: Name is too long (maximum is 255 characters)"),
        ("barcode,name\nA,one\nA,two\n", "Row 3: The plate has another name in an earlier row"),
        ("barcode,well,x_mm\nA,A1,1\nA,a01,2\n",
         "Row 3: The well has other coordinates in an earlier row"),
    ],
)  # fmt: skip
def test_an_import_keeps_the_rules_of_plates(inventory: Inventory, text: str, problem: str) -> None:
    assert send(inventory, "/import", text, dry=True)["data"]["problems"] == [problem]
    send(inventory, "/import", text, status=422)
    assert inventory.data("/plates") == []


@pytest.mark.parametrize(
    "plates",
    ["x", [1], [{"barcode": "Z", "wells": ["A1"]}], [{"barcode": "Z", "wells": 5}],
     [{"barcode": "Z", "wells": [{"well": "A1", "contents": ["x"]}]}],
     [{"barcode": "a\ud800"}], [{"barcode": "a\0"}], [{"barcode": ["x"] * 200}], None],
    ids=repr,
)  # fmt: skip
def test_what_is_no_inventory_is_refused(inventory: Inventory, plates: Any) -> None:
    answer = inventory.client.post(
        "/api/v1/import", content=json.dumps({"plates": plates}),
        headers={"content-type": "application/json"},
    )  # fmt: skip
    assert answer.status_code == 422, answer.text
    assert answer.json()["details"]
    assert inventory.data("/plates") == []


def test_rows_are_counted_as_in_the_file_and_nothing_is_overlooked(filled: Inventory) -> None:
    text = "well,Buffer A\n\n\nA1,x\nA2,5,7\nB1,1\nb01,2\n"
    assert send(filled, "/plates/PLATE001/contents_csv", text, dry=True)["data"]["problems"] == [
        "Row 4, Buffer A: 'x' is no volume", "Row 5: it has more cells than the header",
        "Row 7: 'b01' is there twice",
    ]  # fmt: skip
    for header in ("\u00b2", "9" * 5000, "\0"):
        answer = filled.client.post(
            "/api/v1/plates/PLATE001/contents_csv",
            files={"file": ("x.csv", f"well,{header}\nA1,5\n".encode())},
        )
        assert answer.status_code in {400, 422}


def test_no_cell_is_a_formula_to_a_spreadsheet(filled: Inventory) -> None:
    filled.small("=1+1")
    filled.solution("@SUM(A1)")
    text = filled.client.get("/api/v1/export").text
    assert "'=1+1" in text
    assert "\n=1+1" not in text
    filled.delete("/plates/%3D1%2B1?permanent=true")
    filled.delete("/plates/PLATE001?permanent=true")
    send(filled, "/import", text)
    assert {plate["barcode"] for plate in filled.data("/plates")} == {"=1+1", "PLATE001"}


def test_a_sheet_that_is_no_text_is_refused(filled: Inventory) -> None:
    answer = filled.client.post("/api/v1/import", files={"file": ("x.csv", b"\xff\xfe\x00x")})
    assert answer.status_code == 400


def test_two_volumes_of_a_solution_in_a_well_are_told(inventory: Inventory) -> None:
    inventory.small()
    solution = inventory.solution("Buffer A")
    for header in ("Buffer A,Buffer A", f"Buffer A,{solution}"):
        answer = inventory.client.post(
            "/api/v1/plates/PLATE001/contents_csv", json={"csv": f"well,{header}\nA1,5,7\n"}
        )
        assert answer.status_code == 422
        (problem,) = answer.json()["details"]
        assert "twice" in problem
    contents = [{"stock_solution": "Buffer A", "volume": text} for text in ("5 ul", "7 ul")]
    plates = [{"barcode": "N", "wells": [{"well": "A1", "contents": contents}]}]
    answer = inventory.post("/import", {"plates": plates}, status=422)
    assert answer["details"] == ["Row 1: The well has 'Buffer A' in it twice; give one volume"]
    inventory.get("/plates/N", status=404)
