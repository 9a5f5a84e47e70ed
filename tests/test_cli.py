"""What the command line says before it serves."""

from pathlib import Path

import pytest

from benchwire.cli import _warn_if_open
from benchwire.foundation.settings import ServerSettings


@pytest.mark.parametrize(
    ("host", "key", "is_told"),
    [
        ("0.0.0.0", None, True),
        ("192.168.1.5", None, True),
        ("::", None, True),
        ("0.0.0.0", "k" * 20, False),
        ("127.0.0.1", None, False),
        ("127.0.0.2", None, False),
        ("::1", None, False),
        ("localhost", None, False),
    ],
)
def test_an_open_server_beyond_this_computer_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], host: str, key: str | None, is_told: bool
) -> None:
    _warn_if_open(ServerSettings(data_dir=tmp_path, host=host, api_key=key))
    assert ("Set BENCHWIRE_API_KEY" in capsys.readouterr().err) is is_told
