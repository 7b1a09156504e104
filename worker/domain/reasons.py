"""Why a day of a series is as it is: one reason, told by what is known of the day and of its account.

Pure; the words stand in ``worker.accounts.explain_texts``.  What can't change any more comes first (a whole day
stays whole
when its account is paused), then what keeps us from asking, then what the last try met, then the wait itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Final

from worker.domain.consent.accounts import AccountState
from worker.domain.fleet.outcomes import AnswerClass
from worker.domain.measures.completeness import UNKNOWN, DayState, Mark
from worker.domain.measures.holes import Hole
from worker.domain.measures.readings import Series


class Reason(StrEnum):
    COMPLETE = "complete"
    PARTIAL = "partial"
    PARTIAL_FOR_GOOD = "partial_for_good"
    LATE = "late"
    ABSENT = "absent"
    CURVE_GAP = "curve_gap"
    CURVE_GAP_FOR_GOOD = "curve_gap_for_good"
    NOT_ACTIVATED = "not_activated"
    NOT_YET_ACTIVATED = "not_yet_activated"
    BEFORE = "before"
    CONSENT_ENDED = "consent_ended"  # its last day is over
    CONSENT_REFUSED = "consent_refused"  # withdrawn, or ended without our knowing the day
    ACCESS_REFUSED = "access_refused"
    HOLDER_CHANGED = "holder_changed"
    METER_UNKNOWN = "meter_unknown"
    NOT_CONNECTED = "not_connected"
    PAUSED = "paused"
    IN_DOUBT = "in_doubt"  # refused once; asked again before anybody is bothered
    OUTAGE = "outage"
    QUOTA = "quota"
    MALFORMED = "malformed"
    APPLICATION_REFUSED = "application_refused"
    STORE_DOWN = "store_down"
    BUG = "bug"
    NOT_ASKED_YET = "not_asked_yet"
    BEYOND_HISTORY = "beyond_history"
    NOT_OVER = "not_over"
    FUTURE = "future"


@dataclass(frozen=True, slots=True)
class AccountFacts:
    """``code``: why the account is set aside; ``consent_until``: the last day, included."""

    state: AccountState = AccountState.READY
    code: str = ""
    consent_until: date | None = None


@dataclass(frozen=True, slots=True)
class DayFacts:
    """Of one series.  ``failure``: what the last try for the day met, if no answer; ``wanted``: it is to be fetched."""

    mark: Mark = UNKNOWN
    hole: Hole | None = None
    asked_next: date | None = None
    failure: AnswerClass | None = None
    wanted: bool = True


_OF_HOLES: Final = {
    Hole.NOT_ACTIVATED: Reason.NOT_ACTIVATED,
    Hole.NOT_YET_ACTIVATED: Reason.NOT_YET_ACTIVATED,
}
_OF_FAILURES: Final = {
    AnswerClass.OUTAGE: Reason.OUTAGE,
    AnswerClass.QUOTA: Reason.QUOTA,
    AnswerClass.MALFORMED: Reason.MALFORMED,
    AnswerClass.UNUSABLE: Reason.MALFORMED,
    AnswerClass.APPLICATION: Reason.APPLICATION_REFUSED,
    AnswerClass.STORE: Reason.STORE_DOWN,
    AnswerClass.BUG: Reason.BUG,
    AnswerClass.CONSENT: Reason.IN_DOUBT,  # a certain one sets the account aside
    AnswerClass.HOLDER: Reason.IN_DOUBT,
    AnswerClass.METER: Reason.IN_DOUBT,
    AnswerClass.LOGIN: Reason.IN_DOUBT,
}
_OF_CODES: Final = {  # semantics 6.4
    "USER_ACTION_NEEDED.OAUTH_OUTDATED": Reason.CONSENT_REFUSED,
    "USER_ACTION_NEEDED.OAUTH_OUTDATED.REFRESH_LOST": Reason.CONSENT_REFUSED,
    "USER_ACTION_NEEDED.ACCOUNT_REMOVED": Reason.HOLDER_CHANGED,
    "USER_ACTION_NEEDED": Reason.METER_UNKNOWN,
    "LOGIN_FAILED": Reason.ACCESS_REFUSED,
}


def decide(day: date, today: date, facts: DayFacts, account: AccountFacts) -> Reason:
    """The reason of one series."""
    if day >= today:
        return Reason.NOT_OVER if day == today else Reason.FUTURE
    return _settled(facts) or _held_up(today, account) or _failed(facts) or _waiting(facts)


def choose(reasons: Mapping[Series, Reason]) -> tuple[Reason, frozenset[Series]]:
    """The one to read aloud, and of which series it holds: the daily value's first, unless that is well."""
    daily, curve = reasons[Series.DAILY], reasons[Series.LOAD_CURVE]
    if daily is curve:
        return daily, frozenset(Series)
    if daily is Reason.COMPLETE:
        return curve, frozenset({Series.LOAD_CURVE})
    return daily, frozenset({Series.DAILY})


def _settled(facts: DayFacts) -> Reason | None:
    """What asking again does not change."""
    state = facts.mark.state
    if state is DayState.COMPLETE:
        return Reason.COMPLETE
    if state is DayState.BEFORE:
        return Reason.BEFORE
    if facts.hole in _OF_HOLES:
        return _OF_HOLES[facts.hole]
    if state is DayState.ABSENT:
        return Reason.CURVE_GAP_FOR_GOOD if facts.hole is Hole.TRANSMISSION else Reason.ABSENT
    if state is DayState.PARTIAL and facts.asked_next is None:
        return Reason.PARTIAL_FOR_GOOD
    return None


def _held_up(today: date, account: AccountFacts) -> Reason | None:
    """What keeps us from asking."""
    if account.consent_until is not None and account.consent_until < today:
        return Reason.CONSENT_ENDED
    if account.state is AccountState.NEW:
        return Reason.NOT_CONNECTED
    if account.state is AccountState.PAUSED:
        return Reason.PAUSED
    if account.state is AccountState.ACTION_NEEDED:
        return _OF_CODES.get(account.code, Reason.METER_UNKNOWN)
    return None


def _failed(facts: DayFacts) -> Reason | None:
    """What the last try met; where a part of the day is there, that says more."""
    if facts.failure is None or facts.mark.state is DayState.PARTIAL:
        return None
    return _OF_FAILURES[facts.failure]


def _waiting(facts: DayFacts) -> Reason:
    if facts.mark.state is DayState.PARTIAL:
        return Reason.PARTIAL
    if facts.mark.state is DayState.LATE:
        return Reason.CURVE_GAP if facts.hole is Hole.TRANSMISSION else Reason.LATE
    return Reason.NOT_ASKED_YET if facts.wanted else Reason.BEYOND_HISTORY
