"""What a supplier's refusal means for an account: suspend it, wait for a second refusal, or blame an incident.

Some refusals are certain, and suspend the account at once: a dead token, a gateway's missing token, a login refused
twice, and a right that the supplier lists as ended. "No consent" (ADAM-DC-0008) and "not the holder" (ADAM-DC-0007) are
not certain: suppliers have sent both by mistake for days. In 2026, Enedis sent ADAM-DC-0007 by mistake for weeks
(https://github.com/bokub/ha-linky/issues/193). These two refusals, and a gateway's refusal of a token, must be seen
twice, hours apart, with no success between. If many accounts get the same refusal at once, that is an incident
(``worker.sync.incidents``), and none of them is suspended.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Final

from worker.accounts.notice_channels import NoticeChannels
from worker.domain.account import IN_USE_STATES, Account, AccountState
from worker.domain.consents import PendingRefusal
from worker.domain.incident import LEAST_SHARE_OF_REFUSALS, FailureCount, kind_of
from worker.domain.notice import REMINDERS, Notice, NoticeKind, due_reminder
from worker.domain.series import is_gateway
from worker.domain.windows import civil_date
from worker.errors import (
    AccountError,
    ConsentEnded,
    ConsentRevoked,
    HolderChanged,
    RefreshTokenDead,
    RightEnded,
    TokenNeeded,
    UnknownAccount,
)
from worker.logs import fields
from worker.stores.registry import Registry
from worker.stores.registry.notices import build_notices
from worker.sync.incidents import Incidents

log = logging.getLogger("releve.refusals")
# A pending refusal is confirmed by a second refusal at least this long after the first.
CONFIRMATION_INTERVAL: Final = timedelta(hours=6)
# Accounts whose first refusal came within this time are counted together. The time is shorter than the wait before a
# refused account is requested again, so at a second try in the same night the first refusal no longer counts as new.
MASS_REFUSAL_WINDOW: Final = timedelta(hours=1)
# An incident reinstates the accounts that were refused up to this long before it was recognized.
REINSTATEMENT_PERIOD: Final = timedelta(hours=6)
_NOTICE_RETENTION: Final = timedelta(days=400)


class Ruling(StrEnum):
    """The consequence of a refusal for its account."""

    SUSPENDED = "suspended"  # Nothing is requested until the account's holder acts.
    PENDING = "pending"  # The supplier is asked again some hours later.
    INCIDENT = "incident"  # The fault is the supplier's, so the refusal does not count.


def is_certain(error: AccountError) -> bool:
    """Return whether a single refusal with this error is enough to suspend the account."""
    return isinstance(error, RefreshTokenDead | RightEnded) or not isinstance(error, ConsentRevoked | HolderChanged)


def is_confirmed(refusal: PendingRefusal) -> bool:
    """Return whether the refusal was seen twice, far enough apart."""
    return refusal.times >= 2 and refusal.last_seen - refusal.first_seen >= CONFIRMATION_INTERVAL


@dataclass(frozen=True, kw_only=True)
class RefusalPolicy:
    """The policy that suspends accounts and writes the notices for their owners.

    A notice is inserted once for each channel of the account's tenant. ``incidents`` decides whether the refusals are
    so many that they are an incident.
    """

    registry: Registry
    channels: NoticeChannels
    now: Callable[[], datetime]
    incidents: Incidents

    def record_refusal(self, account_id: str, error: AccountError, *, during_incident: bool = False) -> Ruling:
        """Record a refusal by the supplier, and suspend the account if the refusal is certain or confirmed.

        ``during_incident``: whether an open incident explains the refusal; then nothing is recorded, unless the consent
        has ended. Raises UnknownAccount if the account was removed meanwhile.
        """
        now = self.now()
        if isinstance(error, ConsentEnded):
            self.suspend_ended_consent(account_id)
            return Ruling.SUSPENDED
        if during_incident:
            return Ruling.INCIDENT
        account = self.registry.accounts.get(account_id)
        if is_certain(error):
            # Certain refusals are counted as suspended accounts. This account isn't suspended yet, so one is added.
            if self._open_incident_if_many(error, account.supplier, now, uncounted=1):
                return Ruling.INCIDENT
        elif account.state is not AccountState.ACTION_NEEDED:
            # The refusal is recorded first, because the count of refusals reads it from the table.
            refusal = self.registry.pending_refusals.record_sighting(account_id, error.code, now)
            if self._open_incident_if_many(error, account.supplier, now):
                return Ruling.INCIDENT
            if not is_confirmed(refusal):
                return Ruling.PENDING
        else:
            # Already suspended: somebody requested the data by hand.
            return Ruling.SUSPENDED
        self._set_aside(account_id, type(error), now)
        return Ruling.SUSPENDED

    def suspend_ended_consent(self, account_id: str) -> bool:
        """Suspend the account if its consent has ended by now, and return whether the suspension is new.

        The end is certain, because it follows from the consent's own last day and not from a supplier's answer. The
        proof of the consent is ended later, by ``apply_retention``. Raises UnknownAccount if the account was removed
        meanwhile.
        """
        return self._set_aside(account_id, ConsentEnded, self.now())

    def suspend_ended_consents(self) -> int:
        """Suspend all accounts whose consent has ended, and return how many were suspended.

        Accounts are read page by page. A new run finishes the work of an interrupted one.
        """
        today = civil_date(self.now())
        suspended, after = 0, None
        while page := self.registry.accounts.page_ended(today, after):
            for account in page:
                with suppress(UnknownAccount):
                    suspended += self.suspend_ended_consent(account.id)
            after = page[-1].id
        return suspended

    def set_aside_without_right(
        self, account_ids: Collection[str], asked: int, *, checked: Collection[str | None]
    ) -> int:
        """Suspend the accounts for which a supplier lists no active right; return how many were suspended for that.

        ``asked``: how many accounts were looked up at the supplier, with or without an active right. ``checked``: the
        accounts whose consent doesn't end too, because the supplier is checking their right again. If so many accounts
        are without a right that the supplier must be wrong, that is an incident, and no account is suspended for it.
        Accounts whose consent is past its last day are suspended in any case.
        """
        now, today, error = self.now(), civil_date(self.now()), RightEnded("the supplier lists its right as ended")
        accounts = self.registry.accounts.get_many(account_ids).values()
        read = [account for account in accounts if account.state in IN_USE_STATES and not account.reason]
        for account in (account for account in read if account.consent_ended_by(today)):
            with suppress(UnknownAccount):
                self.suspend_ended_consent(account.id)
        ended = [account for account in read if not account.consent_ended_by(today)]
        if any(incident.kind is kind_of(error) for incident in self.incidents.list_open()):
            return 0
        if ended and self._open_incident_if_many(error, ended[0].supplier, now, uncounted=len(ended), asked=asked):
            return 0
        suspended = 0
        for account in ended:
            with suppress(UnknownAccount):
                suspended += self._set_aside(account.id, RightEnded, now, ends_consent=account.id not in checked)
        for account in accounts:
            if account.reason == RightEnded.code and account.id not in checked:
                with suppress(UnknownAccount):
                    self.registry.pending_refusals.end_proof(account.id, RightEnded.code, now)
        return suspended

    def tell_operator(self, kind: NoticeKind, subject: str, day: date | None) -> None:
        """Insert a notice to the operator about a right or a supplier, at most once for each subject and day."""
        about = f"{subject}@{day.isoformat() if day else ''}"
        self.registry.notices.insert_new(build_notices(self.channels.names(), kind, "", about, self.now()))

    def insert_reminders(self) -> list[Notice]:
        """Insert the reminders of consents that end soon, each reminder only once, and return the new reminders.

        An account whose reminders a campaign replaces gets none.
        """
        now, taken_over = self.now(), self.registry.campaigns.find_taken_over()
        today = civil_date(now)
        new_notices: list[Notice] = []
        for account in self.registry.consents.list_accounts_by_consent_end(today + timedelta(days=REMINDERS[-1][0])):
            last_day = account.consent_until
            if last_day is None or account.state is AccountState.ACTION_NEEDED or account.refusal_on(today):
                continue
            if account.id in taken_over:
                continue
            if kind := due_reminder(last_day, today):
                channels = self.channels.names_for_account(account.tenant)
                # A gateway's consent ends with its token, so this reminder asks for a new token, not for a new consent.
                reason = TokenNeeded.code if is_gateway(account.supplier) else ""
                notices = build_notices(channels, kind, reason, last_day.isoformat(), now, account.id)
                new_notices += self.registry.notices.insert_new(notices)
        return new_notices

    def insert_missing_curve_notices(self, account: Account, last_curve: date | None) -> list[Notice]:
        """Insert notices that the account's load curve is missing, once each time it stops; return the new notices."""
        subject = last_curve.isoformat() if last_curve else "never"
        kind = NoticeKind.CURVE_NOT_ACTIVATED
        channels = self.channels.names_for_account(account.tenant)
        notices = build_notices(channels, kind, kind.name, subject, self.now(), account.id)
        return self.registry.notices.insert_new(notices)

    def apply_retention(self, keep_days: int) -> tuple[int, int]:
        """Delete old notices, end the proofs of consents that are over, and erase proofs that ended long ago.

        Returns how many proofs were ended and how many erased. ``keep_days``: how long a proof is kept after its end.
        """
        now = self.now()
        self.registry.notices.delete_before(now - _NOTICE_RETENTION)
        return self.registry.consents.expire_and_erase(now, civil_date(now), keep_days)

    def _open_incident_if_many(
        self, error: AccountError, supplier: str, now: datetime, uncounted: int = 0, asked: int = 0
    ) -> bool:
        """Open an incident, and reinstate the accounts, if many of a supplier's accounts get the same refusal.

        Returns whether an incident was opened. ``uncounted``: how many refusals are not yet in the tables. ``asked``:
        how many accounts the supplier was asked about; if 0, the accounts with an outcome in the last
        MASS_REFUSAL_WINDOW are counted.
        """
        kind = kind_of(error)
        if kind is None or not self.incidents.may_open(kind):
            return False
        since, pending, certain = now - MASS_REFUSAL_WINDOW, self.registry.pending_refusals, is_certain(error)
        refused = pending.count_newly_refused(error.code, since, certain=certain, supplier=supplier) + uncounted
        if not asked:
            # If more accounts than this were asked, the share of refusals is too small for an incident, so counting
            # stops here.
            limit = math.ceil(refused / LEAST_SHARE_OF_REFUSALS) + 1
            asked = pending.count_accounts_asked(since, limit=limit, supplier=supplier)
        if not self.incidents.open_if_incident(kind, FailureCount(refused, max(asked, refused))):
            return False
        reinstated = pending.reinstate(error.code, now - REINSTATEMENT_PERIOD, now, supplier)
        if reinstated:
            log.warning("accounts reinstated", extra=fields(code=error.code, accounts=len(reinstated)))
        return True

    def _set_aside(
        self, account_id: str, error_class: type[AccountError], now: datetime, *, ends_consent: bool = True
    ) -> bool:
        # The time distinguishes the notices of this suspension from the notices of an earlier suspension.
        subject, code = now.isoformat(timespec="microseconds"), error_class.code
        channels = self.channels.names_for_account(self.registry.accounts.get(account_id).tenant)
        return self.registry.pending_refusals.suspend(
            account_id,
            code,
            now,
            consent_ended=ends_consent and issubclass(error_class, ConsentRevoked),
            notices=lambda: build_notices(channels, NoticeKind.ACTION_NEEDED, code, subject, now, account_id),
        )
