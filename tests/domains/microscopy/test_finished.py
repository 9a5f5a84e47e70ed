"""The mark of a finished FOV: only what it vouches for counts as done."""

from pathlib import Path

import pytest

from benchwire.domains.microscopy import finished as marks


def finished(folder: Path) -> list[Path]:
    files = [folder / "a.npy", folder / "b.csv"]
    for path in files:
        path.write_bytes(b"12345")
    marks.mark(folder, fingerprint="v1", files=files, facts={"cells": 3})
    return files


def test_finished_fov_is_known_by_its_fingerprint(tmp_path: Path) -> None:
    assert not marks.is_finished(tmp_path, "v1")
    finished(tmp_path)
    assert marks.is_finished(tmp_path, "v1")
    assert marks.facts(tmp_path)["cells"] == 3
    assert not marks.is_finished(tmp_path, "v2")
    marks.forget(tmp_path)
    assert not marks.is_finished(tmp_path, "v1")


@pytest.mark.parametrize("harm", ["shorter", "missing", "folder"])
def test_fov_with_a_changed_file_is_not_finished(tmp_path: Path, harm: str) -> None:
    path = finished(tmp_path)[0]
    path.unlink()
    if harm == "shorter":
        path.write_bytes(b"1234")
    if harm == "folder":
        path.mkdir()
    assert not marks.is_finished(tmp_path, "v1")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"fingerprint": "v1"}', "\x00", "[" * 100_000])
def test_damaged_mark_counts_for_nothing(tmp_path: Path, text: str) -> None:
    finished(tmp_path)
    (tmp_path / "finished.json").write_text(text)
    assert not marks.is_finished(tmp_path, "v1")


def test_fov_without_one_of_its_files_cannot_be_marked(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        marks.mark(tmp_path, fingerprint="v1", files=[tmp_path / "missing"], facts={})
    assert list(tmp_path.iterdir()) == []
