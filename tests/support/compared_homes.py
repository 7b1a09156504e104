"""Homes whose readings are compared, at every interface of Relève, with a reference that gets the same input.

Their readings come in as answers and files of suppliers. A house is an installation with a receiver of each output.
Each home has the traps of its kind: steps of all lengths, hours that begin at half past, holes, both clock changes,
corrections, days that no supplier sends any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from tests.support import gas_answers
from tests.support.api_service import ApiService
from tests.support.canned_server import CannedServer, answer, canned_server
from tests.support.factories import PretendSupplier, answer_2026
from tests.support.gas_homes import PCE
from tests.support.home_assistant_server import TOKEN, HomeAssistantServer, home_assistant_server
from tests.support.installation import Installation, new_installation, prepare_installation
from tests.support.line_server import TOKEN as LINE_TOKEN
from tests.support.line_server import LineServer, line_server
from tests.support.mosquitto import PASSWORD, USER, Mosquitto
from tests.support.parts import Parts
from tests.support.plain_reference import (
    KWH,
    ONE_DAY,
    PARIS,
    Flow,
    GasPeriod,
    Step,
    days_between,
    length_of,
    local,
    midnight,
    minute_of,
)
from tests.support.registries import METER, OTHER_METER, switch_on
from worker.domain.series import Series, of_supplier
from worker.domain.windows import DateWindow

NOW: Final = datetime(2024, 11, 3, 7, 0, tzinfo=UTC)  # A Sunday, a week after the autumn change.
TODAY: Final = date(2024, 11, 3)
SPRING, AUTUMN = date(2024, 3, 31), date(2024, 10, 27)
FILES_ALONE: Final = {"home": "true", "gateway_url": "http://127.0.0.1:9"}
DAILY_OF: Final = {"consumption": "daily", "production": "production_daily", "gas": "gas_daily"}
CURVE_OF: Final = {"consumption": "load_curve", "production": "production_load_curve"}
_SECRET: Final = "between us and the receiver of measures"


@dataclass
class House:
    """A running installation, and the receivers of its outputs."""

    installation: Installation
    parts: Parts
    broker: Mosquitto
    webhook: CannedServer
    lines: LineServer
    assistant: HomeAssistantServer
    answers: int = 0

    def __post_init__(self) -> None:
        self.service = ApiService(self.parts, self.parts.create_app())
        more = {"bucket": "home"}
        options: dict[str, dict[str, Any]] = {
            "webhook": {"url": self.webhook.url, "secret": _SECRET},
            "line-protocol": {"url": self.lines.url, "secret": LINE_TOKEN, "more": more},
            "home-assistant": {"url": self.assistant.url, "secret": TOKEN},
            "mqtt": {"url": f"mqtt://127.0.0.1:{self.broker.port}", "secret": PASSWORD, "more": {"user": USER}},
        }
        for kind, of_kind in options.items():
            self.parts.stores.registry.outputs.insert(kind, of_kind, NOW)

    def sync(self, account: str, series: Series, first: date, end: date, payload: Any) -> None:
        """Let a supplier answer a window with ``payload``, a minute after the previous answer."""
        self.answers += 1
        asked_at = NOW - timedelta(hours=6) + self.answers * timedelta(minutes=1)
        supplier = PretendSupplier(others={series: payload})
        sync = replace(self.parts.sync.window, supplier_of=lambda _: supplier, now=lambda: asked_at)
        sync.sync_window(self.parts.sync.claims.to_job(account, series, DateWindow(first, end)))

    def deliver(self) -> None:
        """Deliver all waiting changes to the outputs."""
        for state in self.parts.stores.registry.outputs.list_outputs():
            self.parts.outputs.deliver(state.id)
        states = self.parts.stores.registry.outputs.list_outputs()
        assert [(state.kind, state.error, state.waiting) for state in states if state.error or state.waiting] == []


@contextmanager
def open_house(folder: Path, redis_url: str, broker: Mosquitto, **settings: str) -> Iterator[House]:
    prepare_installation(folder)
    usual = {"pretend_now": NOW.isoformat(), "api_calls_per_minute": "100000"}
    installation = new_installation(folder, redis_url, **usual, **settings)
    with (
        installation.open() as parts,
        canned_server(*[answer(204, "")] * 2000) as webhook,
        line_server() as lines,
        home_assistant_server() as assistant,
    ):
        parts.stores.redis.flushdb()
        yield House(installation, parts, broker, webhook, lines, assistant)
        parts.stores.redis.flushdb()


@dataclass
class Home:
    """An account, and its flows in the reference. ``days``: those whose charts are read."""

    house: House
    account: str
    flows: list[Flow]
    days: list[date] = field(default_factory=list)

    @property
    def flow(self) -> Flow:
        return self.flows[0]

    @property
    def fed(self) -> Flow | None:
        return self.flows[1] if len(self.flows) > 1 else None

    def tell_days(self, flow: Flow, energies: Mapping[date, int | None]) -> None:
        """Let the supplier send daily energies (mWh), and pass them to the reference."""
        first, end = min(energies), max(energies) + ONE_DAY
        rows = [[str(day), None if one is None else str(Decimal(one) / 1000)] for day, one in energies.items()]
        series = Series(DAILY_OF[flow.name])
        self.house.sync(self.account, series, first, end, answer_2026(rows, series))
        flow.take_days(energies)

    def tell_steps(self, flow: Flow, steps: Sequence[Step]) -> None:
        """Let the supplier send steps of consecutive days, labelled by the local times of their ends."""
        first, end = steps[0].day, steps[-1].day + ONE_DAY
        rows = [
            [f"{local(step.end):%Y-%m-%d %H:%M:%S}", str(step.milliwatts // 1000), f"PT{step.length}M"]
            for step in steps
        ]
        series = Series(CURVE_OF[flow.name])
        self.house.sync(self.account, series, first, end, answer_2026(rows, series))
        flow.take_steps(steps)


# -- Invented readings


def made_steps(
    day: date, lengths: Iterable[int], watts: int, *, spread: int = 1301, at_half_past: bool = False
) -> list[Step]:
    """Return the steps of a day: each hour has the next of the lengths, in rotation; the powers are invented.

    ``watts``: the lowest. ``at_half_past``: its hours begin at half past, and the last one ends on the next day.
    """
    cycle, steps = list(lengths), []
    first, shift = midnight(day), 30 if at_half_past else 0
    for number, hour in enumerate(range(first, first + length_of(day), 60)):
        length = cycle[number % len(cycle)]
        starts = range(hour + shift, hour + shift + 60, length)
        steps += [Step(start, start + length, 1000 * (watts + start * 7919 // 5 % spread)) for start in starts]
    return steps


def made_sun(steps: Iterable[Step], peak: int) -> list[Step]:
    """Return the same steps with the power of panels: nothing at night."""
    return [
        step._replace(milliwatts=1000 * (peak * max(0, 49 - (local(step.start).hour - 13) ** 2) // 49))
        for step in steps
    ]


def without(steps: Iterable[Step], *holes: tuple[datetime, datetime]) -> list[Step]:
    """Return the steps that don't overlap the holes."""
    bounds = [(minute_of(first), minute_of(end)) for first, end in holes]
    return [step for step in steps if not any(step.start < end and first < step.end for first, end in bounds)]


def at(day: date, hour: int, minute: int = 0) -> datetime:
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=PARIS)


# -- The homes


def panels(house: House) -> Home:
    """Return a home with panels: steps of all lengths, hours that begin at half past, holes and corrections."""
    account, _ = house.parts.stores.registry.accounts.add("enedis", METER, NOW, token_needed=False)
    switch_on(house.parts.stores.registry, account.id, Series.PRODUCTION_DAILY, Series.PRODUCTION_LOAD_CURVE)
    drawn, fed = Flow("consumption"), Flow("production")
    home = Home(house, account.id, [drawn, fed])
    # Days that are absent for good, but whose curves are complete.
    absent_drawn, absent_fed = date(2024, 3, 30), date(2024, 4, 1)
    drawn.unfetchable, fed.unfetchable = {absent_drawn}, {absent_fed}

    lacking = {absent_drawn, date(2024, 2, 29), *days_between(date(2024, 6, 10), date(2024, 6, 13)), date(2024, 10, 30)}
    days: dict[date, int | None] = {}
    for day in days_between(date(2023, 9, 20), TODAY):
        days[day] = None if day in lacking else 1000 * (9_001 + day.toordinal() * 37 % 4_999)
    days |= {date(2024, 7, 14): 0, date(2024, 5, 1): 10_412_500, date(2024, 5, 2): 9_999_499}
    for first, end in ((date(2023, 9, 20), date(2024, 3, 1)), (date(2024, 3, 1), TODAY)):
        home.tell_days(drawn, {day: days[day] for day in days_between(first, end)})
    sun: dict[date, int | None] = {}
    for day in days_between(date(2024, 2, 10), TODAY):
        missing = day in (absent_fed, date(2024, 10, 29)) or date(2024, 6, 11) <= day < date(2024, 6, 21)
        sun[day] = None if missing else 1000 * (3_003 + day.toordinal() * 53 % 9_001)

    mixed = (5, 30, 60, 10, 15)
    spring = days_between(date(2024, 3, 29), date(2024, 4, 3))
    for day, lengths in zip(spring, ((30,), mixed, (60, 10, 15), (60,), (15,)), strict=True):
        steps = made_steps(day, lengths, 203, at_half_past=lengths == (60,))
        if day == date(2024, 4, 2):  # An hour of the previous day extends into it.
            steps = without(steps, (at(day, 0), at(day, 0, 30)))
        home.tell_steps(drawn, steps)
    for day, lengths in zip(spring, ((60,), (30,), (15, 30), (30,), (10,)), strict=True):
        home.tell_steps(fed, made_sun(made_steps(day, lengths, 0), 2_477))

    autumn = days_between(date(2024, 10, 25), TODAY)
    cycles = ((10,), (60,), (30, 15, 5, 60), (5,), (30,), (60,), (30, 10), (15,), (30,))
    for day, lengths in zip(autumn, cycles, strict=True):
        steps = made_steps(day, lengths, 187, at_half_past=day == date(2024, 10, 26))
        if day == AUTUMN:
            steps = without(steps, (at(day, 0), at(day, 0, 30)))
        if day == date(2024, 10, 28):
            steps = without(steps, (at(day, 10, 5), at(day, 12, 40)))
        if day == date(2024, 10, 30):
            steps = without(steps, (at(day, 0), at(day, 6)), (at(day, 22), at(day, 23)))
        home.tell_steps(drawn, steps)
    of_panels = ((60,), (15,), (30, 60), (15,), (5, 10), (30,), (30,), (30,), (15,))
    for day, lengths in zip(autumn, of_panels, strict=True):
        steps = made_sun(made_steps(day, lengths, 0), 1_733)
        hole = (at(day, 12), at(day, 13)) if day == date(2024, 11, 2) else (at(day, 0), at(day, 0))
        home.tell_steps(fed, without(steps, hole))

    home.tell_days(fed, sun)  # After the curve, so that the day is known from the curve before it is found absent.

    house.deliver()  # The receivers get everything before it changes.
    # Corrections of the supplier: finer steps, longer steps except in one hour, a day, a day set to zero.
    home.tell_steps(drawn, made_steps(date(2024, 10, 29), (15,), 301))
    home.tell_steps(
        drawn, without(made_steps(date(2024, 11, 1), (60,), 350), (at(date(2024, 11, 1), 8), at(date(2024, 11, 1), 9)))
    )
    home.tell_days(drawn, {date(2024, 8, 1): 7_777_000, date(2024, 8, 2): 0})
    home.days = [*spring, *autumn, date(2024, 7, 14)]
    return home


def gas(house: House) -> Home:
    """Return a home with gas: decimals, a zero, missing days, billed periods."""
    account, _ = house.parts.stores.registry.accounts.add("grdf", PCE, NOW, token_needed=False)
    switch_on(house.parts.stores.registry, account.id, *of_supplier("grdf"))
    flow = Flow("gas", is_gas=True)
    records = []
    for day in days_between(date(2024, 1, 20), date(2024, 11, 1)):
        if day in (date(2024, 5, 5), date(2024, 10, 9)):
            records.append(gas_answers.absent(day))
            continue
        flow.take_days(
            {day: 0 if day.month == 8 else KWH * (20 + day.toordinal() % 17) + day.toordinal() * 1_234_567 % KWH}
        )
        flow.volumes[day] = day.toordinal() % 5
        records.append(gas_answers.day(day, str(Decimal(flow.told[day]) / KWH), volume_brut=flow.volumes[day]))
    first, end = date(2024, 1, 1), TODAY
    house.sync(account.id, Series.GAS_DAILY, first, end, {"records": records})
    flow.periods = [
        GasPeriod(date(2024, 9, 1), date(2024, 9, 3), 66 * KWH, 6),
        GasPeriod(date(2024, 9, 3), date(2024, 10, 1), 987_500_000, 88),
    ]
    billed = [
        gas_answers.period(one.start, one.end, str(Decimal(one.energy) / KWH), volume_brut=one.volume)
        for one in flow.periods
    ]
    house.sync(account.id, Series.GAS_PUBLISHED, first, end, {"records": billed})
    return Home(house, account.id, [flow], [date(2024, 10, 31)])


def curve_alone(house: House) -> Home:
    """Return a home whose consent has no daily totals: only its curve is requested."""
    account, _ = house.parts.stores.registry.accounts.add("enedis", OTHER_METER, NOW, token_needed=False)
    house.installation.releve("accounts", "series", account.id, "--off", "daily")
    flow = Flow("consumption", unfetchable=None)
    home = Home(house, account.id, [flow], days_between(AUTUMN - 2 * ONE_DAY, TODAY))
    for day in home.days:
        hole = (at(day, 19, 5), at(day, 19, 10)) if day == AUTUMN + ONE_DAY else (at(day, 4), at(day, 4))
        home.tell_steps(flow, without(made_steps(day, (10, 5, 30), 119), hole))
    return home


def files_of_hours(house: House) -> Home:
    """Return a home without calls to the supplier: two files of hours, with both clock changes and holes."""
    flow = Flow("consumption", unfetchable=None)
    spring = [step for day in days_between(date(2024, 3, 20), date(2024, 4, 8)) for step in made_steps(day, (60,), 97)]
    spring = without(spring, (at(date(2024, 3, 25), 5), at(date(2024, 3, 25), 9)))
    autumn = [step for day in days_between(date(2024, 10, 1), TODAY) for step in made_steps(day, (60,), 211)]
    autumn = without(autumn, (at(date(2024, 10, 12), 0), at(date(2024, 10, 14), 1)))
    autumn = [step._replace(milliwatts=step.milliwatts + 500) for step in autumn]  # Tenths of a kW and their half.
    folder = house.installation.folder
    for name, text in (("hours.csv", old_export(spring)), ("curve.csv", new_export(autumn))):
        (folder / name).write_text(text, encoding="utf-8")
        house.installation.releve("import", str(folder / name))
    flow.take_steps([*spring, *autumn])
    (account,) = house.parts.stores.registry.accounts.page()
    days = [
        SPRING,
        date(2024, 3, 25),
        date(2024, 10, 13),
        date(2024, 10, 14),
        AUTUMN,
        AUTUMN + ONE_DAY,
        TODAY - ONE_DAY,
    ]
    return Home(house, account.id, [flow], days)


def old_export(steps: Iterable[Step]) -> str:
    """Return an export of Enedis' customer site until 2024: labels are the ends of steps, with their offset."""
    head = (
        "Identifiant PRM;Type de donnees;Date de debut;Date de fin;Grandeur physique;Grandeur metier;Etape metier;Unite"
    )
    about = f"{METER};Courbe de charge;20/03/2024;08/04/2024;Energie active;Consommation;Comptage Brut;W;60"
    rows = [f"{local(step.end).isoformat()};{step.milliwatts // 1000}" for step in steps]
    return "\n".join([f"{head};Pas en minutes", about, "Horodate;Valeur", *rows])


def new_export(steps: Iterable[Step]) -> str:
    """Return an export since 2025: starts and ends in local time, powers in kW with a comma."""
    head = f"Point Référence Mesure (PRM) :;{METER};Type de comptage :;Consommation"
    times = "%d/%m/%Y %H:%M:%S"
    rows = [
        f"{local(step.start):{times}};{local(step.end):{times}};{Decimal(step.milliwatts) / KWH}".replace(".", ",")
        for step in steps
    ]
    return "\n".join([head, "Début;Fin;Valeur (en kW)", *rows])


def days_export(energies: Mapping[date, int]) -> str:
    """Return an export of daily values since 2025."""
    head = f"Point Référence Mesure (PRM) :;{METER};Type de comptage :;Consommation Quotidienne"
    rows = [f"{day:%d/%m/%Y};{Decimal(energy) / KWH}" for day, energy in energies.items()]
    return "\n".join([head, "Date;Valeur (en kWh)", *rows])
