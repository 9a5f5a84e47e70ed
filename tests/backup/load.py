"""Clients at work on a server, who note outside of it what it has acknowledged and when."""

import hashlib
import io
import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx
from PIL import Image

from tests.support.at_work import AtWork

SECONDS = 30


@dataclass(frozen=True, slots=True)
class Entry:
    """What was asked for at one moment and acknowledged at another, on one client's clock."""

    client: str
    asked: float
    acknowledged: float
    what: str
    facts: dict[str, Any]


@dataclass
class Journal:
    """What all clients were told, in the order in which they were."""

    entries: list[Entry] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, client: str, asked: float, what: str, **facts: Any) -> None:
        with self._lock:
            self.entries.append(Entry(client, asked, time.monotonic(), what, facts))

    def until_now(self) -> list[Entry]:
        with self._lock:
            return list(self.entries)


class Load(AtWork):
    """Runs on every slot, several people at the plates, batteries that report."""

    def __init__(self, url: str, slots: list[str]) -> None:
        self.url = url
        self.journal = Journal()
        self.failures: list[BaseException] = []
        work = [lambda s=slot: self._measure(s) for slot in slots]
        work += [lambda n=number: self._fill_plates(n) for number in range(3)]
        work += [lambda n=number: self._report(n) for number in range(2)]
        super().__init__(*(partial(self._guarded, each) for each in work))

    def count(self, what: str) -> int:
        return sum(entry.what == what for entry in self.journal.until_now())

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            self.failures.append(error)

    def _client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=SECONDS)

    def _measure(self, slot: str) -> None:
        with self._client() as client:
            while not self._over.is_set():
                asked = time.monotonic()
                body = {
                    "devices": [slot], "modes": ["CA"], "experiment_name": "Load",
                    "params_by_mode": {"CA": {"potential": 0.5, "duration": 0.3}},
                    "client_datetime": "2026-01-01T00:00:00", "make_plot": False,
                }  # fmt: skip
                run = client.post("/jobs", json=body).raise_for_status().json()["run_id"]
                self.journal.note(slot, asked, "started", run=run)
                status: dict[str, Any] = {"status": "running"}
                while not self._over.is_set():
                    now = time.monotonic()
                    status = client.get(f"/jobs/{run}").raise_for_status().json()
                    if status["status"] != "running":
                        break
                    asked = now  # It has ended after this, maybe before it is asked for again.
                if status["status"] == "done":
                    self.journal.note(slot, asked, "done", run=run, status=status)

    def _fill_plates(self, number: int) -> None:
        name = f"person {number}"
        with self._client() as client:
            for turn in itertools.count():
                if self._over.is_set():
                    return
                asked, barcode = time.monotonic(), f"L{number}{turn:05}"
                plate = {"plate": {"name": f"{name} {turn}", "barcode": barcode}}
                made = client.post("/api/v1/plates", json=plate).raise_for_status().json()["data"]
                self.journal.note(name, asked, "plate", barcode=barcode)
                asked, content = time.monotonic(), picture(number, turn)
                form = {f"image[{key}]": "0.002" for key in ("pixel_size_x_mm", "pixel_size_y_mm")}
                form |= {f"image[reference_{axis}_mm]": "0" for axis in "xyz"}
                path = f"/api/v1/wells/{made['wells'][0]['id']}/images"
                files = {"image[file]": ("drop.png", content)}
                answer = client.post(path, data=form, files=files).raise_for_status().json()
                image = answer.get("data", answer)["id"]
                self.journal.note(
                    name, asked, "image", path=f"{path}/{image}/file",
                    sha256=hashlib.sha256(content).hexdigest(),
                )  # fmt: skip

    def _report(self, number: int) -> None:
        device = f"rack{number}"
        with self._client() as client:
            for turn in itertools.count():
                if self._over.is_set():
                    return
                asked = time.monotonic()
                at = f"2026-01-01T{turn // 3600:02}:{turn // 60 % 60:02}:{turn % 60:02}Z"
                body = {"timestamp": at, "soc": turn / 100}
                client.post(f"/bms/{device}/readings", json=body).raise_for_status()
                self.journal.note(device, asked, "reading", device=device, soc=turn / 100)


def picture(number: int, turn: int) -> bytes:
    content = io.BytesIO()
    colour = (number * 80, turn % 256, turn // 256 % 256)
    Image.new("RGB", (64, 64), colour).save(content, "PNG")
    return content.getvalue()
