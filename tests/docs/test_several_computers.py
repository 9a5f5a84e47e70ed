"""The page on several computers: its settings are read, and Dask knows the options it names."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchwire.foundation.settings import load_server_settings
from tests.docs.conftest import blocks

BLOCKS = blocks("how-to/several-computers.md")


@pytest.mark.parametrize("block", [block.text for block in BLOCKS if block.language == "toml"])
def test_settings_are_read(tmp_path: Path, block: str) -> None:
    (tmp_path / "benchwire.toml").write_text(block)
    settings = load_server_settings({"data_dir": tmp_path})
    for line in block.splitlines():
        name, _, value = line.partition("#")[0].partition("=")
        assert str(getattr(settings, name.strip())) == value.strip().strip('"')


@pytest.mark.parametrize("command", ["scheduler", "worker"])
def test_dask_knows_the_options(command: str) -> None:
    pytest.importorskip("distributed")
    lines = [
        line for block in BLOCKS for line in block.text.splitlines() if f"dask {command} " in line
    ]
    wanted = {option for line in lines for option in re.findall(r"--[a-z-]+", line)}
    done = subprocess.run(
        [sys.executable, "-m", "dask", command, "--help"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert wanted
    # Switches are listed as --dashboard / --no-dashboard.
    assert wanted - set(re.findall(r"--[a-z-]+", done.stdout)) == set()
