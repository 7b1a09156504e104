"""What the OAuth proxy gives its clients: codes, tokens in exchange for them, and the data of a meter.

A client of the proxy gets a code of ours for a proven consent (v5, 2026) or for the supplier's code (v4). Our code is
random. It works once, within 15 minutes, and only with the client, address and challenge of its request. The consent or
the supplier's code is kept in Redis, encrypted, under the hash of our code. If a client sends our code again, the
tokens that it got for the code are revoked (RFC 6749, 4.1.2).

In exchange for a code or a refresh token, a client gets tokens, but never the application's own:

- v4: the supplier's own token for the holder, once the supplier's answer names a meter (proof P1). A refresh token is
  bound to the client that got it here. Release 0.2.0 stored no rows for its tokens, so each of them is bound to the
  first client that renews it.
- v5, 2026: opaque tokens of ours, valid only for the meter of the code (``stores.registry.proxy``).

Data (v5, 2026) are fetched from the supplier with our own token, and aren't stored. A grant is for one meter. Each
fetch counts in the quota's ledger like a worker's call, in the lane of backfills, so a Cozy stack that fetches for many
households leaves the rest of the quota to people who wait.

Only requests of the proxy's clients make the web wait for a supplier, and the number of threads that wait is limited.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import partial
from typing import Any, Final

from pydantic import TypeAdapter
from sqlalchemy import Connection

from worker.clients.endpoints import Preset
from worker.clients.enedis import ENEDIS
from worker.clients.enedis.client import USAGE_POINT
from worker.clients.oauth import Grant
from worker.clients.supplier import SupplierClient, SupplierConsents
from worker.clients.supplier_session import Token
from worker.domain.answers import Answer
from worker.domain.clock import Clock
from worker.domain.connection_request import ConnectionRequest, RequestEvent
from worker.domain.consents import Proof, last_day_of
from worker.domain.lanes import Lane, in_lane, request_lane
from worker.domain.oauth_proxy import ACCESS_LIFE, ProxyCaller, ProxyClient, ProxyGrant, challenge_of, is_proven
from worker.domain.series import Series
from worker.domain.windows import DateWindow, civil_date
from worker.errors import ConsentStopped, DataError, OperatorFault, ProxyBusy, TransientError
from worker.logs import fields
from worker.stores.encryption import Sealer
from worker.stores.redis.pending_consents import ConsentFlows, place_of_code
from worker.stores.registry import Registry, account_rows
from worker.stores.registry.proxy import NewGrant, ProxyTokens, hash_of_code

log = logging.getLogger("releve.proxy")
MOST_AT_ONCE: Final = 8  # Per process: the web has 40 threads, so pages always find a free one.
_AGAIN_S: Final = 5
LONGEST_WINDOW_DAYS: Final = 3 * 366
_DEFAULT_TOKEN_LIFE_S: Final = 12_600
_NO_SUCH_CODE: Final = "this code is unknown, used, expired or another client's"
_NO_SUCH_TOKEN: Final = "this refresh token is unknown or used, or its consent has ended: consent again"  # noqa: S105
# The JSON of RFC 6749, 5.1; after a code, also the meters, in the fields that a Cozy stack stores.
TokenAnswer = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyCode:
    """What a code stands for: a proven meter with its consent (v5, 2026), or the supplier's own code (v4).

    ``usage_points``: the proven meters (v5, 2026), or the meters in the callback, which are not proven yet (v4).
    ``data_from``: the first day that may be read; None if no other person is known to have held the meter before.
    ``begun_at``: when the person was sent to the supplier's page; None if unknown.
    """

    caller: ProxyCaller
    supplier: str
    begun_at: datetime | None
    usage_points: tuple[str, ...] = field(repr=False)
    autorisation_id: str | None = field(default=None, repr=False)
    supplier_code: str | None = field(default=None, repr=False)
    proof: Proof = Proof.NONE
    vouched_by: str | None = None
    browser: str | None = field(default=None, repr=False)
    data_from: date | None = None
    consent_until: date | None = None


_JSON: Final = TypeAdapter(ProxyCode)
_SAME: Final = ("supplier", "proof", "vouched_by", "browser", "data_from", "consent_until")  # Copied into the grant.


@dataclass(frozen=True, slots=True)
class DataQuery:
    """A request for days of one series of a meter; the end of ``window`` is excluded, as at the supplier."""

    series: Series
    usage_point_id: str = field(repr=False)
    window: DateWindow


class InvalidGrant(DataError):
    """The code or refresh token is unknown, used, too old or another client's, or its consent is over."""


class OtherMeter(Exception):
    """The grant is not for this meter."""


class TooEarly(Exception):
    """The query begins before the first day that the grant allows to be read; the argument is this day."""


@dataclass(frozen=True, kw_only=True)
class ProxyCodes:
    flows: ConsentFlows
    sealer: Sealer

    def hand_over(self, request: ConnectionRequest, code: ProxyCode) -> ConnectionRequest:
        """Issue a code, and return the request with the client's address, to which the browser takes the code."""
        ids = {"usage_point_id": ",".join(code.usage_points), "autorisation_id": code.autorisation_id or ""}
        named = {name: value for name, value in ids.items() if value and code.caller.numbers_in_redirect}
        text = secrets.token_urlsafe(32)
        self.store(text, code)
        return request.after(RequestEvent.HANDED_OVER, returns_to=code.caller.address(code=text, **named), page="")

    def redeem(self, text: str, check: Callable[[ProxyCode], None]) -> ProxyCode | None:
        """Return what a code stands for, and use the code up; None if the code is unknown, used or too old.

        If ``check`` raises, the code stays valid.
        """

        def read(sealed: str) -> ProxyCode:
            code = _JSON.validate_json(self.sealer.unseal(sealed, place_of_code(text)))
            check(code)
            return code

        try:
            return self.flows.redeem_code(text, read)
        except OperatorFault:  # The encryption key is gone: the person must go through the consent page again.
            return None

    def store(self, text: str, code: ProxyCode) -> None:
        """Make a code valid, or valid again if it was redeemed but the supplier did not answer."""
        self.flows.store_code(text, self.sealer.seal(_JSON.dump_json(code).decode(), place_of_code(text)))


class SupplierCalls:
    """Limits the number of simultaneous calls. A call takes one thread until its answer, 30 s at most."""

    def __init__(self, most: int = MOST_AT_ONCE) -> None:
        self._free = threading.BoundedSemaphore(most)

    @contextmanager
    def take(self) -> Iterator[None]:
        """Count one call during the block. Raises ProxyBusy at once if too many calls are under way."""
        if not self._free.acquire(blocking=False):
            raise ProxyBusy("too many calls to the supplier at once", retry_after_s=_AGAIN_S)
        try:
            yield
        finally:
            self._free.release()


@dataclass(frozen=True, kw_only=True)
class ProxyGrants:
    """The use case behind the token endpoint and the data route of the proxy.

    ``refresh_token`` exchanges a holder's refresh token at the supplier (v4). ``client_of`` returns, for a supplier's
    name, the client that fetches measures from this supplier. Every method that calls the supplier raises the client's
    errors, and ProxyBusy if too many calls are under way. ``exchange`` and ``refresh`` also raise InvalidGrant.
    """

    codes: ProxyCodes
    supplier: SupplierConsents | None
    refresh_token: Callable[[str], Grant]
    client_of: Callable[[str], SupplierClient]
    registry: Registry
    now: Clock
    calls: SupplierCalls = field(default_factory=SupplierCalls)

    def exchange(self, client: ProxyClient, code: str, redirect_uri: str | None, verifier: str | None) -> TokenAnswer:
        """Exchange a code for tokens; a code works once, and only for its own client.

        ``redirect_uri``: the address in the request for the code; clients that are not strict may leave it out.
        ``verifier``: the code verifier of PKCE.
        """

        def check(facts: ProxyCode) -> None:
            caller = facts.caller
            if caller.client_id != client.id:
                raise InvalidGrant(_NO_SUCH_CODE)
            if redirect_uri != caller.redirect_uri and (client.strict or redirect_uri):
                raise InvalidGrant("redirect_uri differs from the request for this code")
            if not is_proven(caller.code_challenge, verifier):
                raise InvalidGrant("code_verifier does not match the request for this code")

        facts = self.codes.redeem(code, check)
        code_hash = hash_of_code(code, challenge_of(verifier) if verifier else None)
        if facts is None:
            self.registry.proxy_grants.end_of_code(client.id, code_hash)
            raise InvalidGrant(_NO_SUCH_CODE)
        if facts.supplier_code is None:
            # There is exactly one meter, because the proof is an invitation for one meter.
            (tokens,) = self._store(facts, code_hash, self.registry.proxy_grants.create)
            named = {} if facts.autorisation_id is None else {"autorisation_id": facts.autorisation_id}
            return {**_meter_fields(facts.usage_points), **named, **_own_answer(tokens)}
        try:
            return self._exchange_at_supplier(facts, facts.supplier_code, code_hash)
        except TransientError:
            self.codes.store(code, facts)
            raise

    def refresh(self, client: ProxyClient, refresh_token: str) -> TokenAnswer:
        """Exchange a refresh token, which works once, for the next pair of tokens."""
        if self.supplier and self.supplier.account_tokens:
            return self._refresh_at_supplier(client, self.supplier, refresh_token)
        tokens = self.registry.proxy_grants.rotate(client.id, refresh_token, civil_date(self.now()))
        if tokens is None:
            raise InvalidGrant(_NO_SUCH_TOKEN)
        return _own_answer(tokens)

    def _refresh_at_supplier(self, client: ProxyClient, supplier: SupplierConsents, refresh_token: str) -> TokenAnswer:
        today = civil_date(self.now())
        grant = self.registry.proxy_grants.find_by_bound_token(refresh_token)
        if grant is not None and (grant.client_id != client.id or grant.is_over(today)):
            raise InvalidGrant(_NO_SUCH_TOKEN)
        with self.calls.take():
            answer = self.refresh_token(refresh_token)
        if grant is None:  # Release 0.2.0 issued the token, and stored no row for it.
            meters = supplier.calls.meters_of_grant(answer, supplier.client_id, self.now())
            caller = ProxyCaller(client.id, redirect_uri="", state="")
            facts = ProxyCode(caller=caller, supplier=ENEDIS.name, begun_at=None, usage_points=meters)
            self._bind(supplier, facts, answer.token, hash_of_code(refresh_token, None))
        elif not self.registry.proxy_grants.renew_bound(refresh_token, answer.token.refresh, today):
            raise InvalidGrant(_NO_SUCH_TOKEN)
        return _supplier_answer(answer.token)

    def _exchange_at_supplier(self, facts: ProxyCode, supplier_code: str, code_hash: str) -> TokenAnswer:
        if self.supplier is None:
            raise InvalidGrant("no supplier with a consent page is set up")
        with self.calls.take(), in_lane(request_lane(vouched=False)):  # Anybody can make up a code, so nobody vouches.
            grant, confirmed = self.supplier.confirm_code(supplier_code, facts.usage_points)
        self._bind(self.supplier, replace(facts, usage_points=confirmed), grant.token, code_hash)
        return {**grant.extras, **_meter_fields(confirmed), **_supplier_answer(grant.token)}

    def _bind(self, supplier: SupplierConsents, facts: ProxyCode, token: Token, code_hash: str) -> None:
        """Bind a holder's own refresh token to the client that gets it."""
        until = last_day_of(civil_date(self.now()), supplier.consent_duration())
        bind = partial(self.registry.proxy_grants.bind, refresh_token=token.refresh)
        self._store(replace(facts, proof=Proof.EXCHANGE, consent_until=until), code_hash, bind)

    def _store(self, facts: ProxyCode, code_hash: str, store: Callable[[Connection, NewGrant], Any]) -> list[Any]:
        """Store a grant for each meter, or one grant without a meter if a token of release 0.2.0 names none.

        Returns what ``store`` returned for each grant. Raises InvalidGrant if the consent was stopped or a meter's data
        were erased.
        """
        with self.registry.database.writing() as connection:
            # Erasures and stops of a consent take this lock too. So they have either come before and are seen below, or
            # they come later and end the new grant.
            numbers = sorted(facts.usage_points)
            known = [id_ for number in numbers if (id_ := account_rows.find_locked(connection, facts.supplier, number))]
            reasons = {account_rows.get(connection, account_id).reason for account_id in known}
            if facts.begun_at is None and ConsentStopped.code in reasons:
                raise InvalidGrant("the holder has stopped the consent: consent again")
            if self.registry.erasures.is_erased_since(connection, facts.supplier, facts.usage_points, facts.begun_at):
                raise InvalidGrant("the meter's data were erased in the meantime: consent again")
            same = {name: getattr(facts, name) for name in _SAME}
            new = NewGrant(client_id=facts.caller.client_id, granted_at=self.now(), code_hash=code_hash, **same)
            meters = [self.registry.erasures.digests(facts.supplier, number)[0] for number in facts.usage_points]
            stored = [store(connection, replace(new, meter=meter)) for meter in meters or [""]]
        log.info("proxy grant given", extra=fields(client=facts.caller.client_id, proof=facts.proof.value))
        return stored

    def find_grant(self, access_token: str) -> ProxyGrant | None:
        """Return the grant of an access token; None if the token or its grant is not in force."""
        grant = self.registry.proxy_grants.find_by_access_token(access_token)
        return None if grant is None or grant.is_over(civil_date(self.now())) else grant

    def read(self, grant: ProxyGrant, query: DataQuery) -> Answer:
        """Fetch the data in one call, and record that the grant was used today.

        Raises OtherMeter and TooEarly, and what the client raises.
        """
        if grant.meter not in self.registry.erasures.digests(grant.supplier, query.usage_point_id):
            raise OtherMeter
        if grant.data_from is not None and query.window.start < grant.data_from:
            raise TooEarly(grant.data_from)
        with self.calls.take(), in_lane(Lane.BACKFILL):
            answer = self.client_of(grant.supplier).ask(query.series, query.usage_point_id, query.window)
        self.registry.proxy_grants.note_use(grant, civil_date(self.now()))
        return answer


def _meter_fields(usage_points: Sequence[str]) -> TokenAnswer:
    """Return the meters under both field names; a Cozy stack stores the fields as ``oauth_callback_results``."""
    joined = ",".join(usage_points)
    return {"usage_point_id": joined, "usage_points_id": joined}


def _own_answer(tokens: ProxyTokens) -> TokenAnswer:
    return _token_answer(tokens.access, int(ACCESS_LIFE.total_seconds()), tokens.refresh)


def _supplier_answer(token: Token) -> TokenAnswer:
    life_s = _DEFAULT_TOKEN_LIFE_S if token.expires_at is None else max(0, int(token.expires_at - time.time()))
    return _token_answer(token.access, life_s, token.refresh)


def _token_answer(access: str, life_s: int, refresh: str | None) -> TokenAnswer:
    """Return the token answer. ``expires_in`` is a whole number: Cozy's stack can't decode a string there."""
    body = {"access_token": access, "token_type": "Bearer", "expires_in": life_s}
    return body if refresh is None else {**body, "refresh_token": refresh}


def read_query(preset: Preset, path: str, parameters: Mapping[str, str]) -> DataQuery | None:
    """Return the query of a request for one of the supplier's paths; None for a path without a series of measures.

    Contract data are not passed on, because they describe more than the meter.

    Raises ValueError, whose text says what is wrong without repeating a value.
    """
    series = next((series for series, known in preset.paths.items() if known == path), None)
    if series is None:
        return None
    names = (preset.usage_point_parameter, preset.start_parameter, preset.end_parameter)
    fixed = preset.fixed_parameters.get(series, {})
    if set(parameters) != {*names, *fixed}:
        raise ValueError(f"needs {', '.join((*names, *fixed))} and nothing else")
    meter, start, end = (parameters[name] for name in names)
    if wrong := [name for name, value in fixed.items() if parameters[name] != value]:
        raise ValueError(f"{wrong[0]} must be {fixed[wrong[0]]}")
    if not USAGE_POINT.fullmatch(meter):
        raise ValueError(f"{names[0]} needs 14 digits")
    days = _read_day(start, names[1]), _read_day(end, names[2])
    if not 0 < (days[1] - days[0]).days <= LONGEST_WINDOW_DAYS:
        raise ValueError(f"{names[2]} must be 1 to {LONGEST_WINDOW_DAYS} days after {names[1]}")
    return DataQuery(series, meter, DateWindow(*days))


def _read_day(text: str, name: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{name} needs a day like 2024-07-25") from None
