"""`releve migrate-layout`: move the measures of every account from one layout into the other."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Final

import click

from config.settings import Settings, get_settings
from worker.cli.common import json_option, print_json
from worker.domain.series import Series
from worker.domain.windows import DateWindow
from worker.errors import StoreUnavailable
from worker.ops.logging_setup import warn
from worker.runtime.stores import build_measures
from worker.runtime.sync_parts import Runtime, announce_pretend_time
from worker.stores.measures.measure_store import Layout, MeasureStore
from worker.sync.layout_migration import LayoutMigrator, MigrationCounts, RecomputeTotals
from worker.sync.verification import all_accounts

_CHECK_WORKERS_EVERY_S: Final = 30.0
_REPORT_EVERY_S: Final = 10.0


@click.command()
@click.option(
    "--to", "layout", type=click.Choice([layout.value for layout in Layout]), required=True, help="The new layout."
)
@click.option("--account", "account_ids", metavar="ACCOUNT", multiple=True, help="Move only these accounts.")
@json_option
def migrate_layout(layout: str, account_ids: tuple[str, ...], as_json: bool) -> int:
    """Move measures in CouchDB to another layout; stop workers, beat and web first.

    Each account is copied, read back and compared by counts, sums and documents. Only then is the old copy erased. If
    interrupted, run the same command again. Then set RELEVE_LAYOUT and start the workers.

    The exit code is 1 if the old layout still has measures: those of accounts that were not named or are unknown.

    \b
    Example:
      releve migrate-layout --to packed
    """
    settings, new = get_settings(), Layout(layout)
    announce_pretend_time(settings, warn)
    moved = MigrationCounts()
    with Runtime(settings) as runtime, ExitStack() as opened:
        old, measures = (build_measures(settings, opened, chosen) for chosen in (new.other, new))
        move = LayoutMigrator(old, measures, _build_recompute_totals(runtime, measures))
        for account_id in _account_ids(runtime, account_ids, moved):
            move.migrate_account(account_id, moved)
        left = measures.has_other_layout()
    if as_json:
        print_json({"to": new.value, **moved.as_json(), "left_in_other_layout": left})
    else:
        _print_summary(settings, new, moved, left)
    return 1 if left and not account_ids else 0


def _account_ids(runtime: Runtime, account_ids: Sequence[str], moved: MigrationCounts) -> Iterator[str]:
    """Yield the named accounts, known to the registry or not; without names, all of the registry.

    Raises StoreUnavailable where a worker runs: what it writes into the old layout between copy and erasure would be
    lost.
    """
    checked_at, reported_at = float("-inf"), time.monotonic()
    for account_id in account_ids or (account.id for account in all_accounts(runtime.registry)):
        now = time.monotonic()
        if now - checked_at >= _CHECK_WORKERS_EVERY_S:
            checked_at = now
            _refuse_workers(runtime)
        if now - reported_at >= _REPORT_EVERY_S:
            reported_at = now
            warn(f"{moved.accounts} accounts moved, {moved.documents} documents")
        yield account_id


def _refuse_workers(runtime: Runtime) -> None:
    if alive := runtime.heartbeats.living_workers():
        raise StoreUnavailable(
            f"{len(alive)} workers are running ({', '.join(alive[:3])}): stop workers, beat and web, and run it again"
        )


def _build_recompute_totals(runtime: Runtime, measures: MeasureStore) -> RecomputeTotals:
    layout_sync = replace(runtime.window_sync, measures=measures)

    def recompute_totals(account_id: str, series: Series, window: DateWindow) -> int:
        return layout_sync.recompute_totals(runtime.claims.to_job(account_id, series, window))

    return recompute_totals


def _print_summary(settings: Settings, new: Layout, moved: MigrationCounts, left: bool) -> None:
    click.echo(
        f"moved {moved.accounts} accounts to the {new.value} layout: {moved.documents} documents checked, "
        f"{moved.written} written, {moved.erased} erased from the old layout"
    )
    if moved.recounted:
        click.echo(f"{moved.recounted} totals were recomputed, because both layouts held readings")
    if left:
        click.echo(
            f"the {new.other.value} layout still has measures, of accounts that were not named or are not in the "
            "registry"
        )
    elif settings.layout != new.value:
        click.echo(f"now set RELEVE_LAYOUT={new.value} and start the workers")
