"""The audit as doors use it: put together from the house, which accounts it takes, and what it found last."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import chain, islice
from typing import Any, Final, Protocol

from worker.domain.consent.accounts import Account
from worker.domain.measures.messages import Origin
from worker.runtime import Runtime
from worker.stores.redis.progress import SyncState
from worker.sync.audit import Auditor, Tally

_CURSOR: Final = "audit"
_KEPT_S: Final = 7 * 24 * 3600
_START: Final = "23456789abcdefghjkmnpqrstvwxyz"


class Remembering(Protocol):
    @property
    def state(self) -> SyncState: ...


def auditor_of(runtime: Runtime, ask_again: Callable[[Origin], None]) -> Auditor:
    return Auditor(runtime.measures, runtime.corrections, runtime.walk, runtime.dispatcher, ask_again)


def all_accounts(runtime: Runtime, after: str | None = None) -> Iterator[Account]:
    """Active or not, by id; removed ones left out."""
    while page := runtime.registry.page(after):
        yield from page
        after = page[-1].id


def sample_accounts(runtime: Runtime, number: int) -> Iterator[Account]:
    """So many accounts, one after the other from a place drawn by lot; each comes once."""
    start = "".join(secrets.choice(_START) for _ in range(4))
    before = (account for account in all_accounts(runtime) if account.id <= start)
    return islice(chain(all_accounts(runtime, start), before), number)


def keep_tally(runtime: Runtime, tally: Tally) -> None:
    """Kept for a week, for whoever asks how the last audit went."""
    told = {"at": runtime.now().isoformat(timespec="seconds"), **tally.as_json()}
    runtime.state.put_cursor(_CURSOR, json.dumps(told), _KEPT_S)


def last_tally(house: Remembering) -> tuple[datetime, dict[str, Any]] | None:
    """When the last audit was, and what it found; None where none is known."""
    if (text := house.state.get_cursor(_CURSOR)) is None:
        return None
    told = json.loads(text)
    return datetime.fromisoformat(told["at"]), told
