"""Settings of the plates."""

from typing import ClassVar

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from benchwire.foundation.settings import SettingsBase


class PlatesSettings(SettingsBase):
    """Settings in ``[plates]`` or under ``BENCHWIRE_PLATES_``."""

    section: ClassVar[str | None] = "plates"

    model_config = SettingsConfigDict(env_prefix="BENCHWIRE_PLATES_")

    max_upload_mb: float = Field(100.0, gt=0, description="Largest request with an image, in MB.")
    max_megapixels: float = Field(200.0, gt=0, description="Largest image, in million pixels.")
