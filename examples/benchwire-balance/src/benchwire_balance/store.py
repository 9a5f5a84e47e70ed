"""Every query of the balances."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from benchwire.foundation.db import Database
from benchwire_balance.errors import WeighingUnknown
from benchwire_balance.tables import weighings


@dataclass(frozen=True, slots=True)
class Weighing:
    """A stable net weight that was kept."""

    id: int
    at: datetime
    balance: str
    serial_number: str | None
    grams: Decimal
    tare_grams: Decimal
    label: str


class WeighingStore:
    """Weighings, only ever added."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self,
        at: datetime,
        balance: str,
        serial_number: str | None,
        *,
        grams: Decimal,
        tare_grams: Decimal,
        label: str,
    ) -> Weighing:
        """Keep a weighing; it is on the disk when this returns."""
        values: dict[str, Any] = {
            "at": at,
            "balance": balance,
            "serial_number": serial_number,
            "grams": str(grams),
            "tare_grams": str(tare_grams),
            "label": label,
        }

        def work(connection: sa.Connection) -> int:
            statement = weighings.insert().values(**values).returning(weighings.c.id)
            return int(connection.execute(statement).scalar_one())

        number = self._database.write(work)
        return Weighing(number, at, balance, serial_number, grams, tare_grams, label)

    def one(self, number: int) -> Weighing:
        """Return a weighing.

        Raises
        ------
        WeighingUnknown
            There is none of that id.
        """
        with self._database.read() as connection:
            row = connection.execute(sa.select(weighings).where(weighings.c.id == number)).first()
        if row is None:
            raise WeighingUnknown(f"There is no weighing {number}")
        return _weighing(row)

    def newest(
        self, limit: int, offset: int = 0, balance: str | None = None, text: str = ""
    ) -> list[Weighing]:
        """Return weighings, newest first; of one balance, or whose label holds a text."""
        query = sa.select(weighings).order_by(weighings.c.id.desc()).limit(limit).offset(offset)
        if balance is not None:
            query = query.where(weighings.c.balance == balance)
        if text:
            query = query.where(weighings.c.label.icontains(text, autoescape=True))
        with self._database.read() as connection:
            return [_weighing(row) for row in connection.execute(query)]


def _weighing(row: Any) -> Weighing:
    return Weighing(
        row.id,
        row.at,
        row.balance,
        row.serial_number,
        Decimal(row.grams),
        Decimal(row.tare_grams),
        row.label,
    )
