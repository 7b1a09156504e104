"""Which addresses the proxy may send a person on to: those of the origins in RELEVE_PROXY_ORIGINS, nothing else.

``*`` stands for exactly one label of the host, so ``https://*.cozy.example`` is every instance there and neither
``https://cozy.example`` nor ``https://a.b.cozy.example`` nor ``https://x.cozy.example.evil.example``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

LONGEST: Final = 2000
_DEFAULT_PORTS: Final = {"https": "443", "http": "80"}
# Read by this pattern and no other parser: browsers and libraries differ about \, @, # and control characters,
# and a difference is an open door.
_ADDRESS: Final = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9*-]+(?:\.[a-z0-9*-]+)*)(?::(?P<port>\d{1,5}))?"
    r"(?P<rest>/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*(?:\?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?)?",
    re.ASCII | re.IGNORECASE,
)

Origin = tuple[str, tuple[str, ...], str]


def read_origins(text: str) -> tuple[Origin, ...]:
    """The origins of the setting (which has checked them): scheme, labels of the host, port."""
    parts = (part.strip() for part in text.split(","))
    return tuple(origin for part in parts if part and (origin := _origin_of(part)) is not None)


def may_send_to(address: str, origins: Iterable[Origin]) -> bool:
    """Whether ``address`` is a plain address on one of the origins, without user, fragment or odd signs."""
    if len(address) > LONGEST or "*" in address.partition("://")[2].partition("/")[0]:
        return False
    told = _origin_of(address)
    return told is not None and any(_fits(told, origin) for origin in origins)


def _origin_of(address: str) -> Origin | None:
    match = _ADDRESS.fullmatch(address)
    if match is None:
        return None
    scheme = match["scheme"].lower()
    return scheme, tuple(match["host"].lower().split(".")), match["port"] or _DEFAULT_PORTS[scheme]


def _fits(told: Origin, allowed: Origin) -> bool:
    same = told[0] == allowed[0] and told[2] == allowed[2] and len(told[1]) == len(allowed[1])
    return same and all(wanted in ("*", label) for label, wanted in zip(told[1], allowed[1], strict=True))
