"""Put the battery domain together."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from benchwire.domains.battery.analyses import Analyses
from benchwire.domains.battery.archive import Archive
from benchwire.domains.battery.items import BatteryItems
from benchwire.domains.battery.metrics import BatteryFigures
from benchwire.domains.battery.mqtt import Broker, MqttSubscriber
from benchwire.domains.battery.poller import Pollers
from benchwire.domains.battery.recorded import Options
from benchwire.domains.battery.recordings import Recordings
from benchwire.domains.battery.register_map import load_maps
from benchwire.domains.battery.routes import router
from benchwire.domains.battery.samples import MICROSECONDS, Reading
from benchwire.domains.battery.service import Telemetry
from benchwire.domains.battery.settings import BatterySettings
from benchwire.domains.battery.sources import Sources
from benchwire.domains.battery.store import ReadingStore
from benchwire.domains.battery.subscriptions import load_subscriptions
from benchwire.foundation.catalogue import Notice
from benchwire.foundation.domain import Dashboard, Domain
from benchwire.foundation.lab import Lab
from benchwire.foundation.web.roles import Need, Role

if TYPE_CHECKING:
    from benchwire.foundation.web.shell import Shell

logger = logging.getLogger(__name__)

NAME = "battery"
# Ten thousand readings with a value in each field.
_BODY_BYTES = 32_000_000
_WITHHELD = "No readings come by MQTT: the password would be sent without TLS"

# Readings that arrive are data, kept with their source; they would bury what people do.
NEEDS = tuple(
    Need("POST", f"/{group}/{{device_id}}/readings", Role.OPERATOR, is_logged=False)
    for group in ("bms", "pcs")
)


def build(lab: Lab) -> Domain:
    """Make the domain's objects; nothing is read before its lifespan."""
    settings = lab.settings(BatterySettings)
    folder = lab.data_dir / NAME
    recordings = Recordings(
        settings.data,
        folder / "recorded",
        lab.clock,
        options=Options(
            tolerance_us=round(settings.tolerance_seconds * MICROSECONDS), zone=settings.timezone
        ),
        believed_seconds=settings.rescan_seconds,
    )
    archive = Archive(
        recordings,
        folder / "live",
        ReadingStore(lab.database),
        lab.workers,
        lab.clock,
        rescan_seconds=settings.rescan_seconds,
    )
    telemetry = Telemetry(archive, lab.hub, lab.clock)
    analyses = Analyses(telemetry, archive, lab.workers)
    sources = _sources(lab, settings, telemetry)
    items = BatteryItems(telemetry, sources)
    withheld = []
    if settings.mqtt_map is not None and settings.mqtt_tells_all:
        withheld.append(Notice("error", f"{_WITHHELD}. Use TLS, or set send_in_clear."))

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await asyncio.to_thread(archive.start)
            stack.push_async_callback(asyncio.to_thread, archive.close)
            stack.push_async_callback(asyncio.to_thread, telemetry.close)
            stack.callback(analyses.close)
            await asyncio.to_thread(sources.start)
            stack.push_async_callback(asyncio.to_thread, sources.close)
            yield

    def dashboard(shell: "Shell") -> Dashboard:
        from benchwire.domains.battery import pages

        return pages.register(shell)

    return Domain(
        name=NAME,
        title="Battery",
        claims=("/bms", "/pcs", "/bess", "/dashboard"),
        needs=NEEDS,
        routers=(router,),
        services=(telemetry, analyses, sources),
        body_bytes=_BODY_BYTES,
        lifespan=lifespan,
        dashboard=dashboard,
        front_page="/battery",
        collectors=(BatteryFigures(telemetry, sources),),
        shelf=items,
        notices=lambda: [*withheld, *items.notices()],
    )


def _sources(lab: Lab, settings: BatterySettings, telemetry: Telemetry) -> Sources:
    """Make what takes live readings by itself, where the settings name any."""

    def sink(device_id: str, group: str, readings: Sequence[Reading]) -> None:
        telemetry.append(device_id, group, readings)

    pollers = subscriber = None
    if settings.modbus_map is not None:
        pollers = Pollers(load_maps(settings.modbus_map), sink, clock=lab.clock)
    if settings.mqtt_map is not None and settings.mqtt_tells_all:
        logger.error("%s, and send_in_clear of [%s] is not set", _WITHHELD, NAME)
    elif settings.mqtt_map is not None:
        password = settings.mqtt_password
        broker = Broker(
            settings.mqtt_host,
            settings.mqtt_port,
            tls=settings.mqtt_tls,
            username=settings.mqtt_username,
            password=None if password is None else password.get_secret_value(),
            client_id=settings.mqtt_client_id,
        )
        subscriptions = load_subscriptions(settings.mqtt_map)
        subscriber = MqttSubscriber(subscriptions, sink, broker=broker, clock=lab.clock)
    return Sources(pollers, subscriber)
