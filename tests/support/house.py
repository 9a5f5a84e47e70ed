"""A server with something in every domain, made through its API as clients make it."""

import io
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import httpx
from PIL import Image

from benchwire.domains.battery.simulation import make_fleet
from benchwire.domains.microscopy.simulation import MODEL, write_demo_movie
from tests.support.battery import minutes, write_signal
from tests.support.waiting import until

NASTY = "<img src=x onerror=window.hacked=1>"
"""A name that would become an element, and tell so, where text is taken for markup."""
KEY = "a house key"
WORK_SECONDS = 90.0
COPY = "copy.ome.tif"
WELL = f"{NASTY}/A1"
"""The sample that most of the work is done on."""


@dataclass(slots=True)
class House:
    """What is in the server, and where its pages are."""

    url: str
    pages: dict[str, list[str]] = field(default_factory=dict)
    """Addresses below ``/ui`` by the route that answers them."""


def options(folder: Path) -> tuple[str, ...]:
    """Write what a server reads at its start, and return how it is started."""
    recordings = folder / "recordings"
    make_fleet(recordings, devices=1, days=3, seed=31, faults_per_device_day=1.0, cells=1)
    write_signal(recordings, NASTY, "bms1_soc", [(at, 50) for at in minutes(300)])
    return (
        "--emulate", "potentiostat=2", "--emulate", "powermeter=2",
        "--battery-data", str(recordings),
    )  # fmt: skip


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of such a server; its key shows what only a locked server has."""
    return {
        "BENCHWIRE_UI": "true",
        "BENCHWIRE_API_KEY": KEY,
        "BENCHWIRE_COMPUTE_PROCESSES": "1",
        "PYAMA_ALLOWED_PATHS": str(folder),
        # Nobody answers there.
        "BENCHWIRE_STORES_URLS": "s3://lab-movies/2026",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
    }


def furnish(url: str, folder: Path) -> House:
    """Put something into every domain, with names that should stay text."""
    house = House(url)
    with httpx.Client(base_url=url, headers={"X-API-Key": KEY}, timeout=30) as client:
        _fill_plates(client, house)
        _measure(client, house)
        _watch_meter(client, house)
        _process_movie(client, house, folder)
        _read_batteries(client, house)
    house.pages["/"] = ["/"]
    house.pages["/jobs"] = ["/jobs", "/jobs?state=failed"]
    house.pages["/search"] = ["/search", "/search?q=img", "/search?q=nothing+of+the+kind"]
    house.pages["/samples"] = ["/samples"]
    house.pages["/stores"] = ["/stores"]
    house.pages["/samples/view"] = [
        f"/samples/view?{urlencode({'sample': sample})}" for sample in (WELL, NASTY, "none")
    ]
    return house


def _post(client: httpx.Client, path: str, body: Any = None, **more: Any) -> Any:
    answer = client.post(path, json=body, **more)
    assert answer.is_success, f"{path}: {answer.text[:500]}"
    return answer.json()


def _measure(client: httpx.Client, house: House) -> None:
    """Measure an OCP to its end on one slot, and leave a long one going on the other."""

    def start(slot: str, experiment: str, seconds: float) -> str:
        request = {
            "devices": [slot],
            "modes": ["OCP"],
            "params_by_mode": {"OCP": {"duration": seconds}},
            "experiment_name": experiment,
            "client_datetime": "2026-05-04T12:00:00",
            "make_plot": True,
            "samples": {slot: WELL},
        }
        return str(_post(client, "/jobs", request)["run_id"])

    until(lambda: len(client.get("/devices").json()) == 2, what="two slots")
    short, long = start("slot01", NASTY.replace("/", ""), 1.0), start("slot02", "Long", 3000.0)
    _until_over(lambda: client.get(f"/jobs/{short}").json()["status"], {"running", "queued"})
    route = "/potentiostat/run/{run_id}"
    house.pages["/potentiostat"] = ["/potentiostat"]
    house.pages[route] = [f"/potentiostat/run/{run}" for run in (short, long, quote(NASTY))]


def _watch_meter(client: httpx.Client, house: House) -> None:
    """Have the first meter see one alarm."""
    name = client.get("/api/meters").json()[0]["meter"]
    limits = {"alarms": {"voltage": {"high": 1.0}}}
    client.post("/api/config", params={"meter": name}, json=limits).raise_for_status()
    _post(client, "/samples/links", {"kind": "meter", "item_id": name, "sample": NASTY})
    house.pages["/powermeter"] = ["/powermeter"]
    house.pages["/powermeter/{name}"] = [f"/powermeter/{quote(each)}" for each in (name, NASTY)]


def _fill_plates(client: httpx.Client, house: House) -> None:
    """Make two plates: one hostile and small with all a well can have, one of many wells."""

    def post(path: str, **body: Any) -> Any:
        answer = _post(client, f"/api/v1{path}", body)
        return answer.get("data", answer)

    carousel = {"carousel_positions": 3, "hotel_positions": 4}
    client.post("/api/v1/locations/initialise_carousel", json=carousel).raise_for_status()
    place = post("/locations", location={"name": NASTY}, location_type="special")
    chemical = post("/chemicals", chemical={"name": NASTY, "cas": "7647-14-5"})
    component = {"chemical_id": chemical["id"], "amount_with_unit": "2 M"}
    solution = post(
        "/stock_solutions",
        stock_solution={"name": NASTY, "description": NASTY, "components": [component]},
    )
    plate = post("/plates", plate={"barcode": NASTY, "name": NASTY}, rows=2, columns=2)
    path = f"/plates/{quote(NASTY, safe='')}"
    moved = {"location_id": place["id"], "moved_by": NASTY}
    client.post(f"/api/v1{path}/move_to_location", json=moved).raise_for_status()
    post("/plates", plate={"barcode": "EMPTY", "name": "Untouched"})
    well, untouched = plate["wells"][0]["id"], plate["wells"][-1]["id"]
    content = {"stock_solution_id": solution["id"], "volume_with_unit": "2 ul"}
    post(f"/wells/{well}/well_contents", well_content=content)
    for _ in range(2):
        image = _upload(client, well)
    point = {"pixel_x": 160, "pixel_y": 120, "point_type": "crystal", "description": NASTY}
    post(f"/wells/{well}/images/{image}/points_of_interest", point_of_interest=point)
    post(f"/wells/{well}/scores", score={"score": 8, "scored_by": NASTY})
    house.pages["/plates"] = ["/plates"]
    house.pages["/plates/solutions"] = ["/plates/solutions"]
    house.pages["/plates/plate/{barcode}"] = [
        f"/plates/plate/{quote(barcode, safe='')}" for barcode in (NASTY, "EMPTY", "none")
    ]
    house.pages["/plates/well/{well_id}"] = [
        f"/plates/well/{number}" for number in (well, untouched, 999_999)
    ]


def _upload(client: httpx.Client, well: int) -> int:
    content = io.BytesIO()
    Image.linear_gradient("L").resize((320, 240)).save(content, "PNG")
    form = {f"image[{key}]": "0.002" for key in ("pixel_size_x_mm", "pixel_size_y_mm")}
    form |= {f"image[reference_{axis}_mm]": "0" for axis in "xyz"}
    form["image[description]"] = NASTY
    files = {"image[file]": (f"{NASTY}.png", content.getvalue())}
    answer = client.post(f"/api/v1/wells/{well}/images", data=form, files=files)
    assert answer.is_success, answer.text
    return int(answer.json()["data"]["id"])


def _process_movie(client: httpx.Client, house: House, folder: Path) -> None:
    """Find the cells of a small movie, merge their traces and fit them; fail at another."""

    def post(path: str, **body: Any) -> Any:
        return _post(client, f"/api/v1{path}", body)

    def ended(family: str, job_id: str) -> str:
        path = f"/api/v1{family}/status/{job_id}"
        return _until_over(lambda: client.get(path).json()["status"], {"pending", "running"})

    movie, output = folder / f"{NASTY}.ome.tif", folder / "results"
    write_demo_movie(movie, n_fovs=2, n_frames=10, size=400, n_cells=4)
    shutil.copy(movie, folder / COPY)
    channels = post("/processing/load-metadata", file_path=str(movie))["suggested_channels"]
    done, lost = (
        post(
            "/processing/workflow/start",
            microscopy_path=str(path),
            output_dir=str(results),
            channels=channels,
            sample=NASTY,
        )["job_id"]
        for path, results in ((movie, output), (folder / COPY, folder / "lost"))
    )
    # It waits for the first to end, and then there is nothing to read.
    (folder / COPY).unlink()
    assert ended("/processing/workflow", done) == "completed"
    assert ended("/processing/workflow", lost) == "failed"
    listed = folder / "samples.yaml"
    listed.write_text("samples:\n  - name: control\n    fovs: 0-1\n")
    merged = post(
        "/processing/merge",
        sample_yaml=str(listed), input_dir=str(output), output_dir=str(folder / "merged"),
    )["merged_files"]  # fmt: skip
    traces = folder / f"{NASTY}.csv"
    traces.write_bytes(Path(next(path for path in merged if "intensity" in path)).read_bytes())
    fit = post("/analysis/fitting/start", csv_path=str(traces), model_type=MODEL, sample=WELL)
    fit = fit["job_id"]
    assert ended("/analysis/fitting", fit) == "completed"
    house.pages["/microscopy"] = ["/microscopy"] + [
        f"/microscopy?{urlencode({'path': str(path)})}" for path in (movie, listed)
    ]
    house.pages["/microscopy/run/{job_id}"] = [
        f"/microscopy/run/{job}" for job in (done, lost, quote(NASTY))
    ]
    house.pages["/traces"] = ["/traces"] + [
        f"/traces?{urlencode({'csv': str(path)})}" for path in (traces, listed)
    ]
    house.pages["/traces/fit/{job_id}"] = [f"/traces/fit/{job}" for job in (fit, quote(NASTY))]


def _read_batteries(client: httpx.Client, house: House) -> None:
    """Wait until the recordings are read."""
    devices = client.get("/bms/devices", timeout=WORK_SECONDS).json()["devices"]
    names = [item["device_id"] for item in devices]
    assert NASTY in names
    house.pages["/battery"] = ["/battery"]
    house.pages["/battery/{device_id}"] = [
        f"/battery/{quote(name, safe='')}" for name in (*names, "none")
    ]


def _until_over(ask: Any, unfinished: set[str]) -> str:
    deadline = time.monotonic() + WORK_SECONDS
    while (status := ask()) in unfinished:
        assert time.monotonic() < deadline, status
        time.sleep(0.1)
    return str(status)
