"""Tables of the microscopy."""

import sqlalchemy as sa

metadata = sa.MetaData()

opened_files = sa.Table(
    "microscopy_opened_file",
    metadata,
    sa.Column("path", sa.Text, primary_key=True),
    # Microseconds since 1970.
    sa.Column("opened_at", sa.BigInteger, nullable=False),
    sa.Index("ix_microscopy_opened_file_at", "opened_at"),
)
