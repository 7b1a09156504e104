"""The suppliers that there are, and the client of each account."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from worker.clients.enedis.client import EnedisClient
from worker.clients.enedis.presets import PRESETS, Endpoints, Preset
from worker.clients.oauth import OAuthClient
from worker.clients.session import Permits, SupplierSession, Transport
from worker.clients.tokens import ApplicationTokens, RotatingTokenStore, TokenProvider, TokenStore, UserTokens
from worker.domain.clock import Clock
from worker.domain.consent.accounts import Account
from worker.domain.measures.deviations import Deviation


@dataclass(frozen=True, slots=True, kw_only=True)
class Supplier:
    """The description of a supplier; its texts are ``supplier.<name>`` in ``locales/names.json``.

    ``name``: its name in accounts and addresses. ``presets``: the generations of its API with the path of each series;
    a setting chooses one for all accounts. ``client``: builds the client of a session.
    """

    name: str
    presets: Mapping[str, Preset]
    client: Callable[[Endpoints, SupplierSession, Clock, Callable[[Deviation], None]], EnedisClient]


ENEDIS: Final = Supplier(name="enedis", presets=PRESETS, client=EnedisClient)
SUPPLIERS: Final = {supplier.name: supplier for supplier in (ENEDIS,)}


@dataclass(frozen=True, kw_only=True)
class SupplierClients:
    """The clients of one process, which share a transport and the permits.

    Accounts with a token of their own have a session each; else one client serves all. ``user_tokens`` returns the
    store of an account's token. ``report`` is called with each refusal that is not documented.
    """

    endpoints: Endpoints
    transport: Transport
    oauth: OAuthClient
    permits: Permits
    user_tokens: Callable[[str], RotatingTokenStore]
    application_token: TokenStore
    now: Clock
    report: Callable[[Deviation], None]

    @property
    def account_tokens(self) -> bool:
        """Whether each account brings its own token (v4), or one token of the application serves all."""
        return self.endpoints.preset.token_mode == "user"  # noqa: S105 - a mode, no secret

    def tokens_of(self, account_id: str) -> TokenProvider:
        if self.account_tokens:
            return UserTokens(self.user_tokens(account_id), self.oauth)
        return ApplicationTokens(self.application_token, self.oauth)

    def session_of(self, account_id: str) -> SupplierSession:
        return SupplierSession(self.endpoints, self.transport, self.tokens_of(account_id), self.permits)

    def client_of(self, account: Account) -> EnedisClient:
        if self.account_tokens:
            return self._build_client(account.supplier, self.session_of(account.id))
        return self._application_clients[account.supplier]

    @cached_property
    def _application_clients(self) -> Mapping[str, EnedisClient]:
        session = self.session_of("")
        return {supplier: self._build_client(supplier, session) for supplier in SUPPLIERS}

    def _build_client(self, supplier: str, session: SupplierSession) -> EnedisClient:
        return SUPPLIERS[supplier].client(self.endpoints, session, self.now, self.report)
