"""A home's installation for tests: its settings, and tokens like those of conso-api."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import jwt

METER: Final = "30001640000077"
OTHER_METER: Final = "30001640000088"
GATEWAY: Final = "http://127.0.0.1:9"  # Nobody is there.
ISSUED: Final = datetime(2024, 7, 20, 10, tzinfo=UTC)
ENDS: Final = datetime(2037, 7, 18, 10, tzinfo=UTC)
OPAQUE: Final = "a-token-of-a-gateway-of-ones-own"
SETTINGS: Final = {"home": "true", "gateway_url": GATEWAY}


def gateway_token(*meters: str, issued: datetime = ISSUED, ends: datetime = ENDS, **claims: Any) -> str:
    """Return a token for these meters, signed with a key that nobody has."""
    facts = {"sub": list(meters or (METER,)), "iat": int(issued.timestamp()), "exp": int(ends.timestamp()), **claims}
    return jwt.encode(facts, "a key of thirty-two bytes or more, for tests", algorithm="HS256")
