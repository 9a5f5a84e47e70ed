"""A process beside the server: asked in order, heard in order, lost without harm."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
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


def children() -> list[int]:
    """The processes that this one has started, once they are no copies of it any more."""
    own = psutil.Process()
    return [child.pid for child in own.children() if has_other_work(child, own)]


def has_other_work(child: psutil.Process, parent: psutil.Process) -> bool:
    try:
        return child.cmdline() != parent.cmdline()
    except psutil.NoSuchProcess:
        return False


def notebook_for(ears: Ears, hurried: threading.Event | None = None) -> Companion:
    return Companion(NOTEBOOK, told=ears.hear, lost=ears.lost.set, hurried=hurried)


@pytest.fixture
def ears() -> Ears:
    return Ears()


@pytest.fixture
def notebook(ears: Ears) -> Iterator[Companion]:
    made = notebook_for(ears)
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


def test_the_last_words_of_one_that_leaves_are_heard(ears: Ears) -> None:
    """Though whoever hears them takes his time."""
    heard = []

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        time.sleep(0.001)
        heard.append(arguments)

    made = Companion(NOTEBOOK, told=hear, lost=ears.lost.set)
    for number in range(400):
        made.tell("note", str(number) + 2000 * " ")
    assert made.close()
    assert len(heard) == 400


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


@pytest.mark.parametrize("method", ["unspeakable", "break_off"])
def test_what_cannot_be_answered_is_an_error(notebook: Companion, method: str) -> None:
    assert isinstance(notebook.ask(method).exception(10), Exception)
    assert notebook.ask("notes").result(10) == []


def test_an_error_that_is_none_of_ours_is_in_the_log(
    ears: Ears, capfd: pytest.CaptureFixture[str]
) -> None:
    made = notebook_for(ears)
    made.ask("refuse", "Tomorrow.").exception(10)
    made.ask("fail").exception(10)
    assert made.close()
    log = capfd.readouterr().err
    assert "by nothing" in log
    assert "companions.py" in log, "where it was raised"
    assert "Tomorrow" not in log


def test_one_whose_work_ends_python_still_leaves_things_in_order(
    notebook: Companion, ears: Ears, tmp_path: Path
) -> None:
    notebook.tell("leave_word_in", tmp_path / "word")
    notebook.ask("note", "before it").result(10)
    assert isinstance(notebook.ask("leave_python").exception(10), CompanionLost)
    assert ears.lost.wait(10)
    assert (tmp_path / "word").read_text() == "before it"


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
    notebook = notebook_for(ears)
    assert notebook.ask("notes").result(10) == []
    os.kill(notebook.pid, signal.SIGSTOP)
    assert ears.lost.wait(20)
    until(lambda: not Path(f"/proc/{notebook.pid}").exists(), what="its end")
    notebook.close()


def test_work_that_takes_long_is_no_silence(ears: Ears, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SILENCE_SECONDS", 3.0)
    notebook = notebook_for(ears)
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
    notebook = notebook_for(ears)
    notebook.tell("leave_word_in", tmp_path / "word")
    notebook.tell("note", "last")
    assert notebook.close()
    assert (tmp_path / "word").read_text() == "last"
    assert not ears.lost.is_set()


def test_whether_things_were_left_in_order_is_known(ears: Ears, tmp_path: Path) -> None:
    killed = notebook_for(ears)
    os.kill(killed.pid, signal.SIGKILL)
    assert not killed.close()
    failing = notebook_for(ears)
    failing.tell("leave_word_in", tmp_path / "nowhere" / "word")
    assert not failing.close()


def test_one_that_hangs_is_not_waited_for_when_the_server_ends(
    ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So long that only the silence can be what ends it.
    monkeypatch.setattr(module, "LEAVE_SECONDS", 600.0)
    hanging = notebook_for(ears)
    os.kill(hanging.pid, signal.SIGSTOP)
    assert not hanging.close()
    assert not ears.lost.is_set()
    hurry = threading.Event()
    hurried = notebook_for(ears, hurry)
    os.kill(hurried.pid, signal.SIGSTOP)
    hurry.set()
    assert ears.lost.wait(module.SILENCE_SECONDS - 2)
    assert not hurried.close()


@pytest.mark.skipif(sys.platform != "linux", reason="stops a process by its /proc entry")
def test_one_that_stands_still_as_it_starts_is_not_waited_for_by_a_server_that_ends(
    ears: Ears,
) -> None:
    hurry = threading.Event()
    refused: list[BaseException] = []
    before = set(children())

    def start() -> None:
        try:
            notebook_for(ears, hurry)
        except CompanionLost as error:
            refused.append(error)

    threads = threading.active_count()
    starting = threading.Thread(target=start)
    starting.start()
    until(lambda: set(children()) - before, what="the process")
    (child,) = set(children()) - before
    os.kill(child, signal.SIGSTOP)
    hurry.set()
    starting.join(10)
    assert refused
    assert not Path(f"/proc/{child}").exists()
    until(lambda: threading.active_count() <= threads, what="the end of all threads")


def test_one_that_hangs_in_the_middle_of_an_answer_is_ended(
    ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SILENCE_SECONDS", 2.0)
    made = notebook_for(ears)
    answer = made.ask("say_half_and_stop")
    assert isinstance(answer.exception(20), CompanionLost)
    assert ears.lost.is_set()
    made.close()


def test_the_temporary_folder_is_not_needed(
    ears: Ears, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is cleaned up now and then, and a server runs for months."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    made = notebook_for(ears)
    assert made.ask("notes").result(10) == []
    assert made.close()


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


def test_one_that_cannot_be_made_is_refused(ears: Ears) -> None:
    with pytest.raises(CompanionLost):
        Companion("tests.support.companions:broken", told=ears.hear, lost=ears.lost.set)
    assert not ears.lost.is_set(), "what was never there is not lost"
