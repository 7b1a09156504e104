"""`releve outputs`: add, list, test and remove the outputs that measures are sent to, and send measures again."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import click

from worker.accounts.status import to_row
from worker.cli import parameters
from worker.cli.command_audit import READS, Group, note_result
from worker.cli.printing import local_text
from worker.cli.resources import Listing
from worker.domain.account import DEFAULT_TENANT
from worker.domain.audit_entry import AuditAction
from worker.domain.networks import is_public_host
from worker.domain.windows import local_midnight
from worker.errors import NotDelivered, OperatorFault, UnknownAccount
from worker.ops.logging_setup import warn
from worker.outputs.kinds import KINDS
from worker.outputs.output import OutputKind, OutputOptions
from worker.runtime.output_parts import build_outputs
from worker.stores.registry.outputs import BEGINNING

_OUTPUTS: Final = Listing(
    "id, kind, account=account_id, waiting, since=waiting_since, tenant?, sent=last_sent_at?, error…",
    "no outputs yet: `releve outputs add --help` lists the kinds",
)


def _describe_kinds() -> str:
    """Return a text about all kinds of outputs and their options, for the end of `--help`."""
    return "\n\n".join("\b\n" + "\n".join(_kind_lines(kind)) for kind in KINDS.values())


def _kind_lines(kind: OutputKind) -> Iterator[str]:
    yield f"{kind.name}: {kind.title}"
    yield f"  --url     {kind.url_help}"
    if kind.secret:
        yield f"  --secret  {kind.secret}"
    yield from (f"  --option {name}=…  {text}" for name, text in kind.options.items())


def _to_pair(text: str) -> tuple[str, str]:
    """Return name and value from ``NAME=VALUE``. Raises ValueError for any other text, without the text."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise ValueError("write it as NAME=VALUE")
    return name.strip(), value


@click.group(cls=Group)
def outputs() -> None:
    """Send new and changed measures to Home Assistant, MQTT, a time series database or a webhook.

    \b
    Example:
      releve outputs list
    """


@outputs.command(epilog=_describe_kinds(), audit=AuditAction.OUTPUT_ADD)
@click.argument("kind", type=click.Choice(list(KINDS)))
@click.option("--url", help="Address of the output. Default: a prompt asks for it.")
@click.option("--secret", type=parameters.FROM_INPUT, help="Give - to read the secret from standard input.")
@click.option("--secret-file", type=parameters.FILE, help="File with the secret. Default: a hidden prompt asks for it.")
@click.option(
    "--option",
    "options",
    type=parameters.Checked("NAME=VALUE", _to_pair),
    multiple=True,
    help="Option of this kind of output. Repeat it for several.",
)
@parameters.tenant_option("Send all accounts of this tenant. Default: the tenant `default`.")
@click.option("--account", "account_id", metavar="ACCOUNT", help="Send only this account.")
@click.option("--no-check", is_flag=True, help="Add the output without testing it.")
@parameters.json_option
def add(
    kind: str,
    url: str | None,
    secret: str | None,
    secret_file: Path | None,
    options: Sequence[tuple[str, str]],
    tenant: str | None,
    account_id: str | None,
    no_check: bool,
    as_json: bool,
) -> None:
    """Add an output, and send it everything stored.

    The output is tested first. Its address and secret are stored encrypted.

    \b
    Example:
      releve outputs add webhook --url https://service.example/measures
    """
    if tenant and account_id:
        raise click.UsageError("give either --tenant or --account")
    described = KINDS[kind]
    if unknown := sorted({name for name, _ in options} - set(described.options)):
        known = ", ".join(described.options) or "none"
        raise click.BadParameter(f"{kind} has no option {unknown[0]}; its options are: {known}", param_hint="--option")
    given = OutputOptions(
        url=_ask_url(url, described), secret=_read_secret(secret, secret_file, described), more=dict(options)
    )
    with parameters.open_stores() as stores:
        outputs = build_outputs(stores)
        output = outputs.build(kind, given)
        address = urlsplit(given.url)
        if address.scheme in ("http", "ws", "mqtt") and is_public_host(str(address.hostname)):
            warn("this address has no TLS: others can read the secret and the measures on their way")
        checked = "" if no_check else output.check()
        enqueued: list[int] = []
        output_id = stores.registry.outputs.insert(
            kind,
            dataclasses.asdict(given),
            stores.now(),
            tenant=tenant or DEFAULT_TENANT,
            account_id=account_id,
            at_end=lambda connection, new: enqueued.append(stores.registry.outbox.enqueue_all(new, within=connection)),
        )
        number = sum(enqueued)
    note_result(output_id, account_id=account_id)
    said = f"; {checked}" if checked else ""
    lines = [f"output {output_id} ({kind}) is set up{said}", _describe_enqueued(number)]
    parameters.print_result(
        {"id": output_id, "kind": kind, "check": checked, "series": number}, *lines, as_json=as_json
    )


@outputs.command("list", audit=READS)
@parameters.json_option
def list_all(as_json: bool) -> None:
    """List the outputs with their waiting data and last error.

    Addresses and secrets are not shown.

    \b
    Example:
      releve outputs list --json
    """
    with parameters.open_stores() as stores:
        days = stores.registry.outbox.days_to_delete()
        states = stores.registry.outputs.list_outputs()
    rows = [{**to_row(state), "days_to_delete": days.get(state.id, {})} for state in states]
    _OUTPUTS.print(rows, as_json=as_json)
    for row in () if as_json else rows:
        if number := sum(map(len, row["days_to_delete"].values())):
            click.echo(f"output {row['id']}: {number} {'day' if number == 1 else 'days'} to delete and resend")


@outputs.command(audit=READS)
@click.argument("output_id", metavar="OUTPUT")
@parameters.json_option
def test(output_id: str, as_json: bool) -> None:
    """Test an output's address and secret.

    The test writes nothing to the output. If it succeeds, waiting data is sent at once.

    \b
    Example:
      releve outputs test 5f0c2d9a7be14c3f8a61
    """
    with parameters.open_stores() as stores:
        outputs = build_outputs(stores)
        checked = outputs.open(output_id).check()
        stores.registry.outputs.end_wait(output_id)
    parameters.print_result({"id": output_id, "check": checked}, f"output {output_id}: {checked}", as_json=as_json)


@outputs.command(audit=AuditAction.OUTPUT_RESEND, subject="output_id")
@click.argument("output_id", metavar="OUTPUT")
@click.option("--from", "first", type=parameters.DAY, help="Send from this day on. Default: everything.")
@click.option("--deleted", is_flag=True, help="You deleted the listed days in the output: take them off the list.")
@parameters.json_option
def resend(output_id: str, first: date | None, deleted: bool, as_json: bool) -> None:
    """Send stored data again, from a given day on.

    Data that the output already has is overwritten.

    \b
    Example:
      releve outputs resend 5f0c2d9a7be14c3f8a61 --from 2026-01-01
    """
    with parameters.open_stores() as stores:
        stores.registry.outputs.get(output_id)
        begin = local_midnight(first) if first else BEGINNING
        number = stores.registry.outbox.enqueue_all(output_id, begin, deleted=deleted)
    parameters.print_result({"id": output_id, "series": number}, _describe_enqueued(number), as_json=as_json)


@outputs.command(audit=AuditAction.OUTPUT_REMOVE, subject="output_id")
@click.argument("output_id", metavar="OUTPUT")
@click.option("--yes", is_flag=True, help="Don't ask for confirmation.")
@parameters.json_option
def remove(output_id: str, yes: bool, as_json: bool) -> None:
    """Remove an output and its secret.

    Data that the output has received stays there. Only retained MQTT messages are removed, if the broker is reachable.

    \b
    Example:
      releve outputs remove 5f0c2d9a7be14c3f8a61
    """
    with parameters.open_stores() as stores:
        outputs = build_outputs(stores)
        state = stores.registry.outputs.get(output_id)
        since = f", made on {local_text(state.created_at)}" if state.created_at else ""
        parameters.require_confirmation(
            f"Remove the output {state.id} ({state.kind}{since})?", yes, if_not="nothing was removed"
        )
        lines = [f"output {output_id} is removed"]
        with outputs.paused(state):
            try:
                if outputs.forget(state):
                    lines.append("the data of the accounts was removed there")
            except (NotDelivered, OperatorFault, UnknownAccount) as error:
                lines.append(f"the data of the accounts stays there: {error}")
            waiting = stores.registry.outputs.remove(output_id)
    if waiting:
        lines.append(f"changes of {waiting} accounts had not been sent yet")
    parameters.print_result({"id": output_id, "waiting": waiting}, *lines, as_json=as_json)


def _describe_enqueued(number: int) -> str:
    if not number:
        return "nothing is stored yet: new data will be sent"
    return f"{number} series of accounts are queued for sending; `releve outputs list` shows the progress"


def _ask_url(url: str | None, kind: OutputKind) -> str:
    if url:
        return url.strip()
    if not sys.stdin.isatty():
        raise click.UsageError(f"give --url, {kind.url_help}")
    answer: str = click.prompt(kind.url_help, err=True)
    return answer.strip()


def _read_secret(secret: str | None, file: Path | None, kind: OutputKind) -> str | None:
    """Return the secret; None if it is empty, or if this kind of output has no secret."""
    if secret and file:
        raise click.UsageError("give either --secret - or --secret-file")
    if kind.secret is None:
        if secret or file:
            raise click.UsageError(f"{kind.name} takes no secret")
        return None
    if file:
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, ValueError):
            raise click.BadParameter("can't be read as text", param_hint="--secret-file") from None
    elif secret:
        text = sys.stdin.readline()
    elif sys.stdin.isatty():
        text = click.prompt(kind.secret, hide_input=True, default="", show_default=False, err=True)
    else:
        text = ""
    return text.strip() or None
