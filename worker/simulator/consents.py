"""Consents of account holders, the codes of their callbacks, and the tokens issued for them."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from hashlib import blake2b
from typing import Final

from worker.simulator.clock import SimulatedClock

_FIRST_AUTORISATION_ID: Final = 900_001
_LONGEST_DAYS: Final = 3 * 365 + 1
_DURATION: Final = re.compile(r"P(?:(\d{1,4})Y)?(?:(\d{1,4})M)?(?:(\d{1,4})W)?(?:(\d{1,4})D)?", re.ASCII)
_DAYS_OF_UNIT: Final = (365.25, 30.4375, 7, 1)


class InvalidDuration(ValueError):
    """Consent duration that Enedis refuses; the text is the error word of its answer."""


def parse_duration(text: str) -> timedelta:
    """Parse an ISO 8601 duration in years, months, weeks and days, three years at most.  Raises InvalidDuration."""
    match = _DURATION.fullmatch(text)
    if match is None or not any(match.groups()):
        raise InvalidDuration("invalid_duration_format")
    days = sum(int(count) * unit for count, unit in zip(match.groups(), _DAYS_OF_UNIT, strict=True) if count)
    if days > _LONGEST_DAYS:
        raise InvalidDuration("maximum_duration_exceeded")
    return timedelta(days=int(days))


@dataclass(frozen=True, slots=True)
class Consent:
    """Consent of one holder for some meters, from ``start`` to ``end`` (excluded)."""

    autorisation_id: int
    usage_points: tuple[str, ...]
    start: date
    end: date


@dataclass(frozen=True, slots=True)
class UserToken:
    """Consent behind a code, an access token or a refresh token, and when that secret expires."""

    consent: Consent
    expires_at: datetime


class Consents:
    """Consents by usage point; a new consent replaces the previous one."""

    def __init__(self, clock: SimulatedClock, seed: int) -> None:
        self._clock = clock
        self._seed = seed
        self._by_usage_point: dict[str, Consent] = {}
        self._by_autorisation: dict[int, Consent] = {}
        self._new_usage_points = self._generate_usage_points()

    def grant(self, usage_points: tuple[str, ...] | None, duration: timedelta) -> Consent:
        """Record a holder's consent and return it; without ``usage_points`` it is for an unused pretend home.

        The same holder gets the same ``autorisation_id`` again, as with Enedis.
        """
        consent_usage_points = usage_points or (next(self._new_usage_points),)
        today = self._clock.today()
        existing = self._by_usage_point.get(consent_usage_points[0])
        number = existing.autorisation_id if existing else _FIRST_AUTORISATION_ID + len(self._by_autorisation)
        consent = Consent(number, consent_usage_points, today, today + duration)
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

    def __init__(self, clock: SimulatedClock, code_life_s: int) -> None:
        self._clock = clock
        self._code_life = timedelta(seconds=code_life_s)
        self._codes: dict[str, UserToken] = {}
        self._refresh: dict[str, UserToken] = {}
        self._access: dict[str, UserToken] = {}
        self._application: dict[str, datetime] = {}

    def issue_code(self, consent: Consent) -> str:
        """Return a new code for the callback of ``consent``."""
        code = secrets.token_urlsafe(24)
        self._codes[code] = UserToken(consent, self._clock.now() + self._code_life)
        return code

    def redeem_code(self, code: str) -> Consent | None:
        """Return the consent behind a code and use the code up; None where it is unknown or expired."""
        return self._redeem(self._codes, code)

    def redeem_refresh_token(self, refresh_token: str) -> Consent | None:
        """Return the consent behind a refresh token and use the token up; None where it is unknown or expired."""
        return self._redeem(self._refresh, refresh_token)

    def issue_user_tokens(self, consent: Consent, life_s: int) -> tuple[str, str]:
        """Return a new access token, and a refresh token that is valid as long as the consent."""
        access, refresh = secrets.token_urlsafe(40), secrets.token_urlsafe(40)
        now = self._clock.now()
        self._access[access] = UserToken(consent, now + timedelta(seconds=life_s))
        self._refresh[refresh] = UserToken(consent, now + timedelta(days=(consent.end - consent.start).days))
        return access, refresh

    def issue_application_token(self, life_s: int) -> str:
        """Return a new application token; it looks like the JWT that Enedis sends, and carries no claims."""
        token = f"eyJhbGciOiJSUzI1NiJ9.e30.{secrets.token_urlsafe(40)}"
        self._application[token] = self._clock.now() + timedelta(seconds=life_s)
        return token

    def consent_of_user_token(self, access_token: str) -> Consent | None:
        """Return the consent behind a user's access token; None where it is unknown or expired."""
        token = self._access.get(access_token)
        return token.consent if token is not None and self._clock.now() < token.expires_at else None

    def is_application_token(self, access_token: str) -> bool:
        """Return whether this is an application token that has not expired."""
        expires_at = self._application.get(access_token)
        return expires_at is not None and self._clock.now() < expires_at

    def revoke(self, access_token: str) -> None:
        """Refuse this access token from now on; an unknown token is no error."""
        self._application.pop(access_token, None)
        self._access.pop(access_token, None)

    def expire_access_tokens(self) -> None:
        """Refuse every access token from now on; refresh tokens stay valid."""
        self._access.clear()
        self._application.clear()

    def expire_refresh_tokens(self) -> None:
        """Refuse every refresh token from now on, so that all users must consent again."""
        self._refresh.clear()

    def _redeem(self, pool: dict[str, UserToken], secret: str) -> Consent | None:
        token = pool.pop(secret, None)
        return token.consent if token is not None and self._clock.now() < token.expires_at else None
