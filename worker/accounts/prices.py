"""What an account pays: its tariff, from the registry and its contract, and its costs, from the measure store.

The tariff is what was set for the account; before the first day of that, what an operator set for its tenant. Nothing
is assumed where neither says something. The regulated prices and the colours of Tempo are those of the newest copies in
the registry, or of the copies that ship with Relève where these are as new.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import date
from functools import lru_cache, partial
from itertools import groupby
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter

from worker.domain import series
from worker.domain.account import Account
from worker.domain.completeness import interval_days
from worker.domain.documents import ALL_KEYS, MILLIWATT_HOURS_PER_KWH, Entry, key_range, shift_key, to_entry
from worker.domain.prices import REGISTERS, Colour, Option, Price, PricesRefused
from worker.domain.prices.choices import (
    OffPeakHours,
    RegulatedChoice,
    TariffChoices,
    Terms,
    choice_on,
    first_change,
    format_hours,
    hours_of_contracts,
    option_of,
    price_of,
    terms_by_day,
)
from worker.domain.prices.cost import ONE_HOUR, ONLY_PERIOD, Cost, Key, price_energies, price_intervals
from worker.domain.prices.energy import PeriodEnergies, energies_by_day, energies_of_curve, energies_of_days
from worker.domain.prices.regulated import FILES, RegulatedTariff, read_tariff
from worker.domain.prices.tempo import read_colours, write_colours
from worker.domain.tariffs import TimeRange, parse_off_peak_hours, read_registers
from worker.domain.windows import ONE_DAY, DateWindow, civil_date, merge_windows, plan_repair, to_windows
from worker.errors import OperatorFault
from worker.stores.measures.measure_store import MeasureStore
from worker.stores.registry import Registry
from worker.stores.registry.account_details import PRICES
from worker.stores.registry.public_files import PublicFile
from worker.texts import format_day, translate

CHOICES_JSON: Final = TypeAdapter(TariffChoices)
COLOURS_FILE: Final = "tempo_days.csv"
BEGINNING: Final = date(2000, 1, 1)
_LOCK: Final = 7_238_164  # Of prices and colours: they are read and then changed. The number is arbitrary.
_SHIPPED: Final = Path(__file__).parents[1] / "data" / "prices"
_DAILY, _FED = series.daily_of(), series.daily_of(series.Direction.PRODUCTION)
_REGISTERS, _CONTRACT = series.registers_of(), series.contract_series()
_read_tariff = lru_cache(maxsize=8)(read_tariff)
_read_colours: Callable[[str], Mapping[date, Colour]] = lru_cache(maxsize=2)(read_colours)
_OPTIONS_OF_REGISTERS: Final = {frozenset(names): option for option, names in REGISTERS.items() if names}
Owner = Account | str  # An account, or the name of a tenant.
Choice = RegulatedChoice | Price


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountTariff:
    """What an account pays by. ``choices``: the household's own, which may be empty, then those of its tenant.

    ``contracts``: rows of its contract series, which tell off-peak hours. ``today``: the day on which it was loaded.
    ``is_readable``: whether the household's choices could be decrypted; without them nothing is known.
    """

    supplier: str
    today: date
    choices: Sequence[TariffChoices]
    regulated: Mapping[Option, RegulatedTariff]
    colours: Mapping[date, Colour]
    contracts: Sequence[Entry]
    has_panels: bool = False
    is_readable: bool = True

    @property
    def kind(self) -> str:
        """The kind of the prices of what the meter counts."""
        return "gas" if _is_gas(self.supplier) else "electricity"

    @property
    def is_set(self) -> bool:
        """Whether any price is set, by the household or for its tenant: of what the meter counts, or of production."""
        return any(getattr(one, self.kind) or (self.kind != "gas" and one.production) for one in self.choices)

    def terms(self, window: DateWindow) -> dict[date, Terms]:
        """Return the option, price and off-peak hours of the days of electricity; nothing for days to come."""
        terms = terms_by_day(window, self.choices, self.regulated, self.contracts)
        return {day: one for day, one in terms.items() if day <= self.today}

    def choice_on(self, day: date) -> Choice | None:
        """Return what was set for a day of what the meter counts."""
        return choice_on(self.choices, self.kind, day)

    def price_on(self, day: date, kind: str = "") -> Price | None:
        """Return the price of a day, of a kind or of what the meter counts."""
        return price_of(choice_on(self.choices, kind or self.kind, day), self.regulated, day)

    def explain_unpriced(self, days: Iterable[date], language: str) -> Iterator[tuple[DateWindow, str]]:
        """Yield the past days that have no price, as windows, each with the reason in a sentence."""
        kind = self.kind
        lacking = (day for day in days if day < self.today and not self.price_on(day, kind))
        for choice, group in groupby(lacking, key=self.choice_on):
            for part in to_windows(group):
                text = _name_days(f"cost.no_price.{'day' if part.days == 1 else 'days'}", part, language)
                yield part, f"{text} {self.describe(choice, language)}"

    def describe(self, choice: Choice | None, language: str) -> str:
        """Return for which days the price is known of what was set, or why for none."""
        if not isinstance(choice, RegulatedChoice):
            return translate(f"cost.no_price.{'ended' if choice else 'not_set'}", language)
        facts = {"option": translate(f"option.{choice.option}", language), "power": str(choice.power)}
        if choice.option not in self.regulated:
            return translate("cost.no_price.no_file", language, **facts)
        if not (prices := self.regulated[choice.option].by_power.get(choice.power)):
            return translate("cost.no_price.no_power", language, **facts)
        first, last = (format_day(day or self.today, language) for day in (prices[0].first, prices[-1].last))
        return translate("cost.no_price.not_published", language, first=first, last=last)


def explain_unpaid(window: DateWindow, paid: Mapping[date, Cost] | None, language: str) -> Iterator[str]:
    """Yield which days of a window have production without a price, where others of it have a price."""
    sold = {day: paid[day] for day in window.dates() if day in paid} if paid else {}
    lacking = [day for day, one in sold.items() if not one.parts]
    for days in to_windows(lacking) if len(lacking) < len(sold) else ():
        yield _name_days("cost.no_price.sold", days, language)


def _name_days(key: str, days: DateWindow, language: str) -> str:
    first, last = (format_day(day, language) for day in (days.start, days.end - ONE_DAY))
    return translate(key, language, first=first, last=last)


def load_tariff(
    registry: Registry, measures: MeasureStore, account: Account, options: Iterable[Option] = ()
) -> AccountTariff:
    """Return what an account pays by; what neither its prices nor those of other ``options`` need isn't loaded."""
    own = default = None
    is_readable = False
    with suppress(OperatorFault):
        own, default, is_readable = load_choices(registry, account), load_choices(registry, account.tenant), True
    choices = [own or TariffChoices(), *([default] if default else [])]
    options = {*options, *(option_of(choice) for one in choices for choice in one.electricity)}
    copies = load_copies(registry) if options else {}
    found = {one: copies[FILES[one]] for one in options if FILES[one] in copies}
    return AccountTariff(
        supplier=account.supplier,
        today=civil_date(registry.now()),
        choices=choices,
        regulated={one: _read_tariff(copy.text, one, copy.copied_on) for one, copy in found.items()},
        colours=load_colours(registry) if Option.TEMPO in options else {},
        contracts=_read(measures, account.id, _CONTRACT.inputs)[_CONTRACT.inputs] if Option.HPHC in options else (),
        has_panels=_FED in series.with_days(registry.outcomes.known(account.id)),
        is_readable=is_readable,
    )


def load_copies(registry: Registry) -> dict[str, PublicFile]:
    """Return the newest copies of published files, by name: those of the registry, or those that ship."""
    copies = [*shipped_copies().values(), *registry.public_files.load_all().values()]
    return {copy.name: copy for copy in sorted(copies, key=lambda copy: copy.copied_on)}  # Of a day: the stored one.


def load_colours(registry: Registry) -> Mapping[date, Colour]:
    """Return the known colours of Tempo."""
    stored = registry.public_files.load_all().get(COLOURS_FILE)
    return _read_colours(stored.text) if stored else {}


@contextmanager
def changing_prices(registry: Registry) -> Iterator[Registry]:
    """Yield the registry in a transaction in which nobody else changes prices or colours."""
    with registry.database.writing(_LOCK) as connection:
        yield registry.join(connection)


def save_colours(registry: Registry, given: Mapping[date, Colour]) -> tuple[int, int]:
    """Add colours to the known ones, and return how many days are new, and how many changed."""
    with changing_prices(registry) as locked:
        known = load_colours(locked)
        if new := [day for day, colour in given.items() if known.get(day) is not colour]:
            colours = write_colours({**known, **given})
            locked.public_files.save(COLOURS_FILE, colours, civil_date(registry.now()))
        touched = {*new, *(day + ONE_DAY for day in new)}  # The night that follows a day has its colour, too.
        note_changes(locked, [touched], lambda one, day: option_of(one) is Option.TEMPO and day in touched)
    changed = sum(known.get(day, colour) is not colour for day, colour in given.items())
    return len(given.keys() - known.keys()), changed


def iterate_choices(registry: Registry) -> Iterator[TariffChoices]:
    """Yield what was set for each tenant and each account."""
    for told in (registry.tenants.load_prices().items(), registry.account_details.iterate(PRICES)):
        yield from (CHOICES_JSON.validate_python(stored) for _, stored in told)


def note_changes(
    registry: Registry, days: Iterable[Collection[date]], is_changed: Callable[[Choice, date], bool]
) -> None:
    """Note for outputs the energy of accounts from the first day on for which what was chosen is changed.

    ``days``: those on which anything may be changed. ``registry``: in the transaction that changes prices or colours.
    """
    begins = {window.start for some in days for window in to_windows(some)}

    def find_first(*choices: TariffChoices) -> date | None:
        firsts = begins.union(one.first for told in choices for one in told.electricity)
        on_days = ((day, choice_on(choices, "electricity", day)) for day in sorted(firsts))
        return next((day for day, choice in on_days if choice and is_changed(choice, day)), None)

    if not begins:
        return
    defaults = {tenant: CHOICES_JSON.validate_python(one) for tenant, one in registry.tenants.load_prices().items()}
    accounts: dict[date, list[str]] = {}
    for account_id, told in registry.account_details.iterate(PRICES):
        choices = [CHOICES_JSON.validate_python(told)]
        if defaults and (tenant := registry.accounts.get(account_id).tenant) in defaults:
            choices.append(defaults[tenant])
        if first := find_first(*choices):
            accounts.setdefault(first, []).append(account_id)
    for tenant, default in defaults.items():
        if first := find_first(default):
            registry.outbox.enqueue_energy(first, tenant=tenant, by_default=True)
    for first, some in accounts.items():
        registry.outbox.enqueue_energy(first, accounts=some)


def load_choices(registry: Registry, owner: Owner) -> TariffChoices | None:
    """Return what was set for an account, or for a tenant; None where nothing was."""
    if isinstance(owner, Account):
        stored = registry.account_details.load(owner.id, PRICES)
    else:
        stored = registry.tenants.load_prices().get(owner)
    return None if stored is None else CHOICES_JSON.validate_python(stored)


def set_prices(
    registry: Registry,
    owner: Owner,
    *,
    regulated: tuple[Option, int] | None = None,
    own: TariffChoices | None = None,
    hours: Sequence[TimeRange] = (),
    first: date | None = None,
) -> None:
    """Set the regulated tariff (its option and a power in kVA), own prices, or off-peak hours.

    ``first``: the day from which tariff and hours hold. Without it they hold from the beginning, unless others are set
    already. Raises PricesRefused, AccountClosed, UnknownAccount, UnknownTenant.
    """
    if isinstance(owner, Account):
        if _is_gas(owner.supplier) and not (own and own.gas):
            raise PricesRefused("this is a gas meter: it takes own prices, with a block [[gas]]")
        if own and not (own.gas if _is_gas(owner.supplier) else own.electricity or own.production):
            raise PricesRefused("this is a meter of electricity: it takes blocks [[electricity]] and [[production]]")
    elif hours:
        raise PricesRefused("off-peak hours: each meter has its own, so a tenant has none")
    with changing_prices(registry) as locked:
        choices = before = load_choices(locked, owner) or TariffChoices()
        changed = [*(choices.electricity if regulated else ()), *(choices.hours if hours else ())]
        if changed and first is None:
            since = max(one.first for one in changed)
            since_then = "already" if since == BEGINNING else f"from {since} on"
            raise PricesRefused(
                f"something is set {since_then}: say from which day this holds (--from), "
                "or run `releve prices remove` first"
            )
        start = first or BEGINNING
        choices = choices.with_own(own) if own else choices
        choices = choices.put("electricity", RegulatedChoice(start, *regulated)) if regulated else choices
        choices = choices.put("hours", OffPeakHours(start, tuple(hours))) if hours else choices
        stored = CHOICES_JSON.dump_python(choices, mode="json")
        if isinstance(owner, Account):
            locked.account_details.save(owner.id, PRICES, stored)
        else:
            locked.tenants.save_prices(owner, stored)
        _note_choices(locked, owner, first_change(before, choices))


def remove_prices(registry: Registry, owner: Owner) -> bool:
    """Forget what was set, also off-peak hours, and return whether something was. Raises UnknownTenant."""
    with changing_prices(registry) as locked:
        if isinstance(owner, Account):
            was_set = locked.account_details.remove(owner.id, PRICES)
        else:
            was_set = load_choices(locked, owner) is not None
            locked.tenants.save_prices(owner, None)
        _note_choices(locked, owner, BEGINNING if was_set else None)
    return was_set


def _note_choices(registry: Registry, owner: Owner, first: date | None) -> None:
    accounts, tenant = ([owner.id], None) if isinstance(owner, Account) else ([], owner)
    if first:
        registry.outbox.enqueue_energy(first, accounts=accounts, tenant=tenant)


def find_option(registers: Entry) -> Option | None:
    """Return the option whose periods these registers count; None for those of a distributor's calendar."""
    return _OPTIONS_OF_REGISTERS.get(frozenset(read_registers(registers)))


def suggest(measures: MeasureStore, account: Account) -> dict[str, str]:
    """Return what the newest contract and registers tell, as fields of a form: it holds once somebody has said so."""
    contracts, registers = _read(measures, account.id, _CONTRACT.inputs, _REGISTERS.inputs).values()
    option, hours = find_option(registers[-1]) if registers else None, ""
    if contracts:
        hours = format_hours(parse_off_peak_hours((contracts[-1].details or {}).get("off_peak_hours")))
    power = find_power(contracts)
    return {"option": option or (Option.HPHC if hours else ""), "power": str(power) if power else "", "hours": hours}


def find_power(contracts: Sequence[Entry]) -> int | None:
    """Return the subscribed power of the newest contract; None if it isn't known or not in whole kVA."""
    kva, rest = divmod(contracts[-1].amount, MILLIWATT_HOURS_PER_KWH) if contracts else (0, 0)
    return kva if kva and not rest else None


def follows_contract(measures: MeasureStore, account: Account, hours: Sequence[TimeRange], first: date | None) -> bool:
    """Return whether the contract tells just these off-peak hours from a day on; without ``first``, as its newest."""
    told = list(hours_of_contracts(_read(measures, account.id, _CONTRACT.inputs)[_CONTRACT.inputs]))
    ends = [*(one.first for one in told[1:]), date.max]
    since = [one.ranges for one, end in zip(told, ends, strict=False) if end > (first or date.max - ONE_DAY)]
    return bool(since) and (not first or told[0].first <= first) and all(ranges == tuple(hours) for ranges in since)


def read_costs(
    measures: MeasureStore,
    account_id: str,
    tariff: AccountTariff,
    window: DateWindow,
    *,
    unpriced: bool = False,
    by_registers: bool = True,
) -> tuple[dict[date, Cost], dict[date, Cost] | None]:
    """Return what the days of a window cost, and what is paid for their production, which is None without panels.

    The curve is read only for days that have neither daily values nor registers. ``unpriced``: days without a price are
    there with their energy alone. ``by_registers``: whether the meter's own off-peak hours count.
    """
    if tariff.kind == "gas":
        return _read_gas(measures, account_id, tariff, window), None
    terms = tariff.terms(window)
    options = {one.option for one in terms.values()}
    needed = {
        _DAILY.inputs: Option.BASE in options,
        _REGISTERS.inputs: by_registers and bool(options - {Option.BASE}),
        _FED.inputs: tariff.has_panels,
    }
    longer = DateWindow(window.start, window.end + ONE_DAY)  # The registers of a day end with the midnight of the next.
    stored = _read(measures, account_id, *filter(needed.get, needed), window=longer)
    energies = energies_by_day(
        terms,
        stored.get(_DAILY.inputs, ()),
        stored.get(_REGISTERS.inputs, ()),
        partial(read_steps, measures, account_id, series.Direction.CONSUMPTION),
        tariff.colours,
    )
    fed = energies_of_days(stored.get(_FED.inputs, ()), ONLY_PERIOD)
    fed = {day: one for day, one in fed.items() if day in window}
    paid = _price_production(fed, tariff) if tariff.has_panels else None
    return (energies if unpriced else {}) | price_energies(energies, lambda day: terms[day].price), paid


def read_hours(
    measures: MeasureStore, account_id: str, tariff: AccountTariff, window: DateWindow, *, unpriced: bool = False
) -> tuple[dict[str, Cost], dict[str, Cost] | None]:
    """Return costs as ``read_costs`` does, but of hours of electricity, by the keys of their documents."""

    def read(direction: series.Direction, terms: Mapping[date, Terms]) -> dict[str, PeriodEnergies]:
        steps = read_steps(measures, account_id, direction, terms)
        return energies_of_curve(terms, steps, tariff.colours, by_hour=True)

    terms = tariff.terms(window)
    energies = read(series.Direction.CONSUMPTION, terms)
    costs = (energies if unpriced else {}) | price_energies(energies, lambda day: terms[day].price)
    if not tariff.has_panels:
        return costs, None
    fed = read(series.Direction.PRODUCTION, dict.fromkeys(window.dates(), Terms(Option.BASE)))
    sums = {key: replace(one, by_period={ONLY_PERIOD: sum(one.by_period.values())}) for key, one in fed.items()}
    return costs, _price_production(sums, tariff)


def first_affected(measures: MeasureStore, account_id: str, tariff: AccountTariff, day: date) -> date:
    """Return the first day whose cost a changed reading of this day may change."""
    if tariff.kind != "gas":
        return day - ONE_DAY  # Its midnight ends what registers count of the day before.
    published = series.intervals_of(tariff.supplier).inputs
    spans = map(interval_days, _read(measures, account_id, published)[published])
    return min((span.start for span in spans if day in span), default=day)


def _price_production(energies: Mapping[Key, PeriodEnergies], tariff: AccountTariff) -> dict[Key, Cost]:
    """Return what is paid for the energy of days or hours; without a price they are there with their energy alone."""
    return {**energies, **price_energies(energies, lambda day: tariff.price_on(day, "production"))}


def _read_gas(measures: MeasureStore, account_id: str, tariff: AccountTariff, window: DateWindow) -> dict[date, Cost]:
    """Return the costs of days; where a meter has no days, of the periods that the supplier bills, by their first.

    A day costs the same in each window, so all daily values of a period are read.
    """
    daily, published = series.daily_of(supplier=tariff.supplier).inputs, series.intervals_of(tariff.supplier).inputs
    periods = _read(measures, account_id, published)[published]
    intervals = [row for row in periods if interval_days(row).overlap(window)]
    (longer,) = merge_windows([window, *map(interval_days, intervals)])
    energies = energies_of_days(_read(measures, account_id, daily, window=longer)[daily], ONLY_PERIOD)
    costs = price_energies(energies, tariff.price_on) | price_intervals(intervals, tariff.price_on, energies)
    return {day: cost for day, cost in costs.items() if day in window}


def read_steps(
    measures: MeasureStore, account_id: str, direction: series.Direction, days: Iterable[date]
) -> Iterator[Entry]:
    """Yield the steps of these days, and of the hour before; those of some weeks are in memory at once."""
    curve, read_until = series.curve_of(series.daily_of(direction)), ""
    for window in reversed(plan_repair(days, curve.description.days_read_at_once)):
        first, end = key_range(window, curve.inputs)
        keys = max(shift_key(first, -ONE_HOUR), read_until), end
        yield from map(to_entry, measures.read(account_id, {curve.inputs: keys})[curve.inputs])
        read_until = end


def _read(
    measures: MeasureStore, account_id: str, *doctypes: series.Doctype, window: DateWindow | None = None
) -> dict[series.Doctype, list[Entry]]:
    ranges = {doctype: key_range(window, doctype) if window else ALL_KEYS for doctype in doctypes}
    stored = measures.read(account_id, ranges) if ranges else {}
    return {doctype: [to_entry(document) for document in documents] for doctype, documents in stored.items()}


def _is_gas(supplier: str) -> bool:
    return series.daily_of(supplier=supplier).is_gas


@lru_cache(maxsize=1)
def shipped_copies() -> dict[str, PublicFile]:
    """Return the copies that ship with Relève, by name."""
    days = json.loads((_SHIPPED / "copies.json").read_text(encoding="utf-8"))
    return {
        name: PublicFile(name, (_SHIPPED / name).read_text(encoding="utf-8-sig"), date.fromisoformat(day))
        for name, day in days.items()
    }
