"""Alarms to a web address of the lab's choice, each as one JSON object."""

import logging
import queue
import threading
from typing import TYPE_CHECKING, Any

from benchwire.domains.powermeter.alarms import AlarmEvent
from benchwire.domains.powermeter.meter import Meter, event_json

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger(__name__)

MOST_WAITING = 1000
PAUSES = (1.0, 5.0, 30.0)
_ANSWER_SECONDS = 10.0


class Webhook:
    """Posts alarms in their order, from a thread of its own; each is tried a few times."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._waiting: queue.Queue[dict[str, Any] | None] = queue.Queue(MOST_WAITING)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="webhook", daemon=True)

    def start(self) -> None:
        """Begin posting."""
        self._thread.start()

    def close(self) -> None:
        """End; what could not be posted by now is given up."""
        self._over.set()
        self._put(None)
        self._thread.join(_ANSWER_SECONDS)

    def alarm(self, meter: Meter, event: AlarmEvent) -> None:
        """Take an alarm to be posted."""
        self._put({"meter": meter.name, **event_json(event)})

    def _put(self, body: dict[str, Any] | None) -> None:
        try:
            self._waiting.put_nowait(body)
        except queue.Full:
            logger.error("the webhook is too slow; an alarm was not posted")

    def _run(self) -> None:
        import httpx

        with httpx.Client(timeout=_ANSWER_SECONDS) as client:
            while not self._over.is_set():
                body = self._waiting.get()
                if body is not None:
                    self._post(client, body)

    def _post(self, client: "httpx.Client", body: dict[str, Any]) -> None:
        import httpx

        for pause in (*PAUSES, None):
            try:
                client.post(self._url, json=body).raise_for_status()
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                if pause is None or self._over.wait(pause):
                    # The address may carry a secret, so only the kind of failure is told.
                    logger.error("an alarm was not posted: %s", type(error).__name__)
                    return
            else:
                return
