"""Every operation of the OpenAPI document, asked whatever its shapes allow and what they forbid."""

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import jsonschema
import pytest

from tests.faults.conftest import Furnished
from tests.support import house
from tests.support.soaking import SoakOr

pytestmark = pytest.mark.paced

CONFIG = Path(__file__).with_name("schemathesis.toml")
REAL = 0.7
"""How often a name in a path is one that exists."""


def names_that_exist(furnished: Furnished) -> dict[str, list[str | int]]:
    """Return values of parameters that lead to something, so that more than 404 is reached."""
    with furnished.client() as client:
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
        # In the query of a search it is a list.
        "path.kind": ["run", "workflow", "fit", "session", "plate"],
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
        f"{json.dumps(name)} = {{ dictionary = {json.dumps(name)}, probability = {REAL} }}"
        for name in names
    ]
    for name, values in names.items():
        lines += [f"[dictionaries.{json.dumps(name)}]", f"values = {json.dumps(values)}"]
    # What is there stays there, for all other operations.
    lines += ["[dictionaries.gone]", 'values = ["999999999"]']
    lines += ["[[operations]]", 'include-method = "DELETE"', "[operations.parameters]"]
    lines += [
        f'{json.dumps(name)} = {{ dictionary = "gone", probability = {REAL} }}' for name in names
    ]
    path = folder / "schemathesis.toml"
    path.write_text("\n".join(lines), "utf-8")
    return path


def test_no_operation_fails_or_answers_otherwise_than_documented(
    furnished: Furnished, tmp_path: Path, soak_or: SoakOr
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
