"""A small data folder, quick to copy, and backups of it."""

import json
import shutil
from pathlib import Path

import pytest
import sqlalchemy as sa

from benchwire.foundation import schema
from benchwire.foundation.db import open_database
from tests.backup.commands import backup


@pytest.fixture(scope="session")
def small_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    database = open_database(folder)
    schema.upgrade(database)
    database.close()
    for suffix in ("-wal", "-shm"):
        (folder / f"benchwire.db{suffix}").unlink(missing_ok=True)
    for name in ("nas_smb.json", "plates/1.png", "plates/2.png", "battery/live.csv"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(f"what is in {name}\n")
    return folder


@pytest.fixture
def small(small_template: Path, tmp_path: Path) -> Path:
    """A data folder whose database names a file in it and one of its runs, which lie apart."""
    folder, runs = tmp_path / "small", tmp_path / "small runs"
    shutil.copytree(small_template, folder)
    (folder / "benchwire.toml").write_text(f'[potentiostat]\nruns_root = "{runs}"\n')
    for name in ("Exp/1.csv", "Other/2.csv"):
        (runs / name).parent.mkdir(parents=True)
        (runs / name).write_text("t,i\n1,2\n")
    database = open_database(folder)
    params = json.dumps({"image": f"{folder}/plates/1.png", "run": f"{runs}/Exp/1.csv"})
    statement = sa.text(
        "INSERT INTO jobs_record (id, kind, title, state, params, requested_by, created_at,"
        " progress, finished_parts, partial_files, attempts, interrupted)"
        " VALUES ('one', 'k', 't', 'done', :params, '', 1, 0, '[]', '[]', 0, 0)"
    )
    database.write(lambda connection: connection.execute(statement, {"params": params}))
    database.close()
    return folder


@pytest.fixture
def small_backup(small: Path, tmp_path: Path) -> Path:
    return backup(small, tmp_path / "small shelf")
