"""The addition of an account without a callback: whoever adds it vouches that its holder has consented."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Final

from worker.domain.clock import Clock
from worker.domain.consent.accounts import Account
from worker.domain.consent.consents import ConsentKind, Proof
from worker.domain.consent.evidence import DatesSource
from worker.domain.measures.readings import civil_date
from worker.stores.registry.accounts import AccountRegistry
from worker.stores.registry.consents import ConsentTable, GivenConsent

MAX_REFERENCE_LENGTH: Final = 64
MAX_VOUCHER_LENGTH: Final = 100


@dataclass(frozen=True, kw_only=True)
class AccountAssertion:
    """The use case that adds an account with evidence of kind ``asserted``."""

    supplier: str
    registry: AccountRegistry
    consents: ConsentTable
    now: Clock

    def add(
        self,
        usage_point_id: str,
        vouched_by: str,
        *,
        reference: str | None = None,
        consented_on: date | None = None,
        token: str | None = None,
    ) -> tuple[Account, bool]:
        """Return the account of a usage point, and whether it is new; one that was there already stays as it is.

        Account and evidence are written in one transaction. With ``consented_on``, the day on which the holder
        consented, the account is ``ready`` at once. Otherwise it is ``new`` until the supplier's first answer, and is
        asked for like a ready one. The caller has checked that there is a token where accounts have their own, and
        enqueues the backfill. Raises ValueError if the evidence can't be kept as it is.
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
        return self.registry.add_asserted(
            self.supplier,
            usage_point_id,
            now,
            token=token,
            confirmed=consented_on is not None,
            on_new=partial(self.consents.record, consent=consent, now=now),
        )


def _check_reference(reference: str | None, usage_point_id: str) -> None:
    if reference is None:
        return
    if len(reference) > MAX_REFERENCE_LENGTH or not reference.isprintable():
        raise ValueError(f"a reference is one line of at most {MAX_REFERENCE_LENGTH} characters")
    if usage_point_id in reference:
        # The evidence outlives the account, and no longer names the meter then.
        raise ValueError("a reference must not hold the meter's number: it is kept after an erasure")
