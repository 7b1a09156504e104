"""A supplier as Relève sees it: what its client answers, and its description.

A further supplier is a folder beside ``enedis`` with the same files, and a line in ``suppliers.SUPPLIERS``:

=============== ====================================================================================================
``presets.py``  the generations of its API: paths of the series, names of parameters, kinds of tokens, limits, quotas
``client.py``   a ``SupplierClient``
``errors.py``   what its answers mean: an ``Answer``, or one of ``worker.errors``
``answers.py``  the shapes of its answers, for each of its series
``consent.py``  the address of its consent page, the callback, the meters of a consent, and rights of access
=============== ====================================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from worker.clients.answer_shapes import AnswerShape
from worker.clients.callback import Callback
from worker.clients.endpoints import Endpoints, Preset
from worker.clients.oauth import Grant
from worker.clients.session import SupplierSession
from worker.domain.access_right import DeclaredRight, RightDeclaration, RightRecord
from worker.domain.answers import Answer, Deviation
from worker.domain.clock import Clock
from worker.domain.connection_request import SharedMeter
from worker.domain.series import Series
from worker.domain.windows import DateWindow


class SupplierClient(Protocol):
    """The client of the series of one account or application."""

    def ask(self, series: Series, usage_point_id: str, window: DateWindow) -> Answer:
        """Ask for one window of a series, whose end is excluded; each call that it takes takes a permit.

        Only fields that are needed leave the client: no name, address, e-mail or telephone number does. Raises
        TransientError, AccountError, SeriesNotOffered (the meter has no such series), MalformedAnswer, RequestRefused
        or OperatorFault.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentCalls:
    """A supplier's consent page and what its callback leads to; from its ``consent.py``.

    ``page``: the address of the page, for client id, state, duration and the address of our callback; ValueError where
    there is none. ``read_callback``: reads a callback's query, and raises nothing. ``meters_of_grant``: the meters that
    the answer to a code names, for our client id and now. ``meter``: the form of a meter's number. ``sends_redirect``:
    whether the exchange of a code needs the callback's address again. ``shared_meters``: the meters of a consent by its
    number (2026) with the SHA-256 of the answer, in one call; ``shared_path``: its endpoint.
    """

    page: Callable[[Endpoints, str, str, str, str], str]
    read_callback: Callable[[Mapping[str, str] | Iterable[tuple[str, str]]], Callback]
    meters_of_grant: Callable[[Grant, str, datetime], tuple[str, ...]]
    meter: re.Pattern[str]
    sends_redirect: bool = False
    shared_meters: Callable[[SupplierSession, int, datetime], tuple[Sequence[SharedMeter], str]] | None = None
    shared_path: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RightCalls:
    """The calls of a supplier that registers rights of access; each takes a session of the application.

    ``declare`` raises RightRefused and UnknownUsagePoint. ``list`` takes ``longest_list`` meters at most, and asks for
    the rights of these alone. ``withdraw`` and ``upload`` take the supplier's id of a right; a right that is gone
    counts as withdrawn. ``upload`` sends one to three files, by name and content. Each raises what a session does, too.
    """

    declare: Callable[[SupplierSession, RightDeclaration], DeclaredRight]
    list: Callable[[SupplierSession, Sequence[str]], Sequence[RightRecord]]
    withdraw: Callable[[SupplierSession, str], None]
    upload: Callable[[SupplierSession, str, Sequence[tuple[str, bytes]]], None]
    longest_list: int
    history_days: int  # How far back consumption may be asked for.


@dataclass(frozen=True, slots=True, kw_only=True)
class Supplier:
    """The description of a supplier; its texts are ``supplier.<name>`` in ``locales/names.json``.

    ``name``: its name in accounts, addresses and descriptions of series. ``presets``: the generations of its API; a
    setting chooses one for all accounts. ``client``: builds the client of a session. ``shapes``: the answers that are
    expected of it, by series. ``consent``: None where it has no consent page. ``rights``: None where it registers none.
    """

    name: str
    presets: Mapping[str, Preset]
    client: Callable[[Endpoints, SupplierSession, Clock, Callable[[Deviation], None]], SupplierClient]
    shapes: Mapping[Series, Sequence[AnswerShape]]
    consent: ConsentCalls | None = None
    rights: RightCalls | None = None
