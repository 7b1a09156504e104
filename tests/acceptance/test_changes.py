"""What changes after the first sync, and what goes wrong outside: each account takes it up, and alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.system import NO_QUOTA, QUICKLY, House, open_house, until
from worker.domain.consent.accounts import AccountState
from worker.domain.measures.readings import Period, Series

WITHOUT_CURVE = "32320647321714"  # a customer of the supplier's own sandbox
MEASURES = "mesure_synchrone_auto"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """It stands on the morning after the autumn clock change; nobody counts calls."""
    settings = {"PRETEND_NOW": "2023-10-30T09:00+01:00", "ENEDIS_CLIENT_SECRET": "s", **NO_QUOTA}
    with open_house(tmp_path_factory.mktemp("changes"), **settings) as house:
        house.start_simulator()
        house.start_worker(*QUICKLY)
        yield house


@pytest.fixture(autouse=True)
def _as_usual(house: House) -> Iterator[None]:
    yield
    house.simulator("DELETE", "faults")


def settled(house: House, usage_point: str) -> str:
    """A new account with its history loaded; those of other tests are left out of the coming nights."""
    for account in house.inside.registry.list():
        if account.active:
            house.inside.registry.set_state(account.id, AccountState.PAUSED, now=house.inside.now())
    account_id = house.add(usage_point)
    house.wait_loaded(account_id)
    return account_id


def outcomes(house: House, account: str) -> dict[Series, str | None]:
    return {series: outcome.code for series, outcome in house.inside.registry.outcomes(account).items()}


def test_the_autumn_day_has_50_half_hours_and_25_hours(house: House) -> None:
    meter = "30000000000001"
    account = settled(house, meter)
    minutes, hours = house.shown(account, "minute", "2023-10-29"), house.shown(account, "hour", "2023-10-29")
    assert (len(minutes), len(hours)) == (50, 25)
    assert [(hour["hour"], hour.get("fold", 0)) for hour in hours[1:5]] == [(1, 0), (2, 0), (2, 1), (3, 0)]
    assert house.content(account) == house.truth(meter).content()


def test_a_corrected_day_comes_in_with_its_totals(house: House) -> None:
    meter = "30000000000002"
    account = settled(house, meter)
    before = house.content(account)
    house.switch(meter, corrections=[{"day": "2023-10-27", "factor": 1.5}])
    house.night(account)
    after = house.content(account)
    assert after == house.truth(meter).content()
    changed = {
        period: {key for key in before[period] if before[period][key] != after[period][key]} for period in Period
    }
    assert changed[Period.DAY] == {"2023-10-27"}
    assert (changed[Period.MONTH], changed[Period.YEAR]) == ({"2023-10"}, {"2023"})
    assert {key[:10] for key in changed[Period.MINUTE]} <= {"2023-10-26", "2023-10-27"}  # in UTC
    assert (len(changed[Period.MINUTE]), len(changed[Period.HOUR])) == (48, 24)


def test_a_late_day_comes_in_by_itself(house: House) -> None:
    meter = "30000000000003"
    house.switch(meter, delay_days=1)
    account = settled(house, meter)
    assert "2023-10-29" not in house.content(account)[Period.DAY]
    house.switch(meter, delay_days=0)
    house.send("tasks.schedule.catch_up")
    until(lambda: "2023-10-29" in house.content(account)[Period.DAY], "the late day")
    until(lambda: house.content(account) == house.truth(meter).content(), "the late day's totals")


def test_a_filled_hole_comes_in_and_an_open_one_stays_a_hole(house: House) -> None:
    meter = "30000000000004"
    holes = ["2023-10-26T10:00/2023-10-26T12:00", "2023-10-25T10:00/2023-10-25T12:00"]
    house.switch(meter, holes=holes)
    account = settled(house, meter)
    with_holes = house.content(account)
    assert with_holes == house.truth(meter).content()
    house.switch(meter, holes=holes[1:])
    house.night(account)
    filled = house.content(account)
    assert filled == house.truth(meter).content()
    assert len(filled[Period.MINUTE]) == len(with_holes[Period.MINUTE]) + 4


def test_a_curve_that_is_not_activated_does_not_stop_the_daily_values(house: House) -> None:
    account = settled(house, WITHOUT_CURVE)
    run = house.begin_night()  # which asks for such a curve once a week
    until(lambda: house.has_run(account, run, [Series.DAILY]), "the night's daily values")
    content = house.content(account)
    assert content == house.truth(WITHOUT_CURVE).content()
    assert (len(content[Period.DAY]), len(content[Period.MINUTE])) == (1095, 0)
    assert outcomes(house, account) == {Series.DAILY: None, Series.LOAD_CURVE: None}


def test_a_withdrawn_consent_sets_its_account_aside_and_no_other(house: House) -> None:
    gone, stays = "30000000000005", "30000000000006"
    withdrawn = settled(house, gone)
    other = house.add(stays)
    house.wait_loaded(other)
    before = house.content(withdrawn)
    house.switch(gone, consent_revoked=True)
    house.switch(stays, corrections=[{"day": "2023-10-28", "wh": 7777}])
    house.night(other, withdrawn)
    assert house.inside.registry.get(withdrawn).active  # once may be the supplier's mistake
    house.stop("worker")
    house.start_worker(PRETEND_NOW="2023-10-30T16:00+01:00")
    house.redis.delete(*house.redis.keys("releve:inflight:*"))  # by which it is left alone for as long, in Redis's time
    house.night(other)
    until(lambda: not house.inside.registry.get(withdrawn).active, "the end of the account's runs")
    by_id = {row["account"]: row for row in house.ask("status")}
    assert (by_id[withdrawn]["state"], by_id[other]["state"]) == ("action_needed", "ready")
    assert by_id[withdrawn]["reason"] == "USER_ACTION_NEEDED.OAUTH_OUTDATED"
    assert "consent again" in house.releve("sync", withdrawn, "--inline", code=1).stderr
    assert house.content(other)[Period.DAY]["2023-10-28"] == 7.777
    assert house.content(withdrawn) == before

    house.switch(gone, consent_revoked=False)
    house.releve("accounts", "resume", withdrawn)
    house.night(withdrawn)
    assert house.inside.registry.get(withdrawn).active
    assert set(outcomes(house, withdrawn).values()) == {None}


def test_a_storm_at_the_supplier_passes(house: House) -> None:
    meter = "30000000000007"
    storm = [
        {"path": MEASURES, "usage_point": meter, "status": 503, "body": "<html>maintenance</html>"},
        {"path": MEASURES, "usage_point": meter, "kind": "truncated", "skip": 1},
        {"path": MEASURES, "usage_point": meter, "kind": "cut", "skip": 2},
        {"path": MEASURES, "usage_point": meter, "status": 200, "body": "<html>blocked</html>", "skip": 3},
    ]
    house.simulator("POST", "faults", storm)
    account = settled(house, meter)
    assert [fault["hits"] for fault in house.simulator("GET", "faults")] == [1, 1, 1, 1]
    assert house.content(account) == house.truth(meter).content()
    assert set(outcomes(house, account).values()) == {None}


def test_after_a_429_nobody_calls_until_the_gate_opens(house: House) -> None:
    meters = "30000000000008", "30000000000009"
    accounts = [settled(house, meters[0]), house.add(meters[1])]
    house.wait_loaded(accounts[1])
    ledger = house.inside.ledger
    busy = {"path": MEASURES, "status": 429, "body": {"error": "quota"}, "headers": {"Retry-After": "4"}}
    house.simulator("DELETE", "report")
    house.simulator("POST", "faults", busy)
    run = house.begin_night()
    until(lambda: ledger.closed_for_s() > 0, "the closing of the gate")
    counts = []
    while (calls := house.report()["data_calls"]) and ledger.closed_for_s() > 0:
        counts.append(calls)
    # four look-backs were under way at most; whoever had its permit before the gate closed may still arrive
    assert counts[-1] <= 4
    assert len(set(counts[1:])) <= 1 or counts[-1] - counts[0] <= 3
    for account in accounts:
        until(lambda account=account: house.has_run(account, run), "the night after the wait")
        assert set(outcomes(house, account).values()) == {None}
    report = house.report()
    assert report["refusals"] == 1
    assert report["data_calls"] == 5


def test_an_emptied_redis_costs_one_reading_of_the_store_and_no_second_download(house: House) -> None:
    meter = "30000000000010"
    account = settled(house, meter)
    before = house.revisions(account)
    house.redis.flushall()
    house.simulator("DELETE", "report")
    house.send("tasks.schedule.resume_backfills")
    house.night(account)
    until(lambda: house.inside.history.loaded_until(account, Series.LOAD_CURVE), "the flag of the history")
    house.wait_loaded(account)
    assert house.report()["data_calls"] == 2  # the look-backs
    assert house.revisions(account) == before
    (row,) = [row for row in house.ask("status") if row["account"] == account]
    assert {series["loaded"] for series in row["series"].values()} == {True}
