"""What the web application alone builds: sessions, codes and operators, under keys that no worker has."""

from __future__ import annotations

from dataclasses import dataclass

from config.settings import ConfigError, Settings
from worker.runtime.keys import session_keys
from worker.stores.database import Database
from worker.stores.encryption import Signer
from worker.stores.registry.access.keys import AccessKeyTable
from worker.stores.registry.access.operators import OperatorTable
from worker.stores.registry.households.households import HouseholdTable
from worker.stores.sealing import Sealer


@dataclass(frozen=True, slots=True)
class WebAccess:
    """The tables of those who use a browser, and what signs their forms."""

    signer: Signer
    sealer: Sealer
    keys: AccessKeyTable
    households: HouseholdTable
    operators: OperatorTable


def build_web_access(settings: Settings, database: Database) -> WebAccess:
    """Return what opens and ends sessions.  Raises ConfigError where a session key is too short."""
    keys = session_keys(settings)
    try:
        sealer, signer = Sealer(keys, "web access", "RELEVE_SESSION_KEY"), Signer(keys)
    except ValueError as error:
        raise ConfigError(f"RELEVE_SESSION_KEY: {error}") from None
    return WebAccess(
        signer=signer,
        sealer=sealer,
        keys=AccessKeyTable(database, sealer),
        households=HouseholdTable(database, sealer),
        operators=OperatorTable(database, sealer),
    )
