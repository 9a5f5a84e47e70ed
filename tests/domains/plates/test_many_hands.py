"""Many hands at once: one winner for a place, nobody sent away with an error of the server."""

import collections
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from benchwire.domains.plates.store.images import ImageStore
from benchwire.domains.plates.store.records import Records
from benchwire.domains.plates.store.wells import WellStore
from benchwire.domains.plates.tables import images, scores, wells
from benchwire.foundation.db import Database, DatabaseUnavailable
from tests.domains.plates.conftest import Inventory, png


def at_once(calls: list[Callable[[], int]]) -> list[int]:
    """Return what calls made at the same moment return."""
    ready = threading.Barrier(len(calls))
    found: list[int] = []

    def run(call: Callable[[], int]) -> None:
        ready.wait()
        found.append(call())

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def status_of(inventory: Inventory, method: str, path: str, body: Any = None) -> int:
    return inventory.client.request(method, f"/api/v1{path}", json=body).status_code


def test_twenty_movers_have_one_winner(inventory: Inventory) -> None:
    for number in range(20):
        inventory.small(f"P{number}")
    for _ in range(3):
        place = inventory.place(1, len(inventory.data("/locations")) + 1)
        found = at_once(
            [
                lambda n=number, wanted=place: status_of(
                    inventory, "POST", f"/plates/P{n}/move_to_location", {"location_id": wanted}
                )
                for number in range(20)
            ]
        )
        assert collections.Counter(found) == {200: 1, 422: 19}
        assert inventory.data(f"/locations/{place}")["plates_count"] == 1
        history = inventory.data(f"/locations/{place}/history")
        assert len(history) == 1
        inventory.move(history[0]["plate"]["barcode"], None)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/plates", {"plate": {"barcode": "SAME", "rows": 1, "columns": 1}}),
        ("/locations", {"location": {"carousel_position": 1, "hotel_position": 1}}),
        ("/locations", {"location": {"name": "fridge"}}),
        ("/stock_solutions", {"stock_solution": {"name": "Buffer"}}),
        ("/units", {"unit": {"name": "drop", "symbol": "dr"}}),
        ("/chemicals", {"chemical": {"name": "x", "sciformation_id": 5}}),
    ],
    ids=str,
)
def test_what_is_unique_is_made_once(inventory: Inventory, path: str, body: Any) -> None:
    found = at_once([lambda: status_of(inventory, "POST", path, body)] * 12)
    assert collections.Counter(found) == {201: 1, 422: 11}


def test_a_well_is_made_once(inventory: Inventory) -> None:
    inventory.small()
    body = {"well": {"well_row": 7, "well_column": 7, "subwell": 1}}
    found = at_once([lambda: status_of(inventory, "POST", "/plates/PLATE001/wells", body)] * 12)
    assert collections.Counter(found) == {201: 1, 422: 11}


def test_the_database_itself_refuses_what_another_server_would_break(
    inventory: Inventory,
) -> None:
    """Rules hold where two servers share a database, and so do their sentences."""
    inventory.small("A")
    inventory.small("B")
    place = inventory.place()
    inventory.move("A", place)
    database = inventory.app.lab.database
    statement = sa.text("UPDATE plates_plate SET current_location_id = :place WHERE barcode = 'B'")
    with pytest.raises(sa.exc.IntegrityError):
        database.write(lambda connection: connection.execute(statement, {"place": place}))
    for broken in (
        "UPDATE plates_plate SET barcode = 'A' WHERE barcode = 'B'",
        "UPDATE plates_well SET well_column = 1",
    ):
        with pytest.raises(sa.exc.IntegrityError):
            database.write(lambda connection, text=broken: connection.execute(sa.text(text)))


def test_sixteen_threads_move_plates_without_error_and_fairly(inventory: Inventory) -> None:
    for number in range(16):
        inventory.small(f"P{number}")
    places = [inventory.place(1, hotel) for hotel in range(1, 41)]
    over = time.monotonic() + 3
    moves: dict[int, int] = collections.Counter()
    errors: list[int] = []

    def move(number: int) -> int:
        step = number
        while time.monotonic() < over:
            step = (step * 7 + number + 1) % len(places)
            body = {"location_id": places[step]}
            status = status_of(inventory, "POST", f"/plates/P{number}/move_to_location", body)
            moves[number] += 1
            if status not in {200, 422}:
                errors.append(status)
        return 0

    at_once([lambda n=number: move(n) for number in range(16)])
    assert errors == []
    assert min(moves.values()) > max(moves.values()) / 3
    here = [plate["current_location"]["id"] for plate in inventory.data("/plates", assigned="true")]
    assert len(here) == len(set(here))
    for number in range(16):
        history = inventory.data(f"/plates/P{number}/location_history")
        now = inventory.data(f"/plates/P{number}")["current_location"]
        assert (history[0]["location"] if history else None) == now


def test_a_list_takes_two_queries_however_many_wells(inventory: Inventory) -> None:
    for number in range(12):
        inventory.small(f"P{number}", rows=1 + number % 8, columns=12)
    inventory.upload(inventory.first_well("P1"))
    seen: list[str] = []
    engine = inventory.app.lab.database._reader

    def note(_c: Any, _u: Any, statement: str, *_: Any) -> None:
        # Files are looked after in the background.
        is_background = "sha256 IN" in statement
        if statement.lstrip().upper().startswith(("SELECT", "WITH")) and not is_background:
            seen.append(statement)

    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        for path in ("/plates?per_page=10", "/wells?per_page=100", "/stock_solutions",
                     "/locations", "/chemicals?per_page=10"):  # fmt: skip
            seen.clear()
            inventory.get(path)
            assert len(seen) <= 2, seen
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)


@pytest.mark.parametrize("round_", range(5))
def test_changes_of_different_fields_do_not_undo_each_other(
    inventory: Inventory, round_: int
) -> None:
    inventory.small()
    well = inventory.first_well()
    chemical = inventory.chemical()
    at_once(
        [lambda key=key: status_of(inventory, "PATCH", f"/wells/{well}", {"well": {key: 1}})
         for key in ("x_mm", "y_mm", "z_mm")]
        + [lambda key=key: status_of(inventory, "PATCH", f"/chemicals/{chemical}",
                                     {"chemical": {key: "changed"}})
           for key in ("name", "cas", "barcode")]
    )  # fmt: skip
    changed = inventory.data(f"/wells/{well}")
    assert [changed[key] for key in ("x_mm", "y_mm", "z_mm")] == [1.0, 1.0, 1.0]
    changed = inventory.data(f"/chemicals/{chemical}")
    assert [changed[key] for key in ("name", "cas", "barcode")] == ["changed"] * 3
    assert inventory.get("/chemicals/search", q="tris") == []


@pytest.mark.parametrize(
    ("store", "change", "ask"),
    [
        (WellStore, "update", lambda inventory, well: inventory.patch(
            f"/wells/{well}", {"well": {"x_mm": 1}})),
        (WellStore, "update", lambda inventory, well: inventory.patch(
            f"/plates/OLD/wells/{well}", {"well": {"x_mm": 1}})),
        (WellStore, "add_score", lambda inventory, well: inventory.post(
            f"/wells/{well}/scores", {"score": 3})),
        (ImageStore, "create", lambda inventory, well: inventory.upload(well)),
    ],
    ids=["well", "well in plate", "score", "image"],
)  # fmt: skip
def test_what_belongs_to_a_well_stays_with_it_while_it_is_moved(
    inventory: Inventory,
    monkeypatch: pytest.MonkeyPatch,
    store: type[Records],
    change: str,
    ask: Callable[[Inventory, int], Any],
) -> None:
    inventory.small("OLD")
    new = inventory.small("NEW", rows=8)["id"]
    well = inventory.first_well("OLD")
    inventory.upload(well)
    inventory.post(f"/wells/{well}/scores", {"score": 2})
    original = getattr(store, change)

    def change_after_a_move(self: Records, *given: Any) -> Any:
        monkeypatch.setattr(store, change, original)
        inventory.patch(f"/wells/{well}", {"well": {"plate_id": new, "well_row": 9}})
        return original(self, *given)

    monkeypatch.setattr(store, change, change_after_a_move)
    ask(inventory, well)
    with inventory.app.lab.database.read() as connection:
        for table in (wells, images, scores):
            own = table.c.id if table is wells else table.c.well_id
            found = connection.scalars(sa.select(table.c.plate_id).where(own == well))
            assert set(found) == {new}, table.name
    inventory.delete("/plates/OLD?permanent=true")
    assert inventory.data(f"/wells/{well}/images")
    assert inventory.data(f"/wells/{well}/scores")


@pytest.mark.parametrize("kind", ["plate", "image", "point", "score"])
def test_what_is_stored_is_answered_though_nothing_can_be_read_any_more(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    inventory.small()
    well = inventory.first_well()
    image = f"/wells/{well}/images/{inventory.upload(well)['data']['id']}"
    ask, there = {
        "plate": (lambda: inventory.post("/plates", {"plate": {"name": "new"}}), "/plates"),
        "image": (lambda: inventory.upload(well, png(40, 30)), f"/wells/{well}/images"),
        "point": (lambda: inventory.post(f"{image}/points_of_interest", {"pixel_x": 1,
                                                                        "pixel_y": 2}),
                  f"{image}/points_of_interest"),
        "score": (lambda: inventory.post(f"/wells/{well}/scores", {"score": 3}),
                  f"/wells/{well}/scores"),
    }[kind]  # fmt: skip
    before = len(inventory.data(there))
    write, read = Database.write, Database.read
    is_cut = threading.Event()

    def write_and_cut(self: Database, work: Callable[[sa.Connection], Any]) -> Any:
        result = write(self, work)
        is_cut.set()
        return result

    def read_unless_cut(self: Database) -> Any:
        if is_cut.is_set():
            raise DatabaseUnavailable("The database does not answer")
        return read(self)

    with monkeypatch.context() as patches:
        patches.setattr(Database, "write", write_and_cut)
        patches.setattr(Database, "read", read_unless_cut)
        made = ask()["data"]
    listed = inventory.data(there)
    assert len(listed) == before + 1
    (same,) = [item for item in listed if item["id"] == made["id"]]
    assert same.items() <= made.items()
    if kind == "plate":
        assert inventory.data(f"/plates/{made['barcode']}") == made


def test_a_score_is_answered_with_itself(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    inventory.small()
    well = inventory.first_well()
    original = WellStore.add_score

    def add_before_another(self: WellStore, *given: Any) -> Any:
        monkeypatch.undo()
        made = original(self, *given)
        inventory.post(f"/wells/{well}/scores", {"score": 5})
        return made

    monkeypatch.setattr(WellStore, "add_score", add_before_another)
    assert inventory.post(f"/wells/{well}/scores", {"score": 2})["data"]["score"] == 2
