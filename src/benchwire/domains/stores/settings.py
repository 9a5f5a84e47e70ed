"""Settings of the object stores."""

from typing import Annotated, ClassVar

from pydantic import Field, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from benchwire.domains.stores.addresses import parsed
from benchwire.foundation.errors import BenchwireError
from benchwire.foundation.settings import SettingsBase, split_at_commas


class StoresSettings(SettingsBase):
    """Settings in ``[stores]`` or under ``BENCHWIRE_STORES_``.

    Keys, and the address of a service of one's own, stay where each store's library looks for them:
    ``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL`` and their like, or the files of its own tools.
    """

    section: ClassVar[str | None] = "stores"

    model_config = SettingsConfigDict(env_prefix="BENCHWIRE_STORES_")

    urls: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Where in object stores requests may copy from and to, as s3://bucket/folder.",
    )
    at_once: int = Field(
        2,
        ge=1,
        le=32,
        description="Large files, or many small ones together, that move side by side.",
    )

    @field_validator("urls", mode="before")
    @classmethod
    def _from_commas(cls, value: object) -> object:
        return split_at_commas(value)

    @field_validator("urls")
    @classmethod
    def _are_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return tuple(parsed(url) for url in value)
        except BenchwireError as error:
            raise ValueError(error.message) from error
