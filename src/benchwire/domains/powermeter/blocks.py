"""Many readings in few bytes, exactly.

A block holds consecutive readings of one meter. Meters refresh about twice a second inside, so at a
fast poll most readings repeat the one before: a run of equal readings is stored once with a count.
The time of every reading is kept, as its distance from the one before. Numbers that change little
leave their high bytes alike; laid out byte by byte they shrink to almost nothing in deflate.
"""

import zlib

import numpy as np
from numpy.typing import NDArray

from benchwire.domains.powermeter.integration import steps
from benchwire.domains.powermeter.readings import QUANTITIES, TOTALS, Readings, Totals
from benchwire.foundation.errors import Failed

_VERSION = b"\x01"
_LEVEL = 6
_WIDTH = 8
_COUNTED = [TOTALS.index("counter_mah"), TOTALS.index("counter_mwh")]


class BlockDamaged(Failed):
    """A stored block cannot be read."""

    code = "powermeter.block_damaged"


def fitting(readings: Readings) -> int:
    """Return how many of a series fit into one block: those whose totals follow from the first's.

    What counts anew as another meter takes the place of one cannot be told from the codes.
    """
    followed = steps(readings.at, readings.codes, readings.follows_gap)[1:, _COUNTED]
    counted = np.diff(readings.totals[:, _COUNTED], axis=0)
    breaks = np.flatnonzero((counted != followed).any(axis=1))
    return int(breaks[0]) + 1 if len(breaks) else len(readings)


def pack(readings: Readings) -> bytes:
    """Return a series as a block; its totals are not in it but follow from those of its first."""
    changed = np.ones(len(readings), np.bool_)
    changed[1:] = (np.diff(readings.codes, axis=0) != 0).any(axis=1)
    starts = np.flatnonzero(changed)
    counts = np.diff(np.append(starts, len(readings)))
    values = np.diff(readings.codes[starts], axis=0, prepend=0)
    parts = [
        np.array([len(readings), len(starts)], np.int64).tobytes(),
        _by_byte(np.diff(readings.at, prepend=0)),
        _by_byte(counts),
        _by_byte(values.T.ravel()),
        np.packbits(readings.follows_gap).tobytes(),
    ]
    return _VERSION + zlib.compress(b"".join(parts), _LEVEL)


def unpack(data: bytes, totals: Totals) -> Readings:
    """Return the series of a block whose first reading had these totals.

    Raises
    ------
    BlockDamaged
        It is not a whole block.
    """
    try:
        if data[:1] != _VERSION:
            raise ValueError("unknown version")
        content = zlib.decompress(data[1:])
        count, runs = np.frombuffer(content, np.int64, 2).tolist()
        cut = np.cumsum([2, count, runs, runs * len(QUANTITIES)]) * _WIDTH
        at = np.cumsum(_from_bytes(content[cut[0] : cut[1]]))
        counts = _from_bytes(content[cut[1] : cut[2]])
        values = _from_bytes(content[cut[2] : cut[3]]).reshape(len(QUANTITIES), runs)
        codes = np.repeat(np.cumsum(values, axis=1).T, counts, axis=0)
        flags = np.frombuffer(content, np.uint8, offset=int(cut[3]))
        follows_gap = np.unpackbits(flags, count=count).astype(np.bool_)
        if len(codes) != count:
            raise ValueError("counts do not add up")
    except (ValueError, IndexError, zlib.error) as error:
        raise BlockDamaged("A block of stored readings is damaged") from error
    running = np.cumsum(steps(at, codes, follows_gap), axis=0) + np.array(totals.row())
    return Readings(at, codes, follows_gap, running)


def _by_byte(numbers: NDArray[np.int64]) -> bytes:
    """Return all lowest bytes, then all next ones and so on."""
    return numbers.astype("<i8").view(np.uint8).reshape(-1, _WIDTH).T.tobytes()


def _from_bytes(data: bytes) -> NDArray[np.int64]:
    laid_out = np.frombuffer(data, np.uint8).reshape(_WIDTH, -1)
    return np.ascontiguousarray(laid_out.T).view("<i8").ravel().astype(np.int64)
