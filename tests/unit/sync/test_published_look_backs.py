"""Look-backs that are claimed together and published one by one, where the broker fails on the way."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from kombu.exceptions import OperationalError

from tasks import nightly
from tests.unit.conftest import Household
from worker.domain.measures.messages import WindowJob
from worker.domain.measures.readings import Series

RUN = "nightly:2024-07-25"


class Broker:
    """A broker that takes ``capacity`` messages and is then unreachable."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.taken: list[tuple[str, str]] = []
        self.runs: list[str] = []

    def chain(self, job: WindowJob, queue: str) -> Any:
        assert queue == "nightly"
        return SimpleNamespace(apply_async=lambda: self._take(job))

    def _take(self, job: WindowJob) -> None:
        if len(self.taken) == self.capacity:
            raise OperationalError("away")
        self.taken.append((job["account_id"], job["series"]))
        self.runs.append(job["run_id"])


@pytest.fixture
def pairs(household: Household, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Series]]:
    monkeypatch.setattr(nightly, "get_runtime", lambda: household)
    return [(household.add(number), series) for number in range(10, 13) for series in Series]


def test_each_look_back_is_a_message_with_a_run_of_its_own(
    pairs: list[tuple[str, Series]], monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = Broker(100)
    monkeypatch.setattr(nightly, "window_chain", broker.chain)
    assert nightly._publish(pairs, RUN) == 6
    assert broker.taken == [(account, series.value) for account, series in pairs]
    assert len({*broker.runs}) == 6, "a lost message is told by its run"
    assert broker.runs == sorted(broker.runs)
    assert nightly._publish(pairs, RUN) == 0


def test_what_the_broker_did_not_take_is_due_again_at_once(
    pairs: list[tuple[str, Series]], monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = Broker(2)
    monkeypatch.setattr(nightly, "window_chain", broker.chain)
    with pytest.raises(OperationalError):
        nightly._publish(pairs, RUN)
    broker.capacity = 100
    assert nightly._publish(pairs, RUN) == 4
    assert broker.taken == [(account, series.value) for account, series in pairs]
