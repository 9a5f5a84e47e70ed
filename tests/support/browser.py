"""A real Chromium, and pages that note whatever they should not do."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(
    (path for path in ("/usr/bin/chromium", "/usr/bin/chromium-browser") if Path(path).exists()),
    None,
)
NEEDS_CHROMIUM = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]


@contextmanager
def running_browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield running
        running.close()


@contextmanager
def watched_page(browser: Any, url: str, **options: Any) -> Iterator[Any]:
    """A page that may ask nothing of other addresses and raise no error."""
    context = browser.new_context(**{"viewport": {"width": 1440, "height": 1000}, **options})
    opened = context.new_page()
    foreign: list[str] = []
    problems: list[str] = []
    opened.on(
        "request",
        lambda request: (
            None
            if request.url.startswith((url, "data:", "blob:", "about:"))
            else foreign.append(request.url)
        ),
    )
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.set_default_timeout(20_000)
    try:
        yield opened
        # With its streams and sockets ended first; Chromium once waited for them for ever.
        opened.goto("about:blank")
    finally:
        context.close()
    assert foreign == []
    assert problems == [], problems
