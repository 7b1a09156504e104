"""`releve restore`: an empty registry and the measure store filled from a file of `releve backup`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click

from worker.cli.backup import FILE_PREFIX, describe_counts, target_argument
from worker.cli.common import confirm_on_terminal, json_option, open_runtime, print_result
from worker.ops.backups.archive import BackupRefused
from worker.ops.backups.restore import RestoreSummary
from worker.ops.backups.restore import restore as restore_backup


@click.command()
@target_argument
@click.option("--without-ledger", is_flag=True, help="Go on although the ledger of erasures is lost.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@json_option
def restore(target: Path, without_ledger: bool, yes: bool, as_json: bool) -> None:
    """Bring back what `releve backup` saved in FILE, or in the newest file of DIR; everything is stopped meanwhile.

    The registry must be empty but for operators; the stores may be of another kind than those saved.  Interrupted, the
    same command goes on.  What came after the backup is fetched again by itself when a worker runs.

    Accounts that were erased since, consents that were stopped and meters that changed hands stay so: the ledger of
    erasures (RELEVE_LEDGER_FILE) says which.  API tokens, invitations, clients of the proxy and sessions come back
    ended.

    \b
    Examples:
      releve restore /var/backups/releve/
      releve restore monday.zip --without-ledger
    """
    path = _newest(target) if target.is_dir() else target
    confirm_on_terminal(
        f"Fill the registry and the measure store from {path.name}?", yes, if_not="nothing was restored"
    )
    with open_runtime() as runtime:
        summary = restore_backup(runtime, path, without_ledger=without_ledger)
    print_result(asdict(summary), *_lines(summary), as_json=as_json)


def _lines(summary: RestoreSummary) -> Iterator[str]:
    made = f"from {summary.file}, made {summary.made_at}"
    if summary.registry_was_there:  # The same restore has run before: no account came back just now.
        yield f"an earlier run has restored the registry; {summary.documents} documents came back now {made}"
    else:
        yield f"brought back {describe_counts(summary)} {made}"
    if summary.kept:
        yield f"{summary.kept} documents were there already"
    if not summary.registry_was_there:
        ended, since = summary.ended, summary.since_backup
        yield f"from the ledger: {since.erased} erased, {since.closed} closed and {since.stopped} stopped since then"
        yield (
            f"ended: {ended.api_tokens} API tokens, {ended.invitations} invitations, {ended.proxy_clients} clients of "
            f"the proxy with {ended.proxy_grants} grants, and all sessions of households"
        )
        yield (
            "make new tokens and clients (`releve tokens new`, `releve proxy-clients new`); households come in again "
            "by an invitation (`releve invite ACCOUNT`), in v4 also by a new consent; operators are in no backup "
            "(`releve operators add NAME`)"
        )
    if summary.erasures_unknown_since:
        yield (
            f"erased or stopped between {summary.erasures_unknown_since} and now: not known without the ledger; whom "
            "you know of, remove again (`releve accounts remove ACCOUNT`)"
        )


def _newest(folder: Path) -> Path:
    backups = sorted(folder.glob(f"{FILE_PREFIX}*.zip"))
    if not backups:
        raise BackupRefused(f"there is no {FILE_PREFIX}….zip in {folder}: name the file itself")
    return backups[-1]  # The name begins with the time in UTC, so that the last is the newest.
