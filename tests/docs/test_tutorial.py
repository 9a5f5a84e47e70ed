"""The tutorial does what it says: every block of it is run, in order, as a beginner would."""

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.docs.conftest import ROOT, blocks
from tests.support.browser import NEEDS_CHROMIUM, watched_page
from tests.support.ports import free_port
from tests.support.waiting import until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.paced,
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed"),
]
SERVE = "benchwire serve"
BLOCK_SECONDS = 120


class Desk:
    """The folder somebody works in, with two terminals."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.url = f"http://127.0.0.1:{port}"
        self._port = port
        self._server: subprocess.Popen[bytes] | None = None
        clean = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("BENCHWIRE_", "BOX_", "RUNS_ROOT", "NAS_", "PYAMA_", "PYTHON"))
        }
        # The package itself is installed as anybody would; what it depends on is there already.
        self._environment = {
            **clean,
            "PATH": f"{Path(sys.executable).parent}:{clean['PATH']}",
            "PYTHONPATH": sysconfig.get_paths()["purelib"],
            "PIP_NO_INDEX": "1",
            "PIP_NO_DEPS": "1",
            # To pip this variable says whether there is isolation, whatever its name says.
            "PIP_NO_BUILD_ISOLATION": "0",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }
        for name in ("pyproject.toml", "README.md", "requirements.lock"):
            (folder / "benchwire").mkdir(exist_ok=True)
            shutil.copy(ROOT / name, folder / "benchwire")
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "src", folder / "benchwire/src", ignore=ignored)

    def type(self, text: str) -> str:
        """Type a block in the first terminal."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self._adapted(text)],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=BLOCK_SECONDS,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}\n{self.log}"
        return done.stdout

    def start_server(self, text: str) -> None:
        """Type a block in the second terminal, where it stays."""
        with (self.folder / "server.log").open("wb") as log:
            self._server = subprocess.Popen(
                ["bash", "-c", f"exec {self._adapted(text).strip()} --port {self._port}"],
                cwd=self.folder,
                env=self._environment,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 60
        while True:
            assert self._server.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            try:
                if len(httpx.get(f"{self.url}/devices", timeout=1).json()) == 2:
                    return
            except (httpx.TransportError, ValueError):
                pass
            time.sleep(0.1)

    def stop_server(self) -> int:
        """Press Ctrl-C in the second terminal."""
        assert self._server is not None
        self._server.send_signal(signal.SIGINT)
        return self._server.wait(30)

    def close(self) -> None:
        if self._server is not None and self._server.poll() is None:
            self._server.kill()
            self._server.wait()

    @property
    def log(self) -> str:
        path = self.folder / "server.log"
        return path.read_text("utf-8", "replace")[-4000:] if path.exists() else ""

    def _adapted(self, text: str) -> str:
        return text.replace("http://127.0.0.1:8000", self.url)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    port = free_port()
    made = Desk(tmp_path, port)
    yield made
    made.close()


def test_every_block_works_in_order(desk: Desk) -> None:
    told = []
    script = ""
    for block in blocks("tutorial.md"):
        if block.language == "python":
            script = block.text.replace("http://127.0.0.1:8000", desk.url)
            (desk.folder / "cv.py").write_text(script, "utf-8")
        elif SERVE in block.text:
            desk.start_server(block.text)
        else:
            assert block.language == "bash", f"nobody runs a block in {block.language!r}"
            told.append(desk.type(block.text))
    _, version, devices, started, _, archive, found, files = told
    assert re.search(r"^\d+\.\d+", version, re.MULTILINE)
    where = desk.type("lab/bin/python -c 'import benchwire; print(benchwire.__file__)'")
    assert Path(where.strip()).is_relative_to(desk.folder / "lab")
    assert "slot02" in devices
    assert '"run_id":"ferrocene-1"' in started
    assert "Wells/slot01/CV/" in archive
    assert "run.json" in archive
    assert re.search(r"largest at -?\d\.\d{3} V", found)
    assert len(re.findall(r"slot0[12]_CV\.(csv|png)$", files, re.MULTILINE)) == 4
    assert desk.stop_server() == 0


class TestInABrowser:
    pytestmark = NEEDS_CHROMIUM

    def test_dashboard_part_works_as_it_is_told(self, desk: Desk, browser: Any) -> None:
        install, _, serve = blocks("tutorial.md")[:3]
        desk.type(install.text)
        desk.start_server(serve.text)
        with watched_page(browser, desk.url) as page:
            page.goto(f"{desk.url}/ui/potentiostat")
            page.get_by_text("takes about").wait_for()
            for field, value in (
                ("Experiment", "Ferrocene"),
                ("Scan rate", "0.5"),
                ("Cycles", "1"),
            ):
                page.get_by_label(field, exact=False).first.fill(value)
            page.get_by_role("button", name="Start").click()
            page.get_by_text(re.compile("^done")).first.wait_for(timeout=60_000)
            page.get_by_role("link", name="Open the run").click()
            page.get_by_text(re.compile(r"Ferrocene_.*_slot01_CV\.csv")).wait_for()
            page.get_by_role("link", name="ZIP").wait_for()
        until(lambda: httpx.get(f"{desk.url}/jobs?state=incomplete").json() == [], seconds=30)
