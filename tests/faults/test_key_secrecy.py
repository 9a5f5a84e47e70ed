"""The key: nothing is learnt of it by time, and it stands nowhere but where it was set."""

import gc
import itertools
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from scipy import stats

from benchwire.foundation.web.keys import KeyRing, NamedKeys
from benchwire.foundation.web.roles import Role
from tests.support.ports import free_port
from tests.support.server import Server
from tests.support.soaking import SoakOr

OWNER = "owner-3f9c1e0b7a5d4826"
LARGEST_T = 4.5
"""Beyond it two sets of times are said to differ; as leakage tests of cryptography have it."""
ROUNDS = 3


def spoilt(key: str, place: int) -> str:
    """A key that is wrong in one place."""
    other = "0" if key[place] != "0" else "1"
    return key[:place] + other + key[place + 1 :]


def welch_t(first: list[int], second: list[int]) -> float:
    """Welch's t of two sets of times, without the tenth that the machine has disturbed most."""
    both = [np.sort(np.array(times))[: int(len(times) * 0.9)] for times in (first, second)]
    return float(stats.ttest_ind(*both, equal_var=False).statistic)


def leaks(compare: Callable[[str], object], one: str, other: str, times: int) -> bool:
    """Whether two wrong keys take different times, each time they are measured.

    What a comparison leaks is there every time and on the same side; what a machine that does
    other things adds is not. As with a request, each guess is a text made for it: two that stay
    lie in different places of the memory, and that alone can be measured.
    """
    order = random.Random(21)
    sent = [one.encode(), other.encode()]
    found = []
    gc.disable()
    try:
        for _ in range(ROUNDS):
            taken: list[list[int]] = [[], []]
            for _ in range(times):
                number = order.randrange(2)
                guess = sent[number].decode()
                begun = time.perf_counter_ns()
                compare(guess)
                taken[number].append(time.perf_counter_ns() - begun)
            found.append(welch_t(*taken))
    finally:
        gc.enable()
    print(f"t = {', '.join(f'{t:.2f}' for t in found)}")
    return min(found) > LARGEST_T or max(found) < -LARGEST_T


@pytest.mark.parametrize("kind", ["owner", "named"])
def test_how_much_of_a_key_is_right_takes_no_other_time(
    tmp_path: Path, kind: str, soak_or: SoakOr
) -> None:
    named = NamedKeys(tmp_path)
    made = named.add("ada", Role.OPERATOR)
    keys = KeyRing(OWNER, b"s" * 32, named)
    key = OWNER if kind == "owner" else made
    secret_from = 0 if kind == "owner" else len("bw_12345678_")
    places = [secret_from, (secret_from + len(key)) // 2, len(key) - 1]
    wrong = [spoilt(key, place) for place in places]
    assert keys.holder(key) is not None
    assert not any(keys.holder(guess) for guess in wrong)
    for one, other in itertools.combinations(wrong, 2):
        assert not leaks(keys.holder, one, other, soak_or(5_000, 60_000))


def test_the_measure_would_see_a_comparison_that_leaks() -> None:
    """The same with characters compared one by one, of a key as long."""

    def leaky(guess: str) -> bool:
        return all(one == other for one, other in zip(guess, OWNER, strict=True))

    assert leaks(leaky, spoilt(OWNER, 0), spoilt(OWNER, len(OWNER) - 1), 5_000)


class Spoken:
    """A server at its most talkative, and all it has answered."""

    def __init__(self, server: Server, key: str) -> None:
        self.server, self.key = server, key
        self.answers: list[str] = []

    def ask(self, method: str, path: str, **more: object) -> httpx.Response:
        answer = httpx.request(method, f"{self.server.url}{path}", timeout=30, **more)  # type: ignore[arg-type]
        self.answers.append(f"{answer.status_code} {answer.headers} {answer.text}")
        return answer


@pytest.fixture
def spoken(tmp_path: Path) -> Iterator[Spoken]:
    data = tmp_path / "data"
    key = NamedKeys(data).add("ada", Role.OPERATOR)
    environment = {"BENCHWIRE_API_KEY": OWNER, "BENCHWIRE_DEBUG": "true"}
    with Server(data, free_port(), environment=environment) as server:
        yield Spoken(server, key)


def test_keys_stand_in_no_log_answer_figure_or_file(spoken: Spoken) -> None:
    """Right ones, nearly right ones, and in all the places where people put them by mistake."""
    secrets = [OWNER, spoken.key, spoilt(OWNER, 5), spoilt(spoken.key, 40)]
    for secret in secrets:
        header = {"X-API-Key": secret}
        for method, path in (
            ("GET", "/devices"), ("GET", "/metrics"), ("GET", "/api/v1/plates/none"),
            ("POST", "/jobs"), ("POST", "/api/v1/processing/merge"), ("GET", "/bms/none"),
            ("GET", "/nothing/here"), ("POST", "/api/v1/plates"), ("PUT", "/version"),
            ("GET", "/audit"), ("GET", "/notices"), ("GET", "/away"), ("GET", "/openapi.json"),
        ):  # fmt: skip
            spoken.ask(method, path, headers=header, content=b"{broken")
        form = spoken.ask("POST", "/login", data={"key": secret})
        if form.status_code == 303:
            cookies = {"Cookie": form.headers["set-cookie"].partition(";")[0]}
            spoken.ask("GET", "/work", headers=cookies)
            spoken.ask("POST", "/logout", headers=cookies)
        # Not where it belongs, so it is an unknown query, password and bearer.
        spoken.ask("GET", "/devices", headers={"Authorization": f"Bearer {secret}"})
        spoken.ask("POST", "/jobs/none/cancel", params={"key": secret, "api_key": secret})
    command = [sys.executable, "-m", "benchwire"]
    told = [
        subprocess.run(
            [*command, *words, "--data-dir", str(spoken.server.data_dir)],
            capture_output=True, text=True, timeout=60, check=False,
            env={"BENCHWIRE_API_KEY": OWNER, "PATH": "/usr/bin:/bin"},
        )
        for words in (["check"], ["audit"], ["keys", "list"])
    ]  # fmt: skip
    spoken.server.stop()
    log = spoken.server.log_path.read_text()
    places = {
        "log": log,
        "answers": "\n".join(spoken.answers),
        "commands": "\n".join(done.stdout + done.stderr for done in told),
        "files": "\n".join(
            path.read_bytes().decode("latin-1")
            for path in spoken.server.data_dir.rglob("*")
            if path.is_file()
        ),
    }
    # Long parts too: a key that was cut short is nearly known.
    parts = [part for secret in secrets for part in (secret, secret[-16:])]
    found = [(place, part) for place, text in places.items() for part in parts if part in text]
    assert found == []
    assert len(spoken.answers) > 60
    for line in log.splitlines():
        json.loads(line)


def test_a_crash_tells_no_key(tmp_path: Path) -> None:
    """A server that cannot start says why, and what it was started with stays its own."""
    (tmp_path / "benchwire.toml").write_text(f'api_key = "{OWNER}"\nport = "none"\n')
    done = subprocess.run(
        [sys.executable, "-m", "benchwire", "serve", "--data-dir", str(tmp_path)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "BENCHWIRE_PORT" in done.stderr
    assert OWNER not in done.stdout + done.stderr
