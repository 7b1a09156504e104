"""How long after a fault's end it takes until what it left undone is done, and new work is too.

What was in hand is told by the claims in Redis (``inflight:*``).  A look-back is done when that run, or one begun
later, has stored the same days; a history, when its next window is published or all is loaded.  New work is a
look-back of one account, asked for when the fault is over.  A later fault that hits what an earlier one left undone
sets its clock anew, for the recovery of either begins with the later's end; such a recovery is called *overlapped*,
and its whole length is told beside.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from redis import Redis

from worker.domain.fleet.lanes import BROKER_PREFIX
from worker.drill.schedule import FaultKind
from worker.errors import TransientError
from worker.stores.redis.broker import UNACKED
from worker.stores.redis.connection import redis_errors

_CLAIMS: Final = "releve:inflight:"
_ASK_AGAIN_S: Final = 5.0  # as a person does who sees nothing come
_SERIES: Final = ("daily", "load_curve")
_PROBES_KEPT: Final = 12  # a minute's
_WORDS: Final = re.compile(r"\w+", re.ASCII)

Claim = tuple[str, str]  # key below the prefix, note: who holds it since when


class PendingWork(Protocol):
    """The part of the fleet that is asked."""

    @property
    def probe(self) -> str: ...

    def look_back(self, account_id: str, run: str) -> None: ...

    def has_run(self, account_id: str, run: str) -> bool:
        """Whether the look-back of that name is stored."""
        ...

    def loaded(self, account_id: str) -> bool: ...


@dataclass
class Recovery:
    """One fault.  Moments are seconds of the drill."""

    kind: FaultKind
    ended_s: float
    noticed_s: float
    pending: set[Claim] = field(default_factory=set)
    everybody: set[str] = field(default_factory=set)  # accounts that must have been brought up to date since
    from_s: float = 0.0
    overlapped: bool = False
    probed: bool = False
    done_s: float | None = None
    last: str = ""  # what was waited for longest

    @property
    def took_s(self) -> float:
        """Since the last fault that hit it was over."""
        return 0.0 if self.done_s is None else self.done_s - self.from_s

    def as_json(self) -> dict[str, Any]:
        done = self.done_s
        return {
            "kind": self.kind.name.lower(),
            "overlapped": self.overlapped,
            "last": self.last,
            "seconds": None if done is None else round(self.took_s, 1),
            "seconds_in_all": None if done is None else round(done - self.ended_s, 1),
        }


class FaultWatch:
    """Keeps a Recovery for each fault; ``clock`` gives seconds of the drill."""

    def __init__(self, redis: Redis, work: PendingWork, clock: Callable[[], float]) -> None:
        self._redis, self._work, self._clock = redis, work, clock
        self.recoveries: list[Recovery] = []
        self._open: list[Recovery] = []
        self._probes: dict[str, float] = {}  # look-backs under way, by name: when they were asked for
        self._asked = 0

    # -- what is told to it

    def killed(self, kind: FaultKind, pid: int, at_s: float) -> None:
        """A worker's process is gone; what it held is left undone, and what no message names any more."""
        claims = self._claims_now()
        held, named = self._words(pid)
        hit = {claim for claim in claims.items() if _account(claim[0]) in held or _account(claim[0]) not in named}
        self._hit(hit)
        self._begin(kind, hit, at_s)

    def emptied(self, kind: FaultKind, accounts: Iterable[str]) -> None:
        """Redis knows nothing any more: until every account was brought up to date again."""
        self._hit(None)
        self._begin(kind, set()).everybody = set(accounts)

    def storming(self) -> None:
        """A fault that touches everything is going on."""
        self._hit(None)

    def calm(self, kind: FaultKind) -> None:
        """It is over: everything in hand was touched by it."""
        self._hit(None)
        self._begin(kind, set(self._claims_now().items()))

    def over(self, kind: FaultKind) -> None:
        """A fault that left nothing undone: new work alone is waited for."""
        self._begin(kind, set())

    def _begin(self, kind: FaultKind, pending: set[Claim], at_s: float | None = None) -> Recovery:
        noticed_s = self._clock()
        ended_s = noticed_s if at_s is None else at_s
        recovery = Recovery(kind, ended_s, noticed_s, pending, from_s=ended_s)
        self.recoveries.append(recovery)
        self._open.append(recovery)
        return recovery

    def _hit(self, claims: set[Claim] | None) -> None:
        """What these recoveries wait for was hit again; None: all of it."""
        keys = {key for key, _ in claims or ()}
        probed = any(f"{self._work.probe}:{series}:{run}" in keys for run in self._probes for series in _SERIES)
        for recovery in self._open:
            if claims is None or recovery.pending & claims or (probed and not recovery.probed):
                recovery.from_s, recovery.overlapped = self._clock(), True

    # -- what it finds out

    @property
    def quiet(self) -> bool:
        """Whether all are done."""
        return not self._open

    def tend(self) -> list[Recovery]:
        """Look how far each is; those that came to their end now.  Raises StoreUnavailable."""
        if not self._open:
            return []
        claims = self._claims_now()
        self._probe()
        ended = []
        for recovery in list(self._open):
            self._look_at(recovery, claims)
            if recovery.probed and not recovery.pending and not recovery.everybody:
                recovery.done_s = self._clock()
                self._open.remove(recovery)
                ended.append(recovery)
        return ended

    def _look_at(self, recovery: Recovery, claims: dict[str, str]) -> None:
        if over := {claim for claim in recovery.pending if self._is_over(claim, claims)}:
            recovery.pending -= over
            recovery.last = min(over)[0].partition(":")[2]
        if fresh := {account for account in recovery.everybody if self._is_fresh(account)}:
            recovery.everybody -= fresh
            recovery.last = "all accounts"

    def waiting(self) -> list[str]:
        """What is waited for, for whoever looks into a drill that does not end."""
        return [f"{each.kind}: {sorted(each.pending)} {sorted(each.everybody)} {each.probed}" for each in self._open]

    def _probe(self) -> None:
        """New work, for whoever waits for some: one look-back serves all faults that were over before it was asked."""
        for run, asked_s in list(self._probes.items()):
            if self._work.has_run(self._work.probe, run):
                del self._probes[run]
                for recovery in self._open:
                    if not recovery.probed and recovery.noticed_s <= asked_s:
                        recovery.probed, recovery.last = True, "new work"
        newest_s = max(self._probes.values(), default=-1e9)
        waiting = [each for each in self._open if not each.probed]
        if any(each.noticed_s > newest_s for each in waiting) or (waiting and self._clock() - newest_s > _ASK_AGAIN_S):
            self._asked += 1
            run = f"drill-{self._asked}"
            self._work.look_back(self._work.probe, run)
            self._probes[run] = self._clock()
            while len(self._probes) > _PROBES_KEPT:
                del self._probes[next(iter(self._probes))]

    @redis_errors()
    def _is_over(self, claim: Claim, claims: dict[str, str]) -> bool:
        account_id, series, _ = claim[0].split(":", 2)
        if series == "account":
            return claims.get(claim[0], claim[1]) != claim[1] or self._work.loaded(account_id)
        state, run_id = self._redis.hmget(f"releve:task:{account_id}:{series}", ["state", "run_id"])
        holder = claim[1].rpartition(" ")[2]
        return state == "ok" and str(run_id) >= holder

    @redis_errors()
    def _is_fresh(self, account_id: str) -> bool:
        keys = [f"releve:task:{account_id}:{series}" for series in _SERIES]
        return all(self._redis.hget(key, "last_success") for key in keys)

    @redis_errors()
    def _claims_now(self) -> dict[str, str]:
        keys = [str(key) for key in self._redis.scan_iter(match=f"{_CLAIMS}*", count=1000)]
        notes: list[Any] = self._redis.mget(keys) if keys else []
        return {key.removeprefix(_CLAIMS): str(note) for key, note in zip(keys, notes, strict=True) if note}

    @redis_errors()
    def _words(self, pid: int) -> tuple[set[str], set[str]]:
        """Words of the messages that the worker with this process id held, and of all there are."""
        start = f"{BROKER_PREFIX}{UNACKED}:"
        held: set[str] = set()
        named: set[str] = set()
        for key in self._redis.scan_iter(match=f"{start}*", count=1000):
            words = {word for raw in self._redis.hvals(key) for word in _words_of(json.loads(raw)[0])}
            named |= words
            if f"-{pid}-" in str(key):
                held |= words
        for key in self._redis.scan_iter(match=f"{BROKER_PREFIX}*", _type="list"):
            named |= {word for raw in self._redis.lrange(key, 0, -1) for word in _words_of(json.loads(raw))}
        return held, named


def _words_of(message: Any) -> list[str]:
    return _WORDS.findall(str(message.get("headers", {}).get("argsrepr", "")))


def _account(key: str) -> str:
    return key.partition(":")[0]


def patiently(work: Callable[[], Any]) -> bool:
    """Whether it could be done; False while the servers or the supplier are away."""
    try:
        work()
    except TransientError:
        return False
    return True
