"""What ``benchwire check`` looks at."""

import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points

import benchwire
from benchwire.app import ENTRY_POINTS
from benchwire.foundation import schema
from benchwire.foundation.db import DATABASE_FILE, ensure_suitable, is_sound, open_database
from benchwire.foundation.errors import BenchwireError
from benchwire.foundation.instruments.ports import all_serial_ports
from benchwire.foundation.jobs.sessions import RESTORE_MARKER
from benchwire.foundation.settings import ServerSettings
from benchwire.foundation.web.keys import NamedKeys


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at; the server would not start where ``ok`` is false."""

    name: str
    ok: bool
    text: str


def check_all(settings: ServerSettings) -> Iterator[Check]:
    """Look at everything the server needs; changes nothing that is kept."""
    yield Check("version", True, f"benchwire {benchwire.__version__}, {platform.python_version()}")
    yield _data_folder(settings)
    yield _database(settings)
    domains = sorted(entry.name for entry in entry_points(group=ENTRY_POINTS))
    yield Check("domains", bool(domains), ", ".join(domains) or "none installed")
    ports = all_serial_ports()
    yield Check("serial ports", True, ", ".join(port.path for port in ports) or "none found")
    is_open = settings.api_key is None and not NamedKeys(settings.data_dir).are_used
    key = "not set: open to everyone who reaches the port" if is_open else "set"
    yield Check("API key", True, key)


def _data_folder(settings: ServerSettings) -> Check:
    try:
        ensure_suitable(settings.data_dir)
    except BenchwireError as error:
        return Check("data folder", False, f"{settings.data_dir}: {error.message}")
    if (settings.data_dir / RESTORE_MARKER).exists():
        return Check("data folder", False, f"{settings.data_dir}: a restore was cut short there")
    free = shutil.disk_usage(settings.data_dir).free
    return Check("data folder", True, f"{settings.data_dir}, {free / 1e9:.1f} GB free")


def _database(settings: ServerSettings) -> Check:
    path = settings.data_dir / DATABASE_FILE
    if settings.database_url is None and not path.exists():
        return Check("database", True, "none yet; it is made at the first start")
    if settings.database_url is None and not is_sound(path):
        return Check(
            "database", True, "damaged; it will be set aside for its newest copy, or a new one"
        )
    try:
        database = open_database(settings.data_dir, settings.database_url)
        try:
            version = schema.current(database)
        finally:
            database.close()
    except BenchwireError as error:
        return Check("database", False, error.message)
    if version is not None and version > schema.head():
        return Check("database", False, f"schema {version} is newer than this program knows")
    return Check("database", True, f"schema {version or 'none yet'}")
