"""Images: real ones taken, all else refused, files kept and removed with their records."""

import hashlib
import io
import struct
import threading
import time
import zlib
from pathlib import Path
from typing import Any

import pytest

from benchwire.domains.plates.image_files import ImageFiles
from tests.domains.plates.conftest import IMAGE_FIELDS, Inventory, picture, png
from tests.support.waiting import until


def bomb(width: int, height: int) -> bytes:
    """Return a flat grey PNG of any size that is tiny on the disk."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    packer = zlib.compressobj(9)
    line = bytes(1 + width)
    pixels = b"".join(packer.compress(line) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels)
            + chunk(b"IEND", b""))  # fmt: skip


@pytest.fixture
def well(inventory: Inventory) -> int:
    inventory.small()
    return inventory.first_well()


def test_an_image_is_uploaded_with_its_place(inventory: Inventory, well: int) -> None:
    answer = inventory.upload(well, description="Test", captured_at="2025-07-15T12:00:00+02:00")
    assert answer["message"] == "Image created successfully"
    image = answer["data"]
    assert image.items() >= {
        "pixel_size_x_mm": 0.001, "pixel_size_y_mm": 0.001, "reference_x_mm": 10.0,
        "reference_y_mm": 20.0, "reference_z_mm": 5.0, "pixel_width": 1000, "pixel_height": 800,
        "physical_width_mm": 1.0, "physical_height_mm": 0.8, "description": "Test",
        "captured_at": "2025-07-15T10:00:00.000Z", "file_size": len(png()),
        "file_content_type": "image/png", "filename": "i.png", "well_id": well,
        "bounding_box": {"min_x": 10.0, "min_y": 20.0, "max_x": 11.0, "max_y": 20.8, "z": 5.0},
        "file_url": f"http://testserver/api/v1/wells/{well}/images/{image['id']}/file",
    }.items()  # fmt: skip
    path = f"/wells/{well}/images/{image['id']}"
    assert inventory.data(path) == image
    assert inventory.data(f"/plates/PLATE001{path}") == image
    (listed,) = inventory.data(f"/wells/{well}/images")
    assert listed.items() <= image.items()
    file = inventory.client.get(image["file_url"])
    assert file.content == png()
    assert file.headers["content-type"] == "image/png"
    assert file.headers["x-content-type-options"] == "nosniff"
    assert file.headers["content-disposition"].startswith("inline")
    same = inventory.client.get(image["file_url"], headers={"If-None-Match": file.headers["etag"]})
    assert same.status_code == 304
    proxied = inventory.client.get(
        f"/api/v1{path}", headers={"X-Forwarded-Proto": "https", "X-Forwarded-Host": "lab.example"}
    )
    assert proxied.json()["data"]["file_url"].startswith("https://lab.example/api/v1/")


@pytest.mark.parametrize(
    ("kind", "content_type"),
    [("PNG", "image/png"), ("JPEG", "image/jpeg"), ("GIF", "image/gif"), ("BMP", "image/bmp"),
     ("WEBP", "image/webp"), ("TIFF", "image/tiff")],
)  # fmt: skip
def test_every_kind_of_image_is_taken_by_its_content(
    inventory: Inventory, well: int, kind: str, content_type: str
) -> None:
    image = inventory.upload(well, picture(kind, 40, 30), name="of-another.kind")["data"]
    assert image["file_content_type"] == content_type
    assert (image["pixel_width"], image["pixel_height"]) == (40, 30)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"just text", "File must be an image"),
        (b"", "File can't be blank"),
        (png()[:20], "File must be an image"),
        (png()[:8], "File must be an image"),
        (picture("JPEG")[:4], "File must be an image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>", "File must be an image"),
        (b"%PDF-1.4", "File must be an image"),
        (b"II*\x00" + b"\xff" * 100, "File must be an image"),
        (b"GIF89a", "File must be an image"),
        (b"RIFF\x00\x00\x00\x00WEBP", "File must be an image"),
    ],
    ids=lambda value: repr(value)[:18],
)
def test_what_is_no_image_is_refused(
    inventory: Inventory, well: int, content: bytes, reason: str
) -> None:
    answer = inventory.upload(well, content, status=422, name="i.png")
    assert answer["error"] == "Failed to create image"
    assert answer["details"] == [reason]
    assert inventory.files == []
    assert inventory.data(f"/wells/{well}/images") == []


@pytest.mark.parametrize("file", ["a string", "", None])
def test_a_file_that_is_none_is_told(inventory: Inventory, well: int, file: Any) -> None:
    image = {**IMAGE_FIELDS, **({} if file is None else {"file": file})}
    answer = inventory.post(f"/wells/{well}/images", {"image": image}, status=422)
    expected = "File must be an image" if file == "a string" else "File can't be blank"
    assert answer["details"] == [expected]


def test_a_form_without_any_image_part_is_told(inventory: Inventory, well: int) -> None:
    answer = inventory.client.post(f"/api/v1/wells/{well}/images", data={"foo": "x"})
    assert answer.status_code == 400
    assert answer.json()["error"] == "Missing parameter"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"pixel_size_x_mm": None}, "Pixel size x mm can't be blank"),
        ({"pixel_size_y_mm": "0"}, "Pixel size y mm must be greater than 0"),
        ({"pixel_size_y_mm": "0.0000001"}, "Pixel size y mm must be greater than 0"),
        ({"pixel_size_x_mm": "x"}, "Pixel size x mm is not a number"),
        ({"pixel_size_x_mm": "1e9"}, "Pixel size x mm must be less than 10000"),
        ({"reference_x_mm": None}, "Reference x mm can't be blank"),
        ({"reference_z_mm": "inf"}, "Reference z mm is not a number"),
        ({"pixel_width": "10"}, "Pixel height can't be blank"),
        ({"pixel_height": "10"}, "Pixel width can't be blank"),
        ({"pixel_width": "-5", "pixel_height": "5"}, "Pixel width must be a positive integer"),
        ({"pixel_width": "1.5", "pixel_height": "5"}, "Pixel width must be a positive integer"),
        ({"captured_at": "yesterday"}, "Captured at is not a valid date and time"),
    ],
)
def test_wrong_numbers_are_told(
    inventory: Inventory, well: int, fields: dict[str, Any], reason: str
) -> None:
    answer = inventory.upload(well, status=422, **fields)
    assert reason in answer["details"]
    assert inventory.files == []


def test_given_sizes_win_over_the_files(inventory: Inventory, well: int) -> None:
    image = inventory.upload(well, pixel_width=500, pixel_height=400)["data"]
    assert (image["pixel_width"], image["physical_width_mm"]) == (500, 0.5)
    auto = inventory.upload(well, pixel_width="", pixel_height="")["data"]
    assert auto["pixel_width"] == 1000


def test_names_are_bare_and_never_paths(inventory: Inventory, well: int) -> None:
    for name, kept in (
        ("../../etc/passwd", "passwd"),
        ("C:\\x\\y.png", "y.png"),
        ("ünï \u202ecode.png", "ünï code.png"),
        ("<b>.png", "<b>.png"),
    ):
        assert inventory.upload(well, name=name)["data"]["filename"] == kept
    assert len(inventory.files) == 1


def test_a_huge_flat_image_is_answered_from_its_header(inventory: Inventory, well: int) -> None:
    content = bomb(8_000, 4_000)
    assert len(content) < 200_000
    began = time.monotonic()
    image = inventory.upload(well, content)["data"]
    assert (image["pixel_width"], image["pixel_height"]) == (8_000, 4_000)
    assert time.monotonic() - began < 5


def test_more_pixels_than_allowed_are_refused(inventory: Inventory, well: int) -> None:
    head = png()[:16] + struct.pack(">II", 20_001, 10_000) + png()[24:]
    broken = head[:29] + struct.pack(">I", zlib.crc32(head[12:29])) + head[33:]
    answer = inventory.upload(well, broken, status=422)
    assert answer["details"] == ["File has more than 200 megapixels"]


def test_a_file_too_large_is_refused_unread(inventory: Inventory, well: int) -> None:
    answer = inventory.client.post(
        f"/api/v1/wells/{well}/images", content=b"x",
        headers={"content-type": "multipart/form-data; boundary=x", "content-length": "200000000"},
    )  # fmt: skip
    assert answer.status_code == 413
    assert answer.json()["error"]


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_what_is_said_of_an_image_changes_and_its_file_stays(
    inventory: Inventory, well: int, method: str
) -> None:
    image = inventory.upload(well, captured_at="2025-01-01T00:00:00Z")["data"]
    path = f"/wells/{well}/images/{image['id']}"
    body = {"image": {"description": "new", "pixel_size_x_mm": "0.002", "file": "ignored"}}
    answer = inventory.ask(method, path, body)
    assert answer["message"] == "Image updated successfully"
    changed = answer["data"]
    assert (changed["description"], changed["physical_width_mm"]) == ("new", 2.0)
    for key in ("captured_at", "filename", "file_size", "sha256", "pixel_width"):
        assert changed[key] == image[key]
    wrong = inventory.ask(method, path, {"image": {"pixel_size_x_mm": 0}}, status=422)
    assert wrong["error"] == "Failed to update image"
    inventory.ask(method, path, {}, status=400)
    form = inventory.client.request(method, f"/api/v1{path}", data={"image[description]": "form"})
    assert form.json()["data"]["description"] == "form"


def test_a_deleted_image_takes_its_file_unless_another_has_the_same(
    inventory: Inventory, well: int
) -> None:
    first, second = (inventory.upload(well)["data"]["id"] for _ in range(2))
    assert len(inventory.files) == 1
    answer = inventory.delete(f"/wells/{well}/images/{first}")
    assert answer == {"data": None, "message": "Image deleted successfully"}
    assert len(inventory.files) == 1
    inventory.delete(f"/wells/{well}/images/{second}")
    assert inventory.files == []
    inventory.get(f"/wells/{well}/images/{second}", status=404)
    inventory.get(f"/wells/{well}/images/{second}/file", status=404)


def test_an_image_of_another_well_is_not_found(inventory: Inventory, well: int) -> None:
    image = inventory.upload(well)["data"]["id"]
    other = inventory.data("/plates/PLATE001/wells")[1]["id"]
    inventory.small("B")
    for path in (f"/wells/{other}/images/{image}", f"/wells/{other}/images/{image}/file",
                 f"/plates/B/wells/{well}/images/{image}", f"/wells/9999/images/{image}",
                 f"/wells/{well}/images/abc", f"/plates/NONE/wells/{well}/images"):  # fmt: skip
        assert inventory.get(path, status=404)["error"] == "Record not found"


def test_images_are_listed_newest_first(inventory: Inventory, well: int) -> None:
    for day in (2, 3, 1):
        inventory.upload(well, captured_at=f"2025-01-0{day}")
    days = [image["captured_at"][:10] for image in inventory.data(f"/wells/{well}/images")]
    assert days == ["2025-01-03", "2025-01-02", "2025-01-01"]
    assert inventory.data(f"/wells/{well}")["images_count"] == 3
    assert inventory.data(f"/wells/{well}")["images"][0]["captured_at"].startswith("2025-01-03")


def test_an_image_is_uploaded_by_its_wells_label(inventory: Inventory) -> None:
    inventory.small()
    path = "/images/plate/PLATE001/well/A02"
    assert inventory.upload(0, path=path)["message"] == "Image uploaded successfully"
    assert inventory.data("/plates/PLATE001/wells")[1]["images_count"] == 1
    for wrong in (
        "/images/plate/NONE/well/A1",
        "/images/plate/PLATE001/well/Z9",
        "/images/plate/PLATE001/well/x",
    ):
        inventory.upload(0, path=wrong, status=404)


@pytest.mark.parametrize("mode", ["RGB", "L", "I;16", "F", "RGBA", "P"])
def test_previews_are_drawn_of_deep_and_odd_images(
    inventory: Inventory, well: int, mode: str
) -> None:
    from PIL import Image

    content = io.BytesIO()
    Image.linear_gradient("L").resize((700, 500)).convert("I" if mode == "I;16" else mode).convert(
        mode
    ).save(content, "TIFF" if mode in {"I;16", "F"} else "PNG")
    image = inventory.upload(well, content.getvalue())["data"]
    answer = inventory.client.get(
        f"/api/v1/wells/{well}/images/{image['id']}/preview", params={"pixels": 200}
    )
    assert answer.headers["content-type"] == "image/webp"
    shown = Image.open(io.BytesIO(answer.content))
    assert max(shown.size) == 256
    low, high = shown.convert("L").getextrema()
    assert high - low > 150


def test_a_preview_of_broken_pixels_is_refused(inventory: Inventory, well: int) -> None:
    image = inventory.upload(well, png()[:60])["data"]
    answer = inventory.get(f"/wells/{well}/images/{image['id']}/preview", status=422)
    assert answer["details"] == ["File cannot be decoded"]


# -- crashes --------------------------------------------------------------------------------------


def test_what_a_crash_left_is_put_aside_at_the_next_start(tmp_path: Path) -> None:
    needed: set[str] = set()
    files = ImageFiles(tmp_path, lambda contents: needed & set(contents))
    with files.kept(io.BytesIO(b"wanted")) as wanted:
        needed.add(wanted.sha256)
    (tmp_path / "images/half.part").write_bytes(b"x")
    orphan = tmp_path / "images/ab/abcd"
    orphan.parent.mkdir()
    orphan.write_bytes(b"x")
    preview = files.preview("ef" * 32, 256)
    preview.parent.mkdir(parents=True)
    preview.write_bytes(b"x")
    needed.add("0" * 64)
    assert files.heal(needed) == ["0" * 64]
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {str(files.path(wanted.sha256).relative_to(tmp_path)), "unneeded/abcd"}
    assert files.path(wanted.sha256).read_bytes() == b"wanted"


def test_a_start_on_another_database_costs_no_image(tmp_path: Path) -> None:
    needed: set[str] = set()
    files = ImageFiles(tmp_path, lambda contents: needed & set(contents))
    with files.kept(io.BytesIO(b"of a drop")) as stored:
        needed.add(stored.sha256)
    assert files.heal(set()) == []
    assert not files.path(stored.sha256).exists()
    assert files.heal(needed) == []
    assert files.path(stored.sha256).read_bytes() == b"of a drop"


def test_no_thread_of_the_workers_asks_the_database_once_a_preview_is_drawn(
    inventory: Inventory, well: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[str] = []
    discard = ImageFiles.discard

    def noted(files: ImageFiles, contents: list[str]) -> None:
        threads.append(threading.current_thread().name)
        discard(files, contents)

    monkeypatch.setattr(ImageFiles, "discard", noted)
    inventory.upload(well)
    until(lambda: len(threads) == 2, seconds=30, what="the drawing")
    assert "worker" not in threads


def test_a_file_whose_record_fails_is_removed(tmp_path: Path) -> None:
    files = ImageFiles(tmp_path, lambda _: set())
    with pytest.raises(ValueError, match="no record"), files.kept(io.BytesIO(b"x")):
        raise ValueError("no record")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_delete_does_not_take_the_file_of_an_upload_under_way(tmp_path: Path) -> None:
    needed: set[str] = set()
    files = ImageFiles(tmp_path, lambda contents: needed & set(contents))
    with files.kept(io.BytesIO(b"same")) as stored:
        files.discard([stored.sha256])
        assert files.path(stored.sha256).is_file()
        needed.add(stored.sha256)
    assert files.path(stored.sha256).is_file()


# -- points of interest ---------------------------------------------------------------------------


@pytest.fixture
def image(inventory: Inventory, well: int) -> str:
    return f"/wells/{well}/images/{inventory.upload(well)['data']['id']}"


def mark(inventory: Inventory, image: str, *, status: int = 201, **point: Any) -> Any:
    body = {"point_of_interest": {"pixel_x": 100, "pixel_y": 150, **point}}
    return inventory.post(f"{image}/points_of_interest", body, status=status)


def test_a_point_is_marked_in_pixels_and_mm(inventory: Inventory, image: str) -> None:
    point = mark(inventory, image)["data"]
    assert point.items() >= {
        "pixel_x": 100, "pixel_y": 150, "real_world_x_mm": 10.1, "real_world_y_mm": 20.15,
        "real_world_z_mm": 5.0, "point_type": "crystal", "description": None,
        "display_name": "Crystal at (100, 150)",
    }.items()  # fmt: skip
    path = f"{image}/points_of_interest/{point['id']}"
    assert inventory.data(path) == point
    changed = inventory.patch(path, {"point_of_interest": {"description": "big"}})["data"]
    assert changed["display_name"] == "Crystal: big"
    assert inventory.data("/plates/PLATE001")["points_of_interest_count"] == 1
    (listed,) = inventory.data("/plates/PLATE001/points_of_interest")
    assert listed["well"]["position"] == "A1"
    assert inventory.data("/plates/PLATE001")["points_of_interest"] == [listed]
    alone = inventory.data(f"/points_of_interest/{point['id']}")
    assert alone["well"]["plate_barcode"] == "PLATE001"
    assert alone["image"]["filename"] == "i.png"
    inventory.patch(f"/points_of_interest/{point['id']}", {"point_of_interest": {"pixel_x": 0}})
    inventory.delete(path)
    inventory.get(path, status=404)
    inventory.get(f"/points_of_interest/{point['id']}", status=404)


@pytest.mark.parametrize(
    ("point", "reason"),
    [
        ({"pixel_x": 1000}, "Pixel x must be within image width (1000 pixels)"),
        ({"pixel_y": 800}, "Pixel y must be within image height (800 pixels)"),
        ({"pixel_x": -1}, "Pixel x must be greater than or equal to 0"),
        ({"pixel_x": None}, "Pixel x can't be blank"),
        ({"pixel_x": 1.5}, "Pixel x must be an integer"),
        ({"point_type": "dragon"}, "Point type is not included in the list"),
        ({"marked_at": "never"}, "Marked at is not a valid date and time"),
    ],
)
def test_what_a_point_cannot_be_is_told(
    inventory: Inventory, image: str, point: dict[str, Any], reason: str
) -> None:
    answer = mark(inventory, image, status=422, **point)
    assert answer["error"] == "Failed to create point of interest"
    assert reason in answer["details"]


def test_points_are_listed_by_type_and_age(inventory: Inventory, image: str) -> None:
    for day, kind in enumerate(("crystal", "particle", "crystal"), 1):
        mark(inventory, image, point_type=kind, marked_at=f"2025-01-0{day}T00:00:00Z")

    def days(path: str, **parameters: Any) -> list[str]:
        return [item["marked_at"][9] for item in inventory.data(path, **parameters)]

    assert days(f"{image}/points_of_interest") == ["3", "2", "1"]
    assert days("/points_of_interest") == ["3", "2", "1"]
    assert days("/points_of_interest/crystals") == ["3", "1"]
    assert days("/points_of_interest/particles") == ["2"]
    assert days("/points_of_interest/by_type", type="particle") == ["2"]
    assert days("/points_of_interest/recent", limit=2) == ["3", "2"]
    inventory.delete("/plates/PLATE001")
    assert days("/points_of_interest") == []


def test_previews_go_with_their_image(inventory: Inventory, well: int) -> None:
    image = inventory.upload(well)["data"]
    folder = inventory.app.settings.data_dir / "plates/previews"
    until(lambda: [*folder.rglob("*.webp")], seconds=20, what="the preview")
    inventory.delete(f"/wells/{well}/images/{image['id']}")
    # One that was still being drawn goes when it is done.
    until(lambda: not [*folder.rglob(f"{image['sha256']}*")], seconds=20, what="the removal")


def test_a_header_that_never_ends_is_refused_soon(inventory: Inventory, well: int) -> None:
    began = time.monotonic()
    answer = inventory.upload(well, b"\xff\xd8" + b"\xff" * 20_000_000, status=422)
    assert answer["details"] == ["File must be an image"]
    assert time.monotonic() - began < 5


def test_a_preview_goes_by_the_files_size_not_by_what_was_said(
    inventory: Inventory, well: int
) -> None:
    image = inventory.upload(well, pixel_width=1, pixel_height=1)["data"]
    answer = inventory.client.get(f"/api/v1/wells/{well}/images/{image['id']}/preview")
    assert answer.headers["content-type"] == "image/webp"


def test_a_preview_the_disk_refused_is_drawn_once_there_is_room(
    inventory: Inventory, well: int
) -> None:
    content = bomb(1500, 1100)
    previews = inventory.app.settings.data_dir / "plates/previews"
    folder = previews / hashlib.sha256(content).hexdigest()[:2]
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_bytes(b"in the way")
    image = inventory.upload(well, content)["data"]
    path = f"/wells/{well}/images/{image['id']}/preview"
    inventory.get(path, status=422)
    folder.unlink()
    until(
        lambda: inventory.client.get(f"/api/v1{path}").status_code == 200,
        seconds=20,
        what="the preview",
    )


def test_many_viewers_cost_one_drawing(inventory: Inventory, well: int) -> None:
    from concurrent.futures import ThreadPoolExecutor

    image = inventory.upload(well, bomb(4000, 3000))["data"]
    path = f"/api/v1/wells/{well}/images/{image['id']}/preview?pixels=1000"
    with ThreadPoolExecutor(20) as pool:
        drawn = [pool.submit(inventory.client.get, path) for _ in range(20)]
        began = time.monotonic()
        assert inventory.get("/health")["status"] == "healthy"
        assert time.monotonic() - began < 2
        assert {answer.result().status_code for answer in drawn} == {200}


def test_an_ome_tiff_of_many_planes_is_shown(inventory: Inventory, well: int) -> None:
    from PIL import Image, TiffImagePlugin

    planes = [Image.linear_gradient("L").resize((400, 300)).convert("I").convert("I;16")
              for _ in range(3)]  # fmt: skip
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[270] = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"/>'
    )
    content = io.BytesIO()
    planes[0].save(
        content, "TIFF", save_all=True, append_images=planes[1:], tiffinfo=tags,
        compression="tiff_lzw", big_tiff=True,
    )  # fmt: skip
    image = inventory.upload(well, content.getvalue(), name="movie.ome.tif")["data"]
    assert (image["pixel_width"], image["pixel_height"]) == (400, 300)
    assert image["file_content_type"] == "image/tiff"
    preview = inventory.client.get(f"/api/v1/wells/{well}/images/{image['id']}/preview")
    low, high = Image.open(io.BytesIO(preview.content)).convert("L").getextrema()
    assert high - low > 150
