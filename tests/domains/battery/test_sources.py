"""Live sources in the whole server: from the wire to a batch, with real counterparts."""

import json
from pathlib import Path

import pytest
from paho.mqtt import publish

from benchwire.domains.battery.emulator import EmulatedInverter
from benchwire.foundation.errors import BenchwireError
from tests.support.battery import running
from tests.support.mqtt import Broker
from tests.support.waiting import until

MAP = """
[[inverters]]
name = "container-1"
device_id = "rack-1"
host = "127.0.0.1"
port = {port}
interval_s = 0.2
sunspec = true
"""
TOPICS = """
[[subscriptions]]
topic = "plant/+/telemetry"
device_level = 2
time = "ts"
[subscriptions.json]
soc = "soc"
voltage = { path = "mv", scale = 0.001 }
"""


def test_inverter_that_is_polled_fills_batches_of_both_systems(tmp_path: Path) -> None:
    with EmulatedInverter() as inverter:
        file = tmp_path / "inverters.toml"
        file.write_text(MAP.format(port=inverter.port))
        with running(tmp_path / "data", None, modbus_map=file) as bench:
            until(lambda: bench.client.get("/bms/rack-1").status_code == 200)
            until(lambda: bench.client.get("/pcs/rack-1").status_code == 200)
            until(lambda: bench.get("/pcs/rack-1")["total_available"] >= 3)
            rows = bench.get("/pcs/rack-1")["data"]
            assert rows[0]["apparent_power"] is not None
            assert bench.get("/bms/rack-1")["data"][0]["soc"] is not None
            (state,) = bench.get("/bess/sources")["inverters"]
            assert (state["name"], state["is_connected"]) == ("container-1", True)
            metrics = bench.client.get("/metrics").text
            assert 'benchwire_battery_connected{source="container-1"} 1.0' in metrics
            inverter.kill()
            until(lambda: not bench.get("/bess/sources")["inverters"][0]["is_connected"])


def test_messages_of_a_broker_are_rows(tmp_path: Path, free_port: int) -> None:
    broker = Broker(free_port)
    try:
        file = tmp_path / "topics.toml"
        file.write_text(TOPICS)
        options = {"mqtt_map": file, "mqtt_port": free_port}
        with running(tmp_path / "data", None, **options) as bench:
            until(lambda: bench.get("/bess/sources")["mqtt"]["is_connected"])
            body = json.dumps({"ts": "2026-01-01T00:00:00Z", "soc": 41.5, "mv": 812_000})
            publish.single("plant/rack-2/telemetry", body, qos=1, port=free_port)
            until(lambda: bench.client.get("/bms/rack-2").status_code == 200)
            (row,) = bench.get("/bms/rack-2")["data"]
            assert row["timestamp"] == "2026-01-01T00:00:00Z"
            assert (row["soc"], row["voltage"]) == (41.5, 812.0)
    finally:
        broker.close()


def test_map_with_mistakes_is_told_at_the_start(tmp_path: Path) -> None:
    file = tmp_path / "inverters.toml"
    file.write_text(MAP.format(port=99_999))
    with (
        pytest.raises(BenchwireError, match="port"),
        running(tmp_path / "data", None, modbus_map=file),
    ):
        pass
