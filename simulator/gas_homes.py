"""Pretend gas homes: a PCE and a seed always give the same boiler, meter and consumption.

The volume of a day is that of heating (by the degrees below the temperature at which heating begins) and of hot water.
Everything is summed in whole litres, so the index is the sum of all days before, and a day's energy the difference of
two rounded sums: days add up to their period to the kWh.  Numbers of a reading are decimals, so that each is served as
it was recorded.

Billed periods: homes with a communicating meter (1M) are cut at the first of each month and at the reading day; the
others (6M) are read twice a year; businesses are cut by month (MM) or by day (JJ).
Source: a public series of one home over five years, and the digest of GRDF's kit for the times.

Switches hold for one meter (PCE) or for the whole service; ``/__sim__/gas/`` takes them as JSON.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from functools import cached_property, lru_cache
from hashlib import blake2b
from itertools import pairwise
from typing import Annotated, Final, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from simulator.electricity_homes import outside_celsius
from simulator.switches import SwitchModel, SwitchSet
from worker.domain.answers import Json
from worker.domain.windows import ONE_DAY

_HALF_YEARLY_MONTHS: Final = (4, 10)
PUBLISHED_AFTER: Final = 2 * ONE_DAY  # After the reading.
FINAL_AFTER: Final = 3 * ONE_DAY  # After the publication of the month.
LARGE_FINAL_ON: Final = 4  # Day of the next month, for meters that are read each day.
BUSINESS_DAYS_ON: Final = 15  # Day of the next month on which a business gets its days.
MEASURED: Final = "Mesuré"
ESTIMATED: Final = "Estimé"
CORRECTED: Final = "Corrigé"
ABSENT: Final = "Absence de Données"
PROVISIONAL: Final = "Provisoire"
FINAL: Final = "Définitive"
FREQUENCIES: Final = ("6M", "1M", "MM", "JJ")
FIRST_DAY: Final = date(2015, 1, 1)  # Nothing is known of the days before.
_HEATING_BEGINS_AT: Final = 16.5
_LITRES: Final = 1_000  # In a m³.
_ENERGY_UNITS: Final = 100_000  # In a kWh: litres times hundredths of the coefficient.
_SUMMER: Final = range(6, 10)
_ONE_ABSENT_IN: Final = 128  # Days of summer.
_ONE_CORRECTED_IN: Final = 12  # Days, when they become final.
# What the holder does about the e-mail: nothing, or accepts or refuses a moment after it; "accepts_at_once" needs none.
Holder = Literal["waits", "accepts", "refuses", "accepts_at_once"]
Frequency = Literal["6M", "1M", "MM", "JJ"]
# What a declaration is refused with: the codes of GRDF's answers to it.
DeclarationCode = Literal[
    "1000000003",
    "1000000004",
    "1000000005",
    "1000000006",
    "1000000013",
    "1000000022",
    "1000000026",
    "2000000001",
    "2000000007",
]


class PeriodCuts(NamedTuple):
    """What decides when a meter's periods end; ``replaced_on``: the day on which it got another meter."""

    frequency: str
    reading_day: int
    communicating_from: date
    replaced_on: date | None = None

    def between(self, first: date, last: date) -> list[tuple[date, date]]:
        """Return start and end (excluded) of the periods up to ``last``; the first begins on ``first``."""
        cuts = {first, *self._cuts(first, last)}
        if self.replaced_on is not None and first <= self.replaced_on <= last:
            cuts.add(self.replaced_on)
        return list(pairwise(sorted(cuts)))

    def published_on(self, end: date) -> date:
        """Return the day on which a period that ends at ``end`` is published."""
        if self.frequency != "1M" or end < self.communicating_from:
            return end + PUBLISHED_AFTER
        return self.next_reading(end) + PUBLISHED_AFTER

    def next_reading(self, day: date) -> date:
        """Return the next day on which the meter is read, which may be the day itself."""
        this_month = day.replace(day=self.reading_day)
        return this_month if this_month >= day else first_of_next_month(day).replace(day=self.reading_day)

    def final_on(self, day: date) -> date:
        """Return the day on which the value of a gas day becomes final."""
        next_month = first_of_next_month(day)
        if self.frequency in ("MM", "JJ"):
            return next_month.replace(day=BUSINESS_DAYS_ON if self.frequency == "MM" else LARGE_FINAL_ON)
        return next_month.replace(day=self.reading_day) + PUBLISHED_AFTER + FINAL_AFTER

    def _cuts(self, first: date, last: date) -> Iterator[date]:
        """Yield the days on which it is read; a communicating meter is also cut on the day on which it was put in."""
        day = first.replace(day=1)
        while day <= last:
            for cut in self._cuts_of_month(day):
                if first <= cut <= last:
                    yield cut
            day = first_of_next_month(day)
        if self.frequency != "6M" and first <= self.communicating_from <= last:
            yield self.communicating_from

    def _cuts_of_month(self, month: date) -> list[date]:
        if self.frequency == "6M" or month < self.communicating_from.replace(day=1):
            return [month.replace(day=min(self.reading_day + 5, 28))] if month.month in _HALF_YEARLY_MONTHS else []
        if self.frequency == "MM":
            return [month]
        if self.frequency == "JJ":
            return [month + timedelta(days=rank) for rank in range((first_of_next_month(month) - month).days)]
        return [cut for cut in (month, month.replace(day=self.reading_day)) if cut >= self.communicating_from]


def first_of_next_month(day: date) -> date:
    """Return the first day of the month after that of ``day``."""
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)


class GasReading(NamedTuple):
    """Gas from the morning of ``start`` to that of ``end`` (excluded).

    Energy in kWh, volume and indexes in m³, coefficient in kWh a m³; None if the distributor has no number.
    ``quality`` and ``status`` are GRDF's words.
    """

    start: date
    end: date
    energy: Decimal | None
    volume: Decimal | None
    coefficient: Decimal | None
    index_start: Decimal | None
    index_end: Decimal | None
    quality: str = MEASURED
    status: str = FINAL

    @classmethod
    def absent(cls, start: date, end: date) -> GasReading:
        """Return a day of which nothing is known."""
        return cls(start, end, None, None, None, None, None, ABSENT)

    def with_energy(self, energy: Decimal) -> GasReading:
        """Return the reading as the distributor corrected it: another energy, and the volume that belongs to it."""
        volume = None if not self.coefficient else round(energy / self.coefficient)
        return self._replace(
            energy=energy, volume=self.volume if volume is None else Decimal(volume), quality=CORRECTED
        )


def to_number(value: Decimal | None) -> Json:
    """Return a decimal as the JSON number of the same digits."""
    if value is None:
        return None
    return int(value) if value == value.to_integral_value() else float(value)


@dataclass(frozen=True, slots=True)
class _GasHousehold:
    """What a home burns: litres per degree and day, and litres of a day's hot water; none while it is on holiday."""

    heating: int
    water: int
    away_from: int
    reading_day: int
    frequency: str
    activated_on: date
    communicating_from: date
    first_index: int
    no_daily_code: str


@dataclass(frozen=True)
class PretendGasHome:
    """One pretend gas home.  ``decimals``: a newer meter, whose volumes and energies are not whole."""

    pce: str
    seed: int
    decimals: bool = False
    _litres_sums: array[int] = field(default_factory=lambda: array("q", [0]), compare=False, repr=False)
    _energy_sums: array[int] = field(default_factory=lambda: array("q", [0]), compare=False, repr=False)

    @property
    def activated_on(self) -> date:
        """The day on which the supply began."""
        return self._household.activated_on

    @property
    def communicating_from(self) -> date:
        """The day from which its meter sends a value each day; before it somebody read it twice a year."""
        return self._household.communicating_from

    @property
    def reading_day(self) -> int:
        """The day of the month on which the meter is read."""
        return self._household.reading_day

    @property
    def frequency(self) -> str:
        """How often its meter is read: one home in eight has no communicating meter."""
        return self._household.frequency

    @property
    def no_daily_code(self) -> str:
        """The code with which GRDF refuses its daily values if it has none."""
        return self._household.no_daily_code

    @cached_property
    def annual_reference(self) -> int:
        """The annual reference consumption (CAR), in kWh: what a usual year takes."""
        return self._energy_before(date(2024, 1, 1)) - self._energy_before(date(2023, 1, 1))

    def day(self, day: date) -> GasReading | None:
        """Return the final values of a gas day; None before all data, all numbers None on a day without data."""
        if day < FIRST_DAY:
            return None
        if self._is_absent(day):
            return GasReading.absent(day, day + ONE_DAY)
        litres = self._sums_before(day + ONE_DAY)[0] - self._sums_before(day)[0]
        energy, coefficient = (
            Decimal(self._energy_before(day + ONE_DAY) - self._energy_before(day)),
            coefficient_of(day),
        )
        volume = Decimal(round(litres / _LITRES))
        if self.decimals:
            volume = round(Decimal(litres) / _LITRES, 2)
            energy = round(volume * coefficient, 2)
        # After a day without data the meter's state in the morning is unknown.
        index_start = None if self._is_absent(day - ONE_DAY) else self.index(day)
        return GasReading(day, day + ONE_DAY, energy, volume, coefficient, index_start, self.index(day + ONE_DAY))

    def provisional(self, day: date) -> GasReading | None:
        """Return what is published of a gas day before its month is final: now and then an estimate."""
        reading = self.day(day)
        if reading is None or reading.energy is None:
            return reading
        energy, quality = reading.energy, MEASURED
        if self.is_corrected(day):
            energy, quality = max(Decimal(0), energy + (self._noise(day)[1] % 7 - 3 or 4)), ESTIMATED
        return reading._replace(energy=energy, quality=quality, status=PROVISIONAL)

    def is_corrected(self, day: date) -> bool:
        """Return whether the final value of a day differs from the one published first."""
        noise = self._noise(day)
        reading = self.day(day)
        return noise[2] % _ONE_CORRECTED_IN == 0 and reading is not None and bool(reading.energy)

    def cut_into(self, cuts: PeriodCuts, first: date, last: date) -> Sequence[GasReading]:
        """Return the billed periods that lie between two days."""
        return [self.period(start, end) for start, end in cuts.between(max(first, FIRST_DAY), last)]

    def period(self, start: date, end: date) -> GasReading:
        """Return a billed period: the energy is that of its volume, as the distributor computes it."""
        index_start, index_end = self.index(start), self.index(end)
        coefficient = coefficient_of(start)
        if (end - start).days > 31:
            months = {coefficient_of(start + timedelta(days=rank)) for rank in range(0, (end - start).days, 28)}
            coefficient = round(sum(months, Decimal(0)) / len(months), 2)
        volume = index_end - index_start
        return GasReading(start, end, Decimal(round(volume * coefficient)), volume, coefficient, index_start, index_end)

    def index(self, day: date) -> Decimal:
        """Return what the meter shows in the morning of a day, in whole m³."""
        litres = self._household.first_index * _LITRES + self._sums_before(max(day, FIRST_DAY))[0]
        return Decimal(litres // _LITRES)

    @cached_property
    def _household(self) -> _GasHousehold:
        digest = blake2b(f"gas {self.seed}:{self.pce}".encode(), digest_size=12).digest()
        people = 1 + digest[0] % 5
        return _GasHousehold(
            heating=150 + digest[1] * 2,
            water=people * (100 + digest[2] // 2) if digest[3] % 6 else 0,
            away_from=190 + digest[4] % 40,
            reading_day=2 + digest[5] % 4,  # So that a month is final by the 10th of the next.
            frequency="6M" if digest[6] % 8 == 0 else "1M",
            activated_on=date(2008 + digest[7] % 7, 1 + digest[8] % 12, 1 + digest[9] % 28),
            communicating_from=date(2018 + digest[10] % 4, 1 + digest[8] % 12, 1),
            first_index=digest[11] * 10,
            no_daily_code="1000010" if digest[4] % 2 else "1000008",
        )

    def _noise(self, day: date) -> bytes:
        return blake2b(f"{self.seed}:{self.pce}:{day}".encode(), digest_size=4).digest()

    def _is_absent(self, day: date) -> bool:
        return day.month in _SUMMER and self._noise(day)[3] % _ONE_ABSENT_IN == 0

    def _litres(self, day: date) -> int:
        home = self._household
        if 0 <= day.timetuple().tm_yday - home.away_from < 14:
            return 0
        variation = 205 + self._noise(day)[0] * 102 // 255  # In 256ths: 0.80 to 1.20.
        return int(home.heating * _cold(day) + home.water) * variation // 256

    def _sums_before(self, day: date) -> tuple[int, int]:
        """Return the litres of all days before a day, and their energy in its smallest unit."""
        rank = (day - FIRST_DAY).days
        while len(self._litres_sums) <= rank:
            next_day = FIRST_DAY + timedelta(days=len(self._litres_sums) - 1)
            burned = self._litres(next_day)
            self._litres_sums.append(self._litres_sums[-1] + burned)
            self._energy_sums.append(self._energy_sums[-1] + burned * int(coefficient_of(next_day) * 100))
        return self._litres_sums[rank], self._energy_sums[rank]

    def _energy_before(self, day: date) -> int:
        return round(self._sums_before(day)[1] / _ENERGY_UNITS)


@lru_cache(maxsize=256)
def pretend_gas_home(pce: str, seed: int, decimals: bool) -> PretendGasHome:
    """Return the pretend home of a PCE; the last ones keep the sums that they have made."""
    return PretendGasHome(pce, seed, decimals)


@lru_cache(maxsize=8192)
def _cold(day: date) -> float:
    return max(0.0, _HEATING_BEGINS_AT - outside_celsius(day))


@lru_cache(maxsize=1024)
def _coefficient_of_month(year: int, month: int) -> Decimal:
    return Decimal(1105 + blake2b(f"coefficient {year}-{month}".encode(), digest_size=1).digest()[0] % 25) / 100


def coefficient_of(day: date) -> Decimal:
    """Return the kWh that a m³ holds on a day: the same in all homes, another one each month."""
    return _coefficient_of_month(day.year, day.month)


def postcode_of(pce: str) -> str:
    """Return the postcode of a PCE, which a declaration must name; it depends only on the number."""
    digest = blake2b(f"postcode {pce}".encode(), digest_size=2).digest()
    return f"{1 + digest[0] % 95:02d}{digest[1] % 100:02d}0"


class GasCorrection(SwitchModel):
    """Correction of the day or of the billed period that begins on ``day``: by ``factor``, or to ``kwh``."""

    day: date
    factor: float | None = None
    kwh: float | None = None

    @model_validator(mode="after")
    def _check_amount(self) -> Self:
        if (self.factor is None) == (self.kwh is None):
            raise ValueError("needs one number of factor or kwh")
        return self

    def apply(self, reading: GasReading) -> GasReading:
        """Return the reading after the correction; one without energy stays."""
        if reading.energy is None:
            return reading
        if self.kwh is not None:
            return reading.with_energy(Decimal(str(self.kwh)))
        return reading.with_energy(Decimal(round(reading.energy * Decimal(str(self.factor)))))


class GasMeterSwitches(SwitchSet):
    """Switches of one PCE; None keeps what the home itself says.

    ``delay_days``: how many days later than others it publishes.  ``absent_days``: days of "Absence de Données".
    ``missing_days``: days without any record.  ``failing_days``: days at whose place GRDF says that it failed
    (2000100).  ``corrections`` and ``published_corrections``: of days and of billed periods.  ``replaced_on``: a new
    meter counts from zero.  ``decimals``: a newer meter, whose numbers are not whole.  ``postcode``: where it lies.
    ``contract_ended``, ``moved_out``, ``unknown``: the contract has ended, the holder has moved out, GRDF knows no such
    PCE.  ``no_daily_code``: how daily values are refused if the meter has none.  ``refusal``: answer every call for
    data with this ``statut_restitution``.  ``declaration_refusal``: refuse every declaration with this code.
    ``holder``: what the holder does about the e-mail.
    """

    delay_days: int = 0
    absent_days: tuple[date, ...] = ()
    missing_days: tuple[date, ...] = ()
    failing_days: tuple[date, ...] = ()
    corrections: tuple[GasCorrection, ...] = ()
    published_corrections: tuple[GasCorrection, ...] = ()
    frequency: Frequency | None = None
    reading_day: Annotated[int, Field(ge=2, le=28)] | None = None
    activated_on: date | None = None
    communicating_from: date | None = None
    replaced_on: date | None = None
    decimals: bool = False
    postcode: Annotated[str, Field(pattern=r"^[0-9]{5}$")] | None = None
    contract_ended: bool = False
    moved_out: bool = False
    unknown: bool = False
    no_daily_code: Literal["1000010", "1000008"] | None = None
    refusal: Annotated[str, Field(pattern=r"^[0-9]{7}$")] | None = None
    declaration_refusal: DeclarationCode | None = None
    holder: Holder | None = None


class GasServiceSwitches(SwitchSet):
    """Switches of the whole service.

    ``holder`` and ``accept_after_s``: what holders do, how many seconds after the e-mail.  ``stream``: a value a line,
    all glued together, one array, or values over several lines.  ``duplicate_day``: the first record comes twice, the
    second time as a day without data.  ``right_in_stream``: an access right stands among the records.
    ``energy_as_text``: energies are texts.  ``key_typo``: the key of a right has GRDF's own typing error.  ``car``: its
    two shapes.  ``rights``: a line each, or wrapped in ``liste_acces``.  ``states`` and ``flags``: their spellings.
    ``consents``: what the ``id_token`` says.  ``chosen``: the meters that a holder picks on the consent page who names
    none; without any, those of the next holder.  ``periods``: which billed periods an answer holds: those that begin in
    the requested days, that overlap them, or that lie within them.  ``no_right_status``: HTTP status if there is no
    right.  ``user_token_status``: HTTP status of a call for data with a user's token.
    """

    holder: Holder = "accepts"
    accept_after_s: Annotated[int, Field(ge=0)] = 60
    stream: Literal["lines", "glued", "array", "folded"] = "lines"
    content_type: Literal["application/x-ndjson", "application/nd-json"] = "application/x-ndjson"
    duplicate_day: bool = False
    right_in_stream: bool = False
    energy_as_text: bool = False
    key_typo: bool = False
    car: Literal["number", "object"] = "number"
    rights: Literal["flat", "wrapped"] = "flat"
    states: Literal["usual", "accents", "plain"] = "usual"
    flags: Literal["title", "upper", "lower"] = "title"
    consents: Literal["text", "list", "several", "none"] = "text"
    chosen: tuple[Annotated[str, Field(pattern=r"^(?:GI[0-9]{6}|[0-9]{14})$")], ...] = ()
    periods: Literal["begin", "overlap", "within"] = "begin"
    no_right_status: Literal[200, 403] = 200
    user_token_status: Literal[401, 403] = 403
    token_life_s: Annotated[int, Field(ge=1)] = 14_399
