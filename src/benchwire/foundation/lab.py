"""The lab: everything a domain's wiring may build on, made once by the app."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from benchwire.foundation.clock import Clock
from benchwire.foundation.db import Database
from benchwire.foundation.files import AllowedFolders
from benchwire.foundation.instruments.ports import UsbKinds
from benchwire.foundation.jobs.runner import Jobs
from benchwire.foundation.jobs.sessions import Sessions
from benchwire.foundation.samples.store import Samples
from benchwire.foundation.settings import ServerSettings, SettingsBase
from benchwire.foundation.streams import Hub
from benchwire.foundation.web.keys import KEYS_FOLDER
from benchwire.foundation.workers import Executor

S = TypeVar("S", bound=SettingsBase)

ANALYSIS_QUEUE = "analysis"
"""The queue of long computing jobs of all domains, ``max_jobs`` of which run at once."""


@dataclass(frozen=True, slots=True)
class Lab:
    """The server's parts, shared by all domains.

    Parameters
    ----------
    workers
        For work of seconds that somebody waits for, such as plots.
    compute
        For work of minutes, which must not keep the other waiting.
    """

    server: ServerSettings
    clock: Clock
    database: Database
    jobs: Jobs
    sessions: Sessions
    samples: Samples
    hub: Hub
    workers: Executor
    compute: Executor
    emulators: Mapping[str, Sequence[Path]]
    usb: UsbKinds = field(default_factory=UsbKinds)

    @property
    def data_dir(self) -> Path:
        """Folder of everything the server keeps."""
        return self.server.data_dir

    @property
    def allowed(self) -> AllowedFolders:
        """The folders in which requests may name paths."""
        return AllowedFolders(self.server.allowed_paths, home=self.data_dir, secret=(KEYS_FOLDER,))

    def emulated_ports(self, domain: str) -> Sequence[Path]:
        """Return the paths of a domain's emulated instruments, where some were asked for."""
        return self.emulators.get(domain, ())

    def settings(self, kind: type[S]) -> S:
        """Return a domain's own settings."""
        return kind.load(self.data_dir, self.server.chosen.get(kind.section or ""))
