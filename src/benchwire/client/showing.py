"""Progress, where somebody watches: a bar in a terminal, one in a notebook, nothing elsewhere."""

import html
import importlib
import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from benchwire.client.work import Status


class Display(Protocol):
    """Shows how far a piece of work is."""

    def __enter__(self) -> Self:
        """Begin."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End."""
        ...

    def show(self, status: "Status") -> None:
        """Show how far it is."""
        ...

    def note(self, text: str) -> None:
        """Show why nothing moves."""
        ...


def display(title: str) -> Display:
    """Return the display that fits where this runs."""
    if _in_notebook():
        return _Notebook(title)
    if sys.stderr is not None and sys.stderr.isatty():
        return _Terminal(title)
    return _Quiet()


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and hasattr(shell, "kernel")


class _Quiet:
    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, status: "Status") -> None:
        pass

    def note(self, text: str) -> None:
        pass


class _Terminal:
    """A bar on standard error, so that standard output is free for results."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._progress: Progress | None = None
        self._bar: TaskID | None = None

    def __enter__(self) -> Self:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=Console(stderr=True),
        )
        self._bar = self._progress.add_task(self._title, total=1.0, note="")
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def show(self, status: "Status") -> None:
        if self._progress is not None and self._bar is not None:
            self._progress.update(self._bar, completed=status.progress, note=status.note)

    def note(self, text: str) -> None:
        if self._progress is not None and self._bar is not None:
            self._progress.update(self._bar, note=text)


class _Notebook:
    """One line of HTML that is rewritten; it needs no widgets."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._progress = 0.0
        self._handle: Any = None

    def __enter__(self) -> Self:
        self._draw("")
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, status: "Status") -> None:
        self._progress = status.progress
        self._draw(status.note)

    def note(self, text: str) -> None:
        self._draw(text)

    def _draw(self, note: str) -> None:
        shown: Any = importlib.import_module("IPython.display")
        line = shown.HTML(
            f"{html.escape(self._title)} <progress value='{self._progress:.3f}' max='1'></progress>"
            f" {self._progress:.0%} {html.escape(note)}"
        )
        if self._handle is None:
            self._handle = shown.display(line, display_id=True)
        else:
            self._handle.update(line)
