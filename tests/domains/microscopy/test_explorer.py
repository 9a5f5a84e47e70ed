"""Listing and searching in real folders, with links, loops and odd names."""

import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from benchwire.domains.microscopy.errors import ParametersInvalid
from benchwire.domains.microscopy.explorer import (
    expand_braces,
    file_item,
    list_directory,
    search_files,
)
from benchwire.domains.microscopy.schemas import SearchRequest
from benchwire.domains.microscopy.service import folders
from benchwire.foundation.files import AllowedFolders
from benchwire.foundation.workers import ProcessExecutor, TooBusy
from tests.support.waiting import until

KEYS = {
    "name", "path", "is_directory", "is_file", "size_bytes", "modified_time", "extension",
}  # fmt: skip


@pytest.fixture
def area(tmp_path: Path) -> Path:
    folder = tmp_path / "area"
    folder.mkdir()
    return folder


def make(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")


def listed(area: Path, folder: Path | None = None, **options: Any) -> list[str]:
    return [item["name"] for item in list_directory(folder or area, inside(area), **options)]


def found(area: Path, folder: Path | None = None, **options: Any) -> list[str]:
    start = folder or area
    items = search_files(start, inside(area), **options)
    json.dumps(items).encode()
    return [str(Path(item["path"]).relative_to(start)) for item in items]


def inside(area: Path) -> Any:
    return lambda path: path.resolve().is_relative_to(area.resolve())


def test_item_of_a_file_has_all_keys(area: Path) -> None:
    make(area, "Movie.OME.Tif")
    os.utime(area / "Movie.OME.Tif", (1_700_000_000.5, 1_700_000_000.5))
    assert file_item(area / "Movie.OME.Tif") == {
        "name": "Movie.OME.Tif",
        "path": str(area / "Movie.OME.Tif"),
        "is_directory": False,
        "is_file": True,
        "size_bytes": 5,
        "modified_time": "1700000000.5",
        "extension": ".Tif",
    }


def test_item_of_a_folder_has_neither_size_nor_extension(area: Path) -> None:
    (area / "a.zarr").mkdir()
    item = file_item(area / "a.zarr")
    assert item is not None
    assert set(item) == KEYS
    assert (item["is_directory"], item["is_file"]) == (True, False)
    assert (item["size_bytes"], item["extension"]) == (None, None)


def test_what_is_neither_file_nor_folder_is_left_out(area: Path) -> None:
    os.mkfifo(area / "pipe.nd2")
    (area / "broken.nd2").symlink_to(area / "nowhere")
    make(area, "a.nd2")
    assert file_item(area / "pipe.nd2") is None
    assert file_item(area / "missing") is None
    assert listed(area) == ["a.nd2"]
    assert found(area) == ["a.nd2"]


def test_listing_has_folders_first_by_name_ignoring_case(area: Path) -> None:
    make(area, "b.nd2", "A.czi", "C.txt", ".hidden", "z/x", "Y/x", ".dot/x")
    assert listed(area) == ["Y", "z", "A.czi", "b.nd2", "C.txt"]
    assert listed(area, include_hidden=True) == [
        ".dot", "Y", "z", ".hidden", "A.czi", "b.nd2", "C.txt",
    ]  # fmt: skip


@pytest.mark.parametrize("extensions", [[".ND2"], ["nd2"], [" .Nd2 ", ""]])
def test_filter_ignores_case_and_keeps_folders(area: Path, extensions: list[str]) -> None:
    make(area, "a.nd2", "b.ND2", "c.czi", "nd2", "sub/x")
    assert listed(area, extensions=extensions) == ["sub", "a.nd2", "b.ND2"]


def test_filter_with_two_parts_takes_ome_tiff_only(area: Path) -> None:
    make(area, "a.ome.tif", "b.tif")
    assert listed(area, extensions=[".ome.tif"]) == ["a.ome.tif"]


def test_links_out_of_the_area_are_left_out(area: Path, tmp_path: Path) -> None:
    make(tmp_path, "secret/s.nd2", "area/a.nd2")
    (area / "folder").symlink_to(tmp_path / "secret")
    (area / "file.nd2").symlink_to(tmp_path / "secret/s.nd2")
    (area / "good.nd2").symlink_to(area / "a.nd2")
    assert listed(area) == ["a.nd2", "good.nd2"]
    assert found(area) == ["a.nd2", "good.nd2"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("**/*.{nd2,czi}", ["a.nd2", "x/b.CZI", "x/y/c.nd2"]),
        ("*.{nd2,czi}", ["a.nd2"]),
        ("*.{n{d2,xx},c?i}", ["a.nd2"]),
        ("x/**/*", ["x/b.CZI", "x/y/c.nd2", "x/y/d.txt"]),
        ("x/**", ["x/b.CZI", "x/y/c.nd2", "x/y/d.txt"]),
        ("**/y/*", ["x/y/c.nd2", "x/y/d.txt"]),
        ("{x,x/y}/*.{nd2,czi}", ["x/b.CZI", "x/y/c.nd2"]),
        ("*/*/c.nd2", ["x/y/c.nd2"]),
        ("**/[ab].*", ["a.nd2", "x/b.CZI"]),
        ("**/[!ab].{nd2}", ["x/y/c.nd2"]),
        ("./X//Y/*.TXT", ["x/y/d.txt"]),
        ("**/**/**/d.txt", ["x/y/d.txt"]),
        ("[{]*", []),
        ("x", []),
    ],
)
def test_pattern_finds(area: Path, pattern: str, expected: list[str]) -> None:
    make(area, "a.nd2", "x/b.CZI", "x/y/c.nd2", "x/y/d.txt")
    assert found(area, pattern=pattern) == expected


def test_without_pattern_microscopy_files_are_found(area: Path) -> None:
    make(area, "c.nd2", "x/B.CZI", "x/a.tif")
    assert found(area) == ["x/B.CZI", "c.nd2"]
    assert found(area, extensions=[]) == ["x/B.CZI", "c.nd2"]
    assert found(area, extensions=["tif"]) == ["x/a.tif"]


def test_pattern_and_extensions_must_both_match(area: Path) -> None:
    make(area, "run1.nd2", "run1.czi", "other.nd2")
    assert found(area, pattern="run*", extensions=[".nd2"]) == ["run1.nd2"]
    assert found(area, pattern="run*") == ["run1.czi", "run1.nd2"]


def test_hidden_applies_to_every_component_below_the_start(area: Path) -> None:
    make(area, ".lab/a.nd2", ".lab/.x/b.nd2", ".lab/y/.c.nd2", ".lab/y/d.nd2")
    assert found(area) == []
    assert found(area, area / ".lab") == ["a.nd2", "y/d.nd2"]
    assert len(found(area, include_hidden=True)) == 4


def test_depth_counts_the_folders_between(area: Path) -> None:
    make(area, "a.nd2", "1/b.nd2", "1/2/c.nd2", "1/2/3/d.nd2")
    assert found(area, max_depth=0) == ["a.nd2"]
    assert found(area, max_depth=2) == ["a.nd2", "1/b.nd2", "1/2/c.nd2"]
    assert len(found(area)) == 4
    with pytest.raises(ParametersInvalid, match="negative"):
        found(area, max_depth=-1)


def test_deep_tree_is_searched_to_its_end(area: Path) -> None:
    make(area, "/".join(["d"] * 300 + ["end.nd2"]))
    assert found(area, max_depth=300) == ["d/" * 300 + "end.nd2"]
    assert found(area, max_depth=299) == []
    assert found(area) == []


def test_loops_of_links_end_and_repeat_nothing(area: Path) -> None:
    make(area, "x/a.nd2", "y/b.nd2")
    (area / "x/up").symlink_to(area)
    (area / "x/self").symlink_to(area / "x")
    (area / "x/other").symlink_to(area / "y")
    (area / "y/back").symlink_to(area / "x")
    (area / "turn").symlink_to(area / "turn")
    assert found(area, max_depth=1_000) == ["x/a.nd2", "y/b.nd2"]


def test_link_within_the_area_can_be_named_in_a_pattern(area: Path) -> None:
    make(area, "runs/run_7/a.nd2")
    (area / "latest").symlink_to(area / "runs/run_7")
    assert found(area, pattern="latest/*.nd2") == ["latest/a.nd2"]


def test_link_out_of_the_searched_folder_but_inside_the_area_is_followed(area: Path) -> None:
    make(area, "store/a.nd2", "user/b.nd2")
    (area / "user/store").symlink_to(area / "store")
    assert found(area, area / "user") == ["store/a.nd2", "b.nd2"]


def test_odd_names_do_not_break_json(area: Path) -> None:
    make(area, "new\nline.nd2", "sub/ä.nd2")
    for name in (b"bad\xff.nd2", b"folder\xfe/inside.nd2"):
        make(area, os.fsdecode(name))
    assert sorted(found(area)) == ["new\nline.nd2", "sub/ä.nd2"]
    assert listed(area) == ["sub", "new\nline.nd2"]


@pytest.mark.parametrize(
    "pattern",
    [
        "/etc/*", "../*", "x/../../y", "{a,..}/b", "{/etc,a}/*", ".{.,x}/*", "C:\\*", "..\\*",
        "\\\\nas\\*", "{a", "a}", "{a,{b}", "a" * 501,
        "{1,2}" * 7, "{" + ",".join(map(str, range(65))) + "}", "{" * 400 + "}" * 100,
    ],
)  # fmt: skip
def test_pattern_that_leads_out_or_is_too_much_is_refused(area: Path, pattern: str) -> None:
    with pytest.raises(ParametersInvalid, match="pattern"):
        found(area, pattern=pattern)


def test_patterns_that_would_backtrack_end(area: Path) -> None:
    make(area, "a" * 200 + ".txt", "/".join("a" * 9) + "/a.txt")
    assert found(area, pattern="*a" * 200 + "b") == []
    assert found(area, pattern="**/*/" * 90 + "b") == []


def test_braces_expand_in_order() -> None:
    assert expand_braces("a{b,c{d,e}}f,{,g}") == [
        "abf,", "abf,g", "acdf,", "acdf,g", "acef,", "acef,g",
    ]  # fmt: skip
    assert expand_braces("plain") == ["plain"]
    assert expand_braces("[{,}]") == ["[{,}]"]


def test_folder_that_cannot_be_read_is_skipped(area: Path) -> None:
    make(area, "a.nd2", "gone/b.nd2")
    assert list_directory(area / "a.nd2", inside(area)) == []
    if os.geteuid() != 0:
        (area / "gone").chmod(0)
        assert found(area) == ["a.nd2"]
        (area / "gone").chmod(0o755)


def test_so_many_search_at_once_and_the_next_is_told(
    area: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search may take long, and who stops an instrument needs a thread as well."""
    over = threading.Event()
    monkeypatch.setattr(folders, "search_files", lambda *_, **__: [over.wait(20)])
    desk = folders.Folders(AllowedFolders([area]), ProcessExecutor(1))
    request = SearchRequest(search_path=str(area), pattern="*")
    with ThreadPoolExecutor(8) as pool:
        searching = [pool.submit(desk.found, request) for _ in range(8)]
        until(lambda: desk._searching._room._value == 0, what="eight searches")
        with pytest.raises(TooBusy):
            desk.found(request)
        over.set()
        assert [one.result(20) for one in searching] == [[True]] * 8
