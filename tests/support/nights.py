"""A queue between fan-out and workers that a test works off as it likes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.unit.conftest import Household
from worker.domain.fleet.outcomes import AnswerClass, Call
from worker.domain.measures.messages import WindowJob, night_of, window_of
from worker.domain.measures.readings import Series
from worker.sync.due import FanOut


@dataclass
class Queue:
    """Published windows that no worker has taken yet."""

    household: Household
    whole_walk: bool = True
    waiting: list[WindowJob] = field(default_factory=list)
    published: Counter[tuple[str, str]] = field(default_factory=Counter)
    asked: Counter[tuple[str, str]] = field(default_factory=Counter)  # of the supplier

    def publish(self, pairs: Sequence[tuple[str, Series]], run: str) -> int:
        origins = self.household.dispatcher.claim_look_backs(pairs, run)
        self.waiting += origins
        self.published.update((origin["account_id"], origin["series"]) for origin in origins)
        return len(origins)

    def length(self, name: str) -> int:
        assert name == "nightly"
        return len(self.waiting)

    def work(self, most: int = 1000) -> None:
        """As ``tasks.pipeline.fetch`` and the steps after it do."""
        for _ in range(min(most, len(self.waiting))):
            origin = self.household.dispatcher.as_of_now(self.waiting.pop(0))
            if origin is not None:
                self.asked[origin["account_id"], origin["series"]] += 1
                self.household.run(origin) if self.whole_walk else self._end(origin)

    def _end(self, origin: WindowJob) -> None:
        """What is left of a look-back that found nothing new, without the walk."""
        night, state = night_of(origin["claim"]), self.household.state
        if night is not None:
            call = Call(self.household.at, window_of(origin), AnswerClass.NO_DATA, "nightly")
            state.note_night(origin["account_id"], origin["series"], night, call)
        self.household.dispatcher.release(origin["account_id"], str(origin["claim"]), origin["run_id"])

    def fan_out(self, most_waiting: int = 1000, **options: Any) -> FanOut:
        house = self.household
        return FanOut(house.dispatcher, house.state, self.publish, self.length, most_waiting, **options)


def accounts_of(queue: Queue) -> list[str]:
    return [account.id for page in queue.household.dispatcher.pages_after(None) for account in page]


def everything_once(queue: Queue) -> Counter[tuple[str, str]]:
    return Counter((account, series.value) for account in accounts_of(queue) for series in Series)
