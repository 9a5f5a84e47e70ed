"""Settings: from the command line, the environment and ``benchwire.toml``, in that order.

A domain declares its own class from `SettingsBase` with its section's name; nobody reads the
environment anywhere else, and nothing is read before `load` is called.
"""

import json
import os
import tomllib
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, cast

from platformdirs import user_data_path
from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from benchwire.foundation.errors import Invalid

SETTINGS_FILE = "benchwire.toml"


class SettingsInvalid(Invalid):
    """A setting cannot be used; the message names it and says why."""

    code = "settings.invalid"


class SettingsBase(BaseSettings):
    """Settings of one part of the server; ``section`` is its table in the settings file."""

    section: ClassVar[str | None] = None

    model_config = SettingsConfigDict(extra="ignore", populate_by_name=True, frozen=True)

    @classmethod
    def load(cls, data_dir: Path, overrides: Mapping[str, object] | None = None) -> Self:
        """Return the settings in force for that data folder.

        Parameters
        ----------
        data_dir
            Folder that may hold a ``benchwire.toml``.
        overrides
            Values that win over everything, as the command line's do; None means not given.

        Raises
        ------
        SettingsInvalid
            A value has the wrong form; the message names setting and reason.
        """
        file_values = _read_file(data_dir / SETTINGS_FILE)
        own = file_values.get(cls.section, {}) if cls.section else file_values
        if not isinstance(own, Mapping):
            raise SettingsInvalid(f"[{cls.section}] in {SETTINGS_FILE} has to be a table")

        class WithFile(cls):  # type: ignore[valid-type, misc]
            @classmethod
            def settings_customise_sources(
                cls,
                settings_cls: type[BaseSettings],
                init_settings: PydanticBaseSettingsSource,
                env_settings: PydanticBaseSettingsSource,
                dotenv_settings: PydanticBaseSettingsSource,
                file_secret_settings: PydanticBaseSettingsSource,
            ) -> tuple[PydanticBaseSettingsSource, ...]:
                return (init_settings, env_settings, InitSettingsSource(settings_cls, dict(own)))

        given = {key: value for key, value in (overrides or {}).items() if value is not None}
        try:
            loaded = WithFile(**given)
        except ValidationError as error:
            raise SettingsInvalid(_explain(error)) from error
        except SettingsError as error:
            raise SettingsInvalid(f"{error}; it has to be JSON") from error
        return cast("Self", cls.model_construct(**dict(loaded)))


class ServerSettings(SettingsBase):
    """Settings of the server as a whole."""

    model_config = SettingsConfigDict(env_prefix="BENCHWIRE_")

    data_dir: Path = Field(description="Folder of the database, the runs and everything else kept.")
    host: str = Field(
        "127.0.0.1",
        validation_alias=AliasChoices("BENCHWIRE_HOST", "PYAMA_HOST", "host"),
        description="Address to listen on.",
    )
    port: int = Field(
        8000,
        ge=0,
        le=65535,
        validation_alias=AliasChoices("BENCHWIRE_PORT", "PYAMA_PORT", "port"),
        description="Port to listen on.",
    )
    database_url: str | None = Field(
        None, description="PostgreSQL address; without it a SQLite file in the data folder."
    )
    owner: str | None = Field(
        None,
        description="Address of the server that owns the instruments, for a reader elsewhere.",
    )
    api_key: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("BOX_API_KEY", "BENCHWIRE_API_KEY", "api_key"),
        description="Key that every request must carry as X-API-Key; none leaves the server open.",
    )
    emulate: Annotated[dict[str, int], NoDecode] = Field(
        default_factory=dict, description="Emulated instruments to start, by domain name."
    )
    also: Annotated[dict[str, int], NoDecode] = Field(
        default_factory=dict, description="Domains to serve alone on a port of their own as well."
    )
    cors_origins: list[str] = Field(
        default_factory=list,
        description="Web origins that may also write; any origin may read.",
    )
    allowed_hosts: list[str] = Field(
        default_factory=list,
        description="Names with a dot that a server without a key is known by; * for any.",
    )
    worker_processes: int = Field(
        4, ge=1, description="Processes for plots and other work that somebody waits for."
    )
    compute_processes: int = Field(
        default_factory=lambda: os.cpu_count() or 1,
        ge=1,
        description="Processes for image processing, fits and other long work.",
    )
    worker_memory_mb: int = Field(
        default_factory=lambda: _half_of_memory_mb(),
        ge=512,
        description="Most memory of one of those processes, in MB; Linux only.",
    )
    cluster: str | None = Field(
        None,
        pattern="^(tcp|tls)://",
        description="Scheduler of a Dask cluster that does the work of both; none for here.",
    )
    cluster_ca: Path | None = Field(None, description="PEM file of who vouches for the cluster.")
    cluster_cert: Path | None = Field(None, description="PEM file of the server's certificate.")
    cluster_key: Path | None = Field(None, description="PEM file of that certificate's key.")
    allowed_paths: Annotated[tuple[Path, ...], NoDecode] = Field(
        (),
        validation_alias=AliasChoices(
            "BENCHWIRE_ALLOWED_PATHS", "PYAMA_ALLOWED_PATHS", "allowed_paths"
        ),
        description="Folders in which requests may name paths; none allows all.",
    )
    max_jobs: int = Field(
        10,
        ge=1,
        validation_alias=AliasChoices("BENCHWIRE_MAX_JOBS", "PYAMA_MAX_JOBS", "max_jobs"),
        description="Analysis jobs that run at once; more wait.",
    )
    job_timeout: float = Field(
        3600.0,
        gt=0,
        validation_alias=AliasChoices("BENCHWIRE_JOB_TIMEOUT", "PYAMA_JOB_TIMEOUT", "job_timeout"),
        description="Longest run of an analysis job, in s.",
    )
    debug: bool = Field(
        False,
        validation_alias=AliasChoices("BENCHWIRE_DEBUG", "PYAMA_DEBUG", "debug"),
        description="Log more.",
    )
    ui: bool = Field(True, description="Serve the web dashboard.")
    chosen: dict[str, dict[str, object]] = Field(
        default_factory=dict,
        exclude=True,
        description="Settings of domains given on the command line, by section.",
    )
    log_format: Literal["auto", "json", "text"] = Field(
        "auto", description="json, text, or auto: text on a terminal."
    )

    @property
    def key(self) -> str | None:
        """The API key in plain text, None when the server is open."""
        return None if self.api_key is None else self.api_key.get_secret_value()

    @field_validator("api_key", mode="before")
    @classmethod
    def _empty_key_is_no_key(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("allowed_paths", mode="before")
    @classmethod
    def _from_commas(cls, value: object) -> object:
        return split_at_commas(value)

    @field_validator("allowed_paths")
    @classmethod
    def _absolute(cls, value: tuple[Path, ...]) -> tuple[Path, ...]:
        for path in value:
            if not path.is_absolute():
                raise ValueError(f"{path} has to be absolute")
        return value

    @field_validator("emulate", "also", mode="before")
    @classmethod
    def _from_assignments(cls, value: object) -> object:
        """Accept ``name=number,name=number`` as well as a table, which may be JSON."""
        if not isinstance(value, str):
            return value
        if value.lstrip().startswith("{"):
            return json.loads(value)
        return parse_assignments(value.split(","))


def _half_of_memory_mb() -> int:
    """Return half of the machine's memory in MB, but no less than an ordinary movie needs."""
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows
        total = 0
    return max(total // 2_000_000, 2000)


def parse_assignments(items: list[str]) -> dict[str, int]:
    """Return ``["potentiostat=2"]`` as ``{"potentiostat": 2}``."""
    pairs = {}
    for item in filter(None, (part.strip() for part in items)):
        name, _, number = item.partition("=")
        try:
            pairs[name.strip()] = int(number)
        except ValueError:
            raise SettingsInvalid(f"'{item}' should read name=number") from None
    return pairs


def split_at_commas(value: object) -> object:
    """Accept ``/data,/experiment`` for a list; what is no text stays as it is."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def is_this_computer(host: str) -> bool:
    """Whether what is sent to a host stays on this computer, so that nobody can read along."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


class _DataDir(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="BENCHWIRE_", extra="ignore")

    data_dir: Path | None = None


def load_server_settings(overrides: Mapping[str, object]) -> ServerSettings:
    """Return the server's settings; the data folder is settled first, as it may hold the file."""
    chosen = overrides.get("data_dir") or _DataDir().data_dir or user_data_path("benchwire")
    # Links followed, as files are opened by paths without any.
    data_dir = Path(str(chosen)).expanduser().resolve()
    return ServerSettings.load(data_dir, {**overrides, "data_dir": data_dir})


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise SettingsInvalid(f"{SETTINGS_FILE} cannot be read: {error}") from error


def _explain(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in error.errors()
    )
