"""The list of all suppliers, and the clients of each supplier that is set up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from worker.clients.endpoints import Endpoints
from worker.clients.enedis import ENEDIS
from worker.clients.gateway import GATEWAY
from worker.clients.grdf import GRDF
from worker.clients.oauth import OAuthClient
from worker.clients.supplier import RightCalls, Supplier, SupplierClient
from worker.clients.supplier_session import Permits, SupplierSession, Token, TokenProvider, Transport
from worker.clients.tokens import ApplicationTokens, BearerTokens, RotatingTokenStore, TokenStore, UserTokens
from worker.domain.access_right import REGISTERING
from worker.domain.account import Account
from worker.domain.answers import Deviation
from worker.domain.clock import Clock
from worker.domain.series import is_gateway
from worker.domain.windows import civil_date
from worker.errors import OperatorFault

SUPPLIERS: Final = {supplier.name: supplier for supplier in (ENEDIS, GRDF, GATEWAY)}


@dataclass(frozen=True, kw_only=True)
class SupplierClients:
    """The clients of one supplier in one process; they share addresses, transport and quota.

    If each account has its own token, each account has its own client; otherwise one client serves all accounts.
    ``user_tokens`` returns the store for an account's token. ``report`` is called with each undocumented refusal.

    Every call for an account begins with ``client_of`` or ``tokens_of``, which raise ConsentEnded for an account whose
    consent has ended, and UnknownAccount for one that was removed.
    """

    supplier: Supplier
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
        """Whether each account has its own token (v4, gateways); otherwise all accounts use the application's token."""
        return self.endpoints.preset.token_mode != "application"  # noqa: S105 - a mode, no secret

    @property
    def renews_tokens(self) -> bool:
        """Whether the accounts' tokens are renewed at the supplier (v4); a gateway's tokens are entered by hand."""
        return self.endpoints.preset.token_mode == "user"  # noqa: S105 - a mode, no secret

    def client_of(self, account: Account) -> SupplierClient:
        """Return the client for the series of an account. Use the client at once: consent is checked only here."""
        tokens = self.tokens_of(account)
        return self._build_client(self._open_session(tokens)) if self.account_tokens else self.application_client

    def tokens_of(self, account: Account) -> TokenProvider:
        """Return the source of the token for an account's calls: the account's own token, or the application's."""
        if refusal := account.refusal_on(civil_date(self.now())):
            raise refusal
        if self.endpoints.preset.token_mode == "bearer":  # noqa: S105 - a mode, no secret
            return BearerTokens(self.user_tokens(account.id))
        if self.account_tokens:
            return UserTokens(self.user_tokens(account.id), self.oauth)
        return self.application_tokens()

    def application_tokens(self) -> ApplicationTokens:
        return ApplicationTokens(self.application_token, self.oauth)

    @cached_property
    def application_client(self) -> SupplierClient:
        """The client that uses the application's token (v5, 2026)."""
        return self._build_client(self.application_session())

    def application_session(self) -> SupplierSession:
        """Return a session of the application, for calls that don't belong to an account."""
        return self._open_session(self.application_tokens())

    def revoke_token(self, text: str) -> None:
        """Revoke a user's tokens at the supplier; ``text`` comes from ``Token.to_text``.

        Does nothing if the supplier has no endpoint for revocation, or if the text isn't a token. Raises the errors of
        ``OAuthClient``.
        """
        if self.endpoints.revoke_url is None:
            return
        try:
            token = Token.from_text(text)
        except ValueError:
            return
        # The refresh token is revoked first, because it stays valid for longer.
        if token.refresh is not None:
            self.oauth.revoke(token.refresh, "refresh_token")
        self.oauth.revoke(token.access, "access_token")

    @property
    def rights(self) -> RightCalls:
        """The calls about access rights. Raises OperatorFault if the supplier doesn't register rights."""
        if self.supplier.rights is None:
            raise OperatorFault(f"{self.supplier.name} has no access rights to register")
        return self.supplier.rights

    def _open_session(self, tokens: TokenProvider) -> SupplierSession:
        return SupplierSession(self.endpoints, self.transport, tokens, self.permits)

    def _build_client(self, session: SupplierSession) -> SupplierClient:
        return self.supplier.client(self.endpoints, session, self.now, self.report)


class Suppliers(dict[str, SupplierClients]):
    """The clients of the suppliers that are set up, by name.

    The first supplier is ``main``: electricity readings are collected from it.
    """

    @property
    def main(self) -> SupplierClients:
        return next(iter(self.values()))

    @property
    def has_rights(self) -> bool:
        """Whether one of these suppliers registers access rights."""
        return not REGISTERING.isdisjoint(self)

    def clients_of(self, supplier: str) -> SupplierClients:
        """Return the clients of a supplier. Raises OperatorFault if the supplier isn't set up."""
        if supplier not in self:
            setting = "HOME" if is_gateway(supplier) else f"{supplier.upper()}_CLIENT_ID"
            raise OperatorFault(f"{supplier} is not set up here: set RELEVE_{setting}")
        return self[supplier]

    def client_of(self, account: Account) -> SupplierClient:
        return self.clients_of(account.supplier).client_of(account)

    def tokens_of(self, account: Account) -> TokenProvider:
        return self.clients_of(account.supplier).tokens_of(account)

    def application_client(self, supplier: str) -> SupplierClient:
        return self.clients_of(supplier).application_client
