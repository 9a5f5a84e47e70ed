"""Where new readings are shown, and what those of one system are in the view of the whole."""

from benchwire.domains.battery.samples import Reading
from benchwire.domains.battery.signals import GROUPS, Group

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


BOTH = "both"
"""Stands for both systems where a group is named."""


def topic_of(device_id: str, group: str) -> str:
    """Return the topic of a device's new readings of a group."""
    return f"battery.{group}.{device_id}"


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
