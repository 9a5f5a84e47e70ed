"""A fleet in a folder, laid out as the recordings of real systems are."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchwire.domains.battery.samples import Samples
from benchwire.domains.battery.simulation.faults import Fault, inject
from benchwire.domains.battery.simulation.recording import simulate

_DEVICE_IDS = ("ZHPESS232A230002", "ZHPESS232A230003", "ZHPESS232A230007")


@dataclass(frozen=True, slots=True)
class Truth:
    """What was made: the devices, and every fault in them by its start."""

    device_ids: tuple[str, ...]
    labels: tuple[Fault, ...]


def make_fleet(
    folder: Path,
    *,
    devices: int = 2,
    days: float = 14,
    seed: int = 0,
    faults_per_device_day: float = 0.0,
    cells: int = 0,
) -> Truth:
    """Write ``<folder>/BESS/<device>/<signal>.csv`` for each device; the same seed, the same bytes.

    Parameters
    ----------
    cells
        How many cells of each of the five stacks get files of their own, 0 to 52.
    """
    labels: list[Fault] = []
    device_ids = tuple(_device_id(number) for number in range(devices))
    for number, device_id in enumerate(device_ids):
        signals = simulate(number, days, seed=seed, cells=cells)
        if faults_per_device_day > 0:
            signals, faults = inject(
                signals,
                seed * 1000 + number,
                device_id=device_id,
                faults_per_day=faults_per_device_day,
            )
            labels += faults
        device_folder = folder / "BESS" / device_id
        device_folder.mkdir(parents=True, exist_ok=True)
        for name, samples in signals.items():
            _write(device_folder / f"{name}.csv", name, samples)
    return Truth(device_ids, tuple(sorted(labels, key=lambda fault: fault.start_us)))


def _device_id(number: int) -> str:
    return _DEVICE_IDS[number] if number < len(_DEVICE_IDS) else f"ZHPESS232A23{number + 5:04d}"


def _write(path: Path, name: str, samples: Samples) -> None:
    import polars as pl

    times = pl.Series("ts", samples.at_us, pl.Int64).cast(pl.Datetime("us"))
    values = pl.Series(name, samples.values).fill_nan(None)
    # Whole numbers stand without a decimal point, as the systems log them.
    if np.all(np.mod(samples.values, 1)[~np.isnan(samples.values)] == 0):
        values = values.cast(pl.Int64)
    pl.DataFrame([times, values]).write_csv(path, datetime_format="%Y-%m-%d %H:%M:%S")
