"""A large inventory, a million wells: lists, details, search and moves, on both databases.

Beside the plates' list stands the same list as an ORM makes it when nobody thinks of queries: one
for the plates and one more for each plate's wells.
"""

import argparse
import tempfile
import threading
import time
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import orm

from benchwire.domains.plates.store.chemistry import ChemistryStore
from benchwire.domains.plates.store.locations import LocationStore
from benchwire.domains.plates.store.plates import PlateStore
from benchwire.domains.plates.store.wells import WellStore
from benchwire.domains.plates.tables import chemicals, locations, plates, wells
from benchwire.foundation import schema
from benchwire.foundation.clock import SystemClock
from benchwire.foundation.db import Database, open_database
from benchwire.foundation.samples.store import Samples
from serving import running_postgresql
from timing import median_ms

CHEMICALS = 100_000
MOVERS, MOVE_SECONDS = 16, 3.0
PAGE_GOAL_MS = 50.0


def fill(database: Database, count: int) -> None:
    now = SystemClock().now()
    stamps = {"created_at": now, "updated_at": now}
    grid = [(row, column) for row in range(1, 9) for column in range(1, 13)]

    def work(connection: sa.Connection) -> None:
        connection.execute(
            locations.insert(),
            [{"carousel_position": c, "hotel_position": h, **stamps}
             for c in range(1, 11) for h in range(1, 21)],
        )  # fmt: skip
        for first in range(0, count, 500):
            numbers = range(first + 1, min(first + 500, count) + 1)
            connection.execute(
                plates.insert(),
                [
                    {"id": n, "barcode": f"P{n:06}", "search_key": f"p{n:06}", **stamps}
                    for n in numbers
                ],
            )
            connection.execute(
                wells.insert(),
                [{"plate_id": n, "well_row": row, "well_column": column, "subwell": 1, **stamps}
                 for n in numbers for row, column in grid],
            )  # fmt: skip
        for first in range(0, CHEMICALS, 10_000):
            connection.execute(
                chemicals.insert(),
                [{"name": f"chemical {n:06}", "cas": f"{n}-00-1", "barcode": f"C{n:07}",
                  "search_key": f"chemical {n:06}\n{n}-00-1\nc{n:07}", **stamps}
                 for n in range(first, first + 10_000)],
            )  # fmt: skip

    database.write(work)
    with database.migration_engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(sa.text("ANALYZE"))


class Base(orm.DeclarativeBase):
    """The naive way's tables."""


class NaiveWell(Base):
    """A well as an object."""

    __table__ = sa.Table(
        "plates_well", Base.metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("plate_id", sa.Integer, sa.ForeignKey("plates_plate.id")),
        sa.Column("well_row", sa.Integer), sa.Column("well_column", sa.Integer),
    )  # fmt: skip


class NaivePlate(Base):
    """A plate as an object, its wells fetched when they are asked for."""

    __table__ = sa.Table(
        "plates_plate", Base.metadata,
        sa.Column("id", sa.Integer, primary_key=True), sa.Column("barcode", sa.Text),
    )  # fmt: skip
    wells = orm.relationship(NaiveWell)


def naive_list(database: Database) -> list[tuple[str, int, int]]:
    with database.read() as connection, orm.Session(connection) as session:
        found = session.scalars(
            sa.select(NaivePlate).order_by(NaivePlate.__table__.c.id).limit(100)
        )
        return [
            (plate.barcode, len(plate.wells), max(well.well_row for well in plate.wells))
            for plate in found
        ]


def moves(database: Database, store: PlateStore) -> tuple[int, int, int]:
    """Return moves made by all threads, and the least and the most by one."""
    places = [row["id"] for row in LocationStore(database, SystemClock()).carousel()]
    done = [0] * MOVERS
    over = time.monotonic() + MOVE_SECONDS

    def run(number: int) -> None:
        own = places[number::MOVERS]
        while time.monotonic() < over:
            store.move(f"P{number + 1:06}", own[done[number] % len(own)], None)
            done[number] += 1

    threads = [threading.Thread(target=run, args=(number,)) for number in range(MOVERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done), min(done), max(done)


def measure(name: str, database: Database, count: int) -> bool:
    """Whether every page of a list came within the goal."""
    schema.upgrade(database)
    fill(database, count)
    source = (database, SystemClock())
    plate_store, well_store, chemistry = (
        PlateStore(*source, Samples(*source)), WellStore(*source), ChemistryStore(*source),
    )  # fmt: skip
    middle = count * 96 // 2
    ours = median_ms(lambda: plate_store.page(limit=100))
    naive = median_ms(lambda: naive_list(database), 5)
    assert len(naive_list(database)) == len(plate_store.page(limit=100))
    print(f"{name}: {count * 96:,} wells, {CHEMICALS:,} chemicals")
    print(f"  100 plates with counts   {ours:8.2f} ms (goal 10), naive ORM {naive:8.2f} ms, "
          f"ratio {ours / naive:.3f}")  # fmt: skip
    last = median_ms(lambda: plate_store.page(offset=count - 100, limit=100))
    print(f"  the last 100             {last:8.2f} ms")
    one = median_ms(lambda: detail(well_store, middle))
    print(f"  one well in detail       {one:8.2f} ms (goal 10)")
    for text in ("chemical 0500", "77777-00", "no such thing", "c0099"):
        taken = median_ms(lambda wanted=text: chemistry.chemicals(wanted, limit=10))
        print(f"  search {text!r:18} {taken:8.2f} ms (goal 20)")
    total, least, most = moves(database, plate_store)
    print(f"  moves by {MOVERS} threads      {total / MOVE_SECONDS:8.0f} a second, "
          f"{least} to {most} by one thread")  # fmt: skip
    is_met = max(ours, last) < PAGE_GOAL_MS
    print(f"  pages within {PAGE_GOAL_MS:g} ms: {'met' if is_met else 'NOT met'}")
    return is_met


def detail(store: WellStore, well_id: int) -> None:
    record = store.one(well_id)
    store.contents([well_id])
    store.scores(well_id)
    store.beside(record)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--plates", type=int, default=10_417)
    count = parser.parse_args().plates
    with tempfile.TemporaryDirectory() as folder:
        database = open_database(Path(folder), None)
        is_met = measure("SQLite", database, count)
        database.close()
    with tempfile.TemporaryDirectory() as folder, running_postgresql() as url:
        database = open_database(Path(folder), url)
        is_met &= measure("PostgreSQL", database, count)
        database.close()
    raise SystemExit(not is_met)


if __name__ == "__main__":
    main()
