"""A real SMB server on loopback: Samba, where it is installed."""

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.ports import free_port

SAMBA = shutil.which("smbd") or "/usr/sbin/smbd"
USER, PASSWORD, SHARE = "root", "s3cret-pw", "experiments"


@dataclass
class SmbServer:
    """A running server; ``folder`` is what it shares."""

    port: int
    folder: Path

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"


def unavailable() -> str | None:
    """Why there can be no server here, None if there can."""
    if not Path(SAMBA).exists():
        return "Samba is not installed"
    return "Samba needs root for its user" if os.geteuid() != 0 else None


def _await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while True:
        assert process.poll() is None, "the SMB server ended"
        assert time.monotonic() < deadline, "the SMB server did not start"
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return


@contextmanager
def samba_server(folder: Path, port: int | None = None, more: str = "") -> Iterator[SmbServer]:
    """Samba itself, with a configuration and folders of its own; needs root for its user.

    ``more`` is added to its global settings.
    """
    shared = folder / "shared"
    shared.mkdir(exist_ok=True)
    shared.chmod(0o777)
    private = folder / "private"
    private.mkdir()
    port = port or free_port()
    config = folder / "smb.conf"
    config.write_text(
        f"""[global]
server role = standalone server
smb ports = {port}
bind interfaces only = yes
interfaces = lo
private dir = {private}
state directory = {private}
cache directory = {private}
lock directory = {private}
pid directory = {private}
ncalrpc dir = {private}/ncalrpc
passdb backend = tdbsam:{private}/passdb.tdb
log file = {folder}/smbd.log
disable spoolss = yes
load printers = no
{more}
[{SHARE}]
path = {shared}
read only = no
force user = root
"""
    )
    subprocess.run(
        ["smbpasswd", "-c", str(config), "-s", "-a", "root"],
        input=f"{PASSWORD}\n{PASSWORD}\n".encode(),
        check=True,
        capture_output=True,
    )
    process = subprocess.Popen(
        [SAMBA, "--foreground", "-s", str(config)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _await_port(port, process)
        yield SmbServer(port, shared)
    finally:
        process.terminate()
        process.wait()


@contextmanager
def cutting_proxy(target_port: int, cut_after: int, *, is_held: bool = False) -> Iterator[int]:
    """A way to a server that is cut, or falls silent, after so many bytes from the client."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.2)
    over = threading.Event()

    def pump(source: socket.socket, sink: socket.socket, limit: int | None) -> None:
        passed = 0
        try:
            while data := source.recv(65536):
                passed += len(data)
                if limit is not None and passed > limit:
                    over.wait(None if is_held else 0)
                    break
                sink.sendall(data)
        except OSError:
            pass
        for side in (source, sink):
            try:
                side.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def accept() -> None:
        while not over.is_set():
            try:
                client, _ = listener.accept()
            except OSError:
                continue
            client.settimeout(None)
            server = socket.create_connection(("127.0.0.1", target_port))
            with client, server:
                back = threading.Thread(target=pump, args=(server, client, None), daemon=True)
                back.start()
                pump(client, server, cut_after)
                back.join(5)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        over.set()
        thread.join(10)
        listener.close()
