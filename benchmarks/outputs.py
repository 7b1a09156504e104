"""Benchmark of outputs: a fleet with one webhook for all accounts, its windows, its outbox and its delivery.

Windows of one new day run in this process, against a supplier that answers at once, so that what outputs cost is not
hidden by calls. Blocks of them take turns: as before outputs, with outputs possible and none set up, and with one
webhook. Then each series of each account waits, two nights of changes follow, and the outbox must not grow; then a part
is delivered to a receiver on this machine. It prints one JSON object.

    nice -n 10 python benchmarks/outputs.py --accounts 50000 --windows 600
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from sqlalchemy import func, select, text  # noqa: E402

from benchmarks.fleet_seed import NIGHT, account_id_of, seed_registry  # noqa: E402
from config.settings import Settings  # noqa: E402
from drill.embedded_redis import EmbeddedRedis  # noqa: E402
from drill.servers import MeasuresReceiver  # noqa: E402
from tests.support.factories import PretendSupplier, serving_days, window_job  # noqa: E402
from tests.support.parts import Parts  # noqa: E402
from worker.domain.messages import ChangedPart  # noqa: E402
from worker.domain.series import USUAL_SERIES, Series  # noqa: E402
from worker.domain.windows import ONE_DAY, DateWindow, local_midnight  # noqa: E402
from worker.stores.encryption import generate_key  # noqa: E402
from worker.stores.registry.tables import OUTPUT_CHANGES  # noqa: E402

BLOCK: Final = 20
YESTERDAY: Final = NIGHT.date() - ONE_DAY
SECRET: Final = "x" * 32


def measure_windows(parts: Parts, number: int) -> dict[str, Any]:
    """Run windows in blocks that take turns, and return the milliseconds of a window by mode."""
    supplier = PretendSupplier(daily=serving_days({YESTERDAY: 12_345}))
    with_outbox = replace(parts.sync.window, supplier_of=lambda account: supplier)
    without = replace(with_outbox, outbox=None)
    job_window = DateWindow(YESTERDAY, YESTERDAY + ONE_DAY)
    times: dict[str, list[float]] = {"as before": [], "no output": [], "one webhook": []}
    accounts = active_accounts(parts)
    for block in range(number // BLOCK):
        modes = list(times)
        random.Random(block).shuffle(modes)
        for mode in modes:
            output = add_webhook(parts, "http://127.0.0.1:9/") if mode == "one webhook" else None
            sync = without if mode == "as before" else with_outbox
            for _ in range(BLOCK):
                job = window_job(job_window, Series.DAILY, next(accounts), run_id="20261125T073000.000000")
                began = time.perf_counter()
                result = sync.sync_window(job)
                times[mode].append((time.perf_counter() - began) * 1000)
                assert result["created"], "a window that changes nothing measures nothing"
            if output:
                parts.stores.registry.outputs.remove(output)
    return {mode: describe(values) for mode, values in times.items()}


def describe(values: list[float]) -> dict[str, float]:
    quarters = statistics.quantiles(values, n=4)
    return {
        "median_ms": round(statistics.median(values), 2),
        "quartiles_ms": [round(quarters[0], 2), round(quarters[2], 2)],
        "windows": len(values),
    }


def active_accounts(parts: Parts) -> Any:
    number = 0
    while True:
        account_id = account_id_of(number)
        if parts.stores.registry.accounts.get(account_id).active:
            yield account_id
        number += 1


def add_webhook(parts: Parts, url: str) -> str:
    return parts.stores.registry.outputs.insert(
        "webhook", {"url": url, "secret": SECRET, "more": {}}, parts.stores.now()
    )


def measure_outbox(parts: Parts, output: str, accounts: int) -> dict[str, Any]:
    """Let everything wait, change the series of some accounts twice, and return the rows and the time of a change."""
    began = time.perf_counter()
    parts.stores.registry.outbox.enqueue_all(output)
    report: dict[str, Any] = {"ms_everything": ms_since(began), "rows": [count_rows(parts)]}
    for night in range(2):
        at = local_midnight(YESTERDAY + night * ONE_DAY)
        began = time.perf_counter()
        for number in range(accounts):
            for series in USUAL_SERIES:
                with parts.stores.registry.outbox.noting(account_id_of(number), series) as note:
                    note(ChangedPart(at, at))
        report[f"ms_a_change_night_{night + 1}"] = ms_since(began, accounts * len(USUAL_SERIES))
        report["rows"].append(count_rows(parts))
    return report


def count_rows(parts: Parts) -> int:
    return parts.stores.registry.database.fetch(select(func.count()).select_from(OUTPUT_CHANGES))[0][0]


def measure_delivery(parts: Parts, receiver: MeasuresReceiver, number: int) -> dict[str, Any]:
    """Deliver the accounts' changes for a while, and return how fast that is and what its queries take."""
    (output,) = parts.stores.registry.outputs.list_outputs()
    report = {
        "ms_due": time_of(lambda: parts.stores.registry.outputs.list_due(parts.stores.now())),
        "ms_next": time_of(lambda: parts.stores.registry.outbox.next_changes(output.id)),
        "ms_status": time_of(parts.stores.registry.outputs.list_outputs),
    }
    waiting, began, sent = count_rows(parts), time.perf_counter(), 0
    while (left := count_rows(parts)) and waiting - left < number:
        sent += parts.outputs.deliver(output.id)
    seconds = time.perf_counter() - began
    report["rows_a_second"] = round((waiting - left) / seconds, 1)
    return {**report, "sent": sent, "requests": receiver.requests}


def time_of(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return ms_since(began)


def ms_since(began: float, number: int = 1) -> float:
    return round((time.perf_counter() - began) * 1000 / number, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=int, default=50_000)
    parser.add_argument("--windows", type=int, default=600, help="Windows of each of the three modes.")
    parser.add_argument("--changed", type=int, default=1_000, help="Accounts that change in each of two nights.")
    parser.add_argument("--deliver", type=int, default=2_000, help="Rows of the outbox to deliver at least.")
    parser.add_argument("--registry", help="URL of an empty registry; unset, SQLite in a folder that is deleted")
    args = parser.parse_args()
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        redis = opened.enter_context(EmbeddedRedis(folder / "redis"))
        settings = Settings.from_env(
            _env_file=None,
            data_dir=str(folder),
            redis_url=redis.url,
            token_keys=generate_key(),
            enedis_url="http://127.0.0.1:9",
            pretend_now=(NIGHT + timedelta(hours=1)).isoformat(),
            **({"registry_url": args.registry} if args.registry else {}),
        )
        parts = opened.enter_context(Parts(settings))
        seed_registry(parts.stores.registry, args.accounts)
        with parts.stores.registry.database.writing() as connection:
            connection.execute(text("ANALYZE"))
        report: dict[str, Any] = {"accounts": args.accounts, "registry": parts.stores.registry.database.dialect}
        report["windows"] = measure_windows(parts, args.windows)
        receiver = opened.enter_context(MeasuresReceiver())
        receiver.set_up(parts.stores)
        (output,) = parts.stores.registry.outputs.list_outputs()
        report["outbox"] = measure_outbox(parts, output.id, min(args.accounts, args.changed))
        report["delivery"] = measure_delivery(parts, receiver, args.deliver)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
