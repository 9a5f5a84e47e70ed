"""The pages over all domains in a real browser: what is wrong, what runs, search, samples."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from benchwire.foundation.clock import SystemClock
from benchwire.foundation.db import open_database
from benchwire.foundation.jobs.states import JobRecord, JobState
from benchwire.foundation.jobs.store import JobStore
from benchwire.foundation.samples.names import Sample
from benchwire.foundation.samples.store import Samples
from benchwire.home.pages.work import PAGE_SIZE
from tests.support.accessibility import keyboard_gaps, spills, violations
from tests.support.browser import NEEDS_CHROMIUM, watched_page
from tests.support.ports import free_port
from tests.support.server import Server
from tests.support.waiting import until

pytestmark = NEEDS_CHROMIUM
NASTY = "<img src=x onerror=window.hacked=1>"
OLD_JOBS = PAGE_SIZE + 5
OFTEN = "OFTEN/A1"
"""A well that much was measured on that is not here any more."""
PAGES = ("/", "/jobs", "/search?q=slot", "/samples", f"/samples/view?sample={quote(NASTY)}")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    port = free_port()
    with Server(
        tmp_path_factory.mktemp("home") / "data",
        port,
        "--emulate",
        "potentiostat=2",
        environment={"BENCHWIRE_UI": "true"},
    ) as running:
        until(lambda: len(httpx.get(f"{running.url}/devices").json()) == 2, what="two slots")
        yield running


@pytest.fixture
def page(browser: Any, server: Server) -> Iterator[Any]:
    with watched_page(browser, server.url) as opened:
        yield opened
        opened.goto(f"{server.url}/ui/")
        assert opened.evaluate("window.hacked") is None


def start(server: Server, slot: str = "slot01", *, seconds: float = 600.0, **more: Any) -> str:
    """Start a run and return its id."""
    body = {
        "devices": [slot],
        "modes": ["CA"],
        "params_by_mode": {"CA": {"potential": 0.2, "duration": seconds}},
        "experiment_name": "Ferrocene",
        "client_datetime": "2026-05-04T12:00:00",
        "make_plot": False,
        **more,
    }
    # On a busy machine an emulated instrument may be away for a moment.
    until(lambda: slot in slots_of(server), what="the slot")
    answer = httpx.post(f"{server.url}/jobs", json=body, timeout=30)
    assert answer.is_success, answer.text
    return str(answer.json()["run_id"])


def slots_of(server: Server) -> list[str]:
    return [item["slot"] for item in httpx.get(f"{server.url}/devices").json()]


def state_of(server: Server, job_id: str) -> str:
    return str(httpx.get(f"{server.url}/work/{job_id}").json()["state"])


def ended(server: Server, job_id: str) -> None:
    until(lambda: state_of(server, job_id) not in {"queued", "running"}, seconds=30)


@contextmanager
def going_on(server: Server) -> Iterator[str]:
    run = start(server)
    try:
        until(lambda: state_of(server, run) == "running")
        yield run
    finally:
        httpx.post(f"{server.url}/work/{run}/cancel").raise_for_status()
        ended(server, run)


def go(page: Any, server: Server, path: str) -> None:
    page.goto(f"{server.url}/ui{path}")
    page.locator("[data-bw-connection][data-state=connected]").wait_for(state="attached")


def job(page: Any, title: str) -> Any:
    """The line of the newest job of a title, on any of the lists."""
    return page.locator("main li", has_text=title).first


def test_a_server_that_has_done_nothing_says_what_to_do_first(page: Any, server: Server) -> None:
    go(page, server, "/")
    page.get_by_text("Nothing needs attention.").wait_for()
    welcome = page.locator("section", has_text="Welcome")
    welcome.get_by_role("link", name="Potentiostats").wait_for()
    assert not page.get_by_role("heading", name="Under way").is_visible()
    for path, text in (("/jobs", "No jobs here."), ("/samples", "No samples yet."),
                       ("/search?q=zzz", "Nothing was found.")):  # fmt: skip
        go(page, server, path)
        page.get_by_text(text).wait_for()


def test_home_shows_a_run_begun_elsewhere_and_stops_it(page: Any, server: Server) -> None:
    go(page, server, "/")
    run = start(server)
    line = job(page, "CA on slot01")
    line.get_by_text(re.compile(r"^\d+%.* left")).wait_for()
    assert not page.get_by_role("heading", name="Welcome").is_visible()
    line.get_by_role("button", name="Cancel").click()
    page.get_by_text("Nothing is running.").wait_for()
    ended(server, run)
    assert state_of(server, run) == "cancelled"
    finished = page.locator("section", has_text="Finished lately")
    finished.get_by_text("cancelled").wait_for()
    finished.get_by_role("link", name="CA on slot01").click()
    page.wait_for_url(re.compile(f"/ui/potentiostat/run/{run}"))


def test_jobs_of_the_header_can_be_stopped_from_every_page(page: Any, server: Server) -> None:
    run = start(server, "slot02")
    go(page, server, "/samples")
    page.get_by_role("button", name="Jobs under way: 1").click()
    menu = page.locator(".q-menu")
    menu.get_by_text("CA on slot02", exact=True).wait_for()
    menu.get_by_text(re.compile(r"^\d+%")).wait_for()
    menu.get_by_role("button", name="Cancel").click()
    menu.get_by_text("Nothing is running.").wait_for()
    ended(server, run)


def test_a_job_is_done_again_from_the_list_and_its_results_are_linked(
    page: Any, server: Server
) -> None:
    run = start(server, seconds=0.3)
    ended(server, run)
    go(page, server, "/jobs")
    line = job(page, "CA on slot01")
    line.get_by_text("done").wait_for()
    line.get_by_text("by 127.0.0.1").wait_for()
    crate = line.get_by_role("link", name=re.compile("RO-Crate"))
    assert crate.get_attribute("href") == f"/crates/run/{run}"
    with page.expect_download() as download:
        crate.click()
    assert download.value.suggested_filename.endswith(".zip")
    line.get_by_role("button", name="Retry").click()
    page.get_by_text("Started again with the same parameters").wait_for()
    newest = httpx.get(f"{server.url}/work?limit=1").json()["jobs"][0]
    assert newest["id"] != run
    ended(server, newest["id"])
    line.get_by_text("by dashboard").wait_for()
    line.get_by_text("done").wait_for()
    line.get_by_role("link", name="CA on slot01").click()
    page.wait_for_url(re.compile(f"/ui/potentiostat/run/{newest['id']}"))


def test_jobs_are_listed_by_state_and_domain(page: Any, server: Server) -> None:
    stopped = start(server)
    httpx.post(f"{server.url}/work/{stopped}/cancel").raise_for_status()
    ended(server, stopped)
    ended(server, start(server, seconds=0.3))
    go(page, server, "/jobs")
    badges = page.locator("main li .bw-badge")
    until(lambda: {"done", "cancelled"} <= set(badges.all_inner_texts()))
    page.get_by_label("State").click()
    page.get_by_role("option", name="cancelled").click()
    until(lambda: set(badges.all_inner_texts()) == {"cancelled"})
    page.get_by_label("Domain").click()
    page.get_by_role("option", name="Traces").click()
    page.get_by_text("No jobs here.").wait_for()
    go(page, server, "/jobs?state=done&domain=potentiostat")
    until(lambda: set(badges.all_inner_texts()) == {"done"})


def test_names_are_shown_as_text(page: Any, server: Server) -> None:
    run = start(server, seconds=0.3, experiment_name=NASTY.replace("/", ""))
    ended(server, run)
    for item in ({"sample": NASTY, "part": "slot01"}, {"sample": "S-1"}):
        answer = httpx.post(
            f"{server.url}/samples/links", json={"kind": "run", "item_id": run, **item}
        )
        assert answer.is_success, answer.text
    for path in PAGES:
        go(page, server, path)
        page.get_by_role("heading", level=1).wait_for()
        assert page.evaluate("window.hacked") is None
    page.get_by_role("heading", name=NASTY).wait_for()
    go(page, server, f"/search?q={quote(NASTY)}")
    page.locator("main").get_by_role("link", name=NASTY).first.wait_for()


def test_search_is_walked_through_by_keys(page: Any, server: Server) -> None:
    run = start(server, seconds=0.3, experiment_name="Zirconium")
    ended(server, run)
    go(page, server, "/jobs")
    page.keyboard.press("/")
    page.keyboard.type("zircon")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/ui/search\?q=zircon"))
    page.get_by_role("heading", name="Runs (1)").wait_for()
    field = page.get_by_label("Search everything").last
    field.fill("Zirconium")
    page.wait_for_url(re.compile(r"/ui/search\?q=Zirconium"))
    page.get_by_label("Kind").click()
    page.get_by_role("option", name="Plates").click()
    page.get_by_text("Nothing was found.").wait_for()
    page.get_by_label("Kind").click()
    page.get_by_role("option", name="Runs").click()
    page.get_by_role("heading", name="Runs (1)").wait_for()
    field.focus()
    page.keyboard.press("ArrowDown")
    assert "Zirconium" in page.evaluate("document.activeElement.textContent")
    page.keyboard.press("ArrowUp")
    assert page.evaluate("document.activeElement.matches('[data-bw-search]')")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(f"/ui/potentiostat/run/{run}"))


def test_a_sample_is_named_found_and_taken_back(page: Any, server: Server) -> None:
    ended(server, start(server, seconds=0.3, experiment_name="Palladium"))
    go(page, server, "/samples")
    page.get_by_label("Sample", exact=True).fill("Foil 7")
    page.get_by_label("Find a run").fill("Palladium")
    page.get_by_role("button", name=re.compile("Measured on it: Palladium")).click()
    page.get_by_text("Named", exact=True).wait_for()
    page.locator("main").get_by_role("link", name="Foil 7").click()
    page.wait_for_url(re.compile("/ui/samples/view"))
    page.get_by_role("heading", name="Runs (1)").wait_for()
    page.get_by_role("link", name=re.compile("^Palladium")).wait_for()
    page.get_by_text(re.compile("named .* by dashboard")).wait_for()
    page.get_by_role("button", name=re.compile("^Remove")).click()
    page.get_by_text("Nothing was measured on it so far.").wait_for()
    page.get_by_label("Find a run").fill("Palladium")
    page.get_by_role("button", name=re.compile("Measured on it: Palladium")).click()
    page.get_by_role("heading", name="Runs (1)").wait_for()


def test_a_sample_that_cannot_be_is_refused(page: Any, server: Server) -> None:
    ended(server, start(server, seconds=0.3, experiment_name="Osmium"))
    go(page, server, "/samples")
    page.get_by_label("Sample", exact=True).fill("NO-PLATE/A1")
    page.get_by_label("Find a run").fill("Osmium")
    page.get_by_role("button", name=re.compile("Measured on it: Osmium")).click()
    page.locator(".q-notification", has_text="NO-PLATE").wait_for()
    assert page.locator("main").get_by_role("link", name="NO-PLATE/A1").count() == 0


@pytest.mark.parametrize(("width", "height"), [(1440, 1000), (390, 844)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_can_be_read_reached_and_fit(
    browser: Any, server: Server, scheme: str, width: int, height: int
) -> None:
    # A run goes on, and nothing begins or ends while the keys walk over the pages.
    size = {"width": width, "height": height}
    with (
        going_on(server),
        watched_page(browser, server.url, viewport=size, color_scheme=scheme) as page,
    ):
        for path in PAGES:
            go(page, server, path)
            assert page.evaluate("document.documentElement.lang") == "en-US"
            assert page.evaluate("document.documentElement.dataset.theme") == scheme
            assert not violations(page), path
            assert not spills(page), path
            assert keyboard_gaps(page) == ([], []), path


def test_the_theme_is_there_before_the_page_is(page: Any, server: Server) -> None:
    go(page, server, "/")
    page.get_by_role("button", name="Light or dark").click()
    page.add_init_script(
        """new MutationObserver(() => {
          const body = document.body;
          if (body) (window.themes ||= []).push(document.documentElement.dataset.theme);
        }).observe(document, { childList: true, subtree: true });"""
    )
    go(page, server, "/")
    assert set(page.evaluate("window.themes")) == {"dark"}
    page.wait_for_function("document.body.classList.contains('body--dark')")


def test_a_lost_server_is_told_on_a_phone_too(page: Any, server: Server) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    go(page, server, "/jobs")
    assert not page.locator("[data-bw-connection]").is_visible()
    server.kill()
    page.get_by_text("server not reached").wait_for()
    page.goto("about:blank")
    server.start()


def test_what_a_crash_cut_short_needs_attention_until_it_is_a_day_old(
    page: Any, server: Server
) -> None:
    run = start(server)
    until(lambda: state_of(server, run) == "running")
    server.kill()
    _add_old_jobs(server.data_dir)
    server.start()
    go(page, server, "/")
    page.get_by_text("While you were away").wait_for()
    attention = page.locator("section", has_text="Needs attention")
    attention.get_by_text("server restarted").wait_for()
    assert attention.get_by_text("Old work").count() == 0
    attention.locator("li", has_text="server restarted").get_by_role("button").first.click()
    under_way = page.locator("section", has_text="Under way")
    under_way.get_by_role("button", name="Cancel").first.click()
    under_way.get_by_text("Nothing is running.").wait_for()
    page.get_by_role("button", name="Understood").click()
    page.get_by_text("While you were away").wait_for(state="detached")


def test_older_jobs_are_a_button_away(page: Any, server: Server) -> None:
    go(page, server, "/jobs?state=failed")
    lines = page.locator("main .bw-list > li")
    until(lambda: lines.count() == PAGE_SIZE)
    page.get_by_role("button", name="Older").click()
    until(lambda: lines.count() > OLD_JOBS)
    page.get_by_text("Old work 0", exact=True).wait_for()
    assert not page.get_by_role("button", name="Older").is_visible()


@pytest.mark.parametrize("page_name", ["sample", "well"])
def test_all_that_was_measured_on_a_well_is_shown_page_by_page(
    page: Any, server: Server, page_name: str
) -> None:
    api = f"{server.url}/api/v1/plates"
    if not httpx.get(f"{api}/OFTEN").is_success:
        body = {"plate": {"barcode": "OFTEN", "name": "Often"}, "rows": 1, "columns": 1}
        httpx.post(api, json=body).raise_for_status()
    well = httpx.get(f"{api}/OFTEN/wells").json()["data"][0]["id"]
    go(page, server, {"sample": f"/samples/view?sample={quote(OFTEN)}",
                      "well": f"/plates/well/{well}"}[page_name])  # fmt: skip
    lines = page.locator("main .bw-line", has_text="(not here any more)")
    until(lambda: lines.count() == PAGE_SIZE)
    page.get_by_text(re.compile(f"^gone-{OLD_JOBS - 1} ")).first.wait_for()
    page.get_by_role("button", name="More").click()
    until(lambda: lines.count() == OLD_JOBS)
    page.get_by_text(re.compile("^gone-0 ")).first.wait_for()
    assert not page.get_by_role("button", name="More").is_visible()


def _add_old_jobs(data_dir: Path) -> None:
    """Put failed jobs of the year before into the database of a server that is down.

    On one well there was measured as much that is not here any more.
    """
    database = open_database(data_dir, None, SystemClock())
    store = JobStore(database)
    began = datetime(2025, 1, 1, tzinfo=UTC)
    for number in range(OLD_JOBS):
        at = began + timedelta(minutes=number)
        record = JobRecord(
            id=f"old-{number}",
            kind="potentiostat.run",
            title=f"Old work {number}",
            state=JobState.FAILED,
            params={},
            requested_by="",
            created_at=at,
            ended_at=at,
            message="it was long ago",
        )
        database.write(lambda connection, record=record: store.insert(connection, record))
        Samples(database, SystemClock()).link(Sample(OFTEN, "OFTEN", "A1"), "run", f"gone-{number}")
    database.close()
