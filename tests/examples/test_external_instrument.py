"""A domain from another package: built, installed and used as anybody's would be."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.browser import NEEDS_CHROMIUM, watched_page
from tests.support.ports import free_port
from tests.support.server import Server
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "examples/benchwire-balance"
pytestmark = [pytest.mark.slow, pytest.mark.paced]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package's wheel installed in it, and nothing else."""
    wheels = tmp_path_factory.mktemp("wheels")
    build = ["-m", "build", "--wheel", "--no-isolation", "-o", str(wheels), str(PACKAGE)]
    run(build)
    (wheel,) = wheels.glob("benchwire_balance-*.whl")
    folder = tmp_path_factory.mktemp("installed")
    run(["-m", "pip", "install", "--no-index", "--no-deps", "--target", str(folder), str(wheel)])
    return folder


def run(arguments: list[str], **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=PACKAGE,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def server(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    port = free_port()
    with Server(
        tmp_path_factory.mktemp("balance") / "data",
        port,
        "--emulate",
        "balance=1",
        environment={"PYTHONPATH": str(installed), "BENCHWIRE_UI": "true"},
    ) as running:
        yield running


def get(server: Server, path: str, **query: Any) -> Any:
    answer = httpx.get(f"{server.url}{path}", params=query, timeout=20)
    assert answer.status_code == 200, answer.text
    return answer.json()


def post(server: Server, path: str, body: Any = None) -> Any:
    answer = httpx.post(f"{server.url}{path}", json=body, timeout=30)
    assert answer.status_code < 300, answer.text
    return answer.json()


def is_at_rest(server: Server) -> bool:
    found = httpx.get(f"{server.url}/balance/balances/balance1").json()
    return found.get("state") == "stable"


def test_own_tests_of_the_package_pass(installed: Path) -> None:
    told = run(["-m", "pytest", "-q", "-p", "no:cacheprovider"], PYTHONPATH=str(installed))
    assert re.search(r"^[1-9]\d* passed", told, re.MULTILINE), told


def test_index_and_documents_name_it(server: Server) -> None:
    index = get(server, "/")
    assert index["domains"]["balance"] == ["/balance"]
    assert "POST /balance/balances/{name}/weigh" in index["endpoints"]["balance"]
    assert "/balance/weighings" in get(server, "/openapi.json")["paths"]


def test_balance_is_there_and_weighs(server: Server) -> None:
    until(lambda: is_at_rest(server), seconds=20)
    (balance,) = get(server, "/balance/balances")
    assert balance["serial_number"] == "B700101"
    weighing = post(server, "/balance/balances/balance1/weigh", {"label": "empty flask"})
    assert weighing["grams"] == pytest.approx(24.8132, abs=0.001)
    assert re.fullmatch(r"24\.81\d\d g", weighing["text"])
    assert get(server, f"/balance/weighings/{weighing['id']}") == weighing


def test_tare_is_taken_and_forgotten(server: Server) -> None:
    tare = post(server, "/balance/balances/balance1/tare")["tare_grams"]
    assert tare == pytest.approx(24.8132, abs=0.001)
    weighing = post(server, "/balance/balances/balance1/weigh", {"label": "tared"})
    assert weighing["grams"] == pytest.approx(0, abs=0.001)
    assert weighing["tare_grams"] == tare
    assert httpx.delete(f"{server.url}/balance/balances/balance1/tare").status_code == 200
    assert post(server, "/balance/balances/balance1/weigh")["grams"] == pytest.approx(
        24.8132, abs=0.001
    )


def test_refusals_have_the_domains_own_shape(server: Server) -> None:
    unknown = httpx.get(f"{server.url}/balance/balances/nobody")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "balance.unknown")
    heavy = httpx.post(f"{server.url}/balance/balances/balance1/zero", timeout=30)
    assert (heavy.status_code, heavy.json()["code"]) == (409, "balance.overload")
    assert httpx.get(f"{server.url}/balance/nothing").json().keys() == {"error", "hint", "code"}


@pytest.mark.parametrize("number", [2**63, 99999999999999999999, -(2**70)])
def test_numbers_beyond_any_database_are_refused(server: Server, number: int) -> None:
    one = httpx.get(f"{server.url}/balance/weighings/{number}")
    assert (one.status_code, one.json()["code"]) == (422, "request.validation_error")
    paged = httpx.get(f"{server.url}/balance/weighings", params={"offset": number})
    assert (paged.status_code, paged.json()["code"]) == (422, "request.validation_error")
    crate = httpx.get(f"{server.url}/crates/weighing/{number}")
    assert crate.status_code == 404
    assert get(server, "/balance/weighings", offset=2**63 - 1) == []
    largest = httpx.get(f"{server.url}/balance/weighings/{2**63 - 1}")
    assert (largest.status_code, largest.json()["code"]) == (404, "balance.weighing_unknown")


def test_label_that_postgresql_cannot_hold_is_refused(server: Server) -> None:
    kept = get(server, "/balance/weighings")
    refused = httpx.post(
        f"{server.url}/balance/balances/balance1/weigh", json={"label": "\0"}, timeout=30
    )
    assert (refused.status_code, refused.json()["code"]) == (400, "balance.label_refused")
    assert get(server, "/balance/weighings") == kept


def test_search_finds_it_and_it_can_be_exported(server: Server) -> None:
    post(server, "/balance/balances/balance1/weigh", {"label": "Sodium chloride"})
    (found,) = get(server, "/search", q="sodium")["items"]
    assert (found["kind"], found["title"]) == ("weighing", "Sodium chloride")
    crate = httpx.get(f"{server.url}/crates/weighing/{found['id']}", timeout=30)
    assert crate.status_code == 200, crate.text
    assert crate.content.startswith(b"PK")


def test_emulated_balance_serves_any_program(installed: Path, tmp_path: Path) -> None:
    arguments = ["-m", "benchwire", "emulate", "balance", "--folder", str(tmp_path)]
    process = subprocess.Popen(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": str(installed)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        path = process.stdout.readline().strip()
        import serial

        with serial.Serial(path, 9600, timeout=5) as port:
            port.write(b"I4\r\n")
            assert port.readline() == b'I4 A "B700101"\r\n'
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert process.returncode == 0


def test_weighings_survive_a_kill(server: Server) -> None:
    post(server, "/balance/balances/balance1/weigh", {"label": "before the kill"})
    kept = get(server, "/balance/weighings")
    server.kill()
    server.start()
    until(
        lambda: httpx.get(f"{server.url}/balance/weighings").status_code == 200, seconds=20
    )  # fmt: skip
    assert get(server, "/balance/weighings") == kept
    until(lambda: is_at_rest(server), seconds=20)


class TestInABrowser:
    pytestmark = NEEDS_CHROMIUM

    def test_page_weighs_and_home_shows_it(self, server: Server, browser: Any) -> None:
        with watched_page(browser, server.url) as page:
            page.goto(f"{server.url}/ui/balance")
            page.get_by_text(re.compile(r"^24\.81\d\d g$")).first.wait_for()
            page.get_by_label("Label").fill("by hand")
            page.get_by_role("button", name="Weigh").click()
            page.get_by_role("cell", name="by hand").wait_for()
            page.goto(f"{server.url}/ui/")
            page.get_by_text(re.compile(r"24\.81\d\d g")).first.wait_for()
