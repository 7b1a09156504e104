"""Benchmark of `releve verify`: documents a second that it checks, and whether memory stays flat.

Each account has three years of daily values and 28 days of load curve, written straight into the store.
"""

from __future__ import annotations

import resource
import sys
import time
from datetime import UTC, date, timedelta

from common import TODAY, BenchmarkSystem, Json, parse_options, run

from tests.support.parts import Parts
from worker.domain.completeness import half_hours_of
from worker.domain.documents import Entry, period_key, to_document
from worker.domain.series import Doctype
from worker.domain.totals import total_entries
from worker.domain.windows import ONE_DAY, local_midnight
from worker.runtime.sync_parts import build_auditor
from worker.sync.verification import Auditor, AuditSummary

_HALF_HOUR = timedelta(minutes=30)
_STEP_MWH = 153_000
_DAYS, _CURVE_DAYS = 3 * 365, 28


def verify(system: BenchmarkSystem) -> Json:
    with system.open_parts(TODAY) as parts:
        accounts = system.add_accounts(parts)
        entries = _home()
        for account_id in accounts:
            _store(parts, account_id, entries)
        auditor, summary = build_auditor(parts.stores, parts.sync, lambda origin: None), AuditSummary()
        began = time.perf_counter()
        _verify(auditor, summary, accounts[: len(accounts) // 4])
        early_kib = _peak_kib()
        _verify(auditor, summary, accounts[len(accounts) // 4 :])
        seconds = time.perf_counter() - began
    return {
        "accounts": summary.accounts,
        "documents": summary.documents,
        "findings": sum(summary.findings.values()),
        "seconds": round(seconds, 1),
        "documents_per_second": round(summary.documents / seconds),
        "peak_mib_after_a_quarter": early_kib // 1024,
        "peak_mib_after_all": _peak_kib() // 1024,
    }


def _verify(auditor: Auditor, summary: AuditSummary, accounts: list[str]) -> None:
    for account_id in accounts:
        summary.add(auditor.verify_account(account_id))


def _home() -> dict[Doctype, list[Entry]]:
    days = [TODAY - age * ONE_DAY for age in range(_DAYS, 0, -1)]
    steps = [Entry(key, _STEP_MWH) for day in days[-_CURVE_DAYS:] for key in _half_hours(day)]
    daily = [Entry(day.isoformat(), half_hours_of(day) * _STEP_MWH) for day in days]
    totals = {
        doctype: [Entry(key, energy) for key, energy in total_entries(inputs, doctype).items()]
        for doctype, inputs in ((Doctype.HOUR, steps), (Doctype.MONTH, daily), (Doctype.YEAR, daily))
    }
    return {Doctype.MINUTE: steps, Doctype.DAY: daily, **totals}


def _half_hours(day: date) -> list[str]:
    midnight = local_midnight(day).astimezone(UTC)
    return [period_key(midnight + number * _HALF_HOUR, Doctype.MINUTE) for number in range(half_hours_of(day))]


def _store(parts: Parts, account_id: str, entries: dict[Doctype, list[Entry]]) -> None:
    for doctype, of_doctype in entries.items():
        documents = [to_document(account_id, doctype, entry, parts.stores.now()) for entry in of_doctype]
        parts.stores.measures.write({doctype: documents})


def _peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    args = parse_options(__doc__, accounts=200)
    sys.exit(run("verify", args, verify))
