"""The command line: of the server and beside it, of whoever runs it, and of its clients."""

import logging
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from platformdirs import user_data_path

import benchwire
from benchwire import cli_admin, cli_client
from benchwire.foundation import logs
from benchwire.foundation.errors import BenchwireError
from benchwire.foundation.settings import (
    ServerSettings,
    is_this_computer,
    load_server_settings,
    parse_assignments,
)

if TYPE_CHECKING:
    import uvicorn
    from starlette.types import ASGIApp

    from benchwire.app import Application

logger = logging.getLogger(__name__)

cli = typer.Typer(
    name="benchwire",
    help="One dependable server for the whole lab bench.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

# A backstop: instruments are safe and streams ended long before.
_SHUTDOWN_SECONDS = 3
# Whatever hangs, the process is gone this long after it was asked to end.
_GONE_SECONDS = 9.0
_LAST_WORDS_SECONDS = 0.2
_UNSENT_BYTES = 128 * 1024

Host = Annotated[str | None, typer.Option(help="Address to listen on.")]
Port = Annotated[int | None, typer.Option(help="Port to listen on.")]
DataDir = Annotated[Path | None, typer.Option(help="Folder of everything that is kept.")]
Emulate = Annotated[
    list[str] | None, typer.Option(help="Emulated instruments, such as potentiostat=2.")
]
Also = Annotated[
    list[str] | None, typer.Option(help="A domain to serve alone as well, such as plates=3000.")
]
BatteryData = Annotated[
    Path | None, typer.Option(help="Folder of battery recordings, the one with BESS in it.")
]


def main() -> None:
    """Run the command line; an error a person can mend is one line, not a trace."""
    try:
        cli()
    except BenchwireError as error:
        print(f"benchwire: {error.message}. {error.hint}".rstrip(), file=sys.stderr)
        sys.exit(2)


@cli.callback(invoke_without_command=True)
def version_option(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """One dependable server for the whole lab bench."""
    if version:
        print(benchwire.__version__)
        raise typer.Exit


@cli.command()
def serve(
    host: Host = None,
    port: Port = None,
    data_dir: DataDir = None,
    emulate: Emulate = None,
    also: Also = None,
    battery_data: BatteryData = None,
) -> None:
    """Start the server."""
    settings = load_server_settings(
        {
            "chosen": {"battery": {"data": battery_data}},
            "host": host,
            "port": port,
            "data_dir": data_dir,
            "emulate": parse_assignments(emulate) if emulate else None,
            "also": parse_assignments(also) if also else None,
        }
    )
    logs.configure(settings.log_format, level=logging.DEBUG if settings.debug else logging.INFO)
    _warn_if_open(settings)
    run_server(settings)


@cli.command()
def reader(
    host: Host = None,
    port: Port = None,
    data_dir: DataDir = None,
    owner: Annotated[
        str | None, typer.Option(help="Address of the server, where it is another computer's.")
    ] = None,
) -> None:
    """Start a process that only reads, beside the server that owns the instruments."""
    import uvicorn

    from benchwire.foundation.web.connections import allow_many_connections
    from benchwire.reader import Reader

    allow_many_connections()

    settings = load_server_settings(
        {"host": host, "port": port, "data_dir": data_dir, "owner": owner}
    )
    logs.configure(settings.log_format, level=logging.DEBUG if settings.debug else logging.INFO)
    _warn_if_open(settings)
    listener = _listen(settings.host, settings.port)
    uvicorn.Server(_config(Reader(settings), lifespan="on")).run([listener])


@cli.command()
def demo(
    port: Port = None,
    data_dir: DataDir = None,
    once: Annotated[bool, typer.Option(help="End after the work.")] = False,
    slots: Annotated[int, typer.Option(min=1, max=16, help="Emulated potentiostats.")] = 4,
) -> None:
    """Start the whole system on emulated instruments and run real work on it."""
    from benchwire import demo as story

    folder = data_dir or user_data_path("benchwire-demo")
    settings = load_server_settings(
        {
            "port": 8000 if port is None else port,
            "host": "127.0.0.1",
            "data_dir": folder,
            "chosen": {"battery": {"data": folder / story.BATTERY_FOLDER}},
            "emulate": {"potentiostat": slots, "powermeter": 2},
            "log_format": "text",
        }
    )
    logs.configure(settings.log_format, level=30)
    sys.exit(story.tell(settings, once=once, run_server=run_server))


@cli.command()
def emulate(
    domain: Annotated[str, typer.Argument(help="Kind of instrument, such as potentiostat.")],
    count: Annotated[int, typer.Option(min=1, max=64, help="How many.")] = 1,
    folder: Annotated[
        Path | None, typer.Option(help="Where their paths are made; a temporary folder if not.")
    ] = None,
) -> None:
    """Start emulated instruments that any program can open, until Ctrl-C."""
    import tempfile

    from benchwire.app import emulate as start

    with tempfile.TemporaryDirectory(prefix="benchwire-") as temporary:
        emulators = start(domain, count, folder or Path(temporary))
        ends = {signal.SIGINT, signal.SIGTERM}
        signal.pthread_sigmask(signal.SIG_BLOCK, ends)
        for path in emulators.paths.values():
            print(path, flush=True)
        signal.sigwait(ends)
        emulators.close()


@cli.command()
def check(data_dir: DataDir = None) -> None:
    """Say what is found, a line each; the exit code says whether the server would start."""
    from benchwire.checks import check_all

    ok = True
    for item in check_all(load_server_settings({"data_dir": data_dir})):
        print(f"{'ok  ' if item.ok else 'FAIL'}  {item.name}: {item.text}")
        ok = ok and item.ok
    raise typer.Exit(0 if ok else 1)


@cli.command()
def backup(
    folder: Annotated[Path, typer.Argument(help="Folder of backups; a new one is put into it.")],
    data_dir: DataDir = None,
    keep: Annotated[
        int | None, typer.Option(min=1, help="Backups that stay in the folder; older ones go.")
    ] = None,
) -> None:
    """Copy everything that is kept, while the server runs."""
    from benchwire.backup.telling import tell_backup

    tell_backup(load_server_settings({"data_dir": data_dir}), folder, keep=keep)


@cli.command()
def restore(
    source: Annotated[Path, typer.Argument(help="A backup: the folder with manifest.json.")],
    data_dir: Annotated[
        Path | None, typer.Option(help="New data folder; empty or not there yet.")
    ] = None,
    runs_root: Annotated[
        Path | None, typer.Option(help="New folder of runs that had one of their own.")
    ] = None,
) -> None:
    """Make a data folder of a backup; into PostgreSQL where BENCHWIRE_DATABASE_URL names it."""
    from benchwire.backup.telling import tell_restore

    tell_restore(load_server_settings({"data_dir": data_dir}), source, runs_root=runs_root)


cli_admin.add_commands(cli)
cli_client.add_commands(cli)


def run_server(settings: ServerSettings, *, ready: threading.Event | None = None) -> None:
    """Serve until a signal ends it.

    Parameters
    ----------
    ready
        Set once requests are answered.
    """
    import asyncio

    import uvicorn

    from benchwire.foundation.processes import keep_for_good, share_heaps, switch_often
    from benchwire.foundation.web.connections import allow_many_connections
    from benchwire.foundation.web.relay import publish_address
    from benchwire.opening import Opening

    allow_many_connections()
    share_heaps()
    switch_often()
    listener = _listen(settings.host, settings.port)
    # Asked now: a signal in the first moment closes it while the rest is still being made.
    address = listener.getsockname()[:2]
    also = {name: _listen(settings.host, port) for name, port in settings.also.items()}
    alone: list[uvicorn.Server] = []

    async def whole(app: "Application") -> None:
        for name, extra_listener in also.items():
            alone.append(await _serve_alone(app.alone(name), extra_listener))
        keep_for_good()
        publish_address(settings.data_dir, *address)
        if ready is not None:
            ready.set()

    class Server(uvicorn.Server):
        """Makes instruments safe from the signal itself, before clients are waited for."""

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            opening.make_safe()
            threading.Thread(target=_leave_in_time, args=(opening.closed,), daemon=True).start()
            super().handle_exit(sig, frame)

        def end(self) -> None:
            self.should_exit = True

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            await asyncio.gather(*(extra.shutdown() for extra in alone))
            await super().shutdown(sockets)

    opening = Opening(settings, whole=whole, failed=lambda: server.end())
    server = Server(_config(opening, lifespan="on"))
    _take_signals()
    server.run([listener])
    if opening.error is not None:
        raise opening.error


def _leave_in_time(closed: threading.Event) -> None:
    """End the process if something keeps it, such as a disk that does not answer.

    Its instruments are safe by then: their holders open the cells, with the server or without it.

    Parameters
    ----------
    closed
        Whether all is stored, and nothing but threads that hang is left.
    """
    time.sleep(_GONE_SECONDS)
    hanging = [thread.name for thread in threading.enumerate() if not thread.daemon]
    words = ("ended without waiting any longer for: %s", ", ".join(hanging))
    # Where the log goes may hang as well.
    telling = threading.Thread(target=logger.error, args=words, daemon=True)
    telling.start()
    telling.join(_LAST_WORDS_SECONDS)
    os._exit(0 if closed.is_set() else 1)


def _take_signals() -> None:
    from benchwire.foundation.companion import hang_up

    for number in (signal.SIGINT, signal.SIGTERM):
        # Once it has ended in good order, uvicorn raises the signal anew for whoever was before it.
        signal.signal(number, lambda *_: None)
    for number in hang_up():
        # The end of a session is one of the server too, unless it was begun with nohup.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: signal.raise_signal(signal.SIGTERM))


async def _serve_alone(app: "ASGIApp", listener: socket.socket) -> "uvicorn.Server":
    """Serve one domain by itself on a port of its own, within the main server's life."""
    import uvicorn

    config = _config(app, lifespan="off", date_header=False)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup([listener])
    return server


def _config(app: "ASGIApp", **more: Any) -> "uvicorn.Config":
    """Return how each of the servers speaks HTTP."""
    import uvicorn

    from benchwire.foundation.web.connections import KEEP_ALIVE_SECONDS, PromptHead

    return uvicorn.Config(
        app,
        http=PromptHead,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        **more,
    )


def _listen(host: str, port: int) -> socket.socket:
    """Take the port before anything is started, so that a taken one is a plain message."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    # Windows would let two servers share a port by the name that means a quick restart elsewhere.
    exclusive = getattr(socket, "SO_EXCLUSIVEADDRUSE", None)
    listener.setsockopt(
        socket.SOL_SOCKET, socket.SO_REUSEADDR if exclusive is None else exclusive, 1
    )
    # So that a client which does not read is noticed after some events and not after megabytes;
    # what is on its way to one that reads is not counted.
    if (low_water := getattr(socket, "TCP_NOTSENT_LOWAT", None)) is not None:
        listener.setsockopt(socket.IPPROTO_TCP, low_water, _UNSENT_BYTES)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise PortTaken(
            f"Port {port} of {host} cannot be used: {error.strerror}",
            hint="Stop the program that uses it, or choose another with --port.",
        ) from error
    return listener


class PortTaken(BenchwireError):
    """The server cannot listen where it should."""

    code = "server.port_taken"


def _warn_if_open(settings: ServerSettings) -> None:
    from benchwire.foundation.web.keys import NamedKeys

    is_open = settings.api_key is None and not NamedKeys(settings.data_dir).are_used
    if is_open and not is_this_computer(settings.host):
        print(
            "benchwire: no key is set and the server listens beyond this computer: anyone on the "
            "network can control the instruments. Set BENCHWIRE_API_KEY.",
            file=sys.stderr,
        )
