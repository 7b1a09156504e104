"""The data that a client of the consent proxy may read (v5, 2026): the supplier is asked with our own token.

A grant is for one meter. The call counts in the quota's ledger like each call of a worker, in the lane of histories:
a stack that fetches for many households leaves the rest to those for whom a person waits. Nothing is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from worker.accounts.proxy.supplier_calls import SupplierCalls
from worker.clients.endpoints import Preset
from worker.clients.enedis.client import USAGE_POINT
from worker.clients.supplier import SupplierClient
from worker.domain.answers import Answer
from worker.domain.clock import Clock
from worker.domain.lanes import Lane, in_lane
from worker.domain.oauth_proxy import ProxyGrant
from worker.domain.series import Series
from worker.domain.windows import DateWindow, civil_date
from worker.stores.registry.erased_meters import ErasureTable
from worker.stores.registry.proxy import ProxyGrantTable

LONGEST_WINDOW_DAYS: Final = 3 * 366


@dataclass(frozen=True, slots=True)
class DataQuery:
    """A series, a meter, and the days asked for; the end is excluded, as the supplier has it."""

    series: Series
    usage_point_id: str = field(repr=False)
    window: DateWindow


class TooEarly(Exception):
    """The meter was another person's before the day that is the argument."""


class OtherMeter(Exception):
    """The grant is not for this meter."""


def read_query(preset: Preset, path: str, parameters: Mapping[str, str]) -> DataQuery | None:
    """Return the query of a request for a path of the supplier; None for a path that no series of measures has.

    What a supplier tells of the contract is not passed on: it is about more than the meter.

    Raises ValueError with what is wrong, which doesn't repeat a value.
    """
    series = next((series for series, known in preset.paths.items() if known == path), None)
    if series is None:
        return None
    names = (preset.usage_point_parameter, preset.start_parameter, preset.end_parameter)
    fixed = preset.fixed_parameters.get(series, {})
    if set(parameters) != {*names, *fixed}:
        raise ValueError(f"needs {', '.join((*names, *fixed))} and nothing else")
    meter, start, end = (parameters[name] for name in names)
    if wrong := [name for name, value in fixed.items() if parameters[name] != value]:
        raise ValueError(f"{wrong[0]} must be {fixed[wrong[0]]}")
    if not USAGE_POINT.fullmatch(meter):
        raise ValueError(f"{names[0]} needs 14 digits")
    days = _read_day(start, names[1]), _read_day(end, names[2])
    if not 0 < (days[1] - days[0]).days <= LONGEST_WINDOW_DAYS:
        raise ValueError(f"{names[2]} must be 1 to {LONGEST_WINDOW_DAYS} days after {names[1]}")
    return DataQuery(series, meter, DateWindow(*days))


def _read_day(text: str, name: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{name} needs a day like 2024-07-25") from None


@dataclass(frozen=True, kw_only=True)
class ProxyData:
    """The use case behind the data route of the proxy. ``client_of`` returns the client of a supplier's measures.

    ``calls``: shared with ``ProxyGrants``.
    """

    grants: ProxyGrantTable
    erasures: ErasureTable
    client_of: Callable[[str], SupplierClient]
    now: Clock
    calls: SupplierCalls

    def find_grant(self, access_token: str) -> ProxyGrant | None:
        """Return the grant of an access token; None where the token or its grant is not in force."""
        grant = self.grants.find_by_access_token(access_token)
        return None if grant is None or grant.is_over(civil_date(self.now())) else grant

    def read(self, grant: ProxyGrant, query: DataQuery) -> Answer:
        """Ask the supplier once.

        Raises OtherMeter, TooEarly, what the client raises, and TransientError where too many calls are under way.
        """
        if grant.meter not in self.erasures.digests(grant.supplier, query.usage_point_id):
            raise OtherMeter
        if grant.data_from is not None and query.window.start < grant.data_from:
            raise TooEarly(grant.data_from)
        with self.calls.take(), in_lane(Lane.BACKFILL):
            return self.client_of(grant.supplier).ask(query.series, query.usage_point_id, query.window)
