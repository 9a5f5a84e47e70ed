"""The client: a benchwire server from Python.

::

    from benchwire.client import Bench

    bench = Bench("http://lab-server:8000", api_key="...")
    run = bench.potentiostats.ocp(duration=5, slots="slot01").follow()
    run.data()

Nothing of the server is imported, and nothing heavy before it is needed.
"""

from benchwire.client.bench import Bench
from benchwire.client.errors import (
    AnswerLost,
    BenchError,
    Conflict,
    IncompleteWarning,
    Invalid,
    NotFound,
    Refused,
    StillRunning,
    Unauthorised,
    Unavailable,
    Unreachable,
    Unreadable,
    WorkCancelled,
    WorkFailed,
)

__all__ = [
    "AnswerLost",
    "Bench",
    "BenchError",
    "Conflict",
    "IncompleteWarning",
    "Invalid",
    "NotFound",
    "Refused",
    "StillRunning",
    "Unauthorised",
    "Unavailable",
    "Unreachable",
    "Unreadable",
    "WorkCancelled",
    "WorkFailed",
]
