"""Object stores from Python, with a store that speaks S3."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchwire.client import Bench, BenchError, Conflict, Unauthorised
from benchwire.client.stores import Copy
from tests.support.ports import free_port
from tests.support.s3 import BUCKET, KEYS, ObjectStore
from tests.support.server import Server


@pytest.fixture(scope="module")
def store() -> Iterator[ObjectStore]:
    with ObjectStore() as store:
        store.put("movies/cells/a.tif", os.urandom(100_000))
        yield store


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, store: ObjectStore) -> Iterator[Server]:
    environment = {**store.environment(), "BENCHWIRE_STORES_URLS": f"s3://{BUCKET}/movies"}
    folder = tmp_path_factory.mktemp("client-stores")
    with Server(folder / "data", free_port(), environment=environment) as server:
        yield server


def test_a_movie_is_brought_and_taken_back(
    server: Server, store: ObjectStore, tmp_path: Path
) -> None:
    with Bench(server.url) as bench:
        [address] = bench.stores.all()
        assert bench.stores.look(address).to_dicts() == [
            {"name": "cells", "type": "folder", "size_bytes": None, "url": f"{address}/cells"}
        ]
        brought = bench.stores.copy(f"{address}/cells", tmp_path / "cells").follow()
        assert (tmp_path / "cells" / "a.tif").read_bytes() == store.get("movies/cells/a.tif")
        assert brought.target == str(tmp_path / "cells")
        taken = bench.stores.copy(tmp_path / "cells", f"{address}/again").wait(timeout=60)
        assert bench.stores.look(f"{address}/again")["name"].to_list() == [
            "a.tif", "benchwire-copy.json",
        ]  # fmt: skip
        assert bench.jobs.get(taken.id) == bench.stores.get(taken.id)
        assert isinstance(bench.jobs.get(taken.id), Copy)
        with pytest.raises(BenchError, match=r"it is at s3://.*/again"):
            taken.download(tmp_path)
        with pytest.raises(Conflict, match="Choose another target"):
            bench.stores.copy(tmp_path / "cells", f"{address}/again")
        with pytest.raises(Unauthorised, match="in no store"):
            bench.stores.look("s3://elsewhere")


def test_keys_are_in_no_log_and_no_record(server: Server, store: ObjectStore) -> None:
    with Bench(server.url) as bench, pytest.raises(BenchError) as refused:
        bench.stores.look("s3://" + "name:password" + "@lab/open")
    assert "password" not in str(refused.value)
    files = [path for path in server.data_dir.rglob("*") if path.is_file()]
    for path in (server.log_path, *files):
        content = path.read_bytes()
        assert KEYS["AWS_SECRET_ACCESS_KEY"].encode() not in content, path
        assert KEYS["AWS_ACCESS_KEY_ID"].encode() not in content, path
        assert b"name:password" not in content, path
