"""The table of the audit log."""

import sqlalchemy as sa

from benchwire.foundation.db import UtcMoment

metadata = sa.MetaData()

entries = sa.Table(
    "audit_entry",
    metadata,
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at", UtcMoment, nullable=False),
    sa.Column("who", sa.String(40), nullable=False),
    sa.Column("role", sa.String(20), nullable=False),
    sa.Column("address", sa.String(100), nullable=False),
    sa.Column("method", sa.String(20), nullable=False),
    sa.Column("path", sa.String(1000), nullable=False),
    sa.Column("action", sa.String(200), nullable=False),
    sa.Column("status", sa.Integer, nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
)
