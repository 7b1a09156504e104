"""From what the supplier's page sent back to accounts in the registry.

v4 brings a code to exchange for the holder's own tokens, v5 the usage point itself, 2026 an authorisation whose
usage points are asked for and may take a while to be there (upstream-apis, 1.3 and 1.12).

Only v4's exchange *proves* whose meter it is: what the address of a callback says, anybody can write there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Final

from sqlalchemy import Connection

from worker.clients.enedis.consent import Callback, authorize_url, usage_points_of, usage_points_of_grant
from worker.clients.oauth import Grant
from worker.domain.consent.accounts import Account
from worker.domain.consent.consents import ConsentKind
from worker.domain.consent.durations import last_day_of, without_years
from worker.domain.measures.readings import PARIS
from worker.errors import ConsentNotThere, UnknownUsagePoint
from worker.runtime.process import SUPPLIER, Runtime
from worker.stores.registry.accounts import NewConsent

_WAITS_S: Final = (0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True, slots=True)
class Connected:
    """The accounts of a consent, in the order in which its meters were told.

    ``known``: those of them that were there before.  ``proven``: the supplier itself said over its own line
    that the one who came back holds these meters.
    """

    accounts: tuple[Account, ...]
    known: frozenset[str]
    proven: bool


@dataclass(frozen=True, slots=True)
class _ConsentAnswer:
    kind: ConsentKind
    usage_points: tuple[str, ...] = field(repr=False)
    grant: Grant | None = None
    reference: str | None = field(default=None, repr=False)
    proven: bool = False


def consent_duration(runtime: Runtime) -> str:
    """How long we ask for: as set, or the longest that the preset may have; for 2026 never in years."""
    preset = runtime.endpoints.preset
    asked = runtime.settings.consent_duration or preset.consent_duration
    return without_years(asked) if preset.consent_style == "autorisation" else asked


def consent_page(runtime: Runtime, state: str) -> str:
    """Where to send the person.  Raises ValueError where the supplier has no consent page."""
    return authorize_url(runtime.endpoints, runtime.settings.enedis_client_id, state, consent_duration(runtime))


def connect_accounts(
    runtime: Runtime, callback: Callback, sleep: Callable[[float], None] = time.sleep
) -> list[Account]:
    """The accounts of a consent, new or renewed: ``connect`` for whoever needs no more."""
    return list(connect(runtime, callback, sleep).accounts)


def connect(runtime: Runtime, callback: Callback, sleep: Callable[[float], None] = time.sleep) -> Connected:
    """The accounts of a consent, new or renewed; the same consent twice gives the same accounts.

    All of them, their token, dates and proofs in one transaction.  The caller enqueues their backfill then; where
    it dies before, the reconciler finds them.  Raises UnknownUsagePoint where the holder refused or shared no
    meter, ConsentNotThere where the supplier doesn't know the consent yet, and what the client raises.
    """
    finding = _find(runtime, callback, sleep)
    if not finding.usage_points:
        raise UnknownUsagePoint("the consent names no meter: connect again")
    now = runtime.now()
    first_day = now.astimezone(PARIS).date()
    last_day = last_day_of(first_day, consent_duration(runtime))
    added = runtime.registry.add_all(
        SUPPLIER,
        finding.usage_points,
        now,
        _new_consent(finding.grant, first_day, last_day, token_needed=runtime.account_tokens),
        witness=_proof(runtime, finding, now, first_day, last_day),
    )
    return Connected(
        tuple(account for account, _ in added),
        frozenset(account.id for account, created in added if not created),
        finding.proven,
    )


def _find(runtime: Runtime, callback: Callback, sleep: Callable[[float], None]) -> _ConsentAnswer:
    if callback.failure:
        raise UnknownUsagePoint(f"the supplier's consent page answered {callback.failure}: connect again")
    if runtime.account_tokens:
        return _by_code(runtime, callback)
    if callback.autorisation_id is not None:
        usage_points = authorised_usage_points(runtime, callback.autorisation_id, sleep)
        return _ConsentAnswer(ConsentKind.AUTORISATION, usage_points, reference=str(callback.autorisation_id))
    return _ConsentAnswer(ConsentKind.USAGE_POINT, callback.usage_points)


def _by_code(runtime: Runtime, callback: Callback) -> _ConsentAnswer:
    if callback.code is None:
        raise UnknownUsagePoint("the consent page sent no code: connect again")
    grant = runtime.oauth.exchange_code(callback.code)
    named = usage_points_of_grant(grant)
    # Whoever has a code of their own could write another's meter beside it.
    if named and not set(callback.usage_points) <= set(named):
        raise UnknownUsagePoint("the consent page named a meter that the supplier does not confirm: connect again")
    usage_points = callback.usage_points or named
    kind = ConsentKind.ID_TOKEN if "usage_points_id" not in grant.extras and named else ConsentKind.CODE
    return _ConsentAnswer(kind, usage_points, grant, proven=bool(named))


def authorised_usage_points(
    runtime: Runtime, autorisation_id: int, sleep: Callable[[float], None] = time.sleep
) -> tuple[str, ...]:
    """The meters of a consent (2026), asked for with growing waits.  Raises ConsentNotThere, and as the client."""
    session = runtime.session_of("")  # the application's token: there is no account yet
    for wait_s in (*_WAITS_S, None):
        if found := usage_points_of(session, autorisation_id, runtime.now()):
            return tuple(found)
        if wait_s is not None:
            sleep(wait_s)
    raise ConsentNotThere("the supplier does not know this consent yet: load the page again in a minute")


def _new_consent(grant: Grant | None, first_day: date, last_day: date, *, token_needed: bool) -> NewConsent:
    if grant is None:
        return NewConsent(first_day, last_day, token_needed=token_needed)
    ends = grant.token.expires_at
    ends_at = None if ends is None else datetime.fromtimestamp(ends, UTC)
    return NewConsent(first_day, last_day, grant.token.to_text(), ends_at, token_needed)


def _proof(
    runtime: Runtime, finding: _ConsentAnswer, now: datetime, first_day: date, last_day: date
) -> Callable[[Connection, str], object]:
    def witness(connection: Connection, account_id: str) -> None:
        runtime.consents.record_in(
            connection,
            account_id,
            finding.kind,
            now,
            consent_from=first_day,
            consent_until=last_day,
            reference=finding.reference,
        )

    return witness
