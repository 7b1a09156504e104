"""Erased meters: how long an erasure is remembered, and which proofs are younger than it.

What was erased stays closed to everything that began before: another tab, an invitation, a consent that is still in
force at the supplier. Moments are real ones, even where the fleet runs at a simulated time; days are the fleet's own.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Final

from worker.domain.consent.connection_requests import REQUEST_LIFE
from worker.domain.consent.consents import Proof
from worker.domain.consent.durations import last_day_of

_LONGEST: Final = "P3Y"  # No supplier of ours accepts a longer consent.
# A consent flow that was begun before, and its request, may still be on their way for as long as this.
_SHORTEST: Final = REQUEST_LIFE + timedelta(days=1)


def forget_on(erased_on: date, consent_until: date | None) -> date:
    """Return the day on which an erasure is forgotten: after the consent's last day, at most three years later.

    ``consent_until`` is the last day, included; None where it is not known, so that three years count.
    """
    latest = last_day_of(erased_on, _LONGEST) + timedelta(days=1)
    after_consent = latest if consent_until is None else consent_until + timedelta(days=1)
    return max(min(after_consent, latest), erased_on + _SHORTEST)


def is_younger(proof: Proof, erased_at: datetime, begun_at: datetime | None, invited_at: datetime | None) -> bool:
    """Return whether a proof is younger than the erasure of its meter.

    ``begun_at``: when the person was sent to the supplier's page. ``invited_at``: when the invitation that the consent
    was begun with was made. A moment that is not known counts as older. In 2026 the proof itself has checked that the
    consent is no older than the day it was begun on, which is then no earlier than the erasure's. A right that the
    supplier has asked the holder for is as young as the declaration.
    """
    if begun_at is None or begun_at <= erased_at:
        return False
    by_itself = (Proof.EXCHANGE, Proof.REGISTER, Proof.RIGHT)
    return proof in by_itself or (invited_at is not None and invited_at > erased_at)


def is_asserted_younger(erased_on: date, consented_on: date | None, *, anew: bool) -> bool:
    """Return whether somebody vouches for a consent since the erasure, by its day or by saying so."""
    return anew or (consented_on is not None and consented_on >= erased_on)
