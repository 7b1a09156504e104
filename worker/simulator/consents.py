"""Who agreed to what: consents of holders, the codes of their callbacks, and the tokens made from them."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from hashlib import blake2b
from typing import Final

from worker.simulator.clock import Clock

_FIRST_AUTORISATION: Final = 900_001
_LONGEST_DAYS: Final = 3 * 365 + 1
_DURATION: Final = re.compile(r"P(?:(\d{1,4})Y)?(?:(\d{1,4})M)?(?:(\d{1,4})W)?(?:(\d{1,4})D)?", re.ASCII)
_DAYS_OF_UNIT: Final = (365.25, 30.4375, 7, 1)


class WrongDuration(ValueError):
    """The duration of a consent is not one that Enedis takes; the text is its error word."""


def parse_duration(text: str) -> timedelta:
    """ISO 8601 in years, months, weeks and days, three years at most.  Raises WrongDuration."""
    match = _DURATION.fullmatch(text)
    if match is None or not any(match.groups()):
        raise WrongDuration("invalid_duration_format")
    days = sum(int(count) * unit for count, unit in zip(match.groups(), _DAYS_OF_UNIT, strict=True) if count)
    if days > _LONGEST_DAYS:
        raise WrongDuration("maximum_duration_exceeded")
    return timedelta(days=int(days))


@dataclass(frozen=True, slots=True)
class Consent:
    autorisation_id: int
    usage_points: tuple[str, ...]
    start: date
    end: date  # excluded


@dataclass(frozen=True, slots=True)
class UserToken:
    """What stands behind a user's access or refresh token."""

    consent: Consent
    expires_at: datetime


class Consents:
    """Consents by usage point; a new one replaces the one before."""

    def __init__(self, clock: Clock, seed: int) -> None:
        self._clock = clock
        self._seed = seed
        self._by_usage_point: dict[str, Consent] = {}
        self._by_autorisation: dict[int, Consent] = {}
        self._fresh = self._fresh_usage_points()

    def give(self, usage_points: tuple[str, ...] | None, duration: timedelta) -> Consent:
        """A holder agrees; None is a home that nobody has seen yet.

        The same holder gets the same authorisation again, as with Enedis (upstream-apis, 1.12).
        """
        chosen = usage_points or (next(self._fresh),)
        today = self._clock.today()
        known = self._by_usage_point.get(chosen[0])
        number = known.autorisation_id if known else _FIRST_AUTORISATION + len(self._by_autorisation)
        consent = Consent(number, chosen, today, today + duration)
        self._by_autorisation[number] = consent
        self._by_usage_point.update(dict.fromkeys(chosen, consent))
        return consent

    def by_autorisation(self, autorisation_id: int) -> Consent | None:
        return self._by_autorisation.get(autorisation_id)

    def ended(self, usage_point: str) -> bool:
        """Whether a consent was given here and is over; a meter that never gave one counts as consenting."""
        consent = self._by_usage_point.get(usage_point)
        return consent is not None and self._clock.today() >= consent.end

    def _fresh_usage_points(self) -> Iterator[str]:
        rank = 0
        while True:
            rank += 1
            digest = blake2b(f"{self._seed}/{rank}".encode(), digest_size=8).digest()
            yield f"{10**13 + int.from_bytes(digest) % (9 * 10**13):014d}"


class Tokens:
    """Codes work once and briefly; a refresh token works once; access tokens expire by the simulated clock."""

    def __init__(self, clock: Clock, code_life_s: int) -> None:
        self._clock = clock
        self._code_life = timedelta(seconds=code_life_s)
        self._codes: dict[str, UserToken] = {}
        self._refresh: dict[str, UserToken] = {}
        self._access: dict[str, UserToken] = {}
        self._application: dict[str, datetime] = {}

    def issue_code(self, consent: Consent) -> str:
        code = secrets.token_urlsafe(24)
        self._codes[code] = UserToken(consent, self._clock.now() + self._code_life)
        return code

    def redeem_code(self, code: str) -> Consent | None:
        return self._redeem(self._codes, code)

    def redeem_refresh(self, refresh_token: str) -> Consent | None:
        return self._redeem(self._refresh, refresh_token)

    def issue_user(self, consent: Consent, life_s: int) -> tuple[str, str]:
        """A new access token and the only refresh token that can follow it, which lives as long as the consent."""
        access, refresh = secrets.token_urlsafe(40), secrets.token_urlsafe(40)
        now = self._clock.now()
        self._access[access] = UserToken(consent, now + timedelta(seconds=life_s))
        self._refresh[refresh] = UserToken(consent, now + timedelta(days=(consent.end - consent.start).days))
        return access, refresh

    def issue_application(self, life_s: int) -> str:
        """Looks like the JWT that Enedis sends, and says as little to its holder."""
        token = f"eyJhbGciOiJSUzI1NiJ9.e30.{secrets.token_urlsafe(40)}"
        self._application[token] = self._clock.now() + timedelta(seconds=life_s)
        return token

    def user(self, access_token: str) -> Consent | None:
        """The consent behind a user's token that is still good."""
        token = self._access.get(access_token)
        return token.consent if token is not None and self._clock.now() < token.expires_at else None

    def application(self, access_token: str) -> bool:
        expires_at = self._application.get(access_token)
        return expires_at is not None and self._clock.now() < expires_at

    def revoke(self, access_token: str) -> None:
        self._application.pop(access_token, None)
        self._access.pop(access_token, None)

    def expire_all(self) -> None:
        """Let every access token be refused from now on; refresh tokens live on."""
        self._access.clear()
        self._application.clear()

    def forget_refresh(self) -> None:
        """Let every refresh token be refused: all users must consent again."""
        self._refresh.clear()

    def _redeem(self, pool: dict[str, UserToken], secret: str) -> Consent | None:
        token = pool.pop(secret, None)
        return token.consent if token is not None and self._clock.now() < token.expires_at else None
