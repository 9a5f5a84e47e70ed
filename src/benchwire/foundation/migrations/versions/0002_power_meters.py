"""Power meters, their readings, sessions and alarms."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "powermeter_meter",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("name", sa.String(40), nullable=False, unique=True),
        sa.Column("declared_port", sa.Text),
        sa.Column("config", sa.JSON, nullable=False),
    )
    op.create_table(
        "powermeter_reading",
        sa.Column("meter_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("codes", sa.LargeBinary, nullable=False),
        sa.Column("follows_gap", sa.Boolean, nullable=False),
        sa.Column("totals", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "powermeter_block",
        sa.Column("meter_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("starts_at", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("ends_at", sa.BigInteger, nullable=False),
        sa.Column("totals", sa.LargeBinary, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    op.create_index("ix_powermeter_block_ends", "powermeter_block", ["meter_id", "ends_at"])
    op.create_table(
        "powermeter_span",
        sa.Column("meter_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("seconds", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("starts_at", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("count", sa.Integer, nullable=False),
        *(
            sa.Column(f"{quantity}_{figure}", sa.BigInteger, nullable=False)
            for quantity in ("voltage", "current", "power")
            for figure in ("min", "max", "sum")
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "powermeter_session",
        sa.Column("meter_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("started_at", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("active_at", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.String(40)),
        sa.Column("before", sa.JSON, nullable=False),
        sa.Column("totals", sa.JSON, nullable=False),
    )
    op.create_table(
        "powermeter_alarm_event",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("meter_id", sa.Integer, nullable=False),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("is_raised", sa.Boolean, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("value", sa.Float),
        sa.Column("threshold", sa.Float),
    )
    op.create_index(
        "ix_powermeter_alarm_event_meter", "powermeter_alarm_event", ["meter_id", "kind", "id"]
    )
