"""What a domain hands to the server."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benchwire.foundation.web.error_handlers import RenderError, render_detail

if TYPE_CHECKING:
    from fastapi import APIRouter
    from prometheus_client.registry import Collector


@dataclass(frozen=True, slots=True)
class NavigationEntry:
    """A page's place in the dashboard's navigation; ``icon`` is a Material symbol's name."""

    title: str
    path: str
    icon: str


@dataclass(frozen=True, slots=True)
class Card:
    """A domain's place on the home page: what it is, and a function that draws it."""

    title: str
    draw: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A domain's part of the dashboard, made when the first page is asked for."""

    navigation: tuple[NavigationEntry, ...] = ()
    cards: tuple[Card, ...] = ()


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
    public_paths
        Paths that need no key.
    lifespan
        Entered when the server starts, left when it ends; instruments are safe when it is left.
    make_safe
        Asks every instrument to be made safe and returns at once. It is called from a signal, so it
        may only set flags and wake threads.
    dashboard
        Imports the domain's pages and registers them.
    collectors
        Sources of Prometheus metrics.
    """

    name: str
    title: str
    claims: tuple[str, ...]
    routers: "tuple[APIRouter, ...]"
    services: tuple[object, ...] = ()
    render_error: RenderError = render_detail
    public_paths: tuple[str, ...] = ()
    lifespan: Callable[[], AbstractAsyncContextManager[Any]] = field(default=nullcontext)
    make_safe: Callable[[], None] = field(default=lambda: None)
    dashboard: Callable[[], Dashboard] = Dashboard
    collectors: "tuple[Collector, ...]" = ()
