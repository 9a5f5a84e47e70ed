"""What a restarted server says, compared with what it acknowledged before."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx

from tests.faults.bench import SECONDS, Bench
from tests.faults.load import digest

Entry = dict[str, Any]
END_STATES = {"done", "failed", "cancelled", "completed"}
WAITING = {"queued", "pending", "running"}
PAGE_ROWS = 1000


class Account:
    """A reckoning with a server; what it has lost is told by an `AssertionError`."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._runs = {run["run_id"]: run for run in bench.get("/jobs")}
        self._points: dict[str, dict[str, Any]] = {}
        self._rows: dict[str, set[tuple[str, float]]] = {}
        self._pictures: set[str] = set()

    def compare(self, entries: Sequence[Entry]) -> None:
        """Check that everything acknowledged is there, and as it was told."""
        checks = {
            "run": self._check_run,
            "measured": self._check_measured,
            "reading": self._check_reading,
            "row": self._check_row,
            "image": self._check_image,
            "job": self._check_job,
            "computed": self._check_computed,
        }
        for entry in entries:
            if entry["what"] in checks:
                checks[entry["what"]](entry)
        self._check_limits(entries)
        self._check_moves(entries)

    def check_runs(self) -> None:
        """Check that every run has ended, and that none was begun twice on its instrument."""
        for run in self._runs.values():
            assert run["status"] in END_STATES, run
        for slot in self._bench.slots:
            here = [run for run in self._runs.values() if run["devices"] == [slot]]
            done = sum(run["status"] == "done" for run in here)
            begun = self._bench.state(slot)["closings"]
            assert done <= begun <= len(here), f"{slot}: {begun} begun of {len(here)} runs"
            # Of the runs since the last look as well, or one cut short would hide another's second.
            before = self._bench.begun.get(slot, (0, 0))
            assert begun - before[0] <= len(here) - before[1], f"{slot}: {before}, {begun}"
            self._bench.begun[slot] = (begun, len(here))

    def check_files(self) -> None:
        """Check that no table of a run ends within a row, and every picture is whole.

        It is for a server that has just begun: nobody is writing one.
        """
        data = self._bench.server.data_dir
        for path in (data / "runs").rglob("*.csv"):
            content = path.read_bytes()
            assert not content or content.endswith(b"\n"), f"{path.name} ends within a row"
        images = data / "plates" / "images"
        pictures = {path.name: path for path in images.rglob("*") if path.is_file()}
        for name, path in pictures.items():
            assert digest(path.read_bytes()) == name, f"{path} is no whole picture"
        assert self._pictures <= pictures.keys()

    # -- one kind of thing each -------------------------------------------------------------

    def _check_run(self, entry: Entry) -> None:
        assert entry["run"] in self._runs, entry
        # Whose answer was lost was asked for again, under the same key; each has a folder of it.
        same = [run["run_id"] for run in self._bench.get("/jobs", group_id=entry["key"])]
        assert same == [entry["run"]], f"{entry['key']}: {same}"

    def _check_measured(self, entry: Entry) -> None:
        run = entry["run"]
        assert self._bench.get(f"/jobs/{run}") == entry["status"], entry
        for name, sha256 in entry["files"].items():
            content = self._content(f"/runs/{run}/file", path=name)
            assert digest(content) == sha256, f"{run}: {name} has changed"
        summary = json.loads(self._content(f"/runs/{run}/file", path="run.json"))
        told = {file["path"]: file["sha256"] for file in summary["files"]}
        assert told.items() <= entry["files"].items(), entry

    def _check_image(self, entry: Entry) -> None:
        assert digest(self._content(entry["path"])) == entry["sha256"], entry
        self._pictures.add(entry["sha256"])

    def _check_moves(self, entries: Sequence[Entry]) -> None:
        """Check that a plate's moves are in its history in their order, and the last one holds."""
        moves = {entry["barcode"]: [] for entry in entries if entry["what"] in {"plate", "move"}}
        for entry in entries:
            if entry["what"] == "move":
                moves[entry["barcode"]].append(entry["location"])
        for barcode, acknowledged in moves.items():
            path = f"/api/v1/plates/{barcode}"
            history = self._bench.get(f"{path}/location_history", per_page=PAGE_ROWS)["data"]
            made = [move["location"]["id"] for move in reversed(history)]
            assert _are_in_order(acknowledged, made), f"{barcode}: {acknowledged} of {made}"
            here = self._bench.get(path)["data"]["current_location"]
            assert (here and here["id"]) == (made[-1] if made else None), barcode

    def _check_row(self, entry: Entry) -> None:
        device = entry["device"]
        if device not in self._rows:
            self._rows[device] = set(self._pages(f"/bms/{device}"))
        # Rows whose answer did not come may be there or not, so they are told by their time.
        assert (entry["timestamp"], entry["soc"]) in self._rows[device], entry

    def _check_reading(self, entry: Entry) -> None:
        meter = entry["meter"]
        if meter not in self._points:
            points = self._bench.get("/api/data/24h", meter=meter)["data"]
            self._points[meter] = {point["utc"]: point for point in points}
        point = self._points[meter].get(entry["utc"])
        assert point is not None, entry
        assert all(point[key] == entry[key] for key in ("voltage", "current")), entry

    def _check_limits(self, entries: Sequence[Entry]) -> None:
        """Check the last limit of each meter; a later one may hold whose answer did not come."""
        last = {entry["meter"]: entry["high"] for entry in entries if entry["what"] == "limits"}
        for meter, high in last.items():
            config = self._bench.get("/api/config", meter=meter)
            assert config["alarms"]["voltage"]["high"] >= high, meter

    def _check_job(self, entry: Entry) -> None:
        status = self._bench.get(f"{entry['family']}/status/{entry['job']}")
        assert status["status"] in END_STATES | WAITING, entry

    def _check_computed(self, entry: Entry) -> None:
        results = self._content(f"{entry['family']}/results/{entry['job']}")
        assert digest(results) == entry["results"], entry
        for name, sha256 in entry["tables"].items():
            assert digest(Path(name).read_bytes()) == sha256, f"{name} has changed"

    # -- what the server says ---------------------------------------------------------------

    def _content(self, path: str, /, **query: Any) -> bytes:
        answer = httpx.get(f"{self._bench.server.url}{path}", params=query, timeout=SECONDS)
        return answer.raise_for_status().content

    def _pages(self, path: str) -> Iterator[tuple[str, float]]:
        skip = 0
        while True:
            page = self._bench.get(path, batch_size=PAGE_ROWS, skip=skip)
            yield from ((row["timestamp"], row["soc"]) for row in page["data"])
            skip += PAGE_ROWS
            if skip >= page["total_available"]:
                return


def _are_in_order(some: Sequence[int], among: Iterable[int]) -> bool:
    """Whether all of some values are among others, in the same order."""
    left = iter(among)
    return all(value in left for value in some)
