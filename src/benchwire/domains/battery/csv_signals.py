"""From the CSV of one signal, of any size, to its samples in order as Parquet.

The file is read in blocks of lines; what is done with each block does not depend on the others.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO
from zoneinfo import ZoneInfo

from benchwire.domains.battery.csv_rows import (
    Columns,
    is_whole_number,
    parse_block,
    parse_time,
    split_fields,
)
from benchwire.domains.battery.dataset import SourceFile
from benchwire.domains.battery.errors import IngestFailed
from benchwire.domains.battery.samples import Samples
from benchwire.domains.battery.signal_file import GROUP_ROWS, SignalWriter
from benchwire.domains.battery.signal_report import SignalReport
from benchwire.domains.battery.sorted_runs import MERGED_RUNS, SortedRuns
from benchwire.foundation.files import PARTIAL_SUFFIX, sync_folder, whole_file

BLOCK_BYTES = 2_000_000
LONGEST_LINE = 65_536
_BOM = b"\xef\xbb\xbf"
_TIME_COLUMN = "ts"


class SourceUnreadable(IngestFailed):
    """The file of a signal cannot be read."""

    code = "battery.source_unreadable"


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is in memory at once: bytes of CSV, rows of a row group, runs merged at a time."""

    block_bytes: int = BLOCK_BYTES
    group_rows: int = GROUP_ROWS
    merged_runs: int = MERGED_RUNS


@dataclass(slots=True)
class _Head:
    """What the start and the end of a file tell."""

    is_read: bool = False
    columns: Columns = field(default_factory=Columns)
    has_bom: bool = False
    wrong_case: int = 0
    unterminated: int = 0


def clean(
    source: SourceFile,
    target: Path,
    zone: ZoneInfo | None,
    *,
    on_block: Callable[[int], None] = lambda _: None,
    sizes: Sizes | None = None,
) -> SignalReport:
    """Write the samples of a CSV, each time once and in order, and return what was met.

    A crash leaves the old target or the new; what it leaves beside it ends in ``.part``.

    Parameters
    ----------
    zone
        Of times that do not tell theirs; None for UTC.
    on_block
        Called with the bytes of each block; what it raises stops the work.

    Raises
    ------
    SourceUnreadable
    """
    sizes = sizes or Sizes()
    with tempfile.TemporaryDirectory(
        dir=target.parent, prefix=".", suffix=PARTIAL_SUFFIX
    ) as scratch:
        head = _Head(wrong_case=int(source.is_wrong_case))
        runs = SortedRuns(Path(scratch), group_rows=sizes.group_rows, merged_runs=sizes.merged_runs)
        rows = bad_values = bad_times = 0
        with runs:
            for block in _blocks(source, head, sizes.block_bytes):
                parsed = parse_block(block, head.columns, zone=zone)
                rows += len(parsed.at_us)
                bad_times += parsed.bad_times
                bad_values += parsed.bad_values
                runs.add(Samples(parsed.at_us, parsed.values))
                on_block(len(block))
            final, found = runs.merged()
        final.replace(target)
    sync_folder(target.parent)
    return replace(
        found,
        bad_times=bad_times,
        bad_values=bad_values,
        repeated=rows - found.rows,
        unsorted=runs.unsorted,
        unterminated=head.unterminated,
        has_bom=head.has_bom,
        wrong_case=head.wrong_case,
    )


# -- reading --------------------------------------------------------------------------------


def _blocks(source: SourceFile, head: _Head, block_bytes: int) -> Iterator[bytes]:
    """Yield the lines of a file in blocks, the header left out and told in ``head``."""
    try:
        with source.path.open("rb", buffering=0) as file:
            pieces = _pieces(file, block_bytes)
            for piece, is_last in pieces:
                text = piece if head.is_read else _without_header(piece, source.signal, head)
                if is_last:
                    text = _with_end(text, head)
                if text:
                    yield text
    except OSError as error:
        raise SourceUnreadable(
            f"{source.path.name} cannot be read: {error.strerror or error}"
        ) from error


def _pieces(file: BinaryIO, block_bytes: int) -> Iterator[tuple[bytes, bool]]:
    """Yield whole lines, at most so many bytes at once and a line; at last what has no end."""
    rest = b""
    while read := file.read(block_bytes):
        cut = read.rfind(b"\n") + 1
        if cut:
            yield rest + read[:cut], False
            rest = read[cut:]
        else:
            rest += read
        if len(rest) > LONGEST_LINE:
            rest = b"?"  # no row is so long; what comes of it until a newline is one bad line
    yield rest, True


def _without_header(text: bytes, signal: str, head: _Head) -> bytes:
    """Return the lines after the header, and note the columns it names; without one, all lines."""
    if text.startswith(_BOM):
        text, head.has_bom = text[len(_BOM) :], True
    text = text.lstrip(b"\r\n")
    line, _, others = text.partition(b"\n")
    names = [name.strip() for name in split_fields(line)]
    head.is_read = line != b""
    if not line or parse_time(names[0]) is not None:
        return text
    plain = [name.lower() for name in names]
    is_named = _TIME_COLUMN in plain or signal.lower() in plain
    if not is_named and (len(names) < 2 or any(map(is_whole_number, names[1:]))):
        return text
    time = plain.index(_TIME_COLUMN) if _TIME_COLUMN in plain else 0
    other = next((number for number in range(len(plain)) if number != time), 1 - min(time, 1))
    value = plain.index(signal.lower()) if signal.lower() in plain else other
    value = names.index(signal) if signal in names else value
    time = names.index(_TIME_COLUMN) if _TIME_COLUMN in names else time
    head.columns = Columns(time, value)
    head.wrong_case += plain[time] == _TIME_COLUMN != names[time]
    if value < len(names):
        head.wrong_case += plain[value] == signal.lower() and names[value] != signal
    return others


def _with_end(text: bytes, head: _Head) -> bytes:
    """Return lines of which each has an end; the last is left out if it looks cut off."""
    lines, newline, last = text.rpartition(b"\n")
    if not last.strip():
        return lines + newline
    head.unterminated = 1
    fields = split_fields(last)
    if max(head.columns.time, head.columns.value) < len(fields):
        is_time = parse_time(fields[head.columns.time]) is not None
        if is_time and is_whole_number(fields[head.columns.value]):
            return text + b"\n"
    return lines + newline


# -- beside the cleaning ------------------------------------------------------------------


def write_nothing(target: Path) -> None:
    """Write the file of a signal without samples."""
    with whole_file(target) as file:
        SignalWriter(file).close()


def remove_leftovers(folder: Path) -> None:
    """Remove what a crash has left in a folder; nobody else may be writing in it."""
    for path in folder.glob(f".*{PARTIAL_SUFFIX}"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
