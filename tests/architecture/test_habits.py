"""Habits kept by machine: documents that are complete, imports that stay light."""

import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from pydantic import AliasChoices

from benchwire.client.settings import ClientSettings
from benchwire.domains.battery.settings import BatterySettings
from benchwire.domains.plates.settings import PlatesSettings
from benchwire.domains.potentiostat.settings import PotentiostatSettings
from benchwire.domains.powermeter.settings import PowerMeterSettings
from benchwire.domains.stores.settings import StoresSettings
from benchwire.foundation.settings import ServerSettings

ROOT = Path(__file__).parents[2]
HEAVY = {
    "nicegui", "matplotlib", "smbprotocol", "scipy", "alembic", "rich", "httpx", "pyarrow",
    "aiomqtt", "PIL", "cv2", "nd2", "tifffile", "zarr", "pylibCZIrw", "numcodecs", "dask", "yaml",
    "polars", "sklearn", "statsmodels", "pandas", "pymodbus", "paho",
    "fsspec", "s3fs", "botocore",
}  # fmt: skip
DOMAINS = sorted(entry.name for entry in entry_points(group="benchwire.domains"))


def imported_by(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.split())


def test_server_starts_without_heavy_libraries() -> None:
    wirings = ", ".join(f"benchwire.domains.{name}.wiring" for name in DOMAINS)
    statement = f"import benchwire.app, {wirings}"
    assert imported_by(statement) & HEAVY == set()


@pytest.mark.parametrize("domain", ["battery", "potentiostat", "powermeter"])
def test_emulators_start_without_the_server(domain: str) -> None:
    loaded = imported_by(f"import benchwire.domains.{domain}.emulator")
    assert loaded & {*HEAVY, "fastapi", "sqlalchemy", "uvicorn"} == set()


def test_import_opens_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import benchwire.app, benchwire.cli"],
        cwd=tmp_path,
        check=True,
        timeout=60,
        capture_output=True,
    )
    assert (done.stdout, done.stderr) == (b"", b"")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "settings",
    [
        ServerSettings,
        ClientSettings,
        BatterySettings,
        PlatesSettings,
        PotentiostatSettings,
        PowerMeterSettings,
        StoresSettings,
    ],
)
def test_every_setting_is_in_the_documents(settings: type) -> None:
    text = (ROOT / "docs/settings.md").read_text("utf-8")
    for name, field in settings.model_fields.items():
        assert f"`{name}`" in text, name
        if isinstance(field.validation_alias, AliasChoices):
            for alias in field.validation_alias.choices:
                if str(alias).isupper() and not str(alias).startswith("BENCHWIRE_POTENTIOSTAT"):
                    assert f"`{alias}`" in text, alias


def test_every_domain_has_its_page_and_emulator() -> None:
    for name in DOMAINS:
        assert (ROOT / f"docs/domains/{name}.md").is_file()
        rooms = ROOT / f"src/benchwire/domains/{name}"
        assert (rooms / "driver.py").exists() == (rooms / "emulator.py").exists()


def test_links_in_the_documents_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]:
        for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_lock_is_a_plain_list() -> None:
    for line in (ROOT / "requirements.lock").read_text("utf-8").splitlines():
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line), line


def test_no_vague_names() -> None:
    vague = {"utils.py", "helpers.py", "common.py", "misc.py", "manager.py"}
    assert not {path.name for path in (ROOT / "src").rglob("*.py")} & vague
