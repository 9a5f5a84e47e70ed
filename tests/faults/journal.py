"""What a server has acknowledged, written down outside of it, one line at a time."""

import json
import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Any


class Journal:
    """A file beside the server's data folder, to be compared with what the server says later.

    A line is written after an answer came and is on the disk before its client asks for more.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("a+", encoding="utf-8")
        self._lock = threading.Lock()

    def note(self, what: str, **facts: Any) -> None:
        """Note that something was acknowledged."""
        with self._lock:
            self._file.write(json.dumps({"what": what, **facts}) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())

    def entries(self) -> list[dict[str, Any]]:
        """Return everything noted so far, as it stands in the file."""
        with self._lock:
            self._file.seek(0)
            return [json.loads(line) for line in self._file]

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
