"""Lists over all domains from Python: jobs, samples, search, crates."""

import itertools
import zipfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import benchwire
from benchwire.client import Bench, Invalid, NotFound, Refused
from benchwire.client.jobs import Job
from benchwire.client.potentiostats import Run


@pytest.fixture(scope="module")
def run(lab: Any) -> Run:
    bench: Bench = lab.bench
    bench.plates.create("S1", rows=1, columns=2)
    return bench.potentiostats.ocp(
        duration=0.2, experiment="Überall", make_plot=False,
        samples={"slot01": "S1/A2", "slot02": "Nr. 7"}, sample="Charge ß",
    ).wait(30)  # fmt: skip


def test_jobs_of_all_domains_are_listed(bench: Bench, run: Run) -> None:
    frame = bench.jobs.all(domain="potentiostat", state=["done", "failed"])
    row = frame.row(by_predicate=pl.col("item_id") == run.id, named=True)
    assert (row["item_kind"], row["state"], row["progress"]) == ("run", "done", 1.0)
    assert row["ended_at"] is not None
    assert bench.jobs.get(row["id"]) == run
    assert bench.jobs.all(state="queued").is_empty()


def test_list_of_jobs_is_followed_page_by_page(
    bench: Bench, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        bench.potentiostats.ocp(duration=0.1, make_plot=False).wait(30)
    whole = [row["id"] for row in bench.jobs.listed(limit=None)]
    monkeypatch.setattr("benchwire.client.jobs._AT_ONCE", 1)
    assert [row["id"] for row in bench.jobs.listed(limit=None)] == whole
    assert [row["id"] for row in bench.jobs.listed(limit=2)] == whole[:2]
    assert len(set(whole)) == len(whole) >= 3


def test_work_is_repeated_and_cancelled(bench: Bench, run: Run) -> None:
    again = bench.jobs.retry(run.id)
    assert isinstance(again, Run)
    assert again != run
    assert again.wait(30).state == "done"
    assert bench.jobs.cancel(again.id) == "done"
    with pytest.raises(NotFound):
        bench.jobs.get("nobody's")


def test_work_without_a_class_of_its_own_is_a_job(bench: Bench, run: Run, tmp_path: Path) -> None:
    job = Job(bench._connection, run.id)
    assert job.follow().status.progress == 1.0
    job.cancel()
    (path,) = job.download(tmp_path / "new")
    assert zipfile.is_zipfile(path)


def test_changes_of_jobs_are_watched(bench: Bench) -> None:
    begun = bench.potentiostats.ca(potential=0.1, duration=0.5, make_plot=False)
    stream = bench.jobs.watch()
    states = [change["state"] for change in itertools.islice(stream, 2)]
    stream.close()
    assert states[0] in {"queued", "running"}
    begun.wait(30)


def test_samples_lead_to_what_was_measured(bench: Bench, run: Run) -> None:
    found = bench.samples.of(run)
    assert dict(zip(found["part"], found["sample"], strict=True)) == {
        "": "Charge ß", "slot01": "S1/A2", "slot02": "Nr. 7",
    }  # fmt: skip
    items = bench.samples.items("S1/A2")
    assert run.id in items["item_id"].to_list()
    assert items["title"][0]
    assert bench.samples.all("ge ß")["sample"].to_list() == ["Charge ß"]


def test_sample_is_named_later_and_taken_back(bench: Bench, run: Run) -> None:
    link = bench.samples.link("später", ("run", run.id))
    assert bench.samples.items("später")["item_id"].to_list() == [run.id]
    bench.samples.unlink(link)
    assert bench.samples.items("später").is_empty()
    with pytest.raises(Refused) as caught:
        bench.samples.link("NOBODY/A1", run)
    assert caught.value.status in {400, 404, 422}
    with pytest.raises(Invalid):
        bench.samples.link("", run)


def test_search_finds_over_all_domains(bench: Bench, run: Run) -> None:
    frame = bench.search("Überall")
    assert run.id in frame["id"].to_list()
    assert bench.search("S1", kind="plate")["id"].to_list() == ["S1"]
    assert bench.search("nobody's").is_empty()
    assert bench.search("S1", kind=["plate", "well"], limit=1).height == 1


def test_crate_is_written_to_a_file_or_a_folder(bench: Bench, run: Run, tmp_path: Path) -> None:
    path = bench.crate("run", run.id, tmp_path)
    assert path == tmp_path / f"{run.id}.crate.zip"
    with zipfile.ZipFile(run.crate(tmp_path / "new" / "x.zip")) as crate:
        assert "ro-crate-metadata.json" in crate.namelist()
        assert crate.testzip() is None
    with pytest.raises(NotFound):
        bench.crate("run", "nobody's", tmp_path)
    assert {item.name for item in tmp_path.iterdir()} == {path.name, "new"}


def test_server_tells_of_itself(bench: Bench) -> None:
    assert bench.version() == benchwire.__version__
    assert isinstance(bench.notices(), list)
    assert repr(bench) == f"<Bench {bench.url}>"
