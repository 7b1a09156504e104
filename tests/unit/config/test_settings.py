"""Settings from the environment: read once, every error reported together, no secret in any text."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from config.settings import ConfigError, Settings, get_settings
from tools.settings_reference import meaning_of
from worker.domain.clock import clock_from, real_clock
from worker.domain.series import USUAL_GAS_SERIES, USUAL_SERIES, Series

SECRET = "canary-7f3a"


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Remove the developer's RELEVE_* variables and change to an empty folder without .env."""
    for name in [name for name in os.environ if name.startswith("RELEVE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def read_settings(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    for name, value in variables.items():
        monkeypatch.setenv(f"RELEVE_{name}", value)
    return Settings.from_env()


def error_lines(monkeypatch: pytest.MonkeyPatch, **variables: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_settings(monkeypatch, **variables)
    return str(caught.value).splitlines()


def test_without_any_variable_the_embedded_defaults_serve() -> None:
    settings = Settings.from_env()
    assert (settings.preset, settings.history_load_days, settings.nightly_at) == ("enedis-2026", 28, "08:30")
    assert settings.registry() == "sqlite:///releve-data/registry.db"
    assert settings.measures() == "sqlite:///releve-data/measures.db"
    assert settings.redis() is settings.broker_options().url is None


def test_what_is_told_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read_settings(
        monkeypatch,
        PRESET="enedis-v5",
        REDIS_URL=f"redis://:{SECRET}@localhost:6379/0",
        MEASURES_URL="couchdb+http://user:password@localhost:5984/",
        ENEDIS_URL="http://localhost:8123/",
        HISTORY_LOAD_DAYS="745",
    )
    assert (settings.preset, settings.history_load_days) == ("enedis-v5", 745)
    assert settings.redis() == settings.broker_options().url == f"redis://:{SECRET}@localhost:6379/0"
    assert settings.measures() == "couchdb+http://user:password@localhost:5984/"
    assert settings.enedis_url == "http://localhost:8123"


def test_the_fleets_series_are_read_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings.from_env().named_series() == USUAL_SERIES
    monkeypatch.setenv("RELEVE_SERIES", " max_power, daily,daily")
    assert Settings.from_env().named_series() == (Series.DAILY, Series.MAX_POWER)
    monkeypatch.setenv("RELEVE_SERIES", "daily")
    assert Settings.from_env().named_series() == (Series.DAILY,)


def test_of_a_supplier_that_is_not_named_the_usual_series_are_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings.from_env().collected_series() == (*USUAL_SERIES, *USUAL_GAS_SERIES)
    monkeypatch.setenv("RELEVE_SERIES", "daily,gas_daily")
    assert Settings.from_env().collected_series() == (Series.DAILY, Series.GAS_DAILY)
    monkeypatch.setenv("RELEVE_SERIES", "gas_published")
    assert Settings.from_env().collected_series() == (*USUAL_SERIES, Series.GAS_PUBLISHED)


def test_gas_needs_a_client_id_and_is_never_simulated_at_grdfs_own_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not Settings.from_env().speaks_to_gas_simulator
    simulators = {"ENEDIS_URL": "http://127.0.0.1:8000", "PRETEND_NOW": "2024-07-25T09:00+02:00"}
    with pytest.raises(
        ConfigError, match="RELEVE_PRETEND_NOW: is for the simulator only: unset it, or set RELEVE_GRDF_URL"
    ):
        read_settings(monkeypatch, GRDF_CLIENT_ID="releve", **simulators)
    assert read_settings(monkeypatch, GRDF_URL="http://127.0.0.1:8000").speaks_to_gas_simulator
    with pytest.raises(ConfigError, match="RELEVE_PRETEND_NOW: "):
        read_settings(monkeypatch, GRDF_URL="https://api.grdf.fr/adict/v6")


@pytest.mark.parametrize("names", ["daily,gas", ",", "DAILY"])
def test_a_series_that_there_is_not_is_named_in_one_line(monkeypatch: pytest.MonkeyPatch, names: str) -> None:
    monkeypatch.setenv("RELEVE_SERIES", names)
    with pytest.raises(ConfigError) as error:
        Settings.from_env()
    assert str(error.value).startswith("RELEVE_SERIES: needs names with commas between them, out of daily, load_curve")
    assert "\n" not in str(error.value)


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_settings(monkeypatch, REDIS_URL="", HISTORY_LOAD_DAYS="", TOKEN_KEYS_FILE="") == Settings.from_env()


def test_a_dot_env_file_is_read_and_the_environment_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("RELEVE_PRESET=enedis-v4\nRELEVE_NIGHTLY_AT=09:15\n", encoding="utf-8")
    settings = read_settings(monkeypatch, PRESET="enedis-v5")
    assert (settings.preset, settings.nightly_at) == ("enedis-v5", "09:15")


def test_every_fault_is_named_at_once_each_in_a_line_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {
        "PRESET": "enedis-v6",
        "ENEDIS_URL": "localhost:8123",
        "REDIS_URL": "http://localhost",
        "HISTORY_LOAD_DAYS": "746",
        "CALLS_PER_HOUR": "-1",
        "SUPPLIER_TIMEOUT_S": "never",
        "NIGHTLY_AT": "25:00",
        "PRETEND_NOW": "2024-07-25T09:00",
        "LOG_LEVEL": "LOUD",
    }
    lines = error_lines(monkeypatch, TOKEN_KEYS_FILE="missing/keys", ENEDIS_CLIENT_SECRET_FILE=".", **variables)
    assert {line.partition(":")[0] for line in lines} == {
        *(f"RELEVE_{name}" for name in variables),
        "RELEVE_TOKEN_KEYS",
        "RELEVE_ENEDIS_CLIENT_SECRET",
    }
    assert len(lines) == len(variables) + 2


@pytest.mark.parametrize(
    "name", ["ENEDIS_CLIENT_SECRET", "TOKEN_KEYS", "REDIS_URL", "BROKER_URL", "REGISTRY_URL", "MEASURES_URL"]
)
def test_a_secret_may_stand_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text(f"redis://:{SECRET}@host/0\n", encoding="utf-8")
    settings = read_settings(monkeypatch, **{f"{name}_FILE": str(tmp_path / "secret")})
    assert getattr(settings, name.lower()).get_secret_value() == f"redis://:{SECRET}@host/0"


def test_a_variable_goes_before_its_file_and_a_file_before_dot_env(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("of-the-file", encoding="utf-8")
    (tmp_path / ".env").write_text("RELEVE_TOKEN_KEYS=of-dot-env\n", encoding="utf-8")
    settings = read_settings(monkeypatch, TOKEN_KEYS_FILE="secret")
    assert settings.token_keys and settings.token_keys.get_secret_value() == "of-the-file"
    settings = read_settings(monkeypatch, TOKEN_KEYS="of-the-variable")
    assert settings.token_keys and settings.token_keys.get_secret_value() == "of-the-variable"


def test_a_secret_file_that_cannot_be_read_is_named_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    (line,) = error_lines(monkeypatch, TOKEN_KEYS_FILE=SECRET)  # The key itself in place of its file's path.
    assert line == (
        "RELEVE_TOKEN_KEYS: the file that RELEVE_TOKEN_KEYS_FILE names can't be read or is empty: correct it, or "
        "unset the variable"
    )


def test_an_empty_secret_file_is_a_fault_and_no_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("\n", encoding="utf-8")
    (line,) = error_lines(monkeypatch, ENEDIS_CLIENT_SECRET_FILE="secret")
    assert "is empty" in line


@pytest.mark.parametrize("name", ["WEBHOOK_SECRET", "NOTIFY_URL"])
def test_l13_an_empty_file_of_what_may_be_missing_counts_as_unset(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    (tmp_path / "secret").write_text("\n", encoding="utf-8")
    assert getattr(read_settings(monkeypatch, **{f"{name}_FILE": "secret"}), name.lower()) is None
    (line,) = error_lines(monkeypatch, **{f"{name}_FILE": "nowhere"})
    assert "can't be read" in line


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"PRESET": "enedis-v4"},
        {"ENEDIS_URL": "https://gw.ext.prod.api.enedis.fr"},
        {"ENEDIS_URL": "https://GW.EXT.PROD.API.ENEDIS.FR:443/"},
        {"ENEDIS_URL": "https://gw.ext.prod.api.enedis.fr."},  # L11
        {"ENEDIS_URL": "https://gw.ext.prod.api.enedis.fr..:443/"},
        {"ENEDIS_URL": "https://gw.ext.prod.api.enedis\u3002fr/"},
        {"ENEDIS_SANDBOX": "true", "ENEDIS_URL": "https://gw.ext.prod.api.enedis.fr"},
    ],
)
def test_pretending_is_refused_with_the_supplier_s_own_hosts(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    (line,) = error_lines(monkeypatch, PRETEND_NOW="2024-07-25T09:00+02:00", **variables)
    assert line.startswith("RELEVE_PRETEND_NOW: is for the simulator")


@pytest.mark.parametrize(
    "variables",
    [
        {"ENEDIS_SANDBOX": "true"},
        {"ENEDIS_URL": "http://127.0.0.1:8123"},
        {"ENEDIS_URL": "https://gw.ext.prod-sandbox.api.enedis.fr"},
        {"ENEDIS_URL": "https://gw.hml.api.enedis.fr"},
    ],
)
def test_pretending_is_allowed_elsewhere(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    settings = read_settings(monkeypatch, PRETEND_NOW="2024-07-25T09:00+02:00", **variables)
    assert settings.pretend_now == datetime(2024, 7, 25, 7, tzinfo=UTC)
    ahead = clock_from(settings.pretend_now)() - datetime(2024, 7, 25, 7, tzinfo=UTC)
    assert 0 <= ahead.total_seconds() < 60


@pytest.mark.parametrize("switch", [{"PRETEND_NOW": "2024-07-25T09:00+02:00"}, {"PRETEND_HOMES": "true"}])
@pytest.mark.parametrize(
    "variables, name",
    [
        ({"ENEDIS_AUTHORIZE_URL": "https://mon-compte-particulier.enedis.fr"}, "RELEVE_ENEDIS_AUTHORIZE_URL"),
        ({"GRDF_TOKEN_URL": "https://sofit-sso-oidc.grdf.fr/x"}, "RELEVE_GRDF_TOKEN_URL"),
        ({"GRDF_AUTHORIZE_URL": "https://api.grdf.fr./authorize"}, "RELEVE_GRDF_AUTHORIZE_URL"),
    ],
)
def test_l11_pretending_is_refused_beside_any_host_of_the_supplier_s(
    monkeypatch: pytest.MonkeyPatch, switch: dict[str, str], variables: dict[str, str], name: str
) -> None:
    (line,) = error_lines(monkeypatch, ENEDIS_URL="http://127.0.0.1:8123", **switch, **variables)
    assert (
        line
        == f"RELEVE_{next(iter(switch))}: is for the simulator only: unset it, or unset {name}, which names a real host"
    )


@pytest.mark.parametrize(
    "url, pretending",
    [
        ("http://127.0.0.1:8123", True),
        ("https://gateway.example.org", True),
        ("https://gw.ext.prod-sandbox.api.enedis.fr", False),  # Enedis' own sandbox is no simulator of ours.
    ],
)
def test_l11_a_gateway_of_ones_own_is_a_simulator_by_a_switch_alone(
    monkeypatch: pytest.MonkeyPatch, url: str, pretending: bool
) -> None:
    gas = {"GRDF_URL": url.replace("enedis", "grdf") if pretending else "", "GRDF_CLIENT_ID": "releve-simulator"}
    gas = gas if pretending else {}
    plain = read_settings(monkeypatch, ENEDIS_URL=url, **gas)
    assert not plain.pretends and not plain.speaks_to_simulator and not plain.speaks_to_gas_simulator
    for switch in ({"PRETEND_NOW": "2024-07-25T09:00+02:00"}, {"PRETEND_HOMES": "true", "PRETEND_NOW": ""}):
        switched = read_settings(monkeypatch, ENEDIS_URL=url, **gas, **switch)
        assert switched.pretends and switched.speaks_to_simulator is pretending
        assert switched.speaks_to_gas_simulator is pretending


def test_without_pretence_it_is_now() -> None:
    assert clock_from(None) is real_clock
    assert real_clock().tzinfo is UTC


@pytest.mark.parametrize(
    "bad",
    [
        {"REDIS_URL": f"http://:{SECRET}@host/0"},
        {"REDIS_URL": f"redis://:{SECRET}@ho℀st/0"},
        {"REDIS_URL": f"redis://:[{SECRET}@host/0"},
        {"REDIS_URL": f"redis://user:{SECRET}"},
        {"ENEDIS_URL": f"ftp://user:{SECRET}@host"},
        {"ENEDIS_URL": f"http://user:{SECRET}"},
        {"PRESET": SECRET},
        {"HISTORY_LOAD_DAYS": SECRET},
        {"PRETEND_NOW": SECRET},
        {"NIGHTLY_AT": SECRET},
        {"TOKEN_KEYS_FILE": SECRET},
    ],
)
def test_no_fault_repeats_what_was_told(monkeypatch: pytest.MonkeyPatch, bad: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as caught:
        read_settings(monkeypatch, **bad)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_no_secret_shows_in_the_settings_text(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read_settings(
        monkeypatch,
        ENEDIS_CLIENT_SECRET=SECRET,
        TOKEN_KEYS=SECRET,
        REDIS_URL=f"redis://:{SECRET}@host/0",
        BROKER_URL=f"amqp://user:{SECRET}@host/",
        REGISTRY_URL=f"postgresql://user:{SECRET}@host/db",
        MEASURES_URL=f"couchdb+http://user:{SECRET}@host:5984/",
    )
    for text in (repr(settings), str(settings), settings.model_dump_json(), f"{settings!s}"):
        assert SECRET not in text


def test_settings_do_not_change_once_read(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.from_env()
    changed: Any = settings
    with pytest.raises(ValueError, match="frozen"):
        changed.preset = "enedis-v4"
    get_settings.cache_clear()
    try:
        first = get_settings()
        monkeypatch.setenv("RELEVE_PRESET", "enedis-v4")
        assert get_settings() is first
    finally:
        get_settings.cache_clear()


def test_every_setting_is_described_for_the_person_who_sets_it() -> None:
    assert all(len(meaning_of(name)) > 15 for name in Settings.model_fields)
