"""Units, rules and image as far as this computer can tell: by their own tools, part by part."""

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from benchwire.domains.potentiostat.settings import PotentiostatSettings
from benchwire.foundation import schema
from benchwire.foundation.db import open_database
from tests.backup.commands import environment
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
GUIDE = ROOT / "docs/how-to/deploy.md"
UNITS = ["benchwire.service", "benchwire-backup.service", "benchwire-backup.timer"]
READER = "benchwire-reader@.service"
# systemd rates from 0, shut tight, to 10, wide open; 5 begins what it calls medium.
MOST_EXPOSED = 2.5

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def tool(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, timeout=60, check=False
    )


def unit(name: str) -> dict[str, list[str]]:
    """The settings of a unit's service part; those given twice in order."""
    found: dict[str, list[str]] = {}
    for line in (DEPLOY / name).read_text().splitlines():
        if re.match(r"[A-Z]\w*=", line):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


@needs_systemd
def test_units_are_understood(tmp_path: Path) -> None:
    for name in [*UNITS, READER]:
        text = (DEPLOY / name).read_text()
        # The program lies elsewhere here, and the user is not known.
        text = text.replace("/opt/benchwire/bin/benchwire", sys.executable)
        text = re.sub(r"^(User|Group)=benchwire$", r"\1=root", text, flags=re.MULTILINE)
        (tmp_path / name).write_text(text)
    done = tool(
        "systemd-analyze", "verify", "--man=no", *(tmp_path / name for name in [*UNITS, READER])
    )
    said = [line for line in done.stderr.splitlines() if "benchwire" in line]
    assert said == []


@needs_systemd
@pytest.mark.parametrize("name", [*(name for name in UNITS if name.endswith(".service")), READER])
def test_services_are_shut_in(name: str) -> None:
    threshold = str(int(MOST_EXPOSED * 10))
    done = tool(
        "systemd-analyze", "security", "--offline=true", f"--threshold={threshold}", "--no-pager",
        DEPLOY / name,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr


def test_service_may_use_serial_ports_and_nothing_beyond() -> None:
    settings = unit("benchwire.service")
    assert settings["User"] == ["benchwire"]
    assert settings["SupplementaryGroups"] == ["dialout"]
    allowed = " ".join(settings["DeviceAllow"])
    assert all(kind in allowed for kind in ("char-ttyACM", "char-ttyUSB"))
    assert "PrivateDevices" not in settings
    assert settings["ExecStart"] == ["/opt/benchwire/bin/benchwire serve"]


def section(title: str) -> str:
    """A part of the guide, from its title to the next."""
    text = GUIDE.read_text("utf-8")
    return re.split(r"^#{2,3} ", text.partition(f" {title}\n")[2], flags=re.MULTILINE)[0]


def test_moved_data_are_read_and_written_by_the_services() -> None:
    """The guide's words fit both units: a setting that only one of them took would part the two."""
    guide = section("Move the data")
    place = re.search(r"^BENCHWIRE_DATA_DIR=(.+)$", guide, re.MULTILINE)[1]
    assert f"\nReadWritePaths={place}\n" in guide
    assert f"install -d -o benchwire -g benchwire -m 750 {place}\n" in guide
    edited = re.search(r"systemctl edit (.+)`", guide)[1].split()
    assert edited == [name for name in UNITS if name.endswith(".service")]
    restore = guide[guide.index("systemd-run") :]
    assert "--data-dir" not in restore
    for name in edited:
        settings = unit(name)
        (command,), (file,) = settings["ExecStart"], settings["EnvironmentFile"]
        assert settings["ProtectSystem"] == ["strict"]
        # What stands in the command would win over the file.
        assert "--data-dir" not in command
        assert f"{command.split()[0]} restore" in restore
        assert f"--property=EnvironmentFile={file.removeprefix('-')}" in restore
        assert f"--uid={settings['User'][0]} --gid={settings['Group'][0]}" in restore


def test_rules_name_the_instruments_of_the_settings() -> None:
    rules = (DEPLOY / "99-benchwire.rules").read_text()
    fields = PotentiostatSettings.model_fields
    vendor, product = fields["usb_vendor"].default, fields["usb_product"].default
    assert f'ATTRS{{idVendor}}=="{vendor:04x}", ATTRS{{idProduct}}=="{product:04x}"' in rules
    for line in filter(None, (line for line in rules.splitlines() if not line.startswith("#"))):
        for part in re.split(r",\s*", line):
            assert re.fullmatch(r'[A-Z]+(\{\w+\})?(==|!=|=|\+=)"[^"]*"', part), part


# -- the image -------------------------------------------------------------------------------------


def steps() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, continued lines joined."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines if line.strip()]


def test_image_runs_without_rights_and_says_whether_it_is_well() -> None:
    found = steps()
    assert [name for name, _ in found].count("FROM") == 2
    last = max(place for place, (name, _) in enumerate(found) if name == "FROM")
    final = dict(found[last:])
    assert final["USER"] == "benchwire"
    assert {"HEALTHCHECK", "VOLUME", "EXPOSE", "ENTRYPOINT", "CMD"} <= final.keys()
    assert "pip" not in " ".join(value for name, value in found[last:] if name == "RUN")


def copied() -> list[str]:
    """What the Dockerfile takes from the repository."""
    words = [value.split() for name, value in steps() if name == "COPY"]
    return [
        source
        for parts in words
        if not any(part.startswith("--from") for part in parts)
        for source in [part for part in parts if not part.startswith("--")][:-1]
    ]


def test_package_is_made_of_what_the_image_gets(tmp_path: Path) -> None:
    """The step that installs it, with what is installed here in place of a download."""
    allowed = [
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    ]
    for name in copied():
        assert name in allowed, f"{name} is left out by .dockerignore"
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    done = tool(
        sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
        "--constraint", tmp_path / "requirements.lock", "--wheel-dir", tmp_path / "made", tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "made").glob("benchwire-*.whl"))) == 1


def test_lock_names_every_package_that_is_needed() -> None:
    """Else an image built later would get versions that nobody has tried."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    locked = {
        re.split(r"[=\[]", line)[0].lower().replace("_", "-")
        for line in (ROOT / "requirements.lock").read_text().splitlines()
    }
    for needed in project["dependencies"]:
        name = re.split(r"[<>=~\[]", needed)[0].lower().replace("_", "-")
        assert name in locked, name


def test_entry_point_takes_secrets_from_files(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("a key with $HOME, `id` and 'quotes'\n")
    done = subprocess.run(
        ["sh", DEPLOY / "entrypoint.sh", "env"],
        env={
            "PATH": os.environ["PATH"], "BENCHWIRE_API_KEY_FILE": str(tmp_path / "key"),
            "BENCHWIRE_DATABASE_URL": "kept",
        },
        capture_output=True, text=True, timeout=10, check=True,
    )  # fmt: skip
    found = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert found["BENCHWIRE_API_KEY"] == "a key with $HOME, `id` and 'quotes'"
    assert found["BENCHWIRE_DATABASE_URL"] == "kept"
    assert "BENCHWIRE_API_KEY_FILE" not in found
    missing = subprocess.run(
        ["sh", DEPLOY / "entrypoint.sh", "env"],
        env={"PATH": os.environ["PATH"], "BENCHWIRE_API_KEY_FILE": str(tmp_path / "none")},
        capture_output=True, timeout=10, check=False,
    )  # fmt: skip
    assert missing.returncode != 0
    assert b"BENCHWIRE" not in missing.stdout


def test_backup_in_the_container_finds_the_database(tmp_path: Path, postgres_url: str) -> None:
    """The documented words, run where nothing but the entry point knows the address."""
    texts = [GUIDE.read_text("utf-8"), (DEPLOY / "compose.yaml").read_text()]
    pattern = r"docker compose (?:--file \S+ )?exec (?:-T )?benchwire (.+)"
    commands = [re.findall(pattern, text) for text in texts]
    assert all(commands)
    data, programs, backups = (tmp_path / name for name in ("data", "programs", "backups"))
    data.mkdir()
    programs.mkdir()
    opened = open_database(data, postgres_url)
    schema.upgrade(opened)
    opened.close()
    source, target = next(
        value.split()[-2:] for name, value in steps() if name == "COPY" and "entrypoint" in value
    )
    shutil.copy(ROOT / source, programs / Path(target).name)
    (programs / Path(target).name).chmod(0o755)
    (tmp_path / "address").write_text(f"{postgres_url}\n")
    for command in {command for found in commands for command in found}:
        done = subprocess.run(
            ["sh", "-c", command.replace("/backups", str(backups))],
            env=environment(
                PATH=f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}",
                BENCHWIRE_DATA_DIR=str(data),
                BENCHWIRE_DATABASE_URL_FILE=str(tmp_path / "address"),
            ),
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}: {done.stderr}"
    made = list(backups.glob("benchwire-2*/manifest.json"))
    assert made
    for manifest in made:
        assert json.loads(manifest.read_text("utf-8"))["database"] == "postgresql"


def test_image_starts_and_its_health_is_seen(tmp_path: Path, free_port: int) -> None:
    """Entry point, command and health check of the image, outside of one."""
    words = dict(steps())
    health = yaml.safe_load(words["HEALTHCHECK"].partition("CMD ")[2])
    health = [part.replace("8000", str(free_port)) for part in health]
    (tmp_path / "key").write_text("secret\n")
    clean = {key: value for key, value in os.environ.items() if not key.startswith("BENCHWIRE")}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    process = subprocess.Popen(
        ["sh", DEPLOY / "entrypoint.sh", *yaml.safe_load(words["CMD"])],
        env={
            **clean, "PATH": path, "BENCHWIRE_DATA_DIR": str(tmp_path / "data"),
            "BENCHWIRE_PORT": str(free_port), "BENCHWIRE_UI": "false",
            "BENCHWIRE_API_KEY_FILE": str(tmp_path / "key"),
        },
        stderr=subprocess.DEVNULL,
    )  # fmt: skip

    def is_healthy() -> bool:
        return tool(sys.executable, *health[1:]).returncode == 0

    try:
        assert not is_healthy()
        until(is_healthy, seconds=30, what="health")
        answer = httpx.get(f"http://127.0.0.1:{free_port}/health")
        assert answer.status_code == 401
    finally:
        process.terminate()
        assert process.wait(20) == 0
    assert not is_healthy()


def test_compose_file_hangs_together() -> None:
    compose: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    services = compose["services"]
    for name, service in services.items():
        for secret in service["secrets"]:
            assert secret in compose["secrets"], name
        for volume in service["volumes"]:
            assert volume.split(":")[0] in compose["volumes"]
        for other in service.get("depends_on", {}):
            assert "healthcheck" in services[other]
    server = services["benchwire"]
    assert (DEPLOY / server["build"]["context"] / server["build"]["dockerfile"]).is_file()
    environment = server["environment"]
    taken = (DEPLOY / "entrypoint.sh").read_text()
    for key, value in environment.items():
        if key.endswith("_FILE"):
            assert key.removesuffix("_FILE") in taken
            assert value.removeprefix("/run/secrets/") in server["secrets"]
    places = {volume.split(":")[1] for volume in server["volumes"]}
    assert places == set(yaml.safe_load(dict(steps())["VOLUME"]))
    example = configparser.ConfigParser()
    example.read_string("[env]\n" + (DEPLOY / ".env.example").read_text())
    text = (DEPLOY / "compose.yaml").read_text()
    for key in example["env"]:
        assert f"${{{key.upper()}:-" in text
    # Nothing secret stands in a file that is shared.
    assert not re.search(r"PASSWORD: |API_KEY: ", text)
