"""Proof P4: the supplier's registers of one meter, asked for once and compared with what the person has typed.

The calls go through the lane of the caller, for strangers the last one, and only after a reading was typed. Their
answers are dropped: nobody has consented to their being kept yet.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, NamedTuple

from worker.clients.supplier import SupplierClient
from worker.domain.answers import AnswerKind
from worker.domain.clock import Clock
from worker.domain.connection_request import ConnectionRequest, SharedMeter
from worker.domain.consents import LARGEST_POWER_VA, confirms
from worker.domain.parsing import parse
from worker.domain.series import Series, contract_series, registers_of
from worker.domain.windows import DateWindow, IntervalReading, civil_date
from worker.errors import AccountError, DataError, TransientError
from worker.logs import fields
from worker.stores.redis.locks import Locks
from worker.stores.registry.erased_meters import ReadingTryTable

log = logging.getLogger("releve.consents")
_LOCK_S, _LONGEST_S = 90.0, 600.0
# The newest midnight that is told begins yesterday, or before the morning's publication the day before. An older one
# would allow too wide a range.
_LOOK_BACK: Final = timedelta(days=2)


class _Asked(NamedTuple):
    """One meter, and what may be asked of the supplier about it."""

    client: SupplierClient
    usage_point_id: str
    window: DateWindow


@dataclass(frozen=True, kw_only=True)
class MeterReadings:
    """The use case that compares a typed reading with the meter's registers. Every method raises StoreUnavailable.

    ``client_of``: the client of a supplier with the application's token. ``offered``: whether the supplier serves
    registers.
    """

    client_of: Callable[[str], SupplierClient]
    tries: ReadingTryTable
    locks: Locks
    now: Clock
    offered: bool

    def confirm(self, request: ConnectionRequest, meters: Sequence[SharedMeter]) -> SharedMeter | None:
        """Return the meter that the request's reading proves, or None.

        The consent must name one meter, and be no older than the day on which the person was sent to the supplier:
        the same holder gets the same consent's id again. Raises TransientError where the supplier can't tell now, which
        costs no try.
        """
        meter = meters[0] if len(meters) == 1 else None
        if not self.offered or meter is None or meter.since is None or meter.since < request.begun_on:
            return None
        today = civil_date(self.now())
        # One at a time for a meter, so that no more tries are compared than there are.
        with self.locks.lock(
            f"meter_reading:{self.tries.lock_name(request.supplier, meter.usage_point_id)}", _LOCK_S, most_s=_LONGEST_S
        ):
            if not self.tries.may_try(request.supplier, meter.usage_point_id, today):
                return None
            asked = _Asked(
                self.client_of(request.supplier), meter.usage_point_id, DateWindow(today - _LOOK_BACK, today)
            )
            is_right = self._compare(asked, request)
            if is_right:
                self.tries.forget(request.supplier, meter.usage_point_id)
                return meter
            if is_right is not None and self.tries.count_wrong(request.supplier, meter.usage_point_id, today):
                log.warning("proof by reading closed: too many wrong ones", extra=fields(request=request.id))
        return None

    def _compare(self, asked: _Asked, request: ConnectionRequest) -> bool | None:
        """Return whether the reading is right; None where there is nothing to compare it with, which costs no try."""
        newest = _newest(asked, registers_of())
        if newest is None or newest.details is None:
            return None
        power_va = self._subscribed_power(asked)
        return confirms(request.readings, newest.details["registers"], newest.start, power_va, self.now())

    def _subscribed_power(self, asked: _Asked) -> int:
        """Return the contract's power in VA, or the largest one where the supplier does not tell it."""
        contract = _newest(asked, contract_series())
        return contract.amount // 1000 if contract is not None and contract.amount else LARGEST_POWER_VA


def _newest(asked: _Asked, series: Series) -> IntervalReading | None:
    """Ask for a series once, and return the newest reading; None where there is none for this meter."""
    try:
        answer = asked.client.ask(series, asked.usage_point_id, asked.window)
        if answer.kind is not AnswerKind.DATA:
            return None
        readings = parse(answer.payload, series, asked.window).clip_to(asked.window).readings
    except TransientError:
        raise
    except (AccountError, DataError) as error:
        log.info("a reading can't be compared", extra=fields(series=series.value, code=error.code))
        return None
    return max(readings, key=lambda reading: reading.start, default=None)
