"""Bring the database's schema up to this version, before anybody reads or writes."""

from collections.abc import Mapping
from pathlib import Path

import sqlalchemy as sa

from benchwire.foundation.db import Database, unavailable
from benchwire.foundation.errors import Unavailable

MIGRATIONS = Path(__file__).with_name("migrations")


class SchemaTooNew(Unavailable):
    """The database was written by a newer version of the server."""

    code = "database.schema_too_new"


def head() -> str:
    """Return the newest schema version this program knows, the number its file begins with."""
    return max(path.name[:4] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))


def current(database: Database) -> str | None:
    """Return the schema version a database has, None for an empty one."""
    with database.read() as connection:
        if not sa.inspect(connection).has_table("alembic_version"):
            return None
        found = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return None if found is None else str(found)


class SchemaTooOld(Unavailable):
    """The database was written by an older version of the server, which has to be upgraded."""

    code = "database.schema_too_old"


def check(database: Database) -> None:
    """Make sure that a database has just the schema this program knows.

    Raises
    ------
    SchemaTooNew, SchemaTooOld
        It has another.
    """
    found = current(database)
    if found is None or found < head():
        raise SchemaTooOld(
            f"The database has schema {found or 'none'}, this version reads {head()} alone",
            hint="Start the server in this version first; it upgrades the database.",
        )
    if found > head():
        raise SchemaTooNew(
            f"The database has schema {found}, this version reads {head()} alone",
            hint="Start this process in the version of the server.",
        )


def upgrade(database: Database) -> None:
    """Run the migrations that a database lacks.

    Raises
    ------
    SchemaTooNew
        The database has a version this program does not know.
    DatabaseUnavailable
        The disk does not take the changes; the next start goes on from there.
    """
    found = current(database)
    if found == head():
        return
    if found is not None and found > head():
        raise SchemaTooNew(
            f"The database has schema {found}, this version knows {head()} at most",
            hint="Start the newer version again, or choose another data folder.",
        )
    # Loaded here, as most starts have nothing to migrate and it doubles the time to the first
    # answer.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    try:
        with database.migration_engine.connect() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
    except (sa.exc.OperationalError, sa.exc.InternalError) as error:
        raise unavailable(error) from error


def add_tables(database: Database, tables: Mapping[str, sa.MetaData]) -> None:
    """Make the tables of domains from other packages where they are missing.

    Raises
    ------
    ValueError
        A table is not named after its domain.
    """
    for domain, metadata in tables.items():
        for name in metadata.tables:
            if not name.startswith(f"{domain}_"):
                raise ValueError(f"The table {name} of {domain} has to be called {domain}_{name}")
        with database.migration_engine.begin() as connection:
            metadata.create_all(connection)
