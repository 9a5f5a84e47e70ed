"""The battery pages in a real browser: fleet, a device at any range, live rows, `/dashboard`."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from benchwire.domains.battery.simulation import Truth, make_fleet
from tests.support.battery import minutes, write_signal
from tests.support.browser import NEEDS_CHROMIUM, watched_page
from tests.support.server import Server

pytestmark = NEEDS_CHROMIUM
NASTY = "<img src=x onerror=document.title='hacked'>"
DEVICE = "ZHPESS232A230002"
DAYS = 14


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Truth]:
    folder = tmp_path_factory.mktemp("fleet")
    truth = make_fleet(folder, devices=2, days=DAYS, seed=31, faults_per_device_day=1.0, cells=1)
    write_signal(folder, NASTY, "bms1_soc", [(at, 50) for at in minutes(300)])
    return folder, truth


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, port: int, fleet: tuple[Path, Truth]
) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("pages") / "data"
    options = ("--battery-data", str(fleet[0]))
    with Server(data, port, *options, environment={"BENCHWIRE_UI": "true"}) as running:
        for group in ("bms", "pcs"):
            httpx.get(f"{running.url}/{group}/devices", timeout=60).raise_for_status()
        yield running


@pytest.fixture
def page(browser: Any, server: Server) -> Iterator[Any]:
    with watched_page(browser, server.url) as opened:
        yield opened


def opened_device(page: Any, server: Server, device: str = DEVICE) -> Any:
    page.goto(f"{server.url}/ui/battery/{quote(device, safe='')}")
    chart = page.locator("[data-bw=chart]")
    page.wait_for_function(
        "() => Number(document.querySelector('[data-bw=chart]')?.dataset.points) > 0"
    )
    return chart


def test_fleet_shows_what_the_server_knows(page: Any, server: Server) -> None:
    known = {
        item["device_id"]: item["latest"]
        for item in httpx.get(f"{server.url}/bess/overview").json()["devices"]
    }
    page.goto(f"{server.url}/ui/battery")
    page.locator(".bt-device").nth(2).wait_for()
    cards = page.locator(".bt-device")
    assert cards.count() == 3
    for number in range(3):
        card = cards.nth(number)
        name = card.locator(".bt-name").inner_text()
        shown = card.locator("[data-value=soc]").first.inner_text()
        assert float(shown) == known[name]["soc"]
        if known[name].get("apparent_power") is None:
            assert card.locator("[data-value=apparent_power]").inner_text() == "\u2013"
    page.get_by_text(NASTY, exact=True).first.wait_for()
    assert page.title() != "hacked"


def test_odd_name_is_text_on_its_own_page(page: Any, server: Server) -> None:
    opened_device(page, server, NASTY)
    page.get_by_role("heading", name=NASTY).wait_for()
    assert page.title() != "hacked"


def test_zoom_fetches_a_finer_curve_and_keeps_the_range(page: Any, server: Server) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/series" in request.url else 0)
    chart = opened_device(page, server)
    assert any("metric=soc" in url for url in asked)
    before, span = len(asked), chart_span(chart)
    page.get_by_role("button", name="Zoom in").click()
    page.wait_for_function(f"() => {SPAN} < {span} * 0.6")
    page.wait_for_function(
        "() => document.querySelector('[data-bw=chart]').dataset.state === 'ready'"
    )
    page.wait_for_timeout(600)
    assert len(asked) > before
    page.get_by_role("button", name="All", exact=True).click()
    page.wait_for_function(f"() => {SPAN} > {DAYS - 1} * 86400e3")
    page.wait_for_function("() => location.hash.startsWith('#2023-09-19')")
    page.reload()
    page.locator("[data-bw=chart][data-start]").wait_for()
    page.wait_for_function(f"() => {SPAN} > {DAYS - 1} * 86400e3")


SPAN = (
    "((set) => Date.parse(set.end) - Date.parse(set.start))"
    "(document.querySelector('[data-bw=chart]').dataset)"
)


def chart_span(chart: Any) -> float:
    start, end = (
        datetime.fromisoformat(chart.get_attribute(f"data-{name}")) for name in ("start", "end")
    )
    return (end - start) / timedelta(milliseconds=1)


def test_injected_fault_is_listed_marked_and_zoomed_to(
    page: Any, server: Server, fleet: tuple[Path, Truth]
) -> None:
    soc = {"limit": 1000, "method": "auto"}
    listed = httpx.get(f"{server.url}/bms/{DEVICE}/anomalies", params=soc, timeout=60).json()
    known = {event["metric"] for event in listed["anomalies"]}
    assert known & {label.field for label in fleet[1].labels if label.device_id == DEVICE}
    chart = opened_device(page, server)
    page.get_by_role("button", name="All", exact=True).click()
    rows = page.locator("[data-bw=anomalies] tbody tr")
    rows.first.wait_for()
    page.wait_for_function(
        "() => Number(document.querySelector('[data-bw=anomalies]').dataset.events) > 3"
    )
    # The chart is drawn anew once it has the points of the whole.
    page.wait_for_function(
        "() => Number(document.querySelector('[data-bw=chart]').dataset.marks) > 0"
    )
    span = chart_span(chart)
    rows.first.click()
    page.wait_for_function(f"() => {SPAN} < {span} / 2")


def test_forecast_is_drawn_with_its_backtest(page: Any, server: Server) -> None:
    opened_device(page, server)
    page.get_by_text("Forecast", exact=True).scroll_into_view_if_needed()
    page.wait_for_function(
        "() => document.querySelector('[data-bw=forecast]')?.dataset.points === '96'",
        timeout=60_000,
    )
    expected = httpx.get(
        f"{server.url}/bms/{DEVICE}/forecast", params={"metric": "soc"}, timeout=60
    ).json()["backtest"]
    text = page.locator("[data-bw=forecast]").inner_text()
    assert f"{expected['mae']:.1f}" in text or f"{expected['mae']:.2f}" in text


def test_figures_and_report_come_from_the_server(page: Any, server: Server) -> None:
    opened_device(page, server)
    for title in (
        "Cycles and throughput",
        "Efficiency at the converter",
        "State of health",
        "Cells",
    ):
        card = page.locator(f'[data-figure="{title}"]')
        card.scroll_into_view_if_needed()
        page.locator(f'[data-figure="{title}"][data-busy="false"]').wait_for()
        assert len(card.inner_text()) > 40
    assert "bms1_" not in page.locator('[data-figure="Cells"]').inner_text()
    report = page.locator("[data-bw=report]")
    page.get_by_text("What was read", exact=True).scroll_into_view_if_needed()
    page.locator('[data-bw=report][data-busy="false"]').wait_for()
    rows = httpx.get(f"{server.url}/bms/{DEVICE}/report").json()["total_rows"]
    assert f"{rows:,}".replace(",", "\u202f") in report.inner_text()


def test_new_reading_appears_without_reload(page: Any, server: Server) -> None:
    url = f"{server.url}/bms/rack-3/readings"
    for minute in range(3):
        body = {"timestamp": f"2026-01-01T00:0{minute}:00Z", "soc": 40.0 + minute}
        httpx.post(url, json=body).raise_for_status()
    opened_device(page, server, "rack-3")
    page.wait_for_function("() => document.querySelector('.battery').dataset.live === 'connected'")
    httpx.post(url, json={"timestamp": "2026-01-01T00:05:00Z", "soc": 77.5}).raise_for_status()
    page.locator("[data-value=soc]", has_text="77.5").wait_for()
    page.wait_for_function("() => document.querySelector('.battery').dataset.arrived === '1'")


def test_phone_shows_no_wider_page_than_itself(browser: Any, server: Server) -> None:
    with watched_page(browser, server.url, viewport={"width": 390, "height": 844}) as page:
        for path in ("/ui/battery", f"/ui/battery/{DEVICE}", "/dashboard"):
            page.goto(f"{server.url}{path}")
            page.wait_for_timeout(1500)
            assert page.evaluate("document.documentElement.scrollWidth") <= 390, path


def test_plain_dashboard_shows_a_batch_and_follows_a_stream(page: Any, server: Server) -> None:
    page.goto(f"{server.url}/dashboard")
    page.locator("#rows tr").nth(20).wait_for()
    first = httpx.get(f"{server.url}/bms/{DEVICE}").json()["data"][0]["timestamp"]
    page.select_option("#device", DEVICE)
    page.locator("#rows td", has_text=first).wait_for()
    page.click("#later")
    page.locator("#place", has_text="rows 20 to 39").wait_for()
    page.fill("#interval", "0.1")
    page.click("#start")
    page.wait_for_function(
        "() => Number(document.querySelector('#row').textContent.split(/[ ,]/)[1]) >= 5"
    )
    assert page.locator("[data-field=soc] dd").inner_text().endswith("%")
    page.click("#stop")
    assert page.locator("#state").inner_text() == "stopped"
    page.select_option("#group", "pcs")
    page.locator("#rows th", has_text="apparent_power / kW").wait_for()
