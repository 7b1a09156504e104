"""releve explain: why one day of one account is as it is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime

import click

from worker.accounts.explain import Explanation, SeriesExplained
from worker.accounts.explain_texts import LANGUAGES
from worker.accounts.explanations import correction_to_json, explainer_of, explanation_to_json, finding_to_json, to_kwh
from worker.cli.common import Day, json_option, living_account, open_runtime, print_json
from worker.domain.measures.completeness import half_hours_of
from worker.domain.measures.readings import PARIS, Series


@click.command()
@click.argument("account_id", metavar="ACCOUNT")
@click.argument("day", type=Day())
@click.option("--lang", type=click.Choice(LANGUAGES), help="Say the sentences in this language alone.")
@json_option
def explain(account_id: str, day: date, lang: str | None, as_json: bool) -> None:
    """Say first, in a sentence to read aloud, why DAY of ACCOUNT is as it is; then all that is known of it.

    \b
    Examples:
      releve explain 3kq7d0fr2m 2024-07-10
      releve explain 3kq7d0fr2m 2024-07-10 --lang fr
    """
    with open_runtime() as runtime:
        told = explainer_of(runtime).explain(living_account(runtime, account_id), day)
    if as_json:
        print_json(explanation_to_json(told))
        return
    for line in _lines(told, [lang] if lang else list(LANGUAGES)):
        click.echo(line)


def _lines(told: Explanation, languages: list[str]) -> Iterator[str]:
    yield from (told.sentences[language] for language in languages)
    yield ""
    yield f"account {told.account.id}: {told.account.state} {told.account.reason}".rstrip()
    yield f"consent: {_consent(told)}"
    for series, each in told.series.items():
        yield from _series_lines(told.day, series, each, languages)
    for correction in told.corrections:
        each_told = correction_to_json(correction)
        yield "corrected: {key} was {was_kwh} kWh, became {became_kwh} kWh at {changed_at} in run {run}".format_map(
            each_told
        )
    yield from _totals(told)


def _consent(told: Explanation) -> str:
    account, proof = told.account, told.proof
    dates = f"from {account.consent_from or '-'} until {account.consent_until or '-'}"
    if proof is None:
        return f"{dates}, no proof is kept"
    ended = f", ended {_local(proof.ended_at)} ({proof.end_reason})" if proof.ended_at else ", in force"
    return f"{dates}, given {_local(proof.consented_at)}{ended}"


def _series_lines(day: date, series: Series, each: SeriesExplained, languages: list[str]) -> Iterator[str]:
    stored, of = each.stored, half_hours_of(day)
    value = "nothing stored" if stored.milliwatt_hours is None else f"{to_kwh(stored.milliwatt_hours)} kWh stored"
    slots = f", {stored.half_hours} of {of} half-hours" if series is Series.LOAD_CURVE else ""
    yield f"{series.value}: {each.mark.state.name.lower()} ({each.reason}), {value}{slots}"
    yield from (f"  {each.sentences[language]}" for language in languages)
    if stored.half_hours and stored.gaps:
        yield f"  missing: {', '.join(f'{_clock(first)} to {_clock(after)}' for first, after in stored.gaps)}"
    if each.asked_on or each.asked_next:
        yield f"  asked on {each.asked_on or '-'}, next on {each.asked_next or '-'}"
    for call in each.calls:
        yield f"  call {_local(call.at)} ({call.run}) for {call.window}: {call.answer}"
    if each.outcome:
        error = f"{each.outcome.code} {each.outcome.message}" if each.outcome.code else "none"
        yield f"  last run {_local(each.outcome.updated_at)}, error: {error}"


def _totals(told: Explanation) -> Iterator[str]:
    if told.findings is None:
        yield "totals: nothing to compare"
    elif not told.findings:
        yield "totals: they agree"
    for found in map(finding_to_json, told.findings or ()):
        yield "totals: {key}: {law}, expected {expected_kwh} kWh, found {found_kwh} kWh: {cause}".format_map(found)


def _clock(at: datetime) -> str:
    """With the offset, for the autumn hour comes twice."""
    return at.strftime("%H:%M%z")


def _local(at: datetime) -> str:
    return at.astimezone(PARIS).strftime("%Y-%m-%d %H:%M")
