"""The download page: links to files of each doctype (``download_file``), and a form for some days.

The form is for the energies, which have several periods. Other series have one document a day at most: one small file.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from fastapi import APIRouter, Request, Response

from worker.domain.documents import ALL_KEYS, to_reading
from worker.domain.series import Doctype, Period, Series, dailies_of, find_doctype, grid_operator_of, periods_of
from worker.runtime.sync_parts import Runtime
from worker.web.context import RuntimeDep
from worker.web.pages.own_account import OwnAccount
from worker.web.render import render

router = APIRouter()
FirstDays = dict[Doctype, date | None]


@dataclass(frozen=True, slots=True)
class FileGroup:
    """Files under one heading: the keys of its title and of each file's name, and each file's query without format."""

    title: str
    files: list[tuple[str, str]]


@router.get("/accounts/{account_id}/download")
def show_download(request: Request, runtime: RuntimeDep, account: OwnAccount) -> Response:
    known = runtime.registry.outcomes.known(account.id)
    first = _first_days(runtime, account.id, known)
    energies = {daily: found for daily in dailies_of(account.supplier) if (found := _periods_of(daily, first))}
    groups = [_energy_files(daily, periods) for daily, periods in energies.items()]
    operator = grid_operator_of(account.supplier)
    if others := [series for series in known if len(periods_of(series)) == 1 and series.inputs in first]:
        files = [(f"series.{series}.name", f"series={series}&by={series.inputs.period}") for series in others]
        groups.append(FileGroup(f"download.others.{operator}", files))
    return render(
        request,
        "download.html",
        account=account,
        groups=groups,
        directions=[(daily, daily.description.direction) for daily in energies],
        units=f"download.units.{operator}",
        periods=[period for period in Period if any(period in found for found in energies.values())],
        first=min(filter(None, first.values()), default=None),
        today=runtime.history.today(),
    )


def _first_days(runtime: Runtime, account_id: str, known: list[Series]) -> FirstDays:
    """Return the doctypes that the account has documents of, with the first day where they are of days."""
    wanted = [doctype for series in known for doctype in series.doctypes]
    stored = runtime.measures.read(account_id, dict.fromkeys(wanted, ALL_KEYS), limit=1)
    return {
        doctype: to_reading(documents[0], doctype).start.date() if doctype.period is Period.DAY else None
        for doctype, documents in stored.items()
        if documents
    }


def _periods_of(daily: Series, first: FirstDays) -> list[Period]:
    return [period for period in Period if find_doctype(daily, period) in first]


def _energy_files(daily: Series, periods: list[Period]) -> FileGroup:
    """Return the files of a direction's energy."""
    files = [(f"download.{period}", f"series={daily}&by={period}") for period in periods]
    return FileGroup(f"direction.{daily.description.direction}", files)
