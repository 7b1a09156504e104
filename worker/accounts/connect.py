"""The connection of accounts: from the callback of the supplier's consent page to accounts in the registry.

The callback of v4 contains a code, which is exchanged for the holder's own tokens. That of v5 contains the usage points
themselves. That of 2026 contains the id of an authorisation, whose usage points can be asked for some seconds later.

Only the exchange of v4 *proves* whose meter it is, because anybody can write the parameters of a callback's address.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import partial
from typing import Final

from worker.clients.enedis.consent import Callback, authorize_url, fetch_usage_points, usage_points_of_grant
from worker.clients.enedis.presets import Endpoints
from worker.clients.oauth import Grant
from worker.clients.session import SupplierSession
from worker.domain.clock import Clock
from worker.domain.consent.accounts import Account
from worker.domain.consent.consents import ConsentKind
from worker.domain.consent.durations import last_day_of, without_years
from worker.domain.measures.readings import PARIS
from worker.errors import ConsentNotThere, UnknownUsagePoint
from worker.stores.registry.accounts import AccountRegistry, NewConsent
from worker.stores.registry.consents import ConsentTable

# Waits between the requests for the usage points of an authorisation (2026).
_WAITS_S: Final = (0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True, slots=True)
class ConnectedAccounts:
    """The accounts of a consent, in the order in which it named its meters.

    ``existing_ids``: the accounts that existed before. ``proven`` says whether the supplier confirmed, in a call of our
    own, that the person who came back holds these meters.
    """

    accounts: tuple[Account, ...]
    existing_ids: frozenset[str]
    proven: bool


@dataclass(frozen=True, slots=True)
class _ConsentAnswer:
    """The content of a callback: its meters, and the tokens or the number of the consent if it has them."""

    kind: ConsentKind
    usage_points: tuple[str, ...] = field(repr=False)
    grant: Grant | None = None
    reference: str | None = field(default=None, repr=False)
    proven: bool = False


@dataclass(frozen=True, kw_only=True)
class AccountConnector:
    """The use case that turns a callback into accounts.

    ``duration`` is the setting for how long consent is requested, None for the preset's longest. ``account_tokens``
    says whether each account has its own token (v4). ``open_session`` returns a session with the application's token.
    """

    supplier: str
    endpoints: Endpoints
    client_id: str
    duration: str | None
    account_tokens: bool
    exchange_code: Callable[[str], Grant]
    open_session: Callable[[], SupplierSession]
    registry: AccountRegistry
    consents: ConsentTable
    now: Clock

    def consent_duration(self) -> str:
        """Return the ISO 8601 duration for which consent is requested; the API of 2026 accepts no years."""
        preset = self.endpoints.preset
        duration = self.duration or preset.consent_duration
        return without_years(duration) if preset.consent_style == "autorisation" else duration

    def consent_page(self, state: str) -> str:
        """Return the address to send the person to. Raises ValueError if the supplier has no consent page."""
        return authorize_url(self.endpoints, self.client_id, state, self.consent_duration())

    def connect(self, callback: Callback) -> ConnectedAccounts:
        """Return the accounts of a consent, new or renewed; the same consent twice gives the same accounts.

        The accounts, their token, dates and proofs are written in one transaction. The caller then enqueues the
        backfill; if it dies before that, the reconciler finds the accounts. Raises UnknownUsagePoint if the holder
        refused or shared no meter, ConsentNotThere if the supplier does not know the consent yet, and what the client
        raises.
        """
        answer = self._read_callback(callback)
        if not answer.usage_points:
            raise UnknownUsagePoint("the consent names no meter: connect again")
        now = self.now()
        first_day = now.astimezone(PARIS).date()
        last_day = last_day_of(first_day, self.consent_duration())
        accounts = self.registry.add_all(
            self.supplier,
            answer.usage_points,
            now,
            _new_consent(answer.grant, first_day, last_day, token_needed=self.account_tokens),
            on_account=partial(
                self.consents.record,
                kind=answer.kind,
                now=now,
                consent_from=first_day,
                consent_until=last_day,
                reference=answer.reference,
            ),
        )
        return ConnectedAccounts(
            tuple(account for account, _ in accounts),
            frozenset(account.id for account, created in accounts if not created),
            answer.proven,
        )

    def authorised_usage_points(self, autorisation_id: int) -> tuple[str, ...]:
        """Return the meters of a consent (2026), requested several times with growing waits.

        Raises ConsentNotThere, and what the client raises.
        """
        session = self.open_session()
        for wait_s in (*_WAITS_S, None):
            if usage_points := fetch_usage_points(session, autorisation_id, self.now()):
                return tuple(usage_points)
            if wait_s is not None:
                time.sleep(wait_s)
        raise ConsentNotThere("the supplier does not know this consent yet: load the page again in a minute")

    def _read_callback(self, callback: Callback) -> _ConsentAnswer:
        if callback.failure:
            raise UnknownUsagePoint(f"the supplier's consent page answered {callback.failure}: connect again")
        if self.account_tokens:
            return self._read_code(callback)
        if callback.autorisation_id is not None:
            usage_points = self.authorised_usage_points(callback.autorisation_id)
            return _ConsentAnswer(ConsentKind.AUTORISATION, usage_points, reference=str(callback.autorisation_id))
        return _ConsentAnswer(ConsentKind.USAGE_POINT, callback.usage_points)

    def _read_code(self, callback: Callback) -> _ConsentAnswer:
        if callback.code is None:
            raise UnknownUsagePoint("the consent page sent no code: connect again")
        grant = self.exchange_code(callback.code)
        confirmed = usage_points_of_grant(grant)
        # A person could take the code of their own consent and write another person's meter into the address.
        if confirmed and not set(callback.usage_points) <= set(confirmed):
            raise UnknownUsagePoint("the consent page named a meter that the supplier does not confirm: connect again")
        usage_points = callback.usage_points or confirmed
        kind = ConsentKind.ID_TOKEN if "usage_points_id" not in grant.extras and confirmed else ConsentKind.CODE
        return _ConsentAnswer(kind, usage_points, grant, proven=bool(confirmed))


def _new_consent(grant: Grant | None, first_day: date, last_day: date, *, token_needed: bool) -> NewConsent:
    if grant is None:
        return NewConsent(first_day, last_day, token_needed=token_needed)
    expires_s = grant.token.expires_at
    expires_at = None if expires_s is None else datetime.fromtimestamp(expires_s, UTC)
    return NewConsent(first_day, last_day, grant.token.to_text(), expires_at, token_needed)
