"""A fleet for benchmarks: accounts with meters, series, consents and evidence, and what Redis keeps of their histories.

Rows are written as a running fleet has them: asked over the last nights, a tenth paused, a hundredth failing.  They are
the same each time.
"""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from sqlalchemy import insert

from tests.support.parts import Parts
from worker.domain.account import DEFAULT_TENANT
from worker.domain.consents import ConsentKind, Proof
from worker.domain.evidence import DatesSource, PersonalPart
from worker.domain.series import USUAL_SERIES
from worker.stores.registry import Registry
from worker.stores.registry import notices as consent_rows
from worker.stores.registry.evidence import EvidenceChain
from worker.stores.registry.tables import ACCOUNTS, NO_DAY, SERIES_OUTCOMES, USAGE_POINTS

NIGHT: Final = datetime(2026, 11, 25, 7, 30, tzinfo=UTC)
NIGHTS: Final = 3  # The rows were asked within so many nights.
PAGE: Final = 5_000
CONSENT_DAYS: Final = 1095
_LETTERS: Final = "abcdefghjkmnpqrstvwxyz"
_YESTERDAY: Final = date(2026, 11, 24)
_CODES: Final = (None,) * 996 + ("VENDOR_DOWN", "VENDOR_DOWN", "VENDOR_DOWN.UNREACHABLE", "RATE_LIMITED")
_REFUSED_SHARE: Final = 0.004


def account_id_of(number: int) -> str:
    return f"{_LETTERS[number % 22]}{number:011d}"


def meter_of(number: int) -> str:
    return f"3000{number:010d}"


def seed_registry(registry: Registry, accounts: int) -> float:
    """Insert the accounts, their meters and their series; return the seconds that it took."""
    source, began = random.Random(1), time.perf_counter()
    for numbers in _pages(accounts):
        rows, meters, series_rows = [], [], []
        for number in numbers:
            account_id = account_id_of(number)
            rows.append(_account_row(account_id, source))
            active = rows[-1]["state"] == "ready"
            meter = {"account_id": account_id, "usage_point_id": meter_of(number), "supplier": "enedis"}
            meters.append({**meter, "direction": "consumption"})
            series_rows += [_series_row(account_id, series.value, active, source) for series in USUAL_SERIES]
        with registry.database.writing() as connection:
            connection.execute(insert(ACCOUNTS), rows)
            connection.execute(insert(USAGE_POINTS), meters)
            connection.execute(insert(SERIES_OUTCOMES), series_rows)
    return time.perf_counter() - began


def seed_evidence(parts: Parts, accounts: int) -> None:
    """Append the evidence of each account's consent to the chain."""
    chain = EvidenceChain(parts.stores.keys.registry)
    for numbers in _pages(accounts):
        with parts.stores.registry.database.writing() as connection:
            for number in numbers:
                row = {
                    "consent_id": consent_rows.new_id(),
                    "account_id": account_id_of(number),
                    "tenant": DEFAULT_TENANT,
                    "supplier": "enedis",
                    "kind": ConsentKind.ASSERTED,
                    "consent_from": None,
                    "consent_until": None,
                    "dates_from": DatesSource.REQUESTED,
                    "proof": Proof.ASSERTED,
                    "browser": None,
                    "line": None,
                    "actor": "cli:benchmark",
                    "recorded_at": NIGHT,
                }
                personal = PersonalPart(secrets.token_hex(32), meter_of(number), f"contract {number}", None)
                chain.append_given(connection, row, personal)


def _pages(accounts: int) -> Iterator[Sequence[int]]:
    return (range(first, min(first + PAGE, accounts)) for first in range(0, accounts, PAGE))


def _account_row(account_id: str, source: random.Random) -> dict[str, Any]:
    refused, active = source.random() < _REFUSED_SHARE, source.random() > 0.1
    state = "action_needed" if refused else "ready" if active else "paused"
    until = NIGHT.date() + timedelta(days=source.randrange(CONSENT_DAYS))
    return {
        "id": account_id,
        "supplier": "enedis",
        "state": state,
        "reason": "USER_ACTION_NEEDED.OAUTH_OUTDATED" if refused else "",
        "created_at": NIGHT,
        "state_since": NIGHT,
        "consent_from": until - timedelta(days=CONSENT_DAYS),
        "consent_until": until,
    }


def _series_row(account_id: str, series: str, active: bool, source: random.Random) -> dict[str, Any]:
    asked_at = NIGHT - timedelta(days=NIGHTS * source.random())
    failed, code = source.random() < 0.01, source.choice(_CODES)
    return {
        "account_id": account_id,
        "series": series,
        "active": active,
        "every": 1,
        "asked_at": asked_at,
        "again_at": NIGHT + timedelta(hours=source.random()) if failed else None,
        "failures": int(failed),
        "history_due_at": None,
        "days": f"{_YESTERDAY - timedelta(days=1094)} 1095c",
        "last_complete": _YESTERDAY,
        "last_day": _YESTERDAY if source.random() > 0.05 else NO_DAY,
        "run_id": "20261124T070000.000000",
        "last_code": code,
        "last_message": "the supplier does not answer" if code else "",
        "ever_stored": True,
        "updated_at": asked_at,
    }
