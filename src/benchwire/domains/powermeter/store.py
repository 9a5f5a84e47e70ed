"""Every query of the power meters.

The newest readings of a meter are rows, the rest are blocks (see `blocks`). Once there are
`READINGS_PER_BLOCK` rows they become a block in the same transaction, and the minutes and hours it
touches get their smallest and largest values, so that neither a chart of a month nor its statistics
touch single readings, except at the ends of the window.
"""

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from benchwire.domains.powermeter.alarms import AlarmEvent
from benchwire.domains.powermeter.blocks import fitting, pack, unpack
from benchwire.domains.powermeter.charging import Session, Setup
from benchwire.domains.powermeter.periods import Window
from benchwire.domains.powermeter.readings import (
    CHARTED,
    QUANTITIES,
    TOTALS,
    Reading,
    Readings,
    Totals,
    join,
)
from benchwire.domains.powermeter.tables import (
    alarm_events,
    blocks,
    meters,
    readings,
    sessions,
    spans,
)
from benchwire.foundation.clock import SECOND
from benchwire.foundation.db import Database

READINGS_PER_BLOCK = 1024
SPAN_SECONDS = (60, 3600)
MOST_EVENTS = 10_000
_BLOCKS_AT_ONCE = 32
_ALWAYS = Window(-(2**63), 2**63 - 1)
_CODES = struct.Struct(f"<{len(QUANTITIES)}q")
_TOTALS = struct.Struct(f"<{len(TOTALS)}d")


@dataclass(frozen=True, slots=True)
class MeterRecord:
    """A meter as it is known: ``config`` is what its owner has set."""

    id: int
    name: str
    declared_port: str | None
    config: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Figures:
    """Count, and smallest, largest and sum of the codes of V, A and W, over some readings."""

    count: int
    low: tuple[int, ...] = ()
    high: tuple[int, ...] = ()
    total: tuple[int, ...] = ()

    def merged(self, other: "Figures") -> "Figures":
        """Return the figures of both."""
        if not self.count or not other.count:
            return self if self.count else other
        return Figures(
            self.count + other.count,
            tuple(map(min, self.low, other.low)),
            tuple(map(max, self.high, other.high)),
            tuple(a + b for a, b in zip(self.total, other.total, strict=True)),
        )


@dataclass(frozen=True, slots=True)
class Buckets:
    """A window in equal steps, only those with readings.

    Parameters
    ----------
    at : (N,) int64
        Start of each step, in microseconds since 1970.
    count : (N,) int64
    low, high, total : (N, 3) int64
        Smallest, largest and sum of the codes of V, A and W.
    """

    at: NDArray[np.int64]
    count: NDArray[np.int64]
    low: NDArray[np.int64]
    high: NDArray[np.int64]
    total: NDArray[np.int64]


class PowerStore:
    """Meters, readings, sessions and alarms."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # -- meters -----------------------------------------------------------------------------

    def all_meters(self) -> list[MeterRecord]:
        """Return every meter ever known, in the order they came."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(meters).order_by(meters.c.id)).all()
        return [MeterRecord(row.id, row.name, row.declared_port, row.config) for row in rows]

    def add_meter(
        self, name: str, declared_port: str | None, config: Mapping[str, Any]
    ) -> MeterRecord:
        """Add a meter."""
        values = {"name": name, "declared_port": declared_port, "config": dict(config)}

        def work(connection: sa.Connection) -> int:
            connection.execute(meters.insert().values(**values))
            query = sa.select(meters.c.id).where(meters.c.name == name)
            number = int(connection.execute(query).scalar_one())
            # The number may have been that of a meter that was removed while it was being read.
            _forget_measured(connection, number)
            return number

        number = self._database.write(work)
        return MeterRecord(number, name, declared_port, config)

    def declare(self, meter_id: int, port: str) -> None:
        """Note that the settings name a meter's port now."""
        self._database.write(
            lambda connection: connection.execute(
                meters.update().where(meters.c.id == meter_id).values(declared_port=port)
            )
        )

    def save_config(self, meter_id: int, config: Mapping[str, Any]) -> None:
        """Keep a meter's configuration; it is on the disk when this returns."""
        self._database.write(
            lambda connection: connection.execute(
                meters.update().where(meters.c.id == meter_id).values(config=dict(config))
            )
        )

    def remove_meter(self, meter_id: int) -> None:
        """Forget a meter and everything it measured."""

        def work(connection: sa.Connection) -> None:
            _forget_measured(connection, meter_id)
            connection.execute(meters.delete().where(meters.c.id == meter_id))

        self._database.write(work)

    # -- storing ----------------------------------------------------------------------------

    def append_later(
        self,
        meter_id: int,
        batch: Sequence[Reading],
        changed_sessions: Iterable[Session] = (),
        events: Iterable[AlarmEvent] = (),
        *,
        again: bool = False,
        on_session: Callable[[sa.Connection, Session], None] = lambda *_: None,
    ) -> Future[None]:
        """Queue readings, and what they have changed, to be stored in one transaction.

        ``on_session`` is called within it for each session that was not stored before.

        ``again`` says that an earlier attempt failed, perhaps only after its commit; what is there
        already is then left out.
        """
        rows: list[dict[str, Any]] = [
            {
                "meter_id": meter_id,
                "at": item.at,
                "codes": _CODES.pack(*item.codes),
                "follows_gap": item.follows_gap,
                "totals": _TOTALS.pack(*item.totals.row()),
            }
            for item in batch
        ]
        changed = tuple(changed_sessions)
        event_rows = [_event_row(meter_id, item) for item in events]

        def work(connection: sa.Connection) -> None:
            new_rows, new_events = rows, event_rows
            if again:
                newest = _last(connection, meter_id, _ALWAYS)
                new_rows = [row for row in rows if newest is None or row["at"] > newest.at]
                new_events = [row for row in event_rows if not _is_stored(connection, row)]
            if new_rows:
                connection.execute(readings.insert(), new_rows)
                _seal(connection, meter_id)
            for session in changed:
                row = _session_row(meter_id, session)
                key = (sessions.c.meter_id == meter_id) & (
                    sessions.c.started_at == session.started_at
                )
                if not connection.execute(sessions.update().where(key).values(**row)).rowcount:
                    connection.execute(sessions.insert().values(**row))
                    on_session(connection, session)
            if new_events:
                connection.execute(alarm_events.insert(), new_events)

        return self._database.write_later(work)

    def purge_later(self, meter_id: int, before: int) -> Future[None]:
        """Queue the deletion of what is older than a moment; a block goes once all of it is.

        The newest reading stays however old it is: totals, charges and stamps go on from it.
        """

        def work(connection: sa.Connection) -> None:
            newest = _last(connection, meter_id, _ALWAYS)
            if newest is None:
                return
            limit = min(before, newest.at)
            connection.execute(
                readings.delete().where(readings.c.meter_id == meter_id, readings.c.at < limit)
            )
            deleted = connection.execute(
                blocks.delete().where(blocks.c.meter_id == meter_id, blocks.c.ends_at < limit)
            )
            if deleted.rowcount:
                for seconds in SPAN_SECONDS:
                    _purge_spans(connection, meter_id, seconds)
            _forget_old_events(connection, meter_id)

        return self._database.write_later(work)

    # -- readings ---------------------------------------------------------------------------

    def newest(self, meter_id: int) -> Reading | None:
        """Return the newest reading."""
        with self._database.read() as connection:
            return _last(connection, meter_id, _ALWAYS)

    def oldest(self, meter_id: int) -> int | None:
        """Return when the oldest reading was taken, in microseconds since 1970."""
        oldest = (
            sa.select(sa.func.min(column)).where(column.table.c.meter_id == meter_id)
            for column in (blocks.c.starts_at, readings.c.at)
        )
        with self._database.read() as connection:
            found = [connection.scalar(query) for query in oldest]
        return min((at for at in found if at is not None), default=None)

    def ends_of(self, meter_id: int, window: Window) -> tuple[Reading, Reading] | None:
        """Return the first and the last reading of a window."""
        with self._database.read() as connection:
            first = _first(connection, meter_id, window)
            last = _last(connection, meter_id, window)
        return None if first is None or last is None else (first, last)

    def window(self, meter_id: int, window: Window) -> Readings:
        """Return all readings of a window; for one that fits into memory."""
        return join(list(self.walk(meter_id, window)))

    def walk(self, meter_id: int, window: Window) -> Iterator[Readings]:
        """Yield the readings of a window piece by piece, in the order of time.

        No transaction is held between pieces, so that a slow reader disturbs nobody.
        """
        start = window.start
        while True:
            with self._database.read() as connection:
                rest = Window(start, window.end)
                parts = list(_blocks_within(connection, meter_id, rest, _BLOCKS_AT_ONCE))
                is_last = len(parts) < _BLOCKS_AT_ONCE
                if is_last:
                    parts.append(_tail(connection, meter_id, rest))
            yield from (part for part in parts if len(part))
            if is_last:
                return
            start = int(parts[-1].at[-1]) + 1

    def figures(self, meter_id: int, window: Window) -> Figures:
        """Return count, extremes and sums over a window, exactly as from its single readings."""
        with self._database.read() as connection:
            found = _figures_of(_tail(connection, meter_id, window))
            sealed_to = connection.scalar(
                sa.select(sa.func.max(blocks.c.ends_at)).where(blocks.c.meter_id == meter_id)
            )
            if sealed_to is None:
                return found
            sealed = Window(window.start, min(window.end, sealed_to))
            return found.merged(_sealed_figures(connection, meter_id, sealed, SPAN_SECONDS[::-1]))

    def buckets(self, meter_id: int, window: Window, count: int) -> Buckets:
        """Return a window in ``count`` steps for a chart.

        Steps shorter than a minute are made from single readings. Longer ones are made from whole
        minutes or hours, each counted where it begins.
        """
        width = max(1, -(-(window.end - window.start + 1) // count))
        seconds = max((s for s in SPAN_SECONDS if s * SECOND <= width), default=None)
        if seconds is None:
            parts = (_in_steps(part, window.start, width) for part in self.walk(meter_id, window))
            return _joined(list(parts))
        begins = window.start // (seconds * SECOND) * (seconds * SECOND)
        with self._database.read() as connection:
            tail = _tail(connection, meter_id, window)
            rows = (
                connection.execute(_span_steps(meter_id, seconds, begins, window.end, width))
                .mappings()
                .all()
            )
        return _merged_steps(rows, _in_steps(tail, begins, width), begins, width)

    # -- sessions and alarms ----------------------------------------------------------------

    def open_session(self, meter_id: int) -> Session | None:
        """Return the session that has not ended."""
        found = self._sessions(meter_id, 1, sessions.c.reason.is_(None))
        return found[0] if found else None

    def newest_sessions(self, meter_id: int, limit: int) -> list[Session]:
        """Return sessions, newest first."""
        return self._sessions(meter_id, limit, sa.true())

    def session(self, meter_id: int, started_at: int) -> Session | None:
        """Return the session that began at a moment, None if none did."""
        found = self._sessions(meter_id, 1, sessions.c.started_at == started_at)
        return found[0] if found else None

    def _sessions(
        self, meter_id: int, limit: int, condition: sa.ColumnElement[bool]
    ) -> list[Session]:
        with self._database.read() as connection:
            rows = connection.execute(
                sa.select(sessions)
                .where(sessions.c.meter_id == meter_id, condition)
                .order_by(sessions.c.started_at.desc())
                .limit(limit)
            ).all()
        return [
            Session(
                row.started_at,
                row.active_at,
                Totals(*row.before),
                Totals(*row.totals),
                row.reason,
                None if row.setup is None else Setup(**row.setup),
            )
            for row in rows
        ]

    def newest_events(self, meter_id: int, limit: int) -> list[AlarmEvent]:
        """Return alarms raised and cleared, newest first."""
        with self._database.read() as connection:
            rows = connection.execute(
                sa.select(alarm_events)
                .where(alarm_events.c.meter_id == meter_id)
                .order_by(alarm_events.c.id.desc())
                .limit(limit)
            ).all()
        return [_event(row) for row in rows]

    def standing_alarms(self, meter_id: int) -> list[AlarmEvent]:
        """Return alarms that were raised and not cleared."""
        newest = (
            sa.select(sa.func.max(alarm_events.c.id))
            .where(alarm_events.c.meter_id == meter_id)
            .group_by(alarm_events.c.kind)
        )
        with self._database.read() as connection:
            rows = connection.execute(
                sa.select(alarm_events).where(
                    alarm_events.c.id.in_(newest), alarm_events.c.is_raised
                )
            ).all()
        return [_event(row) for row in rows]


# -- rows and blocks ---------------------------------------------------------------------------


def _forget_measured(connection: sa.Connection, meter_id: int) -> None:
    for table in (readings, blocks, spans, sessions, alarm_events):
        connection.execute(table.delete().where(table.c.meter_id == meter_id))


def _rows_of(meter_id: int) -> sa.Select[Any]:
    return sa.select(
        readings.c.at, readings.c.codes, readings.c.follows_gap, readings.c.totals
    ).where(readings.c.meter_id == meter_id)


def _blocks_of(meter_id: int) -> sa.Select[Any]:
    return sa.select(blocks.c.totals, blocks.c.data).where(blocks.c.meter_id == meter_id)


def _from_rows(rows: Sequence[Any]) -> Readings:
    return Readings(
        np.array([row[0] for row in rows], np.int64),
        np.frombuffer(b"".join(row[1] for row in rows), "<i8").reshape(-1, len(QUANTITIES)),
        np.array([row[2] for row in rows], np.bool_),
        np.frombuffer(b"".join(row[3] for row in rows), "<f8").reshape(-1, len(TOTALS)),
    )


def _from_block(row: sa.Row[Any]) -> Readings:
    return unpack(row.data, Totals(*_TOTALS.unpack(row.totals)))


def _tail(connection: sa.Connection, meter_id: int, window: Window) -> Readings:
    """Return the readings of a window that are in no block yet."""
    return _from_rows(
        connection.execute(
            _rows_of(meter_id)
            .where(readings.c.at.between(window.start, window.end))
            .order_by(readings.c.at)
        ).all()
    )


def _blocks_within(
    connection: sa.Connection, meter_id: int, window: Window, limit: int | None = None
) -> Iterator[Readings]:
    """Yield the readings of a window that are in its blocks, or in the first ``limit`` of them."""
    rows = connection.execute(
        _blocks_of(meter_id)
        .where(_touches(meter_id, window))
        .order_by(blocks.c.starts_at)
        .limit(limit)
    )
    for row in rows:
        yield _from_block(row).between(window.start, window.end)


def _touches(meter_id: int, window: Window) -> sa.ColumnElement[bool]:
    """Return the condition that a block has a part in a window.

    Blocks do not overlap, so they lie between the last to begin before the window and its end. Both
    are found in the primary key; with the ends alone every block after the window would be read.
    """
    own = blocks.alias()
    first = (
        sa.select(sa.func.max(own.c.starts_at))
        .where(own.c.meter_id == meter_id, own.c.starts_at <= window.start)
        .scalar_subquery()
    )
    return sa.and_(
        blocks.c.starts_at >= sa.func.coalesce(first, window.start),
        blocks.c.starts_at <= window.end,
        blocks.c.ends_at >= window.start,
    )


def _first(connection: sa.Connection, meter_id: int, window: Window) -> Reading | None:
    for part in _blocks_within(connection, meter_id, window, 2):
        if len(part):
            return part.reading(0)
    row = connection.execute(
        _rows_of(meter_id)
        .where(readings.c.at.between(window.start, window.end))
        .order_by(readings.c.at)
        .limit(1)
    ).first()
    return None if row is None else _from_rows([row]).reading(0)


def _last(connection: sa.Connection, meter_id: int, window: Window) -> Reading | None:
    row = connection.execute(
        _rows_of(meter_id)
        .where(readings.c.at.between(window.start, window.end))
        .order_by(readings.c.at.desc())
        .limit(1)
    ).first()
    if row is not None:
        return _from_rows([row]).reading(0)
    block = connection.execute(
        _blocks_of(meter_id)
        .where(_touches(meter_id, window))
        .order_by(blocks.c.starts_at.desc())
        .limit(1)
    ).first()
    part = None if block is None else _from_block(block).between(window.start, window.end)
    return part.reading(-1) if part else None


def _seal(connection: sa.Connection, meter_id: int) -> None:
    """Make blocks of a meter's rows, a thousand at a time, and note their minutes and hours."""
    own = readings.c.meter_id == meter_id
    count = connection.scalar(sa.select(sa.func.count()).select_from(readings).where(own)) or 0
    while count >= READINGS_PER_BLOCK:
        oldest = _from_rows(
            connection.execute(
                _rows_of(meter_id).order_by(readings.c.at).limit(READINGS_PER_BLOCK)
            ).all()
        )
        block = oldest[: fitting(oldest)]
        ends_at = int(block.at[-1])
        connection.execute(
            blocks.insert().values(
                meter_id=meter_id,
                starts_at=int(block.at[0]),
                ends_at=ends_at,
                totals=_TOTALS.pack(*block.totals[0]),
                data=pack(block),
            )
        )
        connection.execute(readings.delete().where(own, readings.c.at <= ends_at))
        for seconds in SPAN_SECONDS:
            _note_spans(connection, meter_id, seconds, block)
        count -= len(block)


# -- minutes and hours -------------------------------------------------------------------------


def _note_spans(connection: sa.Connection, meter_id: int, seconds: int, block: Readings) -> None:
    steps = _in_steps(block, 0, seconds * SECOND)
    rows = [
        _span_row(meter_id, seconds, start, figures)
        for start, figures in zip(steps.at.tolist(), _each_figures(steps), strict=True)
    ]
    # Readings come in the order of time, so only the first span can be there already.
    here = (
        (spans.c.meter_id == meter_id)
        & (spans.c.seconds == seconds)
        & (spans.c.starts_at == rows[0]["starts_at"])
    )
    before = connection.execute(sa.select(spans).where(here)).mappings().first()
    if before is not None:
        merged = _span_figures(before).merged(_span_figures(rows[0]))
        rows[0] = _span_row(meter_id, seconds, rows[0]["starts_at"], merged)
        connection.execute(spans.delete().where(here))
    connection.execute(spans.insert(), rows)


def _purge_spans(connection: sa.Connection, meter_id: int, seconds: int) -> None:
    """Delete the spans from before the first block; the one it begins in is summed up anew."""
    length = seconds * SECOND
    first = connection.scalar(
        sa.select(sa.func.min(blocks.c.starts_at)).where(blocks.c.meter_id == meter_id)
    )
    begins = None if first is None else first // length * length
    own = (spans.c.meter_id == meter_id) & (spans.c.seconds == seconds)
    connection.execute(
        spans.delete().where(own if begins is None else own & (spans.c.starts_at <= begins))
    )
    if begins is None:
        return
    figures = Figures(0)
    for part in _blocks_within(connection, meter_id, Window(begins, begins + length - 1)):
        figures = figures.merged(_figures_of(part))
    connection.execute(spans.insert().values(**_span_row(meter_id, seconds, begins, figures)))


def _span_row(meter_id: int, seconds: int, starts_at: int, figures: Figures) -> dict[str, int]:
    row = {
        "meter_id": meter_id, "seconds": seconds, "starts_at": starts_at, "count": figures.count,
    }  # fmt: skip
    for index, quantity in enumerate(CHARTED):
        row[f"{quantity}_min"] = figures.low[index]
        row[f"{quantity}_max"] = figures.high[index]
        row[f"{quantity}_sum"] = figures.total[index]
    return row


def _span_figures(row: Mapping[Any, Any]) -> Figures:
    if not row["count"]:
        return Figures(0)
    low, high, total = (
        tuple(int(row[f"{quantity}_{figure}"]) for quantity in CHARTED)
        for figure in ("min", "max", "sum")
    )
    return Figures(int(row["count"]), low, high, total)


def _sealed_figures(
    connection: sa.Connection, meter_id: int, window: Window, lengths: Sequence[int]
) -> Figures:
    """Return the figures of a window in blocks: whole hours, whole minutes, and single readings."""
    if window.start > window.end:
        return Figures(0)
    if not lengths:
        found = Figures(0)
        for part in _blocks_within(connection, meter_id, window):
            found = found.merged(_figures_of(part))
        return found
    length = lengths[0] * SECOND
    first = -(-window.start // length) * length
    last = (window.end + 1) // length * length
    if first >= last:
        return _sealed_figures(connection, meter_id, window, lengths[1:])
    row = connection.execute(
        sa.select(*_span_sums()).where(
            spans.c.meter_id == meter_id,
            spans.c.seconds == lengths[0],
            spans.c.starts_at >= first,
            spans.c.starts_at < last,
        )
    ).mappings()
    found = _span_figures(row.one())
    for end in (Window(window.start, first - 1), Window(last, window.end)):
        found = found.merged(_sealed_figures(connection, meter_id, end, lengths[1:]))
    return found


def _span_sums() -> list[sa.ColumnElement[Any]]:
    functions: dict[str, Callable[..., sa.ColumnElement[Any]]] = {
        "min": sa.func.min,
        "max": sa.func.max,
        "sum": sa.func.sum,
    }
    return [
        sa.func.sum(spans.c.count).label("count"),
        *(
            function(spans.c[f"{quantity}_{figure}"]).label(f"{quantity}_{figure}")
            for quantity in CHARTED
            for figure, function in functions.items()
        ),
    ]


def _span_steps(meter_id: int, seconds: int, begins: int, end: int, width: int) -> sa.Select[Any]:
    step = ((spans.c.starts_at - begins) // width).label("step")
    return (
        sa.select(step, *_span_sums())
        .where(
            spans.c.meter_id == meter_id,
            spans.c.seconds == seconds,
            spans.c.starts_at >= begins,
            spans.c.starts_at <= end,
        )
        .group_by(step)
        .order_by(step)
    )


# -- figures of arrays -------------------------------------------------------------------------


def _in_steps(whole: Readings, begins: int, width: int) -> Buckets:
    codes = whole.codes[:, : len(CHARTED)]
    if not len(whole):
        none = np.zeros((0, len(CHARTED)), np.int64)
        return Buckets(whole.at, whole.at, none, none, none)
    steps = (whole.at - begins) // width
    first = np.flatnonzero(np.diff(steps, prepend=steps[0] - 1))
    return Buckets(
        begins + steps[first] * width,
        np.diff(first, append=len(steps)),
        np.minimum.reduceat(codes, first),
        np.maximum.reduceat(codes, first),
        np.add.reduceat(codes, first),
    )


def _joined(parts: Sequence[Buckets]) -> Buckets:
    """Return the steps of pieces that follow each other, those across a border made one."""
    if not parts:
        return _in_steps(join([]), 0, 1)
    at, count, low, high, total = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("at", "count", "low", "high", "total")
    )
    first = np.flatnonzero(np.diff(at, prepend=at[0] - 1)) if len(at) else at
    return Buckets(
        at[first],
        np.add.reduceat(count, first),
        np.minimum.reduceat(low, first),
        np.maximum.reduceat(high, first),
        np.add.reduceat(total, first),
    )


def _merged_steps(
    rows: Sequence[Mapping[Any, Any]], tail: Buckets, begins: int, width: int
) -> Buckets:
    """Return the steps from minutes or hours together with those of the newest readings."""
    found = {begins + int(row["step"]) * width: _span_figures(row) for row in rows}
    for start, figures in zip(tail.at.tolist(), _each_figures(tail), strict=True):
        found[start] = found.get(start, Figures(0)).merged(figures)
    starts = sorted(found)
    shape = (-1, len(CHARTED))
    return Buckets(
        np.array(starts, np.int64),
        np.array([found[start].count for start in starts], np.int64),
        np.array([found[start].low for start in starts], np.int64).reshape(shape),
        np.array([found[start].high for start in starts], np.int64).reshape(shape),
        np.array([found[start].total for start in starts], np.int64).reshape(shape),
    )


def _each_figures(steps: Buckets) -> list[Figures]:
    return [
        Figures(count, tuple(low), tuple(high), tuple(total))
        for count, low, high, total in zip(
            steps.count.tolist(),
            steps.low.tolist(),
            steps.high.tolist(),
            steps.total.tolist(),
            strict=True,
        )
    ]


def _figures_of(part: Readings) -> Figures:
    if not len(part):
        return Figures(0)
    codes = part.codes[:, : len(CHARTED)]
    return Figures(
        len(part),
        tuple(codes.min(axis=0).tolist()),
        tuple(codes.max(axis=0).tolist()),
        tuple(codes.sum(axis=0).tolist()),
    )


# -- sessions and alarms -----------------------------------------------------------------------


def _session_row(meter_id: int, session: Session) -> dict[str, Any]:
    return {
        "meter_id": meter_id,
        "started_at": session.started_at,
        "active_at": session.active_at,
        "reason": session.reason,
        "before": list(session.before.row()),
        "totals": list(session.totals.row()),
        "setup": None if session.setup is None else asdict(session.setup),
    }


def _forget_old_events(connection: sa.Connection, meter_id: int) -> None:
    own = alarm_events.c.meter_id == meter_id
    oldest_kept = connection.scalar(
        sa.select(alarm_events.c.id)
        .where(own)
        .order_by(alarm_events.c.id.desc())
        .offset(MOST_EVENTS)
        .limit(1)
    )
    if oldest_kept is not None:
        connection.execute(alarm_events.delete().where(own, alarm_events.c.id <= oldest_kept))


def _event_row(meter_id: int, event: AlarmEvent) -> dict[str, Any]:
    return {"meter_id": meter_id, **asdict(event)}


def _is_stored(connection: sa.Connection, event: Mapping[str, Any]) -> bool:
    same = [alarm_events.c[key] == event[key] for key in ("meter_id", "kind", "at", "is_raised")]
    return connection.execute(sa.select(alarm_events.c.id).where(*same)).first() is not None


def _event(row: sa.Row[Any]) -> AlarmEvent:
    return AlarmEvent(row.kind, row.is_raised, row.at, row.value, row.threshold)
