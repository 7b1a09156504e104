"""When the same failure on many accounts is the supplier's and not theirs, and when that is over.

Pure.  Two families: of the first the supplier serves nobody, so nobody is asked (it *holds*); of the second it refuses
some and serves others, so asking goes on and only the refusals aren't believed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Protocol

from worker.domain.measures.messages import WindowJob
from worker.domain.measures.readings import Series
from worker.errors import (
    AccountError,
    ConsentNotThere,
    ConsentRevoked,
    HolderChanged,
    LoginFailed,
    MalformedAnswer,
    OperatorFault,
    RefreshAnswerLost,
    RequestRefused,
    SupplierUnavailable,
    UnknownUsagePoint,
    WorkerError,
)

PROBE: Final = "account/probe"  # the claim that a canary's window carries: it is let through
CANARIES: Final = 3
LEAST_SHARE_OF_REFUSALS: Final = 0.2  # of the accounts tried
LONGEST_WAIT: Final = 15  # first waits
MOST_RELAPSES: Final = 3  # within an hour; then it isn't one, or not one that waiting helps


class IncidentKind(StrEnum):
    OUTAGE = "outage"  # faults of the supplier's own, time-outs, HTML
    APPLICATION = "application"  # our credentials, our token or our subscription are refused
    ANSWERS = "answers"  # what comes can't be read or used
    CONSENT = "consent"
    HOLDER = "holder"
    METER = "meter"
    LOGIN = "login"
    BY_HAND = "by_hand"  # the operator knows more than we do

    @property
    def holds(self) -> bool:
        """Whether nobody is asked while it lasts, and no failure counts."""
        return self not in _PATIENCE

    @property
    def patience(self) -> timedelta | None:
        """How long refusals aren't believed against all probes; None for what needs no belief."""
        return _PATIENCE.get(self)


# Wrong refusals lasted days (consents), or weeks (holders: upstream-apis, 1.9).  Consents that were all given on one
# day end on one day too, so disbelief must end.
_PATIENCE: Final = {
    IncidentKind.CONSENT: timedelta(days=3),
    IncidentKind.HOLDER: timedelta(days=45),
    IncidentKind.METER: timedelta(days=3),
    IncidentKind.LOGIN: timedelta(days=3),
}
HOLDING: Final = (IncidentKind.OUTAGE, IncidentKind.APPLICATION, IncidentKind.ANSWERS)
REFUSALS: Final = tuple(_PATIENCE)
BY_HAND_LASTS: Final = timedelta(hours=24)  # a forgotten one must not stop the house for good

_OF_ERRORS: Final[tuple[tuple[type[WorkerError], IncidentKind | None], ...]] = (  # the first that fits
    (ConsentNotThere, None),  # one account's, minutes after its consent
    (RefreshAnswerLost, None),  # really lost: nothing but a new consent helps
    (SupplierUnavailable, IncidentKind.OUTAGE),
    (OperatorFault, IncidentKind.APPLICATION),
    (MalformedAnswer, IncidentKind.ANSWERS),
    (ConsentRevoked, IncidentKind.CONSENT),
    (HolderChanged, IncidentKind.HOLDER),
    (UnknownUsagePoint, IncidentKind.METER),
    (LoginFailed, IncidentKind.LOGIN),
)
# An incident of the first family concerns a series, for suppliers lose one and keep the other; one of the second all.
SLOTS: Final = (*(series.value for series in Series), *(kind.value for kind in REFUSALS))


def kind_of(error: WorkerError) -> IncidentKind | None:
    """What many such failures would be; None for what tells nothing of the supplier (our stores, the quota, bugs)."""
    return next((kind for errors, kind in _OF_ERRORS if isinstance(error, errors)), None)


def slot_of(kind: IncidentKind, series: Series) -> str:
    """Where such an incident stands: one at a time in each."""
    return series.value if kind.holds else kind.value


@dataclass(frozen=True, slots=True)
class Thresholds:
    """``accounts`` 0: nothing is ever an incident."""

    accounts: int = 5
    share: float = 0.8  # of the accounts asked lately
    minutes: float = 10.0


@dataclass(frozen=True, slots=True)
class FailureCount:
    """Distinct accounts by how each was answered last: alike, and at all."""

    failed: int
    tried: int


def is_incident(kind: IncidentKind, burst: FailureCount, limits: Thresholds) -> bool:
    """Whether so many fail alike that it can't be their own affair."""
    share = limits.share if kind.holds else LEAST_SHARE_OF_REFUSALS
    return 0 < limits.accounts <= burst.failed and burst.failed >= share * max(burst.tried, burst.failed)


def probe_wait_s(rounds: int, first_s: float) -> float:
    """Before the probe that follows ``rounds`` others in vain: doubled each time, fifteen first waits at most."""
    return first_s * min(2.0 ** min(rounds, 10), LONGEST_WAIT)


class ProbeResult(StrEnum):
    """What came of asking for one account while an incident is open."""

    PASSED = "passed"
    FAILED = "failed"
    SAYS_NOTHING = "says_nothing"


def judge_canary(kind: IncidentKind, error: WorkerError | None) -> ProbeResult:
    """``error`` None is an answer.  A refusal is one too, of a supplier that was thought to serve nobody.

    So is that of a refresh token whose answer was lost: during an outage many are, and if it said nothing, with all
    of them lost the outage would never be over.
    """
    found = kind_of(error) if error else None
    if error is None or (kind.holds and isinstance(error, AccountError | RequestRefused)):
        return ProbeResult.PASSED
    return ProbeResult.FAILED if found is kind or found in HOLDING else ProbeResult.SAYS_NOTHING


@dataclass(frozen=True, slots=True)
class Incident:
    """``failed_calls``: asked in vain, before it was known to be one too; ``rounds``: of canaries.

    ``windows_failed``: given up meanwhile, and not held against them; ``windows_held``: ended without a call.
    ``accounts``: those it touched, counted to about 1 %.
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
    relapses: int = 0  # how often the like had ended within the hour before
    ended_at: datetime | None = None
    how: str = ""  # it ended: probes, by_hand, believed, expired

    @property
    def series(self) -> list[Series]:
        """Which it concerns."""
        return [series for series in Series if series.value == self.slot] or list(Series)

    def overdue(self, now: datetime) -> str:
        """How it ends for its age alone; empty where it doesn't."""
        if self.kind is IncidentKind.BY_HAND:
            return "expired" if now - self.began_at >= BY_HAND_LASTS else ""
        patience = self.kind.patience
        return "believed" if patience is not None and now - self.began_at >= patience else ""


def to_json(incident: Incident) -> Mapping[str, object]:
    """As `releve incidents --json` prints it."""
    return {
        "id": incident.id,
        "kind": incident.kind.value,
        "series": [series.value for series in incident.series],
        "open": incident.ended_at is None,
        "began_at": incident.began_at.isoformat(timespec="seconds"),
        "ended_at": incident.ended_at.isoformat(timespec="seconds") if incident.ended_at else None,
        "how": incident.how or None,
        "failed_calls": incident.failed_calls,
        "windows_failed": incident.windows_failed,
        "windows_held": incident.windows_held,
        "accounts": incident.accounts,
        "rounds": incident.rounds,
    }


# Who tells the walk, the journal and the desk whether a failure is an incident's; the one that never does.


class IncidentGate(Protocol):
    """Who sees how the supplier treats each account, and says what not to hold against whom."""

    def admit(self, origin: WindowJob) -> None:
        """Raises Held where nobody shall be asked now."""
        ...

    def failed(self, origin: WindowJob, error: WorkerError) -> None: ...

    def answered(self, origin: WindowJob, *, usable: bool) -> None: ...

    def spares(self, series: Series | None, error: WorkerError) -> IncidentKind | None:
        """The open incident that a failure belongs to and not to its account; ``series`` None for either."""
        ...

    def is_held(self, series: Series) -> bool: ...

    def may_open(self, kind: IncidentKind) -> bool: ...

    def open_refusals(self, kind: IncidentKind, burst: FailureCount) -> bool:
        """Whether so many refusals are an incident, open from now on."""
        ...


class NoIncidents:
    """Nothing is ever an incident."""

    def admit(self, origin: WindowJob) -> None:
        """Whoever comes is let through."""

    def failed(self, origin: WindowJob, error: WorkerError) -> None:
        """Nobody counts."""

    def answered(self, origin: WindowJob, *, usable: bool) -> None:
        """Nobody counts."""

    def spares(self, series: Series | None, error: WorkerError) -> IncidentKind | None:
        return None

    def is_held(self, series: Series) -> bool:
        return False

    def may_open(self, kind: IncidentKind) -> bool:
        return False

    def open_refusals(self, kind: IncidentKind, burst: FailureCount) -> bool:
        return False


NO_INCIDENTS: Final = NoIncidents()
