"""People with keys of different roles at the dashboard, in a real browser."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import httpx
import pytest

from benchwire.foundation.web.keys import NamedKeys
from benchwire.foundation.web.roles import Role
from tests.support.browser import NEEDS_CHROMIUM, watched_page
from tests.support.server import Server
from tests.support.waiting import until

pytestmark = NEEDS_CHROMIUM
OWNER = "the owner's own key"
BUTTONS = "main button:visible:enabled"
PRESS = "button => button.click()"
# What people change. Readings and progress go on by themselves.
WATCHED = {
    "jobs_record": "id",
    "samples_link": "*",
    "powermeter_meter": "name, config",
    "potentiostat_run": "run_id",
    **{f"plates_{noun}": "*" for noun in
       ("plate", "well", "well_content", "location", "movement", "score", "stock_solution",
        "chemical", "image", "point")},
}  # fmt: skip


class Lab:
    """A server with something to press on its pages, and keys for people."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.named = NamedKeys(server.data_dir)
        self.owner = httpx.Client(base_url=server.url, headers={"X-API-Key": OWNER}, timeout=30)

    def furnish(self) -> list[str]:
        """Put something into the server, and return the pages where it can be pressed."""
        until(lambda: self.owner.get("/devices").json(), what="a slot")
        until(lambda: self.owner.get("/api/meters").json(), what="a meter")
        self.run = self._post(
            "/jobs",
            devices="all", modes=["CA"], experiment_name="Long", make_plot=False,
            params_by_mode={"CA": {"potential": 0.2, "duration": 3000.0}},
            client_datetime="2026-05-04T12:00:00",
        )["run_id"]  # fmt: skip
        plate = self._post("/api/v1/plates", plate={"barcode": "P1"}, rows=2, columns=2)
        plate = plate.get("data", plate)
        well = plate["wells"][0]["id"]
        self._post("/samples/links", sample="P1/A1", kind="run", item_id=self.run)
        meter = self.owner.get("/api/meters").json()[0]["meter"]
        return [
            "/", "/jobs", "/samples/view?sample=P1%2FA1", "/potentiostat",
            f"/potentiostat/run/{self.run}", "/powermeter", f"/powermeter/{meter}", "/plates",
            "/plates/plate/P1", f"/plates/well/{well}", "/plates/solutions",
        ]  # fmt: skip

    def _post(self, path: str, **body: Any) -> Any:
        answer = self.owner.post(path, json=body)
        assert answer.is_success, f"{path}: {answer.text}"
        return answer.json()

    def content(self) -> dict[str, list[Any]]:
        database = sqlite3.connect(self.server.data_dir / "benchwire.db", timeout=10)
        with closing(database):
            there = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
            assert set(WATCHED) <= there, set(WATCHED) - there
            return {
                table: database.execute(f"SELECT {columns} FROM {table} ORDER BY 1").fetchall()
                for table, columns in WATCHED.items()
            }

    def entries(self, who: str) -> list[dict[str, Any]]:
        found = self.owner.get("/audit", params={"limit": 1000}).json()["entries"]
        return [entry for entry in found if entry["who"] == who][::-1]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[Lab]:
    with Server(
        tmp_path_factory.mktemp("roles") / "data", port,
        "--emulate", "potentiostat=1", "--emulate", "powermeter=1",
        environment={"BENCHWIRE_UI": "true", "BENCHWIRE_API_KEY": OWNER},
    ) as server:  # fmt: skip
        lab = Lab(server)
        yield lab
        lab.owner.close()


@contextmanager
def signed_in(browser: Any, lab: Lab, key: str) -> Iterator[Any]:
    with watched_page(browser, lab.server.url) as page:
        page.goto(f"{lab.server.url}/login")
        page.fill("#key", key)
        page.click("button")
        page.wait_for_url(re.compile("/ui"))
        yield page


def go(page: Any, lab: Lab, path: str) -> None:
    page.goto(f"{lab.server.url}/ui{path}")
    page.locator("[data-bw-connection][data-state=connected]").wait_for(state="attached")


def press_everything(page: Any, lab: Lab, path: str) -> None:
    """Press every button of a page, and those of its dialogs.

    The page is looked at anew whenever a press has led away from it or changed it.
    """
    there, count = look(page, lab, path)
    for number in range(count):
        buttons = page.locator(BUTTONS)
        if page.url != there or page.locator(".q-dialog").count() or buttons.count() != count:
            look(page, lab, path)
        if number >= buttons.count():
            break
        # Not by its place, which moves while charts are drawn.
        buttons.nth(number).evaluate(PRESS)
        if seen(page, ".q-dialog button:visible:enabled"):
            for field in page.locator(".q-dialog input[type=text]:visible").all():
                if not field.input_value() and field.is_editable():
                    field.fill("X1")
            page.locator(".q-dialog button:visible:enabled").first.evaluate(PRESS)
            page.wait_for_timeout(150)


def look(page: Any, lab: Lab, path: str) -> tuple[str, int]:
    """Look at a page afresh, and return its address and how many buttons it came to have."""
    go(page, lab, path)
    count = -1
    while (now := page.locator(BUTTONS).count()) != count:
        count = now
        page.wait_for_timeout(300)
    return page.url, count


def seen(page: Any, what: str) -> bool:
    """Whether something is on the page within a moment."""
    for _ in range(10):
        page.wait_for_timeout(30)
        if page.locator(what).count():
            return True
    return False


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_viewer_changes_nothing_whatever_is_pressed(browser: Any, lab: Lab) -> None:
    key = lab.named.add("onlooker", Role.VIEWER)
    pages = lab.furnish()
    before = lab.content()
    with signed_in(browser, lab, key) as page:
        page.get_by_text("onlooker, viewer").wait_for(state="attached")
        for path in pages:
            press_everything(page, lab, path)
    assert lab.content() == before
    done = [entry for entry in lab.entries("onlooker") if entry["path"] != "/login"]
    assert {entry["status"] for entry in done} == {403}
    pressed = {entry["action"] for entry in done}
    assert {"powermeters: configure", "plates: delete"} <= pressed, pressed
    assert len(pressed) >= 8, pressed
    assert lab.owner.get(f"/jobs/{lab.run}").json()["status"] != "cancelled"


def test_an_operator_is_named_for_what_is_done(browser: Any, lab: Lab) -> None:
    key = lab.named.add("ada", Role.OPERATOR)
    for job in lab.owner.get("/jobs?state=incomplete").json():
        lab.owner.post(f"/jobs/{job['run_id']}/cancel").raise_for_status()
    until(lambda: lab.owner.get("/jobs?state=incomplete").json() == [], seconds=20)
    with signed_in(browser, lab, key) as page:
        go(page, lab, "/potentiostat")
        page.get_by_text("takes about").wait_for()
        page.get_by_role("button", name="Start").click()
        page.get_by_text("Started").wait_for()
        go(page, lab, "/powermeter")
        meter = lab.owner.get("/api/meters").json()[0]["meter"]
        go(page, lab, f"/powermeter/{meter}")
        page.get_by_role("button", name="Apply").click()
        page.get_by_text("it takes the role admin").wait_for()
    entries = lab.entries("ada")
    assert [(entry["action"], entry["path"], entry["status"]) for entry in entries] == [
        ("", "/login", 303),
        ("runform: start run", "/ui/potentiostat", 200),
        ("powermeters: configure", f"/ui/powermeter/{meter}", 403),
    ]


def test_a_page_is_dead_once_its_key_is_withdrawn(browser: Any, lab: Lab) -> None:
    key = lab.named.add("gone", Role.ADMIN)
    # Not watched for errors: what the page was about to load when it ended is one.
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{lab.server.url}/login")
    page.fill("#key", key)
    page.click("button")
    page.wait_for_url(re.compile("/ui"))
    go(page, lab, "/potentiostat")
    lab.named.remove("gone")
    page.locator("[data-bw-connection]:not([data-state=connected])").wait_for(state="attached")
    page.goto(f"{lab.server.url}/ui/potentiostat")
    assert page.url.endswith("/login")
    context.close()
