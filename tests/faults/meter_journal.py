"""What a server showed of a meter, taken down outside of it."""

import csv
import json
import threading
from datetime import datetime

import httpx

from tests.support.waiting import until


class MeterJournal:
    """Every reading that is shown live while it is open."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._seen: set[float] = set()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()
        until(lambda: self._seen, what="the first reading")

    def _follow(self) -> None:
        with httpx.stream("GET", f"{self._url}/api/live", timeout=30) as answer:
            kind = ""
            for line in answer.iter_lines():
                if self._is_over.is_set():
                    return
                name, _, value = line.partition(": ")
                if name == "event":
                    kind = value
                elif name == "data" and kind == "readings":
                    self._seen.update(json.loads(value)["at_ms"])

    def lost(self) -> set[float]:
        """Close it and return what is not stored; that has to be at least a few readings."""
        self._is_over.set()
        self._thread.join()
        with httpx.Client(base_url=self._url, timeout=30) as client:
            until(lambda: client.get("/api/status").json()["waiting_readings"] < 3, what="storage")
            rows = csv.DictReader(client.get("/api/export/1h.csv").text.splitlines())
            stored = {datetime.fromisoformat(row["time_utc"]).timestamp() * 1000 for row in rows}
        assert len(self._seen) > 5
        return {at for at in self._seen if not any(abs(at - other) < 0.01 for other in stored)}
