"""A registry for tests: its key, its meters and what is done to it again and again."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from worker.domain.measures.readings import PARIS, Series
from worker.stores.encryption import Sealer, new_key
from worker.stores.registry.accounts import AccountRegistry

KEY = new_key()
METER, OTHER_METER = "30001640000011", "30001640000022"
NOW = datetime(2024, 7, 25, 9, 0, tzinfo=PARIS)
LATER = NOW + timedelta(hours=1)


def prepare_registry(folder: Path) -> None:
    """An empty registry in ``folder``, where Relève looks for it; its migrations ran once for all tests."""
    file = folder / "registry.db"
    file.touch(mode=0o600)
    file.write_bytes(_empty_registry())


@cache
def _empty_registry() -> bytes:
    with TemporaryDirectory() as folder:
        registry = opened(f"sqlite:///{folder}/registry.db")
        registry.migrate()
        registry.close()
        return Path(folder, "registry.db").read_bytes()


def opened(url: str, *keys: str) -> AccountRegistry:
    return AccountRegistry(url, Sealer(keys or [KEY]))


def add_ready(registry: AccountRegistry, usage_point_id: str = METER) -> str:
    account, created = registry.add("enedis", usage_point_id, NOW, token_needed=False)
    assert created
    return account.id


def record(registry: AccountRegistry, account_id: str, run_id: str, **changes: Any) -> None:
    outcome: dict[str, Any] = {"code": None, "message": "", "last_day": None, "stored": False, **changes}
    series, now = outcome.pop("series", Series.DAILY), outcome.pop("now", NOW)
    registry.record_outcome(account_id, series, run_id, now, **outcome)


def chain_of(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
