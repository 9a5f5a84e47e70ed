"""Live readings as rows in time order; what one of them lacks, another of its time may give."""

from collections.abc import Sequence
from functools import reduce

import numpy as np

from benchwire.domains.battery.rows import Rows, RowsFile
from benchwire.domains.battery.samples import Reading
from benchwire.domains.battery.signals import Group


def rows_of(readings: Sequence[Reading], group: Group) -> Rows:
    """Return readings as rows in time order; of those at one time, later ones fill the gaps."""
    at_us = np.array([reading.at_us for reading in readings], np.int64)
    values = np.array(
        [[reading.values.get(name) for name in group.fields] for reading in readings], np.float64
    ).reshape(len(readings), len(group.fields))
    unique, place = np.unique(at_us, return_inverse=True)
    if len(unique) == len(at_us):
        return Rows(unique, values[np.argsort(place)])
    rows = np.full((len(unique), len(group.fields)), np.nan)
    for row, target in zip(values, place, strict=True):
        rows[target] = np.where(np.isnan(rows[target]), row, rows[target])
    return Rows(unique, rows)


def filled(rows: Rows, more: Rows) -> Rows:
    """Return both in time order; at a time of both, the second gives what the first has not."""
    at_us = np.concatenate([rows.at_us, more.at_us])
    values = np.concatenate([rows.values, more.values])
    if len(more) and (not len(rows) or more.at_us[0] > rows.at_us[-1]):
        return Rows(at_us, values)
    order = np.argsort(at_us, kind="stable")
    at_us, values = at_us[order], values[order]
    again = np.flatnonzero(np.diff(at_us) == 0)
    values[again] = np.where(np.isnan(values[again]), values[again + 1], values[again])
    kept = np.ones(len(at_us), bool)
    kept[again + 1] = False
    return Rows(at_us[kept], values[kept])


class LiveFiles:
    """Files of live readings as one; at equal times the earlier file's values stand."""

    def __init__(self, files: Sequence[RowsFile]) -> None:
        self._files = files

    @property
    def spans(self) -> list[tuple[int, int]]:
        """Where the files' parts begin, and how many rows each has."""
        return [span for file in self._files for span in file.spans]

    def between(self, start_us: int | None, end_us: int | None) -> Rows:
        """Return the rows from a time on and before another."""
        return reduce(filled, (file.between(start_us, end_us) for file in self._files))
