"""Series as data: one description of each series of measures, with everything in which it differs from others.

Windows, lanes, quota, stores, completeness, audit, pages, API and command line use these descriptions. To add a series,
add a member of ``Series`` with its description here, a parser, and its path in the supplier's presets
(docs/how-to/add-a-series.md).

A *doctype* is a kind of stored document. Its field ``load`` is in kWh, kVA or m³ (``Quantity.load_unit``).

Source of the longest windows and histories: Enedis, guide d'implémentation Data Connect v5, and the swagger
mesure_synchrone_auto v2 of 2026. Neither states limits for registers. We assume that those of daily energy apply.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import Final, Self

from worker.domain.lanes import Lane

ENEDIS_DOCTYPES: Final = "com.grandlyon.enedis."
GRDF_DOCTYPES: Final = "com.grandlyon.grdf."
FREQUENCY: Final = "frequency"  # The field of a gas contract that says how often the meter is read.
# This prefix makes the values of GRDF's doctypes differ from those of Enedis. The full names are without it.
_GAS: Final = "gas."


class Period(StrEnum):
    """The time span of one document."""

    MINUTE = "minute"  # One step of a load curve, whatever its length.
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"
    YEAR = "year"


class DetailType(StrEnum):
    """Types of a document's additional fields (``Detail``)."""

    TEXT = "text"
    NUMBER = "number"  # A decimal number.
    ENERGIES = "energies"  # An object that maps the name of each tariff period to Wh.


@dataclass(frozen=True, slots=True)
class Detail:
    """A field that a doctype's documents have besides ``load`` and the time; absent if the supplier sends no value."""

    name: str
    type: DetailType
    description: str


_REGISTER_DETAILS: Final = (
    Detail("calendar", DetailType.TEXT, "the calendar of tariff periods that the registers belong to"),
    Detail("registers", DetailType.ENERGIES, "Wh counted since the meter was installed, by tariff period"),
)
_GAS_DETAILS: Final = (
    Detail("volume", DetailType.NUMBER, "m³ of gas"),
    Detail("coefficient", DetailType.NUMBER, "kWh a m³; energy is not exactly volume x coefficient"),
    Detail("index_start", DetailType.NUMBER, "what the meter showed at the beginning, m³"),
    Detail("index_end", DetailType.NUMBER, "what the meter showed at the end, m³"),
    Detail("quality", DetailType.TEXT, "measured, estimated or corrected"),
    Detail("status", DetailType.TEXT, "provisional or final"),
)


class Doctype(StrEnum):
    """Kinds of stored documents. The value is the last part of the full name; GRDF's values begin with ``gas.``."""

    period: Period
    details: tuple[Detail, ...]
    prefix: str

    def __new__(
        cls, value: str, period: Period, details: tuple[Detail, ...] = (), prefix: str = ENEDIS_DOCTYPES
    ) -> Self:
        doctype = str.__new__(cls, value)
        doctype._value_ = value
        doctype.period, doctype.details, doctype.prefix = period, details, prefix
        return doctype

    MINUTE = "minute", Period.MINUTE
    HOUR = "hour", Period.HOUR
    DAY = "day", Period.DAY
    MONTH = "month", Period.MONTH
    YEAR = "year", Period.YEAR
    PRODUCTION_MINUTE = "production.minute", Period.MINUTE
    PRODUCTION_HOUR = "production.hour", Period.HOUR
    PRODUCTION_DAY = "production.day", Period.DAY
    PRODUCTION_MONTH = "production.month", Period.MONTH
    PRODUCTION_YEAR = "production.year", Period.YEAR
    MAX_POWER = (
        "maxpower",
        Period.DAY,
        (Detail("at", DetailType.TEXT, "the instant of the maximum power, ISO 8601 with the offset of Europe/Paris"),),
    )
    INDEX = "index", Period.DAY, _REGISTER_DETAILS
    PRODUCTION_INDEX = "production.index", Period.DAY, _REGISTER_DETAILS
    CONTRACT = (
        "contract",
        Period.DAY,
        (
            Detail("tariff", DetailType.TEXT, "the distribution tariff"),
            Detail("off_peak_hours", DetailType.TEXT, "the off-peak hours, such as HC (22H00-6H00)"),
            Detail("activated_on", DetailType.TEXT, "the day of the contract's activation, YYYY-MM-DD"),
            Detail("meter_status", DetailType.TEXT, "the state of the meter as the supplier names it"),
            Detail("segment", DetailType.TEXT, "the segment of the supplier's customers, such as C5"),
        ),
    )
    GAS_DAY = "gas.day", Period.DAY, _GAS_DETAILS, GRDF_DOCTYPES
    GAS_MONTH = "gas.month", Period.MONTH, (), GRDF_DOCTYPES
    GAS_YEAR = "gas.year", Period.YEAR, (), GRDF_DOCTYPES
    GAS_PUBLISHED = (
        "gas.published",
        Period.DAY,
        (Detail("ends_on", DetailType.TEXT, "the day on which the period ends, excluded, YYYY-MM-DD"), *_GAS_DETAILS),
        GRDF_DOCTYPES,
    )
    GAS_CONTRACT = (
        "gas.contract",
        Period.DAY,
        (
            Detail(FREQUENCY, DetailType.TEXT, "how often the meter is read: 6M, 1M, MM or JJ"),
            Detail("transport_tariff", DetailType.TEXT, "the tariff of the distribution, T1 to T4 or TP"),
            Detail("activated_on", DetailType.TEXT, "the day on which the supply began, YYYY-MM-DD"),
        ),
        GRDF_DOCTYPES,
    )

    @property
    def full_name(self) -> str:
        """The full name, such as ``com.grandlyon.enedis.day``, which is also the name of the documents' database."""
        return self.prefix + self.value.removeprefix(_GAS)

    @property
    def series(self) -> Series:
        """The series whose readings or totals are documents of this doctype."""
        return _SERIES_OF[self]

    @property
    def detail_names(self) -> tuple[str, ...]:
        return tuple(detail.name for detail in self.details)


class Direction(StrEnum):
    """The direction of the energy, from the point of view of the meter's holder."""

    CONSUMPTION = "consumption"
    PRODUCTION = "production"


class Quantity(StrEnum):
    ENERGY = "energy"
    POWER = "power"  # The mean power of a step, which is stored as energy.
    APPARENT_POWER = "apparent_power"
    VOLUME = "volume"
    GAS = "gas"  # The energy of gas, which the supplier computes from the volume.

    @property
    def unit(self) -> str:
        """The unit of the supplier's values."""
        return {"energy": "Wh", "power": "W", "apparent_power": "VA", "volume": "m³", "gas": "kWh"}[self.value]

    @property
    def load_unit(self) -> str:
        """The unit of ``load`` in documents."""
        return {"energy": "kWh", "power": "kWh", "apparent_power": "kVA", "volume": "m³", "gas": "kWh"}[self.value]


class Granularity(StrEnum):
    """What one reading is about: a span of time, an instant or a state."""

    STEP = "step"  # A step of a curve; its length may change.
    DAY = "day"  # A local day.
    INSTANT = "instant"  # One instant of a local day.
    INTERVAL = "interval"  # A billed period. The supplier chooses how many days it has.
    REGISTER = "register"  # The meter's display at the midnight that begins a local day.
    STATE = "state"  # A state that applies until the next one; there is one row for each change.


# The texts about a series, by kind and language.
Label = Mapping[str, Mapping[str, str]]


def _label(fr: str, en: str, fr_object: str, en_object: str, fr_about: str, en_about: str) -> Label:
    """Return a series' name as a heading, the name inside a sentence, and what it is, in a sentence for households."""
    object_, about = {"fr": fr_object, "en": en_object}, {"fr": fr_about, "en": en_about}
    return {"name": {"fr": fr, "en": en}, "object": object_, "about": about}


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesDescription:
    """All properties in which one series differs from others.

    ``supplier``: the grid operator that measures the series.
    ``inputs``: the doctype of the series' readings. ``totals``: the doctypes of totals computed from these readings.
    ``look_back_days``: how many days, up to yesterday, each run requests again.
    ``open_days``: the age in days from which a day without a value counts as absent.
    ``max_window_days``: how many days the supplier accepts in one call.
    ``history_days``: how many days of history are loaded; None if the installation's settings decide.
    ``cadence_nights``: the least number of nights from one request to the next; 1 means every night.
    ``published_after_days``: how many days after a day its value is usually available; 1 is the next morning.
    ``settles_on``: the day of a month by which the previous month's values are final. Up to this day, the look-back
    includes the previous month. None if values become final within the look-back.
    ``history_lane``: the quota lane in which the history is loaded.
    ``days_read_at_once``: how many days of stored readings are read in one request to the store.
    ``optional``: whether the supplier collects the series only if the meter's holder has switched its collection on.
    ``adds_up_to``: the daily series whose values can be computed from this series' readings; None if there is none.
    ``bounds``: the curve whose steps may not be above this series' readings; None if there is none.
    ``tells_activation``: whether the readings tell when the contract began. No series is requested for earlier days.
    ``speaks_for_account``: whether a refusal of this series alone may suspend the account.
    ``not_of_meters_read``: a meter that is read at one of these frequencies doesn't have this series.
    """

    supplier: str = "enedis"
    direction: Direction = Direction.CONSUMPTION
    quantity: Quantity
    granularity: Granularity
    label: Label
    inputs: Doctype
    totals: tuple[Doctype, ...] = ()
    look_back_days: int = 30
    open_days: int = 64
    max_window_days: int = 365
    history_days: int | None = 3 * 365  # Enedis keeps 36 months and 15 days of daily values.
    cadence_nights: int = 1
    published_after_days: int = 1
    settles_on: int | None = None
    history_lane: Lane
    days_read_at_once: int = 6 * 366
    optional: bool = False
    adds_up_to: Series | None = None
    bounds: Series | None = None
    tells_activation: bool = False
    speaks_for_account: bool = False
    not_of_meters_read: frozenset[str] = frozenset()


class Series(StrEnum):
    """Series of measures that can be requested from a supplier."""

    DAILY = "daily"
    LOAD_CURVE = "load_curve"
    PRODUCTION_DAILY = "production_daily"
    PRODUCTION_LOAD_CURVE = "production_load_curve"
    MAX_POWER = "max_power"
    REGISTERS = "registers"
    PRODUCTION_REGISTERS = "production_registers"
    CONTRACT = "contract"
    GAS_DAILY = "gas_daily"
    GAS_PUBLISHED = "gas_published"
    GAS_CONTRACT = "gas_contract"

    @property
    def description(self) -> SeriesDescription:
        return SERIES_DESCRIPTIONS[self]

    @property
    def inputs(self) -> Doctype:
        return SERIES_DESCRIPTIONS[self].inputs

    @property
    def totals(self) -> tuple[Doctype, ...]:
        return SERIES_DESCRIPTIONS[self].totals

    @property
    def has_steps(self) -> bool:
        """Whether the readings are steps of a curve."""
        return SERIES_DESCRIPTIONS[self].granularity is Granularity.STEP

    @property
    def is_daily_energy(self) -> bool:
        """Whether each value is the energy of one day."""
        described = SERIES_DESCRIPTIONS[self]
        return described.granularity is Granularity.DAY and described.quantity in (Quantity.ENERGY, Quantity.GAS)

    @property
    def is_gas(self) -> bool:
        return SERIES_DESCRIPTIONS[self].quantity is Quantity.GAS

    @property
    def has_daily_limit(self) -> bool:
        """Whether each value is electric energy of one day, which may not exceed what a meter can deliver (rule K7)."""
        return self.is_daily_energy and SERIES_DESCRIPTIONS[self].quantity is Quantity.ENERGY

    @property
    def is_state(self) -> bool:
        """Whether a reading applies until the next one, so that only changes are stored."""
        return SERIES_DESCRIPTIONS[self].granularity is Granularity.STATE

    @property
    def has_intervals(self) -> bool:
        """Whether the readings are billed periods of several days, whose length the supplier chooses."""
        return SERIES_DESCRIPTIONS[self].granularity is Granularity.INTERVAL

    @property
    def is_nightly(self) -> bool:
        """Whether the series may be requested every night."""
        return SERIES_DESCRIPTIONS[self].cadence_nights == 1

    @property
    def catches_up(self) -> bool:
        """Whether the series is requested again in the afternoon if yesterday's values are missing."""
        return self.is_nightly and SERIES_DESCRIPTIONS[self].published_after_days == 1

    @property
    def comes_late(self) -> bool:
        """Whether values come some days late; then a missing day is a gap only if a later day has a value."""
        return SERIES_DESCRIPTIONS[self].published_after_days > 1

    @property
    def packs(self) -> bool:
        """Whether the packed layout stores many values of this series in one document (``packing``).

        Documents with additional fields aren't packed, because they are few and their fields aren't only numbers.
        """
        return not any(doctype.details for doctype in self.doctypes)

    @cached_property
    def doctypes(self) -> tuple[Doctype, ...]:
        """All doctypes of the series, readings before totals."""
        return (self.inputs, *self.totals)


# Some series below are copies of these three descriptions with another direction or another energy.
_LOAD_CURVE: Final = SeriesDescription(
    quantity=Quantity.POWER,
    granularity=Granularity.STEP,
    label=_label(
        "Courbe par demi-heure",
        "Half-hour curve",
        "la courbe par demi-heure",
        "the half-hour curve",
        "Votre consommation par demi-heure, si son enregistrement est activé dans votre espace client Enedis.",
        "Your consumption in each half-hour, if its recording is switched on in your Enedis customer account.",
    ),
    inputs=Doctype.MINUTE,
    totals=(Doctype.HOUR,),
    look_back_days=7,
    max_window_days=7,
    history_days=None,
    history_lane=Lane.BACKFILL,
    days_read_at_once=31,
    optional=True,
    adds_up_to=Series.DAILY,
    speaks_for_account=True,
)
_REGISTERS: Final = SeriesDescription(
    quantity=Quantity.ENERGY,
    granularity=Granularity.REGISTER,
    label=_label(
        "Index du compteur",
        "Meter readings",
        "les index du compteur",
        "the meter readings",
        "Les nombres affichés par le compteur à minuit, par période tarifaire : heures pleines, heures creuses…",
        "The numbers on the meter at midnight, by tariff period: peak hours, off-peak hours…",
    ),
    inputs=Doctype.INDEX,
    cadence_nights=7,
    history_lane=Lane.BACKFILL,
    adds_up_to=Series.DAILY,
)
# An answer has the state at the time of the request, whatever days are requested. So a request is for one day.
_CONTRACT: Final = SeriesDescription(
    quantity=Quantity.APPARENT_POWER,
    granularity=Granularity.STATE,
    label=_label(
        "Contrat",
        "Contract",
        "le contrat",
        "the contract",
        "La puissance souscrite, le tarif, les heures creuses et leurs changements.",
        "The subscribed power, the tariff, the off-peak hours and their changes.",
    ),
    inputs=Doctype.CONTRACT,
    look_back_days=1,
    max_window_days=1,
    history_days=1,
    cadence_nights=30,
    history_lane=Lane.BACKFILL,
    tells_activation=True,
)
SERIES_DESCRIPTIONS: Final[Mapping[Series, SeriesDescription]] = {
    Series.DAILY: SeriesDescription(
        quantity=Quantity.ENERGY,
        granularity=Granularity.DAY,
        label=_label(
            "Totaux par jour",
            "Daily totals",
            "le total",
            "the total",
            "Votre consommation de chaque jour. Elle sert à calculer les totaux par mois et par an.",
            "Your consumption of each day. Months and years are calculated from it.",
        ),
        inputs=Doctype.DAY,
        totals=(Doctype.MONTH, Doctype.YEAR),
        history_lane=Lane.FIRST_SCREEN,
        speaks_for_account=True,
    ),
    Series.LOAD_CURVE: _LOAD_CURVE,
    Series.PRODUCTION_DAILY: SeriesDescription(
        direction=Direction.PRODUCTION,
        quantity=Quantity.ENERGY,
        granularity=Granularity.DAY,
        label=_label(
            "Production par jour",
            "Daily production",
            "la production",
            "the production",
            "L’électricité que vos panneaux injectent sur le réseau chaque jour.",
            "The electricity that your panels feed into the grid each day.",
        ),
        inputs=Doctype.PRODUCTION_DAY,
        totals=(Doctype.PRODUCTION_MONTH, Doctype.PRODUCTION_YEAR),
        cadence_nights=7,
        history_lane=Lane.BACKFILL,
    ),
    Series.PRODUCTION_LOAD_CURVE: replace(
        _LOAD_CURVE,
        direction=Direction.PRODUCTION,
        label=_label(
            "Courbe de production",
            "Production curve",
            "la courbe de production",
            "the production curve",
            "L’électricité que vos panneaux injectent sur le réseau par demi-heure.",
            "The electricity that your panels feed into the grid in each half-hour.",
        ),
        inputs=Doctype.PRODUCTION_MINUTE,
        totals=(Doctype.PRODUCTION_HOUR,),
        adds_up_to=Series.PRODUCTION_DAILY,
        speaks_for_account=False,
    ),
    Series.MAX_POWER: SeriesDescription(
        quantity=Quantity.APPARENT_POWER,
        granularity=Granularity.INSTANT,
        label=_label(
            "Puissance maximale",
            "Maximum power",
            "la puissance maximale",
            "the maximum power",
            "La puissance maximale de chaque jour et son heure, à comparer à la puissance de votre contrat.",
            "The maximum power of each day and its time, to compare with the power in your contract.",
        ),
        inputs=Doctype.MAX_POWER,
        bounds=Series.LOAD_CURVE,
        cadence_nights=7,
        history_lane=Lane.BACKFILL,
    ),
    Series.REGISTERS: _REGISTERS,
    Series.PRODUCTION_REGISTERS: replace(
        _REGISTERS,
        direction=Direction.PRODUCTION,
        label=_label(
            "Index de production",
            "Production meter readings",
            "les index de production",
            "the production meter readings",
            "Le nombre affiché par le compteur à minuit pour l’électricité injectée sur le réseau.",
            "The number on the meter at midnight for the electricity fed into the grid.",
        ),
        inputs=Doctype.PRODUCTION_INDEX,
        adds_up_to=Series.PRODUCTION_DAILY,
    ),
    Series.CONTRACT: _CONTRACT,
    # Source of limits and times: GRDF, ADICT (the swagger of v2), and the code of its public clients. A day's value is
    # available after one to three days. It becomes final some days after GRDF has published the month.
    Series.GAS_DAILY: SeriesDescription(
        supplier="grdf",
        quantity=Quantity.GAS,
        granularity=Granularity.DAY,
        label=_label(
            "Gaz par jour",
            "Daily gas",
            "la consommation de gaz",
            "the gas consumption",
            "Le gaz que vous consommez chaque jour, de 6 h à 6 h, en kWh et en m³.",
            "The gas that you use each day, from 6:00 to 6:00, in kWh and m³.",
        ),
        inputs=Doctype.GAS_DAY,
        totals=(Doctype.GAS_MONTH, Doctype.GAS_YEAR),
        max_window_days=3 * 366,
        published_after_days=3,
        settles_on=10,
        history_lane=Lane.FIRST_SCREEN,
        speaks_for_account=True,
        # 6M: the meter is read on site twice a year. JJ: a large customer; GAS_PUBLISHED has its daily values.
        not_of_meters_read=frozenset({"6M", "JJ"}),
    ),
    # Billed periods may be half a year long and begin long before they are published, so each request goes far back. A
    # call costs the same for any number of days.
    Series.GAS_PUBLISHED: SeriesDescription(
        supplier="grdf",
        quantity=Quantity.GAS,
        granularity=Granularity.INTERVAL,
        label=_label(
            "Gaz facturé",
            "Billed gas",
            "le gaz facturé",
            "the billed gas",
            "La consommation que GRDF publie pour votre facture, d’un relevé au suivant.",
            "The consumption that GRDF publishes for your bill, from one reading to the next.",
        ),
        inputs=Doctype.GAS_PUBLISHED,
        look_back_days=400,
        open_days=400,
        max_window_days=5 * 366,
        history_days=5 * 365,
        cadence_nights=15,
        published_after_days=35,
        history_lane=Lane.BACKFILL,
        speaks_for_account=True,
    ),
    # The field ``load`` of this contract holds the annual reference consumption.
    Series.GAS_CONTRACT: replace(
        _CONTRACT,
        supplier="grdf",
        quantity=Quantity.GAS,
        label=_label(
            "Contrat de gaz",
            "Gas contract",
            "le contrat de gaz",
            "the gas contract",
            "La fréquence de relevé de votre compteur, votre tarif et votre consommation annuelle de référence.",
            "How often your meter is read, your tariff and your annual reference consumption.",
        ),
        inputs=Doctype.GAS_CONTRACT,
        cadence_nights=90,
    ),
}


class SeriesSwitch(StrEnum):
    """Whether a series is collected for one account."""

    FLEET = "fleet"  # The setting for all accounts decides.
    ON = "on"
    OFF = "off"
    ENDED = "ended"  # The supplier has said that this meter has no such series.


_SERIES_OF: Final = {doctype: series for series in Series for doctype in series.doctypes}
# The series that few accounts have, or that need few calls, come first.
SMALLEST_FIRST: Final = tuple(reversed(Series))

# The grid operator behind each gateway. A gateway passes the operator's answers on to the holder of a token.
_OPERATORS_OF_GATEWAYS: Final = {"gateway": "enedis"}


def grid_operator_of(supplier: str) -> str:
    """Return the grid operator behind a gateway; for any other supplier, return the supplier itself."""
    return _OPERATORS_OF_GATEWAYS.get(supplier, supplier)


def is_gateway(supplier: str) -> bool:
    """Return whether a supplier is a gateway.

    A gateway needs a token for each home. It allows few calls, and only in certain hours.
    """
    return supplier in _OPERATORS_OF_GATEWAYS


def suppliers_of(series: Series) -> list[str]:
    """Return the possible suppliers of a series: its grid operator, and the gateways to this operator."""
    operator = series.description.supplier
    return [operator, *(gateway for gateway, behind in _OPERATORS_OF_GATEWAYS.items() if behind == operator)]


def of_supplier(supplier: str, series: Iterable[Series] = Series) -> list[Series]:
    """Return the members of ``series`` that this supplier has, in the same order."""
    operator = grid_operator_of(supplier)
    return [one for one in series if one.description.supplier == operator]


# The series that a fleet collects by default: for electricity, then for gas.
USUAL_SERIES: Final = (Series.DAILY, Series.LOAD_CURVE)
USUAL_GAS_SERIES: Final = (Series.GAS_DAILY, Series.GAS_PUBLISHED, Series.GAS_CONTRACT)
_USUAL: Final = (*USUAL_SERIES, *USUAL_GAS_SERIES)


def complete_fleet(named: Iterable[Series]) -> tuple[Series, ...]:
    """Return the series that a fleet collects, in the order of ``Series``.

    These are the named series, plus the usual series of each supplier for which no series is named.
    """
    chosen = set(named)
    suppliers = {series.description.supplier for series in chosen}
    chosen.update(series for series in _USUAL if series.description.supplier not in suppliers)
    return tuple(series for series in Series if series in chosen)


def usual_series(supplier: str) -> list[Series]:
    """Return the series collected from a supplier if the settings name none of its series."""
    return of_supplier(supplier, _USUAL)


def parse_series(text: str) -> tuple[Series, ...]:
    """Read names like ``daily,load_curve`` and return their series, each once, in the order of ``Series``.

    Raises ValueError with a text that says what to write instead.
    """
    names = {part.strip() for part in text.split(",")} - {""}
    if not names or not names <= {series.value for series in Series}:
        raise ValueError(f"needs names with commas between them, out of {', '.join(Series)}")
    return tuple(series for series in Series if series.value in names)


def daily_of(direction: Direction = Direction.CONSUMPTION, supplier: str = "enedis") -> Series:
    """Return a supplier's series of daily energy in a direction; the supplier's first series if there is none."""
    offered = of_supplier(supplier)
    energies = (series for series in offered if series.is_daily_energy and series.description.direction is direction)
    return next(energies, offered[0])


def dailies_of(supplier: str) -> list[Series]:
    """Return a supplier's series of daily energy, one for each direction, consumption first."""
    return [series for series in of_supplier(supplier) if series.is_daily_energy]


def curve_of(daily: Series) -> Series:
    """Return the curve whose steps add up to these daily values. Raises ValueError if there is no such curve."""
    if (curve := find_curve(daily)) is None:
        raise ValueError(f"{daily} has no curve")
    return curve


def find_curve(daily: Series) -> Series | None:
    """Return the curve whose steps add up to these daily values; None if the supplier has no such curve."""
    return next((series for series in Series if series.has_steps and series.description.adds_up_to is daily), None)


def sources_of(daily: Series) -> list[Series]:
    """Return the series that tell the same energy as these daily values, themselves included."""
    return [
        series
        for series in Series
        if series is daily or series.description.adds_up_to is daily or (series.has_intervals and daily.is_gas)
    ]


def with_days(series: Collection[Series]) -> list[Series]:
    """Return these series and the daily series of each curve among them, in the order of ``Series``."""
    days = {curve.description.adds_up_to for curve in series if curve.has_steps}
    return [one for one in Series if one in series or one in days]


def registers_of(direction: Direction = Direction.CONSUMPTION) -> Series:
    """Return the series of the meter's registers for one direction."""
    return next(
        series
        for series in Series
        if series.description.granularity is Granularity.REGISTER and series.description.direction is direction
    )


def peaks_of_power() -> Series:
    """Return the only series of the maximum power."""
    return next(series for series in Series if series.description.granularity is Granularity.INSTANT)


def contract_series(supplier: str = "enedis") -> Series:
    """Return a supplier's only series of contracts."""
    return next(series for series in of_supplier(supplier) if series.is_state)


def intervals_of(supplier: str) -> Series:
    """Return a supplier's series of billed periods. Only suppliers of gas have one."""
    return next(series for series in of_supplier(supplier) if series.has_intervals)


def find_doctype(series: Series, period: Period) -> Doctype | None:
    """Return the doctype of a series for this period; None if there is none.

    Daily values and their curve share their doctypes: for example the hours of ``daily`` are the hours of the curve.
    """
    days = series.description.adds_up_to if series.has_steps else series
    curves = [other for other in Series if other.has_steps and other.description.adds_up_to is days]
    family = [series, *([days] if days else []), *curves]
    return next((doctype for one in family for doctype in one.doctypes if doctype.period is period), None)


def periods_of(series: Series) -> list[Period]:
    """Return the periods for which the series has documents, the shortest first."""
    return [period for period in Period if find_doctype(series, period) is not None]
