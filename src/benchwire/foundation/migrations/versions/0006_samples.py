"""Which measurement was made on what sample."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "samples_link",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("sample", sa.String(520), nullable=False),
        sa.Column("plate", sa.String(300)),
        sa.Column("well", sa.String(200)),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("item_id", sa.String(1000), nullable=False),
        sa.Column("part", sa.String(80), nullable=False),
        sa.Column("named_at", sa.BigInteger, nullable=False),
        sa.Column("named_by", sa.Text, nullable=False),
        sa.UniqueConstraint("sample", "kind", "item_id", "part", name="uq_samples_link"),
    )
    op.create_index("ix_samples_link_item", "samples_link", ["kind", "item_id"])
    op.create_index("ix_samples_link_plate", "samples_link", ["plate"])
