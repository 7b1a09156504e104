"""The calls that the supplier counts after a consent's last day, by any task or command: none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from sqlalchemy import select, update

from tasks.nightly import backfill_account, catch_up, nightly_sync, resume_backfills, resume_night, sync_account
from tasks.upkeep import audit_sample, expire_consents, probe_incidents, renew_tokens, repair_open_days
from tests.support.connect_service import METER, PUBLIC, ConnectServers, ConnectService, open_connect_service
from tests.support.parts import Parts, use_parts
from worker.domain.account import AccountState
from worker.domain.messages import REPAIR, WindowJob
from worker.domain.series import USUAL_SERIES, Series
from worker.domain.windows import ONE_DAY, PARIS, DateWindow
from worker.errors import ConsentEnded, ConsentStopped
from worker.runtime.consent_parts import stop_consent
from worker.runtime.sync_parts import build_inline
from worker.stores.registry.tables import ACCOUNTS, ERASURES
from worker.sync.claims import LANES


@pytest.fixture
def service(request: pytest.FixtureRequest, servers: ConnectServers, tmp_path: Path) -> Iterator[ConnectService]:
    with open_connect_service(servers, tmp_path, getattr(request, "param", "enedis-2026")) as service:
        yield service


@pytest.fixture(autouse=True)
def current_runtime(service: ConnectService, monkeypatch: pytest.MonkeyPatch) -> None:
    use_parts(monkeypatch, service.parts)


def add(service: ConnectService, until: date | None = None) -> str:
    """Add the account of a meter whose holder has consented at the simulator, with a token of its own in v4."""
    parts = service.parts
    service.simulate("POST", "switches", {"token_life_s": 200})
    page = parts.consent.suppliers[parts.sync.suppliers.main.supplier.name].consent_page("x" * 32)
    callback = service.agree(f"{page}&redirect_uri={PUBLIC}/callback/enedis&usage_point_id={METER}")
    token = None
    if parts.sync.suppliers.main.account_tokens:
        (code,) = parse_qs(urlsplit(callback).query)["code"]
        token = parts.sync.suppliers.main.oauth.exchange_code(code).token
    account, _ = parts.stores.registry.accounts.add(
        "enedis",
        METER,
        parts.stores.now(),
        consent_until=until,
        token=token.to_text() if token else None,
        token_needed=parts.sync.suppliers.main.account_tokens,
    )
    assert account.active
    if token:
        parts.stores.registry.tokens.save(account.id, token.to_text(), datetime.now(UTC) + timedelta(seconds=200))
    return account.id


def today(service: ConnectService) -> date:
    return service.parts.stores.now().astimezone(PARIS).date()


def calls(service: ConnectService) -> int:
    """Return how many calls the supplier has counted, of tokens too."""
    report = service.simulate("GET", "report")
    return int(report["calls"]) + sum(report["tokens"].values())


def end(service: ConnectService, account_id: str) -> None:
    """Let the consent be one of yesterday, as it is for an account on the day after its last one."""
    parts = service.parts
    parts.stores.registry.accounts.add(
        "enedis", METER, parts.stores.now(), consent_until=today(service) - ONE_DAY, token_needed=False
    )
    assert parts.stores.registry.accounts.get(account_id).active


def run(parts: Parts, job: WindowJob) -> None:
    """Fetch one window as its task does."""
    try:
        parts.sync.window.fetch(job)
    except ConsentEnded as error:
        parts.sync.results.record_failure(job, error)


def jobs_in_flight(service: ConnectService, account_id: str) -> list[WindowJob]:
    """Return windows of each kind, claimed while the consent was still good."""
    parts = service.parts
    claims, last_week = parts.sync.claims, DateWindow(today(service) - 7 * ONE_DAY, today(service))
    pair = account_id, Series.DAILY
    history = claims.claim_history(*pair)
    assert history is not None
    repair = claims.to_job(*pair, last_week, claims.claim(REPAIR, [pair])[pair])
    return [*parts.sync.claims.claim_look_backs(account_id), history, repair, claims.to_job(*pair, last_week)]


# How Relève may come to ask; each is tried alone.
WAYS: dict[str, Callable[[Parts, str], object]] = {
    "nightly": lambda parts, account_id: nightly_sync(),
    "resumed night": lambda parts, account_id: resume_night(),
    "catch-up": lambda parts, account_id: catch_up(),
    "histories": lambda parts, account_id: resume_backfills(),
    "backfill": lambda parts, account_id: backfill_account(account_id),
    "asked by hand": lambda parts, account_id: sync_account(account_id, "by hand"),
    "repair": lambda parts, account_id: repair_open_days(),
    "audit": lambda parts, account_id: audit_sample(),
    "renewal": lambda parts, account_id: renew_tokens(),
    "probe": lambda parts, account_id: probe_incidents(),
    "expiry": lambda parts, account_id: expire_consents(),
    "inline": lambda parts, account_id: list(build_inline(parts.stores, parts.sync, print).run_look_back(account_id)),
    "inline history": lambda parts, account_id: list(
        build_inline(parts.stores, parts.sync, print).run_history(account_id)
    ),
}


def test_the_nightly_tidying_forgets_an_erasure_on_its_day(service: ConnectService) -> None:
    parts, day = service.parts, today(service)
    with parts.stores.registry.database.writing() as connection:
        parts.stores.registry.erasures.remember(connection, "over", parts.stores.now(), day)
        parts.stores.registry.erasures.remember(connection, "still", parts.stores.now(), day + ONE_DAY)
    expire_consents()
    assert [row.meter for row in parts.stores.registry.database.fetch(select(ERASURES.c.meter))] == ["still"]


def test_the_nightly_tidying_ends_pauses_and_makes_the_references_of_an_older_version_searchable(
    service: ConnectService,
) -> None:
    registry, now = service.parts.stores.registry, service.parts.stores.now()
    account, _ = service.parts.consent.assertion.add(
        METER, "cli:ada", reference="contract 4711", consented_on=now.date()
    )
    registry.accounts.set_state(account.id, AccountState.PAUSED, now=now - ONE_DAY, until=today(service))
    registry.database.change(update(ACCOUNTS).values(reference=None))
    expire_consents()
    (found,) = registry.accounts.find_by_reference("contract 4711")
    assert (found.id, found.state) == (account.id, AccountState.READY)


IDLE = {"repair", "audit", "probe", "expiry"}  # A new account has no open day, no measures, and no incident.


def ways_that_ask(service: ConnectService, account_id: str, last_day: date) -> set[str]:
    """Return the ways by which an account that is active is asked, where its consent ends on ``last_day``."""
    parts, asking = service.parts, set[str]()
    token = parts.stores.registry.tokens.load(account_id)
    for name, way in WAYS.items():
        parts.stores.redis.flushdb()  # What is in flight, and a token at hand, would be reasons to ask nothing.
        for until in (today(service), last_day):
            parts.stores.registry.accounts.add(
                "enedis", METER, parts.stores.now(), consent_until=until, token_needed=False
            )
        if token:
            parts.stores.registry.tokens.save(account_id, token, datetime.now(UTC) + timedelta(seconds=200))
        assert parts.stores.registry.accounts.get(account_id).active
        before = calls(service)
        way(parts, account_id)
        if calls(service) != before or any(map(parts.sync.claims.in_flight, LANES)):
            asking.add(name)
    return asking


@pytest.mark.parametrize("service", ["enedis-2026", "enedis-v4"], indirect=True)  # v4 has tokens of accounts.
def test_each_way_alone_asks_on_the_last_day_and_nothing_after_it(service: ConnectService) -> None:
    account_id, day = add(service), today(service)
    assert ways_that_ask(service, account_id, day) == set(WAYS) - IDLE
    assert ways_that_ask(service, account_id, day - ONE_DAY) == set()


def assert_asks_nothing(service: ConnectService, account_id: str, jobs: list[WindowJob]) -> None:
    """Run the windows in flight, then each way to ask, and check that the supplier counts no call."""
    before = calls(service)
    for job in jobs:
        run(service.parts, job)
    for way in WAYS.values():
        way(service.parts, account_id)
    assert calls(service) == before


def test_after_its_last_day_nothing_is_asked_by_any_way(service: ConnectService) -> None:
    account_id = add(service)
    parts, jobs = service.parts, jobs_in_flight(service, account_id)
    end(service, account_id)
    assert_asks_nothing(service, account_id, jobs)
    account = parts.stores.registry.accounts.get(account_id)
    assert (account.state, account.reason) == (AccountState.ACTION_NEEDED, ConsentEnded.code)
    assert len(parts.stores.registry.notices.list_due(parts.stores.now())) == 1
    with pytest.raises(ConsentEnded):
        parts.sync.suppliers.main.client_of(account)
    with pytest.raises(ConsentEnded):
        parts.sync.suppliers.main.tokens_of(account)


def test_what_the_household_stopped_is_asked_by_no_way_and_a_new_consent_begins_again(service: ConnectService) -> None:
    account_id = add(service, today(service) + ONE_DAY)
    parts, jobs = service.parts, jobs_in_flight(service, account_id)
    stop_consent(parts.stores, account_id)
    assert_asks_nothing(service, account_id, jobs)
    assert parts.stores.registry.accounts.get(account_id).reason == ConsentStopped.code
    assert parts.stores.registry.tokens.load(account_id) is None
    assert parts.stores.registry.notices.list_due(parts.stores.now()) == []
    assert add(service, today(service) + ONE_DAY) == account_id
    assert len(list(build_inline(parts.stores, parts.sync, print).run_look_back(account_id))) == len(USUAL_SERIES)
