"""New readings on their way to whoever watches."""

from benchwire.domains.battery.samples import Reading, iso
from benchwire.domains.battery.signals import GROUPS, Group
from benchwire.foundation.streams import Hub
from benchwire.foundation.web.sse import json_event

BESS_OF = {
    group.name: {
        signal.field: other.field
        for signal in group.signals
        for other in GROUPS["bess"].signals
        if other.name == signal.name
    }
    for group in (GROUPS["bms"], GROUPS["pcs"])
}
"""What the fields of each system are called in the view of the whole."""


def topic_of(device_id: str, group: str) -> str:
    """Return the topic of a device's new readings of a group."""
    return f"battery.{group}.{device_id}"


def row_of(group: Group, reading: Reading) -> dict[str, object]:
    """Return a reading as batches show it."""
    row: dict[str, object] = {"timestamp": iso(reading.at_us)}
    for signal in group.signals:
        value = reading.values.get(signal.field)
        row[signal.field] = bool(value) if signal.is_flag and value is not None else value
    return row


def publish(hub: Hub, device_id: str, group: Group, readings: list[Reading]) -> None:
    """Show new readings to all who watch the device."""
    for reading in readings:
        row = row_of(group, reading)
        hub.publish(topic_of(device_id, group.name), json_event("row", row))
        hub.publish(
            topic_of(device_id, "all"), json_event("row", {"group": group.name, "row": row})
        )


def whole_view(group: Group, readings: list[Reading]) -> list[Reading]:
    """Return the readings of one system as readings of the whole."""
    names = BESS_OF[group.name]
    return [
        Reading(
            reading.at_us,
            {names[key]: value for key, value in reading.values.items() if key in names},
        )
        for reading in readings
    ]
