"""A server with a movie to process, in a folder that requests may name."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchwire.domains.microscopy.simulation import write_demo_movie
from tests.support.analysis import Desk, running

FRAMES, FOVS, SIZE = 8, 3, 320


@pytest.fixture(scope="session")
def movie(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small movie of three FOVs."""
    path = tmp_path_factory.mktemp("movie") / "cells.ome.tif"
    write_demo_movie(path, seed=5, n_fovs=FOVS, n_frames=FRAMES, size=SIZE, n_cells=4)
    return path


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, movie: Path) -> Iterator[Desk]:
    """A server that may use one folder, with the movie in it."""
    folder = tmp_path_factory.mktemp("microscopy")
    area = folder / "area"
    area.mkdir()
    (area / movie.name).hardlink_to(movie)
    with running(folder / "data", area) as desk:
        yield desk
