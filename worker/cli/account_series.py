"""`releve accounts series`: what an account is asked for, and how that is chosen."""

from __future__ import annotations

import click

from worker.accounts.series_choice import AccountSeries
from worker.cli.common import json_option, open_runtime, print_result
from worker.cli.gas_option import SERIES
from worker.cli.tables import local_text, print_table
from worker.domain.series import Series, SeriesSwitch
from worker.errors import StoreUnavailable
from worker.runtime.sync_parts import Runtime


@click.command("series")
@click.argument("account_id", metavar="ACCOUNT")
@click.option("--on", type=SERIES, multiple=True, help="Fetch this series, also if the supplier ended it before.")
@click.option("--off", type=SERIES, multiple=True, help="Stop fetching this series. Stored data stays.")
@click.option("--fleet", type=SERIES, multiple=True, help="Follow RELEVE_SERIES again, like all accounts.")
@json_option
def account_series(
    account_id: str, on: tuple[str, ...], off: tuple[str, ...], fleet: tuple[str, ...], as_json: bool
) -> None:
    """Show or choose the series of an account.

    A series that you switch on is fetched at once.

    \b
    Examples:
      releve accounts series 3kq7d0fr2m
      releve accounts series 3kq7d0fr2m --on max_power --on registers --off load_curve
    """
    chosen = [(on, SeriesSwitch.ON), (off, SeriesSwitch.OFF), (fleet, SeriesSwitch.FLEET)]
    switches = {Series(name): switch for names, switch in chosen for name in names}
    if len(switches) < len({*on}) + len({*off}) + len({*fleet}):
        raise click.UsageError("name a series in only one of --on, --off and --fleet")
    with open_runtime() as runtime:
        runtime.registry.get_existing(account_id)
        try:
            begins = runtime.series_chooser.choose(account_id, switches)
        except ValueError as error:
            raise click.UsageError(str(error)) from None
        if begins:
            _publish_history(runtime, account_id)
        result = runtime.series_chooser.load(account_id)
    if as_json:
        print_result(result.model_dump(mode="json"), as_json=True)
    else:
        print_table(_rows(result))


def _publish_history(runtime: Runtime, account_id: str) -> None:
    """Enqueue the history; where the message is lost, beat repeats it."""
    from worker.app import enqueue_backfill  # Imported late, for the other subcommands need no Celery.

    try:
        enqueue_backfill(account_id, broker_url=runtime.broker_url)
    except StoreUnavailable as error:
        click.echo(f"releve: {error}: the history follows by itself", err=True)


def _rows(result: AccountSeries) -> list[dict[str, str]]:
    return [
        {
            "series": name.value,
            "switch": state.switch.value,
            "asked for": "yes" if state.collected else "no" if state.offered else "not offered",
            "last asked": local_text(state.asked_at),
            "last day": str(state.last_day or "-"),
            "error": state.error or "",
        }
        for name, state in result.series.items()
    ]
