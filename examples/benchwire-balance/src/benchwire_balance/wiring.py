"""Put the balances together; the server finds `build` by the entry point in ``pyproject.toml``."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from benchwire.foundation.domain import Dashboard, Domain
from benchwire.foundation.instruments.transport import SerialTransport
from benchwire.foundation.lab import Lab
from benchwire_balance.errors import BalanceRefusal, render_error
from benchwire_balance.items import WeighingItems
from benchwire_balance.routes import router
from benchwire_balance.service import PAGE, Balances
from benchwire_balance.settings import BalanceSettings
from benchwire_balance.store import WeighingStore
from benchwire_balance.tables import metadata

if TYPE_CHECKING:
    from benchwire.foundation.web.shell import Shell

NAME = "balance"


def build(lab: Lab) -> Domain:
    """Make the domain's objects; no port is opened before its lifespan."""
    settings = lab.settings(BalanceSettings)
    store = WeighingStore(lab.database)
    balances = Balances(
        store,
        lab.clock,
        lab.hub,
        ports=[*settings.ports, *(str(path) for path in lab.emulated_ports(NAME))],
        open_port=lambda path: SerialTransport(path, settings.baudrate),
        interval=settings.polling_interval,
        stable_seconds=settings.stable_seconds,
    )

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        await asyncio.to_thread(balances.start)
        try:
            yield
        finally:
            await asyncio.to_thread(balances.close)

    def dashboard(shell: "Shell") -> Dashboard:
        # The page library takes longer to import than all else, so only the dashboard does it.
        from benchwire_balance import pages

        return pages.register(shell, balances)

    return Domain(
        name=NAME,
        title="Balance",
        claims=("/balance",),
        routers=(router,),
        services=(balances,),
        render_error=render_error,
        refusal=BalanceRefusal,
        lifespan=lifespan,
        dashboard=dashboard,
        front_page=PAGE,
        shelf=WeighingItems(store),
        notices=balances.notices,
        tables=metadata,
    )
