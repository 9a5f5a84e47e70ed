"""Tables of the job engine."""

import sqlalchemy as sa

from benchwire.foundation.db import UtcMoment

metadata = sa.MetaData()

jobs = sa.Table(
    "jobs_record",
    metadata,
    sa.Column("id", sa.String(160), primary_key=True),
    sa.Column("kind", sa.String(80), nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("params", sa.JSON, nullable=False),
    sa.Column("requested_by", sa.Text, nullable=False),
    sa.Column("idempotency_key", sa.String(200)),
    sa.Column("created_at", UtcMoment, nullable=False),
    sa.Column("started_at", UtcMoment),
    sa.Column("ended_at", UtcMoment),
    sa.Column("progress", sa.Float, nullable=False),
    sa.Column("message", sa.Text),
    sa.Column("result", sa.JSON),
    sa.Column("finished_parts", sa.JSON, nullable=False),
    sa.Column("partial_files", sa.JSON, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("interrupted", sa.Boolean, nullable=False),
    sa.UniqueConstraint("kind", "idempotency_key", name="uq_jobs_record_idempotency"),
    sa.Index("ix_jobs_record_state", "state"),
    sa.Index("ix_jobs_record_created", "created_at"),
)

sessions = sa.Table(
    "jobs_session",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("version", sa.String(40), nullable=False),
    sa.Column("started_at", UtcMoment, nullable=False),
    sa.Column("stopped_at", UtcMoment),
    sa.Column("unclean", sa.Boolean, nullable=False),
    sa.Column("interrupted_jobs", sa.JSON, nullable=False),
    sa.Column("made_safe", sa.JSON, nullable=False),
    sa.Column("seen", sa.Boolean, nullable=False),
)
