"""The dashboard's pages over all domains, and the mounting of every page."""

from collections.abc import Sequence

from fastapi import FastAPI, HTTPException
from nicegui import app, ui

from benchwire.foundation.domain import Domain
from benchwire.foundation.lab import Lab
from benchwire.foundation.web.keys import KeyRing
from benchwire.foundation.web.shell import NavigationEntry, Shell
from benchwire.foundation.web.watch import Watch
from benchwire.home.catalogue import Catalogue
from benchwire.home.pages import first, samples, search, work
from benchwire.home.pages.desk import Desk
from benchwire.home.routes import JOBS_TOPIC

RECONNECT_SECONDS = 30.0


def mount(
    host: FastAPI,
    lab: Lab,
    domains: Sequence[Domain],
    catalogue: Catalogue,
    *,
    keys: KeyRing,
    path: str,
) -> None:
    """Register every page and mount the dashboard on an application."""
    unfinished = Watch(lab.jobs.unfinished, hub=lab.hub, topic=JOBS_TOPIC)
    shell = Shell(lab.jobs, path, unfinished, keys=keys, look_up=catalogue.known)
    shell.navigation += [
        NavigationEntry("Home", "/", "home"),
        NavigationEntry("Jobs", work.PATH, "checklist"),
        NavigationEntry("Samples", samples.PATH, "science"),
    ]
    desk = Desk(lab, catalogue, shell)
    dashboards = [domain.dashboard(shell) for domain in domains if domain.dashboard is not None]
    for dashboard in dashboards:
        shell.navigation.extend(dashboard.navigation)
    cards = [dashboard.card for dashboard in dashboards if dashboard.card is not None]
    first.register(desk, cards, [entry for one in dashboards for entry in one.navigation])
    work.register(desk)
    search.register(desk)
    samples.register(desk)
    # The style sheet has the colours of both themes; the page library would set its own over them.
    # The bar above the page tells nobody what it is about; pages say what they wait for.
    app.config.quasar_config["loadingBar"]["skipHijack"] = True
    app.colors(
        primary="var(--bw-primary)",
        secondary="var(--bw-busy)",
        accent="var(--bw-accent)",
        dark="var(--bw-surface)",
        dark_page="var(--bw-page)",
        positive="var(--bw-good)",
        negative="var(--bw-bad)",
        info="var(--bw-busy)",
        warning="var(--bw-warn)",
    )
    ui.run_with(
        host,
        mount_path=path,
        title="benchwire",
        language="en-US",
        # The browser's choice or the system's; live.js sets it before the page is painted.
        dark=None,
        # The style sheet has every class the pages use; a compiler in the browser takes longer to
        # load than the rest of the page.
        tailwind=False,
        # No page binds to anything that has to be asked whether it changed.
        binding_refresh_interval=None,
        reconnect_timeout=RECONNECT_SECONDS,
        show_welcome_message=False,
    )
    # Anybody may ask for the pages' files. For what it does not know the library would make a page
    # that stays in memory for a minute.
    app.add_api_route("/_nicegui/{path:path}", _nothing_here, include_in_schema=False)


def _nothing_here(path: str) -> None:
    raise HTTPException(404, f"There is no {path:.120}")
