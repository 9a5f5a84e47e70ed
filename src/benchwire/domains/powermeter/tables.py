"""Tables of the power meters; every time is in microseconds since 1970."""

import sqlalchemy as sa

metadata = sa.MetaData()

meters = sa.Table(
    "powermeter_meter",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("name", sa.String(40), nullable=False, unique=True),
    # The port the settings name; the one in the configuration may have been changed since.
    sa.Column("declared_port", sa.Text),
    sa.Column("config", sa.JSON, nullable=False),
)

# The newest readings, one row each, until there are enough for a block.
readings = sa.Table(
    "powermeter_reading",
    metadata,
    sa.Column("meter_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("codes", sa.LargeBinary, nullable=False),
    sa.Column("follows_gap", sa.Boolean, nullable=False),
    sa.Column("totals", sa.LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

blocks = sa.Table(
    "powermeter_block",
    metadata,
    sa.Column("meter_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("starts_at", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("ends_at", sa.BigInteger, nullable=False),
    # Running totals at the block's first reading.
    sa.Column("totals", sa.LargeBinary, nullable=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
    sa.Index("ix_powermeter_block_ends", "meter_id", "ends_at"),
)

# Smallest, largest and sum of the codes of V, A and W in each minute and hour of all blocks.
spans = sa.Table(
    "powermeter_span",
    metadata,
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

sessions = sa.Table(
    "powermeter_session",
    metadata,
    sa.Column("meter_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("started_at", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("active_at", sa.BigInteger, nullable=False),
    sa.Column("reason", sa.String(40)),
    sa.Column("before", sa.JSON, nullable=False),
    sa.Column("totals", sa.JSON, nullable=False),
    # Not known of sessions that began under an earlier schema.
    sa.Column("setup", sa.JSON(none_as_null=True)),
)

alarm_events = sa.Table(
    "powermeter_alarm_event",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("meter_id", sa.Integer, nullable=False),
    sa.Column("kind", sa.String(40), nullable=False),
    sa.Column("is_raised", sa.Boolean, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("value", sa.Float),
    sa.Column("threshold", sa.Float),
    sa.Index("ix_powermeter_alarm_event_meter", "meter_id", "kind", "id"),
)
