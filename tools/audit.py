"""Look for known weaknesses in what is installed, and for secrets in the project's own files.

Dependencies: `pip-audit` asks the advisory service about every line of ``requirements.lock``. Where
the service is not reached, or knows nothing of the packages, that is said plainly and is no
failure: a check that needs the internet may not stop work without it.

Secrets: `detect-secrets` reads every file. What it takes for one and is none, such as frames of a
protocol, stands in ``.secrets.baseline``; after a look, ``--accept`` writes that file anew.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
BASELINE = ROOT / ".secrets.baseline"
_OURS = {".ci"}
"""Hidden folders that are the project's own."""
_MADE = {"site", "__pycache__"}
_BINARY = {".png", ".gz", ".svg", ".zip", ".whl", ".pyc"}
# Sums of files, a thousand of them, each of which looks like a key.
_SUMS = {"tests/upgrades/0.1.0.json", ".secrets.baseline"}
# What is called a password is one: in tests, of a server that lives for a minute.
_BY_NAME = "Secret Keyword"
_SERVICE_SECONDS = 300


def main() -> int:
    """Run both checks; the exit code is 1 if either has found something."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--accept", action="store_true", help="what is found is no secret")
    if parser.parse_args().accept:
        accept(ROOT)
        return 0
    report = advisories(LOCK)
    weak = weaknesses(report)
    new = new_secrets(ROOT)
    for line in (*weak, *new):
        print(line)
    print(summary(report))
    print(f"secrets: {len(new)} new")
    return 1 if weak or new else 0


# -- dependencies ------------------------------------------------------------------------------


def advisories(lock: Path) -> Mapping[str, Any] | None:
    """Return what the advisory service says of a lock file; None if it is not reached."""
    command = [
        sys.executable, "-m", "pip_audit", "--requirement", str(lock), "--no-deps",
        "--disable-pip", "--progress-spinner", "off", "--format", "json",
    ]  # fmt: skip
    try:
        done = subprocess.run(  # noqa: S603 - of words written above
            command, capture_output=True, text=True, timeout=_SERVICE_SECONDS, check=False
        )
        report: Mapping[str, Any] = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, json.JSONDecodeError):
        return None
    return report


def weaknesses(report: Mapping[str, Any] | None) -> list[str]:
    """Return a line for each weakness that is known of a dependency."""
    return [
        f"{item['name']} {item['version']}: {weakness['id']}, mended in "
        f"{', '.join(weakness['fix_versions']) or 'no version yet'}"
        for item in (report or {}).get("dependencies", ())
        for weakness in item.get("vulns", ())
    ]


def summary(report: Mapping[str, Any] | None) -> str:
    """Say how much of the dependencies has really been looked at."""
    if report is None:
        return "dependencies: NOT AUDITED, the advisory service is not reached"
    listed = report["dependencies"]
    audited = sum("vulns" in item for item in listed)
    if audited == 0:
        return "dependencies: NOT AUDITED, the service that is reached knows none of them"
    return f"dependencies: {audited} of {len(listed)} audited, {len(weaknesses(report))} weaknesses"


# -- secrets -----------------------------------------------------------------------------------


def new_secrets(root: Path) -> list[str]:
    """Return a line for each possible secret in a project that its baseline does not know."""
    from detect_secrets.core import baseline

    known = baseline.load(baseline.load_from_file(str(root / BASELINE.name)))
    new = _found(root) - known
    return [f"{name}:{secret.line_number}: {secret.type}" for name, secret in new]


def accept(root: Path) -> None:
    """Write the baseline anew, with all that is found."""
    from detect_secrets.core import baseline
    from detect_secrets.settings import default_settings

    with default_settings():
        baseline.save_to_file(_found(root), str(root / BASELINE.name))


def _found(root: Path) -> Any:
    from detect_secrets.core.secrets_collection import SecretsCollection

    found = SecretsCollection()
    # Where it runs elsewhere, the scanner writes down where the project lies on this computer.
    with contextlib.chdir(root):
        found.scan_files(*(str(path.relative_to(root)) for path in _files(root)))
    for name in found.files:
        if name.startswith("tests/"):
            found[name] = {secret for secret in found[name] if secret.type != _BY_NAME}
    return found


def _files(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        folders[:] = [
            name for name in folders if name in _OURS or not (name in _MADE or name.startswith("."))
        ]
        for name in names:
            path = Path(folder, name)
            if path.suffix not in _BINARY and path.relative_to(root).as_posix() not in _SUMS:
                yield path


if __name__ == "__main__":
    sys.exit(main())
