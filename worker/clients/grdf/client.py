"""The client of the series of GRDF."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Final

from worker.clients.endpoints import Endpoints, StateCall
from worker.clients.grdf.errors import interpret
from worker.clients.ndjson import StreamLimits
from worker.clients.reduction import keep_fields
from worker.clients.reply import Reply
from worker.clients.session import SupplierSession
from worker.domain.access_right import PCE
from worker.domain.answers import Answer, AnswerKind, Deviation, Json
from worker.domain.parsing.gas import clean_names, object_of
from worker.domain.series import Series
from worker.domain.windows import DateWindow
from worker.errors import AccountError, OperatorFault, RequestRefused, SeriesNotOffered, WrongMeter

LIMITS: Final = StreamLimits()
_ANOTHER_METER: Final = "the supplier answered for another meter than the one asked for"


class GrdfClient:
    """The series of the application; see ``SupplierClient``.

    ``now`` is the system's time, zone-aware; it may be a simulated one. ``report`` is called with each refusal that is
    not documented, before its error is raised.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        session: SupplierSession,
        now: Callable[[], datetime],
        report: Callable[[Deviation], object] = lambda deviation: None,
    ) -> None:
        self._preset, self._session, self._now, self._report = endpoints.preset, session, now, report

    def ask(self, series: Series, usage_point_id: str, window: DateWindow) -> Answer:
        """Ask for one window of a series, whose end is excluded; today as the end returns what there is of yesterday.

        Measures take one call. Their payload is ``{"records": [...]}``: the values of the answer in their order,
        without those that tell a right; ``domain.parsing.gas`` shows one. A contract takes two calls, which tell what
        holds now, so ``window`` is not sent; its payload has the fields alone that the preset names, and no address.
        Where the right covers no contractual data, that part is left out.

        Raises TransientError, AccountError, SeriesNotOffered, MalformedAnswer (also for another meter's answer),
        RequestRefused or OperatorFault. Source: GRDF, swagger of ADICT v2.
        """
        preset = self._preset
        if calls := preset.state_calls.get(series):
            return self._ask_state(calls, usage_point_id)
        if series not in preset.paths:
            raise RequestRefused(f"{preset.name} has no {series.value}")
        days = {preset.start_parameter: window.start.isoformat(), preset.end_parameter: window.end.isoformat()}
        return self._ask(preset.paths[series], usage_point_id, days, window.end)

    def _ask(self, path: str, meter: str, params: Mapping[str, str], end: date | None) -> Answer:
        if not PCE.fullmatch(meter):
            raise RequestRefused("the number of a gas meter (PCE) has 14 digits, or GI and 6 digits")

        def read(reply: Reply) -> Answer:
            answer = interpret(reply, end, self._now(), self._report)
            if answer.kind is AnswerKind.DATA:
                _check_meter(answer.payload["records"], meter)
            return answer

        return self._session.get(path.replace("{meter}", meter), params, read, LIMITS)

    def _ask_state(self, calls: Sequence[StateCall], meter: str) -> Answer:
        body: dict[str, Json] = {}
        for call in calls:
            try:
                answer = self._ask(call.path, meter, {}, None)
            except (AccountError, OperatorFault, SeriesNotOffered):
                if call.required:
                    raise
                continue  # The right lacks this part alone.
            if answer.kind is AnswerKind.DATA:
                body.update(keep_fields(dict(clean_names(answer.payload["records"][0])), call.kept))
            elif call.required:
                return answer
        return Answer(AnswerKind.DATA, body)


def _check_meter(records: Sequence[Json], meter: str) -> None:
    """Raise MalformedAnswer if a record names another meter; a number has lost the zeros that it began with."""
    for record in records:
        named = object_of(clean_names(record), "pce").get("id_pce")
        text = str(named).zfill(14) if isinstance(named, int) and 0 <= named < 10**14 else named
        if isinstance(text, str) and PCE.fullmatch(text) and text != meter:
            raise WrongMeter(_ANOTHER_METER)
