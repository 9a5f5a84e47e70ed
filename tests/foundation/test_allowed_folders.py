"""Paths that requests may name."""

from pathlib import Path

import pytest

from benchwire.foundation.files import AllowedFolders, PathForbidden, PathInvalid, PathMissing


@pytest.fixture
def area(tmp_path: Path) -> Path:
    for name in ("data", "database", "elsewhere"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.csv").write_text("1")
    (tmp_path / "data" / "out").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "in").symlink_to(tmp_path / "data" / "a.csv")
    (tmp_path / "data" / "dangling").symlink_to(tmp_path / "elsewhere" / "new")
    (tmp_path / "data" / "loop").symlink_to(tmp_path / "data" / "loop")
    (tmp_path / "door").symlink_to(tmp_path / "data")
    return tmp_path


def test_paths_inside_are_allowed_there_or_not(area: Path) -> None:
    allowed = AllowedFolders([area / "data"])
    for name in ("data", "data/a.csv", "data/new/deep/er", "data/in", "data/../data/a.csv", "door"):
        assert allowed.path(f"{area}/{name}") == Path(f"{area}/{name}")
    assert allowed.file(f"{area}/data/in").read_text() == "1"
    assert allowed.folder(f"{area}/door").is_dir()


@pytest.mark.parametrize(
    "name",
    [
        "database", "database/a.csv", "elsewhere/a.csv", "data/../elsewhere/a.csv", "data/out",
        "data/out/a.csv", "data/dangling", "data/loop", "data/loop/x", "nothing", "data/../..",
    ],
)  # fmt: skip
def test_paths_outside_are_forbidden_there_or_not(area: Path, name: str) -> None:
    with pytest.raises(PathForbidden):
        AllowedFolders([area / "data"]).path(f"{area}/{name}")


@pytest.mark.parametrize("text", ["data", "./a", "", "~/a", "/a\0b", "/" + "x" * 5000, "/\ud800"])
def test_what_is_no_path_is_refused_before_anything_else(text: str) -> None:
    with pytest.raises(PathInvalid):
        AllowedFolders([Path("/data")]).path(text)


def test_kind_and_presence_are_told_apart(area: Path) -> None:
    everything = AllowedFolders()
    with pytest.raises(PathMissing):
        everything.file(f"{area}/data/none.csv")
    with pytest.raises(PathMissing):
        everything.folder(f"{area}/data/a.csv/below")
    with pytest.raises(PathInvalid):
        everything.file(f"{area}/data")
    with pytest.raises(PathInvalid):
        everything.folder(f"{area}/data/a.csv")


def test_a_linked_folder_allows_what_it_leads_to(area: Path) -> None:
    allowed = AllowedFolders([area / "door"])
    assert allowed.file(f"{area}/data/a.csv").read_text() == "1"


def test_keys_settings_and_databases_of_the_server_are_nobodys(area: Path) -> None:
    home = area / "data"
    for name in ("keys", "runs"):
        (home / name).mkdir()
        (home / name / "a.json").write_text("{}")
    for allowed in (
        AllowedFolders(home=home, secret=["keys"]),
        AllowedFolders([area], home=home, secret=["keys"]),
    ):
        for name in (
            "data",
            "data/runs/a.json",
            "data/runs/new",
            "data/results",
            "database/a.csv",
            "data/out/new",
        ):
            assert allowed.path(f"{area}/{name}")
        for name in (
            "data/a.csv", "data/keys", "data/keys/a.json", "data/b.toml", "data/.key", "door/a.csv",
        ):  # fmt: skip
            with pytest.raises(PathForbidden):
                allowed.path(f"{area}/{name}")
