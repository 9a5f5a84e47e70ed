"""The documentation site, built once, and the blocks of its pages."""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
BUILD_SECONDS = 280

_BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page and the language it is in."""

    language: str
    text: str


def blocks(page: str, section: str | None = None) -> list[Block]:
    """Return the blocks of a page, or of one of its sections, in order."""
    text = (DOCS / page).read_text("utf-8")
    if section is not None:
        text = text[text.index(f"\n## {section}\n") + 1 :].partition("\n## ")[0]
    return [Block(*found.groups()) for found in _BLOCK.finditer(text)]


def build_site(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """Build the site of a copy of the repository, or of the repository itself."""
    return subprocess.run(
        [sys.executable, str(root / "tools/build_site.py"), str(site)],
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
    )


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as ``make docs`` builds it."""
    folder = tmp_path_factory.mktemp("site") / "site"
    done = build_site(ROOT, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def small_copy(tmp_path: Path) -> Path:
    """What a site is built of, with one short page."""
    root = tmp_path / "copy"
    (root / "docs").mkdir(parents=True)
    (root / "tools").mkdir()
    shutil.copy(ROOT / "tools/build_site.py", root / "tools")
    shutil.copy(ROOT / "zensical.toml", root)
    (root / "src").symlink_to(ROOT / "src")
    (root / "docs/index.md").write_text("# Start\n\nA page.\n", "utf-8")
    return root
