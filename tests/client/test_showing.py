"""Progress is shown where somebody watches, and nowhere else."""

import os
import pty
import subprocess
import sys
from typing import Any

from benchwire.client.showing import display
from benchwire.client.work import Status

SHOWN = (
    "from benchwire.client.showing import display\n"
    "from benchwire.client.work import Status\n"
    "with display('Run [red] x') as shown:\n"
    "    shown.show(Status('running', 0.25, step='CV', remaining_seconds=3))\n"
    "    shown.note('away')\n"
    "    shown.show(Status('done', 1.0))\n"
)


def test_nothing_is_written_where_nobody_watches() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SHOWN], capture_output=True, check=True, timeout=60
    )
    assert (done.stdout, done.stderr) == (b"", b"")


def test_bar_is_drawn_in_a_terminal_and_results_stay_apart() -> None:
    master, slave = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", SHOWN], stdout=subprocess.PIPE, stderr=slave,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    ) as process:  # fmt: skip
        assert process.communicate(timeout=60)[0] == b""
    os.close(slave)
    shown = os.read(master, 65536).decode()
    os.close(master)
    assert "Run [red] x" in shown
    assert "100%" in shown
    assert "done" in shown


def test_notebook_gets_one_line_that_is_rewritten(monkeypatch: Any) -> None:
    from IPython.core.displaypub import CapturingDisplayPublisher
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance()
    published = CapturingDisplayPublisher()
    monkeypatch.setattr(shell, "display_pub", published)
    monkeypatch.setattr(shell, "kernel", object(), raising=False)
    with display("Run <b>") as shown:
        shown.show(Status("running", 0.5, step="CV", remaining_seconds=2))
        shown.note("away")
    InteractiveShell.clear_instance()
    texts = [output["data"]["text/html"] for output in published.outputs]
    assert "Run &lt;b&gt;" in texts[0]
    assert "50% CV  2 s left" in texts[1]
    assert "away" in texts[2]
    ids = {output["transient"]["display_id"] for output in published.outputs}
    assert len(ids) == 1
