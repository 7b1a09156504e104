"""The mark that makes a data folder that of a home: `releve home add` and `releve import` set it."""

from __future__ import annotations

from config.settings import ConfigError, Settings, get_settings


def make_home(settings: Settings) -> Settings:
    """Make the installation a home's, and return its settings; nothing happens where it is one.

    Raises ConfigError, in one line, where it is a fleet's: RELEVE_HOME is false, or Enedis credentials are set.
    """
    if settings.is_home:
        return settings
    refuse_fleet(settings)
    mark = settings.home_mark()
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text("This data folder is that of a home: see `releve home --help`.\n", encoding="utf-8")
    get_settings.cache_clear()
    return get_settings()


def refuse_fleet(settings: Settings) -> None:
    """Raise ConfigError where the settings are those of a fleet."""
    if settings.home is False:
        raise ConfigError("RELEVE_HOME is false, so that this is no home's installation: unset it")
    if settings.has_enedis_credentials:
        raise ConfigError(
            "this is the installation of a fleet, with Enedis credentials (RELEVE_ENEDIS_CLIENT_ID): for a home set "
            "RELEVE_DATA_DIR to another folder and unset them"
        )
