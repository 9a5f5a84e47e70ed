"""Finding serial ports: by USB id, or as named by a person."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_WINDOWS_PORT = re.compile(r"COM[1-9][0-9]{0,2}", re.IGNORECASE)
_SERIAL_DEVICE = re.compile(
    r"/dev/(tty(ACM|USB|S|AMA|THS|mxc|XR|O)[0-9]+|pts/[0-9]+|rfcomm[0-9]+|(tty|cu)\..+)"
)


@dataclass(frozen=True, slots=True)
class SerialPort:
    """A serial port and what USB says of it."""

    path: str
    serial_number: str | None = None


class UsbKinds:
    """Which domain talks to which kind of USB device, so that none opens another's instrument."""

    def __init__(self) -> None:
        self._owners: dict[tuple[int, int], str] = {}

    def claim(self, domain: str, vendor: int, product: int) -> None:
        """Note that a domain talks to a kind of USB device."""
        self._owners[vendor, product] = domain

    def owner_at(self, path: str) -> str | None:
        """Return the domain that talks to what is at a port now, None if none has claimed it."""
        from serial.tools import list_ports

        device = str(Path(path).resolve())
        for port in list_ports.comports():
            if port.device in {path, device}:
                return self._owners.get((port.vid, port.pid))
        return None


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


def is_serial_device(path: str) -> bool:
    """Whether a path, or what it links to, is a serial device of this computer by its name."""
    if _WINDOWS_PORT.fullmatch(path):
        return True
    try:
        device = Path(path).resolve(strict=True)
        return bool(_SERIAL_DEVICE.fullmatch(str(device))) and device.is_char_device()
    except (OSError, RuntimeError, ValueError):
        return False
