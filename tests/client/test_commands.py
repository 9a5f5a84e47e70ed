"""The command line as a client, in processes of its own."""

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchwire.client import Bench
from benchwire.domains.potentiostat.modes import MODES
from tests.support.ports import free_port
from tests.support.waiting import until

COMMAND = (sys.executable, "-m", "benchwire")
_STYLE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture
def environment(lab: Any) -> dict[str, str]:
    return {
        **os.environ,
        "BENCHWIRE_URL": lab.server.url,
        "BENCHWIRE_API_KEY": lab.key,
        "COLUMNS": "200",
        "NO_COLOR": "1",
    }


def told(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *words], env=environment, capture_output=True, text=True, timeout=90
    )


@contextlib.contextmanager
def watching(environment: dict[str, str], *words: str) -> Iterator["Watching"]:
    """Run a command in a terminal."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *words], env=environment, stdin=slave, stdout=slave, stderr=slave
    )
    os.close(slave)
    found = Watching(process, master)
    try:
        yield found
    finally:
        process.kill()
        process.wait(10)
        found.reader.join(10)
        os.close(master)


class Watching:
    """A command in a terminal, and what it has written there."""

    def __init__(self, process: subprocess.Popen[bytes], master: int) -> None:
        self.process = process
        self.text = ""
        self._master = master
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        # The terminal's end is an error on this side of it.
        with contextlib.suppress(OSError):
            while piece := os.read(self._master, 4096):
                self.text += piece.decode("utf-8", "replace")

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def shows(self, pattern: str) -> re.Match[str]:
        found: list[re.Match[str]] = []

        def look() -> bool:
            match = re.search(pattern, _STYLE.sub("", self.text))
            found.extend([match] if match else [])
            return match is not None

        until(look, seconds=30, what=f"{pattern!r} in the terminal")
        return found[0]


def test_run_is_followed_and_its_files_are_fetched(
    environment: dict[str, str], bench: Bench, tmp_path: Path
) -> None:
    bench.plates.create("CLI", rows=1, columns=1)
    done = told(
        environment, "run", "cv", "--slots", "slot01", "--start", "0.3", "--vertex1", "0.4",
        "--vertex2", "-0.1", "--end", "0.3", "--scan-rate", "1", "--cycles", "1",
        "--experiment", "Befehl ä", "--sample", "slot01=CLI/A1", "--sample", "Charge 9",
        "--out", str(tmp_path),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    paths = [Path(line) for line in done.stdout.splitlines()]
    assert {path.suffix for path in paths} == {".csv", ".png", ".json"}
    assert all(path.is_relative_to(tmp_path) and path.stat().st_size for path in paths)
    run_id = re.search(r"Run (\S+) has started", done.stderr)
    assert run_id is not None
    samples = bench.samples.of(("run", run_id[1]))
    assert sorted(samples["sample"].to_list()) == ["CLI/A1", "Charge 9"]


def test_run_says_where_its_files_are(environment: dict[str, str]) -> None:
    done = told(
        environment, "run", "pstep", "--potentials", "0, -0.1", "--step-duration", "0.1",
        "--slots", "slot01, slot02", "--no-plot",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [line.split("/")[1] for line in done.stdout.splitlines()] == ["slot01", "slot02"]
    assert "benchwire get run" in done.stderr


def test_cancelled_run_is_a_failure(environment: dict[str, str], bench: Bench) -> None:
    words = ("run", "ca", "--potential", "0.1", "--duration", "60", "--slots", "slot01")
    with watching(environment, *words) as command:
        run = bench.potentiostats.get(command.shows(r"Run (\S+) has started")[1])
        run.cancel()
        assert command.process.wait(30) == 1
        command.shows("cancelled")


@pytest.mark.parametrize(
    ("answer", "state", "code"),
    [("c\n", "cancelled", 1), ("s\n", "running", 130), (None, "running", 130)],
)
def test_interrupt_asks_what_to_do(
    environment: dict[str, str], bench: Bench, answer: str | None, state: str, code: int
) -> None:
    words = ("run", "ca", "--potential", "0.1", "--duration", "60", "--slots", "slot01")
    with watching(environment, *words) as command:
        run = bench.potentiostats.get(command.shows(r"Run (\S+) has started")[1])
        command.shows("%")
        command.process.send_signal(signal.SIGINT)
        command.shows("Ctrl-C again stops watching")
        command.shows("> ")
        if answer is None:
            command.process.send_signal(signal.SIGINT)
        else:
            command.type(answer)
        assert command.process.wait(30) == code
        if state == "running":
            command.shows("is left running")
            assert run.state == "running"
            run.cancel()
        assert run.wait(30, check=False).state == "cancelled"


def test_interrupt_without_a_terminal_leaves_it_running(
    environment: dict[str, str], bench: Bench
) -> None:
    words = ("run", "ca", "--potential", "0.1", "--duration", "60", "--slots", "slot02")
    with subprocess.Popen(
        [*COMMAND, *words], env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True,
    ) as command:  # fmt: skip
        assert command.stderr is not None
        run_id = command.stderr.readline().split()[1]
        run = bench.potentiostats.get(run_id)
        command.send_signal(signal.SIGINT)
        _, text = command.communicate(timeout=30)
        assert command.returncode == 130
        assert "is left running" in text
    assert run.state == "running"
    run.cancel()
    run.wait(30, check=False)


def test_jobs_are_listed(environment: dict[str, str], bench: Bench) -> None:
    run = bench.potentiostats.ocp(duration=0.1, slots="slot01", make_plot=False).wait(30)
    done = told(environment, "jobs", "--domain", "potentiostat", "--limit", "2")
    assert run.id in done.stdout
    assert "done" in done.stdout
    lines = told(environment, "jobs", "--json", "--state", "done").stdout.splitlines()
    assert json.loads(lines[0])["id"] == run.id
    assert told(environment, "jobs", "--state", "lost").returncode == 2


def test_jobs_are_watched(environment: dict[str, str], bench: Bench) -> None:
    words = ("--domain", "potentiostat", "--state", "done", "--limit", "1")
    with watching(environment, "jobs", "--watch", "--json", *words) as command:
        command.shows(r'"id"')
        run = bench.potentiostats.ocp(duration=0.2, slots="slot01", make_plot=False)
        command.shows(run.id)
        assert '"running"' not in command.text
        command.process.send_signal(signal.SIGINT)
        assert command.process.wait(30) == 0
    run.wait(30)


def test_list_of_jobs_is_redrawn(environment: dict[str, str], bench: Bench) -> None:
    with watching(environment, "jobs", "--watch", "--limit", "3") as command:
        command.shows("job +begun")
        run = bench.potentiostats.ocp(duration=0.2, slots="slot01", make_plot=False)
        command.shows(f"{run.id}.*done")
        command.process.send_signal(signal.SIGINT)
        assert command.process.wait(30) == 0


def test_results_are_fetched_by_job_and_by_kind(
    environment: dict[str, str], bench: Bench, tmp_path: Path
) -> None:
    run = bench.potentiostats.ocp(duration=0.1, slots="slot01", make_plot=False).wait(30)
    by_job = told(environment, "get", run.id, "--out", str(tmp_path / "job"))
    by_kind = told(environment, "get", "run", run.id, "--out", str(tmp_path / "kind"))
    for done in (by_job, by_kind):
        assert done.returncode == 0, done.stderr
        path, record = done.stdout.split()
        assert Path(path).read_bytes() == run.file(run.files[0])
        assert Path(record).read_bytes() == run.file("run.json")
    done = told(environment, "get", "run", run.id, "--crate", "--out", str(tmp_path / "crate"))
    assert zipfile.is_zipfile(done.stdout.strip())
    assert told(environment, "get", "run", "nobody's").returncode == 2


def test_refusal_is_one_line(environment: dict[str, str]) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    done = told(environment, "jobs", "--url", url)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("benchwire: No benchwire server answers")
    assert "Traceback" not in done.stderr
    done = told(environment, "jobs", "--key", "falsch")
    assert (done.returncode, done.stdout) == (2, "")
    for words in (
        ("get", "run", "any", "--out", "/dev/null"),
        ("run", "ocp", "--duration", "1", "--out", "/dev/null"),
        ("run", "ocp", "--duration", "1", "--slots", "slot01,slot09"),
    ):
        done = told(environment, *words)
        assert (done.returncode, done.stdout) == (2, ""), words
        assert done.stderr.startswith("benchwire: ")
        assert "Traceback" not in done.stderr
    done = told(environment, "run", "pstep", "--potentials", "a,b", "--step-duration", "1")
    assert done.returncode == 2
    assert "no list of numbers" in done.stderr


def test_every_mode_and_parameter_is_an_option_with_its_unit(environment: dict[str, str]) -> None:
    text = told(environment, "run", "--help").stdout
    for mode in MODES.values():
        assert re.search(rf"\b{mode.name.lower()}\b", text), mode.name
    text = told(environment, "run", "eis", "--help").stdout
    for item in MODES["EIS"].parameters:
        line = next(
            line for line in text.splitlines() if f"--{item.name.replace('_', '-')} " in line
        )
        assert not item.unit or f"in {item.unit}." in line
