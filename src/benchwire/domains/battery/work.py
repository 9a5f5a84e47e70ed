"""What runs in a worker process: reading recordings, judging and forecasting signals."""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchwire.domains.battery import recorded
from benchwire.domains.battery.dataset import Recording
from benchwire.domains.battery.errors import TooLittleData, TooMuchData
from benchwire.domains.battery.recorded import Options, Recorded
from benchwire.domains.battery.rows import Rows, RowsFile, merged
from benchwire.domains.battery.samples import DAY_US
from benchwire.domains.battery.series import SignalSource
from benchwire.domains.battery.signals import GROUPS, Group
from benchwire.foundation.files import make_folders, whole_file, write_whole
from benchwire.foundation.workers import Reporter

Span = tuple[int | None, int | None]
"""Start and end (us) of what is looked at; either may be open."""

MOST_SAMPLES = 30_000_000
HISTORY_DAYS = 100
"""Days before its begin that a forecast may look at; none learns from more."""


@dataclass(frozen=True, slots=True)
class BuildOrder:
    """What the rows of a device's group are made of.

    Parameters
    ----------
    recording
        The files of the group's signals, None where nothing was recorded.
    segments
        Files of live readings.
    """

    device_id: str
    group_name: str
    recording: Recording | None
    cache: Path
    options: Options
    segments: tuple[Path, ...] = ()

    @property
    def group(self) -> Group:
        """The group."""
        return GROUPS[self.group_name]

    @property
    def live_path(self) -> Path:
        """Where recording and live readings are together."""
        path = recorded.timeline_path(self.cache, self.device_id, self.group_name)
        return path.with_name(f"{self.group_name}.live.parquet")


@dataclass(frozen=True, slots=True)
class Built:
    """The rows of a device's group on the disk.

    Parameters
    ----------
    path
        The file of all rows, None where there is none.
    live_values
        How many values the live readings in that file have, by field.
    """

    path: Path | None
    recorded: Recorded | None
    live_values: Mapping[str, int]


# -- rows -------------------------------------------------------------------------------------


def of_group(recording: Recording, group: Group) -> Recording | None:
    """Return a recording with nothing but a group's signals, None where it has none of them."""
    files = {
        signal.name: recording.files[signal.name]
        for signal in group.signals
        if signal.name in recording.files
    }
    return replace(recording, files=files) if files else None


def built(order: BuildOrder) -> Built | None:
    """Return what was built before, None if it has to be built anew; quick, reads no rows."""
    found: Recorded | None = None
    if order.recording is not None:
        found = recorded.recorded(order.recording, order.group, order.cache, order.options)
        if found is None:
            return None
    if not order.segments:
        return Built(_recorded_path(order, found), found, {})
    try:
        note = json.loads(_note_path(order).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    if note.get("sources") != _sources(order, found) or not order.live_path.is_file():
        return None
    return Built(order.live_path, found, note["live_values"])


def build(reporter: Reporter, order: BuildOrder) -> Built:
    """Bring the rows of a device's group onto the disk."""
    found: Recorded | None = None
    if order.recording is not None:

        def tell(fraction: float, message: str) -> None:
            reporter.raise_if_stopped()
            reporter.progress(fraction, message)

        found = recorded.build(order.recording, order.group, order.cache, order.options, tell)
    if not order.segments:
        return Built(_recorded_path(order, found), found, {})
    sources = _sources(order, found)
    path = _recorded_path(order, found)
    fields = order.group.fields
    files = [RowsFile(item, fields) for item in ([path] if path else []) + [*order.segments]]
    write_rows(order.live_path, fields, merged(files))
    live_values = _live_values(files[1:] if path else files, files[0] if path else None, fields)
    for file in files:
        file.close()
    note = {"sources": sources, "live_values": live_values}
    write_whole(_note_path(order), json.dumps(note).encode())
    return Built(order.live_path, found, live_values)


def write_rows(path: Path, fields: Sequence[str], parts: Iterable[Rows]) -> None:
    """Write rows as a Parquet file that is whole or absent."""
    from benchwire.domains.battery.rows_writer import RowsWriter

    make_folders(path.parent)
    with whole_file(path) as file, closing(RowsWriter(file, fields)) as writer:
        for part in parts:
            writer.write(part)


def _recorded_path(order: BuildOrder, found: Recorded | None) -> Path | None:
    if found is None or not found.rows:
        return None
    return recorded.timeline_path(order.cache, order.device_id, order.group_name)


def _note_path(order: BuildOrder) -> Path:
    return order.live_path.with_suffix(".json")


def _sources(order: BuildOrder, found: Recorded | None) -> list[list[Any]]:
    path = _recorded_path(order, found)
    paths = ([path] if path else []) + [*order.segments]
    return [[item.name, item.stat().st_size, item.stat().st_mtime_ns] for item in paths]


def _live_values(
    live: Sequence[RowsFile], file: RowsFile | None, fields: Sequence[str]
) -> dict[str, int]:
    counts = np.zeros(len(fields), np.int64)
    for part in merged(live):
        new = part if file is None else part.take(~file.ranks(part.at_us)[1])
        counts += (~np.isnan(new.values)).sum(axis=0)
    return dict(zip(fields, counts.tolist(), strict=True))


# -- signals of no group ----------------------------------------------------------------------


def signal_file(recording: Recording, name: str, cache: Path, options: Options) -> Path | None:
    """Return the file of a signal that was read as it is now, else None."""
    if recorded.signal_recorded(recording, name, cache, options) is None:
        return None
    return recorded.signal_path(cache, recording.device_id, name)


def build_signals(
    reporter: Reporter, recording: Recording, names: Sequence[str], cache: Path, options: Options
) -> None:
    """Read signals, whatever group they are in or none."""

    def tell(fraction: float, message: str) -> None:
        reporter.raise_if_stopped()
        reporter.progress(fraction, message)

    recorded.build_signals(recording, names, cache, options, tell)


# -- judging and forecasting ------------------------------------------------------------------


def anomalies(
    _: Reporter,
    sources: Mapping[str, SignalSource],
    group_name: str,
    method: str,
    metrics: Sequence[str] | None,
    start_us: int | None,
    end_us: int | None,
) -> dict[str, Any]:
    """Return what is unusual in a group's signals, oldest first."""
    from benchwire.domains.battery import anomalies as detectors

    signals = {name: source.samples(start_us, end_us) for name, source in sources.items()}
    found = detectors.find(signals, GROUPS[group_name], method, metrics=metrics)
    return {
        "samples_analyzed": found.samples_analyzed,
        "anomalies": [asdict(item) for item in found.anomalies],
    }


def forecast(
    _: Reporter,
    source: SignalSource,
    field: str,
    horizon_hours: float,
    step_minutes: float,
    as_of_us: int | None,
    method: str,
) -> Any:
    """Return the forecast of a signal."""
    from benchwire.domains.battery import forecast as forecasting

    # What comes after is hidden already here, so that nothing of it can leak.
    end_us = None if as_of_us is None else as_of_us + 1
    span = source.span()
    if span is None:
        raise TooLittleData("There are no samples to forecast from")
    last_us = span[1] if end_us is None else min(span[1], as_of_us or span[1])
    start_us = last_us - HISTORY_DAYS * DAY_US
    return forecasting.forecast(
        source.samples(start_us, end_us),
        field=field,
        horizon_hours=horizon_hours,
        step_minutes=step_minutes,
        as_of_us=as_of_us,
        method=method,
    )


def cycling(
    _: Reporter, sources: Mapping[str, SignalSource], span: Span, capacity_ah: float | None
) -> Any:
    """Return full cycles and throughput, from what a BMS measured."""
    from benchwire.domains.battery import cycling as figures

    signals = {name: source.samples(*span) for name, source in sources.items()}
    return figures.cycling(
        signals.get("current"),
        signals.get("soc"),
        voltage=signals.get("voltage"),
        capacity_ah=capacity_ah,
    )


def efficiency(_: Reporter, sources: Mapping[str, SignalSource], span: Span) -> Any:
    """Return the round-trip efficiency, from power or else from voltage and current."""
    from benchwire.domains.battery.efficiency import round_trip_efficiency
    from benchwire.domains.battery.throughput import power_kw

    signals = {name: source.samples(*span) for name, source in sources.items()}
    power = signals.get("power")
    if power is None:
        power = power_kw(signals["voltage"], signals["current"])
    return round_trip_efficiency(power, signals.get("soc"))


def health(_: Reporter, source: SignalSource, span: Span) -> Any:
    """Return the trend of the state of health."""
    from benchwire.domains.battery.health import health_trend

    return health_trend(source.samples(*span))


def imbalance(
    _: Reporter,
    cells: Mapping[str, SignalSource],
    current: SignalSource | None,
    soc: SignalSource | None,
    span: Span,
) -> Any:
    """Return which cells are off the others, cell by cell so that memory stays small."""
    from benchwire.domains.battery.imbalance import rank_cells
    from benchwire.domains.battery.throughput import find_sign

    flow = current.samples(*span) if current else None
    level = soc.samples(*span) if soc else None
    return rank_cells(
        ((name, source.samples(*span)) for name, source in cells.items()),
        current=flow,
        sign=find_sign(flow, level) if flow is not None else None,
    )


def spread(_: Reporter, sources: Mapping[str, SignalSource], span: Span) -> Any:
    """Return how far the highest and lowest cell are apart, where no single cell is known."""
    from benchwire.domains.battery.imbalance import difference, pack_spread

    signals = {name: source.samples(*span) for name, source in sources.items()}
    if "cell_voltage_diff" in signals:
        return pack_spread(signals["cell_voltage_diff"])
    return pack_spread(difference(signals["cell_max_voltage"], signals["cell_min_voltage"]))


def check_amount(sources: Mapping[str, SignalSource]) -> None:
    """Refuse more samples than a worker can hold.

    Raises
    ------
    TooMuchData
    """
    spans = [source.span() for source in sources.values()]
    if sum(span[2] for span in spans if span) > MOST_SAMPLES:
        raise TooMuchData("These are too many samples at once; choose a shorter time")
