"""One browser for all journeys of a module."""

import socket
from collections.abc import Iterator

import pytest

from tests.support.browser import running_browser


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with running_browser() as running:
        yield running


@pytest.fixture(scope="module")
def port() -> int:
    """A port nobody listens on, for a server of this module."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
