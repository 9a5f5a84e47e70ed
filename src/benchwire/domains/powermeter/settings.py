"""Settings of the power meters."""

from typing import ClassVar
from urllib.parse import urlsplit

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from benchwire.domains.powermeter.config import (
    LONGEST_INTERVAL,
    LONGEST_RETENTION,
    SHORTEST_INTERVAL,
)
from benchwire.foundation.settings import SettingsBase, is_this_computer


class PowerMeterSettings(SettingsBase):
    """Settings in ``[powermeter]`` or under ``BENCHWIRE_POWERMETER_``.

    Interval, retention, sessions and alarms are configured per meter over the API and kept in the
    database; what stands here is where a meter begins.
    """

    section: ClassVar[str | None] = "powermeter"

    model_config = SettingsConfigDict(env_prefix="BENCHWIRE_POWERMETER_")

    ports: list[str] = Field(
        default_factory=list, description="Serial ports of the meters; /dev/ttyACM0 if none."
    )
    polling_interval: float = Field(
        1.0,
        ge=SHORTEST_INTERVAL,
        le=LONGEST_INTERVAL,
        description="Interval a new meter begins with, in s.",
    )
    data_retention_minutes: int = Field(
        10, ge=1, le=LONGEST_RETENTION, description="Retention a new meter begins with."
    )
    mqtt_host: str | None = Field(None, description="MQTT broker; none publishes nothing.")
    mqtt_port: int = Field(1883, ge=1, le=65535, description="Port of the broker.")
    mqtt_tls: bool = Field(False, description="Speak to the broker over TLS.")
    mqtt_username: str | None = Field(None, description="User at the broker.")
    mqtt_password: SecretStr | None = Field(None, description="Password at the broker.")
    mqtt_prefix: str = Field(
        "benchwire", pattern=r"^[\w\-/]+$", description="First part of every topic."
    )
    mqtt_discovery_prefix: str = Field(
        "homeassistant",
        pattern=r"^[\w\-/]+$",
        description="Where Home Assistant looks for new devices.",
    )
    mqtt_interval: float = Field(1.0, ge=0.05, description="Least time between two states, in s.")
    webhook_url: str | None = Field(None, description="Address that gets every alarm as JSON.")
    send_in_clear: bool = Field(
        False,
        description="Send the broker's password, and alarms to the webhook's address, to another "
        "computer without TLS.",
    )

    @property
    def webhook_tells_all(self) -> bool:
        """Whether the network could read the webhook's address, which is often a secret."""
        address = urlsplit(self.webhook_url or "")
        is_clear = address.scheme != "https" and not is_this_computer(address.hostname or "")
        return bool(self.webhook_url) and is_clear and not self.send_in_clear

    @property
    def mqtt_tells_all(self) -> bool:
        """Whether the network could read the broker's password."""
        is_clear = not (self.mqtt_tls or is_this_computer(self.mqtt_host or ""))
        has_secret = self.mqtt_host is not None and self.mqtt_password is not None
        return has_secret and is_clear and not self.send_in_clear
