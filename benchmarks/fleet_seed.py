"""A fleet for benchmarks: rows of the registry and progress in Redis, written without consents and calls."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, time
from itertools import islice
from typing import Any, Final

from redis import Redis
from sqlalchemy import insert

from worker.domain.fleet.outcomes import AnswerClass, Call
from worker.domain.fleet.policy import look_back
from worker.domain.measures.messages import NIGHTLY
from worker.domain.measures.readings import Series
from worker.domain.measures.windows import plan_history
from worker.runtime.process import Runtime
from worker.stores.registry.tables import ACCOUNTS, USAGE_POINTS

_LETTERS: Final = "abcdefghjkmnpqrstvwxyz"
_BATCH: Final = 5_000
CURVE_DAYS: Final = 28
_ASKED_AT: Final = time(6, 30)  # UTC


def account_ids(count: int) -> Iterator[str]:
    """Yield ids of the form that the registry gives; they are the same each time."""
    random_source = random.Random(6)
    known: set[str] = set()
    while len(known) < count:
        account_id = random_source.choice(_LETTERS) + "".join(random_source.choices("0123456789" + _LETTERS, k=11))
        if account_id not in known:
            known.add(account_id)
            yield account_id


def add_accounts(runtime: Runtime, ids: Iterable[str], at: datetime, first_meter: int = 0) -> None:
    """Add accounts in state ready, each with a meter; ``first_meter`` is the number of the first meter."""
    ids, number = iter(ids), first_meter
    ready = {"supplier": "enedis", "state": "ready", "reason": "", "created_at": at, "state_since": at}
    while page := list(islice(ids, _BATCH)):
        with runtime.registry.database.writing() as connection:
            connection.execute(insert(ACCOUNTS), [{"id": account_id, **ready} for account_id in page])
            meters = [
                {"account_id": account_id, "usage_point_id": f"{number + n:014d}"} for n, account_id in enumerate(page)
            ]
            values = {"supplier": "enedis", "direction": "consumption"}
            connection.execute(insert(USAGE_POINTS), [{**values, **meter} for meter in meters])
        number += len(page)


def record_history(
    runtime: Runtime, ids: Iterable[str], today: date, last_night: Callable[[str, Series], date]
) -> None:
    """Record for every account that its history is loaded and its last night done, by the real scripts."""
    ids = iter(ids)
    histories = {series: plan_history(today, series, CURVE_DAYS) for series in Series}
    while page := list(islice(ids, _BATCH)):
        with runtime.progress.batch() as batch:
            for account_id in page:
                for series, window in histories.items():
                    assert window is not None
                    night = last_night(account_id, series)
                    at = datetime.combine(night, _ASKED_AT, UTC)
                    batch.replace_done(account_id, series, [window])
                    call = Call(at, look_back(night, series), AnswerClass.DATA, NIGHTLY)
                    batch.record_night(account_id, series, night, call)


def used_memory(redis: Redis) -> int:
    memory: Any = redis.info("memory")
    return int(memory["used_memory"])


def megabytes(count: int) -> float:
    return round(count / 1e6, 1)
