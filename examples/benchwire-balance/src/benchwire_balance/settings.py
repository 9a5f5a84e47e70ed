"""Settings of the balances."""

from typing import ClassVar

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from benchwire.foundation.settings import SettingsBase


class BalanceSettings(SettingsBase):
    """Settings in ``[balance]`` or under ``BENCHWIRE_BALANCE_``."""

    section: ClassVar[str | None] = "balance"

    model_config = SettingsConfigDict(env_prefix="BENCHWIRE_BALANCE_")

    ports: list[str] = Field(
        default_factory=list, description="Serial ports of the balances, in the order of names."
    )
    baudrate: int = Field(9600, gt=0, description="Line speed, as set on the balance.")
    polling_interval: float = Field(
        0.5, ge=0.05, le=60, description="Time between two looks at the weight, in s."
    )
    stable_seconds: float = Field(
        15.0, gt=0, le=600, description="Longest wait for a stable weight, in s."
    )
