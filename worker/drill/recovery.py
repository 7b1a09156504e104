"""Recovery times of a drill: from the end of a fault until the accounts that it left unfinished are stored again.

Unfinished are the accounts with a claim in Redis whose message the fault hit; new work is a look-back of one account,
asked for when the fault is over. A history that was in flight must have gone on too. A later fault that hits the same
accounts starts the clock again; such a recovery is called *overlapped*, and its full length is reported too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from redis import Redis

from worker.domain.fleet.lanes import BROKER_PREFIX
from worker.drill.fleet import DrillFleet
from worker.drill.schedule import KILLS, FaultKind
from worker.stores.redis.broker import UNACKED
from worker.stores.redis.connection import redis_errors
from worker.sync.claims import HISTORY_LANES, LANES

_ASK_AGAIN: Final = timedelta(seconds=5)  # A fault may lose a request for a look-back.
_NO_HISTORY: Final = -1


@dataclass
class Recovery:
    """Recovery from one fault; moments are seconds since the drill's start.

    ``pending``: accounts to be stored since ``noticed_at``, the time that the drill pretended then; for each the days
    of its history that were done, or -1 where none was in flight.
    """

    kind: FaultKind
    ended_s: float
    noticed_at: datetime
    pending: dict[str, int]
    counted_from_s: float
    overlapped: bool = False
    done_s: float | None = None

    @property
    def took_s(self) -> float | None:
        """Seconds since the end of the last fault that hit the same accounts; None while not recovered."""
        return None if self.done_s is None else round(self.done_s - self.counted_from_s, 1)

    @property
    def took_in_all_s(self) -> float | None:
        """Seconds since the end of the fault itself; None while not recovered."""
        return None if self.done_s is None else round(self.done_s - self.ended_s, 1)


class RecoveryTracker:
    """Recoveries from all faults of a drill; ``clock`` returns the seconds since its start."""

    def __init__(self, redis: Redis, fleet: DrillFleet, clock: Callable[[], float]) -> None:
        self._redis, self._fleet, self._clock = redis, fleet, clock
        self.recoveries: list[Recovery] = []
        self._requested_at: datetime | None = None  # The moment of the last request for new work.

    @property
    def open(self) -> list[Recovery]:
        """Recoveries that are not over."""
        return [recovery for recovery in self.recoveries if recovery.done_s is None]

    def begin(self, kind: FaultKind, pid: int, at_s: float) -> None:
        """Begin the recovery from a fault that ended at ``at_s``; a kill has a ``pid``.  Raises StoreUnavailable."""
        histories: Collection[str] = ()
        if kind is FaultKind.REDIS_EMPTIED:
            affected = {home.account_id for home in self._fleet.homes}
        elif kind is FaultKind.KILL_BEAT:
            affected = set()
        else:
            affected = self._fleet.accounts_in_flight(LANES)
            histories = self._fleet.accounts_in_flight(HISTORY_LANES.values())
            if kind in KILLS:
                affected = self._lost_with(pid, affected)
        self._restart_clocks(affected)
        pending = {
            account: self._fleet.count_history_days(account)[0] if account in histories else _NO_HISTORY
            for account in affected
        }
        pending.setdefault(self._fleet.probe_account, _NO_HISTORY)
        self.recoveries.append(Recovery(kind, at_s, self._fleet.now(), pending, at_s))

    def restart_all_clocks(self) -> None:
        """Restart the clock of every open recovery, since a fault that affects everything goes on."""
        self._restart_clocks(None)

    def _restart_clocks(self, accounts: set[str] | None) -> None:
        """Restart the clock of the recoveries that wait for one of these accounts; None stands for all."""
        for recovery in self.open:
            if accounts is None or recovery.pending.keys() & accounts:
                recovery.counted_from_s, recovery.overlapped = self._clock(), True

    def tick(self) -> None:
        """Check every open recovery and end those that are over.  Raises StoreUnavailable."""
        self._request_new_work()
        for recovery in self.open:
            for account in sorted(recovery.pending):
                if self._is_stored(account, recovery):
                    del recovery.pending[account]
            if not recovery.pending:
                recovery.done_s = self._clock()

    def _is_stored(self, account: str, recovery: Recovery) -> bool:
        if not self._fleet.is_stored_since(account, recovery.noticed_at):
            return False
        if (days_before := recovery.pending[account]) == _NO_HISTORY:
            return True
        return self._fleet.count_history_days(account)[0] > days_before or self._fleet.is_loaded(account)

    def _request_new_work(self) -> None:
        """Request a look-back: one serves all faults that were over when it was requested."""
        waiting = [recovery for recovery in self.open if self._fleet.probe_account in recovery.pending]
        last, now = self._requested_at, self._fleet.now()
        if waiting and (last is None or now - last > _ASK_AGAIN or any(last < item.noticed_at for item in waiting)):
            self._fleet.request_look_backs([self._fleet.probe_account])
            self._requested_at = now

    @redis_errors()
    def _lost_with(self, pid: int, accounts: set[str]) -> set[str]:
        """Return those accounts that the killed worker's messages name, or no message at all.

        Celery writes the arguments as one text (``argsrepr``), so an account id is looked for in the whole message.
        """
        unacked = {
            str(key): " ".join(map(str, self._redis.hvals(key)))
            for key in self._redis.scan_iter(f"{BROKER_PREFIX}{UNACKED}:*", count=1000)
        }
        queues = self._redis.scan_iter(f"{BROKER_PREFIX}*", _type="list")
        waiting = [str(raw) for key in queues for raw in self._redis.lrange(key, 0, -1)]
        of_worker = " ".join(text for key, text in unacked.items() if f"-{pid}-" in key)
        of_all = " ".join([*unacked.values(), *waiting])
        return {account for account in accounts if account in of_worker or account not in of_all}
