"""Put the object stores together."""

from typing import TYPE_CHECKING

from benchwire.domains.stores.addresses import AllowedAddresses
from benchwire.domains.stores.items import CopyItems
from benchwire.domains.stores.routes import router
from benchwire.domains.stores.service import Copies
from benchwire.domains.stores.settings import StoresSettings
from benchwire.foundation.domain import Dashboard, Domain
from benchwire.foundation.lab import Lab
from benchwire.foundation.web.error_handlers import Unsuccessful, render_unsuccessful

if TYPE_CHECKING:
    from benchwire.foundation.web.shell import Shell

NAME = "stores"
QUEUE = "copies"
_COPIES_AT_ONCE = 2


def build(lab: Lab) -> Domain:
    """Make the domain's objects; no store is spoken to before somebody asks."""
    settings = lab.settings(StoresSettings)
    copies = Copies(
        lab.jobs,
        lab.samples,
        stores=AllowedAddresses(settings.urls),
        allowed=lab.allowed,
        workers=lab.workers,
        compute=lab.compute,
        notes=lab.data_dir / NAME,
        at_once=settings.at_once,
    )
    copies.register(queue=QUEUE, concurrency=_COPIES_AT_ONCE)

    def dashboard(shell: "Shell") -> Dashboard:
        from benchwire.domains.stores import pages

        return pages.register(shell, copies)

    return Domain(
        name=NAME,
        title="Object stores",
        claims=("/stores",),
        routers=(router,),
        services=(copies,),
        render_error=render_unsuccessful,
        refusal=Unsuccessful,
        dashboard=dashboard,
        front_page="/stores",
        shelf=CopyItems(copies),
        last_known=("/stores/copies/{job_id}",),
    )
