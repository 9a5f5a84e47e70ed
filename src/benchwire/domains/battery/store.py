"""Every query of the battery telemetry: the readings that came live and are in no file yet."""

import json
from collections.abc import Iterator, Mapping, Sequence

import sqlalchemy as sa

from benchwire.domains.battery.samples import Reading
from benchwire.domains.battery.tables import readings
from benchwire.foundation.db import Database

_AT_ONCE = 500


class ReadingStore:
    """Readings by device, group and time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, device_id: str, found: Mapping[str, Sequence[Reading]]) -> None:
        """Store readings of a device by group, all or none; what they lack is left as it was.

        A time that is stored already gets only the values it has not got yet.
        """

        def work(connection: sa.Connection) -> None:
            for group, items in found.items():
                for begin in range(0, len(items), _AT_ONCE):
                    _add(connection, device_id, group, items[begin : begin + _AT_ONCE])

        self._database.write(work)

    def devices(self) -> list[tuple[str, str]]:
        """Return every device and group with readings here."""
        query = sa.select(readings.c.device_id, readings.c.group_name).distinct()
        with self._database.read() as connection:
            return [(row.device_id, row.group_name) for row in connection.execute(query)]

    def all(self, device_id: str, group: str) -> Iterator[Reading]:
        """Yield the readings of a device's group, oldest first."""
        query = readings.select().where(_of(device_id, group)).order_by(readings.c.at_us)
        with self._database.read() as connection:
            for row in connection.execute(query):
                yield Reading(row.at_us, json.loads(row.body))

    def forget(self, device_id: str, group: str, *, up_to_us: int) -> None:
        """Delete the readings of a device's group up to a time, which are in a file now."""
        statement = readings.delete().where(_of(device_id, group), readings.c.at_us <= up_to_us)
        self._database.write(lambda connection: connection.execute(statement).close())


def _of(device_id: str, group: str) -> sa.ColumnElement[bool]:
    return sa.and_(readings.c.device_id == device_id, readings.c.group_name == group)


def _add(connection: sa.Connection, device_id: str, group: str, items: Sequence[Reading]) -> None:
    new: dict[int, dict[str, float | None]] = {}
    for item in items:
        new[item.at_us] = _filled(new.get(item.at_us, {}), item.values)
    query = readings.select().where(_of(device_id, group), readings.c.at_us.in_(new))
    for row in connection.execute(query).all():
        stored = json.loads(row.body)
        filled = _filled(stored, new.pop(row.at_us))
        if filled != stored:
            this = sa.and_(_of(device_id, group), readings.c.at_us == row.at_us)
            connection.execute(readings.update().where(this).values(body=json.dumps(filled)))
    if new:
        connection.execute(
            readings.insert(),
            [
                {"device_id": device_id, "group_name": group, "at_us": at, "body": json.dumps(body)}
                for at, body in new.items()
            ],
        )


def _filled(
    first: Mapping[str, float | None], more: Mapping[str, float | None]
) -> dict[str, float | None]:
    """Return the values of both; the first one's stand where it has any."""
    return {**more, **{key: value for key, value in first.items() if value is not None}}
