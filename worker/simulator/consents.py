"""Consents of account holders, the codes of their callbacks, and the tokens issued for them."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from hashlib import blake2b
from itertools import cycle, islice
from typing import Final, NamedTuple

from worker.domain.measures.readings import ONE_DAY
from worker.simulator.clock import SimulatedClock

_FIRST_AUTORISATION_ID: Final = 900_001
_CODE_LIFE: Final = timedelta(minutes=3)


@dataclass(frozen=True, slots=True)
class Consent:
    """Consent of one holder for some meters, from ``start`` to ``end`` (excluded)."""

    autorisation_id: int
    usage_points: tuple[str, ...]
    start: date
    end: date


class IssuedToken(NamedTuple):
    """Consent behind a code or token, None behind the application's token, and when that secret expires."""

    consent: Consent | None
    expires_at: datetime


class Consents:
    """Consents by usage point; a new consent replaces the previous one.

    Holders who name no meter have those of ``usage_points`` in turn; without any, each has an unused pretend home.
    """

    def __init__(self, clock: SimulatedClock, seed: int, usage_points: Sequence[str] = ()) -> None:
        self._clock = clock
        self._seed = seed
        self._by_usage_point: dict[str, Consent] = {}
        self._by_autorisation: dict[int, Consent] = {}
        self._given = usage_points
        self._usage_points = cycle(usage_points) if usage_points else self._generate_usage_points()

    def grant(self, usage_points: tuple[str, ...] | None, last_day: date) -> Consent:
        """Record a holder's consent until ``last_day`` and return it; the same holder gets the same id again.

        Without ``usage_points`` it is for the meter of the next holder.
        """
        consent_usage_points = usage_points or (next(self._usage_points),)
        existing = self._by_usage_point.get(consent_usage_points[0])
        number = existing.autorisation_id if existing else _FIRST_AUTORISATION_ID + len(self._by_autorisation)
        consent = Consent(number, consent_usage_points, self._clock.today(), last_day + ONE_DAY)
        self._by_autorisation[number] = consent
        self._by_usage_point.update(dict.fromkeys(consent_usage_points, consent))
        return consent

    def find(self, autorisation_id: int) -> Consent | None:
        """Return the consent with this id, or None."""
        return self._by_autorisation.get(autorisation_id)

    def has_ended(self, usage_point: str) -> bool:
        """Return whether the meter's consent is over; a meter without any consent counts as consenting."""
        consent = self._by_usage_point.get(usage_point)
        return consent is not None and self._clock.today() >= consent.end

    def first_usage_points(self, count: int) -> list[str]:
        """Return the meters of the first holders, whatever consents there were since."""
        return list(islice(self._given or self._generate_usage_points(), count))

    def _generate_usage_points(self) -> Iterator[str]:
        """Yield meter numbers that depend on the seed alone, so that every run has the same homes."""
        rank = 0
        while True:
            rank += 1
            digest = blake2b(f"{self._seed}/{rank}".encode(), digest_size=8).digest()
            yield f"{10**13 + int.from_bytes(digest) % (9 * 10**13):014d}"


class Tokens:
    """Codes, access tokens and refresh tokens.

    A code works once and for a short time, a refresh token works once; all expire by the simulated clock.
    """

    def __init__(self, clock: SimulatedClock) -> None:
        self._clock = clock
        self._codes: dict[str, IssuedToken] = {}
        self._refresh: dict[str, IssuedToken] = {}
        self._access: dict[str, IssuedToken] = {}

    def issue_code(self, consent: Consent) -> str:
        """Return a new code for the callback of ``consent``."""
        code = secrets.token_urlsafe(24)
        self._codes[code] = IssuedToken(consent, self._clock.now() + _CODE_LIFE)
        return code

    def issue_refresh_token(self, consent: Consent) -> str:
        """Return a new refresh token, valid as long as the consent."""
        token = secrets.token_urlsafe(40)
        self._refresh[token] = IssuedToken(consent, self._clock.now() + (consent.end - consent.start))
        return token

    def issue(self, consent: Consent | None, life_s: int) -> str:
        """Return a new access token; the application's looks like the JWT that Enedis sends, and carries no claims."""
        token = ("" if consent else "eyJhbGciOiJSUzI1NiJ9.e30.") + secrets.token_urlsafe(40)
        self._access[token] = IssuedToken(consent, self._clock.now() + timedelta(seconds=life_s))
        return token

    def redeem_code(self, code: str) -> Consent | None:
        """Return the consent behind a code and use the code up; None where it is unknown or expired."""
        token = self._unless_expired(self._codes.pop(code, None))
        return token and token.consent

    def redeem_refresh_token(self, refresh_token: str) -> Consent | None:
        """Return the consent behind a refresh token and use the token up; None where it is unknown or expired."""
        token = self._unless_expired(self._refresh.pop(refresh_token, None))
        return token and token.consent

    def find(self, access_token: str) -> IssuedToken | None:
        """Return what is behind an access token; None where it is unknown or expired."""
        return self._unless_expired(self._access.get(access_token))

    def revoke(self, token: str) -> None:
        """Refuse an access token or a refresh token from now on; one that is unknown is no error."""
        self._access.pop(token, None)
        self._refresh.pop(token, None)

    def expire_access_tokens(self) -> None:
        """Refuse every access token from now on; refresh tokens stay valid."""
        self._access.clear()

    def expire_refresh_tokens(self) -> None:
        """Refuse every refresh token from now on, so that all users must consent again."""
        self._refresh.clear()

    def _unless_expired(self, token: IssuedToken | None) -> IssuedToken | None:
        return token if token is not None and self._clock.now() < token.expires_at else None
