"""What a person may choose from among the server's files."""

import os
from pathlib import Path

import pytest

from benchwire.foundation.files import AllowedFolders
from benchwire.foundation.web.file_picker import listing, size_text


@pytest.fixture
def area(tmp_path: Path) -> Path:
    area = tmp_path / "area"
    for name in ("beta", "Alpha", ".hidden"):
        (area / name).mkdir(parents=True)
    for name in ("b.csv", "A.CSV", "note.txt", ".secret.csv"):
        (area / name).write_text("x")
    (tmp_path / "outside.csv").write_text("x")
    (area / "away.csv").symlink_to(tmp_path / "outside.csv")
    (area / "near.csv").symlink_to(area / "b.csv")
    (area / "nowhere.csv").symlink_to(area / "gone")
    os.mkfifo(area / "pipe.csv")
    return area


def is_csv(path: Path) -> bool:
    return path.suffix.lower() == ".csv"


def test_folders_come_first_and_only_what_may_be_chosen_follows(area: Path) -> None:
    found = listing(area, AllowedFolders([area]), is_csv)
    assert [entry.name for entry in found] == ["Alpha", "beta", "A.CSV", "b.csv", "near.csv"]
    assert [entry.is_folder for entry in found] == [True, True, False, False, False]


def test_without_limits_links_lead_anywhere(area: Path) -> None:
    names = [entry.name for entry in listing(area, AllowedFolders(), is_csv)]
    assert "away.csv" in names


def test_only_folders_are_shown_where_a_folder_is_asked_for(area: Path) -> None:
    found = listing(area, AllowedFolders([area]), None)
    assert [entry.name for entry in found] == ["Alpha", "beta"]


def test_a_folder_may_be_a_choice_itself(area: Path) -> None:
    found = listing(area, AllowedFolders([area]), lambda path: path.name == "beta")
    assert [(entry.name, entry.is_folder) for entry in found] == [("Alpha", True), ("beta", False)]


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 * 2**40, "5.0 TiB")]
)
def test_sizes_are_told_in_fitting_units(size: int, text: str) -> None:
    assert size_text(size) == text
