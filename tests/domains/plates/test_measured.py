"""What was measured on a plate stays its own, whatever becomes of its barcode."""

from typing import Any

import pytest

from benchwire.domains.plates.errors import RecordNotFound
from benchwire.foundation.samples.store import Samples
from tests.domains.plates.conftest import Inventory


def samples_of(inventory: Inventory) -> Samples:
    found: Samples = inventory.app.lab.samples
    return found


def measure(inventory: Inventory, well: str, run_id: str) -> None:
    samples = samples_of(inventory)
    samples.link(samples.read(well), "run", run_id)


def runs_on(inventory: Inventory, well: str) -> list[str]:
    return [link.item_id for link in samples_of(inventory).of_sample(well)]


def sample_of(inventory: Inventory, run_id: str) -> str:
    (link,) = samples_of(inventory).of_item("run", run_id)
    assert link.sample == f"{link.plate}/{link.well}"
    return link.sample


def purge(inventory: Inventory, barcode: str) -> None:
    inventory.delete(f"/plates/{barcode}?permanent=true")


def test_measurements_follow_a_renamed_plate(inventory: Inventory) -> None:
    inventory.small("P1")
    measure(inventory, "P1/A1", "r1")
    samples = samples_of(inventory)
    samples.link(samples.read("S-1"), "plate", "P1")
    samples.link(samples.read("S-1"), "well", "P1/A2")
    inventory.patch("/plates/P1", {"plate": {"barcode": "P2"}})
    assert runs_on(inventory, "P2/A1") == ["r1"]
    assert samples.of_plate("P2") == {"A1": 1}
    assert {link.item_id for link in samples.of_sample("S-1")} == {"P2", "P2/A2"}
    inventory.small("P1")
    assert runs_on(inventory, "P1/A1") == []
    assert samples.of_plate("P1") == {}
    assert samples.of_item("plate", "P1") == []


def test_a_rename_that_is_refused_leaves_the_links(inventory: Inventory) -> None:
    inventory.small("P1")
    inventory.small("P2")
    measure(inventory, "P1/A1", "r1")
    inventory.patch("/plates/P1", {"plate": {"barcode": "P2"}}, status=422)
    assert runs_on(inventory, "P1/A1") == ["r1"]


def test_a_hidden_plate_keeps_its_measurements(inventory: Inventory) -> None:
    inventory.small("P1")
    measure(inventory, "P1/A1", "r1")
    inventory.delete("/plates/P1")
    assert runs_on(inventory, "P1/A1") == ["r1"]
    inventory.post("/plates/P1/restore", status=200)
    assert runs_on(inventory, "P1/A1") == ["r1"]


def create(inventory: Inventory) -> None:
    inventory.small("P1")


def rename(inventory: Inventory) -> None:
    inventory.small("Other")
    inventory.patch("/plates/Other", {"plate": {"barcode": "P1"}})


def load(inventory: Inventory) -> None:
    inventory.post("/import", {"plates": [{"barcode": "P1"}]}, status=200)


@pytest.mark.parametrize("remove", [lambda i: i.delete("/plates/P1"), lambda i: purge(i, "P1")])
@pytest.mark.parametrize("take", [create, rename, load])
def test_a_plate_shows_nothing_of_the_one_that_had_its_barcode(
    inventory: Inventory, take: Any, remove: Any
) -> None:
    inventory.small("P1")
    measure(inventory, "P1/A1", "r1")
    remove(inventory)
    take(inventory)
    assert runs_on(inventory, "P1/A1") == []
    assert samples_of(inventory).of_plate("P1") == {}
    former = sample_of(inventory, "r1")
    assert former.startswith("P1 (former plate ")
    assert [item.sample for item in samples_of(inventory).all("P1")] == [former]
    assert samples_of(inventory).id_of(former) == former
    assert runs_on(inventory, former) == ["r1"]


def test_plates_of_one_barcode_each_get_back_what_was_measured_on_them(
    inventory: Inventory,
) -> None:
    for run_id in ("r1", "r2"):
        inventory.small("P1")
        measure(inventory, "P1/A1", run_id)
        inventory.delete("/plates/P1")
    assert runs_on(inventory, "P1/A1") == ["r2"]
    inventory.post("/plates/P1/restore", status=200)
    assert runs_on(inventory, "P1/A1") == ["r2"]
    inventory.patch("/plates/P1", {"plate": {"barcode": "P2"}})
    inventory.post("/plates/P1/restore", status=200)
    assert runs_on(inventory, "P1/A1") == ["r1"]
    assert runs_on(inventory, "P2/A1") == ["r2"]
    purge(inventory, "P1")
    assert sample_of(inventory, "r1").startswith("P1 (former plate ")


def test_the_longest_barcode_still_names_what_was_measured(inventory: Inventory) -> None:
    inventory.small("P1")
    measure(inventory, "P1/A1", "r1")
    longest = "x" * 255
    inventory.patch("/plates/P1", {"plate": {"barcode": longest}})
    assert sample_of(inventory, "r1") == f"{longest}/A1"
    purge(inventory, longest)
    assert sample_of(inventory, "r1").startswith(longest)


@pytest.mark.parametrize("kind", ["image", "solution"])
@pytest.mark.parametrize("item_id", ["9" * 23, "9" * 5000, str(2**31), "0", "x", "²"])
def test_ids_that_no_record_can_have_are_not_found(
    inventory: Inventory, kind: str, item_id: str
) -> None:
    shelf = next(domain.shelf for domain in inventory.app.domains if domain.name == "plates")
    with pytest.raises(RecordNotFound):
        shelf.item(kind, item_id)
