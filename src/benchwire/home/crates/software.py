"""The software behind a piece of work: which versions, and where each is at home."""

import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from benchwire.foundation.files import open_plain
from benchwire.foundation.run_record import versions

URL = re.compile(r"https?://[^\s<>\"{}|\\^`]+")
_HOME_LABELS = ("homepage", "home", "source", "source code", "repository", "documentation")
_OURS = "benchwire"
# A record is small; what is not, is no record.
_LARGEST_RECORD_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Application:
    """A program or a package, in one version."""

    name: str
    version: str
    description: str
    url: str | None


def applications(packages: Sequence[str], recorded: Mapping[str, str]) -> Iterator[Application]:
    """Yield the server itself, then the packages that results depend on.

    Parameters
    ----------
    recorded
        Versions from the record of the work; others may be installed by now.
    """
    found = {**versions(packages), **recorded}
    yield _application(_OURS, found.pop(_OURS), "The server of the lab bench", recorded)
    for name, version in found.items():
        if name != "python":
            yield _application(name, version, f"The Python package {name}", recorded)


def recorded_versions(record: Path) -> dict[str, str]:
    """Return the versions that the record of a piece of work tells; none where it tells none."""
    try:
        with open_plain(record) as file:
            text = file.read(_LARGEST_RECORD_BYTES + 1)
        if len(text) > _LARGEST_RECORD_BYTES:
            return {}
        content = json.loads(text)
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(content, dict):
        return {}
    told = content.get("versions")
    if not isinstance(told, dict):
        software = content.get("software")
        told = {_OURS: software.get("version")} if isinstance(software, dict) else {}
    return {name: version for name, version in told.items() if isinstance(version, str) and version}


def _application(
    name: str, version: str, description: str, recorded: Mapping[str, str]
) -> Application:
    when = "while the work was done" if name in recorded else "when the crate was made"
    return Application(name, version, f"{description}, in its version {when}", _homepage(name))


def _homepage(package: str) -> str | None:
    """Return the address a package gives as its own, without loading it."""
    found: dict[str, str] = {}
    with contextlib.suppress(metadata.PackageNotFoundError):
        about = metadata.metadata(package)
        found["home"] = (about.get_all("Home-page") or [""])[0]
        for line in about.get_all("Project-URL") or ():
            label, _, url = line.partition(",")
            found[label.strip().lower()] = url.strip()
    return next(
        (found[label] for label in _HOME_LABELS if URL.fullmatch(found.get(label, ""))), None
    )
