"""The codes of an authenticator app: one step before and after the present one count, each once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyotp
import pytest

from worker.domain.sessions import find_totp_step

KEY = "JBSWY3DPEHPK3PXP" * 2
NOW = datetime(2024, 7, 25, 7, 0, 15, tzinfo=UTC)
PRESENT = pyotp.TOTP(KEY).timecode(NOW)


@pytest.mark.parametrize(("steps", "counts"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)])
def test_a_code_counts_one_step_before_and_after_the_present_one(steps: int, counts: bool) -> None:
    code = pyotp.TOTP(KEY).at(NOW + steps * timedelta(seconds=30))
    assert find_totp_step(KEY, code, NOW) == (PRESENT + steps if counts else None)
    assert find_totp_step(KEY, code, NOW, after=PRESENT + steps) is None, "a used code"
