"""Which meter a charge was measured with, and by what it was told to be one."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("powermeter_session", sa.Column("setup", sa.JSON))
