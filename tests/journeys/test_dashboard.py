"""The dashboard in a real browser: a CV from the form to the finished run, on every screen."""

import importlib.metadata
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.browser import NEEDS_CHROMIUM, watched_page
from tests.support.server import Server
from tests.support.waiting import until

pytestmark = NEEDS_CHROMIUM
KEY = "open sesame"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[Server]:
    with Server(
        tmp_path_factory.mktemp("dashboard") / "data",
        port,
        "--emulate",
        "potentiostat=2",
        environment={"BENCHWIRE_UI": "true", "BENCHWIRE_API_KEY": KEY},
    ) as running:
        yield running


@pytest.fixture
def page(browser, server: Server) -> Iterator[object]:
    """A page of a person who has given the key."""
    with watched_page(browser, server.url) as opened:
        opened.goto(f"{server.url}/ui/")
        opened.fill("#key", KEY)
        opened.click("button")
        opened.wait_for_url(re.compile("/ui/"))
        yield opened


def points_shown(page) -> int:
    return int(page.locator("[data-points]").first.get_attribute("data-points") or 0)


def start(page, server: Server, **fields: str) -> None:
    page.goto(f"{server.url}/ui/potentiostat")
    page.get_by_text("takes about").wait_for()
    for label, value in fields.items():
        page.get_by_label(label.replace("_", " "), exact=False).first.fill(value)
    page.get_by_role("button", name="Start").click()


def test_wrong_key_is_refused_at_the_door(browser, server: Server) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{server.url}/ui/potentiostat")
    assert page.url.endswith("/login")
    page.fill("#key", "wrong")
    page.click("button")
    assert page.get_by_role("alert").is_visible()
    context.close()


def test_who_has_no_key_makes_no_page_where_none_is(server: Server) -> None:
    """The library would keep one in memory for each that is not there."""
    version = importlib.metadata.version("nicegui")
    with httpx.Client(base_url=f"{server.url}/ui/_nicegui/") as client:
        for path in ("nothing", "", f"{version}/nothing", f"{version}/static/nothing.js",
                     f"{version}/resources/x", f"{version}/dynamic_resources/a/b"):  # fmt: skip
            answer = client.get(path)
            assert answer.status_code == 404, path
            assert answer.headers["content-type"] != "text/html; charset=utf-8", path
            assert len(answer.content) < 500
            assert not answer.cookies
        assert client.get(f"{version}/static/nicegui.js").is_success
    assert httpx.get(f"{server.url}/ui/nothing").status_code == 303


def test_cv_is_started_watched_cancelled_and_opened(page, server: Server) -> None:
    start(page, server, Experiment="Browser")
    page.locator("[data-points]").wait_for(state="attached")
    until(lambda: points_shown(page) > 20, seconds=20)
    before = points_shown(page)
    until(lambda: points_shown(page) > before + 20, seconds=20)
    page.get_by_text(re.compile(r"running · CV, \d+ %")).wait_for()
    page.get_by_role("button", name="Cancel").last.click()
    page.get_by_text(re.compile("^cancelled")).first.wait_for()
    page.get_by_role("link", name="Open the run").click()
    page.get_by_text(re.compile(r"Browser_.*_slot01_CV\.csv")).wait_for()
    with page.expect_download() as download:
        page.get_by_role("link", name="ZIP").click()
    assert download.value.suggested_filename.endswith(".zip")


def test_finished_run_shows_its_plot_and_is_found_in_the_history(page, server: Server) -> None:
    start(page, server, Experiment="Finished", Scan_rate="2", Cycles="1")
    page.get_by_text(re.compile("^done")).first.wait_for(timeout=60_000)
    page.get_by_role("link", name="Open the run").click()
    plot = page.get_by_role("img", name="CV of slot01")
    plot.wait_for()
    until(lambda: plot.evaluate("image => image.naturalWidth") > 500)
    page.goto(f"{server.url}/ui/potentiostat")
    row = page.locator("tbody tr").first
    row.get_by_text("done").wait_for()
    row.click()
    page.get_by_text(re.compile(r"Finished_.*_slot01_CV\.png")).wait_for()
    page.get_by_role("button", name="Repeat").click()
    page.wait_for_url(re.compile("/run/"))
    page.get_by_text(re.compile("running|done")).first.wait_for()
    until(lambda: not httpx.get(
        f"{server.url}/jobs?state=incomplete", headers={"X-API-Key": KEY}).json(),
        seconds=30,
    )  # fmt: skip


def test_form_says_what_is_wrong_beside_the_field(page, server: Server) -> None:
    page.goto(f"{server.url}/ui/potentiostat")
    page.get_by_text("takes about").wait_for()
    page.get_by_label("Scan rate").fill("-1")
    page.get_by_text("has to be above 0").wait_for()
    assert page.get_by_role("button", name="Start").is_disabled()
    page.get_by_label("Scan rate").fill("9")
    page.get_by_text("above 5 V/s the curve has few points").first.wait_for()
    assert page.get_by_role("button", name="Start").is_enabled()


def test_every_mode_has_its_form(page, server: Server) -> None:
    page.goto(f"{server.url}/ui/potentiostat")
    for title, label in [("EIS", "First frequency / Hz"), ("OCP", "Duration / s"),
                         ("PSTEP", "Potentials / V")]:  # fmt: skip
        page.get_by_label("Mode").click()
        page.get_by_role("option", name=re.compile(f"^{title} ")).click()
        page.get_by_label(label).wait_for()
    assert page.get_by_label("Scan rate").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1440, 1000), (390, 844)])
def test_pages_fit_every_screen(
    browser, server: Server, tmp_path: Path, scheme: str, width: int, height: int
) -> None:
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    page = context.new_page()
    page.goto(f"{server.url}/login")
    page.fill("#key", KEY)
    page.click("button")
    for path in ("/ui/", "/ui/potentiostat"):
        page.goto(f"{server.url}{path}")
        page.get_by_text("slot01").first.wait_for()
        page.wait_for_timeout(500)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        is_dark = page.evaluate("document.body.classList.contains('body--dark')")
        assert is_dark is (scheme == "dark")
        page.screenshot(path=tmp_path / f"{scheme}-{width}{path.replace('/', '-')}.png")
    context.close()


def test_theme_is_remembered(page, server: Server) -> None:
    page.goto(f"{server.url}/ui/potentiostat")
    page.get_by_role("button", name="Light or dark").click()
    page.wait_for_function("document.body.classList.contains('body--dark')")
    page.goto(f"{server.url}/ui/")
    page.wait_for_function("document.body.classList.contains('body--dark')")


def test_interrupted_work_is_told_and_repeated_with_one_click(page, server: Server) -> None:
    headers = {"X-API-Key": KEY}
    start(page, server, Experiment="Away")
    until(lambda: httpx.get(f"{server.url}/jobs?state=incomplete", headers=headers).json())
    # A page left open would reload itself once the server is back, and so undo the next step.
    page.goto("about:blank")
    server.kill()
    server.start()
    page.goto(f"{server.url}/ui/")
    page.get_by_text("While you were away").wait_for()
    page.get_by_text("stopped unexpectedly").wait_for()
    page.get_by_role("button", name="Repeat with the same parameters").click()
    until(lambda: httpx.get(f"{server.url}/jobs?state=incomplete", headers=headers).json())
    run = httpx.get(f"{server.url}/jobs?state=incomplete", headers=headers).json()[0]
    httpx.post(f"{server.url}/jobs/{run['run_id']}/cancel", headers=headers)
    page.get_by_role("button", name="Understood").click()
    page.get_by_text("While you were away").wait_for(state="detached")
    page.reload()
    page.get_by_text("Finished lately").wait_for()
    assert page.get_by_text("While you were away").count() == 0
