"""What ``benchwire backup`` and ``benchwire restore`` show and say."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Bars

from benchwire.backup.restoring import restore_backup
from benchwire.backup.taking import Progress, take_backup
from benchwire.foundation.clock import SystemClock
from benchwire.foundation.settings import SETTINGS_FILE, ServerSettings

_SHOWN = 10


def tell_backup(settings: ServerSettings, folder: Path, *, keep: int | None) -> None:
    """Make a backup and say what is in it."""
    console = Console(soft_wrap=True, highlight=False)
    with _shown("Backup", console) as progress:
        taken = take_backup(settings, folder, SystemClock(), keep=keep, progress=progress)
    manifest = taken.manifest
    console.print(
        f"{taken.folder}: {len(manifest.files)} files, {manifest.size / 1e6:.1f} MB, "
        f"as of {manifest.taken_at}"
    )
    _tell_list("removed by the server meanwhile", manifest.vanished, console)
    _tell_list("a link, not followed", manifest.links, console)
    for name in taken.deleted:
        console.print(f"  deleted: {name}")


def tell_restore(settings: ServerSettings, source: Path, *, runs_root: Path | None) -> None:
    """Make a data folder of a backup and say what has to be known of it."""
    console = Console(soft_wrap=True, highlight=False)
    with _shown("Restore", console) as progress:
        restored = restore_backup(
            source,
            settings.data_dir,
            runs_root=runs_root,
            database_url=settings.database_url,
            progress=progress,
        )
    manifest = restored.manifest
    console.print(
        f"{restored.data_dir}: {len(manifest.files)} files, {manifest.size / 1e6:.1f} MB, "
        f"as of {manifest.taken_at}, made by version {manifest.version}"
    )
    if settings.database_url:
        console.print("The database is in PostgreSQL; start the server with the same address.")
    elif manifest.database == "postgresql":
        console.print("The database was in PostgreSQL and is in the data folder now.")
    if manifest.runs_root is not None:
        place = restored.runs_root or restored.data_dir / "runs"
        console.print(f"Runs were in {manifest.runs_root} and are in {place} now.")
    if (restored.data_dir / SETTINGS_FILE).exists():
        console.print(f"Look through {restored.data_dir / SETTINGS_FILE}: its paths are the old.")


@contextmanager
def _shown(title: str, console: Console) -> Iterator[Progress]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    # Without a terminal, as in cron, only what is said at the end is of use.
    with Bars(*columns, console=console, disable=not console.is_terminal) as bars:
        bar = bars.add_task(title, total=None)
        yield Progress(
            expect=lambda size: bars.update(bar, total=size),
            advance=lambda size: bars.advance(bar, size),
        )


def _tell_list(title: str, names: tuple[str, ...], console: Console) -> None:
    for name in names[:_SHOWN]:
        console.print(f"  {title}: {name}", markup=False)
    if len(names) > _SHOWN:
        console.print(f"  {title}: {len(names) - _SHOWN} more")
