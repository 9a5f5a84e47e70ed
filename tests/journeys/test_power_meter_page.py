"""The power meter's page in a real browser, with hands on the meter's cable."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from benchwire.foundation.instruments.emulation import EmulatorProcess
from tests.domains.powermeter.conftest import emulated
from tests.support.browser import NEEDS_CHROMIUM, watched_page
from tests.support.ports import free_port
from tests.support.server import Server
from tests.support.waiting import until

pytestmark = NEEDS_CHROMIUM
NAMED_PAGE = "/ui/powermeter/meter1"


@pytest.fixture(scope="module")
def emulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    with emulated(tmp_path_factory.mktemp("meters"), 2) as process:
        yield process


@pytest.fixture(scope="module")
def alone() -> int:
    """The port on which the domain is served by itself."""
    return free_port()


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, emulators: EmulatorProcess, port: int, alone: int
) -> Iterator[Server]:
    environment = {
        "BENCHWIRE_UI": "true",
        "BENCHWIRE_POWERMETER_PORTS": json.dumps([str(p) for p in emulators.paths.values()]),
        "BENCHWIRE_POWERMETER_POLLING_INTERVAL": "0.05",
    }
    with Server(
        tmp_path_factory.mktemp("page") / "data", port, "--also", f"powermeter={alone}",
        environment=environment,
    ) as running:  # fmt: skip
        yield running


@pytest.fixture
def page(browser, server: Server) -> Iterator[object]:
    with watched_page(browser, server.url) as opened:
        opened.goto(f"{server.url}{NAMED_PAGE}")
        opened.locator('[data-bw="condition"][data-state="connected"]').wait_for()
        yield opened


def shown(page, name: str) -> str:
    return page.locator(f'[data-bw="{name}"]').first.inner_text()


def drawn(page) -> int:
    return int(page.locator("[data-steps]").first.get_attribute("data-steps") or 0)


def arrived(page) -> int:
    return int(page.locator("[data-readings]").first.get_attribute("data-readings") or 0)


def test_values_and_chart_follow_the_meter(page, emulators: EmulatorProcess) -> None:
    emulators.control("p1", "set", voltage=9.0123, current=1.5, power=13.51845)
    until(lambda: shown(page, "voltage") == "9.0123", what="the voltage")
    assert shown(page, "current") == "1.50000"
    assert shown(page, "power") == "13.5184"
    assert shown(page, "voltage-max") == "9.0123"
    until(lambda: drawn(page) > 5, what="the chart")
    chart = page.locator("canvas").first
    assert chart.evaluate("canvas => canvas.width") > 300
    ink = chart.evaluate(
        """canvas => {
            const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            let coloured = 0;
            for (let i = 0; i < data.data.length; i += 4) {
              const [r, g, b, a] = data.data.slice(i, i + 4);
              if (a > 100 && Math.max(r, g, b) - Math.min(r, g, b) > 60) coloured += 1;
            }
            return coloured;
        }"""
    )
    assert ink > 100
    emulators.control("p1", "free")


def test_the_page_stays_smooth_at_twenty_polls_a_second(page) -> None:
    """Every reading arrives, and frames go on being drawn meanwhile."""
    page.evaluate(
        """() => {
            window.frames_drawn = 0;
            window.longest_pause = 0;
            let last = performance.now();
            const count = (now) => {
              window.frames_drawn += 1;
              window.longest_pause = Math.max(window.longest_pause, now - last);
              last = now;
              requestAnimationFrame(count);
            };
            requestAnimationFrame(count);
        }"""
    )
    before = arrived(page)
    page.wait_for_timeout(4000)
    assert arrived(page) - before >= 70
    assert page.evaluate("window.frames_drawn") > 40


def test_an_unplug_shows_within_three_seconds_and_heals_by_itself(
    page, emulators: EmulatorProcess, tmp_path: Path
) -> None:
    def is_frozen() -> bool:
        before = arrived(page)
        page.wait_for_timeout(500)
        return arrived(page) == before

    emulators.control("p1", "unplug")
    try:
        until(lambda: shown(page, "condition") == "unplugged", seconds=3, what="unplugged")
        page.locator('[data-connected="false"]').first.wait_for()
        assert shown(page, "last_error")
        page.screenshot(path=tmp_path / "unplugged.png")
        # What was under way when it was unplugged may still come.
        until(is_frozen, what="rest")
        frozen = arrived(page)
    finally:
        emulators.control("p1", "replug")
    until(lambda: shown(page, "condition") == "connected", seconds=7, what="connected")
    until(lambda: arrived(page) > frozen + 10, what="new readings")
    assert shown(page, "last_error") == ""


@pytest.mark.parametrize("title", ["1 min", "1 h", "30 days"])
def test_a_window_is_chosen_and_its_export_follows(page, title: str) -> None:
    page.get_by_role("button", name=title, exact=True).click()
    period = {"1 min": "1m", "1 h": "1h", "30 days": "720h"}[title]
    link = page.get_by_role("link", name="CSV").first
    until(lambda: f"/api/export/{period}.csv" in (link.get_attribute("href") or ""))
    until(lambda: drawn(page) >= 1 and shown(page, "power-avg") != "-", what="the chart")
    with page.expect_download() as download:
        link.click()
    assert download.value.suggested_filename == f"meter1-{period}.csv"


def test_the_configuration_is_changed_or_refused_beside_the_field(page, server: Server) -> None:
    interval = page.get_by_label("Polling interval / s")
    interval.fill("0.001")
    page.get_by_text("greater than or equal to 0.05").wait_for()
    page.get_by_role("button", name="Apply").click()
    page.get_by_text(re.compile("polling_interval: .*")).first.wait_for()
    config = httpx.get(f"{server.url}/api/config").json()
    assert config["polling_interval"] == 0.05
    interval.fill("0.1")
    page.get_by_label("Kept for / min").fill("60")
    page.get_by_text("Alarms", exact=True).last.click()
    page.get_by_label("high").nth(1).fill("4.5")
    page.get_by_role("button", name="Apply").click()
    page.get_by_text("The configuration was changed").wait_for()
    config = httpx.get(f"{server.url}/api/config").json()
    assert (config["polling_interval"], config["data_retention_minutes"]) == (0.1, 60)
    assert config["alarms"]["current"]["high"] == 4.5
    httpx.post(f"{server.url}/api/config", json={"polling_interval": 0.05, "alarms": {
        "current": {}}}).raise_for_status()  # fmt: skip


def test_an_alarm_and_a_charge_are_shown(page, server: Server, emulators: EmulatorProcess) -> None:
    emulators.control("p1", "set", voltage=5.0, current=3.0, power=15.0)
    httpx.post(f"{server.url}/api/config", json={"alarms": {"current": {"high": 2.5}}})
    page.locator('[data-alarm="true"]').first.wait_for()
    page.get_by_text("current high", exact=True).first.wait_for()
    page.get_by_text("charging since").wait_for()
    page.get_by_text("going on").first.wait_for()
    emulators.control("p1", "free")
    httpx.post(f"{server.url}/api/config", json={"alarms": {"current": {}}})
    page.locator('[data-alarm="false"]').first.wait_for()


def test_screen_buttons_and_recording_reach_the_meter(page, emulators: EmulatorProcess) -> None:
    before = emulators.control("p1", "state")["rotation"]
    page.get_by_role("button", name="rotate").click()
    until(lambda: emulators.control("p1", "state")["rotation"] != before, what="the rotation")
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").last.click()
    assert download.value.suggested_filename == "meter1-recording.csv"


def test_another_meter_is_chosen(page) -> None:
    page.get_by_label("Meter", exact=True).click()
    page.get_by_role("option", name="meter2").click()
    page.wait_for_url(re.compile("meter2"))
    page.get_by_text("4243").wait_for()


def test_home_and_the_old_port_show_live_values(browser, server: Server, alone: int) -> None:
    for url in (f"{server.url}/", f"http://127.0.0.1:{alone}/"):
        with watched_page(browser, url.rstrip("/")) as page:
            page.goto(url)
            page.locator('[data-bw="condition"][data-state="connected"]').first.wait_for()
            until(lambda opened=page: arrived(opened) > 3, what="readings")
            page.locator("canvas").first.wait_for()
    index = httpx.get(f"http://127.0.0.1:{alone}/", headers={"accept": "application/json"})
    assert index.status_code == 404
    assert httpx.get(f"http://127.0.0.1:{alone}/api/status").json()["connected"] is True


def test_a_restart_of_the_server_is_survived_by_the_open_page(page, server: Server) -> None:
    # What the page still has to load cannot come from a server that is not there.
    page.locator("canvas").first.wait_for()
    server.kill()
    until(lambda: shown(page, "condition") == "server not reached", what="the loss")
    server.start()
    # The dashboard may load the page anew; either way values flow again.
    until(lambda: page.locator('[data-bw="condition"][data-state="connected"]').count(),
          seconds=40, what="the return")  # fmt: skip
    before = arrived(page)
    until(lambda: arrived(page) != before, seconds=20, what="readings")


def test_an_unknown_meter_is_said(browser, server: Server) -> None:
    with watched_page(browser, server.url) as page:
        page.goto(f"{server.url}/ui/powermeter/%3Cimg%20src=x%20onerror=alert(1)%3E")
        page.get_by_text("There is no meter called").wait_for()
        assert page.locator("img[src='x']").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1440, 1000), (390, 844)])
def test_the_page_fits_every_screen(
    browser, server: Server, tmp_path: Path, scheme: str, width: int, height: int
) -> None:
    with watched_page(
        browser, server.url, viewport={"width": width, "height": height}, color_scheme=scheme
    ) as page:
        page.goto(f"{server.url}{NAMED_PAGE}")
        page.locator("[data-steps]").first.wait_for(state="attached")
        page.wait_for_timeout(500)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.screenshot(path=tmp_path / f"{scheme}-{width}.png", full_page=True)
