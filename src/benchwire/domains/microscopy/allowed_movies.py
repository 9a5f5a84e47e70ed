"""Movies all of whose files lie where requests may read."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchwire.domains.microscopy.plan import Movie
from benchwire.domains.microscopy.readers import linked_paths, opened
from benchwire.foundation.files import AllowedFolders, PathForbidden


@contextmanager
def opened_inside(path: Path, allowed: AllowedFolders) -> Iterator[Movie]:
    """Open a movie all of whose files lie in the allowed folders.

    Raises
    ------
    PathForbidden
        A file of the movie, or what a link among them leads to, lies outside.
    """
    with opened(path) as movie:
        if not all(allowed.is_allowed(member) for member in linked_paths(movie.info)):
            raise PathForbidden(f"{path.name} has files outside the folders that may be used")
        yield movie
