"""The measures of Enedis: one method a series, the same for all three generations."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Final

from worker.clients.enedis.errors import Reply, classify, refused_as_wrong, unforeseen
from worker.clients.enedis.presets import Endpoints
from worker.clients.session import SupplierSession
from worker.domain.measures.answer_shapes import Deviation
from worker.domain.measures.answers import Answer, AnswerKind, Json
from worker.domain.measures.readings import PARIS, DateWindow, Series
from worker.errors import MalformedAnswer

USAGE_POINT: Final = re.compile(r"[0-9]{14}")


class EnedisClient:
    """Asks for measures.  ``now`` is the time the system lives at, zone-aware; it may be a pretended one.

    ``report`` hears of refusals that nobody has told us of; they raise as they would without it.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        session: SupplierSession,
        now: Callable[[], datetime],
        report: Callable[[Deviation], object] = lambda surprise: None,
    ) -> None:
        self._preset = endpoints.preset
        self._session = session
        self._now = now
        self._report = report

    def daily_consumption(self, usage_point_id: str, window: DateWindow) -> Answer:
        """The energy used on each day of ``window``, as it came.

        v4 and v5: ``meter_reading.interval_reading[]`` with ``date`` (local day) and ``value`` (text, Wh);
        2026: ``grandeur[].points[]`` with ``d`` and ``v``.  Raises TransientError, AccountError,
        MalformedAnswer (another meter's), RequestRefused or OperatorFault.  Source: upstream-apis, 1.5,
        1.6, 1.12.
        """
        return self.measures(Series.DAILY, usage_point_id, window)

    def load_curve(self, usage_point_id: str, window: DateWindow) -> Answer:
        """The mean power of each step in ``window``, at most 7 days, as it came.

        Shape and errors as ``daily_consumption``; values in W, each stamped with the end of its step
        (naive, local) and with the step's length.
        """
        return self.measures(Series.LOAD_CURVE, usage_point_id, window)

    def measures(self, series: Series, usage_point_id: str, window: DateWindow) -> Answer:
        """One call; ``window.end`` is sent as excluded, and today is a good end: it brings yesterday."""
        preset = self._preset
        params = {
            preset.usage_point_parameter: usage_point_id,
            preset.start_parameter: window.start.isoformat(),
            preset.end_parameter: window.end.isoformat(),
        }
        answer = self._session.get(preset.paths[series], params, lambda reply: self._judge(reply, window))
        if _echoed_usage_point(answer.payload) not in (None, usage_point_id):
            raise MalformedAnswer("the supplier answered for another meter than the one asked for")
        return answer

    def _judge(self, reply: Reply, window: DateWindow) -> Answer:
        now = self._now()
        if surprise := unforeseen(reply):
            self._report(surprise)
        # The error table advises yesterday as the last end (1.5): only we know that today was asked.
        if refused_as_wrong(reply) and window.end == now.astimezone(PARIS).date():
            return Answer(AnswerKind.END_TOO_LATE)
        return classify(reply, now)


def _echoed_usage_point(payload: Json) -> str | None:
    """The meter that an answer says it is for; None where it doesn't say, or masks it."""
    if not isinstance(payload, dict):
        return None
    reading = payload.get("meter_reading", payload)
    echoed = reading.get("usage_point_id", payload.get("idPrm")) if isinstance(reading, dict) else None
    return echoed if isinstance(echoed, str) and USAGE_POINT.fullmatch(echoed) else None
