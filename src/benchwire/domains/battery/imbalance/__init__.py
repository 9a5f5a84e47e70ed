"""Cells that stand out: ranked by their own voltages, or the spread of the pack."""

from benchwire.domains.battery.imbalance.cell_ranking import CellDeviation, Imbalance, rank_cells
from benchwire.domains.battery.imbalance.pack_spread import (
    DaySpread,
    PackSpread,
    difference,
    pack_spread,
)

__all__ = [
    "CellDeviation",
    "DaySpread",
    "Imbalance",
    "PackSpread",
    "difference",
    "pack_spread",
    "rank_cells",
]
