"""``benchwire`` on a clock that somebody sets: by so many seconds as stand in a file.

The file is named by ``CLOCK_FILE``. Only the wall clock is set; durations run on, as they do on a
real machine.
"""

import os
from datetime import datetime, timedelta
from pathlib import Path

from benchwire import cli
from benchwire.foundation.clock import SystemClock

_real = SystemClock.now


def _set(clock: SystemClock) -> datetime:
    return _real(clock) + timedelta(seconds=float(Path(os.environ["CLOCK_FILE"]).read_text()))


if __name__ == "__main__":
    SystemClock.now = _set  # type: ignore[method-assign]
    cli.main()
