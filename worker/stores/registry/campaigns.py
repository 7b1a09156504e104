"""The tables of campaigns and of their recipients.

A process claims a mail before it sends it, so no mail is sent by two processes. If the process dies after its claim,
the mail becomes due again, with the same ``mail_id``. All states change by ``domain.campaign.TRANSITIONS``. The rows of
recipients are locked in the order of their ids, after the rows of accounts and campaigns, so there are no deadlocks.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import date, datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, and_, delete, exists, func, insert, null, or_, select, update

from worker.domain.account import AccountState
from worker.domain.campaign import CAMPAIGN_LIFE, LEFT, TRANSITIONS, WAITING, Campaign, Recipient, RecipientState
from worker.domain.retry import NOTICE_DELAYS
from worker.domain.windows import civil_date, local_midnight
from worker.errors import DataError
from worker.stores.database import ClockedTable
from worker.stores.registry.tables import ACCOUNTS, CAMPAIGN_RECIPIENTS, CAMPAIGNS

_KEPT: Final = timedelta(days=400)
_PAGE: Final = 500
_LOCK: Final = 46  # Campaigns are created one after the other, so none gets accounts of another.
_R: Final = CAMPAIGN_RECIPIENTS.c
_SAID_NO: Final = _R.state == RecipientState.REFUSED
_OVER: Final = (AccountState.CLOSED, AccountState.DELETED)
_IS_OVER: Final = exists().where(ACCOUNTS.c.id == _R.account_id, ACCOUNTS.c.state.in_(_OVER))


class UnknownCampaign(DataError):
    """No campaign has this id."""

    remedy = "`releve campaigns list` shows the campaigns."


class CampaignTable(ClockedTable):
    """The campaigns and their recipients. It needs no key: addresses stay sealed. The clock is the fleet's.

    A method that takes a campaign's id raises UnknownCampaign if it says so.
    """

    def create(self, campaign: Campaign, recipients: Iterable[Recipient]) -> bool:
        """Insert the campaign, stopped, with its recipients; return False if another one asks any of their accounts."""
        rows = [asdict(recipient) for recipient in recipients]
        with self._database.writing(_LOCK) as connection:
            joined = CampaignTable(self._database.join(connection), self._now)
            if any(joined.find_busy([row["account_id"] for row in page]) for page in pages(rows)):
                return False
            connection.execute(insert(CAMPAIGNS).values(**{**asdict(campaign), "is_running": False}))
            connection.execute(insert(CAMPAIGN_RECIPIENTS), rows)
            return True

    def get(self, campaign_id: str) -> Campaign:
        """Return the campaign. Raises UnknownCampaign."""
        is_it = CAMPAIGNS.c.id == campaign_id.replace("\x00", " ")  # PostgreSQL refuses NUL.
        row = self._database.first(select(CAMPAIGNS).where(is_it))
        if row is None:
            raise UnknownCampaign("no campaign has this id: `releve campaigns list` shows the ids")
        return Campaign(**row._asdict())

    def list_campaigns(self) -> list[Campaign]:
        """Return all campaigns, the newest first."""
        newest_first = select(CAMPAIGNS).order_by(CAMPAIGNS.c.created_at.desc(), CAMPAIGNS.c.id)
        return [Campaign(**row._asdict()) for row in self._database.fetch(newest_first)]

    def set_running(self, campaign_id: str, *, running: bool) -> Campaign:
        """Let the campaign go on or stop, and return it. Raises UnknownCampaign."""
        campaign = self.get(campaign_id)
        self._database.change(update(CAMPAIGNS).where(CAMPAIGNS.c.id == campaign_id).values(is_running=running))
        return replace(campaign, is_running=running)

    def remove(self, campaign_id: str) -> None:
        """Delete the campaign and its recipients, so its links open nothing any more. Raises UnknownCampaign."""
        self.set_running(campaign_id, running=False)  # It ends after a claim that has begun, and no claim follows.
        with self._database.writing() as connection:
            _delete_campaigns(connection, CAMPAIGNS.c.id == campaign_id)

    def find_busy(self, account_ids: Collection[str]) -> set[str]:
        """Return those of the accounts that a campaign of the last CAMPAIGN_LIFE still asks, or that said no to one.

        ``account_ids``: a page of ``pages``, because a database limits the values of one query.
        """
        asked = and_(_R.created_at > self._now() - CAMPAIGN_LIFE, _R.state.in_(WAITING))
        query = select(_R.account_id).where(_R.account_id.in_(account_ids), or_(asked, _SAID_NO))
        return {row.account_id for row in self._database.fetch(query)}

    def claim_next(self) -> list[Recipient]:
        """Claim the mail that is longest due in a running campaign, and return its recipients; empty if none is due.

        A campaign's first claims of a day (Europe/Paris) are limited to ``per_day`` mails. A further attempt doesn't
        count. The claim counts as an attempt; if the mail isn't marked as mailed, it is due again after a delay.
        """
        oldest_first = select(CAMPAIGNS.c.id).where(*self._writes()).order_by(CAMPAIGNS.c.created_at, CAMPAIGNS.c.id)
        claims = (self._claim(row.id) for row in self._database.fetch(oldest_first))
        return next((recipients for recipients in claims if recipients), [])

    def _writes(self) -> tuple[ColumnElement[bool], ...]:
        """Return the condition for the campaigns that send mails."""
        return CAMPAIGNS.c.is_running, CAMPAIGNS.c.created_at > self._now() - CAMPAIGN_LIFE

    def _claim(self, campaign_id: str) -> list[Recipient]:
        now, is_its = self._now(), _R.campaign_id == campaign_id
        midnight = local_midnight(civil_date(now))
        today = select(func.count(_R.mail_id.distinct())).where(is_its, _R.claimed_at >= midnight)
        before = TRANSITIONS.states_before(RecipientState.MAILED)
        due = [_R.state.in_(before), _R.next_attempt_at <= now, ~_IS_OVER]
        with self._database.writing() as connection:
            # A second process waits here for the row lock, and then sees the claims of the first one.
            campaign = select(CAMPAIGNS.c.per_day).where(CAMPAIGNS.c.id == campaign_id, *self._writes())
            per_day = connection.execute(campaign.with_for_update()).scalar()
            if per_day is None:
                return []
            if connection.execute(today).scalar_one() >= per_day:
                due.append(_R.claimed_at.is_not(None))
            first = select(_R.mail_id, _R.attempts).where(is_its, *due).order_by(_R.next_attempt_at).limit(1)
            mail = connection.execute(first).first()
            if mail is None:
                return []
            delay = NOTICE_DELAYS[min(mail.attempts, len(NOTICE_DELAYS) - 1)]
            times = {"next_attempt_at": now + delay, "claimed_at": func.coalesce(_R.claimed_at, now)}
            # None are left if all have answered since the query before.
            ids = _update(connection, _R.mail_id == mail.mail_id, *due, attempts=_R.attempts + 1, **times)
        return self._read(_R.id.in_(ids))

    def mark_mailed(self, mail_id: str) -> None:
        """Record that the mail server has accepted the mail."""
        with self._database.writing() as connection:
            self._note_mailed(connection, _R.mail_id == mail_id)

    def _note_mailed(self, connection: Connection, of_mail: ColumnElement[bool]) -> None:
        connection.execute(_lock(of_mail))  # Here, because _change skips those that are marked.
        values = {"mailed_at": self._now(), "last_error": ""}
        _change(connection, RecipientState.MAILED, of_mail, _R.claimed_at.is_not(None), **values)

    def record_failure(self, mail_id: str, reason: str) -> None:
        """Record why an attempt failed; ``reason`` is a text of our own without secrets."""
        unsent = (_R.mail_id == mail_id, _R.state == RecipientState.CHOSEN)
        self._database.change(update(CAMPAIGN_RECIPIENTS).where(*unsent).values(last_error=reason[:200]))

    def refuse_address(self, mail_id: str) -> None:
        """Record that the mail server says that there is no such address, and delete the address."""
        with self._database.writing() as connection:
            _answer(connection, RecipientState.ADDRESS_REFUSED, self._now(), _R.mail_id == mail_id)

    def find(self, recipient_id: str) -> Recipient | None:
        """Return the recipient; None if there is none with this id."""
        return next(iter(self._read(_R.id == recipient_id)), None)

    def bind(self, recipient_id: str, invitation_id: str) -> str | None:
        """Record that the link's button was pressed, and return the invitation that the link has from now on.

        It is this invitation, or the one that was bound before. None if the recipient is gone or has answered without
        one; then nothing changes. If the process that sent the mail died before it marked the mail, this marks it.
        """
        values = {"opened_at": self._now(), "invitation_id": invitation_id}
        with self._database.writing() as connection:
            self._note_mailed(connection, _mail_of(recipient_id))
            _change(connection, RecipientState.OPENED, _R.id == recipient_id, _R.invitation_id.is_(None), **values)
        recipient = self.find(recipient_id)
        return recipient.invitation_id if recipient else None

    def note_asked(self, invitation_id: str) -> None:
        """Record that the person has come back from the supplier with the invitation, or has declared a right."""
        values = {"asked_at": func.coalesce(_R.asked_at, self._now()), "answered_at": null()}
        with self._database.writing() as connection:
            _change(connection, RecipientState.ASKED, _R.invitation_id == invitation_id, **values)

    def note_refused(self, *, recipient_id: str = "", invitation_id: str = "") -> bool:
        """Record that the person says no, on the link's page or at the supplier; return whether that is new."""
        is_it = _R.id == recipient_id if recipient_id else _R.invitation_id == invitation_id
        with self._database.writing() as connection:
            self._note_mailed(connection, _mail_of(recipient_id))
            return bool(_answer(connection, RecipientState.REFUSED, self._now(), is_it))

    def count_states(self, campaign_id: str | None = None) -> Mapping[RecipientState, int]:
        """Return how many recipients of the campaign, or of all campaigns, are in each state."""
        of_campaign = () if campaign_id is None else (_R.campaign_id == campaign_id,)
        query = select(_R.state, func.count()).where(*of_campaign).group_by(_R.state)
        return dict.fromkeys(RecipientState, 0) | {row.state: row[1] for row in self._database.fetch(query)}

    def count_days(self, campaign_id: str) -> list[tuple[date, Mapping[RecipientState, int]]]:
        """Return for each day (Europe/Paris), newest first, how many recipients came to each state on it."""
        days: defaultdict[date, Counter[RecipientState]] = defaultdict(Counter)
        times = (_R.mailed_at, _R.opened_at, _R.asked_at, _R.answered_at)
        for state, *moments in self._database.fetch(select(_R.state, *times).where(_R.campaign_id == campaign_id)):
            reached = (RecipientState.MAILED, RecipientState.OPENED, RecipientState.ASKED, state)
            for step, moment in zip(reached, moments, strict=True):
                if moment is not None:
                    days[civil_date(moment)][step] += 1
        return sorted(days.items(), reverse=True)

    def left_pages(self, campaign_id: str) -> Iterator[list[Recipient]]:
        """Yield pages of the recipients that haven't answered, and of those whose address was refused."""
        left = select(_R.id).where(_R.campaign_id == campaign_id, _R.state.in_(LEFT))
        for page in pages([row.id for row in self._database.fetch(left.order_by(_R.id))]):
            yield self._read(_R.id.in_(page))

    def list_of_account(self, account_id: str) -> list[Recipient]:
        """Return what campaigns have of the account, the newest first."""
        return self._read(_R.account_id == account_id)

    def _read(self, *conditions: ColumnElement[bool]) -> list[Recipient]:
        query = select(CAMPAIGN_RECIPIENTS).where(*conditions).order_by(_R.created_at.desc(), _R.id)
        return [Recipient(**row._asdict()) for row in self._database.fetch(query)]

    def find_taken_over(self, account_id: str | None = None) -> set[str]:
        """Return the accounts whose reminders a campaign replaces: mailed soon or within CAMPAIGN_LIFE, or a no.

        ``account_id``: if given, only this account is looked up.
        """
        will = and_(_R.state == RecipientState.CHOSEN, *self._writes())
        replaced = (
            or_(will, _SAID_NO, _R.mailed_at > self._now() - CAMPAIGN_LIFE),
            _R.account_id == (account_id or _R.account_id),
        )
        query = select(_R.account_id).join(CAMPAIGNS, CAMPAIGNS.c.id == _R.campaign_id).where(*replaced)
        return {row.account_id for row in self._database.fetch(query.distinct())}

    def apply_retention(self) -> int:
        """Delete addresses after CAMPAIGN_LIFE or their account's end, and old campaigns; return the number of rows."""
        now = self._now()
        # A process of an older version removes an account without them.
        removed = _R.account_id.in_(select(ACCOUNTS.c.id).where(ACCOUNTS.c.state == AccountState.DELETED))
        unneeded = (_R.sealed_address.is_not(None), or_(_R.created_at <= now - CAMPAIGN_LIFE, _IS_OVER))
        with self._database.writing() as connection:
            deleted = _delete_campaigns(connection, CAMPAIGNS.c.created_at < now - _KEPT)
            deleted += connection.execute(delete(CAMPAIGN_RECIPIENTS).where(removed)).rowcount
            return deleted + len(_update(connection, *unneeded, sealed_address=null()))


def note_connected(connection: Connection, account_ids: Collection[str], now: datetime) -> None:
    """Record in the caller's transaction that these accounts have a new consent, and delete their lists' addresses."""
    _answer(connection, RecipientState.CONNECTED, now, _R.account_id.in_(account_ids))


def pages(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Yield the items in pages that are short enough for one query."""
    return (items[first : first + _PAGE] for first in range(0, len(items), _PAGE))


def _delete_campaigns(connection: Connection, which: ColumnElement[bool]) -> int:
    theirs = _R.campaign_id.in_(select(CAMPAIGNS.c.id).where(which))
    connection.execute(_lock(theirs))
    recipients = connection.execute(delete(CAMPAIGN_RECIPIENTS).where(theirs)).rowcount
    return recipients + connection.execute(delete(CAMPAIGNS).where(which)).rowcount


def _mail_of(recipient_id: str) -> ColumnElement[bool]:
    return _R.mail_id == select(_R.mail_id).where(_R.id == recipient_id).correlate(None).scalar_subquery()


def _change(connection: Connection, state: RecipientState, *which: ColumnElement[bool], **values: Any) -> Sequence[str]:
    """Bring the recipients that can come to this state to it; return their ids."""
    return _update(connection, _R.state.in_(TRANSITIONS.states_before(state)), *which, state=state, **values)


def _answer(connection: Connection, state: RecipientState, now: datetime, *which: ColumnElement[bool]) -> Sequence[str]:
    return _change(connection, state, *which, answered_at=now, sealed_address=null())


def _lock(*which: ColumnElement[bool]) -> Select[tuple[str]]:
    return select(_R.id).where(*which).order_by(_R.id).with_for_update().correlate(None)


def _update(connection: Connection, *which: ColumnElement[bool], **values: Any) -> Sequence[str]:
    statement = update(CAMPAIGN_RECIPIENTS).where(_R.id.in_(_lock(*which))).values(**values)
    return connection.execute(statement.returning(_R.id)).scalars().all()
