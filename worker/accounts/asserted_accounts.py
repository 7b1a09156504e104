"""Accounts added without a visit to the supplier's consent page.

The person who adds an account vouches that the meter's holder has consented. A home that reads its meters through a
gateway adds its accounts with the gateway's token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from sqlalchemy import Connection

from worker.clients.gateway.consent import read_gateway_token
from worker.clients.supplier_session import Token
from worker.domain.account import DEFAULT_TENANT, Account
from worker.domain.clock import Clock, real_clock
from worker.domain.consents import ConsentKind, Proof, is_asserted_younger
from worker.domain.evidence import DatesSource
from worker.domain.series import grid_operator_of
from worker.domain.windows import civil_date
from worker.errors import DataError, MeterElsewhere
from worker.stores.registry import Registry
from worker.stores.registry.accounts import NewConsent
from worker.stores.registry.consents import GivenConsent

MAX_REFERENCE_LENGTH: Final = 64
MAX_VOUCHER_LENGTH: Final = 100
_MOMENT: Final = timedelta(microseconds=1)


class MeterErased(DataError):
    """The holder of this meter has had its data erased, and nothing shows that the holder has consented since."""

    remedy = (
        "Ask the holder. If they have consented again since the erasure, give the day in `consented_on` (API), or "
        "`--consented` or `--anew` (command line), or send them an invitation. Otherwise do nothing."
    )


class MeterConnected(DataError):
    """The meter has an account made by a consent at the supplier; a gateway's token can't change such an account."""

    remedy = "Keep that account. Set `RELEVE_DATA_DIR` to another folder for a home's installation."


@dataclass(frozen=True, slots=True)
class TokenAccount:
    """An account that was given a token.

    ``created``: whether the account is new. ``renewed``: whether the account had a token before.
    """

    account: Account
    created: bool
    renewed: bool


@dataclass(frozen=True, kw_only=True)
class AccountAssertion:
    """Adds accounts with evidence of kind ``asserted``.

    ``token_of``: the tenant whose program vouches; None if the operator vouches. ``waits_under``: if set, a new account
    begins suspended, with this error code as the reason, and nothing is requested for the account.
    """

    supplier: str
    registry: Registry
    now: Clock
    real_now: Clock = real_clock
    token_of: str | None = None
    waits_under: str | None = None

    def add(
        self,
        usage_point_id: str,
        vouched_by: str,
        *,
        reference: str | None = None,
        consented_on: date | None = None,
        token: str | None = None,
        anew: bool = False,
        tenant: str = DEFAULT_TENANT,
    ) -> tuple[Account, bool]:
        """Return the tenant's account of a usage point, and whether it is new. An account that existed is not changed.

        Account and evidence are written in one transaction. ``consented_on``: the day on which the holder consented.
        With this day, a new account is ``ready`` at once; without it, the account is ``new`` until the supplier's first
        answer, but its data are requested like those of a ready account. ``anew``: the holder has consented since the
        meter's data were erased. If each account needs its own token, the caller must give ``token``. The caller must
        enqueue the backfill.

        Raises ValueError if ``reference`` or ``consented_on`` is not acceptable. Raises MeterElsewhere if another
        tenant's account reads the meter. With ``token_of``, also raises MeterElsewhere if the meter's last erased
        account belonged to another tenant. Raises MeterErased if the meter's data were erased, unless ``anew`` or
        ``consented_on`` shows a newer consent.
        """
        now = self.now()
        _check_reference(reference, usage_point_id)
        if consented_on is not None and consented_on > civil_date(now):
            raise ValueError("the day of the consent is in the future")
        consent = GivenConsent(
            kind=ConsentKind.ASSERTED,
            consent_from=consented_on,
            dates_from=DatesSource.ASSERTED,
            reference=reference or None,
            proof=Proof.ASSERTED,
            vouched_by=vouched_by[:MAX_VOUCHER_LENGTH],
        )

        def on_new(connection: Connection, account_ids: Sequence[str]) -> None:
            self.check_not_erased(connection, usage_point_id, consented_on, anew=anew)
            self.registry.consents.record(connection, account_ids, consent, now)

        account, created = self.registry.accounts.add_asserted(
            self.supplier,
            usage_point_id,
            now,
            NewConsent(consented_on, token=token, reference=reference),
            on_new=on_new,
            tenant=tenant,
            waits_under=self.waits_under,
        )
        check_tenant_of(account, tenant)
        return account, created

    def check_not_erased(self, connection: Connection, meter: str, consented_on: date | None, *, anew: bool) -> None:
        """Raise MeterErased if the meter's data were erased, and nothing shows that the consent is newer.

        Raises MeterElsewhere if the erased account did not belong to the tenant whose program vouches.
        """
        erasure = self.registry.erasures.find_last(connection, self.supplier, meter)
        if erasure is None:
            return
        erased_at, erased_of = erasure
        if self.token_of not in (None, erased_of):
            raise MeterElsewhere("the operator must add this meter: its data were erased at another tenant")
        # ``erased_at`` is in real time, but consents are in the fleet's time, which may be simulated. So the difference
        # between the two clocks is added.
        erased_on = civil_date(erased_at + (self.now() - self.real_now()))
        if is_asserted_younger(erased_on, consented_on, anew=anew, on_the_day=self.token_of is None):
            return
        raise MeterErased(
            "the holder of this meter had its data erased: invite them, or give the day on which they consented again"
        )

    def add_by_token(self, token: str, vouched_by: str, usage_points: Sequence[str] = ()) -> list[TokenAccount]:
        """Store a gateway's token in the accounts of its meters, create missing accounts, and return the accounts.

        If one account can't take the token, no account is changed. An account that was made by a consent at the
        supplier never takes a token. The evidence is only ``asserted``, because only the gateway can check the token's
        signature.

        The token's dates become the dates of the consent. ``usage_points``: the meters; required if the token names
        none. The caller must enqueue the backfills.

        Raises ValueError if the text is not a token, if the token has expired, or if the meters are missing or don't
        belong to the token; the error's text is one line without the token. Raises MeterConnected if a meter's account
        was made by a consent at the supplier. Raises MeterErased if a meter's data were erased after the token was
        made.
        """
        token = token.strip()
        facts, meters = read_gateway_token(token), choose_meters(token, usage_points)
        now = self.now()
        consent_from = civil_date(facts.issued_at) if facts.issued_at else None
        consent_until = civil_date(facts.expires_at - _MOMENT) if facts.expires_at else None
        text = Token(token, expires_at=int(facts.expires_at.timestamp()) if facts.expires_at else None).to_text()
        before = {meter: self._find_own(meter) for meter in meters}
        tokens = self.registry.tokens
        had_token = {meter for meter, account in before.items() if account and tokens.find_token_id(account.id)}
        evidence = GivenConsent(
            kind=ConsentKind.ASSERTED,
            consent_from=consent_from,
            consent_until=consent_until,
            dates_from=DatesSource.ASSERTED,
            proof=Proof.ASSERTED,
            vouched_by=vouched_by[:MAX_VOUCHER_LENGTH],
        )

        def check(connection: Connection) -> None:
            for meter in (meter for meter, account in before.items() if account is None):
                self.check_not_erased(connection, meter, consent_from, anew=False)

        added = self.registry.accounts.add_all(
            self.supplier,
            meters,
            now,
            NewConsent(consent_from, consent_until, text),
            before=check,
            on_accounts=lambda connection, ids: self.registry.consents.record(connection, ids, evidence, now),
        )
        return [
            TokenAccount(account, created, meter in had_token)
            for meter, (account, created) in zip(meters, added, strict=True)
        ]

    def count_missing(self, token: str, usage_points: Sequence[str] = ()) -> int:
        """Return how many meters of the token have no account here. Raises ValueError like ``add_by_token``."""
        return sum(self._find_own(meter) is None for meter in choose_meters(token, usage_points))

    def _find_own(self, meter: str) -> Account | None:
        """Return the gateway's account of a meter; None if there is none.

        Raises MeterConnected if an account of the meter was made by a consent at the supplier.
        """
        own = None
        for account in self.registry.accounts.find_by_meter(meter):
            if account.supplier == self.supplier:
                own = account
            elif account.supplier == grid_operator_of(self.supplier):
                raise MeterConnected(
                    f"account {account.id} reads this meter with a consent at {account.supplier}, so that it can't "
                    "use a gateway's token"
                )
        if own is not None:
            proof = self.registry.consents.newest_proofs([own.id]).get(own.id)
            if proof is not None and proof.kind is not ConsentKind.ASSERTED:
                raise MeterConnected(
                    f"account {own.id} has a consent of its own, so that it can't use a gateway's token"
                )
        return own


def check_tenant_of(account: Account, tenant: str) -> None:
    """Raise MeterElsewhere if the account that reads a meter belongs to another tenant."""
    if account.tenant != tenant:
        raise MeterElsewhere(
            f"an account of the tenant {account.tenant} reads this meter, and only one account can "
            "(METER_ELSEWHERE): stop and erase that account first",
            account.tenant,
        )


def _check_reference(reference: str | None, usage_point_id: str) -> None:
    if reference is None:
        return
    if len(reference) > MAX_REFERENCE_LENGTH or not reference.isprintable():
        raise ValueError(f"a reference must be one line of at most {MAX_REFERENCE_LENGTH} characters")
    if usage_point_id in reference:
        # Commands show a reference in full, but only the last digits of a meter's number.
        raise ValueError("a reference must not contain the meter's number, because it is shown unmasked")


def choose_meters(token: str, named: Sequence[str]) -> list[str]:
    """Return the meters to read with a token: those in ``named``, or else all meters that the token names.

    Raises ValueError like ``add_by_token``.
    """
    of_token = read_gateway_token(token).meters
    if not of_token and not named:
        raise ValueError("this token does not name its meters: give them with --usage-point")
    if of_token and not set(named) <= set(of_token):
        raise ValueError("the token is for other meters: leave out --usage-point")
    return list(dict.fromkeys(named or of_token))
