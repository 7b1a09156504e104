"""Consents: their proofs, their durations, and the rules after an erasure.

A duration is an ISO 8601 duration of years, months, weeks and days.

An erased meter stays closed to everything that began before the erasure: another tab, an invitation, a consent still in
force at the supplier. Moments are in real time, even if the fleet's time is simulated; days are in the fleet's time.

Proof P4 compares the reading that a person takes from the meter's display with the supplier's registers. The reading
must lie between the values of the newest known midnight and the most that the home can have reached since then
(``confirms``). A guessed number is rarely within these bounds, and tries are limited (``MOST_TRIES_A_DAY``,
``MOST_WRONG``).
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import Final

from worker.domain.series import Series
from worker.domain.windows import civil_date

REQUEST_LIFE: Final = timedelta(days=7)
MOST_TRIES_A_DAY: Final = 3  # Per meter, over all people who try.
MOST_WRONG: Final = 10  # Per meter; then only an operator can open the meter to readings again.
# However little time has passed since midnight, the registers' sum may have risen by this much.
_LEAST_MARGIN_WH: Final = 10_000
_DURATION: Final = re.compile(r"P(?=\d)(?:(\d{1,4})Y)?(?:(\d{1,4})M)?(?:(\d{1,4})W)?(?:(\d{1,4})D)?", re.ASCII)
_LONGEST_CONSENT: Final = "P3Y"  # None of our suppliers accepts a longer consent.
# A consent begun before an erasure may still reach us for this long after the erasure.
_SHORTEST_MEMORY: Final = REQUEST_LIFE + timedelta(days=1)
_WH_PER_KWH: Final = 1000
_DAY: Final = timedelta(days=1)
_MOST_DIGITS: Final = 9


class ConsentKind(StrEnum):
    """The ways in which a consent reaches us; for Enedis, the generation of the API decides."""

    CODE = "code"  # v4: the callback has a code, which we exchange for the holder's tokens.
    USAGE_POINT = "usage_point"  # v5: the callback names the meter.
    AUTORISATION = "autorisation"  # 2026: the callback names a consent; we ask the supplier which meters it covers.
    ID_TOKEN = "id_token"  # noqa: S105 - GRDF: the callback has a code, which we exchange for an id token.
    RIGHT = "right"  # The supplier registers an access right, and asks the holder itself (GRDF).
    ASSERTED = "asserted"  # The person who added the account asserts the consent; there was no callback.


class Proof(StrEnum):
    """The proof that the meter's holder consented; docs/explanation/ownership.md explains P1 to P5 and their strength.

    P3 (the consent begins on or after the day of the visit to Enedis) has no value of its own.
    """

    NONE = "none"
    EXCHANGE = "exchange"  # P1: the supplier's own token answer names the meter (v4, GRDF).
    INVITED = "invited"  # P2 (API 2026: with P3): the browser that consented opened an invitation for this meter.
    REGISTER = "register"  # P4 (API 2026: with P3): the person has read the meter's registers from its display.
    RIGHT = "right"  # P5: the supplier itself asked the holder; the person was invited, or accepted by the operator.
    OWN = "own"  # The contract is the operator's own, so nobody has to consent.
    ASSERTED = "asserted"  # An operator or a service vouches for the consent.


class EndReason(StrEnum):
    """Why a consent or a grant of the proxy ended; after a refusal, the refusal's error code is the reason instead."""

    RENEWED = "renewed"  # A newer consent replaced this one.
    EXPIRED = "expired"
    REMOVED = "removed"  # The account was removed.
    HOLDER_CHANGED = "holder_changed"  # Another person proved that the meter is theirs.
    WITHDRAWN = "withdrawn"  # The household stopped the consent in Relève.
    CLIENT_REVOKED = "client_revoked"  # The client of the proxy that had the grant was revoked.
    CODE_REUSED = "code_reused"  # The client sent the grant's code a second time.
    OPERATOR_ENDED = "operator_ended"  # The operator ended the grant.
    TOKEN_REUSED = "token_reused"  # noqa: S105 - A refresh token of the proxy was used twice.
    RESTORED = "restored"  # A backup was restored, and all grants in it were ended.


@dataclass(frozen=True, slots=True)
class ConsentProof:
    """The proof that a holder consented, when and for how long.

    The meter's number is not in this object: the table of evidence keeps it, encrypted. ``names_meter``: whether the
    table has the number. ``consent_until`` is the last day, included. ``reference``: the number that the supplier or
    ``vouched_by`` has given to the consent. ``browser``: the SHA-256 of the secret name of the browser that came back
    with the consent.
    """

    id: str
    account_id: str
    supplier: str
    kind: ConsentKind
    consented_at: datetime
    consent_from: date | None = None
    consent_until: date | None = None
    reference: str | None = None
    proof: Proof = Proof.NONE
    vouched_by: str | None = None
    browser: str | None = field(default=None, repr=False)
    names_meter: bool = False
    ended_at: datetime | None = None
    end_reason: str = ""

    @property
    def open(self) -> bool:
        return self.ended_at is None


@dataclass(frozen=True, slots=True)
class PendingRefusal:
    """An unconfirmed refusal of an account, which may be the supplier's mistake.

    ``times``: how often the account was refused. An incident that explains the refusals sets the number to 0; a success
    deletes the row.
    """

    account_id: str
    code: str
    first_seen: datetime
    last_seen: datetime
    times: int


def last_day_of(first_day: date, duration: str) -> date:
    """Return the last day, included, of a consent that begins on ``first_day``.

    If the last month has no such day, the month's last day is used, so ``P6M`` from 31 August ends in February. Raises
    ValueError for a text that isn't a duration, and for a date after the year 9999.
    """
    years, months, weeks, days = _parts(duration)
    month = first_day.month - 1 + 12 * years + months
    year, month = first_day.year + month // 12, month % 12 + 1
    try:
        after_months = date(year, month, min(first_day.day, monthrange(year, month)[1]))
        return after_months + timedelta(weeks=weeks, days=days - 1)
    except (ValueError, OverflowError):
        raise ValueError(f"a consent of {duration} does not end in this calendar") from None


def without_years(duration: str) -> str:
    """Return the same duration in months, weeks and days.

    The consent page of 2026 may show an error for whole years, but is known to accept months and days
    (homey.enedis.connect.proxy; conso-api, issue 159).
    """
    years, months, weeks, days = _parts(duration)
    parts = ((12 * years + months, "M"), (weeks, "W"), (days, "D"))
    return "P" + "".join(f"{count}{unit}" for count, unit in parts if count)


def _parts(duration: str) -> tuple[int, int, int, int]:
    match = _DURATION.fullmatch(duration)
    if match is None or not any(int(count or 0) for count in match.groups()):
        raise ValueError("a consent's duration is written like P6M, P1Y or P1095D")
    years, months, weeks, days = (int(count or 0) for count in match.groups())
    return years, months, weeks, days


def forget_on(erased_on: date, consent_until: date | None) -> date:
    """Return the day on which an erasure is forgotten: the day after ``consent_until``, the consent's last day.

    An erasure is remembered for eight days at least and three years at most; three years if ``consent_until`` is None.
    """
    latest = last_day_of(erased_on, _LONGEST_CONSENT) + timedelta(days=1)
    after_consent = latest if consent_until is None else consent_until + timedelta(days=1)
    return max(min(after_consent, latest), erased_on + _SHORTEST_MEMORY)


def is_younger(proof: Proof, erased_at: datetime, begun_at: datetime | None, invited_at: datetime | None) -> bool:
    """Return whether a proof is younger than the erasure of its meter.

    ``begun_at``: when the person was sent to the supplier's page. ``invited_at``: when the consent's invitation was
    created. An unknown moment counts as older than the erasure. In 2026 the proof itself has already checked that the
    consent isn't older than the day of ``begun_at``. For a right, ``begun_at`` is when the person sent the declaration.
    """
    if begun_at is None or begun_at <= erased_at:
        return False
    by_itself = (Proof.EXCHANGE, Proof.REGISTER, Proof.RIGHT)
    return proof in by_itself or (invited_at is not None and invited_at > erased_at)


def is_asserted_younger(erased_on: date, consented_on: date | None, *, anew: bool, on_the_day: bool = True) -> bool:
    """Return whether a consent that somebody vouches for is younger than the erasure.

    ``consented_on``: the day of the consent. ``anew``: whether the person explicitly says that the holder has consented
    again. ``on_the_day``: whether a consent on the day of the erasure counts as younger.
    """
    day = consented_on or date.min
    return anew or day > erased_on or (on_the_day and day == erased_on)


def parse_displayed(text: str) -> int | None:
    """Return the whole kWh in a text typed from a meter's display, such as ``012 345``; None for any other text."""
    digits = "".join(text.split()).removesuffix("kWh")
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= _MOST_DIGITS else None


def confirms(displayed: Mapping[str, int], midnights: Mapping[datetime, Mapping[str, int]], now: datetime) -> bool:
    """Return whether the meter's display can show these values now.

    No register may be below its value at the newest midnight. Since then, all registers together may have risen by
    10 kWh, or by twice the highest daily use for each day, if this is more. ``displayed``: whole kWh by tariff period.
    ``midnights``: Wh by tariff period, at each known midnight.
    """
    newest = max(midnights, default=now)
    registers = midnights.get(newest, {})
    if not registers or displayed.keys() != registers.keys() or now < newest:
        return False
    # The display leaves out the Wh, so a register may be almost 1 kWh above its displayed value.
    least_wh = {name: kwh * _WH_PER_KWH for name, kwh in displayed.items()}
    if any(least_wh[name] + _WH_PER_KWH <= wh for name, wh in registers.items()):
        return False
    most_wh = max(_LEAST_MARGIN_WH, 2 * _highest_day_wh(midnights) * ((now - newest) / _DAY))
    return sum(max(0, least_wh[name] - wh) for name, wh in registers.items()) <= most_wh


def _highest_day_wh(midnights: Mapping[datetime, Mapping[str, int]]) -> int:
    """Return the highest use in Wh between two consecutive midnights; 0 if no two midnights can be compared.

    A day on which registers appeared or fell doesn't count, because its meter or contract has changed.
    """
    days = [
        [midnights[after][name] - wh for name, wh in midnights[before].items()]
        for before, after in pairwise(sorted(midnights))
        if civil_date(after) - civil_date(before) == _DAY and midnights[before].keys() == midnights[after].keys()
    ]
    return max((sum(used) for used in days if min(used, default=0) >= 0), default=0)


@dataclass(frozen=True, slots=True)
class SharedMeter:
    """A meter that a consent covers according to the supplier.

    ``since`` and ``until``: the first and the last day of the consent, None if unknown. ``offered``: the series that
    the consent covers, None if unknown.
    """

    usage_point_id: str = field(repr=False)
    since: date | None = None
    until: date | None = None
    offered: frozenset[Series] | None = None

    def is_since(self, day: date) -> bool:
        """Return whether the consent is known to begin on this day or after it."""
        return self.since is not None and self.since >= day
