"""Server-sent events, read for as long as wanted over as many connections as it takes."""

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from benchwire.client.connection import Connection
from benchwire.client.errors import Unavailable, Unreachable

# The server says something at least every 15 s.
_SILENCE_SECONDS = 45.0
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.2, 5.0


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its name, its parsed JSON, and its id where it has one."""

    name: str
    data: Any
    id: str | None = None


def events(connection: Connection, path: str, *, patience: float | None = None) -> Iterator[Event]:
    """Yield the events at a path until the caller has enough.

    A connection that is lost is made again, and goes on after the last event where the server
    numbers its events.

    Parameters
    ----------
    patience
        Seconds without a connection after which it is given up; the connection's own if None.

    Raises
    ------
    Unreachable, Unavailable
        There was no connection for so long; at once if there never was one.
    """
    patience = connection.patience if patience is None else patience
    last_id: str | None = None
    is_open, deadline, pause = False, 0.0, _FIRST_PAUSE_SECONDS
    while True:
        headers = {} if last_id is None else {"Last-Event-ID": last_id}
        try:
            with connection.lines(path, headers, _SILENCE_SECONDS) as lines:
                is_open = True
                for event in _parsed(lines):
                    last_id = event.id or last_id
                    pause, deadline = _FIRST_PAUSE_SECONDS, 0.0
                    yield event
        except (Unreachable, Unavailable):
            deadline = deadline or time.monotonic() + patience
            if not is_open or time.monotonic() > deadline:
                raise
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


def _parsed(lines: Iterable[str]) -> Iterator[Event]:
    name, event_id, data = "message", None, list[str]()
    for line in lines:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            data.append(value)
        elif field == "event":
            name = value
        elif field == "id":
            event_id = value
        elif not line:
            if data:
                yield Event(name, json.loads("\n".join(data)), event_id)
            name, event_id, data = "message", None, []
