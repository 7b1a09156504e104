"""`releve campaigns`: mail many households a link with which they consent again, each once, a number of mails a day."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Final, TextIO

import click

from worker.accounts.campaigns import CampaignChoice, CampaignDesk, CampaignRefused
from worker.accounts.status import to_plain, to_row
from worker.cli import parameters
from worker.cli.access import require_session_key
from worker.cli.command_audit import READS, Group, note_result
from worker.cli.resources import Listing
from worker.domain.account import AccountState
from worker.domain.audit_entry import AuditAction
from worker.domain.campaign import LEFT, USUAL_PER_DAY, Campaign, RecipientState
from worker.domain.exports import defuse
from worker.runtime.web_access import build_web
from worker.texts import translate

_CAMPAIGNS: Final = Listing(
    "campaign=id, state, recipients, to mail=chosen, connected, refused, left, a day=per_day?, created_at?",
    "no campaigns yet: `releve campaigns add --help` shows how to add one",
)
_ROWS: Final = Listing("account, reference…?, tenant?, last_day, source, address…", "no mail can be sent")
_DAYS: Final = Listing("day, mailed, opened, asked, connected, refused, address_refused", "nothing was mailed yet")
_LEFT: Final = ("account", "reference", "state", "mailed_at", "error")
_id_argument = click.argument("campaign_id", metavar="ID")


@contextmanager
def _open_desk() -> Iterator[CampaignDesk]:
    """Open what adds campaigns. Raises ConfigError if the web application runs elsewhere."""
    with parameters.open_stores() as stores:
        require_session_key(stores.settings)
        yield build_web(stores).campaigns


@click.group(cls=Group)
def campaigns() -> None:
    """Ask many households to consent again: choose them, then mail each its link, a number of mails a day.

    Mails leave from Monday to Friday between 9 and 18 o'clock (Europe/Paris), through the first mail service of
    RELEVE_NOTIFY_URL. The web application sends them. A campaign writes for 60 days, and replaces the notices about
    the end of the consent that its accounts would get.

    \b
    Example:
      releve campaigns add --expiring 30
    """


@campaigns.command(audit=AuditAction.CAMPAIGN_ADD)
@click.option("--expiring", type=parameters.DAY_COUNT, help="Accounts whose consent ends within DAYS, or has ended.")
@parameters.state_option
@parameters.tenant_option("Only accounts of this tenant.")
@click.option("--csv", "file", type=click.File(encoding="utf-8-sig"), help="List of accounts with mail addresses.")
@click.option(
    "--per-day", type=click.IntRange(1, 100_000), default=USUAL_PER_DAY, show_default=True, help="Mails a day."
)
@parameters.json_option
def add(
    expiring: timedelta | None,
    state: AccountState | None,
    tenant: str | None,
    file: TextIO | None,
    per_day: int,
    as_json: bool,
) -> None:
    """Choose accounts and show them. Nothing is mailed but a sample to you, until `releve campaigns resume`.

    Give at least one of --expiring, --state and --csv. Each household that has confirmed its address is written to
    there. For other accounts, give a list: a CSV with the columns `reference` or `account`, and `mail`; it is refused
    whole if a line is wrong. Without --expiring and --state, only its accounts are chosen; - reads standard input.

    The link mailed to an address of the list renews the consent, but doesn't show the account's data: this also takes
    a meter reading, or your yes (`releve consents accept`).

    Run this where the web application runs, because it needs the session key.

    \b
    Examples:
      releve campaigns add --expiring 30
      releve campaigns add --state action_needed --csv addresses.csv --per-day 500
    """
    try:
        text = file.read() if file else None
    except ValueError:
        raise click.BadParameter("it is not a text in UTF-8", param_hint="--csv") from None
    choice = CampaignChoice(expiring=expiring, state=state, tenant=tenant, csv=text, per_day=per_day)
    with _open_desk() as desk:
        try:
            campaign, counts = desk.add(choice, parameters.shell_user())
        except CampaignRefused as error:
            for line in error.lines:
                click.echo(line, err=True)
            raise
        rows = [to_row(row) for row in desk.first_rows(campaign.id)]
    note_result(campaign.id)
    if as_json:
        parameters.print_json({**to_row(campaign), "counts": dict(counts), "rows": rows})
        return
    for name, number in counts.items():
        if number:
            click.echo(f"{number:6}  {translate(f'operator.campaign.count.{name}', 'en')}")
    _ROWS.print(rows, as_json=False)
    click.echo(f"a sample was mailed to you; read it, then start the campaign: releve campaigns resume {campaign.id}")


def _describe(campaign: Campaign, counts: Mapping[RecipientState, int], now: datetime) -> dict[str, Any]:
    """Return a campaign's row, which has the number of its recipients in each state."""
    left, row = sum(counts[state] for state in LEFT), to_row(campaign) | {"state": campaign.state_at(now)}
    return {**row, "recipients": sum(counts.values()), **{state.value: counts[state] for state in counts}, "left": left}


@campaigns.command("list", audit=READS)
@parameters.limit_option
@parameters.json_option
def list_all(limit: int | None, as_json: bool) -> None:
    """List the campaigns, newest first.

    `left` counts those that haven't answered, and those whose address the mail server has refused.

    \b
    Example:
      releve campaigns list --json
    """
    with parameters.open_registry() as registry:
        table = registry.campaigns
        rows = (_describe(one, table.count_states(one.id), registry.now()) for one in table.list_campaigns())
        _CAMPAIGNS.print(rows, as_json=as_json, limit=limit)


@campaigns.command(audit=READS)
@_id_argument
@parameters.json_option
def show(campaign_id: str, as_json: bool) -> None:
    """Show how many recipients are in each state, and what happened on each day.

    \b
    Example:
      releve campaigns show 3kq7d0fr2mxx
    """
    with parameters.open_registry() as registry:
        table = registry.campaigns
        row = _describe(table.get(campaign_id), table.count_states(campaign_id), registry.now())
        days = [
            {"day": to_plain(day), **{state.value: counts[state] for state in RecipientState}}
            for day, counts in table.count_days(campaign_id)
        ]
    lines = (
        f"campaign {campaign_id} is {row['state']}: {row['choice']}, {row['per_day']} mails a day",
        ", ".join(f"{row[state]} {state.replace('_', ' ')}" for state in RecipientState if row[state]),
    )
    parameters.print_result({**row, "days": days}, *lines, as_json=as_json)
    if not as_json:
        _DAYS.print(days, as_json=False)


@campaigns.command(audit=AuditAction.CAMPAIGN_STOP, subject="campaign_id")
@_id_argument
def stop(campaign_id: str) -> None:
    """Stop mailing. Links that were mailed stay valid.

    \b
    Example:
      releve campaigns stop 3kq7d0fr2mxx
    """
    _set_running(campaign_id, running=False)


@campaigns.command(audit=AuditAction.CAMPAIGN_RESUME, subject="campaign_id")
@_id_argument
def resume(campaign_id: str) -> None:
    """Start mailing, or go on after a stop. Nobody is mailed twice.

    \b
    Example:
      releve campaigns resume 3kq7d0fr2mxx
    """
    _set_running(campaign_id, running=True)


def _set_running(campaign_id: str, *, running: bool) -> None:
    with parameters.open_registry() as registry:
        campaign = registry.campaigns.set_running(campaign_id, running=running)
        click.echo(f"campaign {campaign_id} is {campaign.state_at(registry.now())}")


@campaigns.command(audit=AuditAction.CAMPAIGN_REMOVE, subject="campaign_id")
@_id_argument
@click.option("--yes", is_flag=True, help="Don't ask for confirmation.")
def remove(campaign_id: str, yes: bool) -> None:
    """Remove a campaign with its addresses. Its links open nothing any more.

    \b
    Example:
      releve campaigns remove 3kq7d0fr2mxx
    """
    with parameters.open_registry() as registry:
        registry.campaigns.get(campaign_id)
        question = f"Remove the campaign {campaign_id} with its addresses?"
        parameters.require_confirmation(question, yes, if_not="nothing was removed")
        registry.campaigns.remove(campaign_id)
    click.echo(f"campaign {campaign_id} is removed")


@campaigns.command(audit=AuditAction.CAMPAIGN_EXPORT, subject="campaign_id")
@_id_argument
def left(campaign_id: str) -> None:
    """Print a CSV of what is left, without addresses.

    These are the accounts that haven't answered, or whose address the mail server has refused.

    Run this where the web application runs, because it needs the session key.

    \b
    Example:
      releve campaigns left 3kq7d0fr2mxx > left.csv
    """
    with _open_desk() as desk:
        writer = csv.writer(sys.stdout)
        writer.writerow(_LEFT)
        for row in desk.left_rows(campaign_id):
            writer.writerow(defuse(str(value or "")) for value in to_row(row, *_LEFT).values())
