"""Every page of every domain for everybody: by keyboard, by ear, on a phone, without internet."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support import accessibility
from tests.support.browser import NEEDS_CHROMIUM, watched_page
from tests.support.house import KEY, NASTY, House, environment, furnish, options
from tests.support.server import Server

pytestmark = [*NEEDS_CHROMIUM, pytest.mark.slow]

ROUTES = (
    "/", "/battery", "/battery/{device_id}", "/jobs", "/microscopy", "/microscopy/run/{job_id}",
    "/plates", "/plates/plate/{barcode}", "/plates/solutions", "/plates/well/{well_id}",
    "/potentiostat", "/potentiostat/run/{run_id}", "/powermeter", "/powermeter/{name}",
    "/samples", "/samples/view", "/search", "/stores", "/traces", "/traces/fit/{job_id}",
)  # fmt: skip
"""Every page of the dashboard; `tests.support.house` says where each can be seen."""

PLAIN = ("/login", "/dashboard")
"""Pages of our own beside the dashboard."""

_REGISTERED = """
import asyncio, json, sys
from pathlib import Path

import httpx

from benchwire.app import create_app
from benchwire.foundation.settings import load_server_settings


async def main():
    app = create_app(load_server_settings({"data_dir": Path(sys.argv[1]), "ui": True}))
    transport = httpx.ASGITransport(app=app)
    client = httpx.AsyncClient(transport=transport, base_url="http://here")
    async with app.lifespan(), client:
        await client.get("/ui/")
        from nicegui import Client

        print(json.dumps(sorted(set(Client.page_routes.values()))))


asyncio.run(main())
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("house")
    area = folder / "area"
    area.mkdir()
    started = options(area)
    with Server(folder / "data", port, *started, environment=environment(area)) as running:
        yield furnish(running.url, area)


@pytest.fixture(scope="module")
def session(browser: Any, house: House) -> Any:
    """What a browser keeps once a person has given the key."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{house.url}/login")
    page.fill("#key", KEY)
    page.click("button")
    page.wait_for_url(re.compile("/ui"))
    state = context.storage_state()
    context.close()
    return state


@contextmanager
def opened(browser: Any, house: House, session: Any, address: str, **more: Any) -> Iterator[Any]:
    """A page that is complete, in a browser that reaches nothing but the server."""
    refused: list[str] = []

    def only_here(route: Any) -> None:
        if route.request.url.startswith((house.url, "data:", "blob:", "about:")):
            route.continue_()
        else:
            refused.append(route.request.url)
            route.abort()

    # Without motion, so that nothing is looked at on its way from one look to another.
    more |= {"storage_state": session, "reduced_motion": "reduce"}
    with watched_page(browser, house.url, **more) as page:
        page.add_init_script(_NOTE_VIOLATIONS)
        page.route("**/*", only_here)
        page.goto(f"{house.url}{address}")
        if address.startswith("/ui"):
            page.locator('[data-bw-connection][data-state="connected"]').wait_for(state="attached")
            page.wait_for_function(_IS_COMPLETE)
        yield page
        assert page.evaluate("window.hacked") is None, f"{address} runs what people have written"
        assert page.evaluate("window.violations") == []
    assert refused == []


# What the page's own policy has kept it from.
_NOTE_VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
"""

# Nothing is waited for any more, and charts and pictures have been drawn.
_IS_COMPLETE = """
() => ![...document.querySelectorAll(
    "[role=status] .q-spinner, [data-busy=true], [data-state=loading]")]
    .some((element) => element.checkVisibility())
  && [...document.images].every((image) => image.complete)
"""


def seen_at(house: House, route: str) -> list[str]:
    return [f"/ui{address}" for address in house.pages[route]]


def test_every_page_is_looked_at(house: House, tmp_path: Path) -> None:
    """A new page needs an entry in ``ROUTES`` and an example in `tests.support.house`."""
    answer = subprocess.run(
        [sys.executable, "-c", _REGISTERED, str(tmp_path / "data")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout.splitlines()[-1]) == sorted(ROUTES)
    assert sorted(house.pages) == sorted(ROUTES)


@pytest.mark.parametrize("route", ROUTES)
def test_it_is_for_everybody(browser: Any, house: House, session: Any, route: str) -> None:
    """Every colour scheme and screen reader, the keyboard alone, and a phone."""
    found = []
    for address in seen_at(house, route):
        with opened(browser, house, session, address) as page:
            found += [f"{address}: {fault}" for fault in faults_of(page)]
    assert not found, "\n".join(found)


# Colours of the other theme fade within a frame or two, whatever is said about motion.
_HAS_THEME = """
(scheme) => (document.documentElement.dataset.theme || scheme) === scheme
  && !document.getAnimations().some((one) => one instanceof CSSTransition)
"""


def faults_of(page: Any) -> list[str]:
    found = []
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function(_HAS_THEME, arg=scheme)
        found += [f"{scheme}: {fault}" for fault in accessibility.violations(page)]
    unreached, unmarked = accessibility.keyboard_gaps(page)
    found += [f"not reached by Tab: {part}" for part in unreached]
    found += [f"focus is not seen: {part}" for part in unmarked]
    page.set_viewport_size({"width": 390, "height": 844})
    return found + [f"too wide for a phone: {part}" for part in accessibility.spills(page)]


@pytest.mark.parametrize("address", PLAIN)
def test_plain_pages_are_no_worse(browser: Any, house: House, session: Any, address: str) -> None:
    with opened(browser, house, session, address) as page:
        page.wait_for_load_state("load")
        found = faults_of(page)
    assert not found, "\n".join(found)


def test_a_refused_key_is_said_to_all(browser: Any, house: House) -> None:
    with opened(browser, house, None, "/login") as page:
        page.fill("#key", "wrong")
        page.click("button")
        page.get_by_role("alert").wait_for()
        assert accessibility.violations(page) == []


@pytest.mark.parametrize(("address", "part"), [("/docs", ".opblock"), ("/redoc", ".api-content")])
def test_documents_need_no_internet(
    browser: Any, house: House, session: Any, address: str, part: str
) -> None:
    with opened(browser, house, session, address) as page:
        page.locator(part).first.wait_for(timeout=60_000)


@pytest.mark.parametrize("address", ["/docs", "/login", "/dashboard"])
def test_scripts_that_are_not_ours_do_not_run(
    browser: Any, house: House, session: Any, address: str
) -> None:
    with watched_page(browser, house.url, storage_state=session) as page:
        page.add_init_script(_NOTE_VIOLATIONS)
        page.goto(f"{house.url}{address}")
        page.evaluate(
            """() => {
              const script = document.createElement("script");
              script.textContent = "window.hacked = 1";
              document.body.append(script);
            }"""
        )
        assert page.evaluate("window.hacked") is None
        assert page.evaluate("window.violations") == ["script-src-elem inline"]


@pytest.mark.parametrize(
    ("route", "number"),
    [
        ("/plates", 0), ("/plates/solutions", 0), ("/plates/plate/{barcode}", 0),
        ("/plates/well/{well_id}", 0), ("/potentiostat/run/{run_id}", 0),
        ("/powermeter/{name}", 1), ("/microscopy", 1), ("/microscopy/run/{job_id}", 0),
        ("/traces", 1), ("/traces/fit/{job_id}", 0), ("/battery", 0), ("/battery/{device_id}", 0),
        ("/samples", 0), ("/samples/view", 0), ("/search", 1), ("/jobs", 0), ("/", 0),
    ],
)  # fmt: skip
def test_names_stay_text(browser: Any, house: House, session: Any, route: str, number: int) -> None:
    with opened(browser, house, session, seen_at(house, route)[number]) as page:
        page.get_by_text(NASTY).first.wait_for(state="attached")
        assert page.locator('img[src="x"]').count() == 0
        assert page.locator("[onerror]").count() == 0


@pytest.mark.parametrize(
    ("route", "number", "words"),
    [
        ("/potentiostat", 0, [r"/ V\b", r"Scan rate / V/s", r"takes about [\d.]+ (s|min|h)"]),
        ("/potentiostat/run/{run_id}", 0, [r"duration = 1\.0 s"]),
        ("/powermeter/{name}", 0, [r"Voltage\s+[\d.]+\s+V", r"Power\s+[\d.]+\s+W", r"\d V\s+1 V"]),
        ("/plates/well/{well_id}", 0, [r"2\.0 ?(µl|ul|µL)", r"\d mm", r"Pixel width / mm"]),
        ("/microscopy", 1, [r"400 x 400 px", r"every 10 min", r"µm/px"]),
        ("/microscopy/run/{job_id}", 0, [r"Frame 0 · 0 min"]),
        ("/traces", 1, [r"to [\d.]+ h"]),
        ("/traces/fit/{job_id}", 0, [r"Mean R²\s+[\d.]+"]),
        ("/battery", 0, [r"% SOC", r"\d\u00a0kW", r"\d\u00a0°C"]),
        ("/battery/{device_id}", 1, [r"State of charge\s+[\d.]+\s*%", r"Power\s+\S*\d\s*kW"]),
    ],
)  # fmt: skip
def test_numbers_have_their_units(
    browser: Any, house: House, session: Any, route: str, number: int, words: list[str]
) -> None:
    with opened(browser, house, session, seen_at(house, route)[number]) as page:
        for pattern in words:
            page.wait_for_function(_SAYS, arg=pattern)


_SAYS = """
(pattern) => {
  const page = document.querySelector(".bw-page");
  const typed = [...page.querySelectorAll("input")].map((field) => field.value);
  return new RegExp(pattern, "u").test([page.innerText, page.textContent, ...typed].join(" "));
}
"""


def test_a_table_is_sorted_and_a_row_opened_by_keyboard(
    browser: Any, house: House, session: Any
) -> None:
    with opened(browser, house, session, "/ui/plates") as page:
        rows = page.locator("tbody a")
        for name in ("<img", "EMPTY"):
            page.get_by_role("button", name="Barcode").press("Enter")
            rows.first.filter(has_text=name).wait_for()
        rows.first.press("Enter")
        page.wait_for_url(re.compile("/plates/plate/EMPTY"))
        page.go_back()
        page.get_by_role("cell", name="Untouched").click()
        page.wait_for_url(re.compile("/plates/plate/EMPTY"))


def test_charts_take_the_colours_of_the_theme(browser: Any, house: House, session: Any) -> None:
    fit = seen_at(house, "/traces/fit/{job_id}")[0]
    colour = """
    () => {
      const chart = document.querySelector("[data-bw-plot]");
      const drawn = getElement(Number(chart.id.slice(1))).chart;
      return drawn && drawn.getOption().xAxis[0].axisLabel.color;
    }
    """
    with opened(browser, house, session, fit, color_scheme="light") as page:
        page.wait_for_function(f"({colour})() === '#52606d'")
        page.get_by_role("button", name="Light or dark").click()
        page.wait_for_function(f"({colour})() === '#a3b1be'")


@pytest.mark.parametrize(
    ("address", "button"),
    [
        ("/ui/plates", "New plate"), ("/ui/plates", "Make carousel"),
        ("/ui/plates", "New special place"), ("/ui/plates/plate/EMPTY", "Rename"),
        ("/ui/plates/plate/EMPTY", "Delete"), ("/ui/microscopy", "Browse"),
        ("/ui/traces", "Browse"),
    ],
)  # fmt: skip
def test_windows_are_no_worse_than_pages(
    browser: Any, house: House, session: Any, address: str, button: str
) -> None:
    with opened(browser, house, session, address) as page:
        page.get_by_role("button", name=button).click()
        page.get_by_role("dialog").wait_for()
        found = []
        for scheme in ("dark", "light"):
            page.emulate_media(color_scheme=scheme)
            page.wait_for_function(_HAS_THEME, arg=scheme)
            found += accessibility.violations(page)
        page.keyboard.press("Escape")
        page.get_by_role("dialog").wait_for(state="detached")
    assert not found, "\n".join(found)


def test_a_point_is_marked_by_coordinates(browser: Any, house: House, session: Any) -> None:
    with opened(browser, house, session, seen_at(house, "/plates/well/{well_id}")[0]) as page:
        page.get_by_text("Mark by coordinates").click()
        page.get_by_label("x / px").fill("12")
        page.get_by_label("y / px").fill("34")
        page.get_by_role("button", name="Mark", exact=True).click()
        page.get_by_text("Crystal at (12, 34)").wait_for()


def test_the_well_tells_what_was_measured_on_it(browser: Any, house: House, session: Any) -> None:
    well = seen_at(house, "/plates/well/{well_id}")[0]
    run, fit = house.pages["/potentiostat/run/{run_id}"][0], house.pages["/traces/fit/{job_id}"][0]
    with opened(browser, house, session, well) as page:
        for path in (run, fit):
            page.locator(f'a[href="/ui{path}"]').first.wait_for()
        page.get_by_role("heading", name="Potentiostat runs").wait_for()
        page.locator(f'a[href="/ui{run}"]').first.click()
        page.wait_for_url(re.compile(re.escape(run)))
        page.get_by_text("Measured on").wait_for()
        page.get_by_role("link", name=f"{NASTY}/A1 (slot01)").wait_for()
        with page.expect_download() as download:
            page.get_by_role("link", name="RO-Crate").click()
        assert download.value.suggested_filename.endswith(".zip")


def test_a_sample_is_named_in_the_forms(browser: Any, house: House, session: Any) -> None:
    with opened(browser, house, session, "/ui/potentiostat") as page:
        page.get_by_text("takes about").wait_for()
        page.get_by_text("Samples", exact=True).last.click()
        page.get_by_label("Mode").click()
        page.get_by_role("option", name=re.compile("^OCP ")).click()
        page.get_by_label("Duration").fill("1")
        page.get_by_label("Sample in slot01").fill("no such plate/A1")
        page.get_by_label("Slots").click()
        page.get_by_role("option", name="slot01").click()
        page.get_by_role("option", name="all").click()
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Start").click()
        page.get_by_text("There is no plate with the barcode").first.wait_for()
        page.get_by_label("Sample in slot01").fill("EMPTY/B2")
        page.get_by_role("button", name="Start").click()
        page.get_by_text("Started", exact=True).wait_for()
        page.get_by_role("link", name="Open the run").click()
        page.get_by_role("link", name="EMPTY/B2 (slot01)").wait_for()
