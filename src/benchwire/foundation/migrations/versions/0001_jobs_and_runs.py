"""Jobs, server sessions, and the potentiostat's runs."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "jobs_record",
        sa.Column("id", sa.String(160), primary_key=True),
        sa.Column("kind", sa.String(80), nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("params", sa.JSON, nullable=False),
        sa.Column("requested_by", sa.Text, nullable=False),
        sa.Column("idempotency_key", sa.String(200)),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("started_at", sa.BigInteger),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("progress", sa.Float, nullable=False),
        sa.Column("message", sa.Text),
        sa.Column("result", sa.JSON),
        sa.Column("finished_parts", sa.JSON, nullable=False),
        sa.Column("partial_files", sa.JSON, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("interrupted", sa.Boolean, nullable=False),
        sa.UniqueConstraint("kind", "idempotency_key", name="uq_jobs_record_idempotency"),
    )
    op.create_index("ix_jobs_record_state", "jobs_record", ["state"])
    op.create_index("ix_jobs_record_created", "jobs_record", ["created_at"])
    op.create_table(
        "jobs_session",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("version", sa.String(40), nullable=False),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("stopped_at", sa.BigInteger),
        sa.Column("unclean", sa.Boolean, nullable=False),
        sa.Column("interrupted_jobs", sa.JSON, nullable=False),
        sa.Column("made_safe", sa.JSON, nullable=False),
        sa.Column("seen", sa.Boolean, nullable=False),
    )
    op.create_table(
        "potentiostat_run",
        sa.Column("run_id", sa.String(160), primary_key=True),
        sa.Column("request", sa.JSON, nullable=False),
        sa.Column("folder", sa.Text, nullable=False),
        sa.Column("label", sa.String(161), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("files_gone", sa.Boolean, nullable=False),
    )
    op.create_index("ix_potentiostat_run_started", "potentiostat_run", ["started_at", "run_id"])
    op.create_index("ix_potentiostat_run_status", "potentiostat_run", ["status"])
    op.create_table(
        "potentiostat_slot",
        sa.Column(
            "run_id",
            sa.String(160),
            sa.ForeignKey("potentiostat_run.run_id"),
            primary_key=True,
        ),
        sa.Column("slot", sa.String(16), primary_key=True),
        sa.Column("serial_number", sa.String(64)),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("mode_number", sa.Integer),
        sa.Column("started_at", sa.BigInteger),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("message", sa.Text),
        sa.Column("files", sa.JSON, nullable=False),
    )
