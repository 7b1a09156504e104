"""The lanes of the ledger on a real server, with a clock that the test moves, so that speed does not matter."""

from __future__ import annotations

import uuid
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from tests.support.profiles import examples
from worker.domain.lanes import QUOTA_LANES, Lane, Shares, enter_lane, leave_lane
from worker.quota.ledger import Limits, QuotaLedger

FIRST, NIGHTLY, REPAIR, BACKFILL, STRANGERS = QUOTA_LANES
SHARES: Final = Shares.parse(
    "first_screen=10,nightly=30,repair=10,backfill=10", "first_screen=80,repair=50,backfill=90"
)
HOUR_S: Final = 3600.0
ALL: Final = 1e9

once_per_example = settings(
    max_examples=examples(15, desk=5),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)


class Fleet:
    """A ledger on a clock of the test, and the permits that it gave by moment and lane."""

    def __init__(
        self,
        redis: Redis,
        shares: Shares = SHARES,
        per_second: int | None = None,
        *,
        max_wait_s: float | None = None,
        **limits: float,
    ) -> None:
        self.now_s = 1_900_000_000.0
        self.granted: list[tuple[float, Lane]] = []
        limits = {"per_hour": 1000, **limits}
        self.ledger = QuotaLedger(
            redis,
            "enedis",
            Limits(per_second=per_second, shares=shares, **limits),
            prefix=f"test-{uuid.uuid4().hex}:",
            max_wait_s=max_wait_s,
            clock_us=lambda: round(self.now_s * 1e6),
        )

    def ask(self, lane: Lane, patience_s: float = 0.0) -> bool:
        with inside(lane):
            decision = self.ledger.try_permit("data", patience_s)
        if decision.permit:
            self.granted.append((decision.at_s, lane))
        return decision.permit is not None

    def run(
        self, for_s: float, wants: dict[Lane, float], seed: int = 1, step_s: float = 30, patience_s: float = 0.0
    ) -> Counter[Lane]:
        """Let each lane ask for so many calls a second (ALL: until it is refused), and return its permits by lane."""
        chance, end_s, before = Random(seed), self.now_s + for_s, len(self.granted)
        while self.now_s < end_s:
            left = {lane: rate * step_s for lane, rate in wants.items()}
            while left:
                lane = chance.choice(list(left))
                if left[lane] < chance.random() or not self.ask(lane, patience_s):
                    del left[lane]
                else:
                    left[lane] -= 1
            self.now_s += step_s
        return Counter(lane for _, lane in self.granted[before:])

    def most_in(self, length_s: float) -> int:
        """Return the most permits in any span of this length, both ends included."""
        instants = sorted(at_s for at_s, _ in self.granted)
        return max(
            (bisect_left(instants, at_s + length_s + 1e-6) - begin for begin, at_s in enumerate(instants)), default=0
        )


@contextmanager
def inside(lane: Lane) -> Iterator[None]:
    token = enter_lane(lane)
    try:
        yield
    finally:
        leave_lane(token)


lanes = st.sampled_from(QUOTA_LANES)
# A lane with a hard ceiling can't use up what the others leave.
lanes_of_customers = st.sampled_from([FIRST, NIGHTLY, REPAIR, BACKFILL])


@once_per_example
@given(st.lists(st.tuples(lanes, st.integers(1, 60), st.integers(0, 900)), min_size=1, max_size=60))
def test_no_interleaving_of_lanes_passes_the_limit(redis: Redis, bursts: list[tuple[Lane, int, int]]) -> None:
    fleet = Fleet(redis, per_hour=100, per_day=300)
    for lane, calls, pause_s in bursts:
        for _ in range(calls):
            fleet.ask(lane)
        fleet.now_s += pause_s
    assert fleet.most_in(HOUR_S) <= 100
    assert fleet.most_in(24 * HOUR_S) <= 300


@once_per_example
@given(st.lists(st.tuples(lanes, st.integers(0, 400), st.sampled_from([0.0, 1.0])), min_size=10, max_size=120))
def test_no_second_holds_more_than_five(redis: Redis, asks: list[tuple[Lane, int, float]]) -> None:
    fleet = Fleet(redis, per_second=5)
    for lane, pause_ms, patience_s in asks:
        fleet.ask(lane, patience_s)
        fleet.now_s += pause_ms / 1000
    assert fleet.most_in(1.0) <= 5


@pytest.mark.parametrize("lane", [pytest.param(FIRST, marks=pytest.mark.rest), BACKFILL])
def test_a_lane_alone_uses_at_least_97_percent(redis: Redis, lane: Lane) -> None:
    fleet = Fleet(redis, per_hour=400)
    for _ in range(2):  # The first hour begins empty, the second after a full one.
        assert fleet.run(HOUR_S, {lane: ALL})[lane] >= 0.97 * 400
    assert fleet.most_in(HOUR_S) <= 400


@settings(once_per_example, max_examples=examples(3, desk=2))
@given(st.dictionaries(lanes_of_customers, st.sampled_from([0.08, 0.2, ALL]), min_size=2), st.integers(0, 99))
def test_lanes_together_use_at_least_97_percent_and_each_has_its_floor(
    redis: Redis, wants: dict[Lane, float], seed: int
) -> None:
    fleet = Fleet(redis, per_hour=400)
    wants |= {max(wants): ALL}
    used = fleet.run(HOUR_S, wants, seed)
    assert used.total() >= 0.97 * 400
    for lane, rate in wants.items():
        assert used[lane] >= min(SHARES.floor(lane) * 4, 0.8 * rate * HOUR_S) - 1
    assert fleet.most_in(HOUR_S) <= 400


@pytest.mark.rest
def test_who_goes_first_gets_what_is_nobodys(redis: Redis) -> None:
    """All lanes want everything, in short hours: the shared part goes to the first lanes, the floors stay."""
    fleet = Fleet(redis, per_second=5, per_hour=1000, hour_ms=600_000)
    used = fleet.run(600, dict.fromkeys((NIGHTLY, BACKFILL), ALL), step_s=0.5, patience_s=1)
    assert used.total() >= 970
    assert used[NIGHTLY] >= 5 * used[BACKFILL]
    assert used[BACKFILL] >= 50


@pytest.mark.rest
@pytest.mark.parametrize("asleep_s", [300, 1800, 5400])
def test_a_lane_that_wakes_has_its_floor_at_once(redis: Redis, asleep_s: int) -> None:
    """It does so whenever it wakes, although the night has used up all that it could."""
    fleet = Fleet(redis, per_hour=1000)
    fleet.run(asleep_s, {NIGHTLY: 2}, step_s=10)  # The night uses its floor and the whole shared part up.
    assert sum(fleet.ask(FIRST) for _ in range(5)) == 5  # These are a first screen's daily values.
    woken = fleet.run(600, {NIGHTLY: 2, FIRST: ALL}, step_s=10)
    assert woken[FIRST] >= 0.97 * 100 / 6 - 5
    fleet.run(3000, {NIGHTLY: 2, FIRST: ALL}, step_s=10)
    hour = Counter(lane for at_s, lane in fleet.granted if at_s >= fleet.now_s - HOUR_S)
    assert hour[FIRST] >= 0.97 * 100
    assert hour.total() >= 0.97 * 1000


@pytest.mark.rest
@settings(once_per_example, max_examples=examples(6))
@given(st.lists(st.tuples(lanes, st.integers(1, 400), st.integers(0, 1500)), max_size=12), st.integers(0, 9))
def test_each_lane_gets_its_floor_evenly_whatever_was_taken_before(
    redis: Redis, bursts: list[tuple[Lane, int, int]], seed: int
) -> None:
    fleet = Fleet(redis, per_hour=400)
    for lane, calls, pause_s in bursts:
        for _ in range(calls):
            if not fleet.ask(lane):
                break
        fleet.now_s += pause_s
    for quarters in (1, 2, 3):
        fleet.run(HOUR_S / 4, dict.fromkeys(QUOTA_LANES, ALL), seed, step_s=30)
        hour = Counter(lane for at_s, lane in fleet.granted if at_s > fleet.now_s - HOUR_S)
        for lane in QUOTA_LANES:
            # A bucket begins and ends between two calls: three more or less.
            assert hour[lane] >= 0.97 * SHARES.floor(lane) * quarters - 3
    assert fleet.most_in(HOUR_S) <= 400


def test_what_a_lane_leaves_of_its_floor_flows_to_others(redis: Redis) -> None:
    fleet = Fleet(redis)
    used = fleet.run(HOUR_S, {NIGHTLY: ALL, FIRST: 0.01, BACKFILL: 0.005})
    assert used[FIRST] >= 25 and used[BACKFILL] >= 10  # That is about all that they asked for.
    assert used.total() >= 970


@pytest.mark.rest
@pytest.mark.parametrize("lane", [FIRST, REPAIR, BACKFILL])
def test_a_burst_after_an_outage_leaves_nothing_idle_an_hour_later(redis: Redis, lane: Lane) -> None:
    """A burst comes back as a burst, because it is not taken of the lane's floor, which is lent only evenly."""
    fleet = Fleet(redis, per_hour=1000)
    pace = 0.4  # It is 1.44 times the quota, as 4 a second are of 10 000 an hour.
    assert fleet.run(225, {lane: pace})[lane] >= 80
    fleet.run(975, {NIGHTLY: pace})
    assert fleet.run(HOUR_S, {NIGHTLY: pace}, step_s=10).total() >= 0.97 * 1000
    assert fleet.most_in(HOUR_S) <= 1000


def test_a_lane_finds_its_floor_once_what_is_anybodys_is_used_up(redis: Redis) -> None:
    """It does so however fast it asks, because its floor is a count and not a pace."""
    fleet = Fleet(redis, per_hour=400)
    while fleet.ask(NIGHTLY):
        pass
    assert sum(fleet.ask(BACKFILL) for _ in range(60)) >= 40 - 2


def test_a_ceiling_stops_a_lane_while_another_goes_without(redis: Redis) -> None:
    shares = Shares.parse("nightly=30", "first_screen=60")
    fleet = Fleet(redis, shares, per_hour=400)
    fleet.run(HOUR_S, {FIRST: ALL, BACKFILL: ALL})
    used = fleet.run(HOUR_S, {FIRST: ALL, BACKFILL: ALL})
    assert used[FIRST] <= 242
    assert used.total() >= 0.97 * 400


def test_a_ceiling_is_no_waste_where_nobody_else_wants(redis: Redis) -> None:
    fleet = Fleet(redis, Shares.parse("", "backfill=20"), per_hour=400)
    assert fleet.run(HOUR_S, {BACKFILL: ALL})[BACKFILL] >= 0.97 * 400


@pytest.mark.parametrize("requests", [1_000, pytest.param(10_000, marks=pytest.mark.rest)])
def test_ten_thousand_requests_of_strangers_take_five_percent_of_an_hour_and_first_screens_never_wait(
    redis: Redis, requests: int
) -> None:
    """Their ceiling holds although nobody else wants the rest."""
    fleet = Fleet(redis, per_hour=1000)
    for number in range(requests):
        fleet.ask(STRANGERS)
        if number % (requests // 100) == 0:
            assert fleet.ask(FIRST)
        fleet.now_s += HOUR_S / requests
    used = Counter(lane for _, lane in fleet.granted)
    assert used == {STRANGERS: 50, FIRST: 100}
    fleet.granted = [(at_s, lane) for at_s, lane in fleet.granted if lane is STRANGERS]
    fleet.run(2 * HOUR_S, {STRANGERS: ALL}, step_s=60)
    assert 48 <= fleet.most_in(HOUR_S) <= 50, "and in any other hour, too"


def test_a_house_with_a_tiny_quota_still_serves_a_stranger(redis: Redis) -> None:
    fleet = Fleet(redis, per_hour=10)
    assert [fleet.ask(STRANGERS) for _ in range(3)] == [True, False, False]


def test_strangers_at_their_ceiling_do_not_hold_the_others_at_theirs(redis: Redis) -> None:
    fleet = Fleet(redis, Shares.parse("", "backfill=20"), per_hour=400)
    assert fleet.run(HOUR_S, {BACKFILL: ALL, STRANGERS: ALL}).total() >= 0.97 * 400


@pytest.mark.parametrize(
    "busy", [FIRST, *(pytest.param(lane, marks=pytest.mark.rest) for lane in (NIGHTLY, REPAIR)), BACKFILL]
)
def test_strangers_find_no_slot_while_any_other_lane_has_callers(redis: Redis, busy: Lane) -> None:
    fleet = Fleet(redis, per_second=5, per_hour=10_000)
    fleet.run(50, {busy: ALL, STRANGERS: ALL}, step_s=0.1, patience_s=1.0)
    used = Counter(lane for _, lane in fleet.granted)
    assert used[STRANGERS] <= 1 < 200 <= used[busy], "at the start nobody has booked a slot"


def test_the_night_keeps_its_floor_while_backfills_of_new_accounts_flood_in(redis: Redis) -> None:
    """The look-backs that are due have their floor from the first quarter of an hour on."""
    fleet = Fleet(redis, per_hour=400)
    fleet.run(HOUR_S, {BACKFILL: ALL, FIRST: ALL, STRANGERS: ALL})
    began_at_s = fleet.now_s
    for quarters in range(1, 7):
        fleet.run(HOUR_S / 4, {BACKFILL: ALL, FIRST: ALL, STRANGERS: ALL, NIGHTLY: ALL})
        used = Counter(lane for at_s, lane in fleet.granted if at_s > began_at_s)
        # A bucket begins and ends between two calls: three more or less.
        assert used[NIGHTLY] >= 0.97 * SHARES.floor(NIGHTLY) * quarters - 3


def test_above_its_floor_a_lane_books_less_far_ahead_than_those_before_it(redis: Redis) -> None:
    """So the first lanes find a slot, however many callers of the others ask all the time."""
    fleet = Fleet(redis, per_second=5, per_hour=10_000, shares=Shares.parse("nightly=1", ""), max_wait_s=4)
    booked_s = {}
    for lane in (STRANGERS, BACKFILL, REPAIR, NIGHTLY, FIRST):
        while fleet.ask(lane, patience_s=4.0):
            booked_s[lane] = fleet.granted[-1][0] - fleet.now_s
    assert booked_s[STRANGERS] <= 0.6 < booked_s[BACKFILL] <= 1.0 < booked_s[REPAIR] <= 1.8
    assert 1.8 < booked_s[NIGHTLY] <= 2.6 < booked_s[FIRST] <= 3.4


@pytest.mark.parametrize("busy", [pytest.param(FIRST, marks=pytest.mark.rest), NIGHTLY])
def test_the_pace_keeps_floors_too(redis: Redis, busy: Lane) -> None:
    """There are many callers of one lane, one of another, and the hour is not short yet."""
    fleet = Fleet(redis, per_second=5, per_hour=10_000)
    while len(fleet.granted) < 200:
        for lane in (busy, busy, BACKFILL):
            fleet.ask(lane, 1.0)
        fleet.now_s += 0.1
    used = Counter(lane for _, lane in fleet.granted)
    assert 0.05 * 200 - 1 <= used[BACKFILL] <= 0.15 * 200


def test_a_call_that_was_never_sent_counts_for_nobody(redis: Redis) -> None:
    fleet = Fleet(redis, per_hour=10, per_day=20, shares=Shares.parse("nightly=30", ""))
    for lane in QUOTA_LANES:
        with inside(lane):
            permit = fleet.ledger.take_permit("data")
            assert fleet.ledger.used_by_lane("data")[lane] == 1
            fleet.ledger.release_permit(permit)
        assert not any(fleet.ledger.used_by_lane("data").values())
    with inside(NIGHTLY):
        permit = fleet.ledger.take_permit("data")
    fleet.now_s += 2 * HOUR_S
    fleet.ledger.release_permit(permit)  # It dropped out of the window, so there is nothing to undo.
    assert sum(fleet.ask(NIGHTLY) for _ in range(20)) == 10


def test_the_day_ends_what_the_hours_would_allow(redis: Redis) -> None:
    fleet = Fleet(redis, per_hour=100, per_day=250)
    first = fleet.run(6 * HOUR_S, {NIGHTLY: ALL}, step_s=300)
    assert first.total() <= 250
    rest = fleet.run(18 * HOUR_S, {NIGHTLY: ALL}, step_s=300)
    assert 0.97 * 250 <= first.total() + rest.total() <= 250
