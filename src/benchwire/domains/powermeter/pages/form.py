"""The form of a meter's configuration."""

from typing import Any

from nicegui import run, ui

from benchwire.domains.powermeter.alarms import WATCHED
from benchwire.domains.powermeter.config import MeterConfig
from benchwire.domains.powermeter.errors import ConfigInvalid
from benchwire.domains.powermeter.readings import QUANTITIES
from benchwire.domains.powermeter.service import PowerMeters
from benchwire.foundation.web.roles import Role
from benchwire.foundation.web.shell import act
from benchwire.foundation.web.states import section

_NUMBERS = (
    ("polling_interval", "Polling interval / s"),
    ("data_retention_minutes", "Kept for / min"),
    ("session_threshold_a", "A charge begins at / A"),
    ("session_end_delay_s", "and ends after so long below / s"),
)


class ConfigForm:
    """All keys of the configuration, checked together before any is changed."""

    def __init__(self, meters: PowerMeters, name: str) -> None:
        self._meters = meters
        self._name = name
        self._inputs: dict[str, Any] = {}
        self._limits: dict[tuple[str, str], ui.number] = {}

    def draw(self) -> None:
        """Draw the form with what is in force."""
        config = self._meters.meter(self._name).config
        with section("Configuration"):
            port = ui.select([config.port], value=config.port, label="Port", with_input=True)
            self._inputs["port"] = port.classes("w-full").mark("config-port")
            ui.timer(0.1, lambda: self._offer_ports(port), once=True)
            with ui.element("div").classes("grid grid-cols-1 sm:grid-cols-2 gap-x-4 w-full"):
                for key, title in _NUMBERS:
                    self._inputs[key] = ui.number(
                        title, value=getattr(config, key), format="%g", validation=self._check(key)
                    ).mark(f"config-{key}")
            self._draw_limits(config)
            ui.button("Apply", on_click=self._apply).mark("config-apply")

    def _draw_limits(self, config: MeterConfig) -> None:
        with ui.expansion("Alarms").classes("w-full").mark("config-alarms"):
            for key, index in WATCHED.items():
                limits = config.limits.get(key)
                with ui.row().classes("items-center gap-3 no-wrap w-full"):
                    ui.label(f"{key.capitalize()} / {QUANTITIES[index].unit}").classes("w-32")
                    for side in ("low", "high", "hysteresis"):
                        value = None if limits is None else getattr(limits, side)
                        entry = ui.number(side, value=value).mark(f"alarm-{key}-{side}")
                        entry.props["aria-label"] = f"{key} {side} / {QUANTITIES[index].unit}"
                        self._limits[key, side] = entry

    async def _offer_ports(self, port: ui.select) -> None:
        found = await run.io_bound(self._meters.ports) or []
        port.set_options(list(dict.fromkeys([port.value, *(item["port"] for item in found)])))

    def _check(self, key: str) -> Any:
        def message(value: object) -> str | None:
            config = self._meters.meter(self._name).config
            try:
                config.changed({key: _whole(key, value)})
            except ConfigInvalid as error:
                return error.message.partition(": ")[2] or error.message
            return None

        return message

    async def _apply(self) -> None:
        changes: dict[str, Any] = {
            key: _whole(key, item.value) for key, item in self._inputs.items()
        }
        alarms = {
            key: {
                "low": self._limits[key, "low"].value,
                "high": self._limits[key, "high"].value,
                "hysteresis": self._limits[key, "hysteresis"].value,
            }
            for key in WATCHED
        }
        changes["alarms"] = {
            key: limits
            for key, limits in alarms.items()
            if limits["low"] is not None or limits["high"] is not None
        }
        for key in WATCHED:
            changes["alarms"].setdefault(key, {})
        if await act(self._meters.configure, self._name, changes, needs=Role.ADMIN) is not None:
            ui.notify("The configuration was changed", type="positive")


def _whole(key: str, value: object) -> object:
    """Return the number of a field whose fraction means nothing as an integer."""
    if key == "data_retention_minutes" and isinstance(value, float) and value.is_integer():
        return int(value)
    return value
