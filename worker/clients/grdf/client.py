"""The client of the series of GRDF."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from worker.clients.endpoints import Endpoints
from worker.clients.session import SupplierSession
from worker.domain.measures.answers import Answer
from worker.domain.measures.deviations import Deviation
from worker.domain.measures.readings import DateWindow
from worker.domain.measures.series import Series


class GrdfClient:
    """The series of the application; see ``SupplierClient``."""

    def __init__(
        self,
        endpoints: Endpoints,
        session: SupplierSession,
        now: Callable[[], datetime],
        report: Callable[[Deviation], object] = lambda deviation: None,
    ) -> None:
        self._preset, self._session, self._now, self._report = endpoints.preset, session, now, report

    def ask(self, series: Series, usage_point_id: str, window: DateWindow) -> Answer:
        """Ask for one window of a series, whose end is excluded."""
        raise NotImplementedError
