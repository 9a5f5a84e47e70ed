"""Put the power-meter domain together."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from benchwire.domains.powermeter.errors import MeterRefusal, render_error
from benchwire.domains.powermeter.items import MeterItems
from benchwire.domains.powermeter.metrics import PowerMeterFigures
from benchwire.domains.powermeter.mqtt import MqttPublisher
from benchwire.domains.powermeter.routes import router
from benchwire.domains.powermeter.service import Listener, PowerMeters
from benchwire.domains.powermeter.settings import PowerMeterSettings
from benchwire.domains.powermeter.store import PowerStore
from benchwire.domains.powermeter.webhook import Webhook
from benchwire.foundation.catalogue import Notice
from benchwire.foundation.domain import Dashboard, Domain
from benchwire.foundation.lab import Lab
from benchwire.foundation.web.roles import Need, Role

if TYPE_CHECKING:
    from benchwire.foundation.web.shell import Shell

logger = logging.getLogger(__name__)

NAME = "powermeter"
DEFAULT_PORT = "/dev/ttyACM0"
CLAIMS = tuple(
    f"/api/{room}"
    for room in (
        "data", "stats", "status", "config", "export", "chart", "live", "meters", "ports",
        "sessions", "alarms", "recording", "screen",
    )
)  # fmt: skip

NEEDS = (
    Need("POST", "/api/config", Role.ADMIN),
    Need("POST", "/api/meters", Role.ADMIN),
    # The meter is not polled while it tells what it has recorded.
    Need("GET", "/api/recording", Role.OPERATOR),
)


def build(lab: Lab) -> Domain:
    """Make the domain's objects; no port is opened before its lifespan."""
    settings = lab.settings(PowerMeterSettings)
    emulated = [str(path) for path in lab.emulated_ports(NAME)]
    named = [*settings.ports, *emulated]
    withheld = _withheld(settings)
    webhook, publisher = _senders(settings)
    listeners: list[Listener] = [item for item in (webhook, publisher) if item is not None]
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
        samples=lab.samples,
        owner_at=lab.usb.owner_at,
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
        needs=NEEDS,
        routers=(router,),
        services=(meters,),
        render_error=render_error,
        refusal=MeterRefusal,
        lifespan=lifespan,
        make_safe=meters.hurry,
        dashboard=dashboard,
        front_page="/powermeter",
        collectors=(PowerMeterFigures(meters),),
        shelf=items,
        notices=lambda: [*withheld, *items.notices()],
    )


def _senders(settings: PowerMeterSettings) -> tuple[Webhook | None, MqttPublisher | None]:
    """Make what tells others of the meters, as far as the settings ask for it."""
    webhook = publisher = None
    if settings.webhook_url and not settings.webhook_tells_all:
        webhook = Webhook(settings.webhook_url)
    if settings.mqtt_host and not settings.mqtt_tells_all:
        publisher = MqttPublisher(settings)
    return webhook, publisher


def _withheld(settings: PowerMeterSettings) -> list[Notice]:
    """Say what is not sent, since the network could read a secret along the way."""
    found = []
    if settings.webhook_tells_all:
        found.append("Alarms are not posted: webhook_url is not https")
    if settings.mqtt_tells_all:
        found.append("Nothing is published by MQTT: the password would be sent without TLS")
    for fact in found:
        logger.error("%s, and send_in_clear of [%s] is not set", fact, NAME)
    return [Notice("error", f"{fact}. Use TLS, or set send_in_clear.") for fact in found]
