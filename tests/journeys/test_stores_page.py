"""The page of the object stores in a real browser."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.browser import NEEDS_CHROMIUM, watched_page
from tests.support.s3 import BUCKET, ObjectStore
from tests.support.server import Server
from tests.support.waiting import until

pytestmark = NEEDS_CHROMIUM
NASTY = "<img src=x onerror=document.title='hacked'>"


@pytest.fixture(scope="module")
def store() -> Iterator[ObjectStore]:
    with ObjectStore() as store:
        store.put("movies/day 1/cells.tif", os.urandom(2_000_000))
        store.put(f"movies/{NASTY}.txt", b"1")
        yield store


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, port: int, store: ObjectStore
) -> Iterator[Server]:
    environment = {
        **store.environment(),
        "BENCHWIRE_UI": "true",
        "BENCHWIRE_STORES_URLS": f"s3://{BUCKET}/movies,s3://{BUCKET}/none",
    }
    folder = tmp_path_factory.mktemp("stores") / "data"
    with Server(folder, port, environment=environment) as running:
        yield running


@pytest.fixture
def page(browser: Any, server: Server) -> Iterator[Any]:
    with watched_page(browser, server.url) as opened:
        opened.goto(f"{server.url}/ui")
        opened.get_by_role("link", name="Object stores").first.click()
        yield opened


def test_a_file_is_chosen_copied_here_and_back(
    page: Any, store: ObjectStore, tmp_path: Path
) -> None:
    page.get_by_role("button", name="day 1", exact=True).click()
    page.get_by_role("button", name="Copy cells.tif from the store").click()
    source = page.get_by_label("From", exact=True)
    until(lambda: source.input_value() == f"s3://{BUCKET}/movies/day 1/cells.tif")
    page.get_by_label("To (nothing may be there yet)").fill(str(tmp_path / "cells.tif"))
    page.get_by_role("button", name="Start").click()
    page.get_by_text("The copy was started").wait_for()
    until((tmp_path / "cells.tif").exists, seconds=30)
    assert (tmp_path / "cells.tif").read_bytes() == store.get("movies/day 1/cells.tif")
    page.get_by_text("Copy of cells.tif").first.wait_for()

    page.get_by_label("To (nothing may be there yet)").fill("")
    page.get_by_label("From", exact=True).fill(str(tmp_path / "cells.tif"))
    page.get_by_role("button", name="File from here").click()
    page.get_by_role("dialog").get_by_role("button", name="cells.tif").click()
    page.get_by_role("dialog").wait_for(state="detached")
    to = page.get_by_label("To (nothing may be there yet)")
    until(lambda: to.input_value() == f"s3://{BUCKET}/movies/day 1/cells.tif")
    to.fill(f"s3://{BUCKET}/movies/again.tif")
    page.get_by_role("button", name="Start").click()
    until(lambda: "movies/again.tif" in store.names(), seconds=30)
    page.get_by_role("button", name=f"s3://{BUCKET}/movies", exact=True).click()
    page.get_by_text("again.tif", exact=True).wait_for()


def test_refusals_are_told_and_names_are_text(page: Any) -> None:
    page.get_by_text(NASTY).first.wait_for()
    page.get_by_label("From", exact=True).fill(f"s3://{BUCKET}/movies/day 1")
    page.get_by_label("To (nothing may be there yet)").fill("/")
    page.get_by_role("button", name="Start").click()
    page.get_by_text("is there already").wait_for()
    page.get_by_role("button", name=f"s3://{BUCKET}/none").click()
    page.get_by_text("The store has nothing at that address").wait_for()
    assert page.title() != "hacked"


def test_folders_are_chosen_on_either_side(page: Any, tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    page.get_by_text("day 1", exact=True).wait_for()
    page.get_by_label("From", exact=True).fill(str(tmp_path))
    page.get_by_role("button", name="Folder from here").click()
    page.get_by_role("dialog").get_by_role("button", name="results").click()
    page.get_by_role("dialog").get_by_role("button", name="Use this folder").click()
    source = page.get_by_label("From", exact=True)
    until(lambda: source.input_value() == str(tmp_path / "results"))
    target = page.get_by_label("To (nothing may be there yet)")
    until(lambda: target.input_value() == f"s3://{BUCKET}/movies/results")
    page.get_by_role("button", name="Copy day 1 from the store").click()
    target.fill(str(tmp_path))
    page.get_by_role("button", name="To a folder here").click()
    page.get_by_role("dialog").get_by_role("button", name="Use this folder").click()
    until(lambda: target.input_value() == str(tmp_path / "day 1"))
