"""`releve quarantine`: list, show and clear the samples of answers whose form Relève doesn't know."""

from __future__ import annotations

import json
from typing import Any

import click

from worker.accounts.status import to_row
from worker.cli.common import json_option, open_runtime, print_result, print_rows
from worker.domain.answers import to_masked
from worker.stores.registry.supplier_answers import QuarantineEntry


@click.group()
def quarantine() -> None:
    """Show and clear supplier answers that Relève does not understand.

    \b
    Example:
      releve quarantine list
    """


@quarantine.command("list")
@json_option
def list_samples(as_json: bool) -> None:
    """List the samples, newest first, without values.

    \b
    Example:
      releve quarantine list
    """
    with open_runtime() as runtime:
        rows = [_to_row(entry) for entry in runtime.unknown_answers.list()]
    columns = {name.replace("_", " "): name for name in ("id", "kind", "place", "detail", "times", "last_seen")}
    print_rows(rows, columns, as_json=as_json, empty="the quarantine is empty")


@quarantine.command()
@click.argument("surprise_id", metavar="ID")
@click.option("--raw", is_flag=True, help="Show the values. They are personal data of a household, which is not named.")
@json_option
def show(surprise_id: str, raw: bool, as_json: bool) -> None:
    """Show the form of an answer in quarantine.

    Each digit is shown as 9, and each letter is shown as `a`.

    \b
    Examples:
      releve quarantine show 5f0c2a9d41e7b863
      releve quarantine show 5f0c2a9d41e7b863 --raw
    """
    with open_runtime() as runtime:
        row = runtime.unknown_answers.get(surprise_id)
    if row is None:
        raise click.ClickException(_UNKNOWN)
    entry, sample = row
    # Without --raw no value of the household is shown, only the form.
    shown = _parse(sample) if raw else to_masked(sample)
    facts = _to_row(entry)
    lines = [f"{name:11} {value}" for name, value in facts.items()]
    text = shown if isinstance(shown, str) else json.dumps(shown, ensure_ascii=False, indent=1)
    print_result({**facts, "sample": shown}, *lines, text, as_json=as_json)


@quarantine.command()
@click.argument("surprise_id", metavar="ID")
def clear(surprise_id: str) -> None:
    """Delete a sample. It is reported if it comes again.

    \b
    Example:
      releve quarantine clear 5f0c2a9d41e7b863
    """
    with open_runtime() as runtime:
        if not runtime.unknown_answers.delete(surprise_id):
            raise click.ClickException(_UNKNOWN)
    click.echo("cleared")


_UNKNOWN = "no sample in quarantine has this id: `releve quarantine list` shows the ids"


def _parse(sample: str) -> Any:
    """Return the parsed sample, or its text where it was cut and is no JSON any more."""
    try:
        return json.loads(sample)
    except ValueError:
        return sample


def _to_row(entry: QuarantineEntry) -> dict[str, Any]:
    row = to_row(entry)
    return {"id": row.pop("fingerprint"), **row}
