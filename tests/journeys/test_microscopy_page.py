"""The microscopy's pages in a real browser: from a movie on the disk to merged traces."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchwire.domains.microscopy.simulation import write_demo_movie
from tests.support.browser import NEEDS_CHROMIUM, watched_page
from tests.support.server import Server
from tests.support.waiting import until

pytestmark = NEEDS_CHROMIUM
NASTY = "<img src=x onerror=document.title='hacked'>"
N_FRAMES, SIZE = 12, 400
RUN_SECONDS = 90


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of movies; the only one that requests may name."""
    folder = tmp_path_factory.mktemp("experiment")
    movies = folder / "movies"
    movies.mkdir()
    write_demo_movie(movies / "demo.ome.tif", n_frames=N_FRAMES, size=SIZE, n_cells=6)
    (movies / "notes.txt").write_text("not a movie")
    (movies / ".hidden.ome.tif").write_text("hidden")
    return folder


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, port: int, experiment: Path
) -> Iterator[Server]:
    environment = {
        "BENCHWIRE_UI": "true",
        "PYAMA_ALLOWED_PATHS": str(experiment),
        "BENCHWIRE_COMPUTE_PROCESSES": "1",
    }
    folder = tmp_path_factory.mktemp("microscopy") / "data"
    with Server(folder, port, environment=environment) as running:
        yield running


@pytest.fixture
def page(browser, server: Server) -> Iterator[Any]:
    with watched_page(browser, server.url) as opened:
        opened.goto(f"{server.url}/ui/microscopy")
        opened.get_by_role("button", name="Browse").wait_for()
        yield opened


@pytest.fixture(scope="module")
def finished(server: Server, experiment: Path) -> str:
    """A completed workflow's id."""
    return process(server, experiment / "movies" / "demo.ome.tif", experiment / "finished")


def post(server: Server, path: str, body: Any) -> Any:
    answer = httpx.post(f"{server.url}/api/v1/processing{path}", json=body, timeout=60)
    return answer.raise_for_status().json()


def status(server: Server, job_id: str) -> dict[str, Any]:
    path = f"/api/v1/processing/workflow/status/{job_id}"
    return httpx.get(server.url + path).raise_for_status().json()


def start(server: Server, movie: Path, output: Path) -> str:
    channels = post(server, "/load-metadata", {"file_path": str(movie)})["suggested_channels"]
    body = {"microscopy_path": str(movie), "output_dir": str(output), "channels": channels}
    return post(server, "/workflow/start", body)["job_id"]


def process(server: Server, movie: Path, output: Path) -> str:
    job_id = start(server, movie, output)
    until(
        lambda: status(server, job_id)["status"] not in {"pending", "running"},
        seconds=RUN_SECONDS,
        what="the end of the workflow",
    )
    assert status(server, job_id)["status"] == "completed"
    return job_id


def open_movie(page: Any, path: Path) -> None:
    field = page.get_by_label("File on the server")
    field.fill(str(path))
    field.press("Enter")


def wait_for_picture(page: Any, part: str) -> str:
    """Wait until the picture shown is one whose address has this part, and return the address."""
    viewer = page.locator(f'.mc-viewer[data-state="shown"][data-shown*="{part}"]')
    viewer.wait_for()
    return viewer.get_attribute("data-shown")


def nudge(page: Any, slider: str) -> None:
    """Move a slider's first handle by one step to the right."""
    handle = page.get_by_role("slider", name=slider, exact=True).locator("[tabindex='0']")
    handle.first.press("ArrowRight")


def traces(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def verdicts(path: Path) -> dict[int, str]:
    return {int(row["cell"]): row["good"] for row in traces(path)}


def choose_row(page: Any, cell: int) -> None:
    page.locator(f'tr[data-cell="{cell}"]').click()
    page.locator(f'tr.mc-chosen[data-cell="{cell}"]').wait_for()


def colours_drawn(page: Any, red: int, green: int, blue: int) -> int:
    """Count the pixels of the first chart that have about this colour."""
    return page.locator("canvas").first.evaluate(
        """(canvas, wanted) => {
            const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            let found = 0;
            for (let i = 0; i < data.data.length; i += 4) {
              const near = (k) => Math.abs(data.data[i + k] - wanted[k]) < 12;
              if (data.data[i + 3] > 200 && near(0) && near(1) && near(2)) found += 1;
            }
            return found;
        }""",
        [red, green, blue],
    )


def test_a_movie_is_chosen_looked_at_processed_inspected_and_merged(
    page, server: Server, experiment: Path, tmp_path: Path
) -> None:
    page.get_by_role("button", name="Browse").click()
    page.get_by_role("button", name="movies", exact=True).click()
    page.get_by_role("button", name="demo.ome.tif", exact=True).wait_for()
    assert page.get_by_role("button", name="notes.txt").count() == 0
    assert page.get_by_role("button", name=".hidden.ome.tif").count() == 0
    page.get_by_role("button", name="demo.ome.tif", exact=True).click()

    page.get_by_text(f"{SIZE} x {SIZE} px").wait_for()
    page.reload()
    page.get_by_text(f"{SIZE} x {SIZE} px").wait_for()
    page.get_by_text(f"{N_FRAMES}, every 10 min").wait_for()
    wait_for_picture(page, "channel=0")
    picture = page.locator(".mc-viewer img")
    assert picture.evaluate("image => image.naturalWidth") == SIZE
    page.get_by_role("button", name=re.compile("^1 ")).click()
    wait_for_picture(page, "channel=1")
    nudge(page, "Frame")
    wait_for_picture(page, "frame=1")
    page.get_by_text("Frame 1 · 10 min").wait_for()
    nudge(page, "Contrast")
    assert "high=" in wait_for_picture(page, "low=")
    page.get_by_role("button", name="Auto").click()
    page.locator('.mc-viewer[data-state="shown"]:not([data-shown*="low="])').wait_for()
    page.screenshot(path=tmp_path / "movie.png", full_page=True)

    form = page.locator(".q-card", has=page.get_by_text("Process", exact=True)).last
    for feature in ("area", "aspect ratio", "intensity total"):
        form.locator(".q-chip", has_text=feature).first.wait_for()
    assert form.get_by_label("Last FOV").input_value() == "1"
    output = experiment / "movies" / "demo_results"
    assert form.get_by_label("Results go to").input_value() == str(output)
    form.get_by_role("button", name="Start").click()
    page.get_by_text("The workflow was started").wait_for()
    page.locator('.mc-fov[aria-label="FOV 1"]').wait_for()
    page.locator(".q-badge", has_text="done").wait_for(timeout=RUN_SECONDS * 1000)
    page.screenshot(path=tmp_path / "workflows.png", full_page=True)
    page.get_by_role("link", name="Workflow demo").click()

    page.wait_for_url(re.compile("/microscopy/run/job_"))
    wait_for_picture(page, "overlay")
    assert page.locator(".mc-viewer img").evaluate("image => image.naturalWidth") >= SIZE
    csv_path = output / "fov_000" / "demo_fov_000_traces.csv"
    cells = sorted(verdicts(csv_path))
    assert len(cells) >= 4
    until(lambda: page.locator("tr[data-cell]").count() == min(len(cells), 8), what="the table")
    choose_row(page, cells[1])
    until(lambda: colours_drawn(page, 0xE6, 0x9F, 0x00) > 50, what="the chosen curve")
    page.locator(".mc-ring").wait_for()
    nudge(page, "Frame")
    wait_for_picture(page, "frame=1")
    page.get_by_text("Frame 1 · 10 min").wait_for()

    page.get_by_role("button", name="Mark as bad").click()
    page.get_by_text(f"Cell {cells[1]}: bad").wait_for()
    inspected = csv_path.with_name("demo_fov_000_traces_inspected.csv")
    until(inspected.is_file, what="the inspected file")
    assert verdicts(inspected) == {cell: str(cell != cells[1]) for cell in cells}
    toggle = page.get_by_role("switch", name=f"Cell {cells[2]} is good")
    toggle.click()
    page.locator(f'[aria-label="Cell {cells[2]} is good"][aria-checked="false"]').wait_for()
    assert verdicts(inspected)[cells[2]] == "False"
    toggle.click()
    page.locator(f'[aria-label="Cell {cells[2]} is good"][aria-checked="true"]').wait_for()
    assert verdicts(inspected) == {cell: str(cell != cells[1]) for cell in cells}
    page.screenshot(path=tmp_path / "run.png", full_page=True)

    with page.expect_download() as download:
        page.get_by_role("link", name="Tables and records as ZIP").click()
    assert download.value.suggested_filename.endswith(".zip")

    page.get_by_label("Sample", exact=True).fill("control")
    assert page.get_by_label("FOVs", exact=True).input_value() == "0-1"
    page.get_by_role("button", name="Merge", exact=True).click()
    link = page.get_by_role("link", name="control_intensity_total_ch_1.csv")
    link.wait_for()
    with (output / "merged" / "control_intensity_total_ch_1.csv").open() as file:
        assert file.readline().strip() == "# Time units: min"
        merged = {(int(row["fov"]), int(row["cell"])) for row in csv.DictReader(file)}
    assert {cell for fov, cell in merged if fov == 0} == set(cells) - {cells[1]}
    page.screenshot(path=tmp_path / "merged.png", full_page=True)
    link.click()
    page.wait_for_url(re.compile(r"/traces\?csv="))

    page.get_by_label("Model", exact=True).click()
    page.get_by_role("option", name=re.compile("^maturation kinetic")).click()
    page.get_by_role("button", name="Start").click()
    page.locator(".q-badge", has_text="done").wait_for()
    page.get_by_role("link", name="Fit of maturation_kinetic").click()
    page.get_by_text("Mean R²").wait_for()
    page.get_by_text("ktl", exact=True).first.wait_for()
    page.get_by_text(re.compile(r"^FOV [01], cell \d+: R² = (1|0\.9)")).wait_for()
    until(lambda: page.locator("canvas").count() == 6, what="the histograms and the curve")
    page.screenshot(path=tmp_path / "fit.png", full_page=True)
    with page.expect_download() as download:
        page.get_by_role("link", name="Table as CSV").click()
    table = Path(download.value.path()).read_text().splitlines()
    assert table[0].startswith("fov,cell,model_type,success,r_squared,")
    assert len(table) == len(merged) + 1


def test_a_cell_is_chosen_in_the_picture_and_by_keys(
    page, server: Server, finished: str, experiment: Path
) -> None:
    csv_path = experiment / "finished" / "fov_001" / "demo_fov_001_traces.csv"
    page.goto(f"{server.url}/ui/microscopy/run/{finished}")
    wait_for_picture(page, "fov=0")
    page.get_by_label("FOV", exact=True).click()
    page.get_by_role("option", name="FOV 1").click()
    wait_for_picture(page, "fov=1")
    there = [row for row in traces(csv_path) if row["frame"] == "0"]
    chosen = there[-1]
    picture = page.locator(".mc-viewer img")
    box = picture.bounding_box()
    x, y = (float(chosen[f"position_{axis}"]) / SIZE for axis in "xy")
    picture.click(position={"x": x * box["width"], "y": y * box["height"]})
    page.get_by_text(f"Cell {chosen['cell']}: good").wait_for()
    ring = page.locator(".mc-ring").bounding_box()
    assert abs(ring["x"] + ring["width"] / 2 - box["x"] - x * box["width"]) < 3
    assert abs(ring["y"] + ring["height"] / 2 - box["y"] - y * box["height"]) < 3
    page.locator("body").press("g")
    page.get_by_text(f"Cell {chosen['cell']}: bad").wait_for()
    inspected = csv_path.with_name("demo_fov_001_traces_inspected.csv")
    assert verdicts(inspected)[int(chosen["cell"])] == "False"
    page.locator("body").press("n")
    page.get_by_text(f"Cell {chosen['cell']}: bad").wait_for(state="detached")
    page.locator("body").press("p")
    page.get_by_text(f"Cell {chosen['cell']}: bad").wait_for()


def test_the_movie_plays(page, server: Server, finished: str) -> None:
    page.goto(f"{server.url}/ui/microscopy/run/{finished}")
    wait_for_picture(page, "frame=0")
    page.get_by_role("button", name="Play or pause").click()
    wait_for_picture(page, "frame=3")
    page.get_by_role("button", name="Play or pause").click()


def test_a_workflow_is_watched_and_cancelled(
    page, server: Server, experiment: Path, tmp_path: Path
) -> None:
    movie = experiment / "long.ome.tif"
    write_demo_movie(movie, n_fovs=12, n_frames=N_FRAMES, size=SIZE, n_cells=4)
    job_id = start(server, movie, experiment / "long")
    page.goto(f"{server.url}/ui/microscopy/run/{job_id}")
    page.locator(".q-badge", has_text="running").wait_for()
    page.locator('.mc-fov[data-state="running"]').first.wait_for()
    # What is finished can be looked at while the rest goes on.
    wait_for_picture(page, "overlay")
    page.screenshot(path=tmp_path / "running.png", full_page=True)
    assert page.get_by_role("button", name="Merge", exact=True).count() == 0
    page.get_by_role("button", name="Cancel").click()
    page.locator(".q-badge", has_text="cancelled").wait_for()
    assert status(server, job_id)["status"] == "cancelled"
    assert page.locator(".mc-viewer").is_visible()
    assert page.get_by_role("button", name="Cancel").count() == 0
    assert page.get_by_role("link", name="Tables and records as ZIP").count() == 0
    page.get_by_role("button", name="Merge", exact=True).wait_for()


def test_a_refused_start_shows_its_reason(page, server: Server, experiment: Path) -> None:
    open_movie(page, experiment / "movies" / "demo.ome.tif")
    start = page.get_by_role("button", name="Start")
    start.wait_for()
    page.get_by_label("Results go to").fill("/etc/benchwire")
    start.click()
    page.get_by_text("outside the folders that may be used").first.wait_for()
    page.get_by_label("Results go to").fill(str(experiment / "refused"))
    page.get_by_label("First FOV").fill("1")
    page.get_by_label("Last FOV").fill("0")
    start.click()
    page.get_by_text("FOVs 1 to 0 are not there").first.wait_for()
    page.get_by_text("Parameters", exact=True).click()
    overlap = page.get_by_label("Least overlap of frames")
    overlap.wait_for()
    overlap.fill("3")
    overlap.press("Tab")
    start.click()
    page.get_by_text(
        re.compile("Least overlap of frames .*less than or equal to 1")
    ).first.wait_for()
    assert not (experiment / "refused").exists()


def test_a_file_that_cannot_be_opened_says_why(page, experiment: Path) -> None:
    broken = experiment / "broken.ome.tif"
    broken.write_bytes(b"II*\0 nothing of a picture")
    for path, words in (
        (experiment / "none.nd2", "There is no none.nd2"),
        (Path("/etc/passwd"), "outside the folders"),
        (experiment / "movies" / "notes.txt", "not a supported kind"),
        (broken, "The list of the images breaks off"),
    ):
        open_movie(page, path)
        page.locator(".text-negative", has_text=words).wait_for()
        assert page.get_by_role("button", name="Start").count() == 0


def test_a_picture_that_is_gone_says_so_and_one_that_is_there_is_shown_again(
    page, experiment: Path
) -> None:
    movie = experiment / "brief.ome.tif"
    movie.write_bytes((experiment / "movies" / "demo.ome.tif").read_bytes())
    open_movie(page, movie)
    wait_for_picture(page, "frame=0")
    away = movie.rename(experiment / "away.ome.tif")
    nudge(page, "Frame")
    page.locator(".mc-note", has_text="There is no brief.ome.tif").wait_for()
    away.rename(movie)
    nudge(page, "Frame")
    wait_for_picture(page, "frame=2")
    page.locator(".mc-note:empty").wait_for(state="attached")


def test_a_folder_of_thousands_stays_usable(page, experiment: Path) -> None:
    many = experiment / "many"
    many.mkdir()
    for number in range(5000):
        (many / f"position_{number:04}.nd2").touch()
    (experiment / "way_out").symlink_to("/etc")
    page.get_by_role("button", name="Browse").click()
    page.get_by_role("button", name="many", exact=True).wait_for()
    assert page.get_by_role("button", name="way_out").count() == 0
    page.get_by_role("button", name="many", exact=True).click()
    page.get_by_text("500 of 5000 are shown").wait_for()
    page.get_by_label("Part of the name").fill("4711")
    page.get_by_role("button", name="position_4711.nd2").click()
    until(lambda: page.get_by_label("File on the server").input_value().endswith("4711.nd2"))
    page.locator(".text-negative").first.wait_for()


def test_the_page_of_no_workflow_says_so(page, server: Server) -> None:
    page.goto(f"{server.url}/ui/microscopy/run/{NASTY}")
    page.get_by_text("There is no job").wait_for()
    assert page.locator("img[src='x']").count() == 0


def test_names_are_text_on_every_page(page, server: Server, experiment: Path) -> None:
    folder = experiment / "names"
    folder.mkdir()
    movie = folder / f"{NASTY}.ome.tif"
    write_demo_movie(movie, n_fovs=1, n_frames=2, size=SIZE, n_cells=2)
    job_id = process(server, movie, folder / f"{NASTY}_results")
    open_movie(page, movie)
    wait_for_picture(page, "preview")
    page.get_by_role("button", name="Browse").click()
    page.get_by_role("button", name=movie.name, exact=True).wait_for()
    page.keyboard.press("Escape")
    page.get_by_role("link", name=f"Workflow {NASTY}").first.wait_for()
    for path in ("", "/", f"/run/{job_id}"):
        page.goto(f"{server.url}/ui/{'' if path == '/' else f'microscopy{path}'}")
        page.get_by_text(NASTY[:20]).first.wait_for()
        page.wait_for_timeout(500)
        assert page.locator("img[src='x']").count() == 0
        assert "hacked" not in page.title()
    page.get_by_role("button", name="Merge", exact=True).click()
    page.get_by_role("link", name="sample_area_ch_0.csv").wait_for()
    assert page.locator("img[src='x']").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1440, 1000), (390, 844)])
def test_the_pages_fit_every_screen(
    browser,
    server: Server,
    experiment: Path,
    finished: str,
    tmp_path: Path,
    scheme: str,
    width: int,
    height: int,
) -> None:
    movie = experiment / "movies" / "demo.ome.tif"
    with watched_page(
        browser, server.url, viewport={"width": width, "height": height}, color_scheme=scheme
    ) as page:
        for name, path in (("movie", f"?path={movie}"), ("run", f"/run/{finished}")):
            page.goto(f"{server.url}/ui/microscopy{path}")
            wait_for_picture(page, "frame=0")
            page.wait_for_timeout(700)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, name
            page.screenshot(path=tmp_path / f"{name}-{scheme}-{width}.png", full_page=True)
        page.goto(f"{server.url}/ui/microscopy")
        page.get_by_role("button", name="Browse").click()
        page.get_by_role("button", name="movies", exact=True).wait_for()
        page.wait_for_timeout(500)
        page.screenshot(path=tmp_path / f"picker-{scheme}-{width}.png")
