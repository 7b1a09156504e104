"""The usage points (meters) that the claims of an ``id_token`` name.

    GRDF   {"consentements": "[{"pce": "01234567890123", "id_accreditation": "…"}]"}, a text that holds JSON
    Enedis {"usage_point_id": "98765432109876"}

GRDF sends an id_token. No answer of Enedis with one is known, but the documentation of the original konnector mentions
it, so its claims are read too. Source: OpenID Connect Core 1.0; the code of aeneria-app (ConsentementDetail.php).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Final

import jwt
from jwt.types import Options

from worker.domain.answers import Json
from worker.errors import UnusableToken

_METER: Final = re.compile(r"[0-9]{14}|GI[0-9]{6}")
_METER_CLAIMS: Final = ("usage_point_id", "usage_points_id", "pce_id", "pce", "id_pce")
_CONSENT_CLAIMS: Final = ("consentements", "consents")


def usage_points_from_id_token(id_token: str, client_id: str, now: datetime) -> list[str]:
    """Return the usage points in the order of the claims, without duplicates; empty if there are none.

    It must be issued for our application (``aud``) and not be too old (``exp``) at ``now``, which a simulation may
    pretend. The signature isn't checked: a token received from the token endpoint over TLS needs no check (OpenID
    Connect Core 1.0, 3.1.3.7), and only the supplier has the key. Raises MalformedAnswer for a text that is no such
    token.
    """
    options: Options = {
        "verify_signature": False,
        "verify_aud": True,
        "verify_exp": False,  # It knows the real time alone.
        "require": ["iss", "aud", "exp"],
    }
    try:
        claims = jwt.decode(id_token, options=options, audience=client_id)
        is_current = float(claims["exp"]) > now.timestamp()
    except (jwt.PyJWTError, TypeError, ValueError, OverflowError, RecursionError):
        # "from None": the foreign text may quote the token.
        raise UnusableToken("the id_token can't be decoded") from None
    if not is_current:
        raise UnusableToken("the id_token has expired: check this machine's clock")
    return list(dict.fromkeys(meter for meter in _claimed_meters(claims) if _METER.fullmatch(meter)))


def _claimed_meters(claims: dict[str, Json]) -> Iterator[str]:
    for name in _METER_CLAIMS:
        yield from split_meters(claims.get(name))
    for name in _CONSENT_CLAIMS:
        for consent in _as_list(claims.get(name)):
            if isinstance(consent, dict):
                yield from (meter for key in _METER_CLAIMS for meter in split_meters(consent.get(key)))


def split_meters(value: Json) -> list[str]:
    """Split a text, or a list of texts, at ``,`` and ``;``."""
    texts = value if isinstance(value, list) else [value]
    return [word.strip() for text in texts if isinstance(text, str) for word in re.split("[,;]", text)]


def _as_list(value: Json) -> list[Json]:
    """Return the value as a list; GRDF sends its consents as a text that holds JSON."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return []
    return value if isinstance(value, list) else []
