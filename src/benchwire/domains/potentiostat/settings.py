"""Settings of the potentiostats."""

from pathlib import Path
from typing import ClassVar

from pydantic import AliasChoices, Field
from pydantic_settings import SettingsConfigDict

from benchwire.foundation.settings import SettingsBase


class PotentiostatSettings(SettingsBase):
    """Where runs are kept and which instruments are used.

    The plain names ``BOX_ID``, ``RUNS_ROOT`` and ``NAS_CONFIG_PATH`` are read as well.
    """

    section: ClassVar[str | None] = "potentiostat"
    model_config = SettingsConfigDict(env_prefix="BENCHWIRE_POTENTIOSTAT_")

    box_id: str = Field(
        "",
        validation_alias=AliasChoices("BOX_ID", "BENCHWIRE_POTENTIOSTAT_BOX_ID", "box_id"),
        description="Free text that names this box, shown by /health.",
    )
    runs_root: Path | None = Field(
        None,
        validation_alias=AliasChoices("RUNS_ROOT", "BENCHWIRE_POTENTIOSTAT_RUNS_ROOT", "runs_root"),
        description="Folder of all runs; the data folder's runs folder unless given.",
    )
    nas_config_path: Path | None = Field(
        None,
        validation_alias=AliasChoices(
            "NAS_CONFIG_PATH", "BENCHWIRE_POTENTIOSTAT_NAS_CONFIG_PATH", "nas_config_path"
        ),
        description="File of the NAS settings; in the data folder unless given.",
    )
    build: str | None = Field(
        None,
        validation_alias=AliasChoices(
            "BOX_BUILD", "BOX_BUILD_ID", "BENCHWIRE_POTENTIOSTAT_BUILD", "build"
        ),
        description="Build shown by /version.",
    )
    ports: list[str] = Field(
        default_factory=list,
        description="Serial ports to use in place of those found by their USB ids.",
    )
    usb_vendor: int = Field(2022, description="USB vendor id of the instrument.")
    usb_product: int = Field(22099, description="USB product id of the instrument.")
    max_run_hours: float = Field(
        168.0, gt=0, description="Longest planned time of one run, in hours."
    )
    max_points: int = Field(
        2_000_000_000, gt=0, description="Most sample points of one mode on one slot."
    )
    rescan_seconds: float = Field(
        2.0, gt=0, description="How often ports are looked for, in seconds."
    )
    min_free_mb: int = Field(
        200, ge=0, description="Free disk space below which no run is started, in MB."
    )
