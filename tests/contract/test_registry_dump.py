"""What comes back ended with a dump of the registry."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.support.registries import METER, add_ready
from worker.stores.registry import Registry
from worker.stores.registry.dump import end_rights


def test_each_restore_gives_an_account_a_session_number_that_no_cookie_has(registry: Registry) -> None:
    account_id, now = add_ready(registry, METER), datetime(2026, 1, 1, tzinfo=UTC)
    seconds = (now - datetime(2020, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
    numbers = []
    for _ in range(2):  # The second restore is of a dump that was made after the first, within the same second.
        with registry.database.writing() as connection:
            end_rights(connection, now)
        numbers.append(registry.accounts.get(account_id).session_number)
    assert numbers == [seconds, seconds + 1]
