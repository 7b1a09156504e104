"""After any story of readings, prices, colours and outages, Home Assistant holds the costs that we show.

The end is compared with our costs, and with a Home Assistant that got everything at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from fractions import Fraction
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.support.profiles import examples
from tests.support.receivers import FAILURES, HomeAssistantInMemory
from tests.support.registries import switch_on
from tests.unit.outputs.test_what_receivers_hold import DAYS, EXPIRY, HALF_HOURS, World, grids, places, world
from tests.unit.outputs.test_what_receivers_hold_of_costs import check_costs as check_series_servers
from tests.unit.outputs.test_what_receivers_hold_of_costs import check_mqtt_costs
from worker.accounts.prices import read_costs, remove_prices, save_colours, set_prices
from worker.domain.documents import ALL_KEYS, key_of
from worker.domain.messages import ChangedPart
from worker.domain.prices import Option
from worker.domain.prices.choices import read_hours
from worker.domain.prices.cost import EURO
from worker.domain.prices.energy import PeriodEnergies
from worker.domain.prices.own_prices import read_own_prices
from worker.domain.prices.tempo import read_colours
from worker.domain.series import Doctype, Series
from worker.domain.windows import ONE_DAY, DateWindow, IntervalReading, civil_date, day_length, local_midnight
from worker.outputs.home_assistant import HomeAssistant
from worker.outputs.output import Change, OutputAccount

HOME_ASSISTANT: Final = 2  # Its number among the world's receivers.
ELECTRICITY: Final = "[[electricity]]\nsubscription = 10\nfrom = {first}\n"
TEMPO: Final = "blue_hp = 0.2\nblue_hc = 0.1\nwhite_hp = 0.3\nwhite_hc = 0.2\nred_hp = 0.7\nred_hc = 0.15\n"
CALENDARS: Final = {"hphc": ("HP", "HC"), "tempo": ("BUHP", "BUHC", "BCHP", "BCHC", "RHP", "RHC")}
CHANGES: Final[Sequence[dict[str, Any]]] = [
    {"own": f"{ELECTRICITY}base = 0.2\n"},
    {"own": f"{ELECTRICITY}base = 0.12345678\n"},
    {"own": f"{ELECTRICITY}hp = 0.3\nhc = 0.11111111\n"},
    {"own": f"{ELECTRICITY}{TEMPO}"},
    {"own": "[[production]]\nfrom = {first}\nprice = 0.1\n"},
    {"hours": "22:00-06:00"},
    {"hours": "01:34-07:04,12:00-14:00"},
    {"regulated": (Option.BASE, 6)},
    {"regulated": (Option.TEMPO, 9)},
    {"regulated": (Option.HPHC, 6)},  # Of which no price is known.
    {},
]


class Story:
    """What a world's home is told, besides its readings of electricity from the grid."""

    def __init__(self, made: World) -> None:
        self.made = made
        self.revisions: dict[tuple[Doctype, str], str] = {}
        switch_on(made.registry, made.account, Series.DAILY, Series.LOAD_CURVE, Series.PRODUCTION_DAILY)

    def tell(self, kind: str, *what: Any) -> None:
        made = self.made
        match kind:
            case "curve":
                made.serve(DAYS[what[0]], *what[1:])
            case "daily":
                made.serve_daily(DAYS[what[0]], *what[1:])
            case "fed":
                day, amount = DAYS[what[0]], 1000 * what[1]
                made._run(
                    Series.PRODUCTION_DAILY, day, [IntervalReading(local_midnight(day), day_length(day), amount)], ""
                )
            case "prices":
                self.set(*what)
            case "colours":
                save_colours(
                    made.registry, read_colours(f"day,colour\n{DAYS[what[0]] - what[1] * ONE_DAY},{what[2]}\n")
                )
            case "registers":
                self.put_registers(*what)
            case "contract":
                day = str(DAYS[what[0]])
                details = {"off_peak_hours": what[1], "activated_on": "2024-01-10", "load": 6.0}
                self.put(Series.CONTRACT, {day: details})
            case "deliver":
                for number in range(len(made.receivers)):
                    made.deliver(number, what[0], what[1], forgets=what[2])
            case "crossing":
                made.home_assistant.meanwhile = lambda: self.tell(*what[0])
                made.deliver(HOME_ASSISTANT)
                made.home_assistant.meanwhile = None

    def set(self, number: int, first: date) -> None:
        account = self.made.registry.accounts.get_existing(self.made.account)
        change = dict(CHANGES[number])
        if not change:
            remove_prices(self.made.registry, account)
            return
        if "own" in change:
            change["own"] = read_own_prices(change["own"].format(first=first))
        else:
            change["first"] = first
        if "hours" in change:
            change["hours"] = read_hours(change["hours"])
        set_prices(self.made.registry, account, **change)

    def put_registers(self, day: int, calendar: str, watt_hours: int) -> None:
        """Store what the registers of a calendar show at both ends of a day, or remove the later one."""
        first, names = DAYS[day], CALENDARS[calendar]
        shown: dict[str, dict[str, Any]] = {}
        for place in (0, 1):
            registers = {name: 10_000 + place * watt_hours * (number + 1) for number, name in enumerate(names)}
            values = {"load": sum(registers.values()) / 1000, "calendar": calendar, "registers": registers}
            shown[str(first + place * ONE_DAY)] = values
        if not watt_hours:
            shown = {str(first): shown[str(first)], str(first + ONE_DAY): {}}
        self.put(Series.REGISTERS, shown)

    def put(self, series: Series, rows: dict[str, dict[str, Any]]) -> None:
        """Write readings as a window does; one without fields is removed."""
        made, inputs = self.made, series.inputs
        there = {key_of(one): one for one in made.store.read(made.account, {inputs: ALL_KEYS})[inputs]}
        rows = {
            key: fields
            for key, fields in rows.items()
            if not fields or {**there.get(key, {}), **fields} != there.get(key)
        }
        starts = [local_midnight(date.fromisoformat(key)) for key in rows] or [made.at]
        new = [
            {**there.get(key, {"_id": f"{made.account}:{key}"}), **fields, "updated_at": made.at.isoformat()}
            for key, fields in rows.items()
            if fields
        ]
        gone = [there[key] for key, fields in rows.items() if not fields and key in there]
        # What a changed reading stood for counts as removed, and as stored again (``messages.changed_part``).
        removed = frozenset(map(key_of, gone)).union(rows.keys() & there.keys())
        with made.outbox.noting(made.account, series) as note:
            note(ChangedPart(min(starts), max(starts), removed))
            assert not any(made.store.write({inputs: new}, {inputs: gone} if gone else {}).values())


def check_costs(made: World) -> None:
    """Compare what Home Assistant holds with our costs, and with one that is told everything at once."""
    names = {name for name in made.home_assistant.server.rows if name.endswith(("cost", "compensation", "p", "c"))}
    fresh, account = HomeAssistantInMemory(), OutputAccount(made.account, made.account)
    address: Any = fresh
    output = HomeAssistant(address, "en", made.store, lambda: made.at, made.tariff_of, wait=lambda _: None)
    moment = local_midnight(min(DAYS) - ONE_DAY)
    output.send([Change(account, Series.DAILY, moment, moment)])
    whole = fresh.server.rows
    for name in names.union(whole) - {f"releve:{made.account}_consumption"}:
        held, expected = made.home_assistant.server.rows.get(name, {}), whole.get(name, {})
        assert {start: row for start, row in held.items() if row.state is not None} == expected, name
        reached = 0.0
        for start in sorted({*held, *expected}):
            reached = (expected[start].sum or 0) if start in expected else reached
            assert held[start].sum == reached, (name, start)
    tariff, window = made.tariff_of(made.account), DateWindow(min(DAYS), civil_date(made.at) + ONE_DAY)
    costs, paid = read_costs(made.store, made.account, tariff, window, unpriced=True)
    for name, rows in whole.items():
        of_kind = (paid or {}) if name.endswith("compensation") else costs
        total = Fraction(0)
        for day, cost in sorted(of_kind.items()):
            total += amount_of(name.partition("_")[2].removeprefix("consumption_"), cost)
            at_end = [row.sum for start, row in sorted(rows.items()) if civil_date(start) <= day]
            if name.endswith(("cost", "compensation")) or "_h" in name:
                assert abs(Fraction(at_end[-1] if at_end else 0) - total) <= Fraction(51, 10**8), (name, day)


def amount_of(name: str, cost: PeriodEnergies) -> Fraction:
    """Return the euros or kWh of a day for the end of a statistic's identifier."""
    if name in ("cost", "production_compensation"):
        return Fraction(sum(cost.parts.values()), EURO)
    if name.endswith("_cost"):
        return Fraction(cost.parts.get(name.removesuffix("_cost"), 0), EURO)
    return Fraction(cost.by_period.get(name, 0), 10**6)


day_numbers = st.integers(0, len(DAYS) - 1)
firsts = st.sampled_from([date(2000, 1, 1), date(2024, 1, 1), *DAYS[1:4]])
PRICES = st.tuples(st.just("prices"), st.integers(0, len(CHANGES) - 1), firsts)
COLOURS = st.tuples(
    st.just("colours"), day_numbers, st.integers(0, 1), st.sampled_from(["BLUE", "BLUE", "WHITE", "RED"])
)
REGISTERS = st.tuples(
    st.just("registers"), day_numbers, st.sampled_from([*CALENDARS]), st.sampled_from([0, 1, 333, 1000])
)
CURVE = st.tuples(st.just("curve"), day_numbers, grids, places, st.none() | st.integers(0, 50))
EVENT = st.one_of(
    PRICES,
    PRICES,
    COLOURS,
    REGISTERS,
    CURVE,
    st.tuples(st.just("daily"), day_numbers, st.sampled_from(["good", "good", "none"]), places),
    st.tuples(st.just("fed"), day_numbers, st.integers(0, 9000)),
    st.tuples(st.just("contract"), day_numbers, st.sampled_from(["HC (22H00-6H00)", "HC (2H04-7H04)"])),
    st.tuples(st.just("deliver"), st.none() | st.integers(0, 6), st.sampled_from(FAILURES), st.booleans()),
    st.tuples(st.just("crossing"), st.one_of(PRICES, COLOURS, REGISTERS, CURVE)),
)
ALL: Final = date(2000, 1, 1)
SENT: Final = ("deliver", None, "", True)


@pytest.mark.rest
@settings(max_examples=examples(120, desk=3), suppress_health_check=list(HealthCheck))
@given(st.lists(EVENT, max_size=14))
@example([("curve", 3, HALF_HOURS), ("daily", 3), ("prices", 0, ALL), SENT, ("prices", 10, ALL)])
@example([("curve", 3, HALF_HOURS), ("prices", 2, ALL), ("prices", 6, ALL), SENT, ("registers", 3, "hphc", 333)])
@example([("curve", 3, HALF_HOURS), ("curve", 4, HALF_HOURS), ("prices", 3, ALL), ("colours", 3, 0, "RED"), SENT])
@example([("curve", 4, HALF_HOURS), ("prices", 3, ALL), SENT, ("colours", 4, 0, "RED"), ("colours", 4, 1, "BLUE")])
@example([("fed", 2, 5000), ("prices", 4, ALL), SENT, ("fed", 0, 1000), ("prices", 4, DAYS[2])])
@example([("curve", 3, HALF_HOURS), ("prices", 2, ALL), SENT, ("contract", 4, "HC (2H04-7H04)")])
@example([("daily", 3), ("prices", 0, ALL), ("crossing", ("prices", 1, ALL))])
@example([("daily", 0), ("daily", 3), ("prices", 0, ALL)])
@example([("fed", 2, 5000), ("fed", 3, 5000), ("prices", 4, ALL), SENT, ("fed", 4, 5000)])
@example([("prices", 2, ALL), ("registers", 2, "hphc", 333), SENT, ("registers", 2, "hphc", 1000)])
@example([("prices", 2, ALL), ("registers", 2, "hphc", 333), SENT, ("registers", 2, "tempo", 333)])
def test_home_assistant_holds_our_costs_after_any_story(events: Sequence[Any]) -> None:
    with world() as made:
        story = Story(made)
        for event in events:
            story.tell(*event)
        made.at += 2 * EXPIRY
        made.deliver(HOME_ASSISTANT)
        output_id = made.output_of(made.home_assistant)
        assert made.outbox.next_changes(output_id) == [], made.outputs.get(output_id).error
        check_costs(made)
        made.deliver_all()
        check_series_servers(made)
        check_mqtt_costs(made)
