"""Files opened by the microscopy."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "microscopy_opened_file",
        sa.Column("path", sa.Text, primary_key=True),
        sa.Column("opened_at", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_microscopy_opened_file_at", "microscopy_opened_file", ["opened_at"])
