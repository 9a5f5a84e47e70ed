"""Chemicals, units and stock solutions."""

from typing import Any
from urllib.parse import urlencode

import pytest

from benchwire.domains.plates.amounts import parse_amount, plain_number, unit_key
from tests.domains.plates.conftest import Inventory


@pytest.mark.parametrize(("text", "expected"), [
    ("50 mM", (50.0, "mM")), ("1.5ml", (1.5, "ml")), ("1,500 ul", (1500.0, "ul")),
    (".5 g", (0.5, "g")), ("10 % w/v", (10.0, "% w/v")), ("1,5 ml", None), ("mM", None),
    ("5", None), ("", None), ("5 5 ml", None), ("1e3 ml", (1000.0, "ml")),
    ("1.5e-3 M", (0.0015, "M")), ("5 eV", (5.0, "eV")), ("1e999 ml", None),
    ("1e-3", None), ("1e5", None), ("1e5.5 ul", None), ("5 e5", (5.0, "e5")),
    ("1a" + 200_000 * " " + "b\n.c", None),
])  # fmt: skip
def test_amounts_are_a_number_and_a_unit(text: str, expected: Any) -> None:
    assert parse_amount(text) == expected


@pytest.mark.parametrize(("one", "other", "is_same"), [
    ("\u00b5l", "\u03bcL", True), ("uL", "microliters", True), ("mM", "MM", False),
    ("M", "m", False), ("ML", "ml", True), ("%w/v", "% w/v", True), ("Milligram", "mg", True),
])  # fmt: skip
def test_spellings_of_a_unit(one: str, other: str, is_same: bool) -> None:
    assert (unit_key(one) == unit_key(other)) is is_same


def test_numbers_lose_a_needless_fraction() -> None:
    assert [plain_number(value) for value in (50.0, 0.5, 1e-7)] == ["50", "0.5", "1e-07"]


# -- stock solutions ------------------------------------------------------------------------------


def test_a_solution_is_bare_as_in_the_example(inventory: Inventory) -> None:
    made = inventory.post("/stock_solutions", {"stock_solution": {
        "name": "Buffer A", "description": "Tris-HCl pH 7.4"}})  # fmt: skip
    assert made.items() >= {
        "name": "Buffer A", "description": "Tris-HCl pH 7.4", "display_name": "Buffer A",
        "component_summary": "", "used_in_wells_count": 0, "can_be_deleted": True,
        "components": [], "total_components": 0,
    }.items()  # fmt: skip
    (listed,) = inventory.get("/stock_solutions", search="buffer")
    assert "components" not in listed
    assert listed["id"] == made["id"]
    assert inventory.get(f"/stock_solutions/{made['id']}") == made
    for text, count in (("BUFF", 1), ("%", 0), ("_", 0), ("", 1), ("  ", 1), ("x", 0)):
        assert len(inventory.get("/stock_solutions", search=text)) == count


def test_components_come_with_the_solution(inventory: Inventory) -> None:
    tris, salt = inventory.chemical(), inventory.chemical("NaCl")
    parts = [
        {"chemical_id": tris, "amount": 50.0, "unit_id": inventory.unit("mM")},
        {"chemical_id": salt, "amount_with_unit": "150 mM"},
        {"chemical_id": "", "amount": "", "unit_id": ""},
    ]
    for key in ("stock_solution_components_attributes", "components"):
        made = inventory.post("/stock_solutions", {"stock_solution": {"name": key, key: parts}})
        assert made["component_summary"] == "Tris-HCl (50 mM), NaCl (150 mM)"
        assert made["total_components"] == 2
        assert made["components"][0].items() >= {
            "chemical": {"id": tris, "name": "Tris-HCl"}, "amount": 50.0,
            "display_amount": "50.0 mM", "formatted_component": "Tris-HCl (50.0 mM)",
        }.items()  # fmt: skip
        assert made["components"][0]["unit"]["symbol"] == "mM"
    first, second = made["components"]
    change = {"stock_solution_components_attributes": [
        {"id": first["id"], "amount": 20}, {"id": second["id"], "_destroy": True},
        {"chemical_id": salt, "amount_with_unit": "3 mg"}]}  # fmt: skip
    changed = inventory.patch(f"/stock_solutions/{made['id']}", {"stock_solution": change})
    assert changed["component_summary"] == "Tris-HCl (20 mM), NaCl (3 mg)"
    assert changed["name"] == "components"


@pytest.mark.parametrize(
    ("solution", "reason"),
    [
        ({"name": ""}, "Name can't be blank"),
        ({"description": "x"}, "Name can't be blank"),
        ({"name": "Taken"}, "Name has already been taken"),
        ({"name": "A", "components": [{"chemical_id": 9999, "amount": 1, "unit_id": 1}]},
         "Stock solution components chemical must exist"),
        ({"name": "A", "components": [{"chemical_id": "$", "amount": 0, "unit_id": "$"}]},
         "Stock solution components amount must be greater than 0"),
        ({"name": "A", "components": [{"chemical_id": "$", "amount_with_unit": "lots"}]},
         "Stock solution components amount with unit Invalid format."),
        ({"name": "A", "components": [{"chemical_id": "$", "amount_with_unit": "1 g"}] * 2},
         "Stock solution components chemical can only be added once per stock solution"),
    ],
)  # fmt: skip
def test_what_a_solution_cannot_be_is_told(
    inventory: Inventory, solution: dict[str, Any], reason: str
) -> None:
    inventory.solution("Taken")
    chemical, unit = inventory.chemical(), inventory.unit("mM")
    for part in solution.get("components", []):
        if part.get("chemical_id") == "$":
            part["chemical_id"] = chemical
        if part.get("unit_id") == "$":
            part["unit_id"] = unit
    answer = inventory.post("/stock_solutions", {"stock_solution": solution}, status=422)
    assert answer["error"] == "Failed to create stock solution"
    assert answer["details"] == answer["errors"]
    assert any(detail.startswith(reason) for detail in answer["details"]), answer
    assert len(inventory.get("/stock_solutions")) == 1


def test_a_used_solution_stays(inventory: Inventory) -> None:
    inventory.small()
    solution = inventory.solution()
    inventory.post(f"/wells/{inventory.first_well()}/well_contents", {
        "well_content": {"stock_solution_id": solution, "volume_with_unit": "5 ul"}})  # fmt: skip
    shown = inventory.get(f"/stock_solutions/{solution}")
    assert (shown["used_in_wells_count"], shown["can_be_deleted"]) == (1, False)
    answer = inventory.delete(f"/stock_solutions/{solution}", status=422)
    assert answer["error"] == "Cannot delete stock solution that is used in wells"
    other = inventory.solution("B")
    answer = inventory.delete(f"/stock_solutions/{other}")
    assert answer == {"data": None, "message": "Stock solution deleted successfully"}
    inventory.get(f"/stock_solutions/{other}", status=404)
    assert inventory.post("/stock_solutions", {}, status=400)["error"] == "Missing parameter"
    assert inventory.patch(f"/stock_solutions/{solution}", {}, status=400)


def test_components_are_handled_one_by_one(inventory: Inventory) -> None:
    solution, chemical = inventory.solution(), inventory.chemical()
    base = f"/stock_solutions/{solution}/components"
    body = {"component": {"chemical_id": chemical, "amount_with_unit": "50 mM"}}
    made = inventory.post(base, body)["data"]
    assert made["formatted_component"] == "Tris-HCl (50.0 mM)"
    inventory.post(base, body, status=422)
    changed = inventory.patch(f"{base}/{made['id']}", {"component": {"amount_with_unit": "2 g"}})
    assert changed["data"]["display_amount"] == "2.0 g"
    assert [item["id"] for item in inventory.data(base)] == [made["id"]]
    inventory.delete(f"{base}/{made['id']}")
    assert inventory.data(base) == []
    inventory.get(f"{base}/{made['id']}", status=404)
    other = inventory.solution("B")
    inventory.get(f"/stock_solutions/{other}/components/{made['id']}", status=404)


# -- chemicals ------------------------------------------------------------------------------------


def test_chemicals_are_found_by_name_number_and_barcode(inventory: Inventory) -> None:
    made = inventory.chemical(cas="1185-53-1", barcode="CHEM001")
    inventory.chemical("NaCl")
    expected = [{
        "id": made, "name": "Tris-HCl", "cas": "1185-53-1", "barcode": "CHEM001",
        "display_text": "Tris-HCl (CAS: 1185-53-1)",
    }]  # fmt: skip
    for text in ("tris", "TRIS", "85-53", "chem0"):
        assert inventory.get("/chemicals/search", q=text) == expected
    for text in ("", "  ", "%", "_", "none"):
        assert inventory.get("/chemicals/search", q=text) == []
    assert inventory.get("/chemicals/search") == []
    assert inventory.get("/chemicals/search", q="nacl")[0]["display_text"] == "NaCl"


def test_a_search_returns_the_first_ten_by_name(inventory: Inventory) -> None:
    rows = [{"name": f"salt {number:02}"} for number in range(30)]
    inventory.post("/chemicals/import", {"chemicals": rows}, status=200)
    found = inventory.get("/chemicals/search", q="SALT")
    assert [item["name"] for item in found] == [f"salt {number:02}" for number in range(10)]


def test_chemicals_are_made_changed_and_deleted(inventory: Inventory) -> None:
    chemical = inventory.chemical(sciformation_id=7)
    body = {"chemical": {"smiles": "C(C(CO)(CO)N)O", "storage": "shelf"}}
    changed = inventory.patch(f"/chemicals/{chemical}", body)["data"]
    assert (changed["name"], changed["smiles"]) == ("Tris-HCl", "C(C(CO)(CO)N)O")
    assert (changed["used_in_stock_solutions_count"], changed["can_be_deleted"]) == (0, True)
    for bad, reason in (({"name": ""}, "Name can't be blank"),
                        ({"name": "x", "sciformation_id": 7},
                         "Sciformation has already been taken")):  # fmt: skip
        answer = inventory.post("/chemicals", {"chemical": bad}, status=422)
        assert reason in answer["details"]
    inventory.solution(components=[{"chemical_id": chemical, "amount_with_unit": "1 g"}])
    assert inventory.delete(f"/chemicals/{chemical}", status=422)["error"]
    other = inventory.chemical("Other")
    inventory.delete(f"/chemicals/{other}")
    inventory.get(f"/chemicals/{other}", status=404)
    page = inventory.client.get("/api/v1/chemicals", params={"per_page": 1, "sort": "name"})
    assert page.headers["X-Total-Count"] == "1"


def test_an_import_adds_changes_and_tells_the_rest(inventory: Inventory) -> None:
    inventory.chemical("Old", barcode="B1")
    rows = "name,cas,barcode,sciformation_id\r\nNew name,1-2-3,B1,\r\nFresh,,B2,5\r\n,,B3,\r\n"
    answer = inventory.client.post(
        "/api/v1/chemicals/import", files={"file": ("c.csv", rows.encode())}
    ).json()["data"]
    assert (answer["imported"], answer["updated"], answer["skipped"]) == (1, 1, 1)
    assert answer["total_records"] == 3
    assert answer["errors"] == [{"row": 3, "error": "Name can't be blank"}]
    assert [item["name"] for item in inventory.data("/chemicals")] == ["Fresh", "New name"]
    inventory.post("/chemicals/import", {}, status=400)


def test_an_import_leaves_what_it_does_not_name(inventory: Inventory) -> None:
    whole = {
        "name": "Salt", "cas": "7647-14-5", "smiles": "[Na+].[Cl-]", "barcode": "C1",
        "amount": "1 kg", "storage": "Shelf 1", "sciformation_id": 7,
    }  # fmt: skip
    inventory.post("/chemicals", {"chemical": whole})
    for row, changed in (
        ({"barcode": "C1", "name": "NaCl", "storage": "Shelf 2"}, {}),
        ({"sciformation_id": 7, "name": "Rock salt", "barcode": None}, {}),
        ({"sciformation_id": 7, "name": "Rock salt", "cas": None}, {"cas": None}),
    ):
        answer = inventory.post("/chemicals/import", {"chemicals": [row]}, status=200)["data"]
        assert (answer["imported"], answer["updated"]) == (0, 1)
        given = {key: value for key, value in row.items() if value is not None}
        whole = {**whole, **given, **changed}
        (found,) = inventory.data("/chemicals", search=row["name"])
        assert {key: found[key] for key in whole} == whole
    rows = "name,cas,barcode,storage,amount\r\nHalite,,C1,\r\n"
    inventory.client.post("/api/v1/chemicals/import", files={"file": ("c.csv", rows.encode())})
    (found,) = inventory.data("/chemicals", search="C1")
    assert {key: found[key] for key in whole} == {**whole, "name": "Halite"}


def test_an_import_knows_chemicals_by_number_then_by_barcode(inventory: Inventory) -> None:
    inventory.chemical("By hand", barcode="B1")
    inventory.post(
        "/chemicals",
        {"chemical": {"name": "Numbered", "barcode": "B2", "sciformation_id": 2}},
    )
    rows = [
        {"name": "By hand", "barcode": "B1", "sciformation_id": 1},
        {"name": "Another", "barcode": "B2", "sciformation_id": 3},
        {"name": "Another", "barcode": "B4", "sciformation_id": 3},
    ]
    answer = inventory.post("/chemicals/import", {"chemicals": rows}, status=200)["data"]
    assert (answer["imported"], answer["updated"]) == (1, 2)
    there = {(item["sciformation_id"], item["barcode"]) for item in inventory.data("/chemicals")}
    assert there == {(1, "B1"), (2, "B2"), (3, "B4")}


def test_blank_cells_of_an_import_are_no_barcode(inventory: Inventory) -> None:
    inventory.chemical("Known", barcode="B1", storage="Shelf 1")
    rows = "name,cas,barcode,storage\r\nA, 1-1, , \r\nB,2-2, ,\r\nKnown,,B1, \r\n"
    answer = inventory.client.post(
        "/api/v1/chemicals/import", files={"file": ("c.csv", rows.encode())}
    ).json()["data"]
    assert (answer["imported"], answer["updated"]) == (2, 1)
    found = {item["name"]: item for item in inventory.data("/chemicals")}
    assert [found[name]["cas"] for name in "AB"] == ["1-1", "2-2"]
    assert [found[name]["barcode"] for name in "AB"] == [None, None]
    assert found["Known"]["storage"] == "Shelf 1"
    listed = [{"name": name, "barcode": " "} for name in ("C", "D")]
    answer = inventory.post("/chemicals/import", {"chemicals": listed}, status=200)["data"]
    assert answer["imported"] == 2


def test_an_import_takes_no_chemical_by_the_barcode_it_had(inventory: Inventory) -> None:
    whole = {"name": "Seven", "barcode": "OLD", "sciformation_id": 7}
    inventory.post("/chemicals", {"chemical": whole})
    rows = [{**whole, "barcode": "NEW"}, {"name": "Other", "barcode": "OLD"}]
    answer = inventory.post("/chemicals/import", {"chemicals": rows}, status=200)["data"]
    assert (answer["imported"], answer["updated"]) == (1, 1)
    there = {(item["name"], item["barcode"]) for item in inventory.data("/chemicals")}
    assert there == {("Seven", "NEW"), ("Other", "OLD")}


def test_an_import_that_is_no_text_destroys_nothing(inventory: Inventory) -> None:
    inventory.chemical("\u00c4thanol", barcode="C2")
    rows = "name,barcode\r\n\u00c4thanol,C2\r\n".encode("cp1252")
    answer = inventory.client.post("/api/v1/chemicals/import", files={"file": ("c.csv", rows)})
    assert answer.status_code == 400
    assert [item["name"] for item in inventory.data("/chemicals")] == ["\u00c4thanol"]


@pytest.mark.parametrize("body", [
    {"chemical_id": None, "amount": ""}, {"_destroy": True}, {"chemical_id": None},
])  # fmt: skip
def test_a_blank_component_is_refused(inventory: Inventory, body: dict[str, Any]) -> None:
    chemical = inventory.chemical()
    for parts in ([], [{"chemical_id": chemical, "amount_with_unit": "1 g"}]):
        solution = inventory.solution(f"S{len(parts)}", components=parts)
        path = f"/stock_solutions/{solution}/components"
        answer = inventory.post(path, {"component": body}, status=422)
        assert "Stock solution components amount can't be blank" in answer["details"]
        assert len(inventory.data(path)) == len(parts)


def test_a_form_lists_components_without_numbers(inventory: Inventory) -> None:
    ids = [inventory.chemical(name) for name in ("Salt", "Sugar")]
    fields = [("stock_solution[name]", "S")]
    for number in ids:
        head = "stock_solution[components][]"
        fields += [(f"{head}[chemical_id]", str(number)), (f"{head}[amount_with_unit]", "5 mM")]
    made = inventory.client.post(
        "/api/v1/stock_solutions",
        content=urlencode(fields),
        headers={"content-type": "application/x-www-form-urlencoded"},
    ).json()
    assert made["component_summary"] == "Salt (5 mM), Sugar (5 mM)"


# -- units ----------------------------------------------------------------------------------------


def test_a_unit_that_is_new_comes_with_its_factor_or_not_at_all(inventory: Inventory) -> None:
    chemical = inventory.chemical()
    before = inventory.data("/units")
    part = {"chemical_id": chemical, "amount_with_unit": "2 kg"}
    inventory.solution("Taken")
    refused = {"stock_solution": {"name": "Taken", "components": [part]}}
    inventory.post("/stock_solutions", refused, status=422)
    assert inventory.data("/units") == before
    texts = ("2 kg", "1e-3 \u03bcM", "5 %w/v", "1 pinch", "3 Pinch")
    for number, text in enumerate(texts):
        part = {"chemical_id": chemical, "amount_with_unit": text}
        inventory.solution(f"S{number}", components=[part])
    new = [unit for unit in inventory.data("/units") if unit["id"] not in {u["id"] for u in before}]
    assert {unit["symbol"]: unit["conversion_to_base"] for unit in new} == {
        "kg": 1e6, "\u03bcM": 1e-3, "pinch": 1.0,
    }  # fmt: skip


def test_units_in_use_stay(inventory: Inventory) -> None:
    symbols = {unit["symbol"] for unit in inventory.data("/units")}
    assert symbols == {"mM", "M", "nl", "\u00b5l", "ml", "l", "mg", "g", "% w/v", "% v/v"}
    made = inventory.post("/units", {"unit": {"name": "drop", "symbol": "dr"}})["data"]
    assert (made["display_name"], made["conversion_to_base"]) == ("drop (dr)", 1.0)
    inventory.small()
    content = {"stock_solution_id": inventory.solution(), "volume": 2, "unit_id": made["id"]}
    inventory.post(f"/wells/{inventory.first_well()}/well_contents", {"well_content": content})
    assert inventory.data(f"/units/{made['id']}")["can_be_deleted"] is False
    inventory.delete(f"/units/{made['id']}", status=422)
    for bad in ({"name": "drop", "symbol": "x"}, {"name": "x", "symbol": "dr"}, {"name": "x"},
                {"name": "x", "symbol": "y", "conversion_to_base": 0}):  # fmt: skip
        inventory.post("/units", {"unit": bad}, status=422)
    changed = inventory.patch(f"/units/{made['id']}", {"unit": {"conversion_to_base": 50}})
    assert changed["data"]["symbol"] == "dr"
