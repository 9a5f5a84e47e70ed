"""Settings of the battery telemetry."""

from pathlib import Path
from typing import ClassVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict

from benchwire.foundation.settings import SettingsBase, is_this_computer


class BatterySettings(SettingsBase):
    """Settings in ``[battery]`` or under ``BENCHWIRE_BATTERY_``."""

    section: ClassVar[str | None] = "battery"

    model_config = SettingsConfigDict(env_prefix="BENCHWIRE_BATTERY_")

    data: Path | None = Field(
        None, description="Folder of the recordings: the one with `BESS` in it, or that itself."
    )
    timezone: str | None = Field(
        None, description="Zone of recorded times that name none, such as Europe/Berlin; else UTC."
    )
    tolerance_seconds: float = Field(
        600.0, gt=0, le=86_400, description="How far a sample may be from a row's time, in s."
    )
    rescan_seconds: float = Field(
        5.0, ge=0.1, le=3600, description="How long a look at the recordings is believed, in s."
    )
    modbus_map: Path | None = Field(
        None, description="TOML file of the inverters to read over Modbus TCP."
    )
    mqtt_map: Path | None = Field(
        None, description="TOML file of the MQTT topics that carry readings."
    )
    mqtt_host: str = Field("127.0.0.1", description="Broker of these topics.")
    mqtt_port: int = Field(1883, ge=1, le=65535, description="Port of the broker.")
    mqtt_tls: bool = Field(False, description="Speak to the broker over TLS.")
    mqtt_username: str | None = Field(None, description="User at the broker.")
    mqtt_password: SecretStr | None = Field(None, description="Password at the broker.")

    mqtt_client_id: str = Field(
        "benchwire-battery",
        pattern=r"^[\w-]{1,64}$",
        description="Name at the broker; two servers at one broker need two names.",
    )

    send_in_clear: bool = Field(
        False, description="Send the broker's password to another computer without TLS."
    )

    @property
    def mqtt_tells_all(self) -> bool:
        """Whether the network could read the broker's password."""
        is_clear = not (self.mqtt_tls or is_this_computer(self.mqtt_host))
        return self.mqtt_password is not None and is_clear and not self.send_in_clear

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str | None) -> str | None:
        if value:
            try:
                ZoneInfo(value)
            except (ZoneInfoNotFoundError, ValueError, OSError) as error:
                raise ValueError(f"there is no time zone called {value}") from error
        return value or None
