"""The traces' pages in a real browser: from a CSV to distributions and single fitted curves."""

import math
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.browser import NEEDS_CHROMIUM, watched_page
from tests.support.server import Server
from tests.support.waiting import until

pytestmark = NEEDS_CHROMIUM
NASTY = "<img src=x onerror=document.title='hacked'>"
N_CELLS, N_POINTS = 30, 40
FIT_SECONDS = 60


def write_traces(path: Path) -> None:
    """Write rising curves ``A (1 - e^(-k t)) + B`` with noise, and one cell that is noise alone."""
    numbers = random.Random(1)
    lines = ["# Time units: min", "time,fov,cell,value"]
    for point in range(N_POINTS):
        for cell in range(1, N_CELLS + 1):
            hours, size, rate = point / 6, 1000.0 * cell, 0.2 + 0.02 * cell
            value = size * (1 - math.exp(-rate * hours)) + 50 + numbers.gauss(0, 5)
            if cell == N_CELLS:
                value = numbers.gauss(0, 100)
            lines.append(f"{60 * hours:.6f},{cell % 2},{cell},{value:.6f}")
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of traces; the only one that requests may name."""
    folder = tmp_path_factory.mktemp("traces")
    write_traces(folder / "merged.csv")
    (folder / "wrong.csv").write_text("time,value\n0,1\n")
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, port: int, folder: Path) -> Iterator[Server]:
    environment = {
        "BENCHWIRE_UI": "true",
        "PYAMA_ALLOWED_PATHS": str(folder),
        "BENCHWIRE_COMPUTE_PROCESSES": "1",
    }
    data = tmp_path_factory.mktemp("fits") / "data"
    with Server(data, port, environment=environment) as running:
        yield running


@pytest.fixture
def page(browser, server: Server) -> Iterator[Any]:
    with watched_page(browser, server.url) as opened:
        opened.goto(f"{server.url}/ui/traces")
        opened.get_by_role("button", name="Browse").wait_for()
        yield opened


@pytest.fixture(scope="module")
def fitted(server: Server, folder: Path) -> str:
    """A completed fitting's id."""
    return fit(server, folder / "merged.csv")


def fit(server: Server, path: Path) -> str:
    api = f"{server.url}/api/v1/analysis/fitting"
    body = {"csv_path": str(path), "model_type": "maturation"}
    job_id = httpx.post(f"{api}/start", json=body, timeout=60).raise_for_status().json()["job_id"]

    def is_over() -> bool:
        state = httpx.get(f"{api}/status/{job_id}").raise_for_status().json()["status"]
        return state not in {"pending", "running"}

    until(is_over, seconds=FIT_SECONDS, what="the end of the fitting")
    return job_id


def drawn(chart: Any) -> int:
    """Count the coloured pixels of a chart."""
    return chart.locator("canvas").evaluate(
        """canvas => {
            const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            let found = 0;
            for (let i = 0; i < data.data.length; i += 4) {
              const [red, green, blue, alpha] = data.data.slice(i, i + 4);
              if (alpha > 100 && Math.max(red, green, blue) - Math.min(red, green, blue) > 60) {
                found += 1;
              }
            }
            return found;
        }"""
    )


def chart_below(page: Any, title: str) -> Any:
    """Return the chart of the histogram with this title."""
    return page.locator(".bw-grid > *", has=page.get_by_text(title, exact=True)).locator(
        ".nicegui-echart"
    )


def test_a_file_is_chosen_fitted_and_its_fits_are_looked_at(
    page, server: Server, folder: Path, tmp_path: Path
) -> None:
    page.get_by_role("button", name="Browse").click()
    page.get_by_role("button", name="merged.csv", exact=True).click()
    page.get_by_text("0 to 6.5 h").wait_for()
    page.get_by_label("Model", exact=True).click()
    page.get_by_role("option", name=re.compile("^maturation ·")).click()
    page.get_by_text("amplitude * (1 - exp(-rate * t)) + offset").wait_for()
    assert page.get_by_label("rate highest").get_attribute("placeholder") == "100"
    page.screenshot(path=tmp_path / "form.png", full_page=True)
    page.get_by_role("button", name="Start").click()
    page.get_by_text("The fitting was started").wait_for()
    page.locator(".q-badge", has_text="done").first.wait_for(timeout=FIT_SECONDS * 1000)
    page.get_by_role("link", name="Fit of maturation to merged.csv").first.click()

    page.wait_for_url(re.compile("/traces/fit/job_"))
    page.get_by_text("Mean R²").wait_for()
    for title in ("amplitude", "rate", "offset", "R²"):
        until(lambda name=title: drawn(chart_below(page, name)) > 200, what=f"{title} drawn")
    # The worst is first, and it is the one that is nothing but noise.
    page.get_by_text(f"FOV {N_CELLS % 2}, cell {N_CELLS}: R² = 0.").first.wait_for()
    rows = page.locator("tr[data-trace]")
    assert rows.first.get_attribute("data-trace") == f"{N_CELLS % 2}_{N_CELLS}"
    page.get_by_role("button", name="Next cell").click()
    shown = page.get_by_text(re.compile(r"^FOV [01], cell \d+: R² = (1\.0000|0\.99\d\d)$"))
    shown.wait_for()
    rows.nth(3).click()
    fov, cell = rows.nth(3).get_attribute("data-trace").split("_")
    page.get_by_text(f"FOV {fov}, cell {cell}: R² = ").wait_for()
    chart = page.locator(".q-card", has=page.get_by_label("Next cell")).locator(".nicegui-echart")
    until(lambda: drawn(chart) > 500, what="the fitted curve")
    page.screenshot(path=tmp_path / "fit.png", full_page=True)
    with page.expect_download() as download:
        page.get_by_role("link", name="Table as CSV").click()
    table = Path(download.value.path()).read_text().splitlines()
    assert table[0] == "fov,cell,model_type,success,r_squared,amplitude,rate,offset"
    assert len(table) == N_CELLS + 1


def test_bounds_of_ones_own_are_kept(page, server: Server, folder: Path, tmp_path: Path) -> None:
    path = folder / "bounded.csv"
    write_traces(path)
    page.goto(f"{server.url}/ui/traces?csv={path}")
    page.get_by_label("Model", exact=True).click()
    page.get_by_role("option", name=re.compile("^maturation ·")).click()
    page.get_by_label("rate highest").fill("0.3")
    page.get_by_role("button", name="Start").click()
    results = folder / "bounded_fitted_maturation.csv"
    until(results.is_file, seconds=FIT_SECONDS, what="the results")
    lines = results.read_text().splitlines()[1:]
    assert max(float(line.split(",")[6]) for line in lines) <= 0.3


def test_a_refused_start_shows_its_reason(page, server: Server, folder: Path) -> None:
    page.goto(f"{server.url}/ui/traces?csv={folder / 'merged.csv'}")
    page.get_by_label("Model", exact=True).click()
    page.get_by_role("option", name=re.compile("^maturation ·")).click()
    page.get_by_label("rate lowest").fill("5")
    page.get_by_label("rate highest").fill("2")
    page.get_by_role("button", name="Start").click()
    page.locator(".q-notification", has_text="rate").wait_for()


def test_a_file_that_is_no_traces_says_why(page, folder: Path) -> None:
    for path, words in (
        (folder / "none.csv", "There is no none.csv"),
        (folder / "wrong.csv", re.compile("fov|cell")),
        (Path("/etc/passwd"), "outside the folders"),
    ):
        field = page.get_by_label("File on the server")
        field.fill(str(path))
        field.press("Enter")
        page.locator(".text-negative", has_text=words).wait_for()
        assert page.get_by_role("button", name="Start").count() == 0


def test_names_are_text_on_every_page(page, server: Server, folder: Path) -> None:
    path = folder / f"{NASTY}.csv"
    write_traces(path)
    job_id = fit(server, path)
    page.get_by_role("button", name="Browse").click()
    page.get_by_role("button", name=path.name, exact=True).click()
    page.get_by_role("button", name="Start").wait_for()
    for address in (f"?csv={folder}", f"/fit/{job_id}", f"/fit/{NASTY}"):
        page.goto(f"{server.url}/ui/traces{address}")
        page.get_by_text(NASTY[:20]).first.wait_for()
        page.wait_for_timeout(500)
        assert page.locator("img[src='x']").count() == 0
        assert "hacked" not in page.title()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1440, 1000), (390, 844)])
def test_the_pages_fit_every_screen(
    browser,
    server: Server,
    folder: Path,
    fitted: str,
    tmp_path: Path,
    scheme: str,
    width: int,
    height: int,
) -> None:
    with watched_page(
        browser, server.url, viewport={"width": width, "height": height}, color_scheme=scheme
    ) as page:
        for name, address, words in (
            ("traces", f"?csv={folder / 'merged.csv'}", "Fittings"),
            ("fit", f"/fit/{fitted}", "Mean R²"),
        ):
            page.goto(f"{server.url}/ui/traces{address}")
            page.get_by_text(words, exact=True).wait_for()
            page.wait_for_timeout(1200)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, name
            page.screenshot(path=tmp_path / f"{name}-{scheme}-{width}.png", full_page=True)
