"""Put the potentiostat domain together."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from benchwire.domains.potentiostat.cancelling import Cancelling
from benchwire.domains.potentiostat.checks import RunLimits
from benchwire.domains.potentiostat.errors import PotentiostatRefusal, render_error
from benchwire.domains.potentiostat.items import RunItems
from benchwire.domains.potentiostat.keeper import InstrumentKeeper
from benchwire.domains.potentiostat.live import topic_of
from benchwire.domains.potentiostat.metrics import PotentiostatFigures
from benchwire.domains.potentiostat.nas import NasSettingsFile, SmbShare
from benchwire.domains.potentiostat.routes import router
from benchwire.domains.potentiostat.run import RunParts
from benchwire.domains.potentiostat.run_index import RunIndex
from benchwire.domains.potentiostat.service import (
    Potentiostats,
    build_id,
    folder_of,
)
from benchwire.domains.potentiostat.settings import PotentiostatSettings
from benchwire.domains.potentiostat.slots import SlotRegistry
from benchwire.domains.potentiostat.store import RunStore
from benchwire.domains.potentiostat.uploads import RETENTION_SECONDS, Uploads
from benchwire.foundation.domain import Dashboard, Domain
from benchwire.foundation.files import make_folders
from benchwire.foundation.instruments.ports import (
    SerialPort,
    explicit_ports,
    find_serial_ports,
)
from benchwire.foundation.lab import Lab
from benchwire.foundation.web.roles import Need, Role, reading

if TYPE_CHECKING:
    from benchwire.foundation.web.shell import Shell

logger = logging.getLogger(__name__)

NAME = "potentiostat"
CLAIMS = ("/version", "/health", "/devices", "/modes", "/jobs", "/runs", "/nas", "/admin")

NEEDS = (
    reading("/jobs/status"),
    reading("/modes/{mode}/validate"),
    Need("POST", "/nas/setup", Role.ADMIN),
)


def build(lab: Lab) -> Domain:
    """Make the domain's objects; nothing is opened before its lifespan."""
    settings = lab.settings(PotentiostatSettings)
    runs_root = (settings.runs_root or lab.data_dir / "runs").absolute()
    make_folders(runs_root)
    emulated = [str(path) for path in lab.emulated_ports(NAME)]
    lab.usb.claim(NAME, settings.usb_vendor, settings.usb_product)

    def find_ports() -> list[SerialPort]:
        named = [*settings.ports, *emulated]
        if named:
            return explicit_ports(named)
        return find_serial_ports(settings.usb_vendor, settings.usb_product)

    store = RunStore(lab.database)
    keeper = InstrumentKeeper(
        lambda run_id, batch: lab.hub.publish(topic_of(run_id), batch),
    )
    slots = SlotRegistry(
        find_ports,
        keeper,
        on_safe=lambda fact: lab.sessions.add_made_safe((fact,)),
    )
    uploads = Uploads(
        NasSettingsFile(settings.nas_config_path or lab.data_dir / "nas_smb.json"),
        store,
        lab.jobs,
        lab.clock,
        open_share=SmbShare,
        folder_of=lambda run: folder_of(runs_root, run),
        on_removed=lambda run_id: index.remove(run_id),
    )
    index = RunIndex(runs_root)
    potentiostats = Potentiostats(
        slots=slots,
        parts=RunParts(store, lab.clock, lab.hub, lab.workers, keeper),
        jobs=lab.jobs,
        uploads=uploads,
        samples=lab.samples,
        runs_root=runs_root,
        index=index,
        limits=RunLimits(
            settings.max_run_hours, settings.max_points, settings.min_free_mb * 1_000_000
        ),
        box_id=settings.box_id,
        build=build_id(settings.build, f"{lab.clock.now():%Y%m%dT%H%M%SZ}"),
    )
    items = RunItems(potentiostats)
    lab.jobs.register(potentiostats.job_kind)
    lab.jobs.register(uploads.job_kind)

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        over = threading.Event()
        watcher = threading.Thread(
            target=_watch_ports, args=(slots, settings.rescan_seconds, over), daemon=True
        )
        cleaner = threading.Thread(target=_clean_up, args=(uploads, over), daemon=True)
        await asyncio.to_thread(uploads.load)
        adopted = await asyncio.to_thread(potentiostats.adopt_indexed_runs)
        if adopted:
            logger.info("%d runs were taken over from the index of runs", adopted)
        await asyncio.to_thread(slots.rescan)
        # Cells that a crash has left connected are open by now; this may go through large files.
        await asyncio.to_thread(potentiostats.settle_left_behind)
        watcher.start()
        cleaner.start()
        try:
            yield
        finally:
            over.set()
            await asyncio.to_thread(slots.close)

    def dashboard(shell: "Shell") -> Dashboard:
        from benchwire.domains.potentiostat import pages

        return pages.register(shell, potentiostats)

    return Domain(
        name=NAME,
        title="Potentiostat",
        claims=CLAIMS,
        routers=(router,),
        services=(potentiostats, Cancelling(potentiostats)),
        render_error=render_error,
        refusal=PotentiostatRefusal,
        public_paths=("/version",),
        needs=NEEDS,
        lifespan=lifespan,
        make_safe=potentiostats.make_safe,
        dashboard=dashboard,
        front_page="/potentiostat",
        collectors=(PotentiostatFigures(potentiostats),),
        shelf=items,
        notices=items.notices,
        stored=(
            "/version",
            "/runs/{run_id}/files",
            "/runs/{run_id}/file",
            "/runs/{run_id}/zip",
        ),
        last_known=("/jobs",),
    )


def _watch_ports(slots: SlotRegistry, seconds: float, over: threading.Event) -> None:
    """Notice instruments that are plugged in; one that is pulled keeps its name meanwhile."""
    while not over.wait(seconds):
        try:
            slots.rescan(forget=False)
        except Exception:
            logger.exception("looking for instruments failed")


def _clean_up(uploads: Uploads, over: threading.Event) -> None:
    while not over.wait(RETENTION_SECONDS):
        try:
            uploads.remove_expired(over)
        except Exception:
            logger.exception("removing uploaded runs failed")
