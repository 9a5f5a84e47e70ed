"""Tables of the balances, made by the server at its start where they are missing."""

import sqlalchemy as sa

from benchwire.foundation.db import UtcMoment

metadata = sa.MetaData()

weighings = sa.Table(
    "balance_weighing",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("at", UtcMoment, nullable=False),
    sa.Column("balance", sa.String(40), nullable=False),
    sa.Column("serial_number", sa.String(60)),
    # As text, since the digits that a balance sends are part of what it says.
    sa.Column("grams", sa.String(24), nullable=False),
    sa.Column("tare_grams", sa.String(24), nullable=False),
    sa.Column("label", sa.String(200), nullable=False),
    sa.Index("ix_balance_weighing_at", "at"),
)
