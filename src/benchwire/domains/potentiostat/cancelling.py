"""Cancelling of runs, which waits for no other request."""

from anyio import CapacityLimiter, to_thread

from benchwire.domains.potentiostat.service import Potentiostats

_AT_ONCE = 8


class Cancelling:
    """Opens cells at once, whatever the database does.

    What needs the database is done afterwards, in threads that no other request can hold.
    """

    def __init__(self, potentiostats: Potentiostats) -> None:
        self._potentiostats = potentiostats
        self._limiter = CapacityLimiter(_AT_ONCE)

    async def cancel(self, run_id: str) -> str:
        """Cancel a run and return what its status will be; see `Potentiostats.cancel`."""
        self._potentiostats.open_cells(run_id)
        return await to_thread.run_sync(self._potentiostats.cancel, run_id, limiter=self._limiter)
