"""Tables of the plates. The rules that must hold under many hands are constraints here.

A plate is where ``current_location_id`` says; that column is unique, so a place holds one plate
whoever moves it. A deleted plate keeps its row and gives up its place, and its barcode may be used
again, since barcodes are unique among live plates alone.
"""

import sqlalchemy as sa

from benchwire.foundation.db import UtcMoment

metadata = sa.MetaData()


def _table(name: str, *parts: sa.schema.SchemaItem) -> sa.Table:
    return sa.Table(
        f"plates_{name}",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        *parts,
        sa.Column("created_at", UtcMoment, nullable=False),
        sa.Column("updated_at", UtcMoment, nullable=False),
        # An id that was once given away never means another thing.
        sqlite_autoincrement=True,
    )


def _parent(
    name: str, parent: str, *, ondelete: str = "CASCADE", nullable: bool = False
) -> "sa.Column[int]":
    key = sa.ForeignKey(f"plates_{parent}.id", ondelete=ondelete)
    return sa.Column(name, sa.Integer, key, nullable=nullable)


prototypes = _table(
    "prototype",
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("description", sa.Text),
)

prototype_wells = sa.Table(
    "plates_prototype_well",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    _parent("prototype_id", "prototype"),
    sa.Column("well_row", sa.Integer, nullable=False),
    sa.Column("well_column", sa.Integer, nullable=False),
    sa.Column("subwell", sa.Integer, nullable=False),
    sa.Column("x_mm", sa.Float),
    sa.Column("y_mm", sa.Float),
    sa.Column("z_mm", sa.Float),
    sa.UniqueConstraint("prototype_id", "well_row", "well_column", "subwell"),
)

locations = _table(
    "location",
    sa.Column("carousel_position", sa.Integer),
    sa.Column("hotel_position", sa.Integer),
    sa.Column("name", sa.Text),
    # The folded name of a place that has no position; None for all others.
    sa.Column("special_key", sa.Text, unique=True),
    sa.UniqueConstraint("carousel_position", "hotel_position"),
)

plates = _table(
    "plate",
    sa.Column("barcode", sa.Text, nullable=False),
    sa.Column("name", sa.Text),
    # Barcode and name folded, for searching.
    sa.Column("search_key", sa.Text, nullable=False),
    _parent("prototype_id", "prototype", ondelete="SET NULL", nullable=True),
    sa.Column(
        "current_location_id",
        sa.Integer,
        sa.ForeignKey("plates_location.id", ondelete="RESTRICT"),
        unique=True,
    ),
    sa.Column("deleted_at", UtcMoment),
)
sa.Index(
    "ux_plates_plate_live_barcode",
    plates.c.barcode,
    unique=True,
    sqlite_where=plates.c.deleted_at.is_(None),
    postgresql_where=plates.c.deleted_at.is_(None),
)

movements = sa.Table(
    "plates_movement",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    _parent("plate_id", "plate"),
    _parent("location_id", "location", ondelete="SET NULL", nullable=True),
    sa.Column("moved_at", UtcMoment, nullable=False),
    sa.Column("moved_by", sa.Text),
    sa.Index("ix_plates_movement_plate", "plate_id", "moved_at"),
    sa.Index("ix_plates_movement_location", "location_id", "moved_at"),
    sa.Index("ix_plates_movement_moved_at", "moved_at"),
)

wells = _table(
    "well",
    _parent("plate_id", "plate"),
    sa.Column("well_row", sa.Integer, nullable=False),
    sa.Column("well_column", sa.Integer, nullable=False),
    sa.Column("subwell", sa.Integer, nullable=False),
    sa.Column("x_mm", sa.Float),
    sa.Column("y_mm", sa.Float),
    sa.Column("z_mm", sa.Float),
    sa.UniqueConstraint("plate_id", "well_row", "well_column", "subwell"),
)

chemicals = _table(
    "chemical",
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("cas", sa.Text),
    sa.Column("smiles", sa.Text),
    sa.Column("barcode", sa.Text),
    sa.Column("amount", sa.Text),
    sa.Column("storage", sa.Text),
    sa.Column("sciformation_id", sa.Integer, unique=True),
    # Name, CAS number and barcode folded, for searching.
    sa.Column("search_key", sa.Text, nullable=False),
    sa.Index("ix_plates_chemical_name", "name"),
    sa.Index("ix_plates_chemical_barcode", "barcode"),
)

units = _table(
    "unit",
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("symbol", sa.Text, nullable=False, unique=True),
    sa.Column("conversion_to_base", sa.Float, nullable=False),
)

solutions = _table(
    "stock_solution",
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("description", sa.Text),
    sa.Column("search_key", sa.Text, nullable=False),
)

components = _table(
    "component",
    _parent("stock_solution_id", "stock_solution"),
    _parent("chemical_id", "chemical", ondelete="RESTRICT"),
    _parent("unit_id", "unit", ondelete="RESTRICT"),
    sa.Column("amount", sa.Float, nullable=False),
    sa.UniqueConstraint("stock_solution_id", "chemical_id"),
    sa.Index("ix_plates_component_chemical", "chemical_id"),
    sa.Index("ix_plates_component_unit", "unit_id"),
)

contents = _table(
    "well_content",
    _parent("well_id", "well"),
    _parent("stock_solution_id", "stock_solution", ondelete="RESTRICT"),
    _parent("unit_id", "unit", ondelete="RESTRICT"),
    sa.Column("volume", sa.Float, nullable=False),
    sa.UniqueConstraint("well_id", "stock_solution_id"),
    sa.Index("ix_plates_well_content_solution", "stock_solution_id"),
    sa.Index("ix_plates_well_content_unit", "unit_id"),
)

images = _table(
    "image",
    _parent("well_id", "well"),
    # The well's plate once more, so that a list of plates touches no wells for it.
    _parent("plate_id", "plate"),
    sa.Column("pixel_size_x_mm", sa.Float, nullable=False),
    sa.Column("pixel_size_y_mm", sa.Float, nullable=False),
    sa.Column("reference_x_mm", sa.Float, nullable=False),
    sa.Column("reference_y_mm", sa.Float, nullable=False),
    sa.Column("reference_z_mm", sa.Float, nullable=False),
    sa.Column("pixel_width", sa.Integer, nullable=False),
    sa.Column("pixel_height", sa.Integer, nullable=False),
    sa.Column("description", sa.Text),
    sa.Column("captured_at", UtcMoment, nullable=False),
    sa.Column("filename", sa.Text, nullable=False),
    sa.Column("content_type", sa.Text, nullable=False),
    sa.Column("byte_size", sa.BigInteger, nullable=False),
    # The file's content is its name in the store; several images may share one.
    sa.Column("sha256", sa.String(64), nullable=False, index=True),
    sa.Index("ix_plates_image_well", "well_id", "captured_at"),
    sa.Index("ix_plates_image_plate", "plate_id"),
)

points = _table(
    "point",
    _parent("image_id", "image"),
    sa.Column("pixel_x", sa.Integer, nullable=False),
    sa.Column("pixel_y", sa.Integer, nullable=False),
    sa.Column("point_type", sa.Text, nullable=False),
    sa.Column("description", sa.Text),
    sa.Column("marked_at", UtcMoment, nullable=False),
    sa.Index("ix_plates_point_image", "image_id", "pixel_x", "pixel_y"),
    sa.Index("ix_plates_point_type", "point_type", "marked_at"),
    sa.Index("ix_plates_point_marked_at", "marked_at"),
)

# A score is never changed: a second look is a second row.
scores = sa.Table(
    "plates_score",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    _parent("well_id", "well"),
    _parent("plate_id", "plate"),
    _parent("image_id", "image", ondelete="SET NULL", nullable=True),
    sa.Column("score", sa.Integer, nullable=False),
    sa.Column("note", sa.Text),
    sa.Column("scored_at", UtcMoment, nullable=False),
    sa.Column("scored_by", sa.Text),
    sa.Index("ix_plates_score_well", "well_id", "scored_at"),
    sa.Index("ix_plates_score_plate", "plate_id"),
)
