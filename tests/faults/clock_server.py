"""``benchwire`` on a clock that somebody sets: by so many seconds as stand in a file.

The file is named by ``CLOCK_FILE`` and read at the start and whenever ``SIGUSR1`` comes. Only the
wall clock is set; durations run on, as they do on a real machine.
"""

import os
import signal
from datetime import datetime, timedelta
from pathlib import Path

from benchwire import cli
from benchwire.foundation.clock import SystemClock

_real = SystemClock.now
_offset = timedelta(0)


def _read(*_: object) -> None:
    global _offset
    _offset = timedelta(seconds=float(Path(os.environ["CLOCK_FILE"]).read_text()))


def _now(clock: SystemClock) -> datetime:
    return _real(clock) + _offset


if __name__ == "__main__":
    _read()
    signal.signal(signal.SIGUSR1, _read)
    SystemClock.now = _now  # type: ignore[method-assign]
    cli.main()
