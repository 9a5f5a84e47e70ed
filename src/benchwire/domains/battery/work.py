"""What runs in a worker process: reading recordings, judging and forecasting signals."""

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchwire.domains.battery import recorded
from benchwire.domains.battery.dataset import Recording
from benchwire.domains.battery.errors import FileDamaged, TooLittleData, TooMuchData
from benchwire.domains.battery.recorded import Options, Recorded
from benchwire.domains.battery.rows import Rows, RowsFile, merged
from benchwire.domains.battery.samples import DAY_US, Samples
from benchwire.domains.battery.series import SignalSource
from benchwire.domains.battery.signals import GROUPS, Group
from benchwire.domains.battery.tails import LiveFiles
from benchwire.foundation.files import DiskRefused, make_folders, whole_file, write_whole
from benchwire.foundation.workers import Reporter

logger = logging.getLogger(__name__)

Span = tuple[int | None, int | None]
"""Start and end (us) of what is looked at; either may be open."""

MOST_SAMPLES = 30_000_000
_ROWS_AT_ONCE = 131_072
# No battery has such a value in any unit; the squares of larger ones leave the range of numbers.
_LARGEST_VALUE = 1e12
HISTORY_DAYS = 100
"""Days before the last value that a forecast may look at; none learns from more."""


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
        is_same = note["sources"] == _sources(order, found)
        live_values = {name: int(note["live_values"][name]) for name in order.group.fields}
        is_same = is_same and note["bytes"] == order.live_path.stat().st_size
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Built(order.live_path, found, live_values) if is_same else None


def build(reporter: Reporter, order: BuildOrder) -> Built:
    """Bring the rows of a device's group onto the disk."""
    found: Recorded | None = None
    if order.recording is not None:

        def tell(fraction: float, message: str) -> None:
            reporter.raise_if_stopped()
            reporter.progress(fraction, message)

        found = _recorded_anew(order, order.recording, tell)
    if not order.segments:
        return Built(_recorded_path(order, found), found, {})
    path = _recorded_path(order, found)
    fields = order.group.fields
    order = replace(order, segments=tuple(filter(_is_readable, order.segments)))
    sources = _sources(order, found)
    with ExitStack() as stack:
        own = [_opened(path, fields, stack)] if path else []
        live = LiveFiles([_opened(item, fields, stack) for item in order.segments])
        write_rows(order.live_path, fields, merged([*own, live]))
        live_values = _live_values(live, own[0] if own else None, fields)
    size = order.live_path.stat().st_size
    note = {"sources": sources, "live_values": live_values, "bytes": size}
    write_whole(_note_path(order), json.dumps(note).encode())
    return Built(order.live_path, found, live_values)


def _recorded_anew(
    order: BuildOrder, recording: Recording, tell: Callable[[float, str], None]
) -> Recorded:
    """Build the rows of a recording, all of it where a file made earlier turns out damaged."""
    from pyarrow import ArrowException

    try:
        return recorded.build(recording, order.group, order.cache, order.options, tell)
    except (ArrowException, ValueError, DiskRefused) as error:
        # What the library finds wrong in a file has no number; what the system refuses has.
        if isinstance(error.__cause__, OSError) and error.__cause__.errno is not None:
            raise
        logger.warning("%s of %s is made anew: %s", order.group_name, order.device_id, error)
        for name in recording.files:
            recorded.forget(recorded.signal_path(order.cache, order.device_id, name))
        return recorded.build(recording, order.group, order.cache, order.options, tell)


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


def join_live(_: Reporter, segments: Sequence[Path], target: Path, fields: Sequence[str]) -> None:
    """Make one file of several of live readings."""
    with ExitStack() as stack:
        sound = filter(_is_readable, segments)
        live = LiveFiles([_opened(item, fields, stack) for item in sound])
        write_rows(target, fields, merged([live]))


def _is_readable(segment: Path) -> bool:
    """Whether a file of live readings is sound; one that is not is kept aside and told."""
    try:
        with closing(RowsFile(segment, GROUPS[segment.parent.name].fields)) as file:
            for begin in range(0, len(file), _ROWS_AT_ONCE):
                file.read(begin, begin + _ROWS_AT_ONCE)
    except FileDamaged:
        logger.error("live readings in %s are damaged; the file is kept as .damaged", segment)
        segment.rename(segment.with_suffix(".damaged"))
        return False
    return True


def _opened(path: Path, fields: Sequence[str], stack: ExitStack) -> RowsFile:
    return stack.enter_context(closing(RowsFile(path, fields)))


def _live_values(live: LiveFiles, file: RowsFile | None, fields: Sequence[str]) -> dict[str, int]:
    counts = np.zeros(len(fields), np.int64)
    for part in merged([live]):
        new = part if file is None else part.take(~file.ranks(part.at_us)[1])
        counts += (~np.isnan(new.values)).sum(axis=0)
    return dict(zip(fields, counts.tolist(), strict=True))


# -- signals of no group ----------------------------------------------------------------------


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
    span: Span,
) -> dict[str, Any]:
    """Return what is unusual in a group's signals, oldest first."""
    from benchwire.domains.battery import anomalies as detectors

    found = detectors.find(_read(sources, span), GROUPS[group_name], method, metrics=metrics)
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
    last_us = _last_value_us(source, None if as_of_us is None else as_of_us + 1)
    if last_us is None:
        raise TooLittleData("There are no values to forecast from")
    return forecasting.forecast(
        _possible(source.samples(last_us - HISTORY_DAYS * DAY_US, last_us + 1)),
        field=field,
        horizon_hours=horizon_hours,
        step_minutes=step_minutes,
        as_of_us=as_of_us,
        method=method,
    )


def _last_value_us(source: SignalSource, end_us: int | None) -> int | None:
    """Return the time of the last value before another time, None if there is none.

    Looked for backwards in ever longer parts, as there may be nulls for years.
    """
    span = source.span()
    if span is None:
        return None
    end = span[1] + 1 if end_us is None else min(span[1] + 1, end_us)
    days = 1
    while end > span[0]:
        start, last_us = end - days * DAY_US, None
        for part in source.parts(start, end):
            known = _possible(part).without_nulls()
            if len(known):
                last_us = int(known.at_us[-1])
        if last_us is not None:
            return last_us
        end, days = start, 2 * days
    return None


def cycling(
    _: Reporter, sources: Mapping[str, SignalSource], span: Span, capacity_ah: float | None
) -> Any:
    """Return full cycles and throughput, from what a BMS measured."""
    from benchwire.domains.battery import cycling as figures

    signals = _measured(sources, span)
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

    signals = _measured(sources, span)
    power = signals.get("power")
    if power is None:
        power = power_kw(signals["voltage"], signals["current"])
    return round_trip_efficiency(power, signals.get("soc"))


def health(_: Reporter, source: SignalSource, span: Span) -> Any:
    """Return the trend of the state of health."""
    from benchwire.domains.battery.health import health_trend

    return health_trend(_measured({"soh": source}, span)["soh"])


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

    flow = _measured({"current": current}, span)["current"] if current else None
    level = _measured({"soc": soc}, span)["soc"] if soc else None
    return rank_cells(
        ((name, _measured({name: source}, span)[name]) for name, source in cells.items()),
        current=flow,
        sign=find_sign(flow, level) if flow is not None else None,
    )


def spread(_: Reporter, sources: Mapping[str, SignalSource], span: Span) -> Any:
    """Return how far the highest and lowest cell are apart, where no single cell is known."""
    from benchwire.domains.battery.imbalance import difference, pack_spread

    signals = _measured(sources, span)
    if "cell_voltage_diff" in signals:
        return pack_spread(signals["cell_voltage_diff"])
    return pack_spread(difference(signals["cell_max_voltage"], signals["cell_min_voltage"]))


def _read(sources: Mapping[str, SignalSource], span: Span) -> dict[str, Samples]:
    """Return the samples of signals, if they are not too many for one process.

    Raises
    ------
    TooMuchData
    """
    if sum(source.count(*span) for source in sources.values()) > MOST_SAMPLES:
        raise TooMuchData("These are too many samples at once; choose a shorter time")
    return {name: source.samples(*span) for name, source in sources.items()}


def _measured(sources: Mapping[str, SignalSource], span: Span) -> dict[str, Samples]:
    """Return the samples of signals, null where a value is out of all reason."""
    return {name: _possible(samples) for name, samples in _read(sources, span).items()}


def _possible(samples: Samples) -> Samples:
    """Return samples with null for what no battery can have, so that sums stay finite."""
    is_impossible = np.abs(samples.values) > _LARGEST_VALUE
    if not is_impossible.any():
        return samples
    return Samples(samples.at_us, np.where(is_impossible, np.nan, samples.values))
