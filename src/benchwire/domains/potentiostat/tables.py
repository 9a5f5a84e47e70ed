"""Tables of the potentiostat."""

import sqlalchemy as sa

from benchwire.foundation.db import UtcMoment

metadata = sa.MetaData()

runs = sa.Table(
    "potentiostat_run",
    metadata,
    sa.Column("run_id", sa.String(160), primary_key=True),
    sa.Column("request", sa.JSON, nullable=False),
    sa.Column("folder", sa.Text, nullable=False),
    sa.Column("label", sa.String(161), nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("started_at", UtcMoment, nullable=False),
    sa.Column("ended_at", UtcMoment),
    sa.Column("files_gone", sa.Boolean, nullable=False),
    sa.Index("ix_potentiostat_run_started", "started_at", "run_id"),
    sa.Index("ix_potentiostat_run_status", "status"),
)

slots = sa.Table(
    "potentiostat_slot",
    metadata,
    sa.Column("run_id", sa.String(160), sa.ForeignKey(runs.c.run_id), primary_key=True),
    sa.Column("slot", sa.String(16), primary_key=True),
    sa.Column("serial_number", sa.String(64)),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("mode_number", sa.Integer),
    sa.Column("started_at", UtcMoment),
    sa.Column("ended_at", UtcMoment),
    sa.Column("message", sa.Text),
    sa.Column("files", sa.JSON, nullable=False),
)
