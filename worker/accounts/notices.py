"""Notices to holders and operators: claim the notices that are due, send them and mark them as delivered.

If this process dies after a receiver has accepted a notice, the receiver may get the notice again; it can recognize the
notice by its id.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, assert_never

from worker.accounts.notice_channels import NoticeChannels, compose_message
from worker.accounts.refusals import RefusalPolicy
from worker.domain.account import DEFAULT_TENANT, Account, AccountState
from worker.domain.completeness import COMPARED_SERIES, find_missing_curve
from worker.domain.notice import Notice, NoticeKind
from worker.domain.windows import civil_date
from worker.errors import NotDelivered
from worker.logs import fields
from worker.stores.registry import Registry
from worker.stores.registry.notices import MAX_ATTEMPTS, NoticeTable, build_notices
from worker.stores.registry.outputs import OutputState

if TYPE_CHECKING:
    from worker.stores.registry.api_tokens import ApiTokenTable

log = logging.getLogger("releve.notices")


@dataclass(frozen=True, kw_only=True)
class NoticeSender:
    registry: Registry
    channels: NoticeChannels
    now: Callable[[], datetime]

    def deliver(self, notice_id: str) -> bool:
        """Send one notice if it is due and still applies, and return whether it was delivered.

        A notice is claimed before it is sent, so of two simultaneous calls only one sends it.
        """
        notice = self.registry.notices.claim(notice_id, self.now())
        if notice is None:
            return False
        account = self.registry.accounts.find_existing(notice.account_id) if notice.account_id else None
        if not self._still_applies(notice, account):
            self.registry.notices.delete(notice.id)
            return False
        try:
            self._send(notice, account.tenant if account else DEFAULT_TENANT)
        except NotDelivered as error:
            self._record_failure(notice, error)
            return False
        self.registry.notices.mark_delivered(notice.id, self.now())
        log.info("notice delivered", extra=fields(id=notice.id, kind=notice.kind, channel=notice.channel))
        return True

    def _send(self, notice: Notice, tenant: str) -> None:
        channel = self.channels.find(notice.channel, tenant)
        if channel is None:
            raise NotDelivered(f"{notice.channel}: not set up any more")
        channel.send(compose_message(notice))

    def _still_applies(self, notice: Notice, account: Account | None) -> bool:
        """Return whether the notice still applies; not if the holder has acted or a campaign replaces it.

        ``account``: None for a notice to the operator, and for a removed account.
        """
        if account is None:
            return notice.account_id is None
        match notice.kind:
            case NoticeKind.ACTION_NEEDED:
                return account.reason == notice.reason
            case NoticeKind.CURVE_NOT_ACTIVATED:
                return account.active and self.registry.completeness.find_missing_curve(account.id) is not None
            case NoticeKind.CONSENT_ENDS_30 | NoticeKind.CONSENT_ENDS_7:
                is_same = account.consent_until is not None and account.consent_until.isoformat() == notice.about
                return is_same and not self.registry.campaigns.find_taken_over(account.id)
            case NoticeKind.METER_REQUESTED:
                return account.state is not AccountState.CLOSED
            case (
                (NoticeKind.ACCOUNT_CLOSED | NoticeKind.ALERT | NoticeKind.MONTH)
                | (NoticeKind.INCIDENT | NoticeKind.INCIDENT_OVER | NoticeKind.SUPPLIER_CHANGED)
                | (NoticeKind.TOKEN_ENDS | NoticeKind.GATEWAY_BANNED | NoticeKind.OUTPUT_FAILS)
                | (NoticeKind.RIGHT_PROOF_AWAITED | NoticeKind.RIGHT_PROOF_ENDS | NoticeKind.RIGHT_PROOF_REJECTED)
            ):
                return True
            case _:
                assert_never(notice.kind)

    def _record_failure(self, notice: Notice, error: NotDelivered) -> None:
        self.registry.notices.record_failure(notice.id, str(error))
        abandoned = notice.attempts >= MAX_ATTEMPTS
        log.log(
            logging.ERROR if abandoned else logging.WARNING,
            "notice given up" if abandoned else "notice not taken",
            extra=fields(
                id=notice.id,
                kind=notice.kind,
                account_id=notice.account_id,
                channel=notice.channel,
                attempts=notice.attempts,
                reason=str(error),
            ),
        )


def notify_missing_curves(registry: Registry, refusals: RefusalPolicy) -> int:
    """Insert notices for active accounts whose load curve is missing, and return how many accounts were notified.

    An account is notified once if its curve has never begun, and once each time its curve stops. Accounts are read a
    page at a time.
    """
    notified, after = 0, None
    while page := registry.accounts.page_active(after):
        ledgers = registry.completeness.load_ledgers(*(account.id for account in page))
        for account in page:
            if missing := find_missing_curve(*(ledgers[account.id, series] for series in COMPARED_SERIES)):
                notified += bool(refusals.insert_missing_curve_notices(account, missing.last_curve))
        after = page[-1].id
    return notified


def notify_ending_tokens(tokens: ApiTokenTable, notices: NoticeTable, channels: NoticeChannels, now: datetime) -> int:
    """Insert notices to the operator for API tokens that end soon, once per token; return how many got a notice.

    ``now``: when to send the notices, by the fleet's time, which may be simulated. Tokens end by the real time.
    """
    notified = 0
    for token in tokens.list_ending():
        assert token.expires_at is not None  # noqa: S101 - list_ending returns those with an end
        about = f"{token.id}@{civil_date(token.expires_at).isoformat()}"
        notified += bool(notices.insert_new(build_notices(channels.names(), NoticeKind.TOKEN_ENDS, "", about, now)))
    return notified


def notify_failing_output(notices: NoticeTable, channels: NoticeChannels, output: OutputState, now: datetime) -> None:
    """Insert the operator's notice that an output receives nothing, once each time the output begins to fail."""
    assert output.failing_since is not None  # noqa: S101 - the delivery calls this for outputs that fail
    about = f"{output.id}@{civil_date(output.failing_since).isoformat()}"
    notices.insert_new(build_notices(channels.names(), NoticeKind.OUTPUT_FAILS, output.code, about, now))
