"""A server with an inventory on SQLite and one on PostgreSQL, emptied after each test."""

import io
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from benchwire.app import Application, create_app
from benchwire.domains.plates import seeding
from benchwire.domains.plates.store.seeds import SeedStore
from benchwire.domains.plates.tables import metadata
from benchwire.foundation.samples.tables import links
from benchwire.foundation.settings import load_server_settings

JSON = {"content-type": "application/json"}


class Inventory:
    """The API as a client sees it."""

    def __init__(self, app: Application, client: TestClient) -> None:
        self.app = app
        self.client = client

    def ask(
        self, method: str, path: str, body: Any = None, *, status: int = 200, **more: Any
    ) -> Any:
        """Return an answer's JSON after checking its status."""
        answer = self.client.request(method, f"/api/v1{path}", json=body, **more)
        assert answer.status_code == status, f"{answer.status_code}: {answer.text[:500]}"
        assert answer.headers["content-type"] == "application/json"
        return answer.json()

    def get(self, path: str, *, status: int = 200, **parameters: Any) -> Any:
        return self.ask("GET", path, status=status, params=parameters)

    def data(self, path: str, **parameters: Any) -> Any:
        answer = self.get(path, **parameters)
        assert "message" not in answer
        return answer["data"]

    def post(self, path: str, body: Any = None, *, status: int = 201) -> Any:
        return self.ask("POST", path, body, status=status)

    def patch(self, path: str, body: Any = None, *, status: int = 200) -> Any:
        return self.ask("PATCH", path, body, status=status)

    def delete(self, path: str, *, status: int = 200) -> Any:
        return self.ask("DELETE", path, status=status)

    # -- shortcuts --------------------------------------------------------------------------

    def plate(self, barcode: str = "PLATE001", **more: Any) -> dict[str, Any]:
        return self.post("/plates", {"plate": {"barcode": barcode, **more}})["data"]

    def small(self, barcode: str = "PLATE001", rows: int = 1, columns: int = 2) -> dict[str, Any]:
        return self.plate(barcode, rows=rows, columns=columns, subwells_per_well=1)

    def place(self, carousel: int = 1, hotel: int = 5) -> int:
        body = {"location": {"carousel_position": carousel, "hotel_position": hotel}}
        return self.post("/locations", body)["data"]["id"]

    def special(self, name: str = "fridge") -> int:
        return self.post("/locations", {"location": {"name": name}})["data"]["id"]

    def move(self, barcode: str, location: Any, *, status: int = 200, **more: Any) -> Any:
        body = {"location_id": location, **more}
        return self.post(f"/plates/{barcode}/move_to_location", body, status=status)

    def chemical(self, name: str = "Tris-HCl", **more: Any) -> int:
        return self.post("/chemicals", {"chemical": {"name": name, **more}})["data"]["id"]

    def solution(self, name: str = "Buffer A", **more: Any) -> int:
        return self.post("/stock_solutions", {"stock_solution": {"name": name, **more}})["id"]

    def unit(self, symbol: str) -> int:
        return next(u["id"] for u in self.data("/units") if u["symbol"] == symbol)

    def first_well(self, barcode: str = "PLATE001") -> int:
        return self.data(f"/plates/{barcode}/wells")[0]["id"]

    def upload(
        self, well: int, content: bytes | None = None, *, status: int = 201, name: str = "i.png",
        path: str | None = None, **fields: Any,
    ) -> Any:  # fmt: skip
        form = {**IMAGE_FIELDS, **fields}
        data = {f"image[{key}]": str(value) for key, value in form.items() if value is not None}
        files = {"image[file]": (name, png() if content is None else content)}
        answer = self.client.post(
            f"/api/v1{path or f'/wells/{well}/images'}", data=data, files=files
        )
        assert answer.status_code == status, f"{answer.status_code}: {answer.text[:500]}"
        return answer.json()

    @property
    def files(self) -> list[Path]:
        folder = self.app.settings.data_dir / "plates/images"
        return sorted(path for path in folder.rglob("*") if path.is_file())


IMAGE_FIELDS = {
    "pixel_size_x_mm": 0.001, "pixel_size_y_mm": 0.001, "reference_x_mm": 10,
    "reference_y_mm": 20, "reference_z_mm": 5,
}  # fmt: skip


def picture(kind: str, width: int = 1000, height: int = 800, mode: str = "RGB") -> bytes:
    from PIL import Image

    content = io.BytesIO()
    Image.new(mode, (width, height), 40 if mode == "L" else None).save(content, kind)
    return content.getvalue()


def png(width: int = 1000, height: int = 800) -> bytes:
    return picture("PNG", width, height)


@pytest.fixture(scope="session")
def servers(postgres_server: object) -> Iterator[dict[str, Inventory]]:
    with ExitStack() as stack:
        found: dict[str, Inventory] = {}
        stack.callback(found.clear)
        found["stack"] = stack  # type: ignore[assignment]
        yield found


def opened(data_dir: Path, database_url: str | None, stack: ExitStack) -> Inventory:
    settings = load_server_settings(
        {"data_dir": data_dir, "ui": False, "database_url": database_url}
    )
    app = create_app(settings)
    client = stack.enter_context(TestClient(app, raise_server_exceptions=False))
    return Inventory(app, client)


@pytest.fixture(params=["sqlite", "postgresql"])
def inventory(
    request: pytest.FixtureRequest,
    servers: dict[str, Inventory],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Inventory]:
    """An empty inventory; each test runs on both databases."""
    kind = request.param
    if kind not in servers:
        url = None
        if kind == "postgresql":
            server = request.getfixturevalue("postgres_server")
            server.psql("CREATE DATABASE plates_tests;")
            url = server.get_uri("plates_tests")
        folder = tmp_path_factory.mktemp(f"plates-{kind}")
        servers[kind] = opened(folder, url, servers["stack"])  # type: ignore[arg-type]
    yield servers[kind]
    empty(servers[kind])


def empty(inventory: Inventory) -> None:
    def work(connection: Any) -> None:
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())
        connection.execute(links.delete())

    lab = inventory.app.lab
    lab.database.write(work)
    SeedStore(lab.database, lab.clock).plant(seeding.UNITS, seeding.prototype_wells())
    for path in inventory.files:
        # The server may be removing what nobody needs any more at this very moment.
        path.unlink(missing_ok=True)
