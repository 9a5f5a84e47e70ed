"""Finding serial ports: by USB id, or as named by a person."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class SerialPort:
    """A serial port and what USB says of it."""

    path: str
    serial_number: str | None = None


def find_serial_ports(vendor: int, product: int) -> list[SerialPort]:
    """Return the ports of a kind of USB device, by serial number, then path."""
    from serial.tools import list_ports

    found = [
        SerialPort(port.device, port.serial_number or None)
        for port in list_ports.comports()
        if (port.vid, port.pid) == (vendor, product)
    ]
    return sorted(found, key=lambda port: (port.serial_number or "~", port.path))


def explicit_ports(paths: Iterable[str]) -> list[SerialPort]:
    """Return those of the named ports that are there, in the order named."""
    return [
        SerialPort(path)
        for path in dict.fromkeys(paths)
        # A Windows port such as COM3 is no file, so whether it is there shows on opening.
        if not path.startswith("/") or Path(path).exists()
    ]


def all_serial_ports() -> list[SerialPort]:
    """Return every serial port of this computer."""
    from serial.tools import list_ports

    return [SerialPort(port.device, port.serial_number or None) for port in list_ports.comports()]
