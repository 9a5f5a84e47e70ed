"""The record of a run: checksums of what was read, versions, parameters."""

import hashlib
import json
import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from benchwire.foundation import run_record


def test_checksum_of_a_file_is_its_own(tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    (tmp_path / "a.nd2").write_bytes(content)
    blocks: list[int] = []
    checksum = run_record.input_checksum([tmp_path / "a.nd2"], blocks.append)
    assert checksum.sha256 == hashlib.sha256(content).hexdigest()
    assert (checksum.size_bytes, checksum.n_files) == (3_000_000, 1)
    assert sum(blocks) == 3_000_000
    assert len(blocks) == 3


def test_checksum_of_a_folder_depends_on_names_and_contents_only(tmp_path: Path) -> None:
    def folder(name: str, **files: bytes) -> str:
        for path, content in files.items():
            (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / path).write_bytes(content)
        return run_record.input_checksum([tmp_path / name], lambda size: None).sha256

    first = folder("1", **{"0/0": b"a", ".zattrs": b"b"})
    lines = "".join(
        f"{hashlib.sha256(content).hexdigest()}  {name}\n"
        for name, content in ((".zattrs", b"b"), ("0/0", b"a"))
    )
    assert first == hashlib.sha256(lines.encode()).hexdigest()
    assert folder("2", **{".zattrs": b"b", "0/0": b"a"}) == first
    assert folder("3", **{".zattrs": b"b", "0/1": b"a"}) != first
    assert folder("4", **{".zattrs": b"b", "0/0": b"c"}) != first


def test_checksum_of_a_set_does_not_depend_on_its_order(tmp_path: Path) -> None:
    paths = [tmp_path / f"a_scene{k}.ome.tif" for k in range(3)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number]))
    forward = run_record.input_checksum(paths, lambda size: None)
    assert forward == run_record.input_checksum(paths[::-1], lambda size: None)
    assert forward.n_files == 3


def test_checksum_can_be_stopped(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")

    def stop(size: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        run_record.input_checksum([tmp_path / "a"], stop)


def test_record_of_a_run_is_complete(tmp_path: Path) -> None:
    (tmp_path / "a.nd2").write_bytes(b"abc")
    record = run_record.RunRecord(
        job_id="job_1",
        inputs=(tmp_path / "a.nd2",),
        checksum=run_record.input_checksum([tmp_path / "a.nd2"], lambda size: None),
        parameters={"phase": 0},
        packages=["numpy", "opencv-python-headless", "no-such-package"],
        started=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        ended=datetime(2026, 1, 2, 3, 5, 5, tzinfo=UTC),
        stats={"total_cells": 9},
    )
    run_record.write_run(tmp_path / run_record.RUN_NAME, record)
    written = json.loads((tmp_path / "run.json").read_text())
    assert written["input"] == {
        "paths": [str(tmp_path / "a.nd2")],
        "sha256": hashlib.sha256(b"abc").hexdigest(),
        "size_bytes": 3,
        "n_files": 1,
    }
    assert written["started_at"] == "2026-01-02T03:04:05.000000Z"
    assert written["ended_at"] == "2026-01-02T03:05:05.000000Z"
    assert (written["job_id"], written["parameters"]) == ("job_1", {"phase": 0})
    assert {"benchwire", "python", "numpy", "opencv-python-headless"} <= set(written["versions"])
    assert written["stats"] == {"total_cells": 9}
    assert written["state"] == "completed"
    run_record.write_run(tmp_path / "run.json", record)
    run_record.write_run(tmp_path / "run.json", replace(record, job_id="job_2", checksum=None))
    assert json.loads((tmp_path / "run.json").read_text())["job_id"] == "job_2"
    assert json.loads((tmp_path / "run_job_1.json").read_text()) == written
    assert len(list(tmp_path.iterdir())) == 3
