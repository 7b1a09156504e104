"""The operator's page of one account: its state, any day explained, and the forms that do what the commands do.

The page has the forms that the account's state and the operator's role allow. A form that is no longer possible changes
nothing, and the page says so. No page here shows a measure or a meter's number.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Final

from fastapi import APIRouter, Form, Response
from fastapi.responses import RedirectResponse

from worker.accounts.account_notes import LONGEST_NOTE, NoteChanged, load_note, save_note
from worker.accounts.status import missing_days_of, status_of
from worker.app import enqueue_look_back
from worker.domain.account import OPEN_STATES, Account, AccountState
from worker.domain.audit_entry import AuditAction
from worker.domain.series import Series, SeriesSwitch
from worker.domain.windows import ONE_DAY
from worker.errors import StoreUnavailable
from worker.runtime.consent_parts import build_series_chooser, erase
from worker.runtime.sync_parts import Sync, build_explainer
from worker.stores.registry import Registry
from worker.web.dependencies import EarlyAnswer, publish_revocation, switch_series
from worker.web.pages.account_forms import receipt_of
from worker.web.pages.operator_access import (
    PATH,
    AdminForm,
    OperatorDep,
    OperatorForm,
    OperatorVisit,
    check_again,
    parse_day,
    titles_of_tenants,
)
from worker.web.rendering import render, render_message, words_of
from worker.web.request_audit import note_refusal

router = APIRouter(prefix=f"{PATH}/accounts/{{account_id}}")
_MOST_DAYS: Final = 10
_FIRST_DAY: Final = date(2000, 1, 1)
# What the page confirms after a form, and whether the text has a number.
_DONE: Final = {"sync": True, "pause": False, "resume": False, "series": False, "end-sessions": True, "note": False}


@router.get("")
def show_account(visit: OperatorDep, account_id: str) -> Response:
    """Show the account, with the explanation of the day that the address names, or of yesterday."""
    account, today, wanted = _load(visit, account_id), visit.sync.history.today(), visit.query_text("day")
    day = parse_day(wanted) if wanted else today - ONE_DAY
    if day is None or not _FIRST_DAY <= day <= today:
        return _show(visit, account, 422, day_fault="operator.account.day.wrong")
    return _show(visit, account, day=day)


@router.post("/sync", name=AuditAction.ACCOUNT_SYNC)
def sync_account(visit: OperatorForm, account_id: str) -> Response:
    """Request the last days of the account's series again, as `releve sync` does, unless they are requested anyway."""
    account = _load(visit, account_id, "sync")
    series = visit.sync.claims.list_free(account.id)
    if obstacle := _find_obstacle(visit.sync, series):
        return _refuse(visit, account, f"operator.account.sync.{obstacle}")
    try:
        enqueue_look_back(account.id, broker_url=visit.stores.broker_url)
    except StoreUnavailable:
        return _refuse(visit, account, "operator.account.sync.no_broker", 503)
    return _confirm(account, "sync", len(series))


def _find_obstacle(sync: Sync, series: list[Series]) -> str:
    """Return why none of these series can be fetched now, as the end of a text's key; empty if one can."""
    if not series:
        return "queued"
    if all(map(sync.incidents.is_held, series)):
        return "incident"
    return "gate" if all(sync.due_of(one).closed_for_s() > 0 for one in series) else ""


@router.post("/pause", name=AuditAction.ACCOUNT_PAUSE)
def pause(visit: OperatorForm, account_id: str, until: Annotated[str, Form()] = "") -> Response:
    account, day = _load(visit, account_id, "pause"), parse_day(until)
    if until and (day is None or day <= visit.sync.history.today()):
        return _refuse(visit, account, "operator.account.pause.day", 422)
    return _set_state(visit, account, AccountState.PAUSED, "pause", until=day)


@router.post("/resume", name=AuditAction.ACCOUNT_RESUME)
def resume(visit: OperatorForm, account_id: str) -> Response:
    return _set_state(visit, _load(visit, account_id, "resume"), AccountState.READY, "resume")


def _set_state(
    visit: OperatorVisit, account: Account, state: AccountState, done: str, *, until: date | None = None
) -> Response:
    try:
        visit.registry.accounts.set_state(account.id, state, now=visit.stores.now(), until=until)
    except ValueError:  # The account has changed since it was loaded.
        return _refuse(visit, account, "operator.account.not_now")
    return _confirm(account, done)


@router.post("/series", name=AuditAction.ACCOUNT_SERIES)
def choose_series(visit: AdminForm, account_id: str, switch: Annotated[list[str], Form()] = []) -> Response:  # noqa: B006
    """Set the series' switches that the form has changed. ``switch``: texts such as ``max_power fleet on``."""
    account = _load(visit, account_id, "series")
    try:
        chosen = [(Series(series), before, SeriesSwitch(wanted)) for series, before, wanted in map(str.split, switch)]
        changed = {series: wanted for series, before, wanted in chosen if wanted != before}
        switch_series(visit.stores, account.id, changed)
    except ValueError:
        return _refuse(visit, account, "operator.account.series.refused", 422)
    return _confirm(account, "series")


@router.post("/end-sessions", name=AuditAction.SESSION_END)
def end_sessions(visit: AdminForm, account_id: str) -> Response:
    """End the sessions of the households that can see the account, and so also their sessions with other accounts."""
    account, keys = _load(visit, account_id, "end-sessions"), visit.access.keys
    return _confirm(account, "end-sessions", keys.end_of(keys.households_of([account.id])))


@router.post("/note", name=AuditAction.ACCOUNT_NOTE)
def write_note(
    visit: OperatorForm, account_id: str, text: Annotated[str, Form()] = "", seen: Annotated[str, Form()] = ""
) -> Response:
    account = _load(visit, account_id, "note")
    try:
        save_note(visit.registry, account.id, text, visit.sync.history.today(), seen)
    except ValueError:
        return _refuse(visit, account, "operator.account.note.long", 422, typed_note=text)
    except NoteChanged:
        return _refuse(visit, account, "operator.account.note.changed", typed_note=text)
    return _confirm(account, "note")


@router.post("/erase", name=AuditAction.ACCOUNT_ERASE)
def erase_account(
    visit: AdminForm,
    account_id: str,
    sure: Annotated[str, Form()] = "",
    password: Annotated[str, Form()] = "",
    code: Annotated[str, Form()] = "",
) -> Response:
    account = _load(visit, account_id, "erase")
    if not sure:
        return _refuse(visit, account, "operator.erase.not_sure", 422, erases=True)
    if refusal := check_again(visit, password, code):
        return _refuse(visit, account, refusal.text, refusal.status, wait_s=refusal.wait_s, erases=True)
    receipt = receipt_of(erase(visit.stores, account.id, visit.operator.actor))
    publish_revocation(visit.stores, visit.sync)
    values: dict[str, Any] = {"account_id": account.id, "receipt": receipt, "moment": visit.stores.now()}
    return render(visit.request, "operator_erased.html", **values)


def _load(visit: OperatorVisit, account_id: str, form: str = "") -> Account:
    """Return the account. Raises EarlyAnswer if there is none, or if its state doesn't allow this form."""
    account = visit.registry.accounts.find_existing(account_id)
    if account is None:
        back = (f"{PATH}/accounts", "operator.tab.accounts")
        raise EarlyAnswer(render_message(visit.request, "failure.not_found", 404, back))
    if form and form not in _list_possible(account, visit.sync.history.today()):
        raise EarlyAnswer(_refuse(visit, account, "operator.account.not_now"))
    return account


def _list_possible(account: Account, today: date) -> set[str]:
    """Return the forms that the account's state allows, by the ends of their addresses."""
    is_open, may_be_asked = account.state in OPEN_STATES, account.refusal_on(today) is None
    is_paused, waits = account.state is AccountState.PAUSED, account.state is AccountState.ACTION_NEEDED
    allowed = {
        "sync": account.active and may_be_asked,
        "pause": is_open and not is_paused,
        "resume": (is_paused or waits) and may_be_asked and account.usage_point_id and not account.files_only,
        "series": account.may_choose_series,
        "note": is_open,
        "end-sessions": True,
        "erase": True,
    }
    return {form for form, is_allowed in allowed.items() if is_allowed}


def _confirm(account: Account, done: str, number: int = 0) -> Response:
    """Return the answer that leads back to the page, which says what was done."""
    counted = f"&number={number}" if _DONE[done] else ""
    return RedirectResponse(f"{PATH}/accounts/{account.id}?done={done}{counted}#done", 303)


def _refuse(visit: OperatorVisit, account: Account, fault: str, status: int = 409, **typed: Any) -> Response:
    """Return the page with the reason why a form was refused. ``typed``: what the page shows again."""
    note_refusal(visit.request, fault)
    return _show(visit, account, status, fault=fault, **typed)


def _show(
    visit: OperatorVisit, account: Account, status: int = 200, *, day: date | None = None, wait_s: int = 0, **shown: Any
) -> Response:
    history, registry, today = visit.sync.history, visit.registry, visit.sync.history.today()
    standing, day, done = status_of(account, history), day or today - ONE_DAY, visit.query_text("done")
    explanation = build_explainer(visit.stores, visit.sync).explain(account, day)
    language, number = words_of(visit.request).language, visit.query_text("number")[:6]
    missing = missing_days_of(account.id, history)
    errors = [one.error for one in standing.series.values() if account.active]  # Nothing is retried for the others.
    values: dict[str, Any] = {
        "account": account,
        "since": registry.accounts.state_since(account.id),
        "standing": standing,
        "codes": list(dict.fromkeys(filter(None, (account.reason, *errors)))),
        "day": day,
        "today": today,
        "first_day": _FIRST_DAY,
        "one_day": ONE_DAY,
        "sentence": explanation.sentences[language],
        "sentences": {series: one.sentences[language] for series, one in explanation.series.items()},
        "missing": {series: (days[:_MOST_DAYS], max(0, len(days) - _MOST_DAYS)) for series, days in missing.items()},
        "tenant": _name_tenant(registry, account),
        "possible": _list_possible(account, today),
        "operator": visit.operator,
        "switches": build_series_chooser(visit.stores).load(account.id).series,
        "choices": list(SeriesSwitch),
        "note": load_note(registry, account.id),
        "longest_note": LONGEST_NOTE,
        "done": done if done in _DONE and (number.isdecimal() or not _DONE[done]) else "",
        "number": int(number) if _DONE.get(done) and number.isdecimal() else None,
        **dict.fromkeys(("fault", "day_fault", "typed_note", "erases")),
    }
    return render(visit.request, "operator_account.html", status, wait_s=wait_s, **values | visit.describe() | shown)


def _name_tenant(registry: Registry, account: Account) -> str:
    """Return the title of the account's service; empty if there is only one service."""
    tenants = titles_of_tenants(registry)
    return tenants.get(account.tenant, account.tenant) if tenants else ""
