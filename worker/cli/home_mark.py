"""The change of an empty data folder into that of a home, by `releve home add` and `releve import`."""

from __future__ import annotations

from contextlib import ExitStack

from config.settings import ConfigError, Settings, get_settings
from worker.clients.suppliers import ENEDIS
from worker.domain.clock import clock_from
from worker.domain.windows import civil_date
from worker.ops.check_results import missing_sqlite_file
from worker.runtime.keys import mark_home, refuse_fleet
from worker.runtime.stores import open_current_database
from worker.stores.registry.fleet_counts import Overview


def make_home(settings: Settings) -> Settings:
    """Make the installation a home's, and return its settings; nothing happens where it is one.

    Raises ConfigError, in one line, where it is a fleet's: RELEVE_HOME is false, Enedis credentials are set, or the
    registry has accounts of Enedis.
    """
    if settings.is_home:
        return settings
    refuse_fleet(settings)
    if _has_accounts_of_enedis(settings):
        raise ConfigError(
            "this installation has accounts with Enedis: for a home, set RELEVE_DATA_DIR to another folder"
        )
    mark_home(settings)
    get_settings.cache_clear()
    return get_settings()


def _has_accounts_of_enedis(settings: Settings) -> bool:
    """Return whether there is a registry with active accounts of Enedis, whose readings would stop in a home."""
    if missing_sqlite_file(settings.registry()):
        return False
    with ExitStack() as opened:
        overview = Overview(open_current_database(settings, opened))
        return overview.count_active_accounts(ENEDIS.name, civil_date(clock_from(settings.pretend_now)())) > 0
