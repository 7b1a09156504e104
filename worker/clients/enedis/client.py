"""The client of the measures of Enedis, the same for all three generations of the API."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Final

from worker.clients.enedis.errors import interpret
from worker.clients.enedis.presets import Endpoints
from worker.clients.session import SupplierSession
from worker.domain.measures.answers import Answer, Json
from worker.domain.measures.deviations import Deviation
from worker.domain.measures.readings import DateWindow
from worker.domain.measures.series import Series
from worker.errors import MalformedAnswer

USAGE_POINT: Final = re.compile(r"[0-9]{14}")


class EnedisClient:
    """The measures of one account or application.

    ``now`` is the system's time, zone-aware; it may be a simulated one. ``report`` is called with each refusal that
    is not documented, before its error is raised.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        session: SupplierSession,
        now: Callable[[], datetime],
        report: Callable[[Deviation], object] = lambda deviation: None,
    ) -> None:
        self._preset = endpoints.preset
        self._session = session
        self._now = now
        self._report = report

    def measures(self, series: Series, usage_point_id: str, window: DateWindow) -> Answer:
        """Fetch one window with one call; ``window.end`` is excluded, so today as the end returns yesterday.

        The payload is the supplier's. v4 and v5: ``meter_reading.interval_reading[]`` with ``date`` and ``value`` (a
        text); 2026: ``grandeur[].points[]`` with ``d`` and ``v``. Daily values are in Wh by local day. The load curve
        is in W; each value has the end of its step (local time without a zone) and the length of the step.
        Raises TransientError, AccountError, MalformedAnswer (it is another meter's), RequestRefused or OperatorFault.
        Source: Enedis, swaggers of daily_consumption and consumption_load_curve v5, mesure_synchrone_auto v2.
        """
        preset = self._preset
        params = {
            preset.usage_point_parameter: usage_point_id,
            preset.start_parameter: window.start.isoformat(),
            preset.end_parameter: window.end.isoformat(),
        }
        answer = self._session.get(
            preset.paths[series], params, lambda reply: interpret(reply, window.end, self._now(), self._report)
        )
        if _echoed_usage_point(answer.payload) not in (None, usage_point_id):
            raise MalformedAnswer("the supplier answered for another meter than the one asked for")
        return answer


def _echoed_usage_point(payload: Json) -> str | None:
    """Return the meter that an answer names, or None if it names none or masks it."""
    if not isinstance(payload, dict):
        return None
    reading = payload.get("meter_reading", payload)
    echoed = reading.get("usage_point_id", payload.get("idPrm")) if isinstance(reading, dict) else None
    return echoed if isinstance(echoed, str) and USAGE_POINT.fullmatch(echoed) else None
