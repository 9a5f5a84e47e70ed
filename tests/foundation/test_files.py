"""Files that are whole or absent, and folders nobody gets out of."""

import io
import os
import stat
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from benchwire.foundation.files import FileNotInFolder, file_inside, stream_zip, write_whole


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


def test_archive_is_streamed_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "big"
    path.write_bytes(os.urandom(3_000_000))
    pieces = list(stream_zip([(PurePosixPath("in/big"), path)]))
    assert len(pieces) > 10
    with zipfile.ZipFile(io.BytesIO(b"".join(pieces))) as archive:
        assert archive.read("in/big") == path.read_bytes()
