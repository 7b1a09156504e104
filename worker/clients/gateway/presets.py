"""The API of conso-api, which private gateways may have, too: paths, parameters, limits, shapes of answers.

Each path is the series' name in Enedis' API of 2026. The parameters are ``pointId``, ``dateDebut`` and ``dateFin``; the
day ``dateFin`` is excluded. The home's token is sent as the bearer token. The author of conso-api bans addresses that
make 100 calls or more in a half-day, so Relève makes 60 at most. Answers of Enedis' API of 2026 are passed on
unchanged. Of answers of v5, only the content of ``meter_reading`` is passed on.

Source: conso.boris.sh, its documentation and its code in November 2026 (bokub/conso-api), and recorded answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from worker.clients.answer_shapes import AnswerShape
from worker.clients.endpoints import Preset
from worker.clients.enedis.presets import ANSWER_SHAPES as ENEDIS_SHAPES
from worker.clients.enedis.presets import MEASURE_PARAMETERS, MEASURES
from worker.domain.series import Series

_CONSO_API: Final = Preset(
    name="conso-api",
    title="the gateway",
    base_url="https://conso.boris.sh",
    sandbox_base_url="https://conso.boris.sh",
    data_path="/api",
    authorize_url="",
    token_path="",
    token_mode="bearer",  # noqa: S106
    paths={series: f"/{name}" for series, name in MEASURES.items()},
    fixed_parameters=MEASURE_PARAMETERS,
    usage_point_parameter="pointId",
    start_parameter="dateDebut",
    end_parameter="dateFin",
    domain="conso.boris.sh",
    consent_style="usage_point",
    consent_duration="P3Y",
    calls_per_second=1,
    calls_per_hour=0,
    calls_per_day=60,
    quota_day_hours=12,  # Our 12 hours slide, so the limit holds in each half-day of the gateway.
)
PRESETS: Final[Mapping[str, Preset]] = {preset.name: preset for preset in (_CONSO_API,)}


ANSWER_SHAPES: Final[Mapping[Series, Sequence[AnswerShape]]] = {
    series: shapes for series, shapes in ENEDIS_SHAPES.items() if any(one.offers(series) for one in PRESETS.values())
}
