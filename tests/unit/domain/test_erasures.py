"""Which proofs are younger than an erasure, and how long the erasure is remembered."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from worker.domain.consents import Proof, forget_on, is_asserted_younger, is_younger

ERASED = datetime(2024, 7, 25, 7, tzinfo=UTC)
BEFORE, AFTER = ERASED - timedelta(seconds=1), ERASED + timedelta(seconds=1)
DAY = date(2024, 7, 25)


@pytest.mark.parametrize(
    ("proof", "begun_at", "invited_at", "younger"),
    [
        (Proof.EXCHANGE, AFTER, None, True),
        (Proof.EXCHANGE, ERASED, None, False),
        (Proof.EXCHANGE, BEFORE, None, False),
        (Proof.EXCHANGE, BEFORE, AFTER, False),
        (Proof.EXCHANGE, AFTER, BEFORE, True),  # The supplier's answer proves the meter without the invitation.
        (Proof.EXCHANGE, None, None, False),
        (Proof.RIGHT, AFTER, None, True),  # The supplier has asked the holder since.
        (Proof.RIGHT, BEFORE, AFTER, False),
        (Proof.INVITED, AFTER, AFTER, True),
        (Proof.INVITED, AFTER, BEFORE, False),
        (Proof.INVITED, AFTER, ERASED, False),
        (Proof.INVITED, BEFORE, AFTER, False),
        (Proof.INVITED, AFTER, None, False),  # The invitation has been revoked meanwhile.
        (Proof.INVITED, None, AFTER, False),
        (Proof.NONE, AFTER, None, False),
    ],
)
def test_a_proof_is_younger_where_all_of_it_began_after_the_erasure(
    proof: Proof, begun_at: datetime | None, invited_at: datetime | None, younger: bool
) -> None:
    assert is_younger(proof, ERASED, begun_at, invited_at) is younger


@pytest.mark.parametrize(
    ("consented_on", "anew", "younger"),
    [
        (None, False, False),
        (date(2024, 7, 24), False, False),
        (DAY, False, True),
        (date(2024, 7, 26), False, True),
        (None, True, True),
        (date(2024, 7, 24), True, True),
    ],
)
def test_whoever_adds_a_meter_says_that_the_consent_is_younger(
    consented_on: date | None, anew: bool, younger: bool
) -> None:
    assert is_asserted_younger(DAY, consented_on, anew=anew) is younger


@pytest.mark.parametrize(
    ("consent_until", "day"),
    [
        (date(2025, 7, 24), date(2025, 7, 25)),
        (date(2027, 7, 23), date(2027, 7, 24)),
        (date(2027, 7, 24), date(2027, 7, 25)),
        (date(2030, 1, 1), date(2027, 7, 25)),  # Three years at most.
        (None, date(2027, 7, 25)),
        (DAY, date(2024, 8, 2)),  # Requests that were begun before live for a week.
        (date(2020, 1, 1), date(2024, 8, 2)),
    ],
)
def test_an_erasure_is_forgotten_after_the_consent_and_three_years_at_most(
    consent_until: date | None, day: date
) -> None:
    assert forget_on(DAY, consent_until) == day
