"""Emulated instruments on pseudo-terminals, for demonstrations and tests.

A device is an object that gets the bytes a host sends and returns its answer; the host side opens a
path as it would a serial port. Emulators run in a process of their own, so that they neither
disturb nor die with the server that talks to them in the same way as a real instrument would.
"""

import argparse
import contextlib
import importlib
import json
import os
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

_READ_BYTES = 4096


class Device(Protocol):
    """One emulated instrument."""

    def receive(self, data: bytes, now: float) -> bytes:
        """Take bytes from the host at a moment (s, monotonic) and return the answer's bytes."""

    def control(self, command: str, arguments: Mapping[str, Any]) -> object:
        """Do what no host can: break, mend, or tell the true state as plain values."""


@dataclass(slots=True)
class _Port:
    device: Device
    link: Path
    master: int | None = None
    slave: int | None = None
    unsent: bytearray = field(default_factory=bytearray)


class PtyHost:
    """Serves devices on pseudo-terminals from one thread.

    Parameters
    ----------
    devices
        Devices by name.
    folder
        Gets one link per device, ``<folder>/<name>``, that outlives unplugging and replugging.
    """

    def __init__(self, devices: Mapping[str, Device], folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._ports = {name: _Port(device, folder / name) for name, device in devices.items()}
        self._selector = selectors.DefaultSelector()
        self._lock = threading.RLock()
        self._wake_read, self._wake_write = os.pipe()
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        self._closed = False
        for name in self._ports:
            self.replug(name)
        self._thread = threading.Thread(target=self._serve, name="emulators", daemon=True)
        self._thread.start()

    @property
    def paths(self) -> dict[str, Path]:
        """The path of each device."""
        return {name: port.link for name, port in self._ports.items()}

    def unplug(self, name: str) -> None:
        """Pull the cable: the host side sees a hang-up and the path is gone."""
        with self._lock:
            port = self._ports[name]
            if port.master is None:
                return
            self._selector.unregister(port.master)
            port.link.unlink(missing_ok=True)
            os.close(port.master)
            if port.slave is not None:
                os.close(port.slave)
            port.master = port.slave = None
            port.unsent.clear()

    def replug(self, name: str) -> None:
        """Plug the cable in again, on the same path."""
        import tty

        with self._lock:
            port = self._ports[name]
            if port.master is not None:
                return
            master, slave = os.openpty()
            tty.setraw(slave)
            # The slave side is kept open: without any opener the master would report hang-ups.
            port.master, port.slave = master, slave
            os.set_blocking(master, False)
            temporary = port.link.with_name(f".{name}.new")
            temporary.unlink(missing_ok=True)
            temporary.symlink_to(os.ttyname(slave))
            temporary.replace(port.link)
            self._selector.register(master, selectors.EVENT_READ, port)
        self._wake()

    def control(self, name: str, command: str, arguments: Mapping[str, Any]) -> object:
        """Unplug or replug a device, or hand a command on to it."""
        with self._lock:
            if command == "unplug":
                self.unplug(name)
                return None
            if command == "replug":
                self.replug(name)
                return None
            return self._ports[name].device.control(command, arguments)

    def close(self) -> None:
        """Unplug everything and end the thread."""
        self._closed = True
        self._wake()
        self._thread.join(5)
        for name in self._ports:
            self.unplug(name)
        self._selector.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_write, b"x")

    def _serve(self) -> None:
        while not self._closed:
            for key, events in self._selector.select(0.5):
                if key.fd == self._wake_read:
                    os.read(self._wake_read, _READ_BYTES)
                    continue
                with self._lock:
                    self._serve_port(key.data, events)

    def _serve_port(self, port: _Port, events: int) -> None:
        if port.master is None:
            return
        if events & selectors.EVENT_READ:
            try:
                data = os.read(port.master, _READ_BYTES)
            except OSError:
                return
            port.unsent += port.device.receive(data, time.monotonic())
        # A terminal holds a few kilobytes: what does not fit waits until the host has read.
        with contextlib.suppress(OSError):
            while port.unsent:
                del port.unsent[: os.write(port.master, port.unsent)]
        awaited = selectors.EVENT_READ | (selectors.EVENT_WRITE if port.unsent else 0)
        self._selector.modify(port.master, awaited, port)


class EmulatorProcess:
    """Emulated instruments in a process of their own, which ends with this one.

    Parameters
    ----------
    factory
        ``module:callable``; called with a number it returns a `Device`.
    names
        What the devices are called; the number of devices follows.
    folder
        Where their paths are made.
    first
        The number of the first device.
    """

    def __init__(self, factory: str, names: list[str], folder: Path, first: int = 1) -> None:
        self.paths = {name: folder / name for name in names}
        self._lock = threading.Lock()
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            [
                sys.executable, "-m", __name__, "--factory", factory, "--folder", str(folder),
                "--first", str(first), *names,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # A Ctrl-C in the terminal is the server's to handle: its instruments stay until then.
            start_new_session=True,
        )  # fmt: skip
        self._answer()

    def control(self, name: str, command: str, **arguments: Any) -> Any:
        """Unplug, replug, break or question a device."""
        order = {"name": name, "command": command, "arguments": arguments}
        with self._lock:
            stdin = self._process.stdin
            assert stdin is not None  # noqa: S101 - opened as a pipe
            stdin.write(json.dumps(order) + "\n")
            stdin.flush()
            return self._answer()

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _answer(self) -> Any:
        stdout = self._process.stdout
        assert stdout is not None  # noqa: S101 - opened as a pipe
        line = stdout.readline()
        if not line:
            raise RuntimeError("the emulators have ended")
        answer = json.loads(line)
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer["result"]


def make_devices(factory: str, names: list[str], first: int) -> dict[str, Device]:
    """Return a device per name from a factory named as ``module:callable``, numbered."""
    module, _, attribute = factory.partition(":")
    make = getattr(importlib.import_module(module), attribute)
    return {name: make(number) for number, name in enumerate(names, first)}


def main() -> None:
    """Serve devices until standard input ends, obeying orders that come on it as JSON lines."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--factory", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--first", type=int, required=True)
    parser.add_argument("names", nargs="+")
    arguments = parser.parse_args()
    devices = make_devices(arguments.factory, arguments.names, arguments.first)
    host = PtyHost(devices, arguments.folder)
    _say({"result": {name: str(path) for name, path in host.paths.items()}})
    for line in sys.stdin:
        order = json.loads(line)
        try:
            result = host.control(order["name"], order["command"], order["arguments"])
        except (KeyError, ValueError, TypeError) as error:
            _say({"error": f"{type(error).__name__}: {error}"})
        else:
            _say({"result": result})
    host.close()


def _say(answer: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
