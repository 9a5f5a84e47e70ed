"""Settings: command line over environment over file."""

from pathlib import Path

import pytest

from benchwire.domains.potentiostat.settings import PotentiostatSettings
from benchwire.foundation.settings import SettingsInvalid, load_server_settings


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BOX_API_KEY", "BENCHWIRE_API_KEY", "BENCHWIRE_PORT", "RUNS_ROOT", "BOX_ID"):
        monkeypatch.delenv(name, raising=False)


def test_command_line_wins_over_environment_over_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "benchwire.toml").write_text('port = 1\nhost = "file"\nworker_processes = 3\n')
    monkeypatch.setenv("BENCHWIRE_PORT", "2")
    settings = load_server_settings({"data_dir": tmp_path, "host": "line"})
    assert (settings.port, settings.host, settings.worker_processes) == (2, "line", 3)


@pytest.mark.parametrize("name", ["BOX_API_KEY", "BENCHWIRE_API_KEY"])
def test_key_has_two_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "secret")
    settings = load_server_settings({"data_dir": tmp_path})
    assert settings.api_key is not None
    assert settings.api_key.get_secret_value() == "secret"
    assert "secret" not in repr(settings)


def test_empty_key_is_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOX_API_KEY", "")
    assert load_server_settings({"data_dir": tmp_path}).api_key is None


@pytest.mark.parametrize("text", ["potentiostat=2, battery=1", '{"potentiostat": 2, "battery": 1}'])
def test_numbers_by_name_come_from_the_environment_in_either_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("BENCHWIRE_EMULATE", text)
    settings = load_server_settings({"data_dir": tmp_path})
    assert settings.emulate == {"potentiostat": 2, "battery": 1}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("BENCHWIRE_EMULATE", "two"), ("BENCHWIRE_EMULATE", "{"),
        ("BENCHWIRE_CORS_ORIGINS", "http://a"), ("BENCHWIRE_CLUSTER", "host:8786"),
    ],
)  # fmt: skip
def test_bad_value_in_the_environment_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    monkeypatch.setenv(name, text)
    with pytest.raises(SettingsInvalid):
        load_server_settings({"data_dir": tmp_path})


def test_domains_have_tables_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "benchwire.toml").write_text('[potentiostat]\nbox_id = "bench 3"\n')
    monkeypatch.setenv("RUNS_ROOT", "/somewhere/runs")
    settings = PotentiostatSettings.load(tmp_path)
    assert (settings.box_id, settings.runs_root) == ("bench 3", Path("/somewhere/runs"))


@pytest.mark.parametrize("text", ["port = 'x'", "port = 99999", "broken"])
def test_bad_file_is_a_clear_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "benchwire.toml").write_text(text)
    with pytest.raises(SettingsInvalid):
        load_server_settings({"data_dir": tmp_path})


def test_the_analysis_server_s_own_names_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "PYAMA_HOST": "0.0.0.0", "PYAMA_PORT": "8001", "PYAMA_DEBUG": "true",
        "PYAMA_MAX_JOBS": "3", "PYAMA_JOB_TIMEOUT": "60",
        "PYAMA_ALLOWED_PATHS": "/data, /experiment,",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    settings = load_server_settings({"data_dir": tmp_path})
    assert (settings.host, settings.port, settings.debug) == ("0.0.0.0", 8001, True)
    assert (settings.max_jobs, settings.job_timeout) == (3, 60.0)
    assert settings.allowed_paths == (Path("/data"), Path("/experiment"))
    monkeypatch.setenv("PYAMA_ALLOWED_PATHS", "")
    assert load_server_settings({"data_dir": tmp_path}).allowed_paths == ()
    monkeypatch.setenv("PYAMA_ALLOWED_PATHS", "data")
    with pytest.raises(SettingsInvalid, match="absolute"):
        load_server_settings({"data_dir": tmp_path})
