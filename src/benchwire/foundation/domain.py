"""What a domain hands to the server."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benchwire.foundation.catalogue import Notice, Shelf
from benchwire.foundation.web.apis import BODY_BYTES
from benchwire.foundation.web.error_handlers import Detail, RenderError, render_detail
from benchwire.foundation.web.roles import Need

if TYPE_CHECKING:
    from fastapi import APIRouter
    from prometheus_client.registry import Collector
    from pydantic import BaseModel
    from sqlalchemy import MetaData

    from benchwire.foundation.web.shell import NavigationEntry, Shell


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A domain's part of the dashboard: its navigation, and what draws it on the home page."""

    navigation: "tuple[NavigationEntry, ...]" = ()
    card: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class Domain:
    """One domain, made by the ``build`` function of its ``wiring``.

    Parameters
    ----------
    claims
        Path prefixes this domain answers.
    routers
        Its routes, with full paths.
    services
        Objects its routes may ask for, looked up by type.
    render_error
        Writes a problem in the API's own error shape.
    refusal
        That shape, for the documents.
    body_bytes
        Largest request body.
    public_paths
        Paths that need no key to be read.
    needs
        Paths whose method does not tell which role they need; see `Need`.
    lifespan
        Entered when the server starts, left when it ends; instruments are safe when it is left.
    make_safe
        Asks every instrument to be made safe and returns at once. It is called on a signal, so it
        may only set flags and wake threads.
    dashboard
        Imports the domain's pages and registers them in the frame it is given.
    companions
        Names of domains that are served with it where it is served alone.
    front_page
        The dashboard's page a browser is shown at ``/`` where the domain is served alone.
    collectors
        Sources of Prometheus metrics.
    shelf
        What it shows in lists over all domains.
    notices
        Says what a person should look at now; called often, so it only looks at what is known.
    tables
        Of a domain from another package: its tables, named ``<domain>_...``, made at the start
        where they are missing. Those of this package come with the migrations.
    stored
        Claims, in which ``{name}`` stands for one segment, where reading needs nothing but the
        database and the files: a reader beside the server answers them by itself.
    last_known
        Claims where the server knows more of work under way than is stored; a reader answers them
        only while nobody else does.
    """

    name: str
    title: str
    claims: tuple[str, ...]
    routers: "tuple[APIRouter, ...]"
    services: tuple[object, ...] = ()
    render_error: RenderError = render_detail
    refusal: "type[BaseModel]" = Detail
    body_bytes: int = BODY_BYTES
    public_paths: tuple[str, ...] = ()
    needs: tuple[Need, ...] = ()
    lifespan: Callable[[], AbstractAsyncContextManager[Any]] = field(default=nullcontext)
    make_safe: Callable[[], None] = field(default=lambda: None)
    dashboard: "Callable[[Shell], Dashboard] | None" = None
    companions: tuple[str, ...] = ()
    front_page: str = "/"
    collectors: "tuple[Collector, ...]" = ()
    shelf: Shelf | None = None
    notices: Callable[[], Sequence[Notice]] = field(default=tuple)
    tables: "MetaData | None" = None
    stored: tuple[str, ...] = ()
    last_known: tuple[str, ...] = ()
