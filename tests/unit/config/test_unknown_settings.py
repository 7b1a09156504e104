"""D22: a mistyped setting is named with the one it is likely meant for; variables of others are left alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from config.settings import PREFIX, Settings
from config.unknown_settings import REMOVED, removed_settings, unknown_settings


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Work without the RELEVE_* variables and the ``.env`` of whoever runs the tests."""
    for name in [name for name in os.environ if name.upper().startswith(PREFIX)]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "name, meant",
    [
        ("RELEVE_CALS_PER_HOUR", "RELEVE_CALLS_PER_HOUR"),
        ("RELEVE_CALLS_PER_HOR", "RELEVE_CALLS_PER_HOUR"),
        ("RELEVE_TOKEN_KEY", "RELEVE_TOKEN_KEYS"),
        ("RELEVE_METRIC_PORT", "RELEVE_METRICS_PORT"),
        ("RELEVE_REDIS_URLS_FILE", "RELEVE_REDIS_URL_FILE"),
        ("releve_preste", "RELEVE_PRESET"),
    ],
)
def test_d22_a_mistyped_setting_is_named_with_its_neighbour(
    monkeypatch: pytest.MonkeyPatch, name: str, meant: str
) -> None:
    monkeypatch.setenv(name, "5")
    assert unknown_settings() == [f"{name} is not a setting: did you mean {meant}?"]


def test_a_name_like_none_is_to_be_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELEVE_XYZ", "secret")
    (line,) = unknown_settings()
    assert line.startswith("RELEVE_XYZ is not a setting: unset it") and "secret" not in line


def test_a_mistyped_setting_of_the_env_file_is_named_too(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("RELEVE_NIGHTLY_ATT=09:00\nRELEVE_VERSION=1.0\nOTHER=1\nRELEVE_SERIES=daily\n")
    assert unknown_settings() == ["RELEVE_NIGHTLY_ATT is not a setting: did you mean RELEVE_NIGHTLY_AT?"]


@pytest.mark.parametrize(
    "name, value",
    [
        ("RELEVE_PRESET", "enedis-v5"),
        ("releve_preset", "enedis-v5"),
        ("RELEVE_TOKEN_KEYS_FILE", "/run/secrets/token_keys"),
        ("RELEVE_NIGHTLY_ATT", ""),  # An empty variable counts as unset.
        ("RELEVE_TEST_COUCHDB_URL", "http://127.0.0.1"),
        ("RELEVE_PROXY_ORIGINS", "x"),  # It has a line of its own.
        # Kubernetes, for a Service releve-redis.
        ("RELEVE_REDIS_SERVICE_HOST", "10.0.0.3"),
        ("RELEVE_REDIS_SERVICE_PORT_HTTP", "6379"),
        ("RELEVE_REDIS_PORT", "tcp://10.0.0.3:6379"),
        ("RELEVE_REDIS_PORT_6379_TCP_ADDR", "10.0.0.3"),
    ],
)
def test_other_variables_are_left_alone(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    assert unknown_settings() == []


def test_a_setting_that_was_renamed_or_taken_out_says_what_takes_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELEVE_RAW_VAULT_DAYS", "7")
    assert removed_settings() == ["RELEVE_RAW_VAULT_DAYS has no effect any more: use `RELEVE_RAW_ANSWERS_DAYS`"]
    assert unknown_settings() == []
    assert not {name.removeprefix(PREFIX).lower() for name in REMOVED} & Settings.model_fields.keys()
