"""What a supplier can say to one request that is no error.

The client classifies an answer once (``upstream-apis``, 1.9 and 1.12); nobody above it looks at
a status code or a supplier's error code again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

Json = Any  # a body as it came, until it is parsed


class Verdict(StrEnum):
    DATA = "data"
    NO_DATA = "no_data"  # nothing measured, curve not collected or objected to: normal
    BEFORE_HISTORY = "before_history"  # the window starts before activation, consent or the supplier's history
    TOO_LONG = "too_long"  # the window has more days than the supplier takes
    END_TOO_LATE = "end_too_late"  # the end must lie one day earlier


@dataclass(frozen=True, slots=True)
class Answer:
    """One classified answer; ``payload`` is there with DATA alone and stays out of every text."""

    verdict: Verdict
    payload: Json = field(default=None, repr=False)
