"""Files that are whole or absent, and folders nobody gets out of."""

import io
import os
import stat
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from benchwire.foundation.files import (
    BrokenOff,
    FileNotInFolder,
    file_inside,
    open_plain,
    stream_zip,
    write_whole,
)


def test_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_whole(path, b"one")
    write_whole(path, b"two", mode=0o600)
    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [item.name for item in tmp_path.iterdir()] == ["a.json"]


def test_failed_write_leaves_the_old_file_and_no_scraps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    write_whole(path, b"one")

    def refuse(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, b"two")
    assert path.read_bytes() == b"one"
    assert [item.name for item in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../b", "/etc/passwd", "sub", "no", "a\0", "x" * 4096, "link", "loop"]
)
def test_only_files_inside_are_found(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "root"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "b").write_text("secret")
    (folder / "link").symlink_to(tmp_path / "b")
    (folder / "loop").symlink_to(folder / "loop")
    with pytest.raises(FileNotInFolder):
        file_inside(folder, name)


def test_file_inside_is_found(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/a").write_text("x")
    assert file_inside(tmp_path, "sub/../sub/a").read_text() == "x"


@pytest.mark.parametrize("linked", ["sub/a", "sub"])
def test_a_link_on_the_way_is_not_followed(tmp_path: Path, linked: str) -> None:
    """Be it the file or a folder above it that somebody exchanged since it was looked at."""
    elsewhere, folder = tmp_path / "elsewhere", tmp_path.resolve() / "root"
    for place in (elsewhere / "sub", folder / "sub"):
        place.mkdir(parents=True)
        (place / "a").write_text(place.parent.name)
    with open_plain(folder / "sub/a") as file:
        assert file.read() == b"root"
    (folder / linked).rename(tmp_path / "away")
    (folder / linked).symlink_to(elsewhere / linked)
    assert (folder / "sub/a").read_text() == "elsewhere"
    with pytest.raises(OSError, match=f"'{linked.rpartition('/')[2]}'"):
        open_plain(folder / "sub/a")
    with pytest.raises(BrokenOff, match="a cannot be read"):
        list(stream_zip([(PurePosixPath("a"), folder / "sub/a")]))


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    """A pipe that nobody writes to would be waited for without end."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "nothing"):
        with pytest.raises(OSError, match=r"pipe|No such file|regular file"):
            open_plain(path)


def test_archive_is_streamed_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "big"
    path.write_bytes(os.urandom(3_000_000))
    pieces = list(stream_zip([(PurePosixPath("in/big"), path)]))
    assert len(pieces) > 10
    with zipfile.ZipFile(io.BytesIO(b"".join(pieces))) as archive:
        assert archive.read("in/big") == path.read_bytes()
