"""Old data folders, put where a test wants them."""

import json
import os
import sqlite3
import tarfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.version import Version

HERE = Path(__file__).parent
PLACE, ADDRESS = "{data}", "{server}"
DATABASE = "benchwire.db"


@dataclass(frozen=True, slots=True)
class Old:
    """A data folder that an earlier version made, and what that version said of it."""

    data: Path
    manifest: dict[str, Any]

    def here(self, value: Any, address: str = "") -> Any:
        """Return something of the manifest with the place and server of now in it."""
        text = json.dumps(value).replace(PLACE, str(self.data)).replace(ADDRESS, address)
        return json.loads(text)


def versions() -> list[str]:
    """Return every version that has left a folder, oldest first."""
    return sorted((path.stem for path in HERE.glob("*.json")), key=Version)


def extract(version: str, target: Path) -> Old:
    """Extract a folder and write its new place over the one at which it was made."""
    manifest = json.loads((HERE / f"{version}.json").read_text("utf-8"))
    with tarfile.open(HERE / f"{version}.tar.gz") as archive:
        archive.extractall(target, filter="data")
    data = target / "data"
    old, new = manifest["place"], str(data)
    _place_in_database(data / DATABASE, old, new)
    for path in data.rglob("*"):
        if path.suffix in {".json", ".yaml"} and old.encode() in (content := path.read_bytes()):
            seen = path.stat()
            path.write_bytes(content.replace(old.encode(), new.encode()))
            os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    return Old(data, manifest)


def _place_in_database(path: Path, old: str, new: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        for (table,) in tables.fetchall():
            columns = connection.execute(f'PRAGMA table_info("{table}")').fetchall()
            for _, column, kind, *_ in columns:
                if kind.startswith(("TEXT", "VARCHAR", "JSON")):
                    connection.execute(
                        f'UPDATE "{table}" SET "{column}" = replace("{column}", ?, ?) '
                        f'WHERE instr("{column}", ?) > 0',
                        (old, new, old),
                    )
