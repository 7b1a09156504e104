"""The outbox and the table of outputs, on a SQLite file and on PostgreSQL alike."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, func, select

from tests.support.registries import KEY, METER, NOW, OTHER_METER, add_ready, registry_sealer, switch_on
from worker.domain.account import AccountState
from worker.domain.messages import ChangedPart
from worker.domain.series import Series
from worker.domain.windows import local_midnight
from worker.errors import StoreUnavailable, UnknownAccount, UnknownOutput, UnknownTenant
from worker.stores.database import SqlTable
from worker.stores.registry import Registry
from worker.stores.registry import outputs as outbox
from worker.stores.registry.account_details import PRICES
from worker.stores.registry.api_tokens import TenantTable
from worker.stores.registry.outputs import (
    BEGINNING,
    END,
    OutboxTable,
    OutputTable,
    WaitingChange,
    count_waiting_by_kind,
    list_outputs_of,
)
from worker.stores.registry.tables import OUTPUT_CHANGES, OUTPUT_REMOVALS, OUTPUTS

T0 = datetime(2024, 7, 25, 9, 0, tzinfo=UTC)
EXPIRY = timedelta(minutes=15)
OPTIONS = {"url": "https://service.example/secret-path", "secret": "s3cret", "more": {}}
DAILY, CURVE = Series.DAILY, Series.LOAD_CURVE


def part(first: int, last: int | None = None) -> ChangedPart:
    """Return the part from one day of July 2024 to another."""
    return ChangedPart(datetime(2024, 7, first, tzinfo=UTC), datetime(2024, 7, last or first, tzinfo=UTC))


class Fleet:
    """A registry with an outbox, whose time the test sets."""

    def __init__(self, registry: Registry) -> None:
        self.at = T0
        self.registry = registry
        self.outputs = OutputTable(registry.database, registry_sealer(), EXPIRY)
        self.outbox = OutboxTable(registry.database, lambda: self.at, EXPIRY)

    def add_output(self, **scope: Any) -> str:
        return self.outputs.insert("webhook", OPTIONS, self.at, **scope)

    def change(self, account_id: str, what: ChangedPart, series: Series = DAILY) -> None:
        with self.outbox.noting(account_id, series) as note:
            note(what)

    def be_killed(self, account_id: str, what: ChangedPart) -> None:
        """Note a part as a window does that is killed before it closes it."""
        self.outbox.noting(account_id, DAILY).__enter__()(what)

    def waiting(self, output_id: str) -> list[tuple[str, Series, ChangedPart]]:
        return [
            (change.account_id, change.series, ChangedPart(change.first, change.last))
            for change in self.outbox.next_changes(output_id)
        ]

    def rows(self) -> int:
        return self.registry.database.fetch(select(func.count()).select_from(OUTPUT_CHANGES))[0][0]


@pytest.fixture
def fleet(registry: Registry) -> Iterator[Fleet]:
    return Fleet(registry)


def test_without_an_output_a_change_costs_no_write(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    account = add_ready(fleet.registry)
    monkeypatch.setattr(type(fleet.registry.database), "writing", lambda self: pytest.fail("a transaction that writes"))
    fleet.change(account, part(1))
    assert fleet.rows() == 0


def test_a_change_waits_for_the_outputs_of_its_account_and_of_its_tenant_alone(fleet: Fleet) -> None:
    TenantTable(fleet.registry.database, registry_sealer()).save("club", "Club")
    account, other = add_ready(fleet.registry), add_ready(fleet.registry, OTHER_METER)
    of_all, of_it = fleet.add_output(), fleet.add_output(account_id=account)
    of_other, of_club = fleet.add_output(account_id=other), fleet.add_output(tenant="club")
    fleet.change(account, part(3, 4))
    for output in (of_all, of_it):
        assert fleet.waiting(output) == [(account, DAILY, part(3, 4))]
    assert fleet.waiting(of_other) == fleet.waiting(of_club) == []
    assert {state.id for state in list_outputs_of(fleet.registry.database, other, "default")} == {of_all, of_other}


def test_changes_of_a_series_become_one_row_however_many_there_are(fleet: Fleet) -> None:
    account, output = add_ready(fleet.registry), fleet.add_output()
    for day in (20, 3, 11, 3):
        fleet.at += timedelta(hours=6)
        fleet.change(account, part(day))
    fleet.change(account, part(5), CURVE)
    assert sorted(fleet.waiting(output), key=str) == [(account, DAILY, part(3, 20)), (account, CURVE, part(5))]
    assert fleet.rows() == 2
    (state,) = fleet.outputs.list_outputs()
    assert (state.waiting, state.waiting_since) == (1, T0 + timedelta(hours=6))
    assert count_waiting_by_kind(fleet.registry.database) == {"webhook": 2}


def test_what_went_is_listed_by_its_day_where_an_output_can_t_delete_it(fleet: Fleet) -> None:
    account, output, other = add_ready(fleet.registry), fleet.add_output(), fleet.add_output()
    keys = {"2024-07-03T21:30Z", "2024-07-03T22:30Z", "2024-07-04T22:00Z"}
    for _ in range(2):
        fleet.change(account, ChangedPart(part(3).first, part(5).last, frozenset(keys)), CURVE)
    (waiting,) = fleet.outbox.next_changes(output)
    assert waiting.removed == tuple(sorted(keys))
    assert fleet.outbox.days_to_delete() == {}, "not tried yet"
    fleet.outbox.delete_sent([waiting], [(CURVE, "2024-07-03T22:30Z"), (CURVE, "2024-07-04T22:00Z")])
    days = ["2024-07-04", "2024-07-05"]
    assert fleet.outbox.days_to_delete() == {output: {account: days}}

    fleet.change(account, part(4), CURVE)
    (waiting,) = fleet.outbox.next_changes(output)
    assert waiting.removed == (), "none of it is in this part"
    fleet.change(account, ChangedPart(part(4).first, part(6).last, frozenset({"2024-07-05T22:00Z"})), CURVE)
    fleet.outbox.enqueue_all(output, datetime(2024, 7, 4, 22, 0, tzinfo=UTC), deleted=True)
    assert fleet.outbox.days_to_delete() == {output: {account: days[:1]}}
    (waiting,) = [one for one in fleet.outbox.next_changes(output) if one.series is CURVE]
    assert waiting.removed == ("2024-07-05T22:00Z",), "what was not tried yet stays"

    fleet.outputs.remove(output)
    assert fleet.outbox.days_to_delete() == {}
    assert [len(one.removed) for one in fleet.outbox.next_changes(other)] == [4]
    fleet.registry.accounts.remove(account, NOW)
    assert fleet.registry.database.fetch(select(func.count()).select_from(OUTPUT_REMOVALS))[0][0] == 0


def test_what_went_again_while_it_was_delivered_is_not_forgotten(fleet: Fleet) -> None:
    account, output = add_ready(fleet.registry), fleet.add_output()
    gone = ChangedPart(part(3).first, part(5).last, frozenset({"2024-07-03T22:30Z"}))
    fleet.change(account, gone, CURVE)
    waiting = fleet.outbox.next_changes(output)
    fleet.change(account, gone, CURVE)
    fleet.outbox.delete_sent(waiting)
    assert [one.removed for one in fleet.outbox.next_changes(output)] == [("2024-07-03T22:30Z",)]


def test_states_are_not_sent(fleet: Fleet) -> None:
    account, output = add_ready(fleet.registry), fleet.add_output()
    fleet.change(account, part(1), Series.CONTRACT)
    assert fleet.waiting(output) == []


@pytest.mark.parametrize("is_own", [True, False])
def test_a_contract_changes_the_cost_of_all_days_where_prices_are_set(fleet: Fleet, is_own: bool) -> None:
    account, output = add_ready(fleet.registry), fleet.add_output()
    if is_own:
        fleet.registry.account_details.save(account, PRICES, {})
    else:
        fleet.registry.tenants.save_prices("default", {})
    fleet.change(account, part(1)._replace(removed=frozenset({"2024-07-01"})), Series.CONTRACT)
    assert fleet.waiting(output) == [(account, DAILY, ChangedPart(BEGINNING, END))]
    assert fleet.outbox.next_changes(output)[0].removed == ()
    with fleet.outbox.noting(account, Series.CONTRACT) as note:
        note(part(1))
        assert fleet.waiting(output) == [], "the hours that it tells are not yet written"
    fleet.change(account, part(1), Series.GAS_CONTRACT)
    assert len(fleet.waiting(output)) == 1


def test_daily_energy_is_enqueued_for_an_account_or_for_those_of_a_tenant(fleet: Fleet) -> None:
    account, other = sorted([add_ready(fleet.registry), add_ready(fleet.registry, OTHER_METER)])
    of_all, of_it = fleet.add_output(), fleet.add_output(account_id=account)
    fleet.registry.account_details.save(account, PRICES, {})
    fleet.outbox.enqueue_energy(date(2024, 7, 24), tenant="default", by_default=True)
    since = ChangedPart(local_midnight(date(2024, 7, 24)), END)
    assert (fleet.waiting(of_all), fleet.waiting(of_it)) == ([(other, DAILY, since)], [])
    fleet.outbox.enqueue_energy(date(2024, 7, 24), accounts=[account])
    assert fleet.waiting(of_it) == [(account, DAILY, since)]
    assert {state.waiting for state in fleet.outputs.list_outputs()} == {2, 1}
    fleet.outbox.delete_sent(fleet.outbox.next_changes(of_it))
    fleet.outbox.enqueue_energy(date(2024, 7, 26), accounts=[account])
    today = ChangedPart(local_midnight(date(2024, 7, 25)), END)
    assert fleet.waiting(of_it) == [(account, DAILY, today)], "for the colour of tomorrow"
    fleet.outbox.delete_sent(fleet.outbox.next_changes(of_it))
    fleet.outbox.enqueue_energy(date(2024, 7, 24), accounts=[account], kinds=["mqtt", "home-assistant"])
    assert fleet.waiting(of_it) == []


def test_what_a_window_is_writing_is_not_delivered_until_it_closes(fleet: Fleet) -> None:
    account, output = add_ready(fleet.registry), fleet.add_output()
    with fleet.outbox.noting(account, DAILY) as note:
        note(part(1))
        note(part(4))  # After a lost race it writes something else.
        assert fleet.waiting(output) == []
        assert fleet.outputs.list_due(fleet.at) == []
    assert fleet.waiting(output) == [(account, DAILY, part(1, 4))]
    assert fleet.outputs.list_due(fleet.at) == [output]


def test_each_of_two_windows_closes_only_its_own(fleet: Fleet) -> None:
    account, output = add_ready(fleet.registry), fleet.add_output()
    with fleet.outbox.noting(account, DAILY) as first:
        first(part(1))
        fleet.change(account, part(2))
        assert fleet.waiting(output) == []
    assert fleet.waiting(output) == [(account, DAILY, part(1, 2))]


def test_a_killed_window_loses_nothing_and_holds_nothing_up_for_long(fleet: Fleet) -> None:
    account, output = add_ready(fleet.registry), fleet.add_output()
    fleet.be_killed(account, part(1))
    fleet.at += EXPIRY
    assert fleet.waiting(output) == []
    fleet.at += timedelta(seconds=1)
    assert fleet.waiting(output) == [(account, DAILY, part(1))]


def test_a_window_that_fails_closes_what_it_has_written(fleet: Fleet) -> None:
    account, output = add_ready(fleet.registry), fleet.add_output()
    with pytest.raises(StoreUnavailable), fleet.outbox.noting(account, DAILY) as note:
        note(part(1))
        raise StoreUnavailable("away")
    assert fleet.waiting(output) == [(account, DAILY, part(1))]


def test_a_row_that_changed_while_it_was_sent_is_sent_again(fleet: Fleet) -> None:
    account, output = add_ready(fleet.registry), fleet.add_output()
    fleet.change(account, part(1))
    read = fleet.outbox.next_changes(output)
    fleet.change(account, part(1))
    fleet.outbox.delete_sent(read)
    assert fleet.waiting(output) == [(account, DAILY, part(1))]
    fleet.outbox.delete_sent(fleet.outbox.next_changes(output))
    assert fleet.waiting(output) == [] and fleet.rows() == 0


def test_a_row_that_a_window_has_only_noted_while_it_was_sent_stays(fleet: Fleet) -> None:
    account, output = add_ready(fleet.registry), fleet.add_output()
    fleet.change(account, part(1))
    read = fleet.outbox.next_changes(output)
    fleet.be_killed(account, part(1))
    fleet.outbox.delete_sent(read)
    assert fleet.rows() == 1


def test_a_row_made_again_is_not_taken_for_the_one_that_was_sent(fleet: Fleet) -> None:
    account, output = add_ready(fleet.registry), fleet.add_output()
    fleet.change(account, part(1))
    read = fleet.outbox.next_changes(output)
    fleet.outbox.delete_sent(read)  # By another worker.
    fleet.at += timedelta(seconds=1)
    fleet.change(account, part(2))
    fleet.outbox.delete_sent(read)
    assert fleet.waiting(output) == [(account, DAILY, part(2))]


def test_an_output_that_is_made_during_a_write_gets_it_with_the_close(fleet: Fleet) -> None:
    account = add_ready(fleet.registry)
    with fleet.outbox.noting(account, DAILY) as note:
        note(part(1))
        output = fleet.add_output()
    assert fleet.waiting(output) == [(account, DAILY, part(1))]


def test_accounts_take_turns_and_one_that_fails_comes_last(fleet: Fleet) -> None:
    first, second = add_ready(fleet.registry), add_ready(fleet.registry, OTHER_METER)
    output = fleet.add_output()
    for account in (first, second):
        fleet.at += timedelta(minutes=1)
        fleet.change(account, part(1))
    failed = fleet.outbox.next_changes(output)
    assert failed[0].account_id == first
    fleet.at += timedelta(minutes=1)
    fleet.outbox.put_last(failed)
    assert fleet.outbox.next_changes(output)[0].account_id == second
    assert fleet.outputs.list_outputs()[0].waiting_since == T0 + timedelta(minutes=1)


def test_everything_that_may_be_stored_is_enqueued_and_again_from_a_day_on(fleet: Fleet) -> None:
    account, gone = add_ready(fleet.registry), add_ready(fleet.registry, OTHER_METER)
    fleet.registry.accounts.remove(gone, NOW)
    output = fleet.add_output()
    assert fleet.outbox.enqueue_all(output) == 2
    everything = ChangedPart(BEGINNING, fleet.at)
    assert fleet.waiting(output) == [(account, DAILY, everything), (account, CURVE, everything)]
    fleet.outbox.delete_sent(fleet.outbox.next_changes(output))
    assert fleet.outbox.enqueue_all(output, part(7).first) == 2
    assert {what.first for _, _, what in fleet.waiting(output)} == {part(7).first}
    assert fleet.outbox.enqueue_all(fleet.add_output(account_id=account)) == 2


def test_days_that_a_curve_made_are_enqueued_with_it(fleet: Fleet) -> None:
    """A file of the production's curve alone leaves no outcome of daily production, but days, months and years."""
    account = add_ready(fleet.registry)
    switch_on(fleet.registry, account, Series.PRODUCTION_LOAD_CURVE)
    output = fleet.add_output()
    assert fleet.outbox.enqueue_all(output) == 4
    series = {what for _, what, _ in fleet.waiting(output)}
    assert series == {DAILY, CURVE, Series.PRODUCTION_LOAD_CURVE, Series.PRODUCTION_DAILY}


def test_enqueueing_lets_a_window_that_writes_go_on(fleet: Fleet) -> None:
    account, output = add_ready(fleet.registry), fleet.add_output(account_id=None)
    with fleet.outbox.noting(account, DAILY) as note:
        note(part(1))
        fleet.outbox.enqueue_all(output)
        assert [series for _, series, _ in fleet.waiting(output)] == [CURVE]


# The table of outputs


def test_options_are_sealed_and_read_back(fleet: Fleet) -> None:
    output = fleet.add_output()
    assert fleet.outputs.load_options(output) == OPTIONS
    (row,) = fleet.registry.database.fetch(select(OUTPUTS))
    assert not any(secret in repr(row) for secret in ("s3cret", "secret-path", "service.example"))
    assert KEY not in repr(fleet.outputs)


def test_an_output_needs_a_tenant_or_an_account_that_is_there(fleet: Fleet) -> None:
    account = add_ready(fleet.registry)
    fleet.registry.accounts.remove(account, NOW)
    with pytest.raises(UnknownTenant):
        fleet.add_output(tenant="nobody")
    for unknown in (account, "k0000000000x"):
        with pytest.raises(UnknownAccount):
            fleet.add_output(account_id=unknown)
    for call in (fleet.outputs.get, fleet.outputs.load_options, fleet.outputs.remove):
        with pytest.raises(UnknownOutput, match="releve outputs list"):
            call("nothing")  # type: ignore[operator]
    assert fleet.outputs.list_outputs() == []


def test_failures_wait_longer_each_time_and_a_success_ends_them(fleet: Fleet) -> None:
    account, output = add_ready(fleet.registry), fleet.add_output()
    fleet.change(account, part(1))
    waits = []
    for _ in range(7):
        state = fleet.outputs.record_failure(output, "NotDelivered", "away", fleet.at, sent=False)
        assert state.next_try_at is not None and fleet.outputs.list_due(fleet.at) == []
        waits.append(round((state.next_try_at - fleet.at).total_seconds() / 60))
        fleet.at = state.next_try_at
        assert fleet.outputs.list_due(fleet.at) == [output]
    assert waits == [1, 2, 5, 15, 30, 30, 30]
    assert (state.failing_since, state.tries, state.error) == (T0, 7, "away")
    fleet.outputs.record_sent(output, fleet.at)
    state = fleet.outputs.get(output)
    assert (state.failing_since, state.next_try_at, state.tries, state.code, state.error) == (None, None, 0, "", "")
    assert state.last_sent_at == fleet.at


def test_a_removed_output_takes_its_rows_with_it(fleet: Fleet) -> None:
    account, output, other = add_ready(fleet.registry), fleet.add_output(), fleet.add_output()
    fleet.change(account, part(1))
    assert fleet.outputs.remove(output) == 1
    assert [state.id for state in fleet.outputs.list_outputs()] == [other] and fleet.rows() == 1
    fleet.change(account, part(2))
    assert fleet.waiting(other) == [(account, DAILY, part(1, 2))]


def test_the_erasure_of_an_account_takes_its_rows_and_its_own_outputs(fleet: Fleet) -> None:
    account = add_ready(fleet.registry, METER)
    fleet.add_output(account_id=account)
    of_all = fleet.add_output()
    fleet.change(account, part(1))
    fleet.registry.accounts.remove(account, NOW)
    assert fleet.registry.accounts.get(account).state is AccountState.DELETED
    assert [state.id for state in fleet.outputs.list_outputs()] == [of_all] and fleet.rows() == 0
    fleet.change(account, part(2))  # A window that comes late.
    assert fleet.rows() == 0


def test_a_close_that_can_not_be_written_fails_no_window(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    account, output = add_ready(fleet.registry), fleet.add_output()
    outbox, database = fleet.outbox, fleet.registry.database

    class Away(SqlTable):
        def writing(self) -> Any:
            raise StoreUnavailable("away")

    with outbox.noting(account, DAILY) as note:
        note(part(1))
        outbox._database = Away(database)  # type: ignore[assignment]
    outbox._database = database
    assert "sent later" in caplog.text
    fleet.at += EXPIRY + timedelta(seconds=1)
    assert [*map(type, outbox.next_changes(output))] == [WaitingChange]


class Note:
    """A window in a thread, which notes a change."""

    def __init__(self, fleet: Fleet, account_id: str) -> None:
        self.errors: list[Exception] = []
        self._thread = threading.Thread(target=self._run, args=(fleet, account_id))
        self._thread.start()
        self._thread.join(0.3)  # It has met the locks by then; where it has not, this test shows less.

    def _run(self, fleet: Fleet, account_id: str) -> None:
        try:
            fleet.change(account_id, part(1))
        except Exception as error:  # noqa: BLE001 - the test tells it
            self.errors.append(error)

    def end(self) -> list[Exception]:
        self._thread.join(30)
        return self.errors


def test_a_window_that_notes_while_its_account_is_erased_stops_neither(fleet: Fleet) -> None:
    account = add_ready(fleet.registry)
    fleet.add_output(account_id=account)
    noting: list[Note] = []
    fleet.registry.accounts.remove(account, NOW, on_removal=lambda connection: noting.append(Note(fleet, account)))
    assert noting[0].end() == []
    assert fleet.outputs.list_outputs() == [] and fleet.rows() == 0


def test_a_price_that_is_set_while_its_account_is_erased_stops_neither(fleet: Fleet) -> None:
    account = add_ready(fleet.registry)
    outputs = sorted(fleet.add_output() for _ in range(2))
    fleet.outbox.enqueue_all(outputs[0])
    noting: list[Note] = []

    def enqueue(*_: Any) -> None:
        fleet.outbox.enqueue_energy(date(2024, 7, 1), tenant="default")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fleet, "change", enqueue)
        fleet.registry.accounts.remove(account, NOW, on_removal=lambda connection: noting.append(Note(fleet, account)))
        assert noting[0].end() == []
    assert fleet.rows() == 0


def test_a_window_that_notes_while_an_output_is_removed_stops_neither(fleet: Fleet) -> None:
    account, output = add_ready(fleet.registry), fleet.add_output()
    errors: list[Exception] = []

    def remove() -> None:
        try:
            fleet.outputs.remove(output)
        except Exception as error:  # noqa: BLE001 - the test tells it
            errors.append(error)

    removing = threading.Thread(target=remove)
    upsert = outbox._upsert_statement

    def upsert_late(dialect: str, *, notes: bool) -> Any:
        """Let the removal begin when the window has read its outputs and locked them."""
        if notes:
            removing.start()
            removing.join(0.3)
        return upsert(dialect, notes=notes)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outbox, "_upsert_statement", upsert_late)
        fleet.change(account, part(1))
    removing.join(30)
    assert errors == []
    assert fleet.outputs.list_outputs() == [] and fleet.rows() == 0


@pytest.mark.parametrize("end", [OutboxTable.delete_sent, OutboxTable.put_last])
def test_a_price_that_is_set_while_a_delivery_ends_stops_neither(fleet: Fleet, end: Callable[..., None]) -> None:
    account, output = add_ready(fleet.registry), fleet.add_output()
    switch_on(fleet.registry, account, DAILY, Series.PRODUCTION_DAILY)
    for series in (Series.PRODUCTION_DAILY, DAILY):
        fleet.at += timedelta(seconds=1)
        fleet.change(account, part(1), series)
    errors: list[Exception] = []

    def enqueue() -> None:
        try:
            fleet.outbox.enqueue_energy(date(2024, 7, 1), accounts=[account])
        except Exception as error:  # noqa: BLE001 - the test tells it
            errors.append(error)

    enqueuing, key_of, calls = threading.Thread(target=enqueue), outbox._key_of, list[Any]()

    def key_late(*of: Any) -> Any:
        """Let the change of prices begin when the delivery has locked its first row."""
        calls.append(of)
        if len(calls) == 2:
            enqueuing.start()
            enqueuing.join(0.3)
        return key_of(*of)

    sent = fleet.outbox.next_changes(output)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outbox, "_key_of", key_late)
        end(fleet.outbox, sent)
    enqueuing.join(30)
    assert errors == []
    assert {series for _, series, _ in fleet.waiting(output)} == {DAILY, Series.PRODUCTION_DAILY}


def test_outputs_that_fail_come_last(fleet: Fleet) -> None:
    account = add_ready(fleet.registry)
    failing, sent, new = fleet.add_output(), fleet.add_output(), fleet.add_output()
    fleet.change(account, part(1))
    fleet.outputs.record_failure(failing, "NotDelivered", "away", fleet.at, sent=False)
    fleet.outputs.record_sent(sent, fleet.at)
    assert fleet.outputs.list_due(fleet.at + timedelta(hours=1)) == [new, sent, failing]


def test_a_clock_that_is_set_back_leaves_nothing_waiting_for_the_old_time(fleet: Fleet) -> None:
    account, output = add_ready(fleet.registry), fleet.add_output()
    fleet.at = T0 + timedelta(days=900)
    fleet.be_killed(account, part(1))
    fleet.outputs.record_failure(output, "NotDelivered", "away", fleet.at, sent=False)
    fleet.at = T0
    assert fleet.waiting(output) == [(account, DAILY, part(1))]
    assert fleet.outputs.list_due(fleet.at) == [output] and fleet.outputs.get(output).may_try(fleet.at)
    fleet.outputs.record_failure(output, "NotDelivered", "away", fleet.at, sent=False)
    assert fleet.outputs.list_due(fleet.at) == [] and not fleet.outputs.get(output).may_try(fleet.at)


def test_an_output_is_there_with_all_that_it_is_to_be_sent_or_not_at_all(fleet: Fleet) -> None:
    account = add_ready(fleet.registry)

    def enqueue(connection: Connection, output_id: str) -> None:
        assert fleet.outbox.enqueue_all(output_id, within=connection)
        if fails:
            raise StoreUnavailable("away")

    fails = True
    with pytest.raises(StoreUnavailable):
        fleet.add_output(at_end=enqueue)
    assert fleet.outputs.list_outputs() == [] and fleet.rows() == 0
    fails = False
    assert {row[0] for row in fleet.waiting(fleet.add_output(at_end=enqueue))} == {account}
