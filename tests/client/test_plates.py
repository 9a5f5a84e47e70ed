"""The inventory of plates from Python."""

import io
from pathlib import Path

import pytest
from PIL import Image

from benchwire.client import Bench, BenchError, Invalid, NotFound


@pytest.fixture(scope="module")
def plate(lab: object) -> str:
    bench: Bench = lab.bench
    return bench.plates.create("P 1 ü", "Nüsse", rows=2, columns=3, subwells=2)


def picture() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (32, 24), "#88aacc").save(content, "PNG")
    return content.getvalue()


def test_plate_and_wells_are_tables(bench: Bench, plate: str) -> None:
    found = bench.plates.search("nüss")
    assert found["barcode"].to_list() == [plate]
    assert found["wells_count"].to_list() == [12]
    wells = bench.plates.wells(plate)
    assert wells["well"].to_list()[:4] == ["A1", "A1-2", "A2", "A2-2"]
    assert len(bench.plates.plate(plate)["wells"]) == 12
    assert bench.plates.well(plate, "a1-2")["subwell"] == 2


def test_lists_longer_than_a_page_are_whole(bench: Bench) -> None:
    for number in range(3):
        bench.plates.create(f"page-{number}", rows=1, columns=1)
    rooms = bench.plates
    whole = rooms._pages("/wells")
    assert len(whole) == sum(rooms.all()["wells_count"])
    assert len({row["id"] for row in whole}) == len(whole)


def test_contents_are_put_in_and_read(bench: Bench, plate: str) -> None:
    salt = bench.plates.create_solution("NaCl µ", "Salz")
    # A name that a spreadsheet would take for a formula.
    bench.plates.create_solution("=2+2")
    assert bench.plates.add_content(plate, ["A1", "B3-2"], "NaCl µ", "2.5 ul") == 2
    assert bench.plates.add_content(plate, "all", "=2+2", "1 ul") == 12
    frame = bench.plates.contents(plate)
    assert frame.columns == ["well", "stock_solution", "amount", "unit"]
    assert frame.height == 14
    own = frame.filter(frame["stock_solution"] == "NaCl µ")
    assert own["well"].to_list() == ["A1", "B3-2"]
    assert own["amount"].to_list() == [2.5, 2.5]
    assert salt in bench.plates.solutions("NaCl")["id"].to_list()
    assert bench.plates.chemicals().columns[:2] == ["id", "name"]
    with pytest.raises(Invalid, match="Unknown unit"):
        bench.plates.add_content(plate, ["A1"], salt, "1 zz")
    with pytest.raises(NotFound, match="no stock solution"):
        bench.plates.add_content(plate, ["A1"], "nobody's", "1 ul")


def test_image_comes_back_byte_for_byte(bench: Bench, plate: str, tmp_path: Path) -> None:
    file = tmp_path / "Tröpfchen.png"
    file.write_bytes(picture())
    made = bench.plates.upload_image(
        plate, "A1", file, pixel_size_mm=(0.002, 0.003), reference_mm=(1, 2, 3), description="ö"
    )
    assert (made["filename"], made["pixel_width"]) == ("Tröpfchen.png", 32)
    assert bench.plates.image(plate, "A1") == picture()
    assert bench.plates.image(plate, "A1", made["id"]) == picture()
    point = bench.plates.mark(plate, "A1", made["id"], x=10, y=10, description="schön")
    assert point["real_world_x_mm"] == pytest.approx(1.02)
    points = bench.plates.points(plate)
    assert points.row(0, named=True)["well"] == "A1"
    bench.plates.upload_image(plate, "A1", picture(), pixel_size_mm=0.01)
    assert bench.plates.images(plate, "A1").height == 2
    with pytest.raises(NotFound):
        bench.plates.image(plate, "B1")
    with pytest.raises(Invalid, match="image"):
        bench.plates.upload_image(plate, "A1", b"no picture", pixel_size_mm=0.01)


def test_scores_stay(bench: Bench, plate: str) -> None:
    assert bench.plates.score_words()[1] == "Clear"
    bench.plates.score(plate, "B1", 1)
    bench.plates.score(plate, "B1", 9, note="groß", by="Zoë")
    frame = bench.plates.scores(plate, "B1")
    assert frame["score"].to_list() == [9, 1]
    assert frame["scored_by"].to_list() == ["Zoë", None]
    wells = bench.plates.wells(plate)
    assert wells.filter(wells["well"] == "B1")["score"].to_list() == [9]


def test_plate_is_moved(bench: Bench, plate: str) -> None:
    fridge = bench.plates.create_location("Kühlschrank")
    bench.plates.create_location(carousel=7, hotel=3)
    bench.plates.move(plate, "Kühlschrank", by="Zoë")
    with pytest.raises(Invalid, match="already occupied"):
        bench.plates.move("page-0", fridge)
    bench.plates.move(plate, (7, 3))
    assert bench.plates.all(is_placed=True)["location"].to_list() == ["Carousel 7, Hotel 3"]
    history = bench.plates.history(plate)
    assert history["location"].to_list() == ["Carousel 7, Hotel 3", "Kühlschrank"]
    for _ in range(26):
        bench.plates.move(plate, fridge)
        bench.plates.move(plate, (7, 3))
    # More than the API gives out unasked.
    assert bench.plates.history(plate).height == 54
    assert plate in bench.plates.locations()["current_plate_barcode"].to_list()
    bench.plates.move(plate, None)
    assert bench.plates.all(is_placed=True).is_empty()
    with pytest.raises(NotFound, match="no place"):
        bench.plates.move(plate, "nowhere")


def test_plate_is_changed_deleted_and_restored(bench: Bench, tmp_path: Path) -> None:
    barcode = bench.plates.create(name="to go", rows=1, columns=1)
    bench.plates.update(barcode, name="gone", new_barcode="G-1")
    bench.plates.delete("G-1")
    with pytest.raises(NotFound) as caught:
        bench.plates.plate("G-1")
    assert caught.value.status == 404
    assert "G-1" in caught.value.message
    bench.plates.restore("G-1")
    assert bench.plates.plate("G-1")["name"] == "gone"
    path = bench.plates.export(tmp_path / "plates.csv")
    assert "G-1" in path.read_text("utf-8")
    bench.plates.delete("G-1", for_good=True)


def test_refusals_say_all_that_is_wrong(bench: Bench, plate: str) -> None:
    with pytest.raises(Invalid) as caught:
        bench.plates.create(plate)
    assert caught.value.details == ("Barcode has already been taken",)
    assert "already been taken" in str(caught.value)
    with pytest.raises(NotFound, match="no well 'Z9'"):
        bench.plates.well(plate, "Z9")


def test_wells_that_were_left_out_are_named(bench: Bench, plate: str) -> None:
    gone = bench.plates.well("page-1", "A1")["id"]
    bench.plates.delete("page-1")
    with pytest.raises(BenchError, match="2 of 3") as caught:
        bench.plates.add_content(plate, ["A2", "A3", gone], "NaCl µ", "1 ul")
    assert caught.value.code == "plates.partly"
    assert str(gone) in caught.value.details[0]
