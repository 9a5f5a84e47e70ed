"""Answers as tables; polars is loaded when the first one is made."""

import io
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

Row = Mapping[str, Any]

# Columns of numbers that may be null in every row; any other is text then.
_NUMBERS = frozenset(
    {
        "amount", "best_score", "carousel_position", "expected", "fitted", "hotel_position",
        "image_id", "pixel_height", "pixel_width", "progress", "r_squared", "score", "serial",
        "size_bytes", "threshold", "value", "x_mm", "y_mm", "z_mm",
    }
)  # fmt: skip


def moment(text: str | None) -> datetime | None:
    """Return the moment an ISO 8601 text means, in UTC; UTC is meant where it names no zone."""
    if text is None:
        return None
    found = datetime.fromisoformat(text)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def iso(value: datetime | str | None) -> str | None:
    """Return a moment as text for the server; a datetime without a zone is local time."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return value


def table(
    rows: Iterable[Row], *, columns: Sequence[str] = (), moments: Collection[str] = ()
) -> "pl.DataFrame":
    """Return rows as a table.

    Parameters
    ----------
    columns
        The columns to take, in order; all where none are named. They are there in a table without
        rows as well.
    moments
        Columns of ISO 8601 text that become datetimes in UTC.
    """
    import polars as pl

    listed = list(rows)
    names = list(columns) or list(dict.fromkeys(name for row in listed for name in row))
    stamp = pl.Datetime("us", "UTC")
    series = []
    for name in names:
        values = [row.get(name) for row in listed]
        if name in moments:
            series.append(pl.Series(name, [moment(value) for value in values], dtype=stamp))
        else:
            known = pl.Series(name, values, strict=False)
            otherwise = pl.Float64 if name in _NUMBERS else pl.String
            series.append(known.cast(otherwise) if known.dtype == pl.Null else known)
    return pl.DataFrame(series)


def at_milliseconds(values: Sequence[float]) -> "pl.Series":
    """Return milliseconds since 1970 as datetimes in UTC."""
    import polars as pl

    exact = [round(value * 1000) for value in values]
    return (
        pl.Series("at", exact, dtype=pl.Int64).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    )


def numbers_of_csv(content: bytes) -> "pl.DataFrame":
    """Return a CSV of numbers as a table of Float64; a line that is still being written is left."""
    import polars as pl

    whole = content[: content.rfind(b"\n") + 1]
    if not whole:
        return pl.DataFrame()
    return pl.read_csv(io.BytesIO(whole), infer_schema=False).select(pl.all().cast(pl.Float64))
