"""A port for the server of a module of journeys."""

import pytest

from tests.support import ports


@pytest.fixture(scope="module")
def port() -> int:
    """A port nobody listens on, for a server of this module."""
    return ports.free_port()
