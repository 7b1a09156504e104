"""The mark that makes a data folder that of a home: `releve home add`, `releve import` and a restore set it."""

from __future__ import annotations

from config.settings import ConfigError, Settings


def mark_home(settings: Settings) -> None:
    """Write the mark. Settings that were read before don't know it."""
    mark = settings.home_mark()
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text("This data folder is that of a home: see `releve home --help`.\n", encoding="utf-8")


def refuse_fleet(settings: Settings) -> None:
    """Raise ConfigError where the settings are those of a fleet."""
    if settings.home is False:
        raise ConfigError("RELEVE_HOME is false: unset it to set up a home")
    if settings.has_enedis_credentials:
        raise ConfigError(
            "this installation has Enedis credentials (RELEVE_ENEDIS_CLIENT_ID): for a home, unset them and set "
            "RELEVE_DATA_DIR to another folder"
        )
