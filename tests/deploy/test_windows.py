"""The server without what only POSIX systems have.

Modules and calls that Windows lacks are taken away from a real server, and what it has in their
place is given to it; the paths of Windows itself are not tried here.
"""

import signal
import subprocess
import sys
from pathlib import Path

import httpx

from tests.backup.commands import environment
from tests.support.waiting import until

ABSENT_MODULES = ("fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty")
ABSENT_CALLS = {
    "os": (
        "fork", "forkpty", "killpg", "mkfifo", "nice", "openpty", "register_at_fork", "setsid",
        "sync", "O_NOFOLLOW", "O_DIRECTORY",
    ),
    "signal": ("pthread_sigmask", "sigwait", "SIGKILL", "SIGHUP", "SIGUSR1", "SIGSTOP"),
    "select": ("poll", "epoll"),
}  # fmt: skip
# What the standard library and other packages need of them was taken up by then: their own
# variants for Windows are not ours to try.
PREPARED = """
import asyncio, importlib, multiprocessing.connection, selectors, socket, ssl, subprocess, sys
import tempfile, types, uuid, platform, serial, serial.tools.list_ports, uvicorn.loops.auto
import platformdirs, cryptography.fernet, click, rich.console, email.utils, mimetypes, getpass
"""
TAKEN_AWAY = f"""
{PREPARED}
for name in {ABSENT_MODULES!r}:
    sys.modules[name] = None
sys.modules["msvcrt"] = types.SimpleNamespace(LK_NBLCK=2, locking=lambda *_: None)
for name, calls in {ABSENT_CALLS!r}.items():
    for call in calls:
        if hasattr(importlib.import_module(name), call):
            delattr(importlib.import_module(name), call)
"""


def python(code: str, *words: str) -> list[str]:
    return [sys.executable, "-c", f"{TAKEN_AWAY}\n{code}", *words]


def test_server_and_commands_are_imported() -> None:
    code = """
import benchwire.app, benchwire.cli, benchwire.checks, benchwire.opening, benchwire.backup.telling
from importlib.metadata import entry_points
for entry in entry_points(group="benchwire.domains"):
    entry.load()
"""
    done = subprocess.run(
        python(code), env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_server_serves_and_is_backed_up(tmp_path: Path, free_port: int) -> None:
    main = "from benchwire.cli import main; main()"
    data = str(tmp_path / "data")
    words = ("serve", "--port", str(free_port), "--data-dir", data)
    log = tmp_path / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            python(main, *words), env=environment(BENCHWIRE_UI="false"), stdout=file, stderr=file
        )
    url = f"http://127.0.0.1:{free_port}"

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            return httpx.get(f"{url}/devices", timeout=5).is_success
        except httpx.TransportError:
            return False

    try:
        until(answers, seconds=60, what="the server")
        body = {"plate": {"barcode": "W1", "name": "on Windows"}}
        httpx.post(f"{url}/api/v1/plates", json=body, timeout=30).raise_for_status()
        reading = {"timestamp": "2026-01-01T00:00:00Z", "soc": 1.0}
        httpx.post(f"{url}/bms/rack/readings", json=reading, timeout=30).raise_for_status()
        assert httpx.get(f"{url}/bms/rack", timeout=30).json()["data"][0]["soc"] == 1.0
        for command in (
            ("backup", str(tmp_path / "shelf"), "--data-dir", data),
            ("check", "--data-dir", data),
        ):
            done = subprocess.run(
                python(main, *command), env=environment(), capture_output=True, text=True,
                timeout=60, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stdout + done.stderr
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) in {0, -signal.SIGINT}, log.read_text()
    assert "Traceback" not in log.read_text()
    (made,) = (tmp_path / "shelf").glob("benchwire-2*")
    done = subprocess.run(
        python(main, "restore", str(made), "--data-dir", str(tmp_path / "new")),
        env=environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "new/benchwire.db").stat().st_size
