"""Settings of the client."""

from typing import Self

from pydantic import AliasChoices, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from benchwire.client.errors import BenchError


class ClientSettings(BaseSettings):
    """Where the server is and which key it wants, for clients that are not told."""

    model_config = SettingsConfigDict(extra="ignore", populate_by_name=True, frozen=True)

    url: str = Field(
        "http://127.0.0.1:8000",
        min_length=1,
        validation_alias=AliasChoices("BENCHWIRE_URL", "url"),
        description="Address of the server, such as http://lab-server:8000.",
    )
    api_key: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("BENCHWIRE_API_KEY", "BOX_API_KEY", "api_key"),
        description="Key of the server.",
    )

    @classmethod
    def load(cls) -> Self:
        """Return what the environment says.

        Raises
        ------
        BenchError
            A variable has the wrong form.
        """
        try:
            return cls()
        except ValidationError as error:
            problem = error.errors()[0]
            raise BenchError(f"{problem['loc'][0]} cannot be used: {problem['msg']}") from error
