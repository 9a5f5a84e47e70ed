"""Keys made by name: what is kept of them, how long they hold, and what ends with them."""

import hashlib
import json
import re
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchwire.foundation.web.keys import (
    ALL_STRANGERS_PER_MINUTE,
    OPEN,
    OWNER,
    WRONG_KEYS_PER_MINUTE,
    KeyNameInvalid,
    KeyNameTaken,
    KeyRing,
    KeysBusy,
    KeyUnknown,
    NamedKeys,
)
from benchwire.foundation.web.roles import Role
from tests.support.clock import ManualClock
from tests.support.waiting import until

SECRET = b"s" * 32


def ring(folder: Path, key: str | None = "the owner's") -> KeyRing:
    return KeyRing(key, SECRET, NamedKeys(folder))


def test_only_the_digest_of_a_key_is_kept_and_for_the_owner_alone(tmp_path: Path) -> None:
    key = NamedKeys(tmp_path).add("ada", Role.OPERATOR)
    assert re.fullmatch(r"bw_[0-9a-f]{8}_[0-9a-f]{64}", key)
    file = tmp_path / "keys" / "keys.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    (kept,) = json.loads(file.read_text())["keys"]
    assert kept["sha256"] == hashlib.sha256(key.encode()).hexdigest()
    assert key.split("_")[2] not in file.read_text()


def test_a_key_is_its_holders_alone(tmp_path: Path) -> None:
    keys = NamedKeys(tmp_path)
    ada, bob = keys.add("ada", Role.OPERATOR), keys.add("bob", Role.VIEWER)
    known = ring(tmp_path)
    found = [known.holder(key) for key in (ada, bob, "the owner's")]
    assert [(one.name, one.role) for one in found if one] == [
        ("ada", Role.OPERATOR), ("bob", Role.VIEWER), ("the key", Role.ADMIN),
    ]  # fmt: skip
    crossed = f"{ada[:12]}{bob[12:]}"
    for wrong in (crossed, ada[:-1], f"{ada}0", ada.upper(), ada[:12], "bw__", "", None, "é"):
        assert known.holder(wrong) is None, wrong


def test_a_key_holds_until_its_time_is_up(tmp_path: Path) -> None:
    clock = ManualClock(datetime(2026, 5, 1, tzinfo=UTC))
    keys = NamedKeys(tmp_path, clock)
    known = KeyRing("the owner's", SECRET, keys)
    key = keys.add("guest", Role.VIEWER, days=2)
    holder = known.holder(key)
    assert holder is not None
    session = known.new_session(holder)
    clock.wind(timedelta(days=2).total_seconds() - 1)
    assert known.holder(key) == known.session_holder(session) == holder
    clock.wind(1)
    assert known.holder(key) is None
    assert known.session_holder(session) is None
    assert not known.still_hold(holder)


def test_withdrawing_ends_key_and_session_and_a_namesake_revives_neither(tmp_path: Path) -> None:
    keys, known = NamedKeys(tmp_path), ring(tmp_path)
    key = keys.add("ada", Role.ADMIN)
    holder = known.holder(key)
    assert holder is not None
    session = known.new_session(holder)
    assert known.session_holder(session) == holder
    keys.remove("ada")
    keys.add("ada", Role.ADMIN)
    assert known.holder(key) is None
    assert known.session_holder(session) is None
    assert not known.still_hold(holder)


def test_the_first_key_closes_an_open_server_and_the_last_does_not_open_it(tmp_path: Path) -> None:
    keys, known = NamedKeys(tmp_path), ring(tmp_path, None)
    assert known.holder(None) == known.session_holder(None) == OPEN
    keys.add("ada", Role.ADMIN)
    assert not known.is_open
    assert known.holder(None) is None
    assert not known.still_hold(OPEN)
    keys.remove("ada")
    assert known.holder(None) is None


def test_a_session_of_the_owner_ends_with_the_owners_key(tmp_path: Path) -> None:
    NamedKeys(tmp_path).add("ada", Role.VIEWER)
    session = ring(tmp_path).new_session(OWNER)
    assert ring(tmp_path).session_holder(session) == OWNER
    assert ring(tmp_path, "another").session_holder(session) is None
    assert ring(tmp_path, None).session_holder(session) is None


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"keys": [{"id": "x"}]}', b'{"keys": 7}', b"\xff\xfe"]
)
def test_a_damaged_file_lets_nobody_in_but_the_owner(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    keys = NamedKeys(tmp_path)
    key = keys.add("ada", Role.ADMIN)
    (tmp_path / "keys" / "keys.json").write_bytes(content)
    known = ring(tmp_path)
    assert known.holder(key) is None
    assert known.holder("the owner's") == OWNER
    assert ring(tmp_path, None).holder(None) is None
    assert "none of them is accepted" in caplog.text


@pytest.mark.parametrize("name", ["", "the key", "a b", "a\nb", "-x", "é", "x" * 41, "../x"])
def test_names_that_could_be_taken_for_something_else_are_refused(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(KeyNameInvalid):
        NamedKeys(tmp_path).add(name, Role.VIEWER)


def test_a_name_is_given_once(tmp_path: Path) -> None:
    keys = NamedKeys(tmp_path)
    keys.add("ada", Role.VIEWER)
    with pytest.raises(KeyNameTaken):
        keys.add("ADA", Role.ADMIN)
    with pytest.raises(KeyUnknown):
        keys.remove("bob")
    assert [key.name for key in keys.all()] == ["ada"]


def test_commands_at_one_moment_lose_no_key(tmp_path: Path) -> None:
    made: list[str] = []

    def make(number: int) -> None:
        while True:
            try:
                made.append(NamedKeys(tmp_path).add(f"key{number}", Role.VIEWER))
            except KeysBusy:
                continue
            return

    threads = [threading.Thread(target=make, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    known = ring(tmp_path)
    assert len(made) == 8
    assert all(known.holder(key) for key in made)


def test_wrong_keys_are_counted_by_what_a_client_cannot_change_at_will(tmp_path: Path) -> None:
    known = ring(tmp_path)
    guesses = [known.may_guess(f"2001:db8:0:1::{number:x}") for number in range(25)]
    assert guesses == [True] * WRONG_KEYS_PER_MINUTE + [False] * 5
    assert known.may_guess("2001:db8:0:2::1")
    assert [known.may_guess(f"10.0.0.{number}") for number in range(25)] == [True] * 25
    mapped = [known.may_guess(f"::ffff:10.0.0.{number}") for number in range(25)]
    assert mapped == [True] * 25
    assert known.may_guess("no address at all")


def test_strangers_of_many_addresses_fill_no_log(tmp_path: Path) -> None:
    known = ring(tmp_path)
    written = [known.may_fill_log(f"10.0.{number // 250}.{number % 250}") for number in range(500)]
    assert sum(written) == ALL_STRANGERS_PER_MINUTE


def test_addresses_are_forgotten_after_their_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = ring(tmp_path)
    for number in range(2000):
        known.may_guess(f"10.0.{number // 250}.{number % 250}")
    storage = known._guesses._limiter.storage
    assert len(storage.storage) == 2000
    later = SimpleNamespace(time=lambda: time.time() + 61)
    monkeypatch.setattr("limits.storage.memory.time", later)
    known.may_guess("10.1.1.1")
    kept = (storage.storage, storage.expirations, storage.events, storage.locks)
    until(lambda: sum(map(len, kept)) < 10, what="the end of their minute")
