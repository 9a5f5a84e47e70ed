"""Figures of recordings that change while they are read, or that are not whole."""

from pathlib import Path
from typing import Any

import pytest

from benchwire.domains.battery import work
from benchwire.domains.battery.archive import Archive
from tests.support.battery import Bench, minutes, running, write_signal
from tests.support.waiting import until

CELLS = [f"bms1_p1_v{cell}" for cell in range(1, 5)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "recordings"


def write_cells(root: Path, *, values: int = 600) -> None:
    for place, name in enumerate(CELLS):
        write_signal(root, "d", name, [(at, 3.3 + place / 1000) for at in minutes(values)])


def ranked(bench: Bench) -> list[str]:
    answer = bench.get("/bms/d/imbalance")
    assert answer["total_cells"] == len(answer["cells"])
    return sorted(cell["cell"] for cell in answer["cells"])


def test_cell_whose_file_is_written_to_meanwhile_is_ranked_too(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cells(root)
    for name in ("bms1_soc", "bms1_c"):
        write_signal(root, "d", name, [(at, 50) for at in minutes(600)])
    read: list[int] = []
    run = Archive._run

    def run_and_write(self: Archive, function: Any, *arguments: Any, **more: Any) -> Any:
        found = run(self, function, *arguments, **more)
        if function is work.build_signals and CELLS[1] in arguments[1]:
            read.append(1)
            lines: list[tuple[str, float | str | None]]
            lines = [(at, 3.4) for at in minutes(600 + len(read))]
            write_signal(root, "d", CELLS[1], lines)
            self.recordings._looked_at = float("-inf")
        return found

    monkeypatch.setattr(Archive, "_run", run_and_write)
    with running(tmp_path / "data", root) as bench:
        assert ranked(bench) == CELLS
        assert read
        monkeypatch.setattr(Archive, "_run", run)
        until(lambda: bench.get("/bms/d/imbalance")["cells"][0]["cell"] == CELLS[1])
        assert ranked(bench) == CELLS


def test_cell_whose_file_is_gone_is_not_ranked(tmp_path: Path, root: Path) -> None:
    write_cells(root)
    write_signal(root, "d", "bms1_soc", [(at, 50) for at in minutes(600)])
    with running(tmp_path / "data", root) as bench:
        assert ranked(bench) == CELLS
        (root / "BESS/d" / f"{CELLS[3]}.csv").unlink()
        until(lambda: ranked(bench) == CELLS[:3])


@pytest.mark.parametrize("soc", [None, "ts,bms1_soc\n", "no,such,columns\n1,2,3\n"])
def test_efficiency_of_the_converter_does_without_a_state_of_charge(
    tmp_path: Path, root: Path, soc: str | None
) -> None:
    power = [100.0] * 60 + [-90.0] * 60
    write_signal(root, "d", "pcs1_ap", list(zip(minutes(120), power, strict=True)))
    if soc is not None:
        (root / "BESS/d/bms1_soc.csv").write_text(soc)
    with running(tmp_path / "data", root) as bench:
        answer = bench.get("/pcs/d/efficiency")
        assert answer["efficiency"] == pytest.approx(0.9, abs=0.01)
        assert answer["is_corrected"] is False
        bench.get("/bms/d/efficiency", status=404)
