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

from sqlalchemy import ColumnElement, Connection, and_, delete, exists, func, insert, null, or_, select, update

from worker.domain.account import AccountState
from worker.domain.campaign import (
    CAMPAIGN_LIFE,
    LEFT,
    TRANSITIONS,
    WAITING,
    Campaign,
    Recipient,
    RecipientEvent,
    RecipientState,
)
from worker.domain.retry import NOTICE_DELAYS
from worker.domain.windows import civil_date, local_midnight
from worker.errors import DataError
from worker.stores.database import ClockedTable
from worker.stores.registry.tables import ACCOUNTS, CAMPAIGN_RECIPIENTS, CAMPAIGNS, HOUSEHOLD_ACCOUNTS, MAIL_ADDRESSES

_KEPT: Final = timedelta(days=400)
_BATCH: Final = 500
_LOCK: Final = 46  # Campaigns are created one after the other, so none gets accounts of another.
_R: Final = CAMPAIGN_RECIPIENTS.c
_SAID_NO: Final = _R.state == RecipientState.REFUSED
_IS_SAME: Final = HOUSEHOLD_ACCOUNTS.c.household_id == MAIL_ADDRESSES.c.household_id
_CONFIRMED: Final = select(MAIL_ADDRESSES.c.household_id).join(HOUSEHOLD_ACCOUNTS, _IS_SAME)
_OF_ACCOUNT: Final = _CONFIRMED.where(HOUSEHOLD_ACCOUNTS.c.account_id == _R.account_id)
_HAS_ADDRESS: Final = or_(_R.sealed_address.is_not(None), _R.household_id.in_(_OF_ACCOUNT))
_OVER: Final = (AccountState.CLOSED, AccountState.DELETED)
_IS_OVER: Final = exists().where(ACCOUNTS.c.id == _R.account_id, ACCOUNTS.c.state.in_(_OVER))


class UnknownCampaign(DataError):
    """No campaign has this id."""

    remedy = "`releve campaigns list` shows the campaigns."


class AccountsTaken(DataError):
    """Another campaign, created a moment before, already asks one of these accounts."""

    remedy = "Add the campaign again: it leaves these accounts out."


class CampaignTable(ClockedTable):
    """The campaigns and their recipients. It needs no key: addresses stay sealed. The clock is the fleet's.

    A method that takes a campaign's id raises UnknownCampaign if it says so.
    """

    def create(self, campaign: Campaign, recipients: Iterable[Recipient]) -> None:
        """Insert the campaign, stopped, with its recipients. Raises AccountsTaken."""
        rows = [asdict(recipient) for recipient in recipients]
        with self._database.writing(_LOCK) as connection:
            joined = CampaignTable(self._database.join(connection), self._now)
            if joined.find_busy([row["account_id"] for row in rows]):
                raise AccountsTaken("another campaign has just got some of these accounts")
            connection.execute(insert(CAMPAIGNS).values(**{**asdict(campaign), "is_running": False}))
            for batch in _batches(rows):
                connection.execute(insert(CAMPAIGN_RECIPIENTS), batch)

    def get(self, campaign_id: str) -> Campaign:
        """Return the campaign. Raises UnknownCampaign."""
        with self._database.reading() as connection:
            return _get(connection, campaign_id)

    def list_campaigns(self) -> list[Campaign]:
        """Return all campaigns, the newest first."""
        newest_first = select(CAMPAIGNS).order_by(CAMPAIGNS.c.created_at.desc(), CAMPAIGNS.c.id)
        return [Campaign(**row._asdict()) for row in self._database.fetch(newest_first)]

    def set_running(self, campaign_id: str, *, running: bool) -> Campaign:
        """Let the campaign go on or stop, and return it. Raises UnknownCampaign."""
        with self._database.writing() as connection:
            campaign = _get(connection, campaign_id)
            connection.execute(update(CAMPAIGNS).where(CAMPAIGNS.c.id == campaign_id).values(is_running=running))
            return replace(campaign, is_running=running)

    def remove(self, campaign_id: str) -> None:
        """Delete the campaign and its recipients, so its links open nothing any more. Raises UnknownCampaign."""
        self.set_running(campaign_id, running=False)  # It ends after a claim that has begun, and no claim follows.
        with self._database.writing() as connection:
            _delete_campaigns(connection, CAMPAIGNS.c.id == campaign_id)

    def find_busy(self, account_ids: Collection[str]) -> set[str]:
        """Return those of the accounts that a campaign of the last CAMPAIGN_LIFE still asks, or that said no to one."""
        asked = and_(_R.created_at > self._now() - CAMPAIGN_LIFE, _R.state.in_(WAITING))
        busy = select(_R.account_id).where(or_(asked, _SAID_NO))
        queries = (busy.where(_R.account_id.in_(ids)) for ids in _batches(list(account_ids)))
        return {row.account_id for query in queries for row in self._database.fetch(query)}

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
        before = TRANSITIONS.states_before(RecipientEvent.MAILED)
        due = [_R.state.in_(before), _R.next_attempt_at <= now, _HAS_ADDRESS, ~_IS_OVER]
        with self._database.writing() as connection:
            # A second process waits here for the row lock, and then sees the claims of the first one.
            campaign = select(CAMPAIGNS.c.per_day).where(CAMPAIGNS.c.id == campaign_id, *self._writes())
            per_day = connection.execute(campaign.with_for_update()).scalar()
            if per_day is None:
                return []
            if connection.execute(today).scalar_one() >= per_day:
                due.append(_R.claimed_at.is_not(None))
            first = select(_R.mail_id).where(is_its, *due).order_by(_R.next_attempt_at).limit(1)
            while mail_id := connection.execute(first).scalar():
                # Empty if somebody has answered since the query before.
                if ids := _lock(connection, *due, _R.mail_id == mail_id):
                    attempts = _read(connection, _R.id.in_(ids))[0].attempts
                    delay = NOTICE_DELAYS[min(attempts, len(NOTICE_DELAYS) - 1)]
                    times = {"next_attempt_at": now + delay, "claimed_at": func.coalesce(_R.claimed_at, now)}
                    _update(connection, ids, attempts=attempts + 1, **times)
                    return _read(connection, _R.id.in_(ids))
        return []

    def mark_mailed(self, mail_id: str) -> None:
        """Record that the mail server has accepted the mail."""
        with self._database.writing() as connection:
            self._note_mailed(connection, _R.mail_id == mail_id)

    def _note_mailed(self, connection: Connection, of_mail: ColumnElement[bool]) -> None:
        _lock(connection, of_mail)
        values = {"mailed_at": self._now(), "last_error": ""}
        _change(connection, RecipientEvent.MAILED, of_mail, _R.claimed_at.is_not(None), **values)

    def record_failure(self, mail_id: str, reason: str) -> None:
        """Record why an attempt failed; ``reason`` is a text of our own without secrets."""
        unsent = (_R.mail_id == mail_id, _R.state == RecipientState.CHOSEN)
        self._database.change(update(CAMPAIGN_RECIPIENTS).where(*unsent).values(last_error=reason[:200]))

    def refuse_address(self, mail_id: str) -> None:
        """Record that the mail server says that there is no such address, and delete the address."""
        with self._database.writing() as connection:
            _answer(connection, RecipientEvent.ADDRESS_REFUSED, self._now(), _R.mail_id == mail_id)

    def find(self, recipient_id: str) -> Recipient | None:
        """Return the recipient; None if there is none with this id."""
        with self._database.reading() as connection:
            return next(iter(_read(connection, _R.id == recipient_id)), None)

    def bind(self, recipient_id: str, invitation_id: str) -> str | None:
        """Record that the link's button was pressed, and return the invitation that the link has from now on.

        It is this invitation, or the one that was bound before. None if the recipient is gone or has answered without
        one; then nothing changes. If the process that sent the mail died before it marked the mail, this marks it.
        """
        values = {"opened_at": self._now(), "invitation_id": invitation_id}
        with self._database.writing() as connection:
            self._note_mailed(connection, _mail_of(recipient_id))
            _change(connection, RecipientEvent.OPENED, _R.id == recipient_id, _R.invitation_id.is_(None), **values)
            return next((one.invitation_id for one in _read(connection, _R.id == recipient_id)), None)

    def note_asked(self, invitation_id: str) -> None:
        """Record that the person has come back from the supplier with the invitation, or has declared a right."""
        values = {"asked_at": func.coalesce(_R.asked_at, self._now()), "answered_at": null()}
        with self._database.writing() as connection:
            _change(connection, RecipientEvent.ASKED, _R.invitation_id == invitation_id, **values)

    def note_refused(self, *, recipient_id: str = "", invitation_id: str = "") -> bool:
        """Record that the person says no, on the link's page or at the supplier; return whether that is new."""
        is_it = _R.id == recipient_id if recipient_id else _R.invitation_id == invitation_id
        with self._database.writing() as connection:
            self._note_mailed(connection, _mail_of(recipient_id))
            return _answer(connection, RecipientEvent.REFUSED, self._now(), is_it) > 0

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

    def iterate_left(self, campaign_id: str) -> Iterator[Recipient]:
        """Yield the recipients that haven't answered, and those whose address was refused."""
        left = select(_R.id).where(_R.campaign_id == campaign_id, _R.state.in_(LEFT))
        for batch in _batches([row.id for row in self._database.fetch(left.order_by(_R.id))]):
            with self._database.reading() as connection:
                recipients = _read(connection, _R.id.in_(batch))
            yield from recipients

    def list_of_account(self, account_id: str) -> list[Recipient]:
        """Return what campaigns have of the account, the newest first."""
        with self._database.reading() as connection:
            return _read(connection, _R.account_id == account_id)

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
            return deleted + _update(connection, _lock(connection, *unneeded), sealed_address=null())


def note_connected(connection: Connection, account_ids: Collection[str], now: datetime) -> None:
    """Record in the caller's transaction that these accounts have a new consent, and delete their lists' addresses."""
    _answer(connection, RecipientEvent.CONNECTED, now, _R.account_id.in_(account_ids))


def _batches(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (items[first : first + _BATCH] for first in range(0, len(items), _BATCH))


def _get(connection: Connection, campaign_id: str) -> Campaign:
    is_it = CAMPAIGNS.c.id == campaign_id.replace("\x00", " ")  # PostgreSQL refuses NUL.
    row = connection.execute(select(CAMPAIGNS).where(is_it)).one_or_none()
    if row is None:
        raise UnknownCampaign("no campaign has this id: `releve campaigns list` shows the ids")
    return Campaign(**row._asdict())


def _delete_campaigns(connection: Connection, which: ColumnElement[bool]) -> int:
    theirs = _R.campaign_id.in_(select(CAMPAIGNS.c.id).where(which))
    recipients = connection.execute(delete(CAMPAIGN_RECIPIENTS).where(theirs)).rowcount
    return recipients + connection.execute(delete(CAMPAIGNS).where(which)).rowcount


def _mail_of(recipient_id: str) -> ColumnElement[bool]:
    return _R.mail_id == select(_R.mail_id).where(_R.id == recipient_id).correlate(None).scalar_subquery()


def _read(connection: Connection, *conditions: ColumnElement[bool]) -> list[Recipient]:
    query = select(CAMPAIGN_RECIPIENTS).where(*conditions).order_by(_R.created_at.desc(), _R.id)
    return [Recipient(**row._asdict()) for row in connection.execute(query)]


def _change(connection: Connection, event: RecipientEvent, *conditions: ColumnElement[bool], **values: Any) -> int:
    """Let an event happen to the recipients that can have it; return how many had it."""
    before = TRANSITIONS.states_before(event)
    ids = _lock(connection, _R.state.in_(before), *conditions)
    return _update(connection, ids, state=TRANSITIONS[before[0], event], **values)


def _answer(connection: Connection, event: RecipientEvent, now: datetime, *conditions: ColumnElement[bool]) -> int:
    return _change(connection, event, *conditions, answered_at=now, sealed_address=null())


def _lock(connection: Connection, *conditions: ColumnElement[bool]) -> Sequence[str]:
    query = select(_R.id).where(*conditions).order_by(_R.id).with_for_update()
    return connection.execute(query).scalars().all()


def _update(connection: Connection, ids: Sequence[str], **values: Any) -> int:
    statement = update(CAMPAIGN_RECIPIENTS).values(**values)
    return sum(connection.execute(statement.where(_R.id.in_(batch))).rowcount for batch in _batches(ids))
