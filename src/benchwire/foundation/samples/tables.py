"""The table of what was measured on what."""

import sqlalchemy as sa

from benchwire.foundation.db import UtcMoment

metadata = sa.MetaData()

links = sa.Table(
    "samples_link",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("sample", sa.String(520), nullable=False),
    sa.Column("plate", sa.String(300)),
    sa.Column("well", sa.String(200)),
    sa.Column("kind", sa.String(40), nullable=False),
    sa.Column("item_id", sa.String(1000), nullable=False),
    sa.Column("part", sa.String(80), nullable=False),
    sa.Column("named_at", UtcMoment, nullable=False),
    sa.Column("named_by", sa.Text, nullable=False),
    sa.UniqueConstraint("sample", "kind", "item_id", "part", name="uq_samples_link"),
    sa.Index("ix_samples_link_item", "kind", "item_id"),
    sa.Index("ix_samples_link_plate", "plate"),
)
