"""What the web application alone builds: sessions, codes and operators, under keys that no worker has."""

from __future__ import annotations

from dataclasses import dataclass

from config.settings import Settings
from worker.runtime.keys import build_sealer, session_keys
from worker.stores.database import Database
from worker.stores.encryption import Purpose, Signer
from worker.stores.registry.access.keys import AccessKeyTable
from worker.stores.registry.households.households import HouseholdTable
from worker.stores.sealing import Sealer


@dataclass(frozen=True, slots=True)
class WebAccess:
    """The tables of those who use a browser, and what signs their forms."""

    signer: Signer
    sealer: Sealer
    keys: AccessKeyTable
    households: HouseholdTable


def build_web_access(settings: Settings, database: Database) -> WebAccess:
    """Return what opens and ends sessions.  Raises ConfigError as ``build_sealer`` does."""
    sealer, signer = build_sealer(settings, Purpose.WEB_ACCESS), Signer(session_keys(settings))
    return WebAccess(signer, sealer, AccessKeyTable(database, sealer), HouseholdTable(database, sealer))
