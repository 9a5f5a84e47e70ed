"""Every operation of the OpenAPI document, asked whatever its shapes allow and what they forbid."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from tests.support import house
from tests.support.ports import free_port
from tests.support.server import Server

CONFIG = Path(__file__).with_name("schemathesis.toml")
REAL = 0.7
"""How often a name in a path is one that exists."""


@dataclass(frozen=True)
class Furnished:
    """A server with something in every domain, and its document."""

    server: Server
    document: dict[str, Any]
    folder: Path


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Furnished]:
    folder = tmp_path_factory.mktemp("house")
    environment = {**house.environment(folder), "BENCHWIRE_UI": "false"}
    options = house.options(folder)
    with Server(folder / "data", free_port(), *options, environment=environment) as server:
        house.furnish(server.url, folder)
        document = httpx.get(f"{server.url}/openapi.json", timeout=30).json()
        yield Furnished(server, document, folder)


def names_that_exist(furnished: Furnished) -> dict[str, list[str | int]]:
    """Return values of parameters that lead to something, so that more than 404 is reached."""
    with httpx.Client(
        base_url=furnished.server.url, headers={"X-API-Key": house.KEY}, timeout=30
    ) as client:
        runs = [item["run_id"] for item in client.get("/jobs").json()]
        work = [item["id"] for item in client.get("/work").json()["jobs"]]
        devices = [item["device_id"] for item in client.get("/bms/devices").json()["devices"]]
        meters = [item["meter"] for item in client.get("/api/meters").json()]
    ids: list[str | int] = [1, 2, 3, 4, 5]
    movie = str(furnished.folder / f"{house.NASTY}.ome.tif")
    return {
        **{
            f"{kind}_id": ids
            for kind in (
                "well", "image", "point", "location", "chemical", "solution", "component",
                "content", "unit", "prototype", "link",
            )
        },
        "barcode": [house.NASTY, "EMPTY"],
        "well_string": ["A1", "B2_1"],
        "run_id": runs,
        "job_id": work,
        "device_id": devices,
        "name": meters,
        "meter": meters,
        "mode": ["CV", "OCP", "EIS"],
        "period": ["30s", "5m", "1h"],
        "kind": ["run", "workflow", "fit", "session", "plate"],
        "item_id": [*runs, *work, "EMPTY"],
        "file_path": [movie],
        "output_dir": [str(furnished.folder / "results")],
        "path": ["run.json", "slot01"],
        "date": ["2024-03", "2024-03-09"],
        "interval": [0.1],
        "metric": ["soc", "voltage", "temp_max"],
    }  # fmt: skip


def configuration(folder: Path, names: dict[str, list[str | int]]) -> Path:
    """Write the tool's configuration with the names that exist."""
    lines = [CONFIG.read_text("utf-8"), "[parameters]"]
    lines += [
        f'{json.dumps(name)} = {{ dictionary = "{name}", probability = {REAL} }}' for name in names
    ]
    for name, values in names.items():
        lines += [f"[dictionaries.{name}]", f"values = {json.dumps(values)}"]
    path = folder / "schemathesis.toml"
    path.write_text("\n".join(lines), "utf-8")
    return path


def test_no_operation_fails_or_answers_otherwise_than_documented(
    furnished: Furnished, tmp_path: Path, soak_or: Callable[[int, int], int]
) -> None:
    config = configuration(tmp_path, names_that_exist(furnished))
    examples = soak_or(3, 500)
    phases = "fuzzing" if examples < 10 else "examples,coverage,fuzzing,stateful"
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("st")), "--config-file", str(config), "run",
            f"{furnished.server.url}/openapi.json", "--header", f"X-API-Key: {house.KEY}",
            "--max-examples", str(examples), "--phases", phases, "--seed", "1", "--workers", "2",
        ],
        cwd=tmp_path,
        env={**os.environ, "HYPOTHESIS_STORAGE_DIRECTORY": str(tmp_path)},
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-20_000:]}\n{done.stderr[-2000:]}"
    operations = sum(len(item) for item in furnished.document["paths"].values())
    assert f"Tested: {operations}" in done.stdout, done.stdout[-3000:]
    assert "unforeseen" not in furnished.server.log_path.read_text("utf-8", "replace")


def test_no_operation_answers_without_the_key(furnished: Furnished) -> None:
    document = furnished.document
    with httpx.Client(base_url=furnished.server.url, timeout=30) as client:
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                is_public = operation.get("security") == []
                for headers in ({}, {"X-API-Key": "a wrong key"}):
                    answer = client.request(method, path, headers=headers)
                    if is_public:
                        assert answer.status_code == 200, path
                        continue
                    assert answer.status_code in ({429, 401} if headers else {401}), path
                    shape = operation["responses"][str(answer.status_code)]["content"]
                    schema = {
                        **shape["application/json"]["schema"],
                        "components": document["components"],
                    }
                    jsonschema.validate(answer.json(), schema)
