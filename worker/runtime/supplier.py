"""The supplier's client from the settings: addresses, quota, tokens, one session per account."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from redis import Redis

from config.settings import ConfigError, Settings
from worker.accounts.token_store import UserTokenStore
from worker.clients.enedis.client import EnedisClient
from worker.clients.enedis.presets import PRESETS, Endpoints, Preset
from worker.clients.oauth import OAuthClient
from worker.clients.session import SupplierSession
from worker.clients.tokens import ApplicationTokens, TokenProvider, UserTokens
from worker.clients.transport import Transport
from worker.domain.clock import Clock
from worker.domain.consent.accounts import Account
from worker.domain.measures.answer_shapes import Deviation
from worker.quota.ledger import QuotaLedger
from worker.stores.redis.progress import ProgressStore
from worker.stores.registry.accounts import AccountRegistry


@dataclass(frozen=True, slots=True, kw_only=True)
class Supplier:
    """The description of a supplier; its texts are ``supplier.<name>`` in ``locales/names.json``.

    ``name``: its name in accounts and addresses. ``presets``: the generations of its API with the path of each series;
    a setting chooses one for all accounts. ``client``: builds the client of one account.
    """

    name: str
    presets: Mapping[str, Preset]
    client: Callable[[Endpoints, SupplierSession, Clock, Callable[[Deviation], None]], EnedisClient]


ENEDIS: Final = Supplier(name="enedis", presets=PRESETS, client=EnedisClient)
SUPPLIERS: Final = {supplier.name: supplier for supplier in (ENEDIS,)}


@dataclass(frozen=True, kw_only=True)
class SupplierClients:
    """One transport and one ledger for the process, a session with its own token for each account."""

    endpoints: Endpoints
    transport: Transport
    oauth: OAuthClient
    ledger: QuotaLedger
    registry: AccountRegistry
    progress: ProgressStore
    application_tokens: ApplicationTokens
    now: Clock
    report: Callable[[Deviation], None]

    @property
    def account_tokens(self) -> bool:
        """Whether each account brings its own token (v4), or one token of the application serves all."""
        return self.endpoints.preset.token_mode == "user"  # noqa: S105 - a mode, no secret

    def tokens_of(self, account_id: str) -> TokenProvider:
        if self.account_tokens:
            return UserTokens(UserTokenStore(account_id, self.registry, self.progress), self.oauth)
        return self.application_tokens

    def session_of(self, account_id: str) -> SupplierSession:
        return SupplierSession(self.endpoints, self.transport, self.tokens_of(account_id), self.ledger)

    def client_of(self, account: Account) -> EnedisClient:
        supplier = SUPPLIERS[account.supplier]
        return supplier.client(self.endpoints, self.session_of(account.id), self.now, self.report)


def build_endpoints(settings: Settings) -> Endpoints:
    """Return the supplier's addresses.  Raises ConfigError where one can't be used."""
    try:
        return ENEDIS.presets[settings.preset].endpoints(
            settings.enedis_url, settings.enedis_authorize_url, sandbox=settings.enedis_sandbox
        )
    except ValueError as error:
        raise ConfigError(f"RELEVE_ENEDIS_URL: {error}") from None


def build_ledger(settings: Settings, redis: Redis, endpoints: Endpoints) -> QuotaLedger:
    """Return the quota's ledger with the preset's limits, or with those of the settings, where 0 means no limit."""
    preset = endpoints.preset
    per_second = preset.calls_per_second if settings.calls_per_second is None else settings.calls_per_second
    per_day = preset.calls_per_day if settings.calls_per_day is None else settings.calls_per_day
    return QuotaLedger(
        redis,
        preset.name,
        per_second=per_second or None,
        per_hour=calls_per_hour(settings, endpoints),
        per_day=per_day or None,
        shares=settings.quota_shares(),
    )


def calls_per_hour(settings: Settings, endpoints: Endpoints) -> int | None:
    """Return the quota of an hour, None for no limit."""
    limit = settings.calls_per_hour
    return (endpoints.preset.calls_per_hour if limit is None else limit) or None
