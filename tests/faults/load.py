"""Clients at work in every domain, who write down what they were told."""

import hashlib
import io
import itertools
import json
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from tests.faults.bench import SECONDS, Bench
from tests.faults.journal import Journal

UPLOADS_PER_PLATE = 6
CHANNELS = {
    "phase": {"channel": 0, "features": ["area"]},
    "fluorescence": [{"channel": 1, "features": ["intensity_total"]}],
}
UNFINISHED = {"queued", "running", "pending"}
Turn = Callable[[httpx.Client], None]


def digest(content: bytes) -> str:
    """Return what tells one content from every other."""
    return hashlib.sha256(content).hexdigest()


class Load:
    """The clients of a bench; they outlive its server and go on where they were cut off.

    Each has a thread and takes turns: what it asks for in a turn is one piece of work. One that
    the server cuts off begins anew as soon as it may. ``refusals`` has the answers that sent a
    client away for a while, ``failures`` what else went wrong.

    Parameters
    ----------
    slots
        Those that clients measure on; all of the bench if None.
    pause
        How long a client rests between two turns, in s.
    """

    def __init__(
        self,
        bench: Bench,
        journal: Journal,
        seed: int,
        *,
        slots: list[str] | None = None,
        pause: float = 0.0,
    ) -> None:
        self.bench = bench
        self.journal = journal
        self.refusals: list[httpx.Response] = []
        self.failures: list[BaseException] = []
        self._pause = pause
        self._over = threading.Event()
        chance = random.Random(seed)
        self._turns: list[Turn] = [
            *(
                Experimenter(self, slot, chance.getrandbits(32)).turn
                for slot in slots or bench.slots
            ),
            *(PlateHand(self, number).turn for number in range(2)),
            *(Rack(self, f"rack{number}").turn for number in range(2)),
            MeterReader(self).turn,
            Analyst(self, "/processing/workflow", self.movie_order).turn,
            Analyst(self, "/analysis/fitting", self.fit_order).turn,
        ]

    @contextmanager
    def running(self) -> Iterator["Load"]:
        """Have all clients work as long as this is open."""
        self._over.clear()
        threads = [threading.Thread(target=self._work, args=(turn,)) for turn in self._turns]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self.end()
            for thread in threads:
                thread.join()

    def end(self) -> None:
        """Let the clients end with what they are doing."""
        self._over.set()

    def is_over(self, pause: float = 0.0) -> bool:
        """Whether to go home, asked after a pause (s)."""
        return self._over.wait(pause) if pause else self._over.is_set()

    def count(self, what: str) -> int:
        """Return how often something was acknowledged."""
        return sum(entry["what"] == what for entry in self.journal.entries())

    def movie_order(self, number: int) -> dict[str, Any]:
        """Return what to ask for to have the movie processed once more."""
        return {
            "microscopy_path": str(self.bench.area / "movie.ome.tif"),
            "output_dir": str(self.bench.area / f"results{number}"),
            "channels": CHANNELS,
            "parameters": {"border_margin": 5, "min_frames": 2},
        }

    def fit_order(self, number: int) -> dict[str, Any]:
        """Return what to ask for to have a copy of the traces fitted."""
        traces = self.bench.area / "traces.csv"
        copy = self.bench.area / f"traces{number}.csv"
        copy.write_bytes(traces.read_bytes())
        return {"csv_path": str(copy), "model_type": "maturation"}

    def _work(self, turn: Turn) -> None:
        with httpx.Client(base_url=self.bench.server.url, timeout=SECONDS) as client:
            while not self.is_over():
                try:
                    turn(client)
                    self.is_over(self._pause)
                except httpx.TransportError:
                    self.is_over(0.2)
                except httpx.HTTPStatusError as error:
                    if error.response.status_code != 503:
                        self.failures.append(error)
                        return
                    self.refusals.append(error.response)
                    self.is_over(0.2)
                except BaseException as error:
                    self.failures.append(error)
                    return


class Experimenter:
    """Measures on one slot, run after run; a run whose answer was lost is asked for again."""

    def __init__(self, load: Load, slot: str, seed: int) -> None:
        self._load = load
        self._slot = slot
        self._chance = random.Random(seed)
        self._orders = itertools.count(1)
        self._order: dict[str, Any] | None = None
        self._key = ""

    def turn(self, client: httpx.Client) -> None:
        if self._order is None:
            self._key = f"{self._slot}-{next(self._orders)}"
            self._order = self._new_order()
        answer = client.post(
            "/jobs", json=self._order, headers={"Idempotency-Key": self._key}
        ).raise_for_status()
        run = answer.json()["run_id"]
        self._load.journal.note("run", run=run, slot=self._slot, key=self._key)
        self._order = None
        self._follow(client, run)

    def _new_order(self) -> dict[str, Any]:
        rate = self._chance.uniform(2.0, 8.0)
        modes = {
            "CA": {"potential": 0.5, "duration": self._chance.uniform(0.1, 0.5)},
            "CV": {"start": 0.3, "vertex1": 0.7, "vertex2": -0.1, "end": 0.3, "scan_rate": rate,
                   "cycles": 1},
        }  # fmt: skip
        mode = self._chance.choice(list(modes))
        return {
            "devices": [self._slot], "modes": [mode], "params_by_mode": {mode: modes[mode]},
            "experiment_name": "Lives", "subdir": self._key,
            "client_datetime": "2026-01-01T00:00:00", "make_plot": False,
        }  # fmt: skip

    def _follow(self, client: httpx.Client, run: str) -> None:
        while not self._load.is_over(0.02):
            status = client.get(f"/jobs/{run}").raise_for_status().json()
            if status["status"] in UNFINISHED:
                continue
            if status["status"] == "done":
                files = {
                    name: digest(
                        client.get(f"/runs/{run}/file", params={"path": name})
                        .raise_for_status()
                        .content
                    )
                    for name in (*status["slots"][0]["files"], "run.json")
                }
                self._load.journal.note("measured", run=run, status=status, files=files)
            return


class PlateHand:
    """Makes plates, takes pictures of their wells and carries them between two places."""

    def __init__(self, load: Load, number: int) -> None:
        self._load = load
        self._name = f"hand{number}"
        self._turns = itertools.count()
        self._well = 0
        self._barcode = ""
        self._places: list[int] = []
        self._left = 0

    def turn(self, client: httpx.Client) -> None:
        number = next(self._turns)
        if not self._left:
            self._make_plate(client, number)
        self._left -= 1
        content = picture(number)
        form = {f"image[{key}]": "0.002" for key in ("pixel_size_x_mm", "pixel_size_y_mm")}
        form |= {f"image[reference_{axis}_mm]": "0" for axis in "xyz"}
        path = f"/api/v1/wells/{self._well}/images"
        made = client.post(path, data=form, files={"image[file]": ("drop.png", content)})
        image = made.raise_for_status().json()["data"]["id"]
        self._load.journal.note("image", path=f"{path}/{image}/file", sha256=digest(content))
        self._move(client)

    def _make_plate(self, client: httpx.Client, number: int) -> None:
        places = [
            client.post("/api/v1/locations", json={"location": {"name": f"{self._name} {at}"}})
            for at in (f"{number} left", f"{number} right")
        ]
        self._places = [place.raise_for_status().json()["data"]["id"] for place in places]
        barcode = f"{self._name.upper()}N{number}"
        plate = {"plate": {"barcode": barcode}, "rows": 1, "columns": 2}
        made = client.post("/api/v1/plates", json=plate).raise_for_status().json()["data"]
        self._load.journal.note("plate", barcode=barcode)
        self._barcode, self._well = barcode, made["wells"][0]["id"]
        self._left = UPLOADS_PER_PLATE

    def _move(self, client: httpx.Client) -> None:
        path = f"/api/v1/plates/{self._barcode}"
        now = client.get(path).raise_for_status().json()["data"]["current_location"]
        place = self._places[0 if now is None or now["id"] == self._places[1] else 1]
        body = {"location_id": place, "moved_by": self._name}
        client.post(f"{path}/move_to_location", json=body).raise_for_status()
        self._load.journal.note("move", barcode=self._barcode, location=place)


def picture(number: int) -> bytes:
    """Return a small picture unlike that of any other number."""
    content = io.BytesIO()
    Image.new("RGB", (64, 64), (number % 256, number // 256 % 256, 80)).save(content, "PNG")
    return content.getvalue()


class Rack:
    """Batteries that report once in a while; each report has a time of its own."""

    def __init__(self, load: Load, device: str) -> None:
        self._load = load
        self._device = device
        self._turns = itertools.count()

    def turn(self, client: httpx.Client) -> None:
        number = next(self._turns)
        at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number)
        row = {"timestamp": f"{at:%Y-%m-%dT%H:%M:%SZ}", "soc": number % 1000 / 10}
        client.post(f"/bms/{self._device}/readings", json=row).raise_for_status()
        self._load.journal.note("row", device=self._device, **row)


class MeterReader:
    """Reads what the meters have measured, and changes a limit now and then."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._turns = itertools.count(1)

    def turn(self, client: httpx.Client) -> None:
        number = next(self._turns)
        for meter in client.get("/api/meters").raise_for_status().json():
            asked = {"meter": meter["meter"]}
            latest = client.get("/api/data/latest", params=asked)
            if latest.status_code == 404:
                continue  # nothing is on the disk so far
            read = latest.raise_for_status().json()
            facts = {key: read[key] for key in ("utc", "voltage", "current")}
            self._load.journal.note("reading", meter=meter["meter"], **facts)
            if number % 10 == 0:
                high = 20.0 + number / 1000
                limits = {"alarms": {"voltage": {"high": high}}}
                client.post("/api/config", params=asked, json=limits).raise_for_status()
                self._load.journal.note("limits", meter=meter["meter"], high=high)
        self._load.is_over(0.1)


class Analyst:
    """Has one piece of computing done after another, each to its end."""

    def __init__(self, load: Load, family: str, order: Callable[[int], dict[str, Any]]) -> None:
        self._load = load
        self._family = f"/api/v1{family}"
        self._order = order
        self._turns = itertools.count(1)
        self._job = ""

    def turn(self, client: httpx.Client) -> None:
        if not self._job:
            order = self._order(next(self._turns))
            job = client.post(f"{self._family}/start", json=order).raise_for_status().json()
            self._job = job["job_id"]
            self._load.journal.note("job", family=self._family, job=self._job)
        status = client.get(f"{self._family}/status/{self._job}").raise_for_status().json()
        if status["status"] not in UNFINISHED:
            job, self._job = self._job, ""
            if status["status"] == "completed":
                results = client.get(f"{self._family}/results/{job}").raise_for_status().content
                tables = tables_of(json.loads(results))
                self._load.journal.note(
                    "computed", family=self._family, job=job, results=digest(results), tables=tables
                )
        self._load.is_over(0.1)


def tables_of(results: dict[str, Any]) -> dict[str, str]:
    """Return the tables that results name, sorted, each with the digest of its content."""
    # A workflow's results file is a list of its tables, by paths that differ.
    if "output_dir" in results:
        paths = sorted(Path(results["output_dir"]).rglob("*_traces.csv"))
    else:
        paths = [Path(results["results_file"])]
    return {str(path): digest(path.read_bytes()) for path in paths}
