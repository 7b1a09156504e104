"""`releve rights`: the rights of access to gas meters, their proofs, and their check by hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from worker.cli.common import json_option, open_runtime, print_result, print_rows, tenant_column
from worker.clients.grdf.consent import LARGEST_PROOF, MOST_PROOFS
from worker.domain.access_right import Right
from worker.runtime.sync_parts import Runtime


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def rights(context: click.Context, as_json: bool) -> None:
    """Show the access rights to gas meters, with their state, the proof that GRDF wants, and its deadline.

    GRDF registers a right, and asks the meter's holder by mail. Only the last digits of a meter are shown.

    \b
    Example:
      releve rights --json
    """
    if context.invoked_subcommand is not None:
        return
    with open_runtime() as runtime:
        rows = [_to_row(right) for right in _all(runtime)]
    columns = {"id": "right", "account": "account", **tenant_column(rows), "meter": "meter", "state": "state"}
    columns |= {"since": "since", "until": "until", "proof": "proof", "proof until": "proof_until"}
    if not as_json:
        rows = [{**row, "since": row["since"][:10]} for row in rows]
    print_rows(rows, columns, as_json=as_json, empty="no rights yet")


@rights.command()
@click.argument("right_id", metavar="RIGHT")
@click.argument(
    "files", metavar="FILE…", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@json_option
def proof(right_id: str, files: Sequence[Path], as_json: bool) -> None:
    """Send GRDF the proof of a consent.

    Give one to three files of at most 4 MB.

    \b
    Example:
      releve rights proof 1f0c8a6e5d4b3a291807 consent.pdf
    """
    if len(files) > MOST_PROOFS:
        raise click.UsageError(f"give at most {MOST_PROOFS} files")
    contents = [(file.name, _read(file)) for file in files]
    with open_runtime() as runtime:
        runtime.own_rights.upload_proof(right_id, contents)
    sent = f"{len(contents)} file{'s' if len(contents) > 1 else ''}"
    print_result({"right": right_id, "files": len(contents)}, f"{sent} sent for right {right_id}", as_json=as_json)


@rights.command()
@json_option
def check(as_json: bool) -> None:
    """Ask GRDF now for the state of all rights.

    This also happens once a day. An active right adds its account. An ended right stops its account until the holder
    consents again.

    \b
    Example:
      releve rights check
    """
    with open_runtime() as runtime:
        summary = runtime.right_sweep.run()
        if summary.opened:
            from worker.app import enqueue_backfill  # Imported late, for the list needs no Celery.

            for account_id in summary.opened:
                enqueue_backfill(account_id, broker_url=runtime.broker_url)
    row = {"checked": summary.checked, "opened": summary.opened, "set_aside": summary.ended}
    line = (
        f"{summary.checked} rights checked: {len(summary.opened)} accounts added, {summary.ended} accounts wait for "
        "their holder"
    )
    print_result(row, line, as_json=as_json)


def _all(runtime: Runtime) -> Iterator[Right]:
    after = ""
    while page := runtime.rights.page_all(after):
        yield from page
        after = page[-1].id


def _read(file: Path) -> bytes:
    """Return the content of a file whose size was checked before. Raises BadParameter."""
    try:
        size = file.stat().st_size
        if not 0 < size <= LARGEST_PROOF:
            raise click.BadParameter(
                f"{file.name} has {size} bytes: a file must have 1 byte to 4 MB", param_hint="FILE"
            )
        return file.read_bytes()
    except OSError as error:
        raise click.BadParameter(f"{file.name} can't be read ({error.strerror})", param_hint="FILE") from None


def _to_row(right: Right) -> dict[str, Any]:
    return {
        "right": right.id,
        "account": right.account_id,
        "tenant": right.tenant,
        "meter": right.last_digits,
        "role": right.role.value,
        "state": right.state.value if right.withdraw_since is None else "withdrawing",
        "since": (right.withdraw_since or right.state_since).isoformat(timespec="seconds"),
        "until": right.last_day.isoformat() if right.last_day else None,
        "proof": right.proof.value if right.proof else None,
        "proof_until": right.proof_until.isoformat() if right.proof_until else None,
        "vouched_by": right.vouched_by,
        "checked_at": right.checked_at.isoformat(timespec="seconds") if right.checked_at else None,
    }
