"""The look for weaknesses and secrets finds what there is, and says so when it has not looked."""

import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import audit  # noqa: E402

# As pip-audit 2.10 writes them.
UNKNOWN = {"dependencies": [{"name": "zipp", "skip_reason": "Dependency not found on PyPI"}]}
SOUND = {"dependencies": [{"name": "zipp", "version": "4.1.2", "vulns": []}]}
WEAK = {
    "dependencies": [
        {
            "name": "jinja2",
            "version": "2.4.1",
            "vulns": [{"id": "PYSEC-2014-8", "fix_versions": ["2.7.2"], "aliases": []}],
        },
        *SOUND["dependencies"],
    ]
}


@pytest.mark.parametrize(
    ("report", "told"),
    [
        (None, "NOT AUDITED, the advisory service is not reached"),
        (UNKNOWN, "NOT AUDITED, the service that is reached knows none of them"),
        (SOUND, "1 of 1 audited, 0 weaknesses"),
        (WEAK, "2 of 2 audited, 1 weaknesses"),
    ],
)
def test_it_says_how_much_was_looked_at(report: dict[str, object] | None, told: str) -> None:
    assert audit.summary(report) == f"dependencies: {told}"


def test_weaknesses_are_told_with_what_mends_them() -> None:
    assert audit.weaknesses(WEAK) == ["jinja2 2.4.1: PYSEC-2014-8, mended in 2.7.2"]
    assert audit.weaknesses(SOUND) == audit.weaknesses(UNKNOWN) == audit.weaknesses(None) == []


def test_a_service_that_is_not_there_is_no_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "one.lock").write_text("zipp==4.1.2\n")
    assert audit.advisories(tmp_path / "one.lock") is None


def test_a_new_secret_is_found_and_an_accepted_one_is_not(tmp_path: Path) -> None:
    folder = tmp_path / "src"
    folder.mkdir()
    secret = "".join(["AKIA", "QZ7TR4WJ", "K2M9XB3C"])
    (folder / "known.py").write_text(f"key = '{secret}'\n")
    audit.accept(tmp_path)
    assert audit.new_secrets(tmp_path) == []
    (folder / "known.py").write_text(f"\n\nkey = '{secret}'\n")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "other.py").write_text(f"key = '{secret[::-1]}'\n")
    (folder / "new.py").write_text(f"key = '{secret}'\n")
    assert audit.new_secrets(tmp_path) == ["src/new.py:1: AWS Access Key"]


def test_the_project_is_as_its_baseline_says(tmp_path: Path) -> None:
    """Of the files that hold what looks like a secret; ``make audit`` reads all."""
    import json

    known = json.loads((ROOT / ".secrets.baseline").read_text())["results"]
    assert known
    for name in known:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / ".secrets.baseline", tmp_path)
    assert audit.new_secrets(tmp_path) == []
