"""Notices to owners and operators: their kinds, the message for one channel, and when a consent's end is announced."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Final

from worker.domain.windows import ONE_DAY, DateWindow

HOUSEHOLD_CHANNEL: Final = "household"  # Mail to the address that the account's household has confirmed.


class NoticeKind(StrEnum):
    """The kinds of notices; notices about the supplier, incidents, proofs, tokens and outputs go to the operator."""

    ACCOUNT_CLOSED = "account_closed"  # Another person has proved that they hold the account's meter.
    ACTION_NEEDED = "action_needed"  # The account's owner must act.
    ALERT = "alert"  # A day exceeds a limit that the household set; only the household is told.
    CONSENT_ENDS_30 = "consent_ends_30"  # The consent ends within 30 days.
    CONSENT_ENDS_7 = "consent_ends_7"
    CURVE_NOT_ACTIVATED = "curve_not_activated"  # The supplier sends daily values but doesn't collect the curve.
    GATEWAY_BANNED = "gateway_banned"  # A gateway has blocked our address for a day.
    INCIDENT = "incident"  # Many accounts fail in the same way, so the supplier is the cause.
    INCIDENT_OVER = "incident_over"
    METER_REQUESTED = "meter_requested"  # Somebody claims the account's meter with a reading; the operator decides.
    MONTH = "month"  # The figures of a month, for one household that wants them by mail.
    OUTPUT_FAILS = "output_fails"  # Nothing could be sent to an output for a day.
    RIGHT_PROOF_AWAITED = "right_proof_awaited"  # The supplier wants a proof of a consent by a certain day.
    RIGHT_PROOF_ENDS = "right_proof_ends"  # The day by which the supplier wants the proof is near.
    RIGHT_PROOF_REJECTED = "right_proof_rejected"
    SUPPLIER_CHANGED = "supplier_changed"  # The supplier's answers differ from its documentation.
    TOKEN_ENDS = "token_ends"  # noqa: S105 - An API token ends within two weeks.


# These are sent whatever the household does meanwhile: what other people did, and what was used.
LASTING: Final = (NoticeKind.ACCOUNT_CLOSED, NoticeKind.METER_REQUESTED, NoticeKind.ALERT, NoticeKind.MONTH)


@dataclass(frozen=True, slots=True)
class Notice:
    """One message to send over one channel.

    ``about`` distinguishes notices of the same kind. Either it is a time, such as the day on which a consent ends or an
    account was closed, or the moment at which an account was suspended. Or it is an id and a time in the form
    ``id@time``: for example a right and the last day for its proof, a token and the day of its end, an incident and the
    moment at which it began, an output and the day since which it has failed, a household and a month.
    ``account_id`` is None for notices to the operator.
    """

    id: str
    account_id: str | None
    kind: NoticeKind
    reason: str
    about: str
    channel: str
    created_at: datetime
    next_attempt_at: datetime
    attempts: int = 0
    delivered_at: datetime | None = None
    last_error: str = ""

    @property
    def key(self) -> str:
        """The key that makes a notice unique: a second notice with the same key is not sent."""
        return f"{self.kind}:{self.account_id or '-'}:{self.about}:{self.channel}"


# How many days before the consent's end each reminder becomes due, in rising order: the first that fits is sent.
REMINDERS: Final = ((7, NoticeKind.CONSENT_ENDS_7), (30, NoticeKind.CONSENT_ENDS_30))


def due_reminder(consent_until: date, today: date) -> NoticeKind | None:
    """Return the reminder that is due today for a consent; None if it is too early or the consent has ended."""
    days_left = (consent_until - today).days
    return next((kind for days, kind in REMINDERS if 0 <= days_left <= days), None)


LATEST_DAY_OF_MONTH: Final = 10  # On this day, a month that lacks days is told as it is known.


def is_month_due(month: DateWindow, known: Collection[date], asked_on: date, today: date) -> bool:
    """Return whether the figures of a calendar month are to be told: all its days are known, or it is late.

    Never those of a month without a known day, nor of one that was over when they were asked for.
    """
    days = sum(day in month for day in known)
    is_late = today >= month.end + (LATEST_DAY_OF_MONTH - 1) * ONE_DAY
    return asked_on < month.end <= today and (days == month.days or (days > 0 and is_late))
