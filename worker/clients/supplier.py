"""A supplier as Relève sees it: what its client answers, and its description.

A further supplier is a folder beside ``enedis`` with the same files, and a line in ``suppliers.SUPPLIERS``:

=============== ====================================================================================================
``presets.py``  the generations of its API: paths of the series, names of parameters, kinds of tokens, limits, quotas
``client.py``   a ``SupplierClient``
``errors.py``   what its answers mean: an ``Answer``, or one of ``worker.errors``
``answers.py``  the shapes of its answers, for each of its series
``consent.py``  the address of its consent page, the callback, and the meters of a consent
=============== ====================================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from worker.clients.answer_shapes import AnswerShape
from worker.clients.endpoints import Endpoints, Preset
from worker.clients.session import SupplierSession
from worker.domain.clock import Clock
from worker.domain.measures.answers import Answer
from worker.domain.measures.deviations import Deviation
from worker.domain.measures.readings import DateWindow
from worker.domain.measures.series import Series


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
class Supplier:
    """The description of a supplier; its texts are ``supplier.<name>`` in ``locales/names.json``.

    ``name``: its name in accounts, addresses and descriptions of series. ``presets``: the generations of its API; a
    setting chooses one for all accounts. ``client``: builds the client of a session. ``shapes``: the answers that are
    expected of it, by series.
    """

    name: str
    presets: Mapping[str, Preset]
    client: Callable[[Endpoints, SupplierSession, Clock, Callable[[Deviation], None]], SupplierClient]
    shapes: Mapping[Series, Sequence[AnswerShape]]
