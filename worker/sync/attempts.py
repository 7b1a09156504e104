"""The attempts at a window: what each costs, how much a day allows, and how long to wait after a refusal.

Publishing a window counts ``ATTEMPT_COST`` before anyone knows how it ends, so that a worker that dies counts too. A
failure then corrects the count: back to 0 if the window is not to blame, down to 1 for an outage of the supplier, up
to the maximum if another attempt would give the same.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from worker.accounts.refusals import CONFIRMATION_INTERVAL, Ruling
from worker.domain.measures.messages import WindowJob
from worker.domain.measures.readings import PARIS
from worker.errors import DataError, OperatorFault, RateLimited, StoreUnavailable, SupplierUnavailable, WorkerError

# The fifth failure of a window ends it until the next day.
MAX_ATTEMPTS: Final = 5
# An attempt that met an outage of the supplier costs 1 instead: some minutes of outage must not use up the day.
ATTEMPT_COST: Final = 4
MAX_ATTEMPT_COST: Final = MAX_ATTEMPTS * ATTEMPT_COST
# A day's attempts are spread over the time after which a second refusal confirms the first.
WAIT_AFTER_REFUSAL_S: Final[dict[Ruling | None, float]] = {
    Ruling.PENDING: CONFIRMATION_INTERVAL.total_seconds() / (MAX_ATTEMPTS - 1),
    Ruling.INCIDENT: CONFIRMATION_INTERVAL.total_seconds(),
}


def attempts_run(now: datetime) -> str:
    """Return the name under which attempts are counted, ``2024-07-25``: each day begins with none."""
    return now.astimezone(PARIS).date().isoformat()


def failure_cost(job: WindowJob, error: WorkerError, *, excused: bool) -> int:
    """Return the cost of a failure in addition to the attempt that publishing counted; often negative.

    ``excused``: an incident explains the failure. A job without a claim was not published, so nothing was counted.
    """
    if excused:
        return -ATTEMPT_COST if job["claim"] else 0
    if isinstance(error, RateLimited | StoreUnavailable | OperatorFault):
        return -ATTEMPT_COST
    if isinstance(error, SupplierUnavailable):
        return 1 - ATTEMPT_COST
    return MAX_ATTEMPT_COST if isinstance(error, DataError) else 0
