"""Ports for servers and peers of a test."""

import socket
from contextlib import ExitStack


def free_ports(count: int) -> list[int]:
    """Return ports of this computer that nobody listens on, each another."""
    with ExitStack() as open_until_all_are_known:
        probes = [open_until_all_are_known.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def free_port() -> int:
    """Return a port of this computer that nobody listens on."""
    return free_ports(1)[0]
