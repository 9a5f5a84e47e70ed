"""What an empty inventory begins with: units, and two plate types."""

from typing import Any

UNITS = (
    ("milligram", "mg", 1.0), ("gram", "g", 1000.0),
    ("nanoliter", "nl", 0.001), ("microliter", "µl", 1.0), ("milliliter", "ml", 1000.0),
    ("liter", "l", 1e6), ("millimolar", "mM", 1.0), ("molar", "M", 1000.0),
    ("percent weight per volume", "% w/v", 1.0), ("percent volume per volume", "% v/v", 1.0),
)  # fmt: skip
ROWS, COLUMNS, PITCH_MM = 8, 12, 9.0
GENERIC, MITEGEN = "Generic 96 well Plate", "Mitegen InSitu-1"
# Where the two drops of a MiTeGen In Situ-1 lie in each cell, x and y, and how deep, in mm.
_DROPS_MM = ((2.45, 1.38), (2.45, 6.49))
_DEPTH_MM = -0.2


def prototype_wells() -> dict[str, list[dict[str, Any]]]:
    """Return the wells of both plate types, coordinates in mm from the first well."""
    cells = [(row, column) for row in range(ROWS) for column in range(COLUMNS)]
    return {
        GENERIC: [_well(row, column, 1, 0.0, 0.0, 0.0) for row, column in cells],
        MITEGEN: [
            _well(row, column, number, x, y, _DEPTH_MM)
            for row, column in cells
            for number, (x, y) in enumerate(_DROPS_MM, 1)
        ],
    }


def _well(row: int, column: int, subwell: int, x: float, y: float, z: float) -> dict[str, Any]:
    return {
        "well_row": row + 1,
        "well_column": column + 1,
        "subwell": subwell,
        "x_mm": round(column * PITCH_MM + x, 4),
        "y_mm": round(row * PITCH_MM + y, 4),
        "z_mm": z,
    }
