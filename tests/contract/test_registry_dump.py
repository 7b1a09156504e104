"""What comes back ended with a dump of the registry, and what not at all."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.support.registries import METER, NOW, add_ready, empty_registry
from worker.domain.campaign import Campaign, Recipient
from worker.stores.registry import Registry
from worker.stores.registry.dump import TABLES, end_rights, read_rows, restore_rows


def test_each_restore_gives_an_account_a_session_number_that_no_cookie_has(registry: Registry) -> None:
    account_id, now = add_ready(registry, METER), datetime(2026, 1, 1, tzinfo=UTC)
    seconds = (now - datetime(2020, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
    numbers = []
    for _ in range(2):  # The second restore is of a dump that was made after the first, within the same second.
        with registry.database.writing() as connection:
            end_rights(connection, now)
        numbers.append(registry.accounts.get(account_id).session_number)
    assert numbers == [seconds, seconds + 1]


def test_a_dump_has_no_campaign_whose_addresses_nobody_could_read(registry: Registry) -> None:
    account_id = add_ready(registry, METER)
    facts = {"campaign_id": "c1", "account_id": account_id, "mail_id": "m", "sealed_address": "sealed"}
    recipient = Recipient(**facts, id="r", created_at=NOW, next_attempt_at=NOW)
    registry.campaigns.create(Campaign("c1", "alice", NOW, "--csv", 200), [recipient])
    with registry.database.snapshot() as connection:
        dump = {name: list(read_rows(connection, name)) for name in TABLES}
    assert "sealed" not in str(dump)
    empty_registry(registry.database)
    with registry.database.writing() as connection:
        restore_rows(connection, dump.__getitem__)
    assert registry.accounts.get(account_id).id == account_id and registry.campaigns.list_campaigns() == []
