"""What a kind of output needs to be set up: its options, and how its output is built from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from worker.domain.clock import Clock
from worker.domain.networks import Network
from worker.outputs.base import Output, OutputAccount
from worker.stores.measures.measure_store import MeasureStore


@dataclass(frozen=True)
class OutputOptions:
    """The options of one output as they were typed: its address, its secret, and further ones by their names."""

    url: str = field(repr=False)  # It may contain a password.
    secret: str | None = field(default=None, repr=False)
    more: Mapping[str, str] = field(default_factory=dict, repr=False)


def require_address(url: str) -> None:
    """Raise ValueError for a text that is no address, such as one whose host can't be a name; it repeats nothing."""
    try:
        parts = urlsplit(url)
        has_port = parts.port != 0
        (parts.hostname or "").encode("idna")
    except ValueError:  # Its text quotes what was typed, of which a password may be a part.
        has_port = False
    if not has_port:
        raise ValueError("this is not an address: its host or port is invalid")


@dataclass(frozen=True, kw_only=True)
class OutputParts:
    """The collaborators of outputs.

    ``networks``: private ones that may be called. ``any_private``: in home mode each of them may, and without TLS.
    """

    measures: MeasureStore
    now: Clock
    networks: Sequence[Network] = ()
    any_private: bool = False


@dataclass(frozen=True, kw_only=True)
class OutputKind:
    """A kind of output: a name, the help of its options, and what builds an output of it.

    ``secret``: what the hidden prompt asks for, such as "long-lived access token"; None where there is none.
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
