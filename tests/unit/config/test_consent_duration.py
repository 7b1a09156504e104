"""How long a consent is asked for: the setting that is checked at start, and settings that are gone."""

from __future__ import annotations

import pytest

from config.settings import ConfigError, Settings
from config.unknown_settings import removed_settings


@pytest.mark.parametrize("bad", ["P", "P0D", "P4Y", "PT1H", "P1Y2", "1Y", "P1D1Y", "P1097D", "P3Y1M", "p1y"])
def test_a_duration_that_no_page_takes_is_refused_at_start(bad: str) -> None:
    with pytest.raises(ConfigError, match="RELEVE_CONSENT_DURATION: needs a duration"):
        Settings.from_env(_env_file=None, consent_duration=bad)


@pytest.mark.parametrize("good", ["P6M", "P1Y", "P1Y4M", "P3Y", "P36M", "P1095D", "P1096D", "P156W"])
def test_durations_that_were_seen_are_taken(good: str) -> None:
    assert Settings.from_env(_env_file=None, consent_duration=good).consent_duration == good


def test_a_setting_that_is_gone_is_told_with_what_replaces_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RELEVE_PROXY_ORIGINS", raising=False)
    assert removed_settings() == []
    monkeypatch.setenv("RELEVE_PROXY_ORIGINS", "https://*.cozy.example")
    (line,) = removed_settings()
    assert "RELEVE_PROXY_ORIGINS has no effect" in line and "releve access add-client" in line
