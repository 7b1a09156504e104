"""What the web application alone builds: sessions, codes and operators, under keys that no worker has."""

from __future__ import annotations

from dataclasses import dataclass

from config.settings import ConfigError, Settings
from worker.accounts.access.mail_links import MailLinks
from worker.accounts.access.ways_back import HouseholdAccess
from worker.runtime.keys import session_keys
from worker.stores.encryption import KeyedHashes, Signer
from worker.stores.redis.rate_limits import RateLimiter
from worker.stores.registry.access.keys import AccessKeyTable
from worker.stores.registry.accounts import AccountRegistry
from worker.stores.registry.households.households import HouseholdTable
from worker.stores.registry.households.mail_addresses import MailAddressTable
from worker.stores.sealing import Sealer


@dataclass(frozen=True, slots=True)
class WebAccess:
    """The tables of those who use a browser, and what signs their forms."""

    signer: Signer
    sealer: Sealer
    keys: AccessKeyTable
    households: HouseholdTable
    ways_back: HouseholdAccess
    mail_links: MailLinks


def build_web_access(
    settings: Settings, registry: AccountRegistry, hashes: KeyedHashes, limiter: RateLimiter
) -> WebAccess:
    """Return what opens and ends sessions.  Raises ConfigError where a session key is too short."""
    keys = session_keys(settings)
    try:
        sealer, signer = Sealer(keys, "web access", "RELEVE_SESSION_KEY"), Signer(keys)
    except ValueError as error:
        raise ConfigError(f"RELEVE_SESSION_KEY: {error}") from None
    database = registry.database
    access_keys, households = AccessKeyTable(database, sealer), HouseholdTable(database, sealer)
    addresses = MailAddressTable(database, sealer, hashes)
    return WebAccess(
        signer=signer,
        sealer=sealer,
        keys=access_keys,
        households=households,
        ways_back=HouseholdAccess(keys=access_keys, households=households, addresses=addresses),
        mail_links=MailLinks(
            keys=access_keys,
            households=households,
            addresses=addresses,
            registry=registry,
            limiter=limiter,
            public_url=settings.public_url,
            notify_urls=settings.notify_urls(),
        ),
    )
