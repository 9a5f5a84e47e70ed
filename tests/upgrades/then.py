"""``benchwire`` on a clock that began at the moment given as ``UPGRADE_THEN``.

A power meter keeps its readings for a year at most, and the folders here grow older than that.
"""

import os
import time
from datetime import UTC, datetime, timedelta

from benchwire.cli import main
from benchwire.foundation.clock import SystemClock

if __name__ == "__main__":
    then, start = datetime.fromisoformat(os.environ["UPGRADE_THEN"]), time.monotonic()
    SystemClock.now = lambda _: then.astimezone(UTC) + timedelta(seconds=time.monotonic() - start)
    main()
