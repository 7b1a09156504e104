"""The meters named in an ``id_token``.

GRDF sends one; of Enedis none was ever seen, but the original's page tells of one, so its claims are read
too.  Source: upstream-apis, 1.11 and 2.3.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final

import jwt

from worker.domain.measures.answers import Json
from worker.errors import MalformedAnswer

_METER: Final = re.compile(r"[0-9]{14}|GI[0-9]{6}")
_METER_CLAIMS: Final = ("usage_point_id", "usage_points_id", "pce_id", "pce", "id_pce")
_CONSENT_CLAIMS: Final = ("consentements", "consents")


def usage_points_from_id_token(id_token: str) -> list[str]:
    """The meters in the order told, without doubles; empty where none is named.

    The signature isn't checked: a token that came from the token endpoint over TLS needs none, and nobody
    but the supplier holds the key.  Raises MalformedAnswer where it is no token.
    """
    try:
        claims = jwt.decode(id_token, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise MalformedAnswer("the id_token can't be decoded") from None  # the foreign text may quote it
    return list(dict.fromkeys(meter for meter in _named(claims) if _METER.fullmatch(meter)))


def _named(claims: dict[str, Json]) -> Iterator[str]:
    for name in _METER_CLAIMS:
        yield from split_meters(claims.get(name))
    for name in _CONSENT_CLAIMS:
        for consent in _as_list(claims.get(name)):
            if isinstance(consent, dict):
                yield from (meter for key in _METER_CLAIMS for meter in split_meters(consent.get(key)))


def split_meters(value: Json) -> list[str]:
    """The words of a text joined by ``,`` or ``;``, or of a list of such texts."""
    texts = value if isinstance(value, list) else [value]
    return [word.strip() for text in texts if isinstance(text, str) for word in re.split("[,;]", text)]


def _as_list(value: Json) -> list[Json]:
    """GRDF's list of consents is a text that holds JSON."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return []
    return value if isinstance(value, list) else []
