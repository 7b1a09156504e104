"""Switches of gas, for one meter (PCE) or for the whole service, as the JSON that ``/__sim__/gas/`` takes."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from worker.simulator.homes.gas.readings import GasReading
from worker.simulator.switches import SwitchModel, SwitchSet

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
    PCE.  ``no_daily_code``: how daily values are refused where the meter has none.  ``refusal``: answer every call for
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
    the days asked for, that overlap them, or that lie within them.  ``no_right_status``: HTTP status where there is no
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
