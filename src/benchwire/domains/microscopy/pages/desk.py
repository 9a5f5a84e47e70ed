"""What the pages share: the services, addresses, and the look of pictures."""

from dataclasses import dataclass
from urllib.parse import quote, urlencode

from benchwire.domains.microscopy.service import Folders, Movies, Workflows

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
  .mc-fov { font-size: .7rem; line-height: 1.5rem; text-align: center; border-radius: 4px;
            border: 1px solid #8886; font-variant-numeric: tabular-nums;
            background: linear-gradient(90deg, #2b9a9288 var(--done), transparent var(--done)); }
  .mc-fov[data-state="completed"] { background: #0b6e69; color: #fff; }
  .mc-fov[data-state="failed"] { background: #b3261e; color: #fff; }
  .mc-fov[data-state="cancelled"] { opacity: .5; }
  .mc-chosen { background: #e69f0033; }
</style>
"""


@dataclass(frozen=True, slots=True)
class Desk:
    """The services behind the pages."""

    movies: Movies
    folders: Folders
    workflows: Workflows


def movie_path(file_path: str) -> str:
    """Return the page of a movie."""
    return f"{PATH}?{urlencode({'path': file_path})}"


def run_path(job_id: str) -> str:
    """Return the page of a workflow."""
    return f"{PATH}/run/{quote(job_id, safe='')}"


def fit_path(csv_path: str) -> str:
    """Return the page on which a model is fitted to merged traces."""
    return f"/traces?{urlencode({'csv': csv_path})}"
