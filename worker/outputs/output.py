"""The interface of an output, and the description of a kind of output.

To add an output, add a module beside this one with a class that implements ``Output``, and a line to ``kinds.py``
(docs/how-to/add-an-output.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Protocol
from urllib.parse import urlsplit

from worker.accounts.prices import AccountTariff
from worker.domain.clock import Clock
from worker.domain.series import Series
from worker.errors import OperatorFault
from worker.stores.measures.measure_store import MeasureStore
from worker.stores.registry.outputs import KeptReadings

TariffOf = Callable[[str], AccountTariff | None]


class OutputRefused(OperatorFault):
    """An output refuses data until the operator acts, for example replaces the token; the text is one clear line."""

    code = ""  # Empty: the error concerns no account (``worker.errors``).


@dataclass(frozen=True, slots=True)
class OutputAccount:
    """The part of an account that outputs see.

    ``label``: a short name in lower-case letters, digits and underscores, by default the account's id.
    ``consent_until``: the last day on which the consent, or the token for a gateway, is valid. ``name``: what the
    household calls the meter; empty without a name, and for outputs that show none. ``alert``: whether a limit that the
    household set is exceeded; None without limits, and for outputs that don't show it.
    """

    id: str
    label: str
    consent_until: date | None = None
    name: str = ""
    alert: bool | None = None

    @property
    def shown_name(self) -> str:
        """The name for people; identifiers are made of ``label``."""
        return self.name or self.label


@dataclass(frozen=True, slots=True)
class Change:
    """The changed part of a series: from the start of the first changed reading to the start of the last changed one.

    ``first`` and ``last``: in Europe/Paris; for a daily reading the local midnight. Values in between may be unchanged.
    ``removed``: the keys of removed readings, oldest first. ``repriced``: whether prices or what they depend on have
    changed, so that costs may have gone.
    """

    account: OutputAccount
    series: Series
    first: datetime
    last: datetime
    removed: Sequence[str] = ()
    repriced: bool = False


class Output(Protocol):
    """One output. It reads the values from the measure store when it sends them."""

    def check(self) -> str:
        """Test the connection and the credentials without writing, and return one line about what was reached.

        Raises NotDelivered or OutputRefused.
        """
        ...

    def send(self, changes: Sequence[Change]) -> KeptReadings | None:
        """Send the values of these parts as they are stored now; safe to repeat.

        The changes belong to one account and are sorted, oldest first. Returns the ``removed`` readings that the
        receiver doesn't delete; None if there are none. Raises NotDelivered if a later try may succeed, OutputRefused
        if the operator must act first, or StoreUnavailable.
        """
        ...


@dataclass(frozen=True)
class OutputOptions:
    """The options of one output as typed: its address, its secret, and further options by name."""

    url: str = field(repr=False)  # The address may contain a password.
    secret: str | None = field(default=None, repr=False)
    more: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True)
class OutputParts:
    """``tariff_of``: returns what an account pays by."""

    measures: MeasureStore
    now: Clock
    tariff_of: TariffOf = lambda account_id: None


@dataclass(frozen=True, kw_only=True)
class OutputKind:
    """A kind of output: its name, the help of its options, and the function that builds such an output.

    ``secret``: what the hidden prompt asks for, such as "long-lived access token"; None if there is no secret.
    ``daily``: whether the output's figures change with the date, even without new readings. If so, everything from
    yesterday on is enqueued once a day. ``options``: the further options NAME=VALUE with their help. ``build`` raises
    ValueError with one clear line for a wrong option. ``forget`` removes accounts' data from the receiver, and raises
    the errors of ``Output.send``; None if the protocol has no simple way to remove data.
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
    """Raise ValueError if the URL's host name or port is invalid; the error doesn't quote the URL."""
    try:
        parts = urlsplit(url)
        has_port = parts.port != 0
        (parts.hostname or "").encode("idna")
    except ValueError:  # The text of this error quotes the URL, which may contain a password.
        has_port = False
    if not has_port:
        raise ValueError("this is not an address: its host or port is invalid")
