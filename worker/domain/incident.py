"""Incidents: if many accounts fail alike, the supplier is at fault. This module says when incidents open and end.

There are two families of incidents. In the first family (outage, application, answers, by_hand) the supplier serves
nobody. Such an incident *holds* all windows of its series: only probes call the supplier. In the second family
(consent, holder, meter, login) the supplier refuses some accounts and serves others. Then windows are still requested,
but no refusal changes the state of an account.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, NamedTuple

from worker.domain.messages import WindowJob
from worker.domain.series import Series
from worker.errors import AccountError, ConsentEnded, RequestRefused, SeriesNotOffered, UnknownAccount, WorkerError

# A window whose claim begins with this text is a probe: it is requested although the incident holds all other windows.
PROBE: Final = "probe/"
PROBES_TO_PASS: Final = 3
# An incident of refusals opens only if at least this share of the requested accounts is refused.
LEAST_SHARE_OF_REFUSALS: Final = 0.2
# The longest wait between two rounds of probes, as a multiple of the first wait.
LONGEST_WAIT: Final = 15


class IncidentKind(StrEnum):
    """The kinds of incidents: four hold all windows; during the other four, no refusal changes an account's state."""

    OUTAGE = "outage"  # The supplier fails (5xx), doesn't answer in time, or sends HTML.
    APPLICATION = "application"  # Our credentials, our token or our subscription are refused.
    ANSWERS = "answers"  # Answers arrive but can't be read or used.
    CONSENT = "consent"
    HOLDER = "holder"
    METER = "meter"
    LOGIN = "login"
    BY_HAND = "by_hand"  # An operator opened the incident, for example for an announced maintenance.

    @property
    def holds(self) -> bool:
        """Whether an open incident of this kind stops all calls except probes, and failures don't count as attempts."""
        return self not in _MAX_DURATION

    @property
    def max_duration(self) -> timedelta | None:
        """After this time, refusals of this kind are believed and the incident ends. None for a kind that ``holds``."""
        return _MAX_DURATION.get(self)


# Enedis sent wrong refusals for days (consents) and for weeks (holders: ha-linky, issues 193 and 202). But refusals of
# many accounts may also be right: consents that were all given on one day also end on one day. So there is a limit.
_MAX_DURATION: Final = {
    IncidentKind.CONSENT: timedelta(days=3),
    IncidentKind.HOLDER: timedelta(days=45),
    IncidentKind.METER: timedelta(days=3),
    IncidentKind.LOGIN: timedelta(days=3),
}
HOLDING: Final = (IncidentKind.OUTAGE, IncidentKind.APPLICATION, IncidentKind.ANSWERS)
REFUSALS: Final = tuple(_MAX_DURATION)
# An incident that an operator opened and forgot must not stop the fleet for good.
BY_HAND_LASTS: Final = timedelta(hours=24)
# After an incident of refusals that ended in one of these ways, refusals of its kind are believed for this time: they
# open no incident. Otherwise true refusals would open the next incident within the hour, and no account would ever
# be suspended.
_BELIEF_LASTS: Final = {"believed": timedelta(days=7), "by_hand": timedelta(days=1)}
# At most one incident is open in each slot. The slot of a holding incident is a single series, because a supplier may
# fail to send the curve but still send daily values. An incident of refusals covers all series; its slot is its kind.
SLOTS: Final = (*(series.value for series in Series), *(kind.value for kind in REFUSALS))


def kind_of(error: WorkerError) -> IncidentKind | None:
    """Return the kind of incident that opens if there are many errors like this one.

    None if the error isn't the supplier's fault: an error of a store or of the quota, or a bug.
    """
    return IncidentKind(error.incident) if error.incident else None


def slot_of(kind: IncidentKind, series: Series) -> str:
    """Return the slot of an incident: the series if the kind of incident holds windows, else the kind."""
    return series.value if kind.holds else kind.value


@dataclass(frozen=True, slots=True)
class Thresholds:
    """How many accounts must fail in the same way to open an incident. The three values are settings.

    At least ``accounts`` accounts must fail, and at least this ``share`` of all accounts requested in the last
    ``minutes``. If ``accounts`` is 0, no incident opens.
    """

    accounts: int
    share: float
    minutes: float


@dataclass(frozen=True, slots=True)
class FailureCount:
    """``asked``: how many accounts were requested recently. ``failed``: how many of their last calls failed alike."""

    failed: int
    asked: int


def is_incident(kind: IncidentKind, failures: FailureCount, limits: Thresholds) -> bool:
    """Return whether so many accounts fail in the same way that the supplier must be the cause."""
    share = limits.share if kind.holds else LEAST_SHARE_OF_REFUSALS
    return 0 < limits.accounts <= failures.failed and failures.failed >= share * max(failures.asked, failures.failed)


class RecentAnswer(NamedTuple):
    """The outcome of one call at ``at`` (seconds since 1970).

    ``kind``: the kind of incident to which a failure belongs; None for other failures and for good answers.
    """

    at: float
    kind: IncidentKind | None
    job: WindowJob


def failures_alike(answers: Sequence[RecentAnswer], kind: IncidentKind) -> tuple[list[WindowJob], FailureCount]:
    """Return the newest window of each account whose last call failed with this kind, and the counts of accounts.

    ``answers``: the recent answers of one series, newest first.
    """
    newest: dict[str, RecentAnswer] = {}
    for answer in answers:
        newest.setdefault(answer.job["account_id"], answer)
    jobs = [answer.job for answer in newest.values() if answer.kind is kind]
    return jobs, FailureCount(len(jobs), len(newest))


class ProbeResult(StrEnum):
    """The result of a call for one account while an incident is open."""

    PASSED = "passed"
    FAILED = "failed"
    SAYS_NOTHING = "says_nothing"


def judge_probe(kind: IncidentKind, error: WorkerError | None) -> ProbeResult:
    """Return what a probe says about an open incident of this kind; ``error`` is None if the supplier answered.

    If this kind holds windows, a probe passes even if the supplier refuses the account. Without this rule, an outage
    might never end: the outage may lose the answers with new tokens for all probed accounts, and after it the supplier
    refuses their old tokens. A probe says nothing if no call was made, because the account is gone or its consent has
    ended. It also says nothing if the error belongs neither to this kind nor to one in ``HOLDING``.
    """
    if isinstance(error, ConsentEnded | UnknownAccount):
        return ProbeResult.SAYS_NOTHING
    probe_kind = kind_of(error) if error else None
    if error is None or (kind.holds and isinstance(error, AccountError | RequestRefused | SeriesNotOffered)):
        return ProbeResult.PASSED
    return ProbeResult.FAILED if probe_kind is kind or probe_kind in HOLDING else ProbeResult.SAYS_NOTHING


@dataclass(frozen=True, slots=True)
class Incident:
    """An incident, open or past.

    ``failed_calls``: how many calls failed. Of the calls before the incident was opened, only the last call of each
    account is counted.
    ``windows_failed``: how many windows failed during the incident; their failures don't count as attempts.
    ``windows_held``: how many windows ended without a call.
    ``accounts``: the number of affected accounts, exact to about 1 %.
    ``rounds``: the number of rounds of probes so far.
    ``how``: how the incident ended (probes, by_hand, believed, expired); empty while it is open.
    """

    id: str
    slot: str
    kind: IncidentKind
    began_at: datetime
    failed_calls: int = 0
    windows_failed: int = 0
    windows_held: int = 0
    accounts: int = 0
    rounds: int = 0
    ended_at: datetime | None = None
    how: str = ""

    @property
    def series(self) -> list[Series]:
        """The series that the incident concerns: one if the incident holds windows, all for an incident of refusals."""
        return [series for series in Series if series.value == self.slot] or list(Series)

    def expiry_reason(self, now: datetime) -> str:
        """Return how the incident ends (its field ``how``) if it is old enough to end; empty if it may stay open."""
        if self.kind is IncidentKind.BY_HAND:
            return "expired" if now - self.began_at >= BY_HAND_LASTS else ""
        max_duration = self.kind.max_duration
        return "believed" if max_duration is not None and now - self.began_at >= max_duration else ""

    def next_round_at(self, first_wait_s: float) -> datetime:
        """Return when the next round of probes is due: the waits double, up to LONGEST_WAIT times the first."""
        waits = (min(2 ** min(number, 10), LONGEST_WAIT) for number in range(self.rounds + 1))
        return self.began_at + timedelta(seconds=first_wait_s * sum(waits))


def is_believed(kind: IncidentKind, past: Iterable[Incident], now: datetime) -> bool:
    """Return whether an incident of this kind ended so recently that its refusals are still believed.

    ``_BELIEF_LASTS`` has the time for each way of ending.
    """
    return any(
        incident.kind is kind
        and incident.how in _BELIEF_LASTS
        and incident.ended_at is not None
        and now - incident.ended_at < _BELIEF_LASTS[incident.how]
        for incident in past
    )
