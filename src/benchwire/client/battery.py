"""Battery telemetry: rows, curves, judgements, forecasts, live readings."""

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from benchwire.client.connection import Connection
from benchwire.client.errors import BenchError, IncompleteWarning
from benchwire.client.events import events
from benchwire.client.frames import at_milliseconds, iso, moment, table
from benchwire.client.work import quoted

if TYPE_CHECKING:
    import polars as pl

Group = Literal["bms", "pcs", "bess"]
Moment = datetime | str | None

# Reading a recording for the first time, and judging it, takes as long as the recording is long.
_ANALYSIS_SECONDS = 600.0
_MOST_AT_ONCE = 10_000
_ANOMALIES_AT_ONCE = 1000
_TIMES = 2
_UNIX_TIME = "Unix Time / s"
_ANOMALY = ("metric", "type", "severity", "start", "end", "score", "value", "expected", "message")


@dataclass(frozen=True)
class Forecast:
    """What a signal is expected to be.

    Parameters
    ----------
    points
        ``timestamp`` (UTC), ``value``, and ``lower`` and ``upper`` of the band.
    backtest
        How well the same method did at earlier moments: ``mae``, ``rmse``, ``baseline_mae``,
        ``coverage``, ``origins``.
    """

    device: str
    metric: str
    method: str
    points: "pl.DataFrame"
    backtest: Mapping[str, Any]


@dataclass(frozen=True)
class PerDay:
    """Figures in all and per day.

    Parameters
    ----------
    days
        A row per day; ``start`` and ``end`` in UTC.
    facts
        What else was told, such as which sign of the current charges.
    """

    total: Mapping[str, Any]
    days: "pl.DataFrame"
    facts: Mapping[str, Any]


class Battery:
    """The storage systems of a server: ``bench.battery``.

    Moments are datetimes, or ISO 8601 text that means UTC where it names no zone. A group is
    ``"bms"`` (battery management), ``"pcs"`` (power conversion) or ``"bess"`` (both and their
    surroundings).
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def devices(self, group: Group = "bms") -> "pl.DataFrame":
        """Return the devices with data of a group: device_id, total_rows, available_metrics."""
        rows = self._get(f"/{group}/devices")["devices"]
        return table(rows, columns=("device_id", "total_rows", "available_metrics"))

    def overview(self) -> list[dict[str, Any]]:
        """Return how every device is, as far as it is known; waits for nothing."""
        return list(self._connection.get("/bess/overview")["devices"])

    def sources(self) -> dict[str, Any]:
        """Return how the inverters and the broker do that readings come from."""
        return dict(self._connection.get("/bess/sources"))

    def rows(
        self, device: str, start: Moment = None, end: Moment = None, *, group: Group = "bms"
    ) -> "pl.DataFrame":
        """Return all rows from ``start`` until before ``end``, oldest first.

        Returns
        -------
        pl.DataFrame
            ``timestamp`` (Datetime, UTC) and a Float64 column per field, Boolean for flags; null
            where a value is not known. V, A, kW, degrees C and % as in the documents.

        Raises
        ------
        NotFound
            There is no such device, or it has no such group.
        """
        import polars as pl

        head = self._get(f"/{group}/{quoted(device)}", batch_size=1)
        fields = [name for name in (head["data"] or [{}])[0] if name != "timestamp"]
        content = self._connection.content(
            f"/{group}/{quoted(device)}/export",
            timeout=_ANALYSIS_SECONDS,
            format="parquet",
            start=iso(start),
            end=iso(end),
        )
        frame = pl.read_parquet(io.BytesIO(content))
        if len(fields) != frame.width - _TIMES:
            if frame.is_empty():
                return frame.clear()
            raise BenchError(
                f"The server exports {frame.width - _TIMES} columns where {len(fields)} are known",
                code="battery.columns",
                hint="Client and server are of versions that do not fit.",
            )
        stamp = (pl.col(_UNIX_TIME) * 1e6).round().cast(pl.Int64).cast(pl.Datetime("us"))
        values = frame.columns[_TIMES:]
        return frame.select(
            stamp.dt.replace_time_zone("UTC").alias("timestamp"),
            *(
                pl.col(name)
                .cast(pl.Boolean if field.endswith("_flag") else pl.Float64)
                .alias(field)
                for name, field in zip(values, fields, strict=True)
            ),
        )

    def curve(
        self,
        device: str,
        metric: str,
        start: Moment = None,
        end: Moment = None,
        *,
        points: int = 1000,
        method: Literal["minmax", "avg", "lttb"] = "minmax",
        group: Group = "bms",
    ) -> "pl.DataFrame":
        """Return a signal at its own rate, reduced to so many points for a chart.

        Returns
        -------
        pl.DataFrame
            ``timestamp`` (UTC) and ``value``; a null value marks a gap.
        """
        import polars as pl

        answer = self._get(
            f"/{group}/{quoted(device)}/series",
            metric=metric, points=points, method=method, start=iso(start), end=iso(end),
            form="columns",
        )  # fmt: skip
        values = pl.Series("value", answer["value"], dtype=pl.Float64)
        return pl.DataFrame([at_milliseconds(answer["at_ms"]).alias("timestamp"), values])

    # -- judgements --------------------------------------------------------------------------

    def anomalies(
        self,
        device: str,
        start: Moment = None,
        end: Moment = None,
        *,
        metric: str | None = None,
        method: str = "auto",
        group: Group = "bms",
    ) -> "pl.DataFrame":
        """Return everything unusual in a device's signals, oldest first, however much it is.

        Returns
        -------
        pl.DataFrame
            ``metric``, ``type``, ``severity``, ``start``, ``end`` (UTC), ``score``, ``value``,
            ``expected``, ``message``.
        """
        found: list[dict[str, Any]] = []
        while True:
            answer = self._get(
                f"/{group}/{quoted(device)}/anomalies",
                method=method, metric=metric, start=iso(start), end=iso(end),
                limit=_ANOMALIES_AT_ONCE, skip=len(found),
            )  # fmt: skip
            found += answer["anomalies"]
            if len(found) >= answer["total_anomalies"] or not answer["anomalies"]:
                return table(found, columns=_ANOMALY, moments={"start", "end"})

    def forecast(
        self,
        device: str,
        metric: str,
        *,
        horizon_hours: float = 24.0,
        step_minutes: float = 15.0,
        as_of: Moment = None,
        method: Literal["auto", "seasonal_naive", "ets", "gbdt"] = "auto",
        group: Group = "bms",
    ) -> Forecast:
        """Return what a signal is expected to be.

        Parameters
        ----------
        as_of
            Later samples are not looked at; the end of the data if None.
        """
        answer = self._get(
            f"/{group}/{quoted(device)}/forecast",
            metric=metric, horizon=horizon_hours, step=step_minutes, as_of=iso(as_of),
            method=method,
        )  # fmt: skip
        columns = ("timestamp", "value", "lower", "upper")
        points = table(answer["forecast"], columns=columns, moments={"timestamp"})
        return Forecast(device, metric, answer["method"], points, answer["backtest"])

    def cycles(
        self,
        device: str,
        start: Moment = None,
        end: Moment = None,
        *,
        capacity_ah: float | None = None,
    ) -> PerDay:
        """Return equivalent full cycles, in all and per day; capacity in Ah, estimated if None."""
        query = {"start": iso(start), "end": iso(end), "capacity_ah": capacity_ah}
        return _per_day(self._get(f"/bms/{quoted(device)}/cycles", **query))

    def throughput(self, device: str, start: Moment = None, end: Moment = None) -> PerDay:
        """Return charge (Ah) and energy (kWh) in and out, in all and per day."""
        path = f"/bms/{quoted(device)}/throughput"
        return _per_day(self._get(path, start=iso(start), end=iso(end)))

    def efficiency(
        self,
        device: str,
        start: Moment = None,
        end: Moment = None,
        *,
        group: Literal["bms", "pcs"] = "pcs",
    ) -> PerDay:
        """Return the round-trip efficiency (from 0 to 1), in all and per day."""
        path = f"/{group}/{quoted(device)}/efficiency"
        return _per_day(self._get(path, start=iso(start), end=iso(end)))

    def health(self, device: str, start: Moment = None, end: Moment = None) -> dict[str, Any]:
        """Return the trend of the state of health, and when it will be 80 %."""
        path = f"/bms/{quoted(device)}/soh"
        return dict(self._get(path, start=iso(start), end=iso(end)))

    def imbalance(
        self, device: str, start: Moment = None, end: Moment = None, *, limit: int = 1000
    ) -> "pl.DataFrame":
        """Return the cells that are off the others, the worst first.

        Warns
        -----
        IncompleteWarning
            There are more than ``limit``, which can be 1000 at most.
        """
        path = f"/bms/{quoted(device)}/imbalance"
        answer = self._get(path, start=iso(start), end=iso(end), limit=limit)
        if answer["total_cells"] > len(answer["cells"]) >= limit:
            warnings.warn(
                f"These are {limit} of {answer['total_cells']} cells",
                IncompleteWarning,
                stacklevel=2,
            )
        return table(answer["cells"])

    def report(self, device: str, *, group: Group = "bms") -> dict[str, Any]:
        """Return what was found in a device's files: rows, gaps, repeats, what was left out."""
        return dict(self._get(f"/{group}/{quoted(device)}/report"))

    # -- live --------------------------------------------------------------------------------

    def post(
        self,
        device: str,
        readings: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        group: Literal["bms", "pcs"] = "bms",
    ) -> dict[str, int]:
        """Store new readings; what is known already is not stored twice.

        Parameters
        ----------
        readings
            ``timestamp`` as a datetime or ISO 8601 text, and the fields that were measured. Any
            number of them; a list that is sent in parts can be sent again as a whole.

        Returns
        -------
        dict[str, int]
            ``received``, ``stored``, ``updated``, ``duplicates``. They are on the disk by then.

        Raises
        ------
        Invalid
            One cannot be taken; it says which and why.
        """
        rows = [readings] if isinstance(readings, Mapping) else list(readings)
        counts = dict.fromkeys(("received", "stored", "updated", "duplicates"), 0)
        for first in range(0, len(rows), _MOST_AT_ONCE):
            part = [
                {**row, "timestamp": iso(row["timestamp"])} if "timestamp" in row else dict(row)
                for row in rows[first : first + _MOST_AT_ONCE]
            ]
            answer = self._connection.repeatable(
                "POST", f"/{group}/{quoted(device)}/readings", part
            )
            counts = {name: count + answer[name] for name, count in counts.items()}
        return counts

    def live(
        self, device: str, *, group: Group = "bms", patience: float | None = None
    ) -> Iterator[dict[str, Any]]:
        """Yield new readings as soon as they are there, beginning with the newest there is.

        Each has ``timestamp`` (datetime, UTC) and its fields. A stream that is cut is opened again.
        """
        path = f"/{group}/{quoted(device)}/live"
        for event in events(self._connection, path, patience=patience):
            if event.name == "row":
                row = event.data.get("row", event.data)
                yield {**row, "timestamp": moment(row["timestamp"])}

    def replay(
        self, device: str, *, interval: float = 2.0, skip: int = 0, group: Group = "bms"
    ) -> Iterator[dict[str, Any]]:
        """Yield one row after another every ``interval`` seconds, from the first after the last."""
        path = f"/{group}/{quoted(device)}/stream?interval={interval}&skip={skip}"
        for event in events(self._connection, path):
            yield {**event.data, "timestamp": moment(event.data["timestamp"])}

    def _get(self, path: str, **query: Any) -> Any:
        return self._connection.get(path, timeout=_ANALYSIS_SECONDS, **query)


def _per_day(answer: Mapping[str, Any]) -> PerDay:
    total = answer.get("total")
    facts = {name: value for name, value in answer.items() if name not in {"days", "total"}}
    return PerDay(
        total=facts if total is None else total,
        days=table(answer["days"], moments={"start", "end"}),
        facts=facts,
    )
