"""The whole system at work on emulated instruments, seen from outside through its public API."""

import csv
import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Table

from benchwire.demo.battery import telemetry
from benchwire.foundation.settings import ServerSettings

if TYPE_CHECKING:
    from benchwire.domains.microscopy.simulation import CellTruth, Truth

BATTERY_FOLDER = "demo-battery"
_START_SECONDS = 60.0
_POLL_SECONDS = 0.25
_REQUEST_SECONDS = 30.0
_DROPS = 12
_METER_READINGS, _METER_SECONDS = 10, 30.0
_MOVIE_FRAMES, _SHOWN_CELLS = 60, 8
_SAME_PLACE_PX, _FIT_TOLERANCE, _FIT_SHARE = 10.0, 0.2, 0.8

RunServer = Callable[..., None]


def tell(settings: ServerSettings, *, once: bool, run_server: RunServer) -> int:
    """Serve, do the demonstration's work beside it, and return the process's exit code.

    Parameters
    ----------
    once
        End after the work; otherwise stay up until Ctrl-C.
    run_server
        Serves in this thread until a signal comes; sets ``ready`` once it answers.
    """
    ready, outcome = threading.Event(), [1]
    console = Console()

    def work() -> None:
        try:
            if not ready.wait(_START_SECONDS):
                console.print("[red]The server did not start.[/]")
                return
            outcome[0] = 0 if _work(settings, console) else 1
            if not once:
                console.print("The server stays up; end it with Ctrl-C.")
        except (httpx.HTTPError, KeyError) as error:
            console.print(f"[red]The demonstration broke off: {error}[/]")
        finally:
            if once:
                signal.raise_signal(signal.SIGINT)

    teller = threading.Thread(target=work, name="demo", daemon=True)
    teller.start()
    run_server(settings, ready=ready)
    return outcome[0] if once else 0


def _work(settings: ServerSettings, console: Console) -> bool:
    address = f"http://{settings.host}:{settings.port}"
    console.rule("benchwire")
    key = settings.key or ""
    with httpx.Client(
        base_url=address, timeout=_REQUEST_SECONDS, headers={"X-API-Key": key}
    ) as client:
        console.print(f"Server: {address}   Dashboard: {address}/ui   Documents: {address}/docs")
        ok = _potentiostats(client, settings, console)
        ok = _powermeters(client, console) and ok
        ok = _plates(client, console) and ok
        ok = _microscopy(client, settings.data_dir / "demo-movie", console) and ok
        ok = telemetry(client, settings.data_dir / BATTERY_FOLDER, console) and ok
    console.rule()
    console.print(f"Watch and repeat it in the dashboard: [bold]{address}/ui[/]", highlight=False)
    return ok


def _potentiostats(client: httpx.Client, settings: ServerSettings, console: Console) -> bool:
    """Run a CV, an OCP and an EIS on every emulated potentiostat at once."""
    devices = client.get("/devices").raise_for_status().json()
    console.print(f"{len(devices)} potentiostats: {', '.join(item['slot'] for item in devices)}")
    modes = ["CV", "OCP", "EIS"]
    request = {
        "devices": "all",
        "modes": modes,
        "params_by_mode": {
            "CV": {
                "start": 0.28, "vertex1": 0.7, "vertex2": -0.1, "end": 0.28,
                "scan_rate": 0.4, "cycles": 3,
            },
            "OCP": {"duration": 2.0},
            "EIS": {
                "start_freq": 100.0, "end_freq": 1.0, "points_per_decade": 5,
                "cycles_per_freq": 2, "spacing": "log", "bias": 0.28,
            },
        },
        "experiment_name": "Demo",
        "client_datetime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S"),  # noqa: TID251
        "make_plot": True,
    }  # fmt: skip
    run = client.post("/jobs", json=request).raise_for_status().json()
    run = _follow(client, run, console)
    for slot in run["slots"]:
        colour = "green" if slot["status"] == "done" else "red"
        note = f" ({slot['message']})" if slot["message"] else ""
        console.print(f"[{colour}]{slot['slot']}: {slot['status']}{note}[/]")
    folder = _run_folder(settings, run["run_id"])
    console.print("Results:")
    for slot in run["slots"]:
        for name in slot["files"]:
            console.print(f"  {folder / name}", soft_wrap=True, highlight=False)
    expected = 2 * len(modes)
    return run["status"] == "done" and all(len(slot["files"]) == expected for slot in run["slots"])


def _powermeters(client: httpx.Client, console: Console) -> bool:
    """Watch every emulated power meter measure a charging phone for a few seconds."""
    meters = [item["meter"] for item in client.get("/api/meters").raise_for_status().json()]
    console.print(f"{len(meters)} power meters: {', '.join(meters)}")
    ok = True
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[shown]}"))
    with Progress(*columns, console=console) as progress:
        bars = {
            name: progress.add_task(f"  {name}", total=_METER_READINGS, shown="") for name in meters
        }
        deadline = time.monotonic() + _METER_SECONDS
        while not progress.finished and time.monotonic() < deadline:
            for name, bar in bars.items():
                status = client.get("/api/status", params={"meter": name}).raise_for_status().json()
                newest = client.get("/api/data/latest", params={"meter": name})
                if newest.is_success:
                    point = newest.json()
                    shown = "{voltage:.3f} V  {current:.3f} A  {power:.2f} W".format(**point)
                    progress.update(bar, completed=status["data_count"], shown=shown)
            time.sleep(_POLL_SECONDS)
        ok = progress.finished
    for name in meters:
        found = client.get("/api/stats/1m", params={"meter": name}).raise_for_status().json()
        console.print(
            f"[green]{name}: {found['sample_count']} readings, "
            f"{found['energy']['wh']:.4f} Wh, {found['energy']['mah']:.2f} mAh[/]"
        )
    return ok


def _plates(client: httpx.Client, console: Console) -> bool:
    """Fill a crystallisation plate, image and score a drop, and put the plate into the carousel."""

    def post(path: str, **body: Any) -> Any:
        answer = client.post(f"/api/v1{path}", **body).raise_for_status().json()
        return answer.get("data", answer)

    post("/locations/initialise_carousel", json={"carousel_positions": 5, "hotel_positions": 10})
    name = f"Precipitant {datetime.now(UTC):%H%M%S}"  # noqa: TID251
    solution = post("/stock_solutions", json={"stock_solution": {"name": name}})
    plate = post("/plates", json={"plate": {"name": "Demo screen"}})
    wells = [well["id"] for well in plate["wells"]]
    body = {"well_ids": wells, "stock_solution_id": solution["id"], "volume_with_unit": "2 ul"}
    post("/wells/bulk_add_content", json=body)
    with Progress(TextColumn("  drops"), BarColumn(), console=console) as progress:
        bar = progress.add_task("", total=_DROPS)
        for number, well in enumerate(wells[:_DROPS]):
            form = {f"image[{key}]": "0.002" for key in ("pixel_size_x_mm", "pixel_size_y_mm")}
            form |= {f"image[reference_{axis}_mm]": "0" for axis in "xyz"}
            files = {"image[file]": ("drop.png", _drop(number))}
            image = post(f"/wells/{well}/images", data=form, files=files)
            if number >= _DROPS // 2:
                point = {"pixel_x": 160, "pixel_y": 120, "point_type": "crystal"}
                path = f"/wells/{well}/images/{image['id']}/points_of_interest"
                post(path, json={"point_of_interest": point})
            post(f"/wells/{well}/scores", json={"score": {"score": 1 + number * 8 // (_DROPS - 1)}})
            progress.advance(bar)
    places = client.get("/api/v1/locations/carousel").raise_for_status().json()["data"]
    free = next((place for place in places if place["current_plate_barcode"] is None), None)
    where = "no free place"
    if free is not None:
        path = f"/plates/{plate['barcode']}/move_to_location"
        moved = post(path, json={"location_id": free["id"], "moved_by": "demo"})
        where = moved["location"]["display_name"]
    shown = client.get(f"/api/v1/plates/{plate['barcode']}").raise_for_status().json()["data"]
    console.print(
        f"[green]Plate {plate['barcode']}: {shown['wells_count']} wells, {_DROPS} drops imaged, "
        f"best score {shown['best_score']['name']}, {where}[/]"
    )
    return bool(shown["points_of_interest_count"] == _DROPS - _DROPS // 2)


def _drop(number: int) -> bytes:
    """Return a picture of a drop, with more crystals the higher its number."""
    import io
    import random

    from PIL import Image, ImageDraw

    chance = random.Random(number)  # noqa: S311 - a picture
    image = Image.new("RGB", (320, 240), "#b9c4c9")
    draw = ImageDraw.Draw(image)
    draw.ellipse((20, 10, 300, 230), fill="#dfe7ea", outline="#6f7f86", width=3)
    for _ in range(number * 2):
        x, y, size = chance.randint(80, 240), chance.randint(60, 180), chance.randint(3, 4 + number)
        corners = [(x, y - size), (x + size, y), (x, y + size), (x - size, y)]
        draw.polygon(corners, fill="#f8fbff", outline="#3d5a66")
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


def _microscopy(client: httpx.Client, folder: Path, console: Console) -> bool:
    """Make a movie of cells of known fluorescence, find them, and fit what they were given."""
    from benchwire.domains.microscopy.simulation import MODEL, write_demo_movie

    folder.mkdir(parents=True, exist_ok=True)
    movie, output, merged = folder / "cells.ome.tif", folder / "results", folder / "merged"
    truth = write_demo_movie(movie, n_frames=_MOVIE_FRAMES)
    console.print(f"Movie: {truth.n_fovs} FOVs, {_MOVIE_FRAMES} frames, {movie}", highlight=False)

    def post(path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = client.post(f"/api/v1{path}", json=body).raise_for_status().json()
        return dict(answer)

    found = post("/processing/load-metadata", {"file_path": str(movie)})
    job = post(
        "/processing/workflow/start",
        {
            "microscopy_path": str(movie),
            "output_dir": str(output),
            "channels": found["suggested_channels"],
        },
    )
    if not _follow_job(client, "/processing/workflow", job["job_id"], "  cells", console=console):
        return False
    results = client.get(f"/api/v1/processing/workflow/results/{job['job_id']}").json()
    samples = folder / "samples.yaml"
    samples.write_text(f"samples:\n  - name: demo\n    fovs: 0-{truth.n_fovs - 1}\n")
    body = {"sample_yaml": str(samples), "input_dir": str(output), "output_dir": str(merged)}
    files = post("/processing/merge", body)["merged_files"]
    traces = next(path for path in files if "intensity_total" in path)
    job = post("/analysis/fitting/start", {"csv_path": traces, "model_type": MODEL})
    if not _follow_job(client, "/analysis/fitting", job["job_id"], "  fits", console=console):
        return False
    fits = client.get(f"/api/v1/analysis/fitting/results/{job['job_id']}").json()
    return _compare_fits(truth, results["traces"], fits, console)


def _follow_job(
    client: httpx.Client, family: str, job_id: str, title: str, *, console: Console
) -> bool:
    """Show an analysis job's progress until it has ended; whether it was completed."""
    with Progress(
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), console=console
    ) as progress:
        bar = progress.add_task(title, total=100)
        while True:
            status = client.get(f"/api/v1{family}/status/{job_id}").raise_for_status().json()
            progress.update(bar, completed=status["progress"]["percentage"])
            if status["status"] not in {"pending", "running"}:
                break
            time.sleep(_POLL_SECONDS)
    if status["status"] != "completed":
        console.print(f"[red]{title.strip()}: {status['message']}[/]")
    return bool(status["status"] == "completed")


def _compare_fits(
    truth: "Truth", traces: list[str], fits: dict[str, Any], console: Console
) -> bool:
    """Print what the cells were given beside what was fitted; whether most agree."""
    fitted = {(item["fov"], item["cell"]): item for item in fits["results"] if item["success"]}
    names = ("ktl", "delta")
    table = Table(*(f"{kind} {name}" for name in names for kind in ("true", "fitted")), "R²")
    errors = []
    for path in traces:
        for row in _first_rows(Path(path)):
            item = fitted.get((int(row["fov"]), int(row["cell"])))
            known = _nearest(truth, row)
            if item is None or known is None:
                continue
            values = item["fitted_params"]
            errors.append(abs(values["ktl"] / known.parameters["ktl"] - 1))
            if len(table.rows) < _SHOWN_CELLS:
                shown = [
                    f"{source[name]:.4g}" for name in names for source in (known.parameters, values)
                ]
                table.add_row(*shown, f"{item['r_squared']:.4f}")
    console.print(table)
    close = sum(error < _FIT_TOLERANCE for error in errors)
    console.print(
        f"[green]{len(errors)} of {len(truth.cells)} cells followed and fitted, {close} within "
        f"{_FIT_TOLERANCE:.0%} of the truth, mean R² {fits['summary']['mean_r_squared']:.4f}[/]"
    )
    return bool(errors) and close >= _FIT_SHARE * len(truth.cells)


def _first_rows(path: Path) -> Iterator[dict[str, str]]:
    """Yield the first row of each cell in a file of traces."""
    seen = set()
    for row in csv.DictReader(path.read_text("utf-8").splitlines()):
        if row["cell"] not in seen:
            seen.add(row["cell"])
            yield row


def _nearest(truth: "Truth", row: dict[str, str]) -> "CellTruth | None":
    """Return the true cell that was where a trace begins."""
    place = (float(row["position_y"]), float(row["position_x"]))
    frame = int(row["frame"])
    candidates = [
        (math.dist(place, cell.centres[frame - cell.first_frame]), cell)
        for cell in truth.cells
        if cell.fov == int(row["fov"]) and frame >= cell.first_frame
    ]
    distance, cell = min(candidates, key=lambda item: item[0], default=(math.inf, None))
    return cell if distance < _SAME_PLACE_PX else None


def _follow(client: httpx.Client, run: dict[str, Any], console: Console) -> dict[str, Any]:
    """Show a run's progress until it has ended; a bar for the run, one for each mode."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[left]}"),
    )
    with Progress(*columns, console=console) as progress:
        bars = {mode: progress.add_task(f"  {mode}", total=1, left="") for mode in run["modes"]}
        whole = progress.add_task("Run", total=100, left="")
        while True:
            current = run["current_mode"]
            for mode, bar in bars.items():
                is_over = current is None or mode not in {current, *run["remaining_modes"]}
                state = "done" if is_over else "running" if mode == current else "waiting"
                progress.update(bar, completed=int(is_over), left=state)
            left = run["remaining_s"]
            progress.update(
                whole,
                completed=run["progress_pct"],
                left="" if left is None else f"{left} s left",
            )
            if run["status"] != "running":
                return run
            time.sleep(_POLL_SECONDS)
            run = client.get(f"/jobs/{run['run_id']}").raise_for_status().json()


def _run_folder(settings: ServerSettings, run_id: str) -> Path:
    root = settings.data_dir / "runs"
    index = json.loads((root / "_run_paths.json").read_text("utf-8"))
    return root / str(index[run_id])
