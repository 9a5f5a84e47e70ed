"""What the pages share: the services, addresses, and the look of pictures."""

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from benchwire.domains.microscopy.service import Folders, Movies, Workflows
from benchwire.foundation.jobs.states import JobRecord
from benchwire.foundation.web.watch import Watches

PATH = "/microscopy"
STYLE = """
<style>
  .mc-viewer { position: relative; width: 100%; line-height: 0; background: #10151a;
               border-radius: 6px; overflow: hidden; }
  .mc-viewer img { width: 100%; height: 100%; display: block; object-fit: contain; }
  .mc-viewer[data-state="loading"] img { opacity: .8; }
  .mc-viewer[data-clickable="true"] img { cursor: crosshair; }
  .mc-viewer[data-state="failed"] img { visibility: hidden; }
  .mc-note { position: absolute; inset: auto 0 0 0; padding: .5rem .75rem; line-height: 1.4;
             color: #fff; background: #b3261e; font-size: .85rem; }
  .mc-note:empty { display: none; }
  .mc-ring { position: absolute; display: none; aspect-ratio: 1; border: 3px solid #e69f00;
             border-radius: 50%; transform: translate(-50%, -50%); pointer-events: none;
             box-shadow: 0 0 0 1px #000; }
  .mc-fovs { display: grid; gap: 3px; width: 100%; max-height: 11rem; overflow: auto;
             grid-template-columns: repeat(auto-fill, minmax(2.6rem, 1fr)); }
  .mc-fov { font-size: .75rem; line-height: 1.5rem; text-align: center; border-radius: 4px;
            border: 1px solid var(--bw-control); font-variant-numeric: tabular-nums;
            background: linear-gradient(90deg, var(--bw-busy-soft) var(--done), transparent 0); }
  .mc-fov[data-state="completed"] { background: #0b6e69; color: #fff; }
  .mc-fov[data-state="failed"] { background: #b3261e; color: #fff; }
  .mc-fov[data-state="cancelled"] { color: var(--bw-muted); border-style: dashed; }
</style>
"""


Fovs = list[dict[str, Any]]
RUN_SECONDS = 1.0


@dataclass(slots=True)
class Desk:
    """The services behind the pages, looked at once for all of them."""

    movies: Movies
    folders: Folders
    workflows: Workflows
    runs: Watches[tuple[JobRecord, Fovs]] = field(init=False)

    def __post_init__(self) -> None:
        self.runs = Watches(self.look_at, seconds=RUN_SECONDS)

    def look_at(self, job_id: str) -> tuple[JobRecord, Fovs]:
        """Find how far a workflow and each of its FOVs is."""
        return self.workflows.record(job_id), self.workflows.fovs(job_id)


def movie_path(file_path: str) -> str:
    """Return the page of a movie."""
    return f"{PATH}?{urlencode({'path': file_path})}"


def run_path(job_id: str) -> str:
    """Return the page of a workflow."""
    return f"{PATH}/run/{quote(job_id, safe='')}"


def fit_path(csv_path: str) -> str:
    """Return the page on which a model is fitted to merged traces."""
    return f"/traces?{urlencode({'csv': csv_path})}"
