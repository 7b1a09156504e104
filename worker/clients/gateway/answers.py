"""The shapes of a gateway's answers: those of Enedis, which it passes on, of either generation.

v5                        the content of ``meter_reading``, without that key
2026                      as Enedis sends it

Source: conso-api's documentation in November 2026, and recorded answers of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from worker.clients.answer_shapes import AnswerShape
from worker.clients.enedis.answers import ANSWER_SHAPES as ENEDIS_SHAPES
from worker.clients.gateway.presets import PRESETS
from worker.domain.series import Series

ANSWER_SHAPES: Final[Mapping[Series, Sequence[AnswerShape]]] = {
    series: shapes for series, shapes in ENEDIS_SHAPES.items() if any(one.offers(series) for one in PRESETS.values())
}
