"""Recovery times of a drill: from the end of a fault until its unfinished work and new work are stored.

The claims in Redis (``inflight:*``) are the unfinished work.  A look-back is finished when the series was stored since
the claim; a history, when its next window is claimed or all is loaded.  New work is a look-back of
one account, requested when the fault is over.  A later fault that hits the same work starts the clock again; such a
recovery is called *overlapped*, and its full length is reported too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from redis import Redis

from worker.domain.clock import real_clock
from worker.domain.fleet.lanes import BROKER_PREFIX
from worker.domain.measures.readings import Series
from worker.drill.fleet import DrillFleet
from worker.drill.schedule import FaultKind
from worker.errors import TransientError
from worker.stores.redis.broker import UNACKED
from worker.stores.redis.connection import redis_errors
from worker.sync.claims import HISTORY_LANES

_CLAIMS: Final = "releve:inflight:"
_ASK_AGAIN_S: Final = 5.0  # A fault may lose a request for a look-back.
_SERIES: Final = ("daily", "load_curve")
_MOST_PROBES: Final = 12  # One every 5 s makes a minute.
_WORDS: Final = re.compile(r"\w+", re.ASCII)

# Lane and member, then the moment of the claim in µs: ("nightly:k9x4w:daily", "1721890000123456").
Claim = tuple[str, str]


@dataclass
class Recovery:
    """Recovery from one fault; moments are seconds since the drill's start.

    ``pending``: claims that the fault left unfinished.  ``stale_accounts``: accounts that must be brought up to date
    after Redis was emptied.  ``probed``: new work is stored.  ``last_finished``: what finished last.
    """

    kind: FaultKind
    ended_s: float
    noticed_s: float
    noticed_at: datetime  # The same moment by the time that the drill pretends.
    pending: set[Claim] = field(default_factory=set)
    stale_accounts: set[str] = field(default_factory=set)
    counted_from_s: float = 0.0
    overlapped: bool = False
    probed: bool = False
    done_s: float | None = None
    last_finished: str = ""

    @property
    def took_s(self) -> float:
        """Seconds since the end of the last fault that hit the same work."""
        return 0.0 if self.done_s is None else self.done_s - self.counted_from_s

    def as_json(self) -> dict[str, Any]:
        """Return the recovery as an entry of the drill's report."""
        done = self.done_s
        return {
            "kind": self.kind.name.lower(),
            "overlapped": self.overlapped,
            "last": self.last_finished,
            "seconds": None if done is None else round(self.took_s, 1),
            "seconds_in_all": None if done is None else round(done - self.ended_s, 1),
        }


class RecoveryTracker:
    """Recoveries from all faults of a drill; ``clock`` returns the seconds since its start."""

    def __init__(self, redis: Redis, work: DrillFleet, clock: Callable[[], float]) -> None:
        self._redis, self._work, self._clock = redis, work, clock
        self.recoveries: list[Recovery] = []
        self._open: list[Recovery] = []
        self._probes: dict[datetime, float] = {}  # Moment of the request by the drill's clock, by the pretended time.

    def record_kill(self, kind: FaultKind, pid: int, at_s: float) -> None:
        """Begin the recovery from a killed worker: from the work of its messages, and of messages that are gone."""
        claims = self._read_claims()
        worker_words, all_words = self._read_message_words(pid)
        accounts = {claim: _account(claim[0]) for claim in claims.items()}
        affected = {claim for claim, account in accounts.items() if account in worker_words or account not in all_words}
        self._restart_clocks(affected)
        self._begin(kind, affected, at_s)

    def record_emptied_redis(self, kind: FaultKind, accounts: Iterable[str]) -> None:
        """Begin the recovery from an empty Redis: every account must be brought up to date again."""
        self._restart_clocks(None)
        self._begin(kind, set()).stale_accounts = set(accounts)

    def record_ongoing_fault(self) -> None:
        """Restart the clock of every open recovery, since a fault that affects everything goes on."""
        self._restart_clocks(None)

    def record_fault_end(self, kind: FaultKind) -> None:
        """Begin the recovery from a fault that is over and affected all work in flight."""
        self._restart_clocks(None)
        self._begin(kind, set(self._read_claims().items()))

    def record_harmless_end(self, kind: FaultKind) -> None:
        """Begin the recovery from a fault that left no work unfinished: only new work must be stored."""
        self._begin(kind, set())

    def _begin(self, kind: FaultKind, pending: set[Claim], at_s: float | None = None) -> Recovery:
        noticed_s = self._clock()
        ended_s = noticed_s if at_s is None else at_s
        recovery = Recovery(kind, ended_s, noticed_s, self._work.now(), pending, counted_from_s=ended_s)
        self.recoveries.append(recovery)
        self._open.append(recovery)
        return recovery

    def _restart_clocks(self, claims: set[Claim] | None) -> None:
        """Restart the clock of the recoveries that wait for one of these claims; None stands for all."""
        keys = {key for key, _ in claims or ()}
        probed = any(f"nightly:{self._work.probe_account}:{series}" in keys for series in _SERIES if self._probes)
        for recovery in self._open:
            if claims is None or recovery.pending & claims or (probed and not recovery.probed):
                recovery.counted_from_s, recovery.overlapped = self._clock(), True

    @property
    def all_recovered(self) -> bool:
        """Whether no recovery is open."""
        return not self._open

    def tick(self) -> list[Recovery]:
        """Check every open recovery and return those that have finished.  Raises StoreUnavailable."""
        if not self._open:
            return []
        claims = self._read_claims()
        self._probe()
        ended = []
        for recovery in list(self._open):
            self._update(recovery, claims)
            if recovery.probed and not recovery.pending and not recovery.stale_accounts:
                recovery.done_s = self._clock()
                self._open.remove(recovery)
                ended.append(recovery)
        return ended

    def _update(self, recovery: Recovery, claims: dict[str, str]) -> None:
        if finished := {claim for claim in recovery.pending if self._is_finished(claim, claims)}:
            recovery.pending -= finished
            recovery.last_finished = min(finished)[0].partition(":")[2]
        if current := {
            account for account in recovery.stale_accounts if self._is_up_to_date(account, recovery.noticed_at)
        }:
            recovery.stale_accounts -= current
            recovery.last_finished = "all accounts"

    def describe_pending(self) -> list[str]:
        """Return a line on each open recovery, which explains why a drill does not end."""
        return [
            f"{recovery.kind}: {sorted(recovery.pending)} {sorted(recovery.stale_accounts)} {recovery.probed}"
            for recovery in self._open
        ]

    def _probe(self) -> None:
        """Request and check new work: one look-back serves all faults that were over when it was requested."""
        for requested_at, requested_s in list(self._probes.items()):
            if self._work.is_stored_since(self._work.probe_account, requested_at):
                del self._probes[requested_at]
                for recovery in self._open:
                    if not recovery.probed and recovery.noticed_s <= requested_s:
                        recovery.probed, recovery.last_finished = True, "new work"
        newest_s = max(self._probes.values(), default=-1e9)
        waiting = [recovery for recovery in self._open if not recovery.probed]
        not_requested = any(recovery.noticed_s > newest_s for recovery in waiting)
        if not_requested or (waiting and self._clock() - newest_s > _ASK_AGAIN_S):
            requested_at = self._work.now()
            self._work.request_look_back(self._work.probe_account, "drill")
            self._probes[requested_at] = self._clock()
            while len(self._probes) > _MOST_PROBES:
                del self._probes[next(iter(self._probes))]

    @redis_errors()
    def _is_finished(self, claim: Claim, claims: dict[str, str]) -> bool:
        lane, account_id, series = claim[0].split(":", 2)
        if claim[0] in claims and claims[claim[0]] == claim[1]:
            return False
        if lane in HISTORY_LANES.values():
            return claim[0] in claims or self._work.is_history_loaded(account_id)
        ahead = self._work.now() - real_clock()
        claimed_at = datetime.fromtimestamp(int(claim[1]) / 1e6, UTC) + ahead
        stored_at = self._work.last_successes(account_id)[Series(series)]
        return stored_at is not None and stored_at >= claimed_at

    def _is_up_to_date(self, account_id: str, moment: datetime) -> bool:
        return self._work.is_stored_since(account_id, moment)

    @redis_errors()
    def _read_claims(self) -> dict[str, str]:
        claims: dict[str, str] = {}
        for key in self._redis.scan_iter(match=f"{_CLAIMS}*", count=1000):
            rows: Any = self._redis.zrange(key, 0, -1, withscores=True)
            lane = str(key).removeprefix(_CLAIMS)
            claims |= {f"{lane}:{member}": f"{score:.0f}" for member, score in rows}
        return claims

    @redis_errors()
    def _read_message_words(self, pid: int) -> tuple[set[str], set[str]]:
        """Return the words in the arguments of the worker's unacknowledged messages, and of all messages.

        Celery writes the arguments as one text (``argsrepr``), so an account id is looked for among its words.
        """
        start = f"{BROKER_PREFIX}{UNACKED}:"
        worker_words: set[str] = set()
        all_words: set[str] = set()
        for key in self._redis.scan_iter(match=f"{start}*", count=1000):
            words = {word for raw in self._redis.hvals(key) for word in _argument_words(json.loads(raw)[0])}
            all_words |= words
            if f"-{pid}-" in str(key):
                worker_words |= words
        for key in self._redis.scan_iter(match=f"{BROKER_PREFIX}*", _type="list"):
            all_words |= {word for raw in self._redis.lrange(key, 0, -1) for word in _argument_words(json.loads(raw))}
        return worker_words, all_words


def _argument_words(message: Any) -> list[str]:
    return _WORDS.findall(str(message.get("headers", {}).get("argsrepr", "")))


def _account(key: str) -> str:
    return key.split(":")[1]


def run_unless_unavailable(work: Callable[[], Any]) -> bool:
    """Do the work and return True; return False while a server or the supplier is away."""
    try:
        work()
    except TransientError:
        return False
    return True
