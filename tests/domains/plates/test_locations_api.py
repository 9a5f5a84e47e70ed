"""Places: made, changed, listed, as a grid, and cleared."""

from typing import Any

import pytest

from tests.domains.plates.conftest import Inventory

ELEMENT = {
    "id", "display_name", "carousel_position", "hotel_position", "name", "created_at",
    "updated_at", "current_plate_barcode",
}  # fmt: skip
NEITHER = (
    "Either name must be present, or both carousel_position and hotel_position must be present"
)


def make(inventory: Inventory, location: Any, kind: str | None = None, status: int = 201) -> Any:
    body = {"location": location} if kind is None else {"location": location, "location_type": kind}
    return inventory.post("/locations", body, status=status)


def test_both_kinds_are_made_as_in_the_examples(inventory: Inventory) -> None:
    answer = make(inventory, {"carousel_position": 5, "hotel_position": 10}, "carousel")
    assert answer["message"] == "Location created successfully"
    made = answer["data"]
    assert set(made) >= ELEMENT | {"current_plates", "is_occupied", "plates_count"}
    assert (made["display_name"], made["name"]) == ("Carousel 5, Hotel 10", None)
    assert (made["current_plates"], made["is_occupied"], made["plates_count"]) == ([], False, 0)
    special = make(inventory, {"name": "storage_room"}, "special")["data"]
    assert (special["display_name"], special["carousel_position"]) == ("storage_room", None)
    assert inventory.data(f"/locations/{special['id']}") == special


@pytest.mark.parametrize(
    ("location", "kind", "reasons"),
    [
        ({"carousel_position": -1}, None, {"Name can't be blank", NEITHER}),
        ({"carousel_position": -1, "hotel_position": 2}, "carousel",
         {"Carousel position must be greater than 0"}),
        ({"carousel_position": 1, "hotel_position": 0}, None,
         {"Hotel position must be greater than 0"}),
        ({"carousel_position": 1}, "carousel", {NEITHER}),
        ({"name": ""}, "special", {"Name can't be blank", NEITHER}),
        ({"carousel_position": 1, "hotel_position": 1}, "special", {"Name can't be blank"}),
        ({"carousel_position": "abc", "hotel_position": 1}, "carousel",
         {"Carousel position is not a number"}),
        ({"carousel_position": 1.5, "hotel_position": 1}, "carousel",
         {"Carousel position must be an integer"}),
        ({"carousel_position": 10_001, "hotel_position": 1}, "carousel",
         {"Carousel position must be less than or equal to 10000"}),
        ({"carousel_position": 10**40, "hotel_position": 1}, "carousel",
         {"Carousel position must be less than or equal to 10000"}),
        ({"name": "a\0b"}, "special", {"Name contains characters that cannot be stored"}),
    ],
)  # fmt: skip
def test_what_a_location_cannot_be_is_told(
    inventory: Inventory, location: Any, kind: str | None, reasons: set[str]
) -> None:
    answer = make(inventory, location, kind, 422)
    assert answer["error"] == "Failed to create location"
    assert reasons <= set(answer["details"])
    assert inventory.data("/locations") == []


@pytest.mark.parametrize(
    "body",
    [None, {}, {"location": {}}, {"location": None}, {"foo": 1}, {"location": "x"},
     {"location_type": "special"}],
    ids=str,
)  # fmt: skip
def test_a_missing_location_is_told(inventory: Inventory, body: Any) -> None:
    answer = inventory.post("/locations", body, status=400)
    assert answer["error"] == "Missing parameter"
    assert answer["message"] == "param is missing or the value is empty or invalid: location"


def test_known_columns_count_without_the_root(inventory: Inventory) -> None:
    assert inventory.post("/locations", {"name": "x"})["data"]["name"] == "x"
    made = inventory.post("/locations", {"carousel_position": "3", "hotel_position": "4"})
    assert made["data"]["display_name"] == "Carousel 3, Hotel 4"


def test_positions_and_special_names_are_unique(inventory: Inventory) -> None:
    inventory.place(1, 2)
    answer = make(inventory, {"carousel_position": 1, "hotel_position": 2}, status=422)
    assert answer["details"] == ["Carousel position has already been taken"]
    inventory.special("Fridge")
    for name in ("Fridge", "fridge", "FRIDGE"):
        answer = make(inventory, {"name": name}, status=422)
        assert answer["details"] == ["Name has already been taken"]
    inventory.special("Stra\u00dfe")
    make(inventory, {"name": "STRASSE"}, status=422)


def test_filters_combine(inventory: Inventory) -> None:
    for carousel, hotel in ((1, 1), (1, 2), (2, 1)):
        inventory.place(carousel, hotel)
    inventory.special("Cold_storage")
    inventory.special("bench 50%")

    def found(**filters: Any) -> list[str]:
        return [item["display_name"] for item in inventory.data("/locations", **filters)]

    assert found() == [
        "Carousel 1, Hotel 1", "Carousel 1, Hotel 2", "Carousel 2, Hotel 1", "Cold_storage",
        "bench 50%",
    ]  # fmt: skip
    assert found(name="STORAGE") == ["Cold_storage"]
    assert found(name="d_s") == ["Cold_storage"]
    assert found(name="%") == ["bench 50%"]
    assert found(carousel_position=1) == ["Carousel 1, Hotel 1", "Carousel 1, Hotel 2"]
    assert found(carousel_position=1, hotel_position=2) == ["Carousel 1, Hotel 2"]
    assert found(carousel_position=1, name="cold") == []
    assert found(carousel_position="abc") == []
    assert found(carousel_position="") == found()
    assert found(hotel_position=10**30) == []


def test_carousel_and_special_places_are_apart(inventory: Inventory) -> None:
    inventory.place(2, 1)
    inventory.place(1, 3)
    inventory.special("b")
    inventory.special("B2")
    assert [item["display_name"] for item in inventory.data("/locations/carousel")] == [
        "Carousel 1, Hotel 3", "Carousel 2, Hotel 1",
    ]  # fmt: skip
    assert [item["name"] for item in inventory.data("/locations/special")] == ["B2", "b"]
    assert set(inventory.data("/locations/carousel")[0]) >= ELEMENT


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_a_location_is_changed(inventory: Inventory, method: str) -> None:
    place = inventory.place(1, 1)
    answer = inventory.ask(method, f"/locations/{place}", {"location": {"hotel_position": 7}})
    assert answer["message"] == "Location updated successfully"
    assert answer["data"]["display_name"] == "Carousel 1, Hotel 7"
    body = {"location": {"name": "shelf"}, "location_type": "special"}
    changed = inventory.ask(method, f"/locations/{place}", body)["data"]
    assert (changed["name"], changed["carousel_position"]) == ("shelf", None)
    body = {"location": {"carousel_position": 2, "hotel_position": 2}, "location_type": "carousel"}
    changed = inventory.ask(method, f"/locations/{place}", body)["data"]
    assert (changed["name"], changed["carousel_position"]) == (None, 2)


def test_a_change_that_cannot_be_is_told(inventory: Inventory) -> None:
    place, _ = inventory.place(1, 1), inventory.place(1, 2)
    answer = inventory.patch(f"/locations/{place}", {"location": {"hotel_position": 2}}, status=422)
    assert answer["error"] == "Failed to update location"
    assert answer["details"] == ["Carousel position has already been taken"]
    assert inventory.patch(f"/locations/{place}", {}, status=400)["error"] == "Missing parameter"
    answer = inventory.patch(
        f"/locations/{place}", {"location": {"hotel_position": None}}, status=422
    )
    assert NEITHER in answer["details"]
    assert inventory.data(f"/locations/{place}")["display_name"] == "Carousel 1, Hotel 1"


def test_an_occupied_location_is_not_deleted(inventory: Inventory) -> None:
    inventory.small()
    place = inventory.place()
    inventory.move("PLATE001", place)
    shown = inventory.data(f"/locations/{place}")
    assert shown["current_plates"] == [{"barcode": "PLATE001", "wells_count": 2}]
    assert (shown["is_occupied"], shown["plates_count"]) == (True, 1)
    assert shown["current_plate_barcode"] == "PLATE001"
    assert inventory.data(f"/locations/{place}/current_plates") == shown["current_plates"]
    answer = inventory.delete(f"/locations/{place}", status=422)
    assert answer["error"] == "Cannot delete location that currently contains plates"
    inventory.move("PLATE001", None)
    answer = inventory.delete(f"/locations/{place}")
    assert answer == {"data": None, "message": "Location deleted successfully"}
    inventory.get(f"/locations/{place}", status=404)
    # The plate still knows that it was moved, if no more where to.
    assert len(inventory.data("/plates/PLATE001/location_history")) == 2


def test_the_history_tells_arrivals_alone(inventory: Inventory) -> None:
    place = inventory.place()
    for barcode in ("A", "B"):
        inventory.small(barcode)
        inventory.move(barcode, place)
        inventory.move(barcode, None)
    inventory.delete("/plates/A")
    history = inventory.data(f"/locations/{place}/history")
    assert [item["plate"]["barcode"] for item in history] == ["B", "A"]
    assert history[0]["plate"]["wells_count"] == 2


def test_a_location_is_cleared(inventory: Inventory) -> None:
    inventory.small()
    place = inventory.place(1, 5)
    empty = inventory.post(f"/locations/{place}/unassign_all_plates", status=200)
    assert empty["message"] == "No plates to unassign"
    assert empty["data"]["plates_unassigned"] == []
    assert empty["data"]["message"] == "No plates found at location Carousel 1, Hotel 5"
    inventory.move("PLATE001", place)
    answer = inventory.post(f"/locations/{place}/unassign_all_plates", status=200)
    assert answer["message"] == "All plates unassigned successfully"
    assert answer["data"]["plates_unassigned"] == [{"barcode": "PLATE001", "status": "success"}]
    assert answer["data"]["message"] == (
        "Successfully unassigned 1 plates from location Carousel 1, Hotel 5"
    )
    assert answer["data"]["location"]["id"] == place
    assert inventory.data("/plates/PLATE001")["current_location"] is None


def test_the_grid_has_holes_and_plates(inventory: Inventory) -> None:
    grid = inventory.data("/locations/grid")
    assert (len(grid["grid"]), len(grid["grid"][0])) == (20, 10)
    assert grid["grid"][0][0] == {
        "carousel_position": 1, "hotel_position": 1, "location": None, "plate": None,
        "occupied": False,
    }  # fmt: skip
    inventory.small()
    place = inventory.place(2, 3)
    inventory.place(4, 5)
    inventory.move("PLATE001", place)
    grid = inventory.data("/locations/grid")
    assert grid["dimensions"] == {
        "carousel_positions": 3, "hotel_positions": 3, "min_carousel": 2, "max_carousel": 4,
        "min_hotel": 3, "max_hotel": 5,
    }  # fmt: skip
    first = grid["grid"][0][0]
    assert first["occupied"] is True
    assert first["plate"] == {"barcode": "PLATE001", "wells_count": 2}
    assert first["location"]["id"] == place
    assert grid["grid"][1][1]["location"] is None
    assert grid["grid"][2][2]["location"]["display_name"] == "Carousel 4, Hotel 5"


def test_a_scattered_grid_lists_what_there_is(inventory: Inventory) -> None:
    inventory.place(1, 1)
    inventory.place(9999, 9999)
    grid = inventory.data("/locations/grid")
    assert grid["sparse"] is True
    assert [[cell["carousel_position"] for cell in row] for row in grid["grid"]] == [
        [1, 9999], [1, 9999],
    ]  # fmt: skip


def test_a_carousel_is_made_once(inventory: Inventory) -> None:
    inventory.place(1, 1)
    answer = inventory.post("/locations/initialise_carousel", {}, status=200)
    assert answer["data"] == {"created": 199, "existing": 1}
    again = inventory.post("/locations/initialise_carousel", {}, status=200)
    assert again["data"] == {"created": 0, "existing": 200}
    more = {"carousel_positions": 11, "hotel_positions": 20}
    assert (
        inventory.post("/locations/initialise_carousel", more, status=200)["data"]["created"] == 20
    )
    huge = {"carousel_positions": 10_000, "hotel_positions": 10_000}
    inventory.post("/locations/initialise_carousel", huge, status=422)


@pytest.mark.parametrize("wanted", ["9999", "abc", "-1", "1.5", str(2**70), "%20"])
@pytest.mark.parametrize("room", ["", "/current_plates", "/history"])
def test_an_unknown_location_is_not_found(inventory: Inventory, wanted: str, room: str) -> None:
    answer = inventory.get(f"/locations/{wanted}{room}", status=404)
    assert answer["error"] == "Record not found"


def test_statistics_count_live_plates(inventory: Inventory) -> None:
    for barcode in ("A", "B"):
        inventory.plate(barcode)
    for hotel in range(1, 5):
        inventory.place(1, hotel)
    special = inventory.special()
    inventory.move("A", special)
    inventory.move("B", special, status=422)
    inventory.move("A", None)
    inventory.move("A", special)
    assert inventory.data("/stats") == {
        "overview": {"total_plates": 2, "total_locations": 5, "total_wells": 192,
                     "occupied_locations": 1, "available_locations": 4},
        "locations": {"carousel_locations": 4, "special_locations": 1, "occupancy_rate": 20.0},
        "plates": {"plates_with_location": 1, "plates_without_location": 1,
                   "recent_movements": 3},
        "wells": {"wells_with_content": 0, "wells_without_content": 192,
                  "average_wells_per_plate": 96.0},
    }  # fmt: skip
    health = inventory.get("/health")
    assert health["status"] == health["data"]["status"] == "healthy"
    assert health["data"]["database"] == "connected"
    assert health["data"]["services"] == {"plates": 2, "locations": 5, "wells": 192}


def test_a_place_goes_by_its_own_name(inventory: Inventory) -> None:
    place = inventory.place(1, 5)
    changed = inventory.patch(f"/locations/{place}", {"location": {"name": "Front slot"}})["data"]
    assert changed["display_name"] == "Front slot"
    assert (changed["carousel_position"], changed["hotel_position"]) == (1, 5)
    for barcode in ("P1", "P2"):
        inventory.small(barcode)
    assert "moved to Front slot" in inventory.move("P1", place)["data"]["message"]
    refused = inventory.move("P2", place, status=422)
    assert "Location Front slot is already occupied by plate P1" in refused["error"]
    plates = [{"barcode": "P3", "location": "Front slot"}]
    answer = inventory.post("/import", {"plates": plates}, status=422)
    assert "already occupied" in answer["details"][0]
