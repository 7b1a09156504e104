"""The tables of campaigns and of their recipients.

A process claims a mail before it sends it, so no mail is sent by two processes. If the process dies after its claim,
the mail becomes due again, with the same ``mail_id``. All states change by ``domain.campaign.TRANSITIONS``. The rows of
recipients are locked in the order of their ids, after the rows of accounts and campaigns, so there are no deadlocks.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import date, datetime, timedelta
from typing import Any, Final, TypeVar

from sqlalchemy import ColumnElement, Connection, and_, delete, exists, func, insert, null, or_, select, update

from worker.domain.account import AccountState
from worker.domain.campaign import (
    CAMPAIGN_LIFE,
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
_UNANSWERED: Final = _R.state.in_(WAITING)
_HAS_ADDRESS: Final = or_(
    _R.sealed_address.is_not(None),
    exists().where(
        MAIL_ADDRESSES.c.household_id == _R.household_id,
        HOUSEHOLD_ACCOUNTS.c.household_id == MAIL_ADDRESSES.c.household_id,
        HOUSEHOLD_ACCOUNTS.c.account_id == _R.account_id,
    ),
)
One = TypeVar("One")
_OVER: Final = (AccountState.CLOSED, AccountState.DELETED)


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
            connection.execute(insert(CAMPAIGNS).values(**{**asdict(campaign), "is_running": False}))
            for batch in _batches(rows):
                if self._find_busy(connection, [row["account_id"] for row in batch], campaign.id):
                    raise AccountsTaken("another campaign has just got some of these accounts")
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
            is_it = CAMPAIGNS.c.id == campaign_id
            connection.execute(update(CAMPAIGNS).where(is_it).values(is_running=running))
            return _get(connection, campaign_id)

    def remove(self, campaign_id: str) -> None:
        """Delete the campaign and its recipients, so its links open nothing any more. Raises UnknownCampaign."""
        with self._database.writing() as connection:
            _get(connection, campaign_id, lock=True)
            _delete_campaigns(connection, [campaign_id])

    def find_busy(self, account_ids: Collection[str]) -> set[str]:
        """Return those of the accounts that wait for a mail or an answer in a campaign younger than CAMPAIGN_LIFE."""
        with self._database.reading() as connection:
            return {one for ids in _batches(list(account_ids)) for one in self._find_busy(connection, ids)}

    def _find_busy(self, connection: Connection, account_ids: Sequence[str], campaign_id: str = "") -> set[str]:
        is_other = (_R.campaign_id != campaign_id, _R.created_at > self._now() - CAMPAIGN_LIFE, _UNANSWERED)
        query = select(_R.account_id).where(_R.account_id.in_(account_ids), *is_other)
        return set(connection.execute(query).scalars())

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
        today = select(func.count(_R.mail_id.distinct())).where(
            is_its, _R.claimed_at >= local_midnight(civil_date(now))
        )
        before, _ = _step(RecipientEvent.MAILED)
        is_over = exists().where(ACCOUNTS.c.id == _R.account_id, ACCOUNTS.c.state.in_(_OVER))
        due = [_R.state.in_(before), _R.next_attempt_at <= now, _HAS_ADDRESS, ~is_over]
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
                of_mail = select(CAMPAIGN_RECIPIENTS).where(*due, _R.mail_id == mail_id).order_by(_R.id)
                # Empty if somebody has answered since the query before.
                if rows := connection.execute(of_mail.with_for_update()).all():
                    delay = NOTICE_DELAYS[min(rows[0].attempts, len(NOTICE_DELAYS) - 1)]
                    is_claimed = _R.id.in_([row.id for row in rows])
                    values = {"attempts": _R.attempts + 1, "next_attempt_at": now + delay}
                    claimed_at = func.coalesce(_R.claimed_at, now)
                    connection.execute(
                        update(CAMPAIGN_RECIPIENTS).where(is_claimed).values(**values, claimed_at=claimed_at)
                    )
                    claimed = connection.execute(select(CAMPAIGN_RECIPIENTS).where(is_claimed).order_by(_R.id))
                    return [Recipient(**row._asdict()) for row in claimed]
        return []

    def mark_mailed(self, mail_id: str) -> None:
        """Record that the mail server has accepted the mail."""
        with self._database.writing() as connection:
            self._note_mailed(connection, mail_id)

    def _note_mailed(self, connection: Connection, mail_id: str) -> None:
        values = {"mailed_at": self._now(), "last_error": ""}
        _change(connection, RecipientEvent.MAILED, _R.mail_id == mail_id, _R.claimed_at.is_not(None), **values)

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
        row = self._database.first(select(CAMPAIGN_RECIPIENTS).where(_R.id == recipient_id))
        return None if row is None else Recipient(**row._asdict())

    def bind(self, recipient_id: str, invitation_id: str) -> str | None:
        """Record that the link's button was pressed, and return the invitation that the link has from now on.

        It is this invitation, or the one that was bound before. None if the recipient is gone or has answered without
        one; then nothing changes.
        """
        with self._database.writing() as connection:
            if not self._note_arrival(connection, recipient_id):
                return None
            values = {"opened_at": self._now(), "invitation_id": invitation_id}
            _change(connection, RecipientEvent.OPENED, _R.id == recipient_id, _R.invitation_id.is_(None), **values)
            bound = connection.execute(select(_R.invitation_id).where(_R.id == recipient_id)).scalar()
        return None if bound is None else str(bound)

    def _note_arrival(self, connection: Connection, recipient_id: str) -> bool:
        """Mark the mail as mailed, as somebody has its link; so a process that died before this isn't repeated."""
        mail_id = connection.execute(select(_R.mail_id).where(_R.id == recipient_id)).scalar()
        if mail_id is not None:
            _lock(connection, _R.mail_id == mail_id)
            self._note_mailed(connection, mail_id)
        return mail_id is not None

    def note_asked(self, invitation_id: str) -> None:
        """Record that the person has come back from the supplier with the invitation, or has declared a right."""
        values = {"asked_at": func.coalesce(_R.asked_at, self._now()), "answered_at": null()}
        with self._database.writing() as connection:
            _change(connection, RecipientEvent.ASKED, _R.invitation_id == invitation_id, **values)

    def note_refused(self, *, recipient_id: str | None = None, invitation_id: str | None = None) -> bool:
        """Record that the person says no, on the link's page or at the supplier; return whether that is new."""
        is_it = _R.id == recipient_id if recipient_id else _R.invitation_id == (invitation_id or "")
        with self._database.writing() as connection:
            if recipient_id:
                self._note_arrival(connection, recipient_id)
            return _answer(connection, RecipientEvent.REFUSED, self._now(), is_it) > 0

    def count_states(self, campaign_id: str) -> Mapping[RecipientState, int]:
        """Return how many of the campaign's recipients are in each state."""
        return self._count(_R.campaign_id == campaign_id)

    def count_all(self) -> Mapping[RecipientState, int]:
        """Return how many recipients of all campaigns are in each state."""
        return self._count()

    def _count(self, *conditions: ColumnElement[bool]) -> Mapping[RecipientState, int]:
        query = select(_R.state, func.count()).where(*conditions).group_by(_R.state)
        counts = {state: int(count) for state, count in self._database.fetch(query)}
        return {state: counts.get(state, 0) for state in RecipientState}

    def count_days(self, campaign_id: str) -> list[tuple[date, Mapping[RecipientState, int]]]:
        """Return for each day (Europe/Paris), newest first, how many recipients came to each state on it."""
        days: defaultdict[date, Counter[RecipientState]] = defaultdict(Counter)
        times = (_R.mailed_at, _R.opened_at, _R.asked_at, _R.answered_at)
        passed = (RecipientState.MAILED, RecipientState.OPENED, RecipientState.ASKED)
        for state, *moments in self._database.fetch(select(_R.state, *times).where(_R.campaign_id == campaign_id)):
            for reached, moment in zip((*passed, state), moments, strict=True):
                if moment is not None:
                    days[civil_date(moment)][reached] += 1
        return sorted(days.items(), reverse=True)

    def iterate_left(self, campaign_id: str) -> Iterator[Recipient]:
        """Yield the recipients that haven't answered, and those whose address was refused, by id."""
        left = (_R.campaign_id == campaign_id, or_(_UNANSWERED, _R.state == RecipientState.ADDRESS_REFUSED))
        ids = [row.id for row in self._database.fetch(select(_R.id).where(*left).order_by(_R.id))]
        for batch in _batches(ids):
            rows = self._database.fetch(select(CAMPAIGN_RECIPIENTS).where(_R.id.in_(batch)).order_by(_R.id))
            yield from (Recipient(**row._asdict()) for row in rows)

    def list_of_account(self, account_id: str) -> list[Recipient]:
        """Return what campaigns have of the account, the newest first."""
        query = select(CAMPAIGN_RECIPIENTS).where(_R.account_id == account_id).order_by(_R.created_at.desc(), _R.id)
        return [Recipient(**row._asdict()) for row in self._database.fetch(query)]

    def find_taken_over(self, account_id: str | None = None) -> set[str]:
        """Return the accounts whose reminders a campaign replaces: it will mail them, or has within CAMPAIGN_LIFE.

        ``account_id``: if given, only this account is looked up.
        """
        will = and_(_R.state == RecipientState.CHOSEN, *self._writes())
        query = select(_R.account_id).join(CAMPAIGNS, CAMPAIGNS.c.id == _R.campaign_id).distinct()
        query = query.where(or_(will, _R.mailed_at > self._now() - CAMPAIGN_LIFE))
        if account_id is not None:
            query = query.where(_R.account_id == account_id)
        return {row.account_id for row in self._database.fetch(query)}

    def apply_retention(self) -> int:
        """Delete addresses after CAMPAIGN_LIFE or their account's end, and old campaigns; return the number of rows."""
        now = self._now()
        over = select(ACCOUNTS.c.id).where(ACCOUNTS.c.state.in_(_OVER))
        unneeded = or_(_R.created_at <= now - CAMPAIGN_LIFE, _R.account_id.in_(over))
        # A process of an older version removes an account without them.
        removed = _R.account_id.in_(select(ACCOUNTS.c.id).where(ACCOUNTS.c.state == AccountState.DELETED))
        with self._database.writing() as connection:
            old = select(CAMPAIGNS.c.id).where(CAMPAIGNS.c.created_at < now - _KEPT).order_by(CAMPAIGNS.c.id)
            changed = _delete_campaigns(connection, connection.execute(old.with_for_update()).scalars().all())
            changed += connection.execute(delete(CAMPAIGN_RECIPIENTS).where(removed)).rowcount
            ids = _lock(connection, _R.sealed_address.is_not(None), unneeded)
            return changed + _update(connection, ids, sealed_address=null())


def note_connected(connection: Connection, account_ids: Collection[str], now: datetime) -> None:
    """Record in the caller's transaction that these accounts have a new consent, and delete their lists' addresses."""
    _answer(connection, RecipientEvent.CONNECTED, now, _R.account_id.in_(account_ids))


def _batches(items: Sequence[One]) -> Iterator[Sequence[One]]:
    return (items[first : first + _BATCH] for first in range(0, len(items), _BATCH))


def _get(connection: Connection, campaign_id: str, *, lock: bool = False) -> Campaign:
    query = select(CAMPAIGNS).where(CAMPAIGNS.c.id == campaign_id.replace("\x00", " "))
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise UnknownCampaign("no campaign has this id")
    return Campaign(**row._asdict())


def _delete_campaigns(connection: Connection, campaign_ids: Sequence[str]) -> int:
    recipients = connection.execute(delete(CAMPAIGN_RECIPIENTS).where(_R.campaign_id.in_(campaign_ids))).rowcount
    return recipients + connection.execute(delete(CAMPAIGNS).where(CAMPAIGNS.c.id.in_(campaign_ids))).rowcount


def _step(event: RecipientEvent) -> tuple[tuple[RecipientState, ...], RecipientState]:
    """Return the states in which an event can happen, and the state after it."""
    before = TRANSITIONS.states_before(event)
    after = TRANSITIONS[before[0], event]
    assert after is not None  # noqa: S101 - only DELETED leaves no row, and rows are deleted without this function
    return before, after


def _change(connection: Connection, event: RecipientEvent, *conditions: ColumnElement[bool], **values: Any) -> int:
    """Let an event happen to the recipients that can have it; return how many had it."""
    before, after = _step(event)
    return _update(connection, _lock(connection, _R.state.in_(before), *conditions), state=after, **values)


def _answer(connection: Connection, event: RecipientEvent, now: datetime, *conditions: ColumnElement[bool]) -> int:
    return _change(connection, event, *conditions, answered_at=now, sealed_address=null())


def _lock(connection: Connection, *conditions: ColumnElement[bool]) -> Sequence[str]:
    query = select(_R.id).where(*conditions).order_by(_R.id).with_for_update()
    return connection.execute(query).scalars().all()


def _update(connection: Connection, ids: Sequence[str], **values: Any) -> int:
    statement = update(CAMPAIGN_RECIPIENTS).values(**values)
    return sum(connection.execute(statement.where(_R.id.in_(batch))).rowcount for batch in _batches(ids))
