"""The documentation site: strict, whole, and closed to the outside."""

import functools
import re
import threading
import tomllib
from collections.abc import Iterator
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.docs.conftest import DOCS, ROOT, build_site
from tests.support.browser import NEEDS_CHROMIUM, watched_page
from tests.support.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

# Loaded by the browser by itself; what is only linked to may lie anywhere.
LOADED = {("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("link", "href")}
LINKED = {"canonical", "prev", "next", "alternate"}


def pages_in(entries: list[dict[str, Any]]) -> list[str]:
    found: list[str] = []
    for entry in entries:
        for target in entry.values():
            found += [target] if isinstance(target, str) else pages_in(target)
    return found


NAVIGATION = pages_in(tomllib.loads((ROOT / "zensical.toml").read_text("utf-8"))["project"]["nav"])


class Loads(HTMLParser):
    """What a page makes a browser load."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if given.get("rel") not in LINKED:
            self.addresses += [
                given[name] or "" for kind, name in LOADED if kind == tag and name in given
            ]


def test_navigation_has_every_page_once() -> None:
    there = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
    assert sorted(NAVIGATION) == there


def test_every_page_is_built_with_a_title(site: Path) -> None:
    for page in NAVIGATION:
        text = (site / page).with_suffix(".html").read_text("utf-8")
        assert re.search(r"<h1[ >]", text), page
        assert "<!-- made:" not in text, page


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        loads = Loads()
        loads.feed(page.read_text("utf-8"))
        assert [url for url in loads.addresses if re.match(r"(https?:)?//", url)] == [], page.name
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import )['\"]?(https?:)?//", sheet.read_text("utf-8"))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("See [there](nowhere.md).", "page does not exist"),
        ("See [there](#nowhere).", "anchor does not exist"),
        ("See [it][benchwire.foundation.domain.Nothing].", "unresolved"),
        ("::: benchwire.foundation.nothing", "nothing"),
    ],
)
def test_what_leads_nowhere_ends_the_build(small_copy: Path, wrong: str, told: str) -> None:
    good = build_site(small_copy, small_copy / "site")
    assert good.returncode == 0, good.stdout + good.stderr
    (small_copy / "docs/index.md").write_text(f"# Start\n\n{wrong}\n", "utf-8")
    done = build_site(small_copy, small_copy / "other")
    assert done.returncode != 0
    assert told in done.stderr
    assert not (small_copy / "other").exists()


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(site))
    )  # fmt: skip
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


class TestInABrowser:
    pytestmark = NEEDS_CHROMIUM

    def test_search_finds_a_page_and_nothing_foreign_is_asked_for(
        self, browser: Any, address: str
    ) -> None:
        with watched_page(browser, address) as page:
            page.goto(f"{address}/index.html")
            # The page hears keys once its script has been loaded.
            field = page.locator("input:focus")
            until(lambda: page.keyboard.press("/") or field.count() > 0, seconds=20)
            field.fill("voltammogram")
            hit = page.locator("a[href*='tutorial']").filter(has_text="voltammogram").first
            hit.wait_for()
            hit.click()
            page.wait_for_url(re.compile("tutorial"))
            page.get_by_role("heading", level=1).filter(has_text="voltammogram").wait_for()

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_pages_are_readable_for_all(self, browser: Any, address: str, scheme: str) -> None:
        pytest.importorskip("axe_playwright_python")
        from tests.support.accessibility import violations

        with watched_page(browser, address, color_scheme=scheme) as page:
            for name in ("index", "tutorial", "architecture", "reference/http", "reference/jobs"):
                page.goto(f"{address}/{name}.html")
                page.get_by_role("heading", level=1).wait_for()
                assert not violations(page), name
