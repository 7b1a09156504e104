"""The gate: a refusal closes it for all workers, it opens slowly, and another refusal closes it for longer."""

from __future__ import annotations

import uuid

import pytest
from redis import Redis

from worker.errors import RateLimited, SupplierLimited
from worker.quota.ledger import Limits, QuotaLedger

RAMP_S = 60.0


class SimulatedLedger:
    """A ledger on a clock of the test; ``calls`` asks it every tenth of a second and returns when it gave permits."""

    def __init__(self, redis: Redis, per_second: int | None = 5, **limits: int | None) -> None:
        self.now_s = 1_900_000_000.0
        self.ledger = QuotaLedger(
            redis,
            "enedis",
            Limits(per_second=per_second, per_hour=limits.get("per_hour")),
            prefix=f"test-{uuid.uuid4().hex}:",
            clock_us=lambda: round(self.now_s * 1e6),
            sleep=self.wait,
        )

    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    def calls(self, for_s: float) -> list[float]:
        began, granted = self.now_s, []
        while self.now_s < began + for_s:
            if self.ledger.try_permit("data").permit:
                granted.append(self.now_s - began)
            self.now_s += 0.1
        return granted


def test_it_opens_with_one_call_and_then_ever_faster(redis: Redis) -> None:
    simulated = SimulatedLedger(redis)
    simulated.ledger.close_gate(30)
    assert simulated.calls(30) == []
    by_ten_s = [0] * 7
    for at_s in simulated.calls(70):
        by_ten_s[int(at_s / 10)] += 1
    assert by_ten_s[0] <= 5
    assert by_ten_s == sorted(by_ten_s)
    assert 32 <= by_ten_s[-1] <= 40  # This is the full pace.
    assert 0.35 * 240 <= sum(by_ten_s[:6]) <= 0.55 * 240


def test_the_state_tells_how_far_it_has_opened(redis: Redis) -> None:
    simulated = SimulatedLedger(redis)
    assert simulated.ledger.gate_state() == (0, 1)
    simulated.ledger.close_gate(30)
    assert simulated.ledger.gate_state() == (30, 0)
    simulated.now_s += 30
    assert simulated.ledger.gate_state() == (0, 0.05)
    simulated.now_s += 45
    assert simulated.ledger.gate_state() == (0, 0.75)
    simulated.now_s += 15
    assert simulated.ledger.gate_state() == (0, 1)


def test_it_opens_slowly_where_there_is_no_limit_of_the_second_too(redis: Redis) -> None:
    simulated = SimulatedLedger(redis, per_second=None)
    simulated.ledger.close_gate(1)
    simulated.now_s += 1
    assert 60 <= len(simulated.calls(RAMP_S)) <= 130
    simulated.now_s += RAMP_S
    assert len(simulated.calls(5)) >= 50  # It gives all that is asked for.


def test_another_refusal_soon_after_closes_it_for_ever_longer(redis: Redis) -> None:
    simulated = SimulatedLedger(redis)
    closed = []
    for _ in range(8):
        simulated.ledger.close_gate(60)
        closed.append(round(simulated.ledger.closed_for_s()))
        simulated.now_s += closed[-1] + 5
    assert closed == [60, 120, 240, 480, 960, 1920, 3600, 3600]
    simulated.ledger.close_gate(7200)  # The wait that the supplier names has no limit.
    assert simulated.ledger.closed_for_s() == 7200
    simulated.now_s += 7200 + RAMP_S + 601
    simulated.ledger.close_gate(60)  # The earlier refusals are forgotten.
    assert simulated.ledger.closed_for_s() == 60


def test_many_calls_refused_together_are_one_refusal(redis: Redis) -> None:
    simulated = SimulatedLedger(redis)
    permits = []
    for _ in range(8):
        permits.append(simulated.ledger.take_permit("data"))
    for permit in permits[:4]:
        simulated.ledger.close_gate(60, permit)
        simulated.now_s += 1
    assert simulated.ledger.closed_for_s() <= 60
    simulated.now_s += 70  # It is open again, and some calls were under way for so long.
    for permit in permits[4:]:
        simulated.ledger.close_gate(1, permit)
        assert simulated.ledger.closed_for_s() <= 1
        simulated.now_s += 2
    simulated.ledger.close_gate(60, simulated.ledger.take_permit("data"))  # This call was sent after the opening.
    assert simulated.ledger.closed_for_s() == 120


def test_who_booked_a_permit_before_it_closed_does_not_send(redis: Redis) -> None:
    simulated = SimulatedLedger(redis, per_hour=100)
    simulated.ledger.take_permit("data")
    closing = SimulatedLedger.wait

    def close_meanwhile(seconds: float) -> None:
        closing(simulated, seconds)
        simulated.ledger.close_gate(30)

    simulated.ledger._sleep = close_meanwhile
    with pytest.raises(SupplierLimited) as caught:
        simulated.ledger.take_permit("data")
    assert caught.value.retry_after_s == 30
    assert sum(simulated.ledger.used_by_lane("data").values()) == 1  # Its permit was released.


def test_d4_our_own_pacing_and_the_word_of_the_supplier_have_two_codes(redis: Redis) -> None:
    simulated = SimulatedLedger(redis, per_hour=1)
    simulated.ledger.take_permit("data")
    with pytest.raises(RateLimited) as paced:
        simulated.ledger.take_permit("data")
    simulated.ledger.close_gate(7_200)
    with pytest.raises(RateLimited) as refused:
        simulated.ledger.take_permit("data")
    assert (paced.value.code, refused.value.code) == ("RATE_LIMITED", "RATE_LIMITED.BY_SUPPLIER")
