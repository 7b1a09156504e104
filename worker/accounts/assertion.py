"""The addition of an account without a callback: the person who adds it vouches that its holder has consented."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from sqlalchemy import Connection

from worker.domain.account import DEFAULT_TENANT, Account
from worker.domain.clock import Clock, real_clock
from worker.domain.consents import ConsentKind, Proof, is_asserted_younger
from worker.domain.evidence import DatesSource
from worker.domain.windows import civil_date
from worker.errors import DataError, MeterElsewhere
from worker.stores.registry.accounts import AccountRegistry
from worker.stores.registry.consents import ConsentTable, GivenConsent
from worker.stores.registry.erased_meters import ErasureTable

MAX_REFERENCE_LENGTH: Final = 64
MAX_VOUCHER_LENGTH: Final = 100


class MeterErased(DataError):
    """The holder of this meter has had its data erased, and nobody says that they have consented since."""

    remedy = (
        "Ask the holder. If they have consented again since the erasure, give the day in `consented_on` (API), or "
        "`--consented` or `--anew` (command line), or send them an invitation. Otherwise do nothing."
    )


@dataclass(frozen=True, kw_only=True)
class AccountAssertion:
    """The use case that adds an account with evidence of kind ``asserted``."""

    supplier: str
    registry: AccountRegistry
    consents: ConsentTable
    erasures: ErasureTable
    now: Clock
    real_now: Clock = real_clock

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
        waits_under: str | None = None,
    ) -> tuple[Account, bool]:
        """Return the tenant's account of a usage point, and whether it is new; one that was there stays as it is.

        Account and evidence are written in one transaction. With ``consented_on``, the day on which the holder
        consented, the account is ``ready`` at once. Otherwise it is ``new`` until the supplier's first answer, and is
        asked for like a ready one. The caller has checked that there is a token where accounts have their own, and
        enqueues the backfill. ``anew``: the holder has consented since the meter's data were erased. ``waits_under``:
        the code under which the account waits for its owner, and nothing is asked for it.

        Raises ValueError if the evidence can't be kept as it is, MeterElsewhere where the account that reads the meter
        is another tenant's, and MeterErased where the meter's data were erased and neither ``anew`` nor the day of the
        consent says that it is younger.
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
            self.consents.record(connection, account_ids, consent, now)

        account, created = self.registry.add_asserted(
            self.supplier,
            usage_point_id,
            now,
            token=token,
            confirmed=consented_on is not None,
            on_new=on_new,
            tenant=tenant,
            waits_under=waits_under,
        )
        check_tenant_of(account, tenant)
        return account, created

    def check_not_erased(
        self, connection: Connection, usage_point_id: str, consented_on: date | None, *, anew: bool
    ) -> None:
        """Raise MeterErased where the meter's data were erased, and nothing says that the consent is younger."""
        erased_at = self.erasures.find(connection, self.supplier, usage_point_id)
        if erased_at is None or is_asserted_younger(self._fleet_day(erased_at), consented_on, anew=anew):
            return
        raise MeterErased(
            "the holder of this meter had its data erased: invite them, or give the day on which they consented again"
        )

    def _fleet_day(self, moment: datetime) -> date:
        """Return the day of a real moment, in Europe/Paris and by the fleet's clock, which may be a simulated one."""
        return civil_date(moment + (self.now() - self.real_now()))


def check_tenant_of(account: Account, tenant: str) -> None:
    """Raise MeterElsewhere where the account that reads a meter belongs to another tenant."""
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
        # An erasure removes the reference, but until then commands show it whole, and a meter by its last digits.
        raise ValueError("a reference must not contain the meter's number, because it is shown unmasked")
