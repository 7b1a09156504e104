"""releve quarantine: what suppliers sent that nobody had told us of."""

from __future__ import annotations

import json
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from worker.cli.common import json_option, open_runtime, print_json
from worker.domain.measures.answer_samples import to_masked
from worker.stores.registry.unknown_answers import Quarantined


@click.group()
def quarantine() -> None:
    """Look at what the supplier has sent that Relève doesn't know, and let go of it."""


@quarantine.command("list")
@json_option
def list_surprises(as_json: bool) -> None:
    """List them, newest first, without any value.

    \b
    Example:
      releve quarantine list
    """
    with open_runtime() as runtime:
        rows = [_to_row(found) for found in runtime.quarantine.list()]
    if as_json:
        print_json(rows)
    elif not rows:
        click.echo("nothing is in quarantine")
    else:
        names = ("id", "kind", "place", "detail", "times", "last_seen")
        table = Table(box=None)
        for name in names:  # an id is for typing, so it is never cut
            table.add_column(name.replace("_", " "), overflow="fold", min_width=16 if name == "id" else None)
        for row in rows:
            table.add_row(*(str(row[name]) for name in names))
        Console().print(table)


@quarantine.command()
@click.argument("surprise_id", metavar="ID")
@click.option("--raw", is_flag=True, help="With the values: they are a household's, though not whose.")
@json_option
def show(surprise_id: str, raw: bool, as_json: bool) -> None:
    """Show the form of an answer in quarantine, each digit a 9 and each letter an a.

    \b
    Examples:
      releve quarantine show 5f0c2a9d41e7b863
      releve quarantine show 5f0c2a9d41e7b863 --raw
    """
    with open_runtime() as runtime:
        found = runtime.quarantine.get(surprise_id)
    if found is None:
        raise click.ClickException(_UNKNOWN)
    surprise, sample = found
    shown = _readable(sample) if raw else to_masked(sample)
    if as_json:
        print_json({**_to_row(surprise), "sample": shown})
        return
    for name, value in _to_row(surprise).items():
        click.echo(f"{name:11} {value}")
    click.echo(shown if isinstance(shown, str) else json.dumps(shown, ensure_ascii=False, indent=1))


@quarantine.command()
@click.argument("surprise_id", metavar="ID")
def clear(surprise_id: str) -> None:
    """Let go of one: when it comes again, it is new and told again.

    \b
    Example:
      releve quarantine clear 5f0c2a9d41e7b863
    """
    with open_runtime() as runtime:
        if not runtime.quarantine.clear(surprise_id):
            raise click.ClickException(_UNKNOWN)
    click.echo("cleared")


_UNKNOWN = "nothing in quarantine has this id: `releve quarantine list` shows what there is"


def _readable(sample: str) -> Any:
    """A sample that was cut is no JSON any more, and is shown as it is."""
    try:
        return json.loads(sample)
    except ValueError:
        return sample


def _to_row(found: Quarantined) -> dict[str, Any]:
    return {
        "id": found.fingerprint,
        "kind": found.kind.value,
        "place": found.place,
        "detail": found.detail,
        "preset": found.preset,
        "first_seen": found.first_seen.isoformat(timespec="seconds"),
        "last_seen": found.last_seen.isoformat(timespec="seconds"),
        "times": found.times,
    }
