"""The validator of RO-Crates, which has an environment of its own, and no internet.

Tests call `findings`. The rest runs as a script in that environment, which has the context of
RO-Crate 1.1 from the last `rocrate` that came with it.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ENVIRONMENT = Path(sys.prefix) / "crate-validator"
_CONTEXT_URL = "https://w3id.org/ro/crate/1.1/context"
BASE, PROCESS_RUN = "ro-crate-1.1", "process-run-crate"


def findings(crate: Path, profile: str, severity: str) -> list[str]:
    """Return what the validator has against a crate, from a severity upwards."""
    import pytest

    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        pytest.skip("the validator is not installed; `make test` does that")
    ended = subprocess.run(
        [python, __file__, crate, profile, severity],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


def _validate(crate: str, profile: str, severity: str, folder: Path) -> list[str]:
    from requests_cache import CachedRequest, CachedResponse
    from rocrate.vocabs import RO_CRATE
    from rocrate_validator import models, services
    from rocrate_validator.utils.http import HttpRequester

    assert RO_CRATE["version"].startswith("1.1"), "the context is that of another version"
    settings = models.ValidationSettings(
        rocrate_uri=crate,
        profile_identifier=profile,
        requirement_severity=models.Severity[severity],
        offline=True,
        cache_path=folder / "cache",
        validate_profile_checks=False,
    )
    headers = {"Content-Type": "application/ld+json"}
    answer = CachedResponse(
        status_code=200,
        url=_CONTEXT_URL,
        headers=headers,
        request=CachedRequest(method="GET", url=_CONTEXT_URL),
    )
    answer._content = json.dumps(RO_CRATE).encode()
    HttpRequester().session.cache.save_response(answer)
    result = services.validate(settings)
    issues = [f"{issue.severity.name}: {issue.message}" for issue in result.get_issues()]
    return issues if issues or result.passed() else ["not passed, without a reason"]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as cache:
        print(json.dumps(_validate(*sys.argv[1:4], Path(cache))))
