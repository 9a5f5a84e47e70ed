"""A server that strangers find: something in every domain, and a key they may or may not have."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support import house
from tests.support.ports import free_port
from tests.support.server import Server


@dataclass(frozen=True)
class Furnished:
    """A server with something in every domain, its document, and the folder requests may name."""

    server: Server
    document: dict[str, Any]
    folder: Path

    def client(self) -> httpx.Client:
        """Return a client that has the key."""
        headers = {"X-API-Key": house.KEY}
        return httpx.Client(base_url=self.server.url, headers=headers, timeout=60)


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Furnished]:
    folder = tmp_path_factory.mktemp("house")
    environment = {**house.environment(folder), "BENCHWIRE_UI": "false"}
    options = house.options(folder)
    with Server(folder / "data", free_port(), *options, environment=environment) as server:
        house.furnish(server.url, folder)
        document = httpx.get(f"{server.url}/openapi.json", timeout=30).json()
        yield Furnished(server, document, folder)
