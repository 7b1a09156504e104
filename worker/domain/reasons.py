"""The reason why a day of a series is complete, partial or missing, decided from facts about the day and the account.

The sentences for people are in ``worker/locales/reasons.json``. The checks are ordered by certainty: first the reasons
that can't change any more (a complete day stays complete when its account is paused), then those for which no calls
are made, then the failure of the last call, then waiting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Final

from worker.domain.account import Account, AccountState
from worker.domain.calls import AnswerClass
from worker.domain.completeness import UNKNOWN, DayMark, DayState, Hole
from worker.domain.series import Series
from worker.errors import ConsentEnded, FilesOnly, describe_code


class Reason(StrEnum):
    COMPLETE = "complete"
    FROM_FILE = "from_file"  # The day is complete, and its last new values came from a file.
    COMPUTED = "computed"  # No daily value can come; the stored value is the sum of the curve.
    IN_FORCE = "in_force"  # A state, such as a contract, applies on this day.
    PARTIAL = "partial"
    PARTIAL_FOR_GOOD = "partial_for_good"
    LATE = "late"
    SET_ASIDE = "set_aside"  # The supplier sent a value that no meter can deliver.
    ABSENT = "absent"
    GAP = "gap"  # A later day is stored; the supplier has no value for this day, but may still send one.
    READ_SIX_MONTHLY = "read_six_monthly"  # The meter is read twice a year, so it has no daily values.
    NOT_OFFERED = "not_offered"  # The supplier says that this meter has no such series.
    CURVE_GAP = "curve_gap"
    CURVE_GAP_FOR_GOOD = "curve_gap_for_good"
    NOT_ACTIVATED = "not_activated"
    NOT_YET_ACTIVATED = "not_yet_activated"
    BEFORE = "before"
    CONSENT_ENDED = "consent_ended"  # The last day of the consent has passed.
    CONSENT_STOPPED = "consent_stopped"  # The household has stopped the consent in Relève.
    CONSENT_REFUSED = "consent_refused"  # The consent was withdrawn, or ended on a day that we don't know.
    ACCESS_REFUSED = "access_refused"
    FILES_ONLY = "files_only"  # The account has no token, only the readings of its files.
    FILES_PARTIAL = "files_partial"  # The account has no token, and its files have only a part of the day's curve.
    TOKEN_NEEDED = "token_needed"  # noqa: S105 - A gateway wants a new token.
    HOLDER_CHANGED = "holder_changed"
    METER_UNKNOWN = "meter_unknown"
    NOT_CONNECTED = "not_connected"
    ACCOUNT_CLOSED = "account_closed"  # Another person holds the meter now.
    NOT_CONFIRMED = "not_confirmed"  # Somebody vouched for the consent, and the supplier hasn't answered yet.
    PAUSED = "paused"
    IN_DOUBT = "in_doubt"  # The supplier has refused once, and is asked again before the owner is asked to act.
    OUTAGE = "outage"
    QUOTA = "quota"
    GATEWAY_BANNED = "gateway_banned"  # A gateway has blocked our address for a day.
    MALFORMED = "malformed"
    APPLICATION_REFUSED = "application_refused"
    STORE_DOWN = "store_down"
    BUG = "bug"
    NOT_ASKED_YET = "not_asked_yet"
    BEYOND_HISTORY = "beyond_history"
    NOT_OVER = "not_over"
    FUTURE = "future"

    @property
    def is_complete(self) -> bool:
        """Whether the whole day is stored, with values from the supplier or from a file."""
        return self in (Reason.COMPLETE, Reason.FROM_FILE)


@dataclass(frozen=True, slots=True)
class DayFacts:
    """The facts of one day of one series.

    ``asked_next``: when the day is requested again; None if it isn't.
    ``failure``: why the last call for the day failed; None if it didn't.
    ``wanted``: whether the day belongs to the history to load.
    ``in_force``: whether a state that applies on that day is stored.
    ``computed``: whether the stored daily value is the sum of the curve.
    ``later``: whether a value of a later day is stored; None unless the series' values come some days late.
    ``of_periods``: whether the series has billed periods, which end when the meter is read.
    ``ended``: whether the supplier has said that this meter has no such series. ``frequency``: for daily values, how
    often the meter is read according to its contract, if known.
    """

    mark: DayMark = UNKNOWN
    hole: Hole | None = None
    asked_next: datetime | None = None
    failure: AnswerClass | None = None
    wanted: bool = True
    in_force: bool = False
    computed: bool = False
    later: bool | None = None
    of_periods: bool = False
    ended: bool = False
    frequency: str | None = None

    @property
    def awaits_reading(self) -> bool:
        """Whether the day's billed period isn't published yet.

        The period ends with the meter's next reading, however late. Until then, none of its days is given up as absent.
        """
        return self.of_periods and not self.later and self.mark.state in (DayState.LATE, DayState.ABSENT)


_EVERY_SIX_MONTHS: Final = "6M"
_REASON_BY_HOLE: Final = {Hole.NOT_ACTIVATED: Reason.NOT_ACTIVATED, Hole.NOT_YET_ACTIVATED: Reason.NOT_YET_ACTIVATED}
# The reasons of an account that a confirmed refusal has suspended. Before the confirmation, the reason is IN_DOUBT.
_REASON_BY_REFUSAL: Final = {
    AnswerClass.CONSENT: Reason.CONSENT_REFUSED,
    AnswerClass.HOLDER: Reason.HOLDER_CHANGED,
    AnswerClass.METER: Reason.METER_UNKNOWN,
    AnswerClass.LOGIN: Reason.ACCESS_REFUSED,
    AnswerClass.TOKEN: Reason.TOKEN_NEEDED,
}
_REASON_BY_FAILURE: Final = {
    AnswerClass.OUTAGE: Reason.OUTAGE,
    AnswerClass.QUOTA: Reason.QUOTA,
    AnswerClass.BANNED: Reason.GATEWAY_BANNED,
    AnswerClass.MALFORMED: Reason.MALFORMED,
    AnswerClass.UNUSABLE: Reason.MALFORMED,
    AnswerClass.APPLICATION: Reason.APPLICATION_REFUSED,
    AnswerClass.STORE: Reason.STORE_DOWN,
    AnswerClass.BUG: Reason.BUG,
    **dict.fromkeys(_REASON_BY_REFUSAL, Reason.IN_DOUBT),
}


def reason_of(day: date, today: date, facts: DayFacts, account: Account) -> Reason:
    """Return the reason for the state of one day of one series; the first check that finds one decides."""
    if day >= today:
        return Reason.NOT_OVER if day == today else Reason.FUTURE
    if account.files_only and facts.mark.half_hours:
        return Reason.FILES_PARTIAL
    return (
        _final_reason(facts)
        or _hold_reason(today, account)
        or _failure_reason(facts)
        or _waiting_reason(facts, account)
    )


def choose_series_reason(reasons: Mapping[Series, Reason]) -> tuple[Reason, frozenset[Series]]:
    """Return the reason to show for a day and the series that it concerns. ``reasons``: in the order of ``Series``.

    A day is judged by the daily values and the curve of one direction, preferably consumption. The reason of the daily
    value is shown, unless the daily value is complete and the curve isn't. If both are complete, but only one of them
    came from a file, the reason FROM_FILE is shown.
    """
    energies = [series for series in reasons if series.is_daily_energy or series.has_steps] or list(reasons)
    direction = energies[0].description.direction
    shown = [series for series in energies if series.description.direction is direction]
    if len({reasons[series] for series in shown}) == 1:
        return reasons[shown[0]], frozenset(shown)
    lacking = (series for series in shown if not reasons[series].is_complete)
    first = next(lacking, None) or next(series for series in shown if reasons[series] is Reason.FROM_FILE)
    return reasons[first], frozenset({first})


def _final_reason(facts: DayFacts) -> Reason | None:
    """Return the day's reason if no new request can change it, else None."""
    state = facts.mark.state
    if facts.in_force:
        return Reason.IN_FORCE
    if facts.computed:
        return Reason.COMPUTED
    if facts.mark.complete:
        return Reason.FROM_FILE if state is DayState.FILE else Reason.COMPLETE
    if state is DayState.BEFORE:
        return Reason.BEFORE
    if facts.ended:
        return Reason.READ_SIX_MONTHLY if facts.frequency == _EVERY_SIX_MONTHS else Reason.NOT_OFFERED
    if facts.hole in _REASON_BY_HOLE:
        return _REASON_BY_HOLE[facts.hole]
    if state is DayState.ABSENT and not facts.awaits_reading:
        return Reason.CURVE_GAP_FOR_GOOD if facts.hole is Hole.TRANSMISSION else Reason.ABSENT
    if state is DayState.PARTIAL and facts.asked_next is None:
        return Reason.PARTIAL_FOR_GOOD
    return None


def _hold_reason(today: date, account: Account) -> Reason | None:
    """Return the reason why no calls are made for the account; None if calls are made."""
    if isinstance(refusal := account.refusal_on(today), ConsentEnded):
        return Reason(refusal.code.lower())  # The reason has the name of the error's code.
    match account.state:
        case AccountState.NEW:
            return None if account.unconfirmed else Reason.NOT_CONNECTED
        case AccountState.PAUSED:
            return Reason.PAUSED
        case AccountState.ACTION_NEEDED:
            if account.reason == FilesOnly.code:
                return Reason.FILES_ONLY
            return _REASON_BY_REFUSAL[describe_code(account.reason).answer_class]
        case AccountState.READY | AccountState.DELETED | AccountState.CLOSED:
            return None


def _failure_reason(facts: DayFacts) -> Reason | None:
    """Return why the last call failed; None if it didn't fail, or if the day is partial (its reason is PARTIAL)."""
    if facts.failure is None or facts.mark.state is DayState.PARTIAL:
        return None
    return _REASON_BY_FAILURE[facts.failure]


def _waiting_reason(facts: DayFacts, account: Account) -> Reason:
    if facts.mark.state is DayState.PARTIAL:
        return Reason.PARTIAL
    if facts.mark.state is DayState.SET_ASIDE:
        return Reason.SET_ASIDE
    if facts.mark.state is DayState.LATE or facts.awaits_reading:
        if facts.later:
            return Reason.GAP
        return Reason.CURVE_GAP if facts.hole is Hole.TRANSMISSION else Reason.LATE
    if not facts.wanted:
        return Reason.BEYOND_HISTORY
    return Reason.NOT_CONFIRMED if account.unconfirmed else Reason.NOT_ASKED_YET
