"""A generated fleet of storage systems: what was wrong with it, and what was found."""

import shutil
import time
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Table

if TYPE_CHECKING:
    from benchwire.domains.battery.simulation import Fault, Truth

DEVICES, DAYS, FAULTS_PER_DAY, SEED = 2, 10, 3.0, 2026
# As far from a fault as an event may begin or end and still be that fault.
_TOLERANCE_US = 300_000_000
_LEAST_RECALL, _MOST_FALSE_PER_DAY = 0.9, 1.0
_WORK_SECONDS = 120.0
_POLL_SECONDS = 0.2
_GROUPS = ("bms", "pcs")


def telemetry(client: httpx.Client, folder: Path, console: Console) -> bool:
    """Have a fleet with known faults read, judged and forecast; whether nearly all were found."""
    from benchwire.domains.battery.simulation import make_fleet

    made = folder.with_name(f"{folder.name}-new")
    shutil.rmtree(made, ignore_errors=True)
    truth = make_fleet(
        made, devices=DEVICES, days=DAYS, seed=SEED, faults_per_device_day=FAULTS_PER_DAY
    )
    # It appears as a whole; a fleet of an earlier demonstration gives way.
    shutil.rmtree(folder, ignore_errors=True)
    made.rename(folder)
    console.print(f"{DEVICES} batteries with {len(truth.labels)} faults made in {folder}")
    if not _read(client, truth, console):
        return False
    found = {
        (device, group): client.get(
            f"/{group}/{device}/anomalies", params={"limit": 1000}, timeout=_WORK_SECONDS
        )
        .raise_for_status()
        .json()["anomalies"]
        for device in truth.device_ids
        for group in _GROUPS
    }
    ok = _compare(truth, found, console)
    return _forecast(client, truth.device_ids[0], console) and ok


def _read(client: httpx.Client, truth: "Truth", console: Console) -> bool:
    """Show how far the recordings are read; whether all of them were."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    deadline = time.monotonic() + _WORK_SECONDS
    with Progress(*columns, console=console) as progress:
        bars = {name: progress.add_task(f"  {name}", total=1.0) for name in truth.device_ids}
        while not progress.finished and time.monotonic() < deadline:
            overview = client.get("/bess/overview").raise_for_status().json()["devices"]
            for device in overview:
                if device["device_id"] in bars:
                    progress.update(bars[device["device_id"]], completed=device["progress"])
            time.sleep(_POLL_SECONDS)
        return progress.finished


def _compare(
    truth: "Truth", found: dict[tuple[str, str], list[dict[str, Any]]], console: Console
) -> bool:
    """Print what was put in beside what was found; whether nearly all was, and little else."""
    hits: Counter[str] = Counter()
    explained: set[tuple[str, str, int]] = set()
    faults = [fault for fault in truth.labels if fault.group in _GROUPS]
    for fault in faults:
        events = found[fault.device_id, fault.group]
        matching = [place for place, event in enumerate(events) if _meets(event, fault)]
        hits[fault.kind] += bool(matching)
        explained |= {(fault.device_id, fault.group, place) for place in matching}
    table = Table("fault", "put in", "found")
    kinds = Counter(str(fault.kind) for fault in faults)
    for kind, count in sorted(kinds.items()):
        table.add_row(kind.replace("_", " "), str(count), str(hits[kind]))
    console.print(table)
    others = sum(map(len, found.values())) - len(explained)
    false_per_day = others / (DEVICES * DAYS)
    recall = hits.total() / len(faults)
    ok = recall >= _LEAST_RECALL and false_per_day <= _MOST_FALSE_PER_DAY
    console.print(
        f"[{'green' if ok else 'red'}]{hits.total()} of {len(faults)} faults found, "
        f"{false_per_day:.2f} other events per device and day[/]"
    )
    return ok


def _meets(event: dict[str, Any], fault: "Fault") -> bool:
    start, end = (
        datetime.fromisoformat(event[key]).timestamp() * 1_000_000 for key in ("start", "end")
    )
    return (
        event["metric"] == fault.field
        and start <= fault.end_us + _TOLERANCE_US
        and end >= fault.start_us - _TOLERANCE_US
    )


def _forecast(client: httpx.Client, device: str, console: Console) -> bool:
    answer = client.get(f"/bms/{device}/forecast", params={"metric": "soc"}, timeout=_WORK_SECONDS)
    forecast = answer.raise_for_status().json()
    test = forecast["backtest"]
    console.print(
        f"State of charge of {device} for the next 24 h by {forecast['method']}: mean error "
        f"{test['mae']:.1f} % before, seasonal naive {test['baseline_mae']:.1f} %, band held "
        f"{test['coverage']:.0%}"
    )
    points = forecast["forecast"]
    return bool(points) and all(
        0 <= point["lower"] <= point["value"] <= point["upper"] <= 100 for point in points
    )
