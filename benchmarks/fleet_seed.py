"""A fleet as rows of a registry and notes in Redis, made without the way through consents and calls: for benchmarks."""

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
    """Of the form that the registry gives; the same each time."""
    luck = random.Random(6)
    seen: set[str] = set()
    while len(seen) < count:
        made = luck.choice(_LETTERS) + "".join(luck.choices("0123456789" + _LETTERS, k=11))
        if made not in seen:
            seen.add(made)
            yield made


def add_accounts(runtime: Runtime, ids: Iterable[str], at: datetime, first_meter: int = 0) -> None:
    """Ready to be asked for, each with a meter; ``first_meter`` is the number of the first of them."""
    ids, number = iter(ids), first_meter
    ready = {"supplier": "enedis", "state": "ready", "reason": "", "created_at": at, "state_since": at}
    while page := list(islice(ids, _BATCH)):
        with runtime.registry.database.writing() as connection:
            connection.execute(insert(ACCOUNTS), [{"id": each, **ready} for each in page])
            meters = [{"account_id": each, "usage_point_id": f"{number + n:014d}"} for n, each in enumerate(page)]
            values = {"supplier": "enedis", "direction": "consumption"}
            connection.execute(insert(USAGE_POINTS), [{**values, **meter} for meter in meters])
        number += len(page)


def remember(runtime: Runtime, ids: Iterable[str], today: date, last_night: Callable[[str, Series], date]) -> None:
    """The whole history done and a night over, of every account, by the scripts that note it."""
    ids = iter(ids)
    wanted = {series: plan_history(today, series, CURVE_DAYS) for series in Series}
    while page := list(islice(ids, _BATCH)):
        with runtime.state.together() as notes:
            for each in page:
                for series, window in wanted.items():
                    assert window is not None
                    night = last_night(each, series)
                    at = datetime.combine(night, _ASKED_AT, UTC)
                    notes.replace_done(each, series, [window])
                    notes.note_night(each, series, night, Call(at, look_back(night, series), AnswerClass.DATA, NIGHTLY))


def used_memory(redis: Redis) -> int:
    told: Any = redis.info("memory")
    return int(told["used_memory"])


def megabytes(count: int) -> float:
    return round(count / 1e6, 1)
