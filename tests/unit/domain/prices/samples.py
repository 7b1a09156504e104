"""Days with their curves, contracts and colours for hypothesis: clock changes, holes, odd hours, late colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

from hypothesis import strategies as st

from tests.unit.domain.prices.reference import DAY, MINUTE, Contract, Step, midnight
from worker.domain.documents import Entry
from worker.domain.prices import Colour, Option
from worker.domain.prices.choices import OffPeakHours, Terms

# Days before and after both clock changes, the end of a season of Tempo, of a year and of a leap month.
FIRST_DAYS = [date(2024, 3, 30), date(2024, 10, 26), date(2024, 8, 31), date(2023, 12, 31), date(2024, 2, 28)]


class Case(NamedTuple):
    """Some days in a row; of the day before there are steps and a colour, and no contract."""

    steps: Sequence[Step]
    contracts: Mapping[date, Contract]
    colours: Mapping[date, str]

    @property
    def entries(self) -> list[Entry]:
        return [to_entry(step) for step in self.steps]

    @property
    def terms(self) -> dict[date, Terms]:
        return {day: to_terms(contract) for day, contract in self.contracts.items()}

    @property
    def known_colours(self) -> dict[date, Colour]:
        return {day: Colour(colour) for day, colour in self.colours.items()}


def to_entry(step: Step) -> Entry:
    key = f"{step.start.astimezone(UTC).isoformat()[:16]}Z"
    return Entry(key, step.energy, None if step.minutes == 30 else step.minutes)


def to_terms(contract: Contract, estimated: bool = False) -> Terms:
    at = [(time(start // 60, start % 60), time(end // 60, end % 60)) for start, end in contract.hours or ()]
    known = None if contract.hours is None else OffPeakHours(date(2020, 1, 1), tuple(at), estimated)
    return Terms(Option(contract.option), None, known)


def steps_between(start: datetime, end: datetime, minutes: int, energy: int = 500_000) -> list[Step]:
    number = int((end - start) / (minutes * MINUTE))
    return [Step(start + place * minutes * MINUTE, minutes, energy + place) for place in range(number)]


@st.composite
def hours(draw: st.DrawFn) -> tuple[tuple[int, int], ...]:
    """Return one to three ranges, some off the half-hour, some past midnight, some in the hour of the clock change."""
    minutes = st.one_of(st.sampled_from([0, 60, 120, 150, 180, 360, 424, 1320, 1384, 1410]), st.integers(0, 1439))
    bounds = sorted(draw(st.lists(minutes, min_size=6, max_size=6, unique=True)))
    shift, number = draw(st.integers(0, 1)), draw(st.integers(1, 3))
    bounds = [*bounds[shift:], *bounds[:shift]]
    return tuple((bounds[2 * place], bounds[2 * place + 1]) for place in range(number))


contracts = st.one_of(
    st.builds(Contract, st.just("hphc"), st.one_of(hours(), hours(), st.none())),
    st.just(Contract("hphc", ((60, 180),))),
    st.just(Contract("tempo")),
)


@st.composite
def curves(draw: st.DrawFn, start: datetime, end: datetime) -> list[Step]:
    """Return steps of one length after another, which may begin off the hour, with holes."""
    steps: list[Step] = []
    start += draw(st.sampled_from([0, 0, 0, 4, 30])) * MINUTE
    while start < end:
        minutes = draw(st.sampled_from([10, 15, 30, 30, 60, 60]))
        until = min(end, start + timedelta(hours=draw(st.integers(8, 60))))
        steps += steps_between(start, until, minutes, draw(st.sampled_from([0, 7, 500_000])))
        start = max(until, start + minutes * MINUTE)
    steps = [
        step
        for place, step in enumerate(steps)
        if not place or steps[place - 1].start + steps[place - 1].minutes * MINUTE <= step.start
    ]
    for _ in range(draw(st.integers(0, 2))):
        first = draw(st.integers(0, max(len(steps) - 1, 0)))
        del steps[first : first + draw(st.integers(1, 30))]
    return steps


@st.composite
def cases(draw: st.DrawFn, any_contract: st.SearchStrategy[Contract] = contracts) -> Case:
    first, number = draw(st.sampled_from(FIRST_DAYS)), draw(st.integers(1, 3))
    days = [first + place * DAY for place in range(number)]
    agreed = [draw(any_contract)] * number if draw(st.booleans()) else [draw(any_contract) for _ in days]
    colours = {day: draw(st.sampled_from([*map(str, Colour), None])) for day in [first - DAY, *days]}
    steps = draw(curves(midnight(first) - timedelta(hours=2), midnight(days[-1] + DAY)))
    known = {day: colour for day, colour in colours.items() if colour}
    return Case(steps, dict(zip(days, agreed, strict=True)), known)
