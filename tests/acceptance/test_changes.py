"""Changes at the supplier after the first sync, and its failures: each account follows them by itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.system import NO_QUOTA, QUICK_START, System, open_system, until
from worker.domain.account import AccountState
from worker.domain.series import Doctype, Series

WITHOUT_CURVE = "32320647321714"  # A customer of the supplier's own sandbox.
MEASURES = "mesure_synchrone_auto"


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Yield a system on the morning after the autumn clock change, without a quota; a week's curve holds that day."""
    settings = {"PRETEND_NOW": "2023-10-30T09:00+01:00", "ENEDIS_CLIENT_SECRET": "s", "HISTORY_LOAD_DAYS": "7"}
    with open_system(tmp_path_factory.mktemp("changes"), **settings, **NO_QUOTA) as system:
        system.start_simulator()
        system.start_worker(*QUICK_START)
        yield system


@pytest.fixture(autouse=True)
def _without_faults(system: System) -> Iterator[None]:
    yield
    system.simulator("DELETE", "faults")


def add_loaded_account(system: System, usage_point: str) -> str:
    """Add an account and load its history; pause the accounts of other tests, which nights then leave out."""
    for account in system.parts.stores.registry.accounts.list_accounts():
        if account.active:
            system.parts.stores.registry.accounts.set_state(
                account.id, AccountState.PAUSED, now=system.parts.stores.now()
            )
    account_id = system.add_account(usage_point)
    system.wait_loaded(account_id)
    return account_id


def outcomes(system: System, account: str) -> dict[Series, str | None]:
    return {series: outcome.code for series, outcome in system.parts.stores.registry.outcomes.load(account).items()}


def test_the_autumn_day_has_50_half_hours_and_25_hours(system: System) -> None:
    meter = "30000000000001"
    account = add_loaded_account(system, meter)
    minutes, hours = system.show_day(account, "minute", "2023-10-29"), system.show_day(account, "hour", "2023-10-29")
    assert (len(minutes), len(hours)) == (50, 25)
    assert [(hour["hour"], hour.get("fold", 0)) for hour in hours[1:5]] == [(1, 0), (2, 0), (2, 1), (3, 0)]
    assert system.content(account) == system.truth(meter).expected_loads()


def test_a_corrected_day_comes_in_with_its_totals(system: System) -> None:
    meter = "30000000000002"
    account = add_loaded_account(system, meter)
    before = system.content(account)
    system.switch(meter, corrections=[{"day": "2023-10-27", "factor": 1.5}])
    system.run_night(account)
    after = system.content(account)
    assert after == system.truth(meter).expected_loads()
    changed = {
        period: {key for key in before[period] if before[period][key] != after[period][key]} for period in Doctype
    }
    assert changed[Doctype.DAY] == {"2023-10-27"}
    assert (changed[Doctype.MONTH], changed[Doctype.YEAR]) == ({"2023-10"}, {"2023"})
    assert {key[:10] for key in changed[Doctype.MINUTE]} <= {"2023-10-26", "2023-10-27"}  # Keys are in UTC.
    assert (len(changed[Doctype.MINUTE]), len(changed[Doctype.HOUR])) == (48, 24)


def test_a_late_day_comes_in_by_itself(system: System) -> None:
    meter = "30000000000003"
    system.switch(meter, delay_days=1)
    account = add_loaded_account(system, meter)
    assert "2023-10-29" not in system.content(account)[Doctype.DAY]
    system.switch(meter, delay_days=0)
    system.send_task("tasks.nightly.catch_up")
    until(lambda: "2023-10-29" in system.content(account)[Doctype.DAY], "the late day")
    until(lambda: system.content(account) == system.truth(meter).expected_loads(), "the late day's totals")


def test_a_curve_that_is_not_activated_does_not_stop_the_daily_values(system: System) -> None:
    account = add_loaded_account(system, WITHOUT_CURVE)
    run = system.start_night()  # A night asks for a curve that is not activated once a week.
    until(lambda: system.has_run(account, run, [Series.DAILY]), "the night's daily values")
    content = system.content(account)
    assert content == system.truth(WITHOUT_CURVE).expected_loads()
    assert (len(content[Doctype.DAY]), len(content[Doctype.MINUTE])) == (1095, 0)
    assert outcomes(system, account) == {Series.DAILY: None, Series.LOAD_CURVE: None}


def test_a_withdrawn_consent_sets_its_account_aside_and_no_other(system: System) -> None:
    revoked_meter, other_meter = "30000000000005", "30000000000006"
    revoked = add_loaded_account(system, revoked_meter)
    other = system.add_account(other_meter)
    system.wait_loaded(other)
    before = system.content(revoked)
    system.switch(revoked_meter, consent_revoked=True)
    system.switch(other_meter, corrections=[{"day": "2023-10-28", "wh": 7777}])
    system.run_night(other, revoked)
    assert system.parts.stores.registry.accounts.get(revoked).active  # A single refusal may be the supplier's mistake.
    system.stop("worker")
    system.start_worker(PRETEND_NOW="2023-10-30T16:00+01:00")
    system.run_night(other)
    until(lambda: not system.parts.stores.registry.accounts.get(revoked).active, "the end of the account's runs")
    by_id = {row["account"]: row for row in system.query_rows("status", "--all")}
    assert (by_id[revoked]["state"], by_id[other]["state"]) == ("action_needed", "ready")
    assert by_id[revoked]["reason"] == "USER_ACTION_NEEDED.OAUTH_OUTDATED"
    assert "consent again" in system.releve("sync", revoked, "--inline", code=1).err
    assert system.content(other)[Doctype.DAY]["2023-10-28"] == 7.777
    assert system.content(revoked) == before

    system.switch(revoked_meter, consent_revoked=False)
    system.releve("accounts", "resume", revoked)
    system.run_night(revoked)
    assert system.parts.stores.registry.accounts.get(revoked).active
    assert set(outcomes(system, revoked).values()) == {None}


def test_a_storm_at_the_supplier_passes(system: System) -> None:
    meter = "30000000000007"
    faults = [
        {"path": MEASURES, "usage_point": meter, "status": 503, "body": "<html>maintenance</html>"},
        {"path": MEASURES, "usage_point": meter, "kind": "truncated", "skip": 1},
        {"path": MEASURES, "usage_point": meter, "kind": "cut", "skip": 2},
        {"path": MEASURES, "usage_point": meter, "status": 200, "body": "<html>blocked</html>", "skip": 3},
    ]
    system.simulator("POST", "faults", faults)
    account = add_loaded_account(system, meter)
    assert [fault["hits"] for fault in system.simulator("GET", "faults")] == [1, 1, 1, 1]
    assert system.content(account) == system.truth(meter).expected_loads()
    assert set(outcomes(system, account).values()) == {None}


def test_after_a_429_nobody_calls_until_the_gate_opens(system: System) -> None:
    meters = "30000000000008", "30000000000009"
    accounts = [add_loaded_account(system, meters[0]), system.add_account(meters[1])]
    system.wait_loaded(accounts[1])
    ledger = system.parts.sync.ledger
    busy = {"path": MEASURES, "status": 429, "body": {"error": "quota"}, "headers": {"Retry-After": "4"}}
    system.simulator("DELETE", "report")
    system.simulator("POST", "faults", busy)
    run = system.start_night()
    until(lambda: ledger.closed_for_s() > 0, "the closing of the gate")
    counts = []
    while (calls := system.report()["data_calls"]) and ledger.closed_for_s() > 0:
        counts.append(calls)
    # At most four look-backs are under way, and a call whose permit is older than the closed gate may still arrive.
    assert counts[-1] <= 4
    assert len(set(counts[1:])) <= 1 or counts[-1] - counts[0] <= 3
    for account in accounts:
        until(lambda account=account: system.has_run(account, run), "the night after the wait")
        assert set(outcomes(system, account).values()) == {None}
    report = system.report()
    assert report["refusals"] == 1
    assert report["data_calls"] == 5
