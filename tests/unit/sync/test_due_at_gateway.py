"""Nights and histories at a gateway: never too many calls, each account in its own hours, and a ban that passes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, time, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from simulator.running_state import Bans
from tests.support.registries import mark_asked, prepare_registry, registry_keys
from tests.unit.conftest import Household
from worker.accounts.notice_channels import compose_message
from worker.domain.account import AccountState
from worker.domain.answers import Answer, AnswerKind
from worker.domain.messages import WindowJob, run_kind
from worker.domain.notice import NoticeKind
from worker.domain.reasons import Reason
from worker.domain.schedule import AskingHours, is_afternoon, is_asking_hour, night_start
from worker.domain.series import Series, of_supplier
from worker.domain.windows import ONE_DAY, PARIS, DateWindow, civil_date
from worker.errors import GatewayBanned, TokenNeeded, TokenRefused
from worker.quota.ledger import Limits, QuotaLedger
from worker.stores.database import Database
from worker.stores.encryption import generate_key
from worker.stores.redis.connection import connect
from worker.stores.registry import Registry
from worker.sync.due import GatewayWindows

BEGUN = datetime(2026, 9, 1, 20, 7, 13, tzinfo=PARIS)
MEASURED = [series for series in of_supplier("gateway") if not series.is_state]
HALF_A_DAY = timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class Call:
    """A call that reached the gateway: when, for which account and series, in which kind of run."""

    at: datetime
    account_id: str
    series: Series
    kind: str
    window: DateWindow


@dataclass
class GatewayHome(Household):
    """A home whose calls pass a ledger of its own to a gateway that bans, on a simulated clock; no call takes long.

    ``series``: what it is asked for; ``lacks``: days back from today of which the gateway has nothing; ``refusals_of``:
    what it answers to all of an account; ``unsent``: what stops a call of an account before it is sent.
    """

    bans: Bans = field(default_factory=Bans)
    calls: list[Call] = field(default_factory=list)
    series: list[Series] = field(default_factory=lambda: MEASURED)
    lacks: int = 0
    refusals_of: dict[str, Exception] = field(default_factory=dict)
    unsent: dict[str, Exception] = field(default_factory=dict)
    job: WindowJob | None = None

    def __post_init__(self) -> None:
        self.at = BEGUN
        super().__post_init__()
        self.ledger = QuotaLedger(
            self.redis,
            "conso.boris.sh",
            Limits(per_second=1, per_hour=None, per_day=60, day_hours=12),
            prefix=self.prefix,
            sleep=self.sleep,
            clock_us=lambda: int(self.at.timestamp() * 1_000_000),
        )
        self.supplier = self  # type: ignore[assignment]

    def sleep(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)

    def ask(self, series: Series, usage_point_id: str, window: DateWindow) -> Answer:
        assert self.job is not None
        if unsent := self.unsent.get(self.job["account_id"]):
            raise unsent
        permit = self.ledger.take_permit("data")
        self.calls.append(Call(self.at, self.job["account_id"], series, run_kind(self.job) or "hand", window))
        if self.bans.count("home", self.at.astimezone(PARIS)):
            error = GatewayBanned("banned", 24 * 3600.0)
            self.ledger.close_gate(24 * 3600.0, permit, error.code)
            raise error
        if refusal := self.refusals_of.get(self.job["account_id"]):
            raise refusal
        end = min(window.end, civil_date(self.at) - self.lacks * ONE_DAY)
        if series.has_steps or window.start >= end:
            return Answer(AnswerKind.NO_DATA)
        rows = [{"v": "9000", "d": f"{day}"} for day in DateWindow(window.start, end).dates()]
        if not series.is_daily_energy:
            return Answer(AnswerKind.NO_DATA)
        quantity = {
            "grandeurMetier": "CONS" if series is Series.DAILY else "PROD",
            "grandeurPhysique": "EA",
            "unite": "Wh",
            "points": rows,
        }
        return Answer(AnswerKind.DATA, {"idPrm": usage_point_id, "grandeur": [quantity]})

    def run(self, job: WindowJob) -> Any:
        current = self.claims.confirm(job)
        if current is None:
            return None
        self.job = current
        return super().run(current)

    def add_home(self, number: int) -> str:
        account, _ = self.registry.accounts.add("gateway", f"300016400000{number}", self.at, token_needed=False)
        return account.id

    def due(self) -> GatewayWindows:
        return GatewayWindows(
            table=self.registry.due,
            policies=self.registry.policies,
            claims=self.claims,
            calls_per_hour=None,
            now=self.now,
            closed_for_s=self.ledger.closed_for_s,
            series=self.series,
            calls_in_half_a_day=60,
            calls_left=partial(self.ledger.calls_left, "data"),
        )

    def tick(self) -> None:
        """Do what beat has done about each minute and each hour."""
        due = self.due()
        for job in due.claim_night(night_start(self.at, time(6))).jobs:
            self.run(job)
        if self.at.minute == 45:
            for job in due.claim_repairs():
                self.run(job)
        for account_id, series in due.list_histories():
            # The end of a chain begins the next one.
            while (jobs := due.claim_next_of_history(account_id, series)) and self.run(jobs[0]) is not None:
                pass

    def live_until(self, end: datetime) -> None:
        """Tick at each quarter past and quarter to while accounts may be asked, else every six hours."""
        while self.at < end:
            self.tick()
            later = self.at.replace(minute=15 if self.at.minute < 15 else 45, second=3)
            later = later if later > self.at else self.at.replace(minute=15, second=3) + timedelta(hours=1)
            self.at = later if is_asking_hour(later) else next_hour_of(self.at)

    def most_in_half_a_day(self) -> int:
        """Return the most calls in any span of twelve hours."""
        moments = [call.at for call in self.calls]
        return max(sum(start <= at < start + HALF_A_DAY for at in moments) for start in moments)


def next_hour_of(now: datetime) -> datetime:
    """Return the next whole hour if accounts may be asked in it, else the next sixth one."""
    whole = now.replace(minute=0, second=3) + timedelta(hours=1)
    return (
        whole if is_asking_hour(whole) else now.replace(hour=now.hour // 6 * 6, minute=0, second=3) + timedelta(hours=6)
    )


@pytest.fixture
def home(redis_url: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[GatewayHome]:
    series = getattr(request, "param", MEASURED)
    prepare_registry(tmp_path)
    database = Database(f"sqlite:///{tmp_path / 'registry.db'}")
    registry = Registry(database, registry_keys(generate_key()), fleet=series)
    with connect(redis_url) as redis:
        home = GatewayHome(registry, redis, curve_days=745, series=series)
        yield home
        home.lose_redis()
    database.close()


def in_hours(call: Call) -> bool:
    """Return whether a call was made in the account's hours, some minutes of work later at the most."""
    begun = AskingHours(call.account_id)
    return begun.allow(call.at) or begun.allow(call.at - timedelta(minutes=10))


@pytest.mark.rest
@pytest.mark.parametrize(
    ("homes", "curve_days", "lived"),
    [(1, 140, 4), (3, 745, 30)],
    ids=["one home", "three homes"],
)
def test_first_histories_of_three_years_are_never_banned_and_end_complete(
    home: GatewayHome, homes: int, curve_days: int, lived: int
) -> None:
    home = replace(home, curve_days=curve_days)
    accounts = [home.add_home(11 + number) for number in range(homes)]
    home.live_until(BEGUN + timedelta(days=lived))
    assert home.bans.banned == set() and home.most_in_half_a_day() <= 60
    assert min((second.at - first.at).total_seconds() for first, second in pairwise(home.calls)) >= 1
    assert [call for call in home.calls if call.kind != "backfill" and not in_hours(call)] == []
    outcomes = {account: home.registry.outcomes.load(account) for account in accounts}
    assert {outcomes[account][series].history_due_at for account in accounts for series in MEASURED} == {None}
    for account in accounts:
        done = [home.history.count_days(account, series) for series in MEASURED]
        assert [number for number, wanted in done if number < wanted - 30] == [], "the look-back has the rest"
    # Each night keeps its share although histories are loading.
    asked = {(call.at.date(), call.account_id, call.series) for call in home.calls if call.kind == "nightly"}
    days = [BEGUN.date() + number * ONE_DAY for number in range(1, lived)]
    nightly = [series for series in MEASURED if series.is_nightly and not series.has_steps]
    assert {(day, account, series) for day in days for account in accounts for series in nightly} <= asked
    # Ten weeks of curve a day and account, the newest first.
    curves = [call for call in home.calls if call.kind == "backfill" and call.series.has_steps]
    for account in accounts:
        # The newest week is asked for again, for no curve comes.
        older = [one for one in curves if one.account_id == account and one.window.end < civil_date(one.at)]
        days_after = [(call.at - BEGUN) // ONE_DAY for call in older]
        assert [number for number, day in enumerate(days_after) if number >= 10 * (day + 1)] == []
        ends = [one.window.end for one in older if one.series is Series.LOAD_CURVE]
        assert ends == sorted(ends, reverse=True) and len(ends) > 0.85 * curve_days / 7


@pytest.mark.parametrize("home", [[Series.DAILY]], indirect=True)
def test_what_lacks_yesterday_is_asked_for_once_more_in_the_afternoon(home: GatewayHome) -> None:
    account = home.add_home(11)
    home.lacks = 1
    home.live_until(BEGUN + timedelta(days=2, hours=3))
    looked = [call for call in home.calls if call.kind in ("nightly", "catch-up")]
    assert [(call.kind, is_afternoon(call.at)) for call in looked] == [("nightly", False), ("catch-up", True)] * 2
    assert all(in_hours(call) and call.account_id == account for call in looked)


def test_a_month_of_curve_comes_at_once(home: GatewayHome) -> None:
    account = home.add_home(11)
    home.tick()
    assert len(home.calls) == 5 * 3 + 10 and {call.kind for call in home.calls} == {"backfill"}
    newest = [call.window.start for call in home.calls if call.series is Series.LOAD_CURVE]
    assert min(newest) == BEGUN.date() - 35 * ONE_DAY
    outcome = home.registry.outcomes.load(account)[Series.LOAD_CURVE]
    assert outcome.history_due_at == BEGUN + ONE_DAY, "the next ten weeks come tomorrow"


@pytest.mark.parametrize("home", [[Series.LOAD_CURVE]], indirect=True)
def test_the_ten_weeks_of_an_account_of_files_begin_with_its_token(home: GatewayHome) -> None:
    """Files come first, as the gateway's author asks: the token may come months after them."""
    account = home.add_home(11)
    home.registry.accounts.set_state(account, AccountState.ACTION_NEEDED, TokenNeeded.code, now=home.at)
    home.at += 90 * ONE_DAY
    given_at = home.at
    assert home.add_home(11) == account
    home.tick()
    assert len(home.calls) == 10
    assert home.registry.outcomes.load(account)[Series.LOAD_CURVE].history_due_at == given_at + ONE_DAY


@pytest.mark.parametrize("home", [[Series.LOAD_CURVE, Series.DAILY]], indirect=True)
def test_weeks_that_files_have_filled_are_passed_over(home: GatewayHome) -> None:
    account, today = home.add_home(11), BEGUN.date()
    filled = DateWindow(today - 63 * ONE_DAY, today - 7 * ONE_DAY)
    mark_asked(home.registry, account, Series.LOAD_CURVE, filled)
    home.tick()
    asked = [call.window for call in home.calls if call.series is Series.LOAD_CURVE]
    assert len(asked) == 2
    assert (asked[0].end, asked[1].end) == (today, filled.start)


def test_a_ban_closes_the_gate_for_a_day_is_told_and_passes(home: GatewayHome) -> None:
    home.bans.limit = 12
    account = home.add_home(11)
    home.tick()
    assert len(home.calls) == 12
    codes = {outcome.code for outcome in home.registry.outcomes.load(account).values()}
    assert codes == {None, "GATEWAY_BANNED"}, "those after the first say why, too"
    state = home.ledger.state(["data"])
    assert state.gate_code == "GATEWAY_BANNED" and 0 < state.opens_in_s <= 24 * 3600
    (notice,) = home.claim_due_notices()
    assert (notice.kind, notice.account_id, notice.about) == (NoticeKind.GATEWAY_BANNED, None, "gateway@2026-09-01")
    assert (
        "24" not in compose_message(notice).texts["en"]
        and "has blocked this IP address" in compose_message(notice).texts["en"]
    )
    home.live_until(BEGUN + timedelta(hours=23))
    assert len(home.calls) == 12 and {each.id for each in home.claim_due_notices()} <= {notice.id}
    home.bans.forget()
    home.bans.limit = 100
    home.live_until(BEGUN + timedelta(hours=50))
    assert len(home.calls) > 40
    assert {outcome.code for outcome in home.registry.outcomes.load(account).values()} == {None}


def test_a_banned_day_says_so_in_words(home: GatewayHome) -> None:
    home.bans.limit = 1
    account = home.add_home(11)
    home.tick()
    explained = home.build_explainer().explain(home.registry.accounts.get(account), BEGUN.date() - 3 * ONE_DAY)
    assert explained.reason is Reason.GATEWAY_BANNED
    assert "bloqué notre adresse" in explained.sentences["fr"] and "{" not in "".join(explained.sentences.values())


@pytest.mark.parametrize("home", [[Series.DAILY]], indirect=True)
def test_a_refused_token_sets_its_account_aside_and_no_other(home: GatewayHome) -> None:
    account, other = home.add_home(11), home.add_home(12)
    home.refusals_of = {account: TokenRefused("refused")}
    home.live_until(BEGUN + timedelta(days=2))
    states = {one: home.registry.accounts.get(one) for one in (account, other)}
    assert states[other].state is AccountState.READY
    assert (states[account].state, states[account].reason) == (
        AccountState.ACTION_NEEDED,
        "USER_ACTION_NEEDED.OAUTH_OUTDATED.TOKEN_REFUSED",
    )
    refused = [call.at for call in home.calls if call.account_id == account]
    assert refused[-1] - refused[0] >= timedelta(hours=6), "the usual two sightings"
    asked = len(refused)
    home.registry.accounts.add("gateway", "30001640000011", home.at, token="a new one")
    assert home.registry.accounts.get(account).state is AccountState.READY
    home.refusals_of = {}
    home.live_until(BEGUN + timedelta(days=3))
    assert len([call for call in home.calls if call.account_id == account]) > asked
    assert {outcome.code for outcome in home.registry.outcomes.load(account).values()} == {None}


@pytest.mark.parametrize("home", [[Series.DAILY]], indirect=True)
def test_an_account_without_a_token_is_set_aside_before_any_call(home: GatewayHome) -> None:
    account, other = home.add_home(11), home.add_home(12)
    home.unsent = {account: TokenNeeded("none")}
    home.tick()
    state = home.registry.accounts.get(account)
    assert (state.state, state.reason) == (AccountState.ACTION_NEEDED, "USER_ACTION_NEEDED.TOKEN_NEEDED")
    explained = home.build_explainer().explain(state, BEGUN.date() - 3 * ONE_DAY)
    assert explained.reason is Reason.TOKEN_NEEDED and "releve home add" in explained.sentences["fr"]
    assert {call.account_id for call in home.calls} == {other}
    (notice,) = home.claim_due_notices()
    home.live_until(BEGUN + timedelta(days=1))
    assert {each.id for each in home.claim_due_notices()} <= {notice.id}, "it is told once"


def test_what_the_ledger_has_left_is_all_that_is_published(home: GatewayHome) -> None:
    for number in range(11, 31):
        home.add_home(number)
    home.at = datetime(2026, 9, 2, 9, 40, tzinfo=PARIS)  # The hour of all has come.
    jobs = home.due().claim_night(night_start(home.at, time(6))).jobs
    assert len(jobs) == 60
    assert home.due().claim_night(night_start(home.at, time(6))) == ([], False), (
        "no run comes back at once for the rest"
    )
    assert home.due().claim_repairs() == [] and not home.due().has_history_room(Series.DAILY)


def test_histories_leave_the_next_night_its_calls(home: GatewayHome) -> None:
    for number in range(11, 15):
        home.add_home(number)
    home.tick()
    assert len(home.calls) == 60 - 4 * len(MEASURED)


@pytest.mark.parametrize("hour", [0, 5, 10, 12, 15, 23])
def test_outside_of_its_hours_no_night_asks(home: GatewayHome, hour: int) -> None:
    home.add_home(11)
    home.at = datetime(2026, 9, 3, hour, 45, tzinfo=PARIS)
    due = home.due()
    assert due.claim_night(night_start(home.at, time(6))) == ([], False) and due.claim_repairs() == []
    assert due.claim_catch_up(home.at - ONE_DAY, home.at) == ([], False)


def test_a_token_that_ends_soon_is_told_a_month_before(home: GatewayHome) -> None:
    until = BEGUN.date() + 30 * ONE_DAY
    account, _ = home.registry.accounts.add(
        "gateway", "30001640000011", home.at, consent_until=until, token_needed=False
    )
    (notice,) = home.refusals.insert_reminders()
    message = compose_message(notice)
    assert (notice.kind, notice.account_id) == (NoticeKind.CONSENT_ENDS_30, account.id)
    assert "1 octobre 2026" in message.texts["fr"].replace("1er", "1") and "releve home add" in message.texts["fr"]
    assert not message.new_consent_helps, "no consent page of ours helps"
    assert home.refusals.insert_reminders() == []
