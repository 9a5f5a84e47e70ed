"""A server with a small data set, shared by the tests that only read."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.battery import DEVICE, Bench, running, write_group, write_signal


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two whole devices, one with other signals only, and things that are no devices."""
    root = tmp_path_factory.mktemp("recordings")
    for group in ("bms", "pcs"):
        write_group(root, DEVICE, group)
    write_group(root, "ZHPESS232A230003", "bms", 7)
    write_signal(root, "cooled", "ac1_outside_t", [("2024-03-09 00:00:00", 21.5)])
    write_signal(root, "cooled", "my_own", [("2024-03-09 00:00:00", 1), ("2024-03-09 00:01:00", 2)])
    write_signal(root, "silent", "bms1_soc", [])
    (root / "BESS" / "empty").mkdir()
    (root / "BESS" / "notes.csv").write_text("ts,bms1_soc\n2024-03-09 00:00:00,1\n")
    return root


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, recordings: Path) -> Iterator[Bench]:
    with running(tmp_path_factory.mktemp("data"), recordings) as found:
        yield found
