"""Bytes to and from one instrument, and the one place where a lost port is recognised."""

import contextlib
import errno
import os
import select
import time
from collections.abc import Iterator
from typing import Protocol

from benchwire.foundation.errors import Unavailable

try:
    import termios

    _PORT_ERRORS: tuple[type[Exception], ...] = (OSError, TypeError, ValueError, termios.error)
except ImportError:  # Windows
    _PORT_ERRORS = (OSError, TypeError, ValueError)


WRITE_SECONDS = 1.0


class LinkLost(Unavailable):
    """The instrument cannot be reached: unplugged, switched off, or held by another program."""

    code = "instruments.link_lost"


class PortHeld(LinkLost):
    """The port is there and another program, or the system, keeps it."""

    code = "instruments.port_held"


class Transport(Protocol):
    """Bytes to and from one instrument. Every method raises `LinkLost` when the port is gone."""

    def write(self, data: bytes) -> None:
        """Send bytes."""

    def read(self, size: int, timeout: float) -> bytes:
        """Return up to ``size`` bytes, fewer when ``timeout`` (s) passes first."""

    def read_some(self, size: int, timeout: float) -> bytes:
        """Return what is there, at most ``size`` bytes; waits ``timeout`` (s) for the first."""

    def discard_input(self) -> None:
        """Forget what has come in and was not read."""

    def close(self) -> None:
        """Let the port go."""


@contextlib.contextmanager
def _port_errors() -> Iterator[None]:
    # After an unplug pyserial raises its own error, an OSError, a bare termios.error or, from a
    # port closed meanwhile, a TypeError. SerialException is an OSError.
    try:
        yield
    except _PORT_ERRORS as error:
        raise LinkLost(
            "The instrument is not connected any more",
            hint="Check the cable and the power; the server reconnects automatically.",
        ) from error


def _not_opened(path: str, error: Exception) -> LinkLost:
    match error.errno if isinstance(error, OSError) else None:
        case errno.ENOENT | errno.ENXIO:
            return LinkLost(f"There is no port {path}", hint="Plug the instrument in.")
        case errno.EAGAIN | errno.EBUSY:
            return PortHeld(
                f"Another program holds {path}",
                hint="End it; the server then reconnects automatically.",
            )
        case errno.EACCES:
            return PortHeld(
                f"The server may not open {path}",
                hint="Add the user it runs as to the group of the port, often dialout.",
            )
        case _:
            return LinkLost(f"{path} cannot be opened as a serial port", hint="Choose another.")


class SerialTransport:
    """A serial port, held alone.

    Parameters
    ----------
    path
        Device path such as ``/dev/ttyACM0`` or ``COM3``.
    baudrate
        Line speed in baud; instruments on USB ignore it.
    """

    def __init__(self, path: str, baudrate: int) -> None:
        import serial

        try:
            self._port = serial.Serial(
                path, baudrate, timeout=0, write_timeout=WRITE_SECONDS, exclusive=True
            )
        except _PORT_ERRORS as error:
            raise _not_opened(path, error) from error
        with _port_errors():
            # Where the port has a file descriptor it is used directly: pyserial asks the system
            # three times as often, and instruments are spoken to some thousand times a second.
            self._descriptor: int | None = (
                self._port.fileno() if hasattr(self._port, "fd") else None
            )

    def write(self, data: bytes) -> None:
        """Send bytes."""
        with _port_errors():
            if self._descriptor is None:
                self._port.write(data)
                return
            left = data
            while left:
                try:
                    left = left[os.write(self._descriptor, left) :]
                except BlockingIOError:
                    if not self._is_ready(select.POLLOUT, WRITE_SECONDS):
                        raise OSError("the port takes no more bytes") from None

    def read(self, size: int, timeout: float) -> bytes:
        """Return up to ``size`` bytes, fewer when ``timeout`` (s) passes first."""
        deadline = time.monotonic() + timeout
        received = self.read_some(size, timeout)
        while len(received) < size and (left := deadline - time.monotonic()) > 0:
            received += self.read_some(size - len(received), left)
        return received

    def read_some(self, size: int, timeout: float) -> bytes:
        """Return what is there, at most ``size`` bytes; waits ``timeout`` (s) for the first."""
        with _port_errors():
            if self._descriptor is None:
                deadline = time.monotonic() + timeout
                while not self._port.in_waiting and time.monotonic() < deadline:
                    time.sleep(0.001)
                return bytes(self._port.read(size))
            if not self._is_ready(select.POLLIN, timeout):
                return b""
            received = os.read(self._descriptor, size)
            if not received:
                raise OSError("the port was hung up")
            return received

    def discard_input(self) -> None:
        """Forget what has come in and was not read."""
        with _port_errors():
            self._port.reset_input_buffer()

    def close(self) -> None:
        """Let the port go."""
        with contextlib.suppress(LinkLost), _port_errors():
            self._port.close()

    def _is_ready(self, event: int, timeout: float) -> bool:
        """Wait until the port can be read or written, at most so long (s)."""
        assert self._descriptor is not None  # noqa: S101 - asked only where there is one
        poll = select.poll()
        poll.register(self._descriptor, event)
        events = poll.poll(max(0.0, timeout) * 1000)
        if events and events[0][1] & (select.POLLHUP | select.POLLERR | select.POLLNVAL):
            raise OSError("the port was hung up")
        return bool(events)
