"""A process beside the server: asked in order, heard in order, lost without harm."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchwire.foundation import companion as module
from benchwire.foundation.companion import Companion, CompanionLost
from benchwire.foundation.errors import Conflict, Failed
from tests.support.waiting import until

NOTEBOOK = "tests.support.companions:Notebook"


class Ears:
    """What was heard of a companion."""

    def __init__(self) -> None:
        self.told: list[tuple[str, tuple[Any, ...]]] = []
        self.lost = threading.Event()

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        self.told.append((event, arguments))


@pytest.fixture
def ears() -> Ears:
    return Ears()


@pytest.fixture
def notebook(ears: Ears) -> Iterator[Companion]:
    made = Companion(NOTEBOOK, told=ears.hear, lost=ears.lost.set)
    yield made
    made.close()


def test_what_is_asked_is_done_in_order(notebook: Companion, ears: Ears) -> None:
    for number in range(200):
        if number % 3:
            notebook.tell("note", str(number))
        else:
            notebook.ask("note", str(number))
    assert notebook.ask("notes").result(10) == [str(number) for number in range(200)]
    assert ears.told == [("noted", (str(number), number + 1)) for number in range(200)]


def test_what_takes_long_holds_nothing_up(notebook: Companion) -> None:
    later = notebook.ask("later", 0.5)
    assert notebook.ask("notes").result(10) == []
    assert not later.done()
    assert later.result(10) == "now"


def test_errors_come_whole(notebook: Companion) -> None:
    refused = notebook.ask("refuse", "Tomorrow.").exception(10)
    assert isinstance(refused, Conflict)
    assert (refused.message, refused.hint) == ("Not now", "Tomorrow.")
    assert isinstance(notebook.ask("fail").exception(10), ZeroDivisionError)
    assert isinstance(notebook.ask("no_such_method").exception(10), AttributeError | Failed)
    notebook.tell("fail")
    assert notebook.ask("notes").result(10) == []


def test_one_that_is_killed_is_told_of_and_asks_fail(notebook: Companion, ears: Ears) -> None:
    waiting = notebook.ask("later", 60)
    assert notebook.ask("notes").result(10) == []
    os.kill(notebook.pid, signal.SIGKILL)
    assert isinstance(waiting.exception(10), CompanionLost)
    assert ears.lost.wait(10)
    assert isinstance(notebook.ask("notes").exception(10), CompanionLost)
    notebook.tell("note", "nobody hears this")


def test_one_that_hangs_is_ended(ears: Ears, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SILENCE_SECONDS", 3.0)
    notebook = Companion(NOTEBOOK, told=ears.hear, lost=ears.lost.set)
    assert notebook.ask("notes").result(10) == []
    os.kill(notebook.pid, signal.SIGSTOP)
    assert ears.lost.wait(20)
    until(lambda: not Path(f"/proc/{notebook.pid}").exists(), what="its end")
    notebook.close()


def test_work_that_takes_long_is_no_silence(ears: Ears, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SILENCE_SECONDS", 3.0)
    notebook = Companion(NOTEBOOK, told=ears.hear, lost=ears.lost.set)
    notebook.ask("hang")
    assert not ears.lost.wait(6)
    os.kill(notebook.pid, signal.SIGKILL)
    notebook.close()


def test_signals_of_a_terminal_are_not_its_business(notebook: Companion) -> None:
    assert notebook.ask("notes").result(10) == []
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(notebook.pid, number)
    notebook.ask("note", "still here").result(10)
    assert notebook.ask("notes").result(10) == ["still here"]


def test_it_leaves_things_in_order_when_closed(ears: Ears, tmp_path: Path) -> None:
    notebook = Companion(NOTEBOOK, told=ears.hear, lost=ears.lost.set)
    notebook.tell("leave_word_in", tmp_path / "word")
    notebook.tell("note", "last")
    notebook.close()
    assert (tmp_path / "word").read_text() == "last"
    assert not ears.lost.is_set()


def test_it_leaves_things_in_order_when_the_server_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from benchwire.foundation.companion import Companion\n"
        f"made = Companion({NOTEBOOK!r}, told=print, lost=lambda: None)\n"
        "made.tell('leave_word_in', Path(sys.argv[1]))\n"
        "made.ask('note', 'orphan').result(10)\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "word")], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        while "ready" not in server.stdout.readline():
            assert server.poll() is None
        server.kill()
    until(lambda: (tmp_path / "word").exists(), what="the last word")
    assert (tmp_path / "word").read_text() == "orphan"


def test_one_that_cannot_be_made_is_lost_at_once(ears: Ears) -> None:
    made = Companion("tests.support.companions:broken", told=ears.hear, lost=ears.lost.set)
    assert ears.lost.wait(20)
    assert isinstance(made.ask("notes").exception(10), CompanionLost)
    made.close()
