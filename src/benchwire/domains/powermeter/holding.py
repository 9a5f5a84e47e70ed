"""What runs in the process that reads the meters: their ports, and the rhythm of each.

Nothing here knows the web, a database or a page, so that no work on those can make a poll late.
"""

import threading
from concurrent.futures import Future, wait

from benchwire.domains.powermeter.driver import BAUDRATE
from benchwire.domains.powermeter.polled_port import PolledPort
from benchwire.foundation.clock import SystemClock
from benchwire.foundation.companion import Teller, promised
from benchwire.foundation.instruments.transport import LinkLost, SerialTransport

_LOOK_SECONDS = 0.25
_CLOSE_SECONDS = 4.0


class Holding:
    """All meters of a server, by a key of its choice.

    It tells ``reading`` (key, path of the port, an `Answer`) and ``state`` (key, path of the port,
    a `PortState`).
    """

    def __init__(self, teller: Teller) -> None:
        self._teller = teller
        self._ports: dict[str, PolledPort] = {}
        threading.Thread(target=self._watch, name="meters", daemon=True).start()

    def open(self, key: str, path: str, interval: float) -> None:
        """Poll a meter at a port from now on, every ``interval`` (s)."""
        port = self._ports.get(key)
        if port is not None and port.path == path:
            port.set_interval(interval)
            return
        if port is not None:
            promised(port.close)
        self._ports[key] = PolledPort(
            path,
            interval,
            SystemClock(),
            open_port=lambda path: SerialTransport(path, BAUDRATE),
            tell=lambda event, fact: self._teller.offer(event, key, path, fact),
        )

    def release(self, key: str) -> "Future[None]":
        """Let a meter's port go."""
        port = self._ports.pop(key, None)
        return promised(lambda: None if port is None else port.close())

    def recording(self, key: str) -> "Future[list[tuple[float, float]]]":
        """Return the promise of what a meter recorded by itself, V and A."""
        return self._port(key).recording()

    def turn_screen(self, key: str, action: str) -> "Future[None]":
        """Show the previous or next page on a meter's screen, or rotate it."""
        return self._port(key).turn_screen(action)

    def close(self) -> None:
        """Let all ports go."""
        wait([promised(port.close) for port in list(self._ports.values())], _CLOSE_SECONDS)

    def _port(self, key: str) -> PolledPort:
        if (port := self._ports.get(key)) is None:
            raise LinkLost("The meter is not connected")
        return port

    def _watch(self) -> None:
        pause = threading.Event()
        while not pause.wait(_LOOK_SECONDS):
            for port in list(self._ports.values()):
                port.tell_state()
