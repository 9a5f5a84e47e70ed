"""Paths that are moved: each once, where it begins and ends as a path does."""

import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from benchwire.backup.database import move_paths
from benchwire.backup.places import mover

ROWS = 20_000


@pytest.mark.parametrize(
    ("moved", "before", "after"),
    [
        ({"/data": "/new"}, "/data/a;/data2/b;/x/data/c;/data", "/new/a;/data2/b;/x/data/c;/new"),
        ({"/a": "/b", "/b": "/c"}, "/a/1 /b/2", "/b/1 /c/2"),
        ({"/a": "/b", "/b": "/a"}, "/a/1 /b/2", "/b/1 /a/2"),
        ({"/srv": "/runs", "/srv/data": "/new"}, "/srv/data/x /srv/y", "/new/x /runs/y"),
        ({"/srv": "/new", "/srv/runs": "/srv/runs"}, "/srv/x /srv/runs/y", "/new/x /srv/runs/y"),
        ({"/data": "/data/runs"}, "/data/x", "/data/runs/x"),
    ],
    ids=["ends of names", "chain", "exchange", "within", "one stays", "into itself"],
)
def test_each_path_is_moved_once(moved: dict[str, str], before: str, after: str) -> None:
    assert mover({Path(old): Path(new) for old, new in moved.items()})(before) == after


@pytest.mark.parametrize("ascii_only", [False, True])
def test_path_in_json_keeps_its_spelling(ascii_only: bool) -> None:
    move = mover({Path('/Größe "1"'): Path('/Maß\\"2"')}, in_json=True)
    before, after = ({"path": f"{top}/x"} for top in ('/Größe "1"', '/Maß\\"2"'))
    moved = move(json.dumps(before, ensure_ascii=ascii_only))
    assert moved == json.dumps(after, ensure_ascii=ascii_only)


def test_long_table_is_moved_in_one_pass(tmp_path: Path) -> None:
    path = tmp_path / "long.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE jobs (id INTEGER PRIMARY KEY, path TEXT, params JSON)")
        rows = [(f"/lab/runs/{n}.csv", json.dumps({"csv": f"/lab/{n}"})) for n in range(ROWS)]
        connection.executemany("INSERT INTO jobs (path, params) VALUES (?, ?)", rows)
        connection.execute("INSERT INTO jobs (path, params) VALUES (NULL, x'00ff')")
    begun = time.monotonic()
    assert move_paths(path, {Path("/lab"): Path("/new")}) == 2 * ROWS
    # It takes 0.1 s; looking through the table for each of its rows takes 25 s.
    assert time.monotonic() - begun < 5
    with closing(sqlite3.connect(path)) as connection:
        last = connection.execute("SELECT path, params FROM jobs ORDER BY id DESC").fetchmany(2)
    assert last == [
        (None, b"\x00\xff"), (f"/new/runs/{ROWS - 1}.csv", f'{{"csv": "/new/{ROWS - 1}"}}'),
    ]  # fmt: skip
