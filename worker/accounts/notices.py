"""Telling owners and operators: what is due is claimed, put into words, sent, and marked as told.

A receiver may get a notice twice (we died after it took it), never another in its place; it knows it by its id.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from worker.accounts.channels import Channel
from worker.accounts.notice_texts import to_message
from worker.accounts.refusals import RefusalPolicy
from worker.domain.consent.accounts import Account, AccountState
from worker.domain.consent.consents import Notice, NoticeKind
from worker.domain.measures.completeness import Ledger
from worker.domain.measures.holes import missing_curve
from worker.domain.measures.readings import Series
from worker.errors import NotDelivered, UnknownAccount
from worker.logs import fields
from worker.stores.registry.accounts import AccountRegistry
from worker.stores.registry.notices import MOST_ATTEMPTS, NoticeTable

log = logging.getLogger("releve.notices")


class Accounts(Protocol):
    def get(self, account_id: str) -> Account: ...


@dataclass(frozen=True)
class NoticeSender:
    """``renewal_link`` makes the link that a message about an account carries.

    ``curve_missing`` tells whether an account's curve still isn't collected.
    """

    notices: NoticeTable
    accounts: Accounts
    channels: Mapping[str, Channel]
    renewal_link: Callable[[str], str]
    now: Callable[[], datetime]
    curve_missing: Callable[[str], bool]

    def deliver(self, notice_id: str) -> bool:
        """Send one notice if it is due; whether its receiver took it.  Asking twice sends once."""
        notice = self.notices.claim(notice_id, self.now())
        if notice is None:
            return False
        if not self._still_true(notice):
            self.notices.drop(notice.id)
            return False
        try:
            self._send(notice)
        except NotDelivered as error:
            self._note_failure(notice, error)
            return False
        self.notices.delivered(notice.id, self.now())
        log.info("notice told", extra=fields(id=notice.id, kind=notice.kind, channel=notice.channel))
        return True

    def deliver_due(self) -> int:
        """All that is due, here and now; how many were taken."""
        return sum(self.deliver(notice_id) for notice_id in self.notices.due(self.now()))

    def _send(self, notice: Notice) -> None:
        channel = self.channels.get(notice.channel)
        if channel is None:
            raise NotDelivered(f"{notice.channel}: this channel is not set up any more")
        channel.send(to_message(notice, self.renewal_link))

    def _still_true(self, notice: Notice) -> bool:
        """Whether what happened is still so: meanwhile the owner may have acted, or left."""
        if notice.account_id is None:
            return True
        try:
            account = self.accounts.get(notice.account_id)
        except UnknownAccount:
            return False
        if account.state is AccountState.DELETED:
            return False
        if notice.kind is NoticeKind.ACTION_NEEDED:
            return account.reason == notice.reason
        if notice.kind is NoticeKind.CURVE_NOT_ACTIVATED:
            return account.active and self.curve_missing(account.id)
        return account.consent_until is not None and account.consent_until.isoformat() == notice.about

    def _note_failure(self, notice: Notice, error: NotDelivered) -> None:
        self.notices.failed(notice.id, str(error))
        given_up = notice.attempts >= MOST_ATTEMPTS
        log.log(
            logging.ERROR if given_up else logging.WARNING,
            "notice given up" if given_up else "notice not taken",
            extra=fields(
                id=notice.id,
                kind=notice.kind,
                account_id=notice.account_id,
                channel=notice.channel,
                attempts=notice.attempts,
                reason=str(error),
            ),
        )


# Accounts whose curve nobody has switched on, found in the ledgers of days and told of once.


def tell_of_missing_curves(registry: AccountRegistry, desk: RefusalPolicy) -> int:
    """How many accounts were told of; the active ones are looked at, a page at a time."""
    told, after = 0, None
    while page := registry.page_active(after):
        ledgers = registry.completeness.ledgers_of([account.id for account in page])
        for account in page:
            daily, curve = (ledgers.get((account.id, series), Ledger()) for series in Series)
            if missing := missing_curve(daily, curve):
                told += bool(desk.curve_missing(account.id, missing.last_curve))
        after = page[-1].id
    return told
