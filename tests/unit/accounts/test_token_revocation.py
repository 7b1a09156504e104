"""Tokens without accounts are revoked at the supplier: once, again after a failure, and not for ever."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.registries import NOW, new_registry
from worker.accounts.token_upkeep import revoke_tokens
from worker.errors import OperatorFault, RateLimited, SupplierUnavailable, WorkerError
from worker.stores.registry import Registry

METERS = ("30001640000011", "30001640000022", "30001640000033")


class Supplier:
    """A supplier that has the tokens it was asked to revoke, and fails as it is told."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.error: WorkerError | None = None

    def revoke(self, token: str) -> None:
        self.asked.append(token)
        if self.error is not None:
            raise self.error


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with new_registry(tmp_path) as opened:
        for number, meter in enumerate(METERS, start=1):
            opened.accounts.remove(opened.accounts.add("enedis", meter, NOW, token=f"token {number}")[0].id, NOW)
        yield opened


def revoke(registry: Registry, supplier: Supplier, after: timedelta = timedelta()) -> int:
    return revoke_tokens(registry.tokens, supplier.revoke, lambda _: nullcontext(), lambda: datetime.now(UTC) + after)


def test_each_token_is_revoked_once(registry: Registry) -> None:
    supplier = Supplier()
    assert [revoke(registry, supplier) for _ in range(2)] == [3, 0]
    assert supplier.asked == ["token 1", "token 2", "token 3"]


@pytest.mark.parametrize("error", [SupplierUnavailable("silent"), RateLimited("not our turn")])
def test_where_the_supplier_is_silent_all_wait_for_the_next_run(registry: Registry, error: WorkerError) -> None:
    supplier = Supplier()
    supplier.error = error
    assert revoke(registry, supplier) == 0
    assert supplier.asked == ["token 1"]
    supplier.error = None
    assert revoke(registry, supplier) == 3


def test_a_refusal_holds_up_no_other(registry: Registry) -> None:
    supplier = Supplier()
    supplier.error = OperatorFault("refused")
    assert revoke(registry, supplier) == 0
    assert len(supplier.asked) == len(registry.tokens.list_to_revoke()) == 3


def test_after_a_week_it_is_given_up_and_the_log_says_so_without_the_token(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    supplier = Supplier()
    supplier.error = SupplierUnavailable("silent")
    assert revoke(registry, supplier, timedelta(days=7, seconds=1)) == 0
    assert registry.tokens.list_to_revoke() == []
    assert [record.message for record in caplog.records] == ["token not revoked, given up"] * 3
    assert "token 1" not in str([vars(record) for record in caplog.records])
