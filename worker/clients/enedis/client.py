"""The client of the series of Enedis, the same for all three generations of the API."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Final

from worker.clients.endpoints import Endpoints, StateCall
from worker.clients.enedis.errors import interpret
from worker.clients.reduction import find_values, keep_fields, keep_meter
from worker.clients.reply import Reply
from worker.clients.session import SupplierSession
from worker.domain.answers import Answer, AnswerKind, Deviation, Json
from worker.domain.series import Series
from worker.domain.windows import DateWindow
from worker.errors import AccountError, OperatorFault, RequestRefused, WrongMeter

USAGE_POINT: Final = re.compile(r"[0-9]{14}")
_METER_FIELD: Final = "usage_point_id"  # In contracts of all generations.


class EnedisClient:
    """The series of one account or application.

    ``now`` is the system's time, zone-aware; it may be a simulated one. ``report`` is called with each refusal that
    is not documented, before its error is raised.
    """

    interpret = staticmethod(interpret)  # What a reply means; gateways to Enedis have refusals of their own.

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

    def ask(self, series: Series, usage_point_id: str, window: DateWindow) -> Answer:
        """Ask for one window of a series; ``window.end`` is excluded, so today as the end returns yesterday.

        Measures take one call, and their payload is the supplier's. v4 and v5: ``meter_reading.interval_reading[]``
        with ``date`` and ``value`` (a text); 2026: ``grandeur[].points[]`` with ``d`` and ``v``, and registers as
        ``domain.parsing.registers`` shows them. Values of a day are in Wh by local day. A curve is in W; each value has
        the end of its step (local time without a zone) and the length of the step. Maximum powers are in VA, each with
        its instant.

        A contract takes one call (v4, v5) or three (2026), which tell what holds now, so ``window`` is not sent. The
        payload has the supplier's answers by the names that the preset gives them, with the fields alone that it names.
        An API that the application has not subscribed is left out, unless there is no contract without it.

        Raises TransientError, AccountError, SeriesNotOffered, MalformedAnswer (it is another meter's), RequestRefused
        or OperatorFault. Source: Enedis, swaggers of the metering data v5 and customers_upc v5, mesure_synchrone_auto
        v2, Situation contractuelle, Synthèse contractuelle, Situation comptage.
        """
        preset = self._preset
        if calls := preset.state_calls.get(series):
            return self._ask_state(calls, usage_point_id)
        if series not in preset.paths:
            raise RequestRefused(f"{preset.name} has no {series.value}")
        params = {
            preset.usage_point_parameter: usage_point_id,
            preset.start_parameter: window.start.isoformat(),
            preset.end_parameter: window.end.isoformat(),
            **preset.fixed_parameters.get(series, {}),
        }
        answer = self._session.get(
            preset.paths[series], params, lambda reply: self.interpret(reply, window.end, self._now(), self._report)
        )
        if _echoed_usage_point(answer.payload) not in (None, usage_point_id):
            raise WrongMeter(_ANOTHER_METER)
        return answer

    def _ask_state(self, calls: Sequence[StateCall], meter: str) -> Answer:
        bodies: dict[str, Json] = {}
        for call in calls:
            # The meter is part of the path in 2026, where a parameter would be answered by 500.
            path = call.path.replace("{meter}", meter)
            params = {} if path != call.path else {self._preset.usage_point_parameter: meter}
            answer = self._session.get(path, params, partial(self._reduce, call, meter))
            if answer.kind is AnswerKind.DATA:
                bodies[call.name] = answer.payload
            elif call.required:
                return answer
        return Answer(AnswerKind.DATA, bodies)

    def _reduce(self, call: StateCall, meter: str, reply: Reply) -> Answer:
        """Return the answer with the fields alone that are needed."""
        # Without a sample: the whole answer would be in it.
        try:
            answer = self.interpret(
                reply, None, self._now(), lambda deviation: self._report(replace(deviation, sample=None))
            )
        except (AccountError, OperatorFault):
            if call.required:
                raise
            return Answer(AnswerKind.NO_DATA)  # The consent or the application lacks this API alone.
        if answer.kind is not AnswerKind.DATA:
            return answer
        body = keep_fields(answer.payload, call.kept)
        meters = {value for value in find_values(body, _METER_FIELD) if USAGE_POINT.fullmatch(value)}
        if meters and meter not in meters:
            raise WrongMeter(_ANOTHER_METER)
        return Answer(AnswerKind.DATA, keep_meter(body, _METER_FIELD, meter) if meters else body)


_ANOTHER_METER: Final = "the supplier answered for another meter than the one asked for"


def _echoed_usage_point(payload: Json) -> str | None:
    """Return the meter that an answer names, or None if it names none or masks it."""
    if not isinstance(payload, dict):
        return None
    reading = payload.get("meter_reading", payload)
    echoed = reading.get("usage_point_id", payload.get("idPrm")) if isinstance(reading, dict) else None
    return echoed if isinstance(echoed, str) and USAGE_POINT.fullmatch(echoed) else None
