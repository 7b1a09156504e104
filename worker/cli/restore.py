"""`releve restore`: an empty registry and the measure store filled from a file of `releve backup`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click

from config.settings import get_settings
from worker.cli.backup import FILE_PREFIX, describe_counts
from worker.cli.common import confirm_on_terminal, json_option, print_result
from worker.ops.backup import RestoreSummary
from worker.ops.backup import restore as restore_backup
from worker.ops.backup_format import BackupRefused
from worker.ops.logging_setup import warn
from worker.runtime.sync_parts import announce_pretend_time


@click.command()
@click.argument("target", metavar="FILE|DIR", type=click.Path(path_type=Path))
@click.option("--without-ledger", is_flag=True, help="Restore even though the ledger of erasures is lost.")
@click.option("--yes", is_flag=True, help="Don't ask for confirmation.")
@json_option
def restore(target: Path, without_ledger: bool, yes: bool, as_json: bool) -> None:
    """Restore a backup from FILE, or the newest one in DIR; stop everything else first.

    The registry must be empty, except for operators. The databases may be of another kind than those of the backup. If
    interrupted, run the same command again. Workers fetch newer data by themselves afterwards.

    The ledger of erasures (RELEVE_LEDGER_FILE) is applied: accounts erased, stopped or closed since the backup stay so.
    API tokens, invitations, proxy clients and sessions of the backup are ended.

    \b
    Examples:
      releve restore /var/backups/releve/
      releve restore monday.zip --without-ledger
    """
    path = _newest(target) if target.is_dir() else target
    confirm_on_terminal(
        f"Restore the registry and the measure store from {path.name}?", yes, if_not="nothing was restored"
    )
    settings = get_settings()
    announce_pretend_time(settings, warn)
    summary = restore_backup(settings, path, without_ledger=without_ledger)
    print_result(asdict(summary), *_lines(summary), as_json=as_json)


def _lines(summary: RestoreSummary) -> Iterator[str]:
    made = f"from {summary.file}, made {summary.made_at}"
    if summary.registry_was_there:  # The same restore has run before: no account came back just now.
        yield f"an earlier run restored the registry; restored {summary.documents} documents now {made}"
    else:
        yield f"restored {describe_counts(summary)} {made}"
    if summary.home:
        yield "the backup is a home's, and so is this data folder now"
    if summary.kept:
        yield f"{summary.kept} documents were there already"
    if not summary.registry_was_there:
        ended, since = summary.ended, summary.since_backup
        yield (
            f"applied the ledger of erasures: {since.erased} accounts erased, {since.closed} closed and "
            f"{since.stopped} stopped since then"
        )
        yield (
            f"ended: {ended.api_tokens} API tokens, {ended.invitations} invitations, {ended.proxy_clients} proxy "
            f"clients with {ended.proxy_grants} grants, and all sessions of households"
        )
        yield (
            "create new tokens, clients and operators (`releve tokens new`, `releve proxy-clients new`, `releve "
            "operators add NAME`); households get access again by an invitation (`releve invite ACCOUNT`), in v4 "
            "also by a new consent"
        )
    if summary.erasures_unknown_since:
        yield (
            f"without the ledger of erasures, accounts erased after {summary.erasures_unknown_since} have been "
            "restored, and stopped ones run again: remove those you know of (`releve accounts remove ACCOUNT`)"
        )


def _newest(folder: Path) -> Path:
    backups = sorted(folder.glob(f"{FILE_PREFIX}*.zip"))
    if not backups:
        raise BackupRefused(f"there is no {FILE_PREFIX}….zip in {folder}: name the file itself")
    return backups[-1]  # The name begins with the time in UTC, so that the last is the newest.
