"""The page of the object stores."""

from nicegui import ui

from benchwire.domains.stores.pages import overview
from benchwire.domains.stores.pages.overview import PATH, Desk
from benchwire.domains.stores.service import Copies
from benchwire.foundation.domain import Dashboard
from benchwire.foundation.web.shell import NavigationEntry, Shell


def register(shell: Shell, copies: Copies) -> Dashboard:
    """Register the page in the dashboard's frame; it is in the menu once a store is set."""
    desk = Desk(copies)

    @ui.page(PATH)
    def all_copies() -> None:
        with shell.page("Object stores"):
            overview.draw(desk)

    entry = NavigationEntry("Object stores", PATH, "cloud_sync")
    return Dashboard(navigation=(entry,) if copies.stores.urls else ())
