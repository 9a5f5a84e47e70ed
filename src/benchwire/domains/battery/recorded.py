"""What has been made of the data set: its files in the cache, whether they still fit, making them.

``<cache>/<device>/signals/<signal>.parquet`` holds a cleaned signal, the file
``<cache>/<device>/<group>.parquet`` the signals of a group on one timeline. A JSON file beside each
tells what it was made of; it is written last, so a file without one counts for nothing. One process
at a time may build a device.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from benchwire.domains.battery.dataset import Recording, SourceFile
from benchwire.domains.battery.samples import MICROSECONDS
from benchwire.domains.battery.signal_report import SignalReport
from benchwire.domains.battery.signals import Group
from benchwire.domains.battery.timeline import master
from benchwire.foundation.files import disk_troubles_told, make_folders, write_whole

# Files made by another rule are made anew.
RULE = 2
_CLEANED_AT_ONCE = 2
_SIMPLE_NAME = re.compile(r"[0-9A-Za-z_-]{1,100}")
_CLEANING_SHARE = 0.7

Progress = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class Options:
    """What an answer depends on besides the data.

    Parameters
    ----------
    tolerance_us
        How far from a row's time a sample may be.
    zone
        Name of the time zone of times that do not tell theirs; None for UTC.
    """

    tolerance_us: int = 600 * MICROSECONDS
    zone: str | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """What there is of a group of a device.

    Parameters
    ----------
    rows
        Length of the timeline.
    first_us, last_us
        Its first and last time in microseconds since 1970 UTC; None if it is empty.
    rows_per_field
        Samples of each field that has any.
    master
        The field whose times are the timeline.
    reports
        Of each signal file of the group, by name of the signal.
    """

    group: str
    device_id: str
    rows: int
    first_us: int | None
    last_us: int | None
    rows_per_field: Mapping[str, int]
    master: str | None
    reports: Mapping[str, SignalReport]


# -- names ----------------------------------------------------------------------------------


def signal_path(cache: Path, device_id: str, signal_name: str) -> Path:
    """Return where the cleaned samples of a signal are kept."""
    return _folder(cache, device_id) / "signals" / f"{_safe(signal_name)}.parquet"


def timeline_path(cache: Path, device_id: str, group_name: str) -> Path:
    """Return where the rows of a group are kept."""
    return _folder(cache, device_id) / f"{group_name}.parquet"


def _folder(cache: Path, device_id: str) -> Path:
    return cache / _safe(device_id)


def _safe(name: str) -> str:
    """Return a name as one that any disk takes; different names stay different."""
    if _SIMPLE_NAME.fullmatch(name):
        return name
    readable = re.sub(r"[^0-9A-Za-z_-]+", "_", name)[:60]
    return f"{readable}~{hashlib.sha256(name.encode()).hexdigest()[:32]}"


# -- what is there --------------------------------------------------------------------------


def signal_recorded(
    recording: Recording, name: str, cache: Path, options: Options
) -> SignalReport | None:
    """Return what was met when a signal was cleaned; None if its file is not fresh."""
    source = recording.files.get(name)
    if source is None:
        return None
    path = signal_path(cache, recording.device_id, name)
    noted = _noted(path, _signal_stamp(source, options))
    return None if noted is None else SignalReport.from_plain(noted)


def recorded(recording: Recording, group: Group, cache: Path, options: Options) -> Recorded | None:
    """Return what there is of a group; None if it has to be built first."""
    path = timeline_path(cache, recording.device_id, group.name)
    noted = _noted(path, _group_stamp(recording, group, options))
    if noted is None:
        return None
    reports = {name: SignalReport.from_plain(report) for name, report in noted["reports"].items()}
    return _recorded(recording, group, reports)


def _recorded(recording: Recording, group: Group, reports: Mapping[str, SignalReport]) -> Recorded:
    rows_per_field = {
        signal.field: reports[signal.name].rows
        for signal in group.signals
        if signal.name in reports and reports[signal.name].rows
    }
    leading = master(group.fields, rows_per_field)
    timeline = SignalReport() if leading is None else reports[group.by_field[leading].name]
    return Recorded(
        group=group.name,
        device_id=recording.device_id,
        rows=timeline.rows,
        first_us=timeline.first_us,
        last_us=timeline.last_us,
        rows_per_field=rows_per_field,
        master=leading,
        reports=reports,
    )


def _source_stamp(source: SourceFile) -> list[Any]:
    return [
        # A path may have bytes that are no text.
        ascii(str(source.path)), source.size, source.mtime_ns, source.inode, source.changed_ns,
    ]  # fmt: skip


def _signal_stamp(source: SourceFile, options: Options) -> dict[str, Any]:
    return {"rule": RULE, "zone": options.zone, "source": _source_stamp(source)}


def _group_stamp(recording: Recording, group: Group, options: Options) -> dict[str, Any]:
    present = [signal.name for signal in group.signals if signal.name in recording.files]
    return {
        "rule": RULE,
        "options": asdict(options),
        "device": recording.device_id,
        "fields": list(group.fields),
        "sources": {name: _source_stamp(recording.files[name]) for name in present},
    }


def _noted(path: Path, stamp: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what the sidecar of a Parquet tells, None unless it fits the file and the stamp."""
    try:
        sidecar = orjson.loads(path.with_suffix(".json").read_bytes())
        if sidecar["stamp"] != stamp or path.stat().st_size != sidecar["bytes"]:
            return None
        noted: dict[str, Any] = sidecar["noted"]
        if sidecar["digest"] != _digest(noted):
            return None
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return noted


def _digest(noted: Mapping[str, Any]) -> str:
    return hashlib.sha256(orjson.dumps(noted, option=orjson.OPT_SORT_KEYS)).hexdigest()


def forget(path: Path) -> None:
    """Make a file of the cache count for nothing, as it turned out to be damaged."""
    path.with_suffix(".json").unlink(missing_ok=True)


def _note(path: Path, stamp: Mapping[str, Any], noted: Mapping[str, Any]) -> None:
    size, digest = path.stat().st_size, _digest(noted)
    sidecar = {"stamp": stamp, "bytes": size, "noted": noted, "digest": digest}
    write_whole(path.with_suffix(".json"), orjson.dumps(sidecar))


# -- making it ------------------------------------------------------------------------------


def build(
    recording: Recording, group: Group, cache: Path, options: Options, progress: Progress
) -> Recorded:
    """Clean the signals of a group and put them on one timeline.

    Parameters
    ----------
    progress
        Called with the part done and a word on it; what it raises stops the work.

    Raises
    ------
    DiskRefused
        The cache cannot be written.
    """
    from benchwire.domains.battery import synchronising

    def cleaning(done: float, message: str) -> None:
        progress(done * _CLEANING_SHARE, message)

    def writing(done: float) -> None:
        progress(_CLEANING_SHARE + done * (1 - _CLEANING_SHARE), f"synchronising {group.name}")

    names = [signal.name for signal in group.signals]
    # Taken before anything is read: a source that changes meanwhile is found stale.
    stamp = _group_stamp(recording, group, options)
    reports = build_signals(recording, names, cache, options, cleaning)
    result = _recorded(recording, group, reports)
    path = timeline_path(cache, recording.device_id, group.name)
    with disk_troubles_told():
        synchronising.write_timeline(
            path,
            {
                signal.field: (
                    signal_path(cache, recording.device_id, signal.name)
                    if signal.field in result.rows_per_field
                    else None
                )
                for signal in group.signals
            },
            result.master,
            tolerance_us=options.tolerance_us,
            on_part=writing,
        )
        _note(path, stamp, {"reports": {name: report.plain() for name, report in reports.items()}})
    progress(1.0, "done")
    return result


def build_signals(
    recording: Recording,
    names: Sequence[str],
    cache: Path,
    options: Options,
    progress: Progress,
) -> dict[str, SignalReport]:
    """Clean those of some signals that are not fresh and return the reports of all there are.

    Raises
    ------
    DiskRefused
        The cache cannot be written.
    """
    from benchwire.domains.battery.csv_signals import remove_leftovers

    reports: dict[str, SignalReport] = {}
    wanted: list[SourceFile] = []
    with disk_troubles_told():
        folder = _folder(cache, recording.device_id)
        make_folders(folder / "signals")
        remove_leftovers(folder)
        remove_leftovers(folder / "signals")
        for name in dict.fromkeys(names):
            if name not in recording.files:
                continue
            report = signal_recorded(recording, name, cache, options)
            reports[name] = report or SignalReport()
            if report is None:
                wanted.append(recording.files[name])
        for source, report in _cleaned(recording, wanted, cache, options, progress):
            reports[source.signal] = report
    return reports


def _cleaned(
    recording: Recording,
    sources: Sequence[SourceFile],
    cache: Path,
    options: Options,
    progress: Progress,
) -> Iterator[tuple[SourceFile, SignalReport]]:
    """Yield each source with its report when it is clean; two are read at once."""
    total = max(1, sum(source.size for source in sources))
    done = [0]
    stops: list[bool] = []

    def on_block(count: int) -> None:
        done[0] += count  # a lost count between two threads only shows less progress
        if stops:
            raise _Stopped

    with ThreadPoolExecutor(_CLEANED_AT_ONCE) as pool:
        running: dict[Future[SignalReport], SourceFile] = {
            pool.submit(_clean, recording, source, cache, options, on_block): source
            for source in sources
        }
        try:
            while running:
                progress(min(1.0, done[0] / total), f"reading {recording.device_id}")
                ended, _ = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
                for future in ended:
                    yield running.pop(future), future.result()
        finally:
            stops.append(True)
            pool.shutdown(cancel_futures=True)


class _Stopped(Exception):
    """The build is over; seen by its own threads alone."""


def _clean(
    recording: Recording,
    source: SourceFile,
    cache: Path,
    options: Options,
    on_block: Callable[[int], None],
) -> SignalReport:
    """Clean one signal and note it; a file that cannot be read is told in the report."""
    from benchwire.domains.battery.csv_signals import SourceUnreadable, clean, write_nothing

    path = signal_path(cache, recording.device_id, source.signal)
    zone = None if options.zone is None else ZoneInfo(options.zone)
    try:
        report = clean(source, path, zone, on_block=on_block)
    except SourceUnreadable as error:
        write_nothing(path)
        report = SignalReport(error=error.message)
    _note(path, _signal_stamp(source, options), report.plain())
    return report
