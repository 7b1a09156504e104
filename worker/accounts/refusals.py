"""The consent desk: which refusal sets an account aside, which is a doubt, which is the supplier's own trouble.

A dead token or a login refused twice is certain.  "No consent" (ADAM-DC-0008) and "not the holder"
(ADAM-DC-0007) are not: suppliers have said both wrongly for days (upstream-apis, 1.9).  So these two must be seen
twice, hours apart, with no success between; and where many accounts are refused alike at once it is none of them,
but an incident (``worker.sync.incidents``).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Final

from worker.domain.consent.accounts import AccountState
from worker.domain.consent.consents import Notice, NoticeKind, PendingRefusal
from worker.domain.fleet.incidents import LEAST_SHARE_OF_REFUSALS, NO_INCIDENTS, FailureCount, IncidentGate, kind_of
from worker.domain.measures.readings import PARIS
from worker.errors import AccountError, ConsentRevoked, HolderChanged, RefreshTokenDead
from worker.logs import fields
from worker.stores.registry import consent_rows
from worker.stores.registry.consents import ConsentTable
from worker.stores.registry.notices import NoticeTable
from worker.stores.registry.refusals import PendingRefusals

log = logging.getLogger("releve.desk")

APART: Final = timedelta(hours=6)  # between the two sightings that settle a doubt
STORM_WINDOW: Final = timedelta(hours=1)  # shorter than doubts wait for their next sighting
STORM_REACHES_BACK: Final = timedelta(hours=6)  # to those that were refused before it could be known
REMINDERS: Final = ((7, NoticeKind.CONSENT_ENDS_7), (30, NoticeKind.CONSENT_ENDS_30))  # days before; nearest first
_NOTICES_KEPT: Final = timedelta(days=400)


class Ruling(StrEnum):
    SET_ASIDE = "set_aside"  # the account waits for its owner
    DOUBT = "doubt"  # asked again in some hours
    STORM = "storm"  # not the account's affair, and it doesn't count


# -- decisions, pure


def is_certain(error: AccountError) -> bool:
    """Whether this one refusal is enough."""
    return isinstance(error, RefreshTokenDead) or not isinstance(error, ConsentRevoked | HolderChanged)


def is_settled(doubt: PendingRefusal) -> bool:
    """Whether the refusal was seen twice, far enough apart."""
    return doubt.times >= 2 and doubt.last_seen - doubt.first_seen >= APART


def reminder_of(consent_until: date, today: date) -> NoticeKind | None:
    """What to tell of a consent today: the nearest reminder that its end has reached; none once it is over."""
    left = (consent_until - today).days
    return next((kind for days, kind in REMINDERS if 0 <= left <= days), None)


# -- the desk


@dataclass(frozen=True)
class RefusalPolicy:
    """``channels``: over which notices go; each posts its own.  ``watch`` knows of incidents."""

    consents: ConsentTable
    doubts: PendingRefusals
    notices: NoticeTable
    channels: Sequence[str]
    now: Callable[[], datetime]
    watch: IncidentGate = NO_INCIDENTS

    def refused(self, account_id: str, error: AccountError, *, spared: bool = False) -> Ruling:
        """The supplier refused the account: note it, and set it aside if that is certain by now.

        ``spared``: an incident is open that this belongs to, so nothing is noted.  Raises UnknownAccount where the
        account was removed meanwhile.
        """
        now = self.now()
        if spared:
            return Ruling.STORM
        if is_certain(error):
            return Ruling.STORM if self._storm(error, now, 1) else self._set_aside(account_id, error, now)
        account = self.doubts.account(account_id)
        if account.state is AccountState.ACTION_NEEDED:  # tried by hand: it waits already
            return Ruling.SET_ASIDE
        doubt = self.doubts.note(account_id, error.code, now)
        if self._storm(error, now):
            return Ruling.STORM
        return self._set_aside(account_id, error, now) if is_settled(doubt) else Ruling.DOUBT

    def succeeded(self, account_id: str) -> None:
        """The supplier answered: what it refused before were mistakes."""
        self.doubts.clear(account_id)

    def remind(self) -> list[Notice]:
        """Tell of consents that end soon, each reminder once; what is new."""
        today, now = self._today(), self.now()
        posted: list[Notice] = []
        for account in self.consents.calendar(today + timedelta(days=REMINDERS[-1][0])):
            ends = account.consent_until
            if ends is None or account.state is AccountState.ACTION_NEEDED or not (kind := reminder_of(ends, today)):
                continue
            posted += self.notices.post(self._drafts(account.id, kind, "", ends.isoformat(), now))
        return posted

    def curve_missing(self, account_id: str, last_curve: date | None) -> list[Notice]:
        """Tell that an account's curve isn't collected, once for each time that it stopped; what is new."""
        about = last_curve.isoformat() if last_curve else "never"
        kind = NoticeKind.CURVE_NOT_ACTIVATED
        return self.notices.post(self._drafts(account_id, kind, kind.name, about, self.now()))

    def tidy(self, keep_days: int) -> tuple[int, int]:
        """End and erase proofs by policy, forget old notices: proofs ended, proofs erased."""
        now = self.now()
        self.notices.erase_before(now - _NOTICES_KEPT)
        return self.consents.tidy(now, self._today(), keep_days)

    def _storm(self, error: AccountError, now: datetime, not_noted: int = 0) -> bool:
        """Whether so many are refused alike that it is an incident; then those refused before are set back."""
        kind = kind_of(error)
        if kind is None or not self.watch.may_open(kind):
            return False
        since, certain = now - STORM_WINDOW, is_certain(error)
        refused = self.doubts.newly_refused(error.code, since, certain=certain) + not_noted
        tried = self.doubts.tried(since, most=math.ceil(refused / LEAST_SHARE_OF_REFUSALS) + 1)
        if not self.watch.open_refusals(kind, FailureCount(refused, max(tried, refused))):
            return False
        freed = self.doubts.absolve(error.code, now - STORM_REACHES_BACK, now)
        if freed:
            log.warning("accounts set back", extra=fields(code=error.code, accounts=len(freed)))
        return True

    def _set_aside(self, account_id: str, error: AccountError, now: datetime) -> Ruling:
        ended = isinstance(error, ConsentRevoked)
        self.doubts.set_aside(
            account_id,
            error.code,
            now,
            consent_ended=ended,
            notices=lambda: self._drafts(
                account_id, NoticeKind.ACTION_NEEDED, error.code, now.isoformat(timespec="microseconds"), now
            ),
        )
        return Ruling.SET_ASIDE

    def _drafts(self, account_id: str | None, kind: NoticeKind, reason: str, about: str, now: datetime) -> list[Notice]:
        return [
            Notice(consent_rows.new_id(), account_id, kind, reason, about, channel, now, now)
            for channel in self.channels
        ]

    def _today(self) -> date:
        return self.now().astimezone(PARIS).date()
