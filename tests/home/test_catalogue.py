"""The lists over all domains while one of the domains fails, and what can be had of an item."""

import asyncio
import shutil
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from nicegui import ui

from benchwire.foundation.catalogue import Item, Notice
from benchwire.foundation.db import Database
from benchwire.foundation.domain import Domain
from benchwire.foundation.errors import Failed
from benchwire.foundation.jobs.states import JobRecord, JobState
from benchwire.foundation.samples.names import Sample
from benchwire.foundation.samples.store import Samples
from benchwire.foundation.streams import Hub
from benchwire.home.catalogue import Catalogue
from benchwire.home.pages import first, samples
from benchwire.home.pages.desk import FAILED_WITHIN, FINISHED_SHOWN, Desk
from tests.foundation.test_jobs import Life, keep
from tests.foundation.web.test_watch import open_page
from tests.support.clock import ManualClock

ERRORS = [Failed("out of order"), KeyError("n_cells"), OSError(5, "gone"), ZeroDivisionError()]


class Shelf:
    """A domain's items; where it is given an error, that is all it has."""

    bundled: tuple[str, ...] = ()

    def __init__(self, kind: str, error: Exception | None = None) -> None:
        self.kinds = (kind,)
        self._error = error

    def item(self, kind: str, item_id: str) -> Item:
        if self._error is not None:
            raise self._error
        return Item(kind, item_id, f"The {kind} {item_id}")

    def find(self, text: str, _: int) -> list[Item]:
        return [self.item(self.kinds[0], text)]

    def of_job(self, record: JobRecord) -> Item:
        return self.item(self.kinds[0], record.id)


def a_lab(database: Database, folder: Path) -> Any:
    clock = ManualClock()
    samples = Samples(database, clock)
    jobs = Life(database).jobs
    return SimpleNamespace(jobs=jobs, samples=samples, data_dir=folder, clock=clock, hub=Hub())


def a_domain(name: str, shelf: Shelf, notices: Any = tuple) -> Domain:
    return Domain(name, name.capitalize(), (), (), shelf=shelf, notices=notices)  # type: ignore[arg-type]


@pytest.fixture
def lab(database: Database, tmp_path: Path) -> Any:
    return a_lab(database, tmp_path)


def raising(error: Exception) -> Any:
    def notices() -> list[Notice]:
        raise error

    return notices


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_domain_that_fails_is_left_out_and_the_others_answer(
    lab: Any, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    keep(lab.jobs._database, "j1", kind="bad.work")
    for kind in ("stone", "leaf"):
        lab.samples.link(Sample("S-1"), kind, "7")
    bad = a_domain("bad", Shelf("stone", error), raising(error))
    good = a_domain("good", Shelf("leaf"), lambda: [Notice("error", "Water it")])
    catalogue = Catalogue(lab, [bad, good])
    assert [item.kind for item in catalogue.search("7")] == ["leaf"]
    assert [one.item and one.item.kind for one in catalogue.measured_on("S-1", 9)] == [
        "leaf", None,
    ]  # fmt: skip
    (record,) = catalogue.jobs()
    assert catalogue.work_json(record)["item"] is None
    for _ in range(2):
        texts = [notice.text for notice in catalogue.notices() if notice.level == "error"]
        assert "Water it" in texts
        assert any(text.startswith("Bad: ") for text in texts)
    told = [line for line in caplog.messages if "needs attention" in line]
    assert len(told) == (0 if isinstance(error, Failed) else 1)


@pytest.mark.parametrize(("percent", "told"), [(11, []), (9, ["1.8 GB (9%) are free"])])
def test_a_disk_that_is_almost_full_is_told(
    lab: Any, monkeypatch: pytest.MonkeyPatch, percent: int, told: list[str]
) -> None:
    total = 20_000_000_000
    free = total * percent // 100
    looked_at = []

    def disk_usage(path: Path) -> Any:
        looked_at.append(path)
        return SimpleNamespace(total=total, used=total - free, free=free)

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    notices = Catalogue(lab, []).notices()
    assert looked_at == [lab.data_dir]
    assert [notice.level for notice in notices] == ["warning"] * len(told)
    assert all(text in notice.text for notice, text in zip(notices, told, strict=True))


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (Item("run", "1", ""), True),
        (Item("run", "1", "", state="done"), True),
        (Item("run", "1", "", state="completed"), True),
        (Item("run", "1", "", state="failed"), False),
        (Item("run", "1", "", state="pending"), False),
        (Item("run", "1", "", state="cancelled", has_bundle=True), True),
        (Item("run", "1", "", state="done", has_bundle=False), False),
        (Item("device", "1", "", state="done"), False),
        (Item("dream", "1", ""), False),
    ],
)
def test_what_can_be_exported_is_told_by_one_rule(lab: Any, item: Item, expected: bool) -> None:
    runs, devices = Shelf("run"), Shelf("device")
    runs.bundled = ("run",)
    catalogue = Catalogue(lab, [a_domain("a", runs), a_domain("b", devices)])
    assert catalogue.can_export(item) is expected


# -- what the home page shows of jobs --------------------------------------------------------


def a_desk(lab: Any) -> Desk:
    return Desk(lab, Catalogue(lab, []), shell=None)  # type: ignore[arg-type]


def test_a_domain_whose_part_cannot_be_drawn_leaves_the_home_page_to_the_others() -> None:
    def broken() -> None:
        raise KeyError("n_cells")

    async def work() -> None:
        with open_page() as client, client:
            first.draw_card(broken)
            first.draw_card(lambda: ui.label("Plates"))
            texts = [getattr(element, "text", "") for element in client.elements.values()]
        assert "Plates" in texts
        assert "A part cannot be shown here" in texts

    asyncio.run(work())


@pytest.mark.parametrize("text", ["\0", "a\0b"])
def test_nothing_is_named_with_what_cannot_be_stored(lab: Any, text: str) -> None:
    async def work() -> None:
        listed, one = (
            samples._SamplesPage(a_desk(lab), text),
            samples._SamplePage(a_desk(lab), text),
        )
        with open_page() as client, client:
            for page in (listed, one):
                await page.look()
        assert not listed._samples
        assert not one._found

    asyncio.run(work())


def test_home_shows_first_what_ended_last(lab: Any) -> None:
    now = lab.clock.now()
    begun = now - timedelta(hours=10)
    for number in range(FINISHED_SHOWN):
        at = now - timedelta(minutes=30 - number)
        keep(lab.jobs._database, f"young-{number}", created_at=at, ended_at=at)
    keep(lab.jobs._database, "long", created_at=begun, ended_at=now)
    for number in range(7):
        at = now - timedelta(minutes=30 - number)
        keep(
            lab.jobs._database, f"lost-{number}", state=JobState.FAILED, created_at=at, ended_at=at
        )
    keep(lab.jobs._database, "broke", state=JobState.FAILED, created_at=begun, ended_at=now)
    found = a_desk(lab).look_lately()
    assert found.finished[0][0].id == "long"
    assert found.failed[0][0].id == "broke"
    assert found.more_failed


def test_work_that_failed_long_ago_is_work(lab: Any) -> None:
    assert not a_desk(lab).look_lately().has_any
    long_ago = lab.clock.now() - 2 * FAILED_WITHIN
    keep(lab.jobs._database, "old", state=JobState.FAILED, created_at=long_ago, ended_at=long_ago)
    found = a_desk(lab).look_lately()
    assert found.has_any
    assert found.failed == ()
