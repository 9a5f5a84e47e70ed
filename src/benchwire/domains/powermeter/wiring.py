"""Put the power-meter domain together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from benchwire.domains.powermeter.driver import BAUDRATE
from benchwire.domains.powermeter.errors import MeterRefusal, render_error
from benchwire.domains.powermeter.items import MeterItems
from benchwire.domains.powermeter.metrics import PowerMeterFigures
from benchwire.domains.powermeter.mqtt import MqttPublisher
from benchwire.domains.powermeter.routes import router
from benchwire.domains.powermeter.service import Listener, PowerMeters
from benchwire.domains.powermeter.settings import PowerMeterSettings
from benchwire.domains.powermeter.store import PowerStore
from benchwire.domains.powermeter.webhook import Webhook
from benchwire.foundation.domain import Dashboard, Domain
from benchwire.foundation.instruments.transport import SerialTransport
from benchwire.foundation.lab import Lab

if TYPE_CHECKING:
    from benchwire.foundation.web.shell import Shell

NAME = "powermeter"
DEFAULT_PORT = "/dev/ttyACM0"
CLAIMS = tuple(
    f"/api/{room}"
    for room in (
        "data", "stats", "status", "config", "export", "chart", "live", "meters", "ports",
        "sessions", "alarms", "recording", "screen",
    )
)  # fmt: skip


def build(lab: Lab) -> Domain:
    """Make the domain's objects; no port is opened before its lifespan."""
    settings = lab.settings(PowerMeterSettings)
    emulated = [str(path) for path in lab.emulated_ports(NAME)]
    named = [*settings.ports, *emulated]
    listeners: list[Listener] = []
    webhook = Webhook(settings.webhook_url) if settings.webhook_url else None
    if webhook is not None:
        listeners.append(webhook)
    publisher = MqttPublisher(settings) if settings.mqtt_host else None
    if publisher is not None:
        listeners.append(publisher)
    meters = PowerMeters(
        PowerStore(lab.database),
        lab.clock,
        lab.hub,
        declared=named or [DEFAULT_PORT],
        is_expected=bool(named),
        beginning={
            "polling_interval": settings.polling_interval,
            "data_retention_minutes": settings.data_retention_minutes,
        },
        open_port=lambda path: SerialTransport(path, BAUDRATE),
        samples=lab.samples,
        listeners=listeners,
    )
    items = MeterItems(meters)

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        if webhook is not None:
            webhook.start()
        await asyncio.to_thread(meters.start)
        if publisher is not None:
            publisher.start(meters.all)
        try:
            yield
        finally:
            await asyncio.to_thread(meters.close)
            if publisher is not None:
                await asyncio.to_thread(publisher.close)
            if webhook is not None:
                await asyncio.to_thread(webhook.close)

    def dashboard(shell: "Shell") -> Dashboard:
        from benchwire.domains.powermeter import pages

        return pages.register(shell, meters)

    return Domain(
        name=NAME,
        title="Power meter",
        claims=CLAIMS,
        routers=(router,),
        services=(meters,),
        render_error=render_error,
        refusal=MeterRefusal,
        lifespan=lifespan,
        dashboard=dashboard,
        front_page="/powermeter",
        collectors=(PowerMeterFigures(meters),),
        shelf=items,
        notices=items.notices,
    )
