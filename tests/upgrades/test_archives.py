"""The kept folders themselves: whole, of releases alone, and each of one version's schema."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

import benchwire
from benchwire.foundation import schema
from tests.upgrades import make
from tests.upgrades.placing import DATABASE, HERE, extract, versions


def told(version: str) -> dict[str, Any]:
    return json.loads((HERE / f"{version}.json").read_text("utf-8"))


def test_every_archive_has_its_manifest() -> None:
    assert versions()
    assert {path.name.removesuffix(".tar.gz") for path in HERE.glob("*.tar.gz")} == set(versions())
    for version in versions():
        assert told(version)["version"] == version
        assert (HERE / f"{version}.tar.gz").stat().st_size < 2_000_000


@pytest.mark.parametrize("version", versions())
def test_archive_has_the_schema_of_its_version(version: str, tmp_path: Path) -> None:
    old = extract(version, tmp_path)
    with closing(sqlite3.connect(old.data / DATABASE)) as connection:
        (found,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    assert found == told(version)["schema"]


def test_schema_and_version_grow_together() -> None:
    """A schema that is not that of a release belongs to a later version, not to the same."""
    known = {Version(version): told(version)["schema"] for version in versions()}
    present = Version(benchwire.__version__)
    assert known.get(present, schema.head()) == schema.head()
    schemas = [found for _, found in sorted({present: schema.head(), **known}.items())]
    assert schemas == sorted(schemas)
    assert max(known) <= present
    assert not any(version.is_devrelease for version in known)


@pytest.mark.parametrize("kept", ["9.9.tar.gz", "9.9.json"])
def test_archive_that_is_there_is_never_made_again(
    kept: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchwire, "__version__", "9.9")
    (tmp_path / kept).write_bytes(b"kept")
    with pytest.raises(SystemExit, match="has its folder already"):
        make.make(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {kept: b"kept"}


def test_version_that_is_no_release_gets_no_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchwire, "__version__", "9.9.dev0")
    with pytest.raises(SystemExit, match="is no release"):
        make.make(tmp_path)
    assert not list(tmp_path.iterdir())
