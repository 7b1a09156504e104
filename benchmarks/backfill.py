"""How many accounts a second get their whole history, for each store.

36 months of daily values and 28 days of load curve through the queue, from the message that a consent sends
until every window is done.
"""

from __future__ import annotations

import sys

from common import TODAY, House, Json, all_loaded, options, run, stored_documents


def backfill(house: House) -> Json:
    with house.inside(TODAY) as runtime, house.workers(TODAY):
        accounts = house.add_accounts(runtime)

        def start() -> None:
            for account_id in accounts:
                house.send("tasks.backfill.backfill_account", account_id)

        measured = house.measured(runtime, start, lambda: all_loaded(runtime, accounts))
        documents = stored_documents(runtime, accounts)
    seconds = measured["seconds"]
    return {
        "accounts_per_second": round(len(accounts) / seconds, 2),
        "documents": documents,
        "documents_per_second": round(documents / seconds),
        **measured,
    }


if __name__ == "__main__":
    args = options(__doc__, accounts=20)
    sys.exit(run("backfill", args, backfill))
