"""The paths over all domains on PostgreSQL, which cannot hold every text."""

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from benchwire.app import create_app
from benchwire.foundation.settings import load_server_settings


@pytest.fixture(scope="module")
def on_postgresql(
    postgres_server: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TestClient]:
    postgres_server.psql("CREATE DATABASE home_lists;")
    settings = load_server_settings(
        {
            "data_dir": tmp_path_factory.mktemp("lists"),
            "ui": False,
            "database_url": postgres_server.get_uri("home_lists"),
        }
    )
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client


@pytest.mark.parametrize(
    "path",
    [
        "/search?q=%00", "/samples?search=%00", "/samples/items?sample=%00",
        "/samples/links?kind=run&item_id=%00", "/samples/links?kind=%00&item_id=1",
        "/work?before=%00", "/work?domain=%00", "/work/%00", "/crates/fit/%00", "/crates/run/%00",
        "/crates/plate/%00", "/crates/session/%00", "/jobs/%00",
        "/api/v1/analysis/fitting/status/%00",
    ],
)  # fmt: skip
def test_nul_in_a_text_is_no_fault_of_the_server(on_postgresql: TestClient, path: str) -> None:
    answer = on_postgresql.get(path)
    assert answer.status_code < 500, answer.text
    if path.startswith("/search"):
        assert answer.json()["items"] == []


@pytest.mark.parametrize("field", ["sample", "kind", "item_id", "part"])
@pytest.mark.parametrize("kind", ["run", "fit", "meter"])
def test_nul_in_a_name_is_refused(on_postgresql: TestClient, kind: str, field: str) -> None:
    body = {"sample": "S-1", "kind": kind, "item_id": "1", "part": "", field: "\0"}
    answer = on_postgresql.post("/samples/links", json=body)
    assert 400 <= answer.status_code < 500, answer.text
