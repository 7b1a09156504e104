"""The gate: one refusal closes it for all, it opens slowly, and a further refusal closes it for longer."""

from __future__ import annotations

import uuid

import pytest
from redis import Redis

from worker.errors import RateLimited
from worker.quota.ledger import QuotaLedger

RAMP_S = 60.0


class House:
    """A ledger by a clock of ours; ``calls`` tells when it let one through, asked every tenth of a second."""

    def __init__(self, redis: Redis, per_second: int | None = 5, **limits: int | None) -> None:
        self.now_s = 1_900_000_000.0
        self.ledger = QuotaLedger(
            redis,
            "enedis",
            per_second=per_second,
            per_hour=limits.get("per_hour"),
            prefix=f"test-{uuid.uuid4().hex}:",
            clock_us=lambda: round(self.now_s * 1e6),
            sleep=self.wait,
        )

    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    def calls(self, for_s: float) -> list[float]:
        began, granted = self.now_s, []
        while self.now_s < began + for_s:
            if self.ledger.take("data").permit:
                granted.append(self.now_s - began)
            self.now_s += 0.1
        return granted


def test_it_opens_with_one_call_and_then_ever_faster(redis: Redis) -> None:
    house = House(redis)
    house.ledger.close(30)
    assert house.calls(30) == []
    by_ten_s = [0] * 7
    for at_s in house.calls(70):
        by_ten_s[int(at_s / 10)] += 1
    assert by_ten_s[0] <= 5
    assert by_ten_s == sorted(by_ten_s)
    assert 32 <= by_ten_s[-1] <= 40  # the full pace
    assert 0.35 * 240 <= sum(by_ten_s[:6]) <= 0.55 * 240


def test_the_state_tells_how_far_it_has_opened(redis: Redis) -> None:
    house = House(redis)
    assert house.ledger.gate.state() == (0, 1)
    house.ledger.close(30)
    assert (house.ledger.gate.state(), house.ledger.held()) == ((30, 0), True)
    house.now_s += 30
    assert (house.ledger.gate.state(), house.ledger.held()) == ((0, 0.05), False)
    house.now_s += 45
    assert house.ledger.gate.state() == (0, 0.75)
    house.now_s += 15
    assert house.ledger.gate.state() == (0, 1)


def test_it_opens_slowly_where_there_is_no_limit_of_the_second_too(redis: Redis) -> None:
    house = House(redis, per_second=None)
    house.ledger.close(1)
    house.now_s += 1
    assert 60 <= len(house.calls(RAMP_S)) <= 130
    house.now_s += RAMP_S
    assert len(house.calls(5)) >= 50  # whatever is asked for


def test_another_refusal_soon_after_closes_it_for_ever_longer(redis: Redis) -> None:
    house = House(redis)
    closed = []
    for _ in range(8):
        house.ledger.close(60)
        closed.append(round(house.ledger.closed_for_s()))
        house.now_s += closed[-1] + 5
    assert closed == [60, 120, 240, 480, 960, 1920, 3600, 3600]
    house.ledger.close(7200)  # what the supplier names is kept to
    assert house.ledger.closed_for_s() == 7200
    house.now_s += 7200 + RAMP_S + 601
    house.ledger.close(60)  # forgotten
    assert house.ledger.closed_for_s() == 60


def test_many_calls_refused_together_are_one_refusal(redis: Redis) -> None:
    house = House(redis)
    permits = []
    for _ in range(8):
        permits.append(house.ledger.enter("data"))
    for permit in permits[:4]:
        house.ledger.close(60, permit)
        house.now_s += 1
    assert house.ledger.closed_for_s() <= 60
    house.now_s += 70  # open again: some have been under way for so long
    for permit in permits[4:]:
        house.ledger.close(1, permit)
        assert house.ledger.closed_for_s() <= 1
        house.now_s += 2
    house.ledger.close(60, house.ledger.enter("data"))  # but this one was sent after the opening
    assert house.ledger.closed_for_s() == 120


def test_who_booked_a_permit_before_it_closed_does_not_send(redis: Redis) -> None:
    house = House(redis, per_hour=100)
    house.ledger.enter("data")
    closing = House.wait

    def close_meanwhile(seconds: float) -> None:
        closing(house, seconds)
        house.ledger.close(30)

    house.ledger._sleep = close_meanwhile
    with pytest.raises(RateLimited) as caught:
        house.ledger.enter("data")
    assert caught.value.retry_after_s == 30
    assert house.ledger.used("data") == 1  # its permit was given back


def test_those_who_waited_for_the_opening_come_one_after_the_other(redis: Redis) -> None:
    house = House(redis)
    house.ledger.close(30)
    told = []
    for _ in range(400):
        with pytest.raises(RateLimited) as caught:
            house.ledger.enter("data")
        told.append(caught.value.retry_after_s or 0.0)
    assert told[0] == 30
    assert told == sorted(told)
    assert len(set(told[:200])) == 200
    assert told[-1] <= 30 + 60.5
