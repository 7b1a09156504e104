"""An output: what the delivery sees of it, and what its kind needs to be set up.

The delivery sees a check, and a call that sends what has changed. A further output is a module beside this one with a
class of this protocol, and a line in ``kinds.py`` (docs/how-to/add-an-output.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Protocol
from urllib.parse import urlsplit

from worker.domain.clock import Clock
from worker.domain.series import Series
from worker.errors import OperatorFault
from worker.stores.measures.measure_store import MeasureStore
from worker.stores.registry.outputs import KeptReadings


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
    ``removed``: the keys of readings that have gone from it, in their order.
    """

    account: OutputAccount
    series: Series
    first: datetime
    last: datetime
    removed: Sequence[str] = ()


class Output(Protocol):
    """One output as it is set up. It reads the values themselves from the measure store when it sends."""

    def check(self) -> str:
        """Try the connection and the credentials, write nothing, and return one line that says what was reached.

        Raises NotDelivered or OutputRefused.
        """
        ...

    def send(self, changes: Sequence[Change]) -> KeptReadings | None:
        """Send the values of these parts as they are stored now; safe to repeat.

        The changes are of one account, the oldest first. Returns which of the ``removed`` readings stay there; None for
        none. Raises NotDelivered where a later try may succeed, OutputRefused where it can't, or StoreUnavailable.
        """
        ...


@dataclass(frozen=True)
class OutputOptions:
    """The options of one output as they were typed: its address, its secret, and further ones by their names."""

    url: str = field(repr=False)  # It may contain a password.
    secret: str | None = field(default=None, repr=False)
    more: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True)
class OutputParts:
    """What outputs are built from, besides their options."""

    measures: MeasureStore
    now: Clock


@dataclass(frozen=True, kw_only=True)
class OutputKind:
    """A kind of output: a name, the help of its options, and what builds an output of it.

    ``secret``: what the hidden prompt asks for, such as "long-lived access token", if anything.
    ``daily``: whether what it sends changes with the date alone, so that each account of it is noted as changed once a
    day: its daily series, yesterday.
    ``options``: the further options NAME=VALUE with their help. ``build`` raises ValueError with one clear line where
    an option is wrong. ``forget`` removes what the receiver keeps of accounts, where its protocol has a simple way; it
    raises as ``Output.send`` does.
    """

    name: str
    title: str
    url_help: str
    build: Callable[[OutputOptions, OutputParts], Output]
    secret: str | None = None
    daily: bool = False
    forget: Callable[[OutputOptions, OutputParts, Iterable[OutputAccount]], None] | None = None
    options: Mapping[str, str] = field(default_factory=dict)


def require_address(url: str) -> None:
    """Raise ValueError unless the text is an address, with a host that can be a name; the error repeats nothing."""
    try:
        parts = urlsplit(url)
        has_port = parts.port != 0
        (parts.hostname or "").encode("idna")
    except ValueError:  # Its text quotes what was typed, of which a password may be a part.
        has_port = False
    if not has_port:
        raise ValueError("this is not an address: its host or port is invalid")
