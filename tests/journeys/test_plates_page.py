"""The inventory's pages in a real browser: from an empty carousel to a crystal on a moved plate."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.domains.plates.conftest import picture
from tests.support.browser import NEEDS_CHROMIUM, watched_page
from tests.support.server import Server
from tests.support.waiting import until

pytestmark = NEEDS_CHROMIUM
NASTY = "<img src=x onerror=document.title='hacked'>"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("plates") / "data"
    with Server(folder, port, environment={"BENCHWIRE_UI": "true"}) as running:
        yield running


@pytest.fixture
def page(browser, server: Server) -> Iterator[object]:
    with watched_page(browser, server.url) as opened:
        opened.goto(f"{server.url}/ui/plates")
        opened.get_by_role("button", name="New plate").wait_for()
        yield opened


def api(server: Server, path: str) -> Any:
    return httpx.get(f"{server.url}/api/v1{path}").raise_for_status().json()


def post(server: Server, path: str, body: Any = None) -> Any:
    return httpx.post(f"{server.url}/api/v1{path}", json=body).raise_for_status().json()


def make(server: Server, barcode: str, **more: Any) -> None:
    post(server, "/plates", {"plate": {"barcode": barcode, "rows": 2, "columns": 2, **more}})


def scan(page, text: str) -> None:
    """Type a barcode as a scanner does: quickly, and Enter at the end."""
    box = page.get_by_label("Scan or type a barcode")
    box.fill(text)
    box.press("Enter")


def cell(page, title: str):
    return page.locator(f'.pl-cell[title="{title}"]')


def test_a_plate_is_made_filled_imaged_marked_moved_and_remembered(
    page, server: Server, tmp_path: Path
) -> None:
    page.get_by_role("button", name="Make carousel").click()
    page.get_by_label("Carousel positions").fill("3")
    page.get_by_label("Hotel positions").fill("4")
    page.get_by_role("button", name="Make", exact=True).click()
    cell(page, "Carousel 3, Hotel 4: free").wait_for()

    page.get_by_role("button", name="New plate").click()
    page.get_by_label("Barcode (one is made up").fill("XTAL-1")
    page.get_by_label("Name", exact=True).fill("Lysozyme")
    page.get_by_role("button", name="Make", exact=True).click()
    page.wait_for_url(re.compile("/plates/plate/XTAL-1"))
    page.get_by_text("XTAL-1 (Lysozyme)").wait_for()
    assert page.locator("[data-well]").count() == 96

    post(server, "/stock_solutions", {"stock_solution": {"name": "Salt"}})
    page.get_by_role("switch", name="Choose wells").click()
    for label in ("A1-1", "A2-1", "B1-1"):
        page.locator(f'[aria-label="{label}"]').click()
        page.locator(f'[aria-label="{label}"][data-chosen="true"]').wait_for()
    page.get_by_role("button", name="Fill").click()
    page.get_by_label("Stock solution").click()
    page.get_by_role("option", name="Salt").click()
    page.get_by_label("Volume").fill("2 ul")
    page.get_by_role("dialog").get_by_role("button", name="Fill").click()
    page.get_by_text("Content added to 3 wells").wait_for()
    until(lambda: page.locator('[data-filled="true"]').count() == 3)

    page.get_by_role("switch", name="Choose wells").click()
    page.locator('[aria-label="A1-1"]').click()
    page.wait_for_url(re.compile("/plates/well/"))
    page.get_by_text("Salt, 2.0").wait_for()
    image = tmp_path / "drop.png"
    image.write_bytes(picture("PNG", 800, 600))
    page.locator('input[type="file"]').set_input_files(image)
    shown = page.locator(".pl-picture img").first
    shown.wait_for()
    until(lambda: shown.evaluate("image => image.naturalWidth") > 500, seconds=20)
    box = shown.bounding_box()
    shown.click(position={"x": box["width"] / 2, "y": box["height"] / 4})
    page.get_by_text(re.compile(r"Crystal at \((399|400|401), (149|150|151)\)")).wait_for()
    assert page.locator(".pl-point").count() == 1
    page.get_by_text("0.4000, 0.1500, 0.0000 mm").or_(
        page.get_by_text(re.compile(r"0\.(399|400|401)0, 0\.1(49|50|51)0, 0\.0000 mm"))
    ).first.wait_for()
    page.keyboard.press("9")
    page.locator(".q-badge", has_text="Crystals (3D) above 0.2 mm").wait_for()

    page.get_by_role("link", name="XTAL-1").click()
    page.locator(".q-badge", has_text="Crystals (3D) above 0.2 mm").wait_for()
    page.locator('[aria-label="A1-1"] img').wait_for(state="attached")
    page.get_by_label("Free place").click()
    page.get_by_role("option", name="Carousel 2, Hotel 3").click()
    page.get_by_role("button", name="Move", exact=True).click()
    page.get_by_text("Plate XTAL-1 moved to Carousel 2, Hotel 3").wait_for()
    page.get_by_text(re.compile("UTC: Carousel 2, Hotel 3 by dashboard")).wait_for()
    page.screenshot(path=tmp_path / "plate.png", full_page=True)
    history = api(server, "/plates/XTAL-1/location_history")["data"]
    assert history[0]["moved_by"] == "dashboard"


def test_a_plate_is_moved_by_two_clicks_and_by_dragging(page, server: Server) -> None:
    make(server, "CLICK")
    post(server, "/locations/initialise_carousel", {"carousel_positions": 3, "hotel_positions": 4})
    free = [item["id"] for item in api(server, "/locations/carousel")["data"]
            if item["display_name"] == "Carousel 1, Hotel 1"]  # fmt: skip
    post(server, "/plates/CLICK/move_to_location", {"location_id": free[0]})
    cell(page, "Carousel 1, Hotel 1: CLICK").click()
    page.get_by_text("CLICK is held").wait_for()
    cell(page, "Carousel 1, Hotel 2: free").click()
    cell(page, "Carousel 1, Hotel 2: CLICK").wait_for()
    assert api(server, "/plates/CLICK")["data"]["current_location"]["hotel_position"] == 2
    cell(page, "Carousel 1, Hotel 2: CLICK").drag_to(cell(page, "Carousel 1, Hotel 4: free"))
    cell(page, "Carousel 1, Hotel 4: CLICK").wait_for()
    cell(page, "Carousel 1, Hotel 4: CLICK").dblclick()
    page.wait_for_url(re.compile("/plates/plate/CLICK"))


def test_a_scanner_opens_a_plate_and_text_narrows_the_list(page, server: Server) -> None:
    make(server, "SCAN/ME".replace("/", "-"))
    make(server, "OTHER-99", name="narrow me")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == (
        "Scan or type a barcode"
    )
    scan(page, "narrow")
    page.get_by_role("cell", name="OTHER-99").wait_for()
    until(lambda: page.locator("tbody tr").count() == 1)
    scan(page, "SCAN-ME")
    page.wait_for_url(re.compile("/plates/plate/SCAN-ME"))


def test_an_occupied_place_is_refused_with_its_reason(page, server: Server) -> None:
    post(server, "/locations", {"location": {"name": "fridge"}})
    place = next(item["id"] for item in api(server, "/locations/special")["data"]
                 if item["name"] == "fridge")  # fmt: skip
    make(server, "FIRST")
    make(server, "SECOND")
    page.goto(f"{server.url}/ui/plates/plate/SECOND")
    page.get_by_label("Free place").click()
    page.get_by_role("option", name="fridge").click()
    post(server, "/plates/FIRST/move_to_location", {"location_id": place})
    page.get_by_role("button", name="Move", exact=True).click()
    page.get_by_text("fridge is already occupied by plate FIRST").first.wait_for()


def test_keys_lead_from_well_to_well(page, server: Server) -> None:
    make(server, "KEYS")
    wells = api(server, "/plates/KEYS/wells")["data"]
    page.goto(f"{server.url}/ui/plates/well/{wells[0]['id']}")
    page.get_by_text("A1-1", exact=True).wait_for()
    page.keyboard.press("ArrowRight")
    page.wait_for_url(re.compile(f"/well/{wells[1]['id']}$"))
    page.get_by_text("A2-1", exact=True).wait_for()
    page.keyboard.press("ArrowLeft")
    page.wait_for_url(re.compile(f"/well/{wells[0]['id']}$"))
    page.goto(f"{server.url}/ui/plates/plate/KEYS")
    page.locator('[aria-label="B2-1"]').focus()
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(f"/well/{wells[3]['id']}$"))


def test_images_stand_side_by_side_in_time(page, server: Server) -> None:
    make(server, "TIME")
    well = api(server, "/plates/TIME/wells")["data"][0]["id"]
    form = {"image[pixel_size_x_mm]": "0.001", "image[pixel_size_y_mm]": "0.001",
            "image[reference_x_mm]": "0", "image[reference_y_mm]": "0",
            "image[reference_z_mm]": "0"}  # fmt: skip
    for day, kind in ((2, "PNG"), (1, "TIFF")):
        httpx.post(
            f"{server.url}/api/v1/wells/{well}/images",
            data={**form, "image[captured_at]": f"2026-01-0{day}T00:00:00Z"},
            files={"image[file]": ("x", picture(kind, 300, 200))},
        ).raise_for_status()
    page.goto(f"{server.url}/ui/plates/well/{well}")
    thumbs = page.locator(".pl-thumb")
    thumbs.nth(1).wait_for()
    assert [thumbs.nth(n).inner_text().strip() for n in (0, 1)] == ["2026-01-01", "2026-01-02"]
    thumbs.nth(0).click(modifiers=["Control"])
    until(lambda: page.locator(".pl-picture img").count() == 2)
    for number in (0, 1):
        large = page.locator(".pl-picture img").nth(number)
        until(lambda found=large: found.evaluate("image => image.naturalWidth") == 300, seconds=20)


def test_a_solution_is_made_of_components(page, server: Server) -> None:
    page.goto(f"{server.url}/ui/plates/solutions")
    page.get_by_label("Name").last.fill("Tris-HCl")
    page.get_by_label("CAS number").fill("1185-53-1")
    page.get_by_role("button", name="Add", exact=True).click()
    page.get_by_text("Tris-HCl was added").wait_for()
    page.get_by_label("Name").first.fill("Buffer T")
    page.get_by_role("button", name="Add component").click()
    page.get_by_label("Chemical", exact=True).click()
    page.get_by_role("option", name="Tris-HCl (CAS: 1185-53-1)").click()
    page.get_by_label("Amount").fill("50 mM")
    page.get_by_role("button", name="Make", exact=True).click()
    page.get_by_text("Tris-HCl (50 mM)").wait_for()
    page.get_by_label("Search solutions").fill("no such")
    page.get_by_text("No stock solution here.").wait_for()


def test_names_are_text_on_every_page(page, server: Server) -> None:
    make(server, NASTY.replace("/", ""), name=NASTY)
    special = post(server, "/locations", {"location": {"name": NASTY}})["data"]["id"]
    post(server, "/stock_solutions", {"stock_solution": {"name": NASTY, "description": NASTY}})
    post(server, "/chemicals", {"chemical": {"name": NASTY}})
    found = next(p for p in api(server, "/plates")["data"] if p["name"] == NASTY)
    path = f"/plates/{quote(found['barcode'], safe='')}/move_to_location"
    post(server, path, {"location_id": special})
    well = next(w["id"] for w in api(server, "/wells")["data"]
                if w["plate_barcode"] == found["barcode"])  # fmt: skip
    for path in ("", "/solutions", f"/well/{well}"):
        page.goto(f"{server.url}/ui/plates{path}")
        page.get_by_text(NASTY[:20]).first.wait_for()
        page.wait_for_timeout(300)
        assert page.locator("img[src='x']").count() == 0
        assert "hacked" not in page.title()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1440, 1000), (390, 844)])
def test_the_pages_fit_every_screen(
    browser, server: Server, tmp_path: Path, scheme: str, width: int, height: int
) -> None:
    post(server, "/locations/initialise_carousel", {})
    barcode = f"FIT-{scheme}-{width}"
    make(server, barcode)
    well = api(server, f"/plates/{barcode}/wells")["data"][0]["id"]
    with watched_page(
        browser, server.url, viewport={"width": width, "height": height}, color_scheme=scheme
    ) as page:
        for name, path in (("all", ""), ("plate", f"/plate/{barcode}"), ("well", f"/well/{well}"),
                           ("solutions", "/solutions")):  # fmt: skip
            page.goto(f"{server.url}/ui/plates{path}")
            page.wait_for_timeout(1200)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, name
            page.screenshot(path=tmp_path / f"{name}-{scheme}-{width}.png", full_page=True)
