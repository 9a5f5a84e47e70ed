"""The commands of whoever runs the server: keys and the audit log. It may run meanwhile."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchwire.foundation.clock import SystemClock, utc_text
from benchwire.foundation.settings import load_server_settings
from benchwire.foundation.web.roles import Role

if TYPE_CHECKING:
    from benchwire.foundation.audit.log import Entry
    from benchwire.foundation.web.keys import NamedKeys

DataDir = Annotated[Path | None, typer.Option(help="Folder of everything that is kept.")]
Name = Annotated[str, typer.Argument(help="Whose key it is: a person or a program.")]

_CHANGED = 1


def add_commands(cli: typer.Typer) -> None:
    """Add these commands to the command line."""
    keys = typer.Typer(
        name="keys", help="Keys for people and programs, each with a role.", no_args_is_help=True
    )
    keys.command(name="add")(add_key)
    keys.command(name="list")(list_keys)
    keys.command(name="remove")(remove_key)
    cli.add_typer(keys)
    cli.command(name="audit")(audit)


def add_key(
    name: Name,
    role: Annotated[Role, typer.Option(help="What it is good for.")] = Role.OPERATOR,
    days: Annotated[
        int | None, typer.Option(min=1, max=36500, help="How long it holds; for ever if not given.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Make a key and print it, once: only its digest is kept. It holds from now on."""
    keys = _keys(data_dir)
    is_first = not keys.are_used and load_server_settings({"data_dir": data_dir}).key is None
    key = keys.add(name, role, days=days)
    print(key)
    if is_first:
        typer.echo("The server was open; from now on it asks everybody for a key.", err=True)


def list_keys(data_dir: DataDir = None) -> None:
    """Show whose keys there are, a line each: name, role, public id, made, holds until."""
    now = SystemClock().now()
    for key in _keys(data_dir).all():
        until = "for ever" if key.expires_at is None else f"{key.expires_at:%Y-%m-%d %H:%M} UTC"
        state = " (over)" if key.is_over(now) else ""
        print(f"{key.name}  {key.role}  {key.id}  {key.made_at:%Y-%m-%d}  {until}{state}")


def remove_key(name: Name, data_dir: DataDir = None) -> None:
    """Withdraw a key. What was opened with it ends at once."""
    _keys(data_dir).remove(name)


def audit(
    last: Annotated[int, typer.Option(min=0, help="How many of the newest entries to show.")] = 50,
    data_dir: DataDir = None,
) -> None:
    """Show who did what, oldest first, and check that no entry was changed or taken out.

    The exit code is 1 if one was.
    """
    from benchwire.foundation.audit.log import AuditLog
    from benchwire.foundation.db import open_for_reading

    settings = load_server_settings({"data_dir": data_dir})
    database = open_for_reading(settings.data_dir, settings.database_url)
    try:
        log = AuditLog(database, SystemClock())
        for entry in reversed(log.page(last)):
            print(_line(entry))
        newest, broken = log.newest(), log.first_broken()
    finally:
        database.close()
    if broken is not None:
        typer.echo(f"Entry {broken} is not as it was written, or is missing.", err=True)
        raise typer.Exit(_CHANGED)
    if newest is not None:
        typer.echo(f"{newest.id} entries, none changed; the last one's hash is {newest.hash}")


def _keys(data_dir: Path | None) -> "NamedKeys":
    from benchwire.foundation.web.keys import NamedKeys

    return NamedKeys(load_server_settings({"data_dir": data_dir}).data_dir)


def _line(entry: "Entry") -> str:
    deed = entry.deed
    done = f"{deed.method} {deed.path}  {deed.status}  {deed.action}".rstrip()
    return f"{entry.id}  {utc_text(entry.at)}  {deed.who}  {deed.role}  {deed.address}  {done}"
