"""Plates, wells, images and chemistry."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "plates_chemical",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("cas", sa.Text),
        sa.Column("smiles", sa.Text),
        sa.Column("barcode", sa.Text),
        sa.Column("amount", sa.Text),
        sa.Column("storage", sa.Text),
        sa.Column("sciformation_id", sa.Integer, unique=True),
        sa.Column("search_key", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_plates_chemical_barcode", "plates_chemical", ["barcode"])
    op.create_index("ix_plates_chemical_name", "plates_chemical", ["name"])
    op.create_table(
        "plates_location",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("carousel_position", sa.Integer),
        sa.Column("hotel_position", sa.Integer),
        sa.Column("name", sa.Text),
        sa.Column("special_key", sa.Text, unique=True),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("carousel_position", "hotel_position"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "plates_prototype",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("description", sa.Text),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "plates_stock_solution",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("description", sa.Text),
        sa.Column("search_key", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "plates_unit",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("symbol", sa.Text, nullable=False, unique=True),
        sa.Column("conversion_to_base", sa.Float, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "plates_component",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column(
            "stock_solution_id",
            sa.Integer,
            sa.ForeignKey("plates_stock_solution.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column(
            "chemical_id",
            sa.Integer,
            sa.ForeignKey("plates_chemical.id", ondelete="RESTRICT"),
            nullable=False,
        ),
        sa.Column(
            "unit_id",
            sa.Integer,
            sa.ForeignKey("plates_unit.id", ondelete="RESTRICT"),
            nullable=False,
        ),
        sa.Column("amount", sa.Float, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("stock_solution_id", "chemical_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_plates_component_chemical", "plates_component", ["chemical_id"])
    op.create_index("ix_plates_component_unit", "plates_component", ["unit_id"])
    op.create_table(
        "plates_plate",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("barcode", sa.Text, nullable=False),
        sa.Column("name", sa.Text),
        sa.Column("search_key", sa.Text, nullable=False),
        sa.Column(
            "prototype_id", sa.Integer, sa.ForeignKey("plates_prototype.id", ondelete="SET NULL")
        ),
        sa.Column(
            "current_location_id",
            sa.Integer,
            sa.ForeignKey("plates_location.id", ondelete="RESTRICT"),
            unique=True,
        ),
        sa.Column("deleted_at", sa.BigInteger),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ux_plates_plate_live_barcode",
        "plates_plate",
        ["barcode"],
        unique=True,
        sqlite_where=sa.text("deleted_at IS NULL"),
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_table(
        "plates_prototype_well",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column(
            "prototype_id",
            sa.Integer,
            sa.ForeignKey("plates_prototype.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("well_row", sa.Integer, nullable=False),
        sa.Column("well_column", sa.Integer, nullable=False),
        sa.Column("subwell", sa.Integer, nullable=False),
        sa.Column("x_mm", sa.Float),
        sa.Column("y_mm", sa.Float),
        sa.Column("z_mm", sa.Float),
        sa.UniqueConstraint("prototype_id", "well_row", "well_column", "subwell"),
    )
    op.create_table(
        "plates_movement",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column(
            "plate_id",
            sa.Integer,
            sa.ForeignKey("plates_plate.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column(
            "location_id", sa.Integer, sa.ForeignKey("plates_location.id", ondelete="SET NULL")
        ),
        sa.Column("moved_at", sa.BigInteger, nullable=False),
        sa.Column("moved_by", sa.Text),
    )
    op.create_index("ix_plates_movement_location", "plates_movement", ["location_id", "moved_at"])
    op.create_index("ix_plates_movement_moved_at", "plates_movement", ["moved_at"])
    op.create_index("ix_plates_movement_plate", "plates_movement", ["plate_id", "moved_at"])
    op.create_table(
        "plates_well",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column(
            "plate_id",
            sa.Integer,
            sa.ForeignKey("plates_plate.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("well_row", sa.Integer, nullable=False),
        sa.Column("well_column", sa.Integer, nullable=False),
        sa.Column("subwell", sa.Integer, nullable=False),
        sa.Column("x_mm", sa.Float),
        sa.Column("y_mm", sa.Float),
        sa.Column("z_mm", sa.Float),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("plate_id", "well_row", "well_column", "subwell"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "plates_image",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column(
            "well_id",
            sa.Integer,
            sa.ForeignKey("plates_well.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column(
            "plate_id",
            sa.Integer,
            sa.ForeignKey("plates_plate.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("pixel_size_x_mm", sa.Float, nullable=False),
        sa.Column("pixel_size_y_mm", sa.Float, nullable=False),
        sa.Column("reference_x_mm", sa.Float, nullable=False),
        sa.Column("reference_y_mm", sa.Float, nullable=False),
        sa.Column("reference_z_mm", sa.Float, nullable=False),
        sa.Column("pixel_width", sa.Integer, nullable=False),
        sa.Column("pixel_height", sa.Integer, nullable=False),
        sa.Column("description", sa.Text),
        sa.Column("captured_at", sa.BigInteger, nullable=False),
        sa.Column("filename", sa.Text, nullable=False),
        sa.Column("content_type", sa.Text, nullable=False),
        sa.Column("byte_size", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_plates_image_plate", "plates_image", ["plate_id"])
    op.create_index("ix_plates_image_sha256", "plates_image", ["sha256"])
    op.create_index("ix_plates_image_well", "plates_image", ["well_id", "captured_at"])
    op.create_table(
        "plates_well_content",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column(
            "well_id",
            sa.Integer,
            sa.ForeignKey("plates_well.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column(
            "stock_solution_id",
            sa.Integer,
            sa.ForeignKey("plates_stock_solution.id", ondelete="RESTRICT"),
            nullable=False,
        ),
        sa.Column(
            "unit_id",
            sa.Integer,
            sa.ForeignKey("plates_unit.id", ondelete="RESTRICT"),
            nullable=False,
        ),
        sa.Column("volume", sa.Float, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("well_id", "stock_solution_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_plates_well_content_solution", "plates_well_content", ["stock_solution_id"])
    op.create_index("ix_plates_well_content_unit", "plates_well_content", ["unit_id"])
    op.create_table(
        "plates_point",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column(
            "image_id",
            sa.Integer,
            sa.ForeignKey("plates_image.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("pixel_x", sa.Integer, nullable=False),
        sa.Column("pixel_y", sa.Integer, nullable=False),
        sa.Column("point_type", sa.Text, nullable=False),
        sa.Column("description", sa.Text),
        sa.Column("marked_at", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_plates_point_image", "plates_point", ["image_id", "pixel_x", "pixel_y"])
    op.create_index("ix_plates_point_marked_at", "plates_point", ["marked_at"])
    op.create_index("ix_plates_point_type", "plates_point", ["point_type", "marked_at"])
    op.create_table(
        "plates_score",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column(
            "well_id",
            sa.Integer,
            sa.ForeignKey("plates_well.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column(
            "plate_id",
            sa.Integer,
            sa.ForeignKey("plates_plate.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("image_id", sa.Integer, sa.ForeignKey("plates_image.id", ondelete="SET NULL")),
        sa.Column("score", sa.Integer, nullable=False),
        sa.Column("note", sa.Text),
        sa.Column("scored_at", sa.BigInteger, nullable=False),
        sa.Column("scored_by", sa.Text),
    )
    op.create_index("ix_plates_score_plate", "plates_score", ["plate_id"])
    op.create_index("ix_plates_score_well", "plates_score", ["well_id", "scored_at"])
