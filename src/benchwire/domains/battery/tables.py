"""Tables of the battery telemetry."""

import sqlalchemy as sa

metadata = sa.MetaData()

readings = sa.Table(
    "battery_reading",
    metadata,
    sa.Column("device_id", sa.String(200), primary_key=True),
    sa.Column("group_name", sa.String(16), primary_key=True),
    # Microseconds since 1970.
    sa.Column("at_us", sa.BigInteger, primary_key=True, autoincrement=False),
    # Values by field, as JSON text.
    sa.Column("body", sa.Text, nullable=False),
)
