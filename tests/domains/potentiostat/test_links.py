"""Folders that are reached through a link, and links that somebody puts among a run's files."""

import io
import zipfile
from pathlib import Path

import pytest

from tests.domains.potentiostat.conftest import open_bench


def names_in(content: bytes) -> set[str]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        return set(archive.namelist())


def test_a_data_folder_behind_a_link_gives_all_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "data").symlink_to(tmp_path / "real")
    with open_bench(tmp_path, monkeypatch, count=1) as bench:
        run = bench.end_of(bench.start(devices=["slot01"])["run_id"])
        (name,) = run["slots"][0]["files"]
        file = bench.client.get(f"/runs/{run['run_id']}/file", params={"path": name})
        assert file.is_success
        archive = bench.client.get(f"/runs/{run['run_id']}/zip").content
        assert names_in(archive) == {name, "run.json"}
        crate = bench.client.get(f"/crates/run/{run['run_id']}").content
        assert names_in(crate) >= {name, "run.json"}
        bench.client.post("/api/v1/plates", json={"plate": {"barcode": "P"}}).raise_for_status()
        # Files of this one are made in the data folder first.
        assert "plate.json" in names_in(bench.client.get("/crates/plate/P").content)


def test_links_among_a_run_s_files_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "CA").mkdir(parents=True)
    (elsewhere / "CA" / "secret.csv").write_text("secret")
    with open_bench(tmp_path, monkeypatch, count=1) as bench:
        run = bench.end_of(bench.start(devices=["slot01"])["run_id"])
        (name,) = run["slots"][0]["files"]
        folder = next(bench.runs_root.rglob("run.json")).parent
        (folder / "run.json").unlink()
        (folder / "run.json").symlink_to(elsewhere / "CA" / "secret.csv")
        (folder / name).parent.joinpath("linked.csv").symlink_to(elsewhere / "CA" / "secret.csv")
        archive = bench.client.get(f"/runs/{run['run_id']}/zip").content
        assert names_in(archive) == {name}
        slot = folder / "Wells" / "slot01"
        slot.rename(tmp_path / "away")
        slot.symlink_to(elsewhere)
        assert bench.client.get(f"/runs/{run['run_id']}/files").json()["files"] == []
        assert names_in(bench.client.get(f"/runs/{run['run_id']}/zip").content) == set()
