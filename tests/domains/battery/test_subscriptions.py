import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchwire.domains.battery.mapping_file import MappingInvalid
from benchwire.domains.battery.samples import MICROSECONDS, Reading
from benchwire.domains.battery.subscriptions import (
    MessageUnusable,
    Subscription,
    load_subscriptions,
)

NOW = 1_750_000_000 * MICROSECONDS

OBJECTS = Subscription(
    topic="plant/+/telemetry",
    device_level=2,
    time="ts",
    json={
        "soc": "battery.soc",
        "cell_max_voltage": {"path": "cells.max_mv", "scale": 0.001},
        "dc_voltage": "strings.0.volts",
    },
)
NUMBERS = Subscription(
    topic="site/inverter/+",
    device_id="A",
    field_level=3,
    levels={"power": {"field": "apparent_power", "scale": 0.001}, "dc_voltage": "dc_voltage"},
)
NUMBER = Subscription(topic="site/bms/soc", device_id="A", field="soc", scale=0.1, offset=-1)


def said(**content: object) -> bytes:
    return json.dumps({"ts": 1_700_000_000, **content}).encode()


def test_file_gives_its_subscriptions(tmp_path: Path) -> None:
    path = tmp_path / "topics.toml"
    path.write_text(
        """
        [[subscriptions]]
        topic = "plant/+/telemetry"
        device_level = 2
        time = "ts"
        [subscriptions.json]
        soc = "battery.soc"
        cell_max_voltage = { path = "cells.max_mv", scale = 0.001 }
        dc_voltage = "strings.0.volts"

        [[subscriptions]]
        topic = "site/inverter/+"
        device_id = "A"
        field_level = 3
        [subscriptions.levels]
        power = { field = "apparent_power", scale = 0.001 }
        dc_voltage = "dc_voltage"

        [[subscriptions]]
        topic = "site/bms/soc"
        device_id = "A"
        field = "soc"
        scale = 0.1
        offset = -1
        """,
        "utf-8",
    )
    assert load_subscriptions(path) == (OBJECTS, NUMBERS, NUMBER)


def test_every_mistake_is_named_by_entry_and_key(tmp_path: Path) -> None:
    path = tmp_path / "topics.toml"
    path.write_text(
        """
        [[subscriptions]]
        topic = "a/+b"
        device_id = "A"
        field = "soc"
        [[subscriptions]]
        device_id = "x/y"
        feild = "soc"
        [[subscriptions]]
        topic = "a"
        device_id = "A"
        group = "pcs"
        field = "soc"
        [[subscriptions]]
        topic = "a"
        device_id = "A"
        json = { soc = { way = "a" } }
        """,
        "utf-8",
    )
    with pytest.raises(MappingInvalid) as caught:
        load_subscriptions(path)
    assert {one["key"]: one["message"] for one in caught.value.details} == {
        "subscriptions[1]": "a + in a topic stands alone between slashes",
        "subscriptions[2].topic": "this key is needed",
        "subscriptions[2].device_id": (
            "letters, digits, dots, dashes and underscores only, 64 at most"
        ),
        "subscriptions[2].feild": "there is no such key",
        "subscriptions[3]": "'soc' belongs to bms, not to pcs",
        "subscriptions[4].json.soc.path": "this key is needed",
        "subscriptions[4].json.soc.way": "there is no such key",
    }


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"field": "soc"}, "either device_id or device_level"),
        ({"device_id": "A", "device_level": 1, "field": "soc"}, "either device_id or"),
        ({"device_id": "A"}, "one of json, field and levels"),
        ({"device_id": "A", "field": "soc", "json": {"soc": "a"}}, "one of json, field and levels"),
        ({"device_id": "A", "levels": {"a": "soc"}}, "field_level and levels go together"),
        ({"device_id": "A", "field": "soc", "time": "ts"}, "only a JSON object tells a time"),
        ({"device_id": "A", "json": {"soc": "a"}, "scale": 2}, "belong to each field"),
        ({"device_level": 3, "field": "soc"}, "device_level is 3, the topic has 2"),
        ({"device_id": "A", "field": "sok"}, "'sok' is not a field"),
        ({"device_id": "A", "json": {"sok": "a"}}, "'sok' is not a field"),
        ({"device_id": "A", "field_level": 1, "levels": {"a": "sok"}}, "'sok' is not a field"),
        ({"topic": "a/#/b", "device_id": "A", "field": "soc"}, "last level"),
    ],
)
def test_what_contradicts_itself_is_refused(keys: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Subscription(**{"topic": "a/b", **keys})


@pytest.mark.parametrize(
    ("wanted", "topic", "matches"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/b/c", False),
        ("a/b", "a", False),
        ("a/+/c", "a/b/c", True),
        ("a/+/c", "a//c", True),
        ("a/+", "a/b/c", False),
        ("+", "a", True),
        ("#", "a/b", True),
        ("a/#", "a/b/c", True),
        ("a/#", "a", True),
        ("a/#", "b/c", False),
    ],
)
def test_filter_means_the_topics_that_a_broker_sends(
    wanted: str, topic: str, matches: bool
) -> None:
    assert Subscription(topic=wanted, device_id="A", field="soc").matches(topic) is matches


def test_object_gives_a_reading_for_each_group_at_its_own_time() -> None:
    payload = said(
        battery={"soc": 81.5}, cells={"max_mv": 3301}, strings=[{"volts": 812}], other="x"
    )
    message = OBJECTS.read("plant/D-1/telemetry", payload, NOW)
    at_us = 1_700_000_000 * MICROSECONDS
    assert (message.device_id, message.tells_time, message.mistakes) == ("D-1", True, ())
    assert message.readings == {
        "bms": Reading(at_us, {"soc": 81.5, "cell_max_voltage": 3.301}),
        "pcs": Reading(at_us, {"dc_voltage": 812.0}),
    }


def test_number_is_for_the_field_of_its_topic_at_its_arrival() -> None:
    message = NUMBERS.read("site/inverter/power", b"-12500", NOW)
    assert (message.device_id, message.tells_time) == ("A", False)
    assert message.readings == {"pcs": Reading(NOW, {"apparent_power": -12.5})}
    assert NUMBER.read("site/bms/soc", b" 853\n", NOW).readings["bms"].values == {"soc": 84.3}


@pytest.mark.parametrize(
    ("told", "expected_us"),
    [
        (1_700_000_000, 1_700_000_000_000_000),
        (1_700_000_000.25, 1_700_000_000_250_000),
        (1_700_000_000_123, 1_700_000_000_123_000),
        ("2023-11-14T22:13:20Z", 1_700_000_000_000_000),
        ("2023-11-14T23:13:20+01:00", 1_700_000_000_000_000),
        ("2023-11-14 22:13:20.5", 1_700_000_000_500_000),
    ],
)
def test_time_is_understood_in_each_form(told: object, expected_us: int) -> None:
    payload = json.dumps({"ts": told, "battery": {"soc": 1}}).encode()
    assert OBJECTS.read("plant/A/telemetry", payload, NOW).readings["bms"].at_us == expected_us


@pytest.mark.parametrize(
    "told",
    [None, True, "yesterday", [], 0, -5, 1e300, 10**400, 4_000_000_000, "0001-01-01", "1970-01-01"],
)
def test_message_of_an_impossible_time_is_unusable(told: object) -> None:
    payload = json.dumps({"ts": told, "battery": {"soc": 1}}).encode()
    with pytest.raises(MessageUnusable):
        OBJECTS.read("plant/A/telemetry", payload, NOW)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[1, 2]",
        b"5",
        b"null",
        b'{"ts": 1700000000}',
        b'{"ts": 1700000000, "battery": 5}',
        b'{"ts": 1700000000, "battery": {"soc": null}}',
        b'{"ts": 1700000000, "battery": {"soc": NaN}}',
        b'{"ts": 1700000000, "battery": {"soc": Infinity}}',
        b'{"ts": 1700000000, "battery": {"soc": 1e400}}',
        b'{"ts": 1700000000, "battery": {"soc": "81"}}',
        b'{"ts": 1700000000, "battery": {"soc": true}}',
        b'{"ts": 1700000000, "battery": {"soc": ' + b"9" * 5000 + b"}}",
        b"[" * 60_000,
        b'{"ts": 1700000000, "battery": {"soc": 1}, "x": "' + b"x" * 1_000_000 + b'"}',
    ],
)
def test_message_with_nothing_to_store_is_unusable(payload: bytes) -> None:
    with pytest.raises(MessageUnusable):
        OBJECTS.read("plant/A/telemetry", payload, NOW)


@pytest.mark.parametrize(
    "topic",
    ["plant//telemetry", "plant/../telemetry", "plant/a b/telemetry", "plant/ä/telemetry"],
)
def test_device_that_cannot_be_is_unusable(topic: str) -> None:
    with pytest.raises(MessageUnusable, match="no possible device"):
        OBJECTS.read(topic, said(battery={"soc": 1}), NOW)


def test_level_without_a_field_is_unusable() -> None:
    with pytest.raises(MessageUnusable, match="none of the fields"):
        NUMBERS.read("site/inverter/colour", b"5", NOW)


def test_one_bad_number_leaves_the_others() -> None:
    payload = said(battery={"soc": "high"}, cells={"max_mv": 3301})
    message = OBJECTS.read("plant/A/telemetry", payload, NOW)
    assert message.readings["bms"].values == {"cell_max_voltage": 3.301}
    assert message.mistakes == ("soc is not a number",)


@given(st.binary(max_size=200))
def test_no_payload_does_anything_but_give_readings_or_be_unusable(payload: bytes) -> None:
    for subscription, topic in ((OBJECTS, "plant/A/telemetry"), (NUMBER, "site/bms/soc")):
        try:
            message = subscription.read(topic, payload, NOW)
        except MessageUnusable:
            continue
        assert message.readings


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["ts", "battery", "soc", "cells", "0"]), inner, max_size=3
        )
    ),
)


@given(JSON, JSON)
def test_no_json_does_anything_but_give_readings_or_be_unusable(ts: object, body: object) -> None:
    payload = json.dumps({"ts": ts, "battery": body, "strings": body}).encode()
    try:
        message = OBJECTS.read("plant/A/telemetry", payload, NOW)
    except MessageUnusable:
        return
    assert all(reading.values for reading in message.readings.values())
