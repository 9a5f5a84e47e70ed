"""USB power meters: readings, statistics, charges, live values."""

import io
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from benchwire.client.connection import Connection
from benchwire.client.errors import IncompleteWarning
from benchwire.client.events import Event, events
from benchwire.client.frames import at_milliseconds, table
from benchwire.client.work import quoted

if TYPE_CHECKING:
    import polars as pl

_MOST_IN_A_LIST = 10_000
_QUANTITIES = {"voltage": "V", "current": "A", "power": "W"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SESSION = ("id", "start_utc", "end_utc", "duration_s", "reason", "wh", "mah", "gap_s", "meter_wh",
    "meter_mah",
)  # fmt: skip
_ALARM = ("kind", "raised", "utc", "value", "threshold")


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading of a meter: UTC, V, A, W."""

    meter: str
    at: datetime
    voltage: float
    current: float
    power: float


class Meters:
    """The power meters of a server: ``bench.meters``. Where no meter is named the first is meant.

    Periods end now and are written as digits and ``s``, ``m`` or ``h``: ``"30s"``, ``"5m"``,
    ``"1h"``.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def names(self) -> list[str]:
        """Return the meters' names."""
        return [item["meter"] for item in self._connection.get("/api/meters")]

    def all(self) -> "pl.DataFrame":
        """Return every meter and how it is."""
        return table(self._connection.get("/api/meters"))

    def status(self, meter: str | None = None) -> dict[str, Any]:
        """Return how a meter is and what is stored of it."""
        return dict(self._connection.get("/api/status", meter=meter))

    def latest(self, meter: str | None = None) -> dict[str, Any]:
        """Return the newest reading: voltage (V), current (A), power (W), ``age_s`` and more.

        Raises
        ------
        NotFound
            There is none yet.
        """
        return dict(self._connection.get("/api/data/latest", meter=meter))

    def readings(self, period: str = "5m", meter: str | None = None) -> "pl.DataFrame":
        """Return all readings of a period, oldest first.

        Returns
        -------
        pl.DataFrame
            ``time_utc`` (Datetime, UTC), ``voltage_V``, ``current_A``, ``power_W``,
            ``resistance_ohm``, ``temperature_degC``, the meter's own counters in mAh and mWh,
            ``d_plus_V`` and ``d_minus_V``.
        """
        import polars as pl

        path = f"/api/export/{quoted(period)}.parquet"
        return pl.read_parquet(io.BytesIO(self._connection.content(path, meter=meter)))

    def stats(self, period: str = "5m", meter: str | None = None) -> "pl.DataFrame":
        """Return the least, largest and mean voltage, current and power of a period.

        Returns
        -------
        pl.DataFrame
            ``quantity``, ``unit``, ``min``, ``max``, ``avg``: three rows.

        Raises
        ------
        NotFound
            Nothing was read in that period.
        """
        answer = self._connection.get(f"/api/stats/{quoted(period)}", meter=meter)
        return table(
            {"quantity": name, "unit": unit, **answer[name]} for name, unit in _QUANTITIES.items()
        )

    def energy(self, period: str = "5m", meter: str | None = None) -> dict[str, float]:
        """Return energy and charge of a period.

        Returns
        -------
        dict[str, float]
            ``wh`` (Wh) and ``mah`` (mAh) integrated over real time, ``gap_s`` (s without readings),
            ``meter_wh`` and ``meter_mah`` by the meter's own counters, and ``samples``.
        """
        answer = self._connection.get(f"/api/stats/{quoted(period)}", meter=meter)
        return {**answer["energy"], "samples": answer["sample_count"]}

    def chart(
        self, period: str = "1h", points: int = 1000, meter: str | None = None
    ) -> "pl.DataFrame":
        """Return a period in equal steps: small, however long the period is.

        Returns
        -------
        pl.DataFrame
            ``at`` (where a step begins, UTC), ``count`` (readings in it), and ``_min``, ``_max``
            and ``_avg`` of ``voltage`` (V), ``current`` (A) and ``power`` (W).
        """
        import polars as pl

        answer = self._connection.get(f"/api/chart/{quoted(period)}", meter=meter, buckets=points)
        curves = [
            pl.Series(f"{name}_{figure}", answer[name][figure], dtype=pl.Float64)
            for name in _QUANTITIES
            for figure in ("min", "max", "avg")
        ]
        counts = pl.Series("count", answer["count"], dtype=pl.Int64)
        return pl.DataFrame([at_milliseconds(answer["at_ms"]), counts, *curves])

    def sessions(self, meter: str | None = None) -> "pl.DataFrame":
        """Return charges, newest first: id, start and end (UTC), reason, Wh and mAh.

        Warns
        -----
        IncompleteWarning
            There are more than the server gives out.
        """
        rows = self._connection.get("/api/sessions", meter=meter, limit=_MOST_IN_A_LIST)
        _warn_if_full(rows, "charges")
        return table(rows, columns=_SESSION, moments={"start_utc", "end_utc"})

    def alarms(self, meter: str | None = None) -> "pl.DataFrame":
        """Return alarms raised and cleared, newest first: kind, raised, utc, value, threshold."""
        answer = self._connection.get("/api/alarms", meter=meter, limit=_MOST_IN_A_LIST)
        _warn_if_full(answer["events"], "alarms")
        return table(answer["events"], columns=_ALARM, moments={"utc"})

    def recording(self, meter: str | None = None) -> "pl.DataFrame":
        """Return what the meter recorded by itself: voltage (V) and current (A), no times."""
        answer = self._connection.get("/api/recording", meter=meter)
        return table(answer["records"], columns=("voltage", "current"))

    # -- live --------------------------------------------------------------------------------

    def watch(
        self,
        meter: str | None = None,
        *,
        seconds: float | None = None,
        patience: float | None = None,
    ) -> Iterator[Reading]:
        """Yield readings as they come, beginning with the newest there is; each of them once.

        Parameters
        ----------
        seconds
            End after so long, also when no readings come; go on for ever if None.
        patience
            Seconds without a server after which it is given up; that of the `Bench` if None.
        """
        end = None if seconds is None else time.monotonic() + seconds
        newest: datetime | None = None
        for event in self.events(meter, patience=patience):
            # A meter that is silent still tells its age every second or so.
            if end is not None and time.monotonic() > end:
                return
            if event.name not in {"latest", "readings"}:
                continue
            for reading in _readings(event):
                # A connection that is made again begins with a reading that was shown already.
                if newest is not None and reading.at <= newest:
                    continue
                newest = reading.at
                yield reading

    def events(self, meter: str | None = None, *, patience: float | None = None) -> Iterator[Event]:
        """Yield everything a meter tells: ``state``, ``readings``, ``alarm``, ``session``, ``age``.

        A stream that is cut is opened again.
        """
        query = "" if meter is None else f"?meter={quoted(meter)}"
        return events(self._connection, f"/api/live{query}", patience=patience)

    # -- setting up --------------------------------------------------------------------------

    def config(self, meter: str | None = None) -> dict[str, Any]:
        """Return a meter's configuration."""
        return dict(self._connection.get("/api/config", meter=meter))

    def configure(self, meter: str | None = None, **changes: Any) -> dict[str, Any]:
        """Change a meter's configuration, all that is named or nothing, and return the whole.

        Parameters
        ----------
        changes
            ``polling_interval`` (s), ``data_retention_minutes``, ``port``,
            ``session_threshold_a`` (A), ``session_end_delay_s`` (s), ``alarms`` such as
            ``{"current": {"high": 2.4, "hysteresis": 0.1}}``.
        """
        answer = self._connection.send("POST", "/api/config", changes, query={"meter": meter})
        return dict(answer["config"])

    def ports(self) -> "pl.DataFrame":
        """Return the serial ports of the server's computer, and which meter is read at each."""
        columns = ("port", "serial_number", "meter")
        return table(self._connection.get("/api/ports"), columns=columns)

    def add(self, port: str, name: str | None = None) -> dict[str, Any]:
        """Have one more meter read."""
        return dict(self._connection.send("POST", "/api/meters", {"port": port, "name": name}))

    def remove(self, meter: str) -> None:
        """Forget a meter that was added, with everything it measured."""
        self._connection.send("DELETE", f"/api/meters/{quoted(meter)}")

    def turn_screen(
        self, action: Literal["previous", "next", "rotate"], meter: str | None = None
    ) -> None:
        """Show the previous or next page on the meter's screen, or rotate it."""
        body = {"action": action}
        self._connection.send("POST", "/api/screen", body, query={"meter": meter})


def _readings(event: Event) -> Iterator[Reading]:
    data = event.data
    columns = (data["at_ms"], data["voltage"], data["current"], data["power"])
    for at, voltage, current, power in zip(*columns, strict=True):
        moment = _EPOCH + timedelta(microseconds=round(at * 1000))
        yield Reading(data["meter"], moment, voltage, current, power)


def _warn_if_full(rows: list[Any], what: str) -> None:
    if len(rows) >= _MOST_IN_A_LIST:
        warnings.warn(
            f"These are the newest {_MOST_IN_A_LIST} {what}; there may be more",
            IncompleteWarning,
            stacklevel=3,
        )
