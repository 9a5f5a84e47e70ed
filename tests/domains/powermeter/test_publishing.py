"""What leaves the server by itself: MQTT to a real broker, and the webhook."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from benchwire.domains.powermeter import mqtt, webhook
from tests.domains.powermeter.conftest import Bench, emulated, serve
from tests.support.mqtt import Broker, listening
from tests.support.waiting import until

LOAD = {"voltage": 5.0, "current": 1.0, "power": 5.0}
STATE = "benchwire/powermeter/meter1/state"
AVAILABILITY = "benchwire/powermeter/meter1/availability"
# What Home Assistant knows of each quantity: device class, state class, unit.
SENSORS = {
    "voltage": ("voltage", "measurement", "V"),
    "current": ("current", "measurement", "A"),
    "power": ("power", "measurement", "W"),
    "energy_wh": ("energy", "total_increasing", "Wh"),
    "charge_mah": (None, "total_increasing", "mAh"),
    "temperature": ("temperature", "measurement", "°C"),
    "resistance": (None, "measurement", "Ω"),
    "d_plus": ("voltage", "measurement", "V"),
    "d_minus": ("voltage", "measurement", "V"),
}


@pytest.fixture
def broker(free_port: int) -> Iterator[Broker]:
    opened = Broker(free_port)
    yield opened
    opened.close()


@pytest.fixture
def published(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Bench, dict[str, list[str]]]]:
    """A bench that publishes, and all that has arrived at the broker."""
    with listening(broker.port) as found, emulated(tmp_path) as emulators:
        emulators.control("p1", "set", **LOAD)
        with serve(
            emulators, tmp_path / "data", monkeypatch,
            mqtt_host="127.0.0.1", mqtt_port=broker.port, mqtt_interval=0.1,
        ) as opened:  # fmt: skip
            until(lambda: len(found.get(STATE, [])) >= 3, what="states")
            yield opened, found
        until(lambda: found["benchwire/status"][-1] == "offline", what="the farewell")
        assert found[AVAILABILITY][-1] == "offline"


def test_states_hold_every_field_and_energy_only_grows(published: Any) -> None:
    bench, found = published
    until(lambda: len(found[STATE]) >= 8, what="more states")
    states = [json.loads(text) for text in found[STATE]]
    newest = bench.get("data/latest")
    assert set(states[0]) >= set(newest) - {"timestamp", "age_s", "stale"}
    assert (states[0]["voltage"], states[0]["current"]) == (5.0, 1.0)
    energies = [state["energy_wh"] for state in states]
    assert energies == sorted(energies)
    assert energies[-1] > energies[0]
    assert [state["utc"] for state in states] == sorted({state["utc"] for state in states})
    assert found["benchwire/status"] == ["online"]
    # Before the first answer of the meter nobody knows whether it is there.
    assert found[AVAILABILITY] in (["online"], ["offline", "online"])


def test_home_assistant_finds_every_quantity_with_its_class(published: Any) -> None:
    _, found = published
    configs = {
        topic.split("/")[-2]: json.loads(texts[-1])
        for topic, texts in found.items()
        if topic.startswith("homeassistant/sensor/")
    }
    assert {
        key: (body.get("device_class"), body["state_class"], body["unit_of_measurement"])
        for key, body in configs.items()
    } == SENSORS
    state = json.loads(found[STATE][-1])
    for key, body in configs.items():
        assert body["state_topic"] == STATE
        assert body["value_template"] == f"{{{{ value_json.{key} }}}}"
        assert key in state
        topics = {item["topic"] for item in body["availability"]}
        assert topics == {"benchwire/status", AVAILABILITY}
        assert body["availability_mode"] == "all"
        assert body["device"]["serial_number"] == "4242"
    assert len({body["unique_id"] for body in configs.values()}) == len(configs)
    problem = json.loads(found["homeassistant/binary_sensor/benchwire_meter1/alarm/config"][-1])
    assert problem["device_class"] == "problem"


def test_an_unplugged_meter_is_offline_and_comes_back(published: Any) -> None:
    bench, found = published
    bench.control("unplug")
    until(lambda: found[AVAILABILITY][-1] == "offline", seconds=4, what="offline")
    bench.control("replug")
    until(lambda: found[AVAILABILITY][-1] == "online", seconds=7, what="online")


def test_a_meter_that_is_added_again_by_its_name_is_told_again(
    published: Any, tmp_path: Path
) -> None:
    bench, found = published
    availability = AVAILABILITY.replace("meter1", "desk")
    with emulated(tmp_path / "more") as spare:
        desk = {"name": "desk", "port": str(spare.paths["p1"])}
        for _ in range(2):
            bench.client.post("/api/meters", json=desk).raise_for_status()
            until(lambda: found.get(availability, [""])[-1] == "online", what="the meter")
            bench.client.delete("/api/meters/desk").raise_for_status()
            until(lambda: found[availability][-1] == "", what="its removal")


def test_alarms_are_published(published: Any) -> None:
    bench, found = published
    bench.configure(alarms={"current": {"high": 0.5}})
    topic = "benchwire/powermeter/meter1/alarm"
    until(lambda: topic in found, what="the alarm")
    alarm = json.loads(found[topic][0])
    assert (alarm["meter"], alarm["kind"], alarm["raised"]) == ("meter1", "current_high", True)
    until(lambda: json.loads(found[STATE][-1])["alarm"] == "ON", what="the state")


def test_a_broker_that_comes_late_and_goes_is_found_again(
    free_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "RETRY_SECONDS", 0.2)
    with emulated(tmp_path) as emulators:
        emulators.control("p1", "set", **LOAD)
        with serve(
            emulators, tmp_path / "data", monkeypatch,
            mqtt_host="127.0.0.1", mqtt_port=free_port, mqtt_interval=0.1,
        ) as opened:  # fmt: skip
            opened.until_points(5)
            for _ in range(2):
                broker = Broker(free_port)
                try:
                    with listening(free_port) as found:
                        until(lambda seen=found: seen.get(STATE), seconds=15, what="a state")
                        assert found["benchwire/status"][-1] == "online"
                        assert any("homeassistant" in topic for topic in found)
                finally:
                    broker.close()
            opened.until_points(opened.status()["data_count"] + 5)


def test_nothing_is_published_by_default(bench: Bench) -> None:
    names = {thread.name for thread in threading.enumerate()}
    assert not names & {"mqtt", "webhook"}


class _Receiver(BaseHTTPRequestHandler):
    bodies: list[dict[str, Any]]
    failures: list[int]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.failures:
            self.send_response(self.failures.pop())
        else:
            self.bodies.append(json.loads(body))
            self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_every_alarm_is_posted_even_if_the_receiver_fails_at_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_port: int
) -> None:
    monkeypatch.setattr(webhook, "PAUSES", (0.1, 0.1, 0.1))
    _Receiver.bodies, _Receiver.failures = [], [500, 503]
    receiver = HTTPServer(("127.0.0.1", free_port), _Receiver)
    thread = threading.Thread(target=receiver.serve_forever)
    thread.start()
    try:
        with emulated(tmp_path) as emulators:
            emulators.control("p1", "set", **LOAD)
            with serve(
                emulators, tmp_path / "data", monkeypatch,
                webhook_url=f"http://127.0.0.1:{free_port}/hook",
            ) as opened:  # fmt: skip
                opened.configure(alarms={"current": {"high": 0.5}})
                until(lambda: len(_Receiver.bodies) == 1, what="the alarm")
                opened.control("set", current=0.1)
                until(lambda: len(_Receiver.bodies) == 2, what="its end")
    finally:
        receiver.shutdown()
        thread.join()
        receiver.server_close()
    first, second = _Receiver.bodies
    assert (first["meter"], first["kind"], first["raised"]) == ("meter1", "current_high", True)
    assert (first["value"], first["threshold"]) == (1.0, 0.5)
    assert second["raised"] is False


def test_a_webhook_that_leads_nowhere_disturbs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_port: int
) -> None:
    with emulated(tmp_path) as emulators:
        emulators.control("p1", "set", **LOAD)
        with serve(
            emulators, tmp_path / "data", monkeypatch,
            webhook_url=f"http://127.0.0.1:{free_port}/",
        ) as opened:  # fmt: skip
            opened.configure(alarms={"current": {"high": 0.5}})
            opened.until_points(opened.status()["data_count"] + 20)
