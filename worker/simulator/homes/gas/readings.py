"""One gas day or billed period of a meter.  Numbers are decimals, so that each is served as it was recorded."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Final, NamedTuple

from worker.domain.measures.answers import Json

MEASURED: Final = "Mesuré"
ESTIMATED: Final = "Estimé"
CORRECTED: Final = "Corrigé"
ABSENT: Final = "Absence de Données"
PROVISIONAL: Final = "Provisoire"
FINAL: Final = "Définitive"
FREQUENCIES: Final = ("6M", "1M", "MM", "JJ")


class GasReading(NamedTuple):
    """Gas from the morning of ``start`` to that of ``end`` (excluded).

    Energy in kWh, volume and indexes in m³, coefficient in kWh a m³; None where the distributor has no number.
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
