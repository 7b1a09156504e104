"""Benchmark of backfills: accounts a second that get their whole history, for each store.

The history is 36 months of daily values and 28 days of load curve.  It goes through the queue, from the message that
a consent sends until every window is done.
"""

from __future__ import annotations

import sys

from common import TODAY, BenchmarkSystem, Json, all_loaded, parse_options, run, stored_documents


def backfill(system: BenchmarkSystem) -> Json:
    with system.open_parts(TODAY) as parts, system.workers(TODAY):
        accounts = system.add_accounts(parts)

        def start() -> None:
            for account_id in accounts:
                system.send_task("tasks.backfill.backfill_account", account_id)

        measured = system.measure(parts, start, lambda: all_loaded(parts, accounts))
        documents = stored_documents(parts, accounts)
    seconds = measured["seconds"]
    return {
        "accounts_per_second": round(len(accounts) / seconds, 2),
        "documents": documents,
        "documents_per_second": round(documents / seconds),
        **measured,
    }


if __name__ == "__main__":
    args = parse_options(__doc__, accounts=20)
    sys.exit(run("backfill", args, backfill))
