"""An output as the delivery sees it: a check, and a call that sends what has changed.

A further output is a module beside this one with a class of this protocol, and a line in ``kinds.py``
(docs/how-to/add-an-output.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Protocol

from worker.domain.series import Series
from worker.errors import OperatorFault


class OutputRefused(OperatorFault):
    """Output that refuses what is sent until its operator acts, such as a wrong token; the text is one clear line."""

    code = ""  # It is no account's.


@dataclass(frozen=True, slots=True)
class OutputAccount:
    """An account as outputs name it.

    ``label``: a short name in small letters, digits and underscores, by default the account's id. ``usage_point_id`` is
    for outputs that are the household's own; a service gets ``id`` alone. ``consent_until``: the last day of the
    consent, or of a gateway's token, as the account has it.
    """

    id: str
    label: str
    tenant: str
    usage_point_id: str | None = field(default=None, repr=False)
    consent_until: date | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """The part of a series in which something has changed: from the start of its first reading to that of its last.

    ``first`` and ``last``: in Europe/Paris; of a day its local midnight. Values in between may be unchanged.
    """

    account: OutputAccount
    series: Series
    first: datetime
    last: datetime


class Output(Protocol):
    """One output as it is set up. It reads the values themselves from the measure store when it sends."""

    def check(self) -> str:
        """Try the connection and the credentials, write nothing, and return one line that says what was reached.

        Raises NotDelivered or OutputRefused.
        """
        ...

    def send(self, changes: Sequence[Change]) -> None:
        """Send the values of these parts as they are stored now; safe to repeat.

        The changes are of one account, the oldest first. Raises NotDelivered where a later try may succeed,
        OutputRefused where it can't, or StoreUnavailable.
        """
        ...
