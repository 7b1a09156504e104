"""The operator's list of accounts, its CSV, and the search for an account.

What is typed to search is sent only in a form; no page, log or audit entry has it. No page shows a meter's whole number
or a measure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from functools import partial
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Response
from fastapi.responses import RedirectResponse

from worker.domain.access_right import is_gas_meter
from worker.domain.account import Account, AccountState
from worker.domain.audit_entry import AuditAction
from worker.domain.exports import defuse
from worker.domain.series import Series
from worker.domain.sessions import Role
from worker.stores.registry.account_lists import AccountFilter, ListedAccount
from worker.web.error_pages import HttpRefusal
from worker.web.file_formats import BYTE_ORDER_MARK, CSV_TYPE, stream_parts, to_csv
from worker.web.pages.operator_access import (
    PATH,
    AdminForm,
    OperatorDep,
    OperatorForm,
    OperatorVisit,
    titles_of_tenants,
)
from worker.web.pages.sign_in import LONGEST_ADDRESS
from worker.web.rendering import render, words_of
from worker.web.request_audit import note_refusal, note_subject

router = APIRouter(prefix=PATH)
ACCOUNTS_A_PAGE: Final = 50
ACCOUNTS_A_PART: Final = 500  # Of a CSV.
FILTERS: Final = ("state", "code", "late", "ending", "tenant")
_ENDING: Final = ("7", "30")  # Days from today.
_CODE: Final = re.compile(r"[A-Z][A-Z_.]*")  # Without digits, so that no page repeats a meter's number.
_COLUMNS: Final = ("account", "reference", "state", "until")


class AccountChoice:
    """What an operator has chosen to list.

    ``options``: by filter, the values and their words. ``values``: by filter, the chosen value. ``fault``: the filter
    whose value is unknown; empty if all are known.
    """

    def __init__(self, visit: OperatorVisit, typed: Mapping[str, str]) -> None:
        registry, self._words = visit.registry, words_of(visit.request)
        codes = set(registry.overview.list_codes())
        codes |= {code for code in [typed.get("code", "")] if _CODE.fullmatch(code)}
        states = [state for state in AccountState if state is not AccountState.DELETED]
        self.options: Mapping[str, Mapping[str, str]] = {
            "state": {state: self._words(f"home.state.{state}") for state in states},
            "code": {code: code for code in sorted(codes)},
            "late": {series: self._words(f"series.{series}.name") for series in registry.outcomes.list_in_use()},
            "ending": {days: self._words("operator.filter.days", days=days) for days in _ENDING},
            "tenant": titles_of_tenants(registry),
        }
        self.values = {name: value for name in self.options if (value := typed.get(name))}
        self.fault = next((name for name, value in self.values.items() if value not in self.options[name]), "")
        self._history = visit.sync.history

    @property
    def late_since(self) -> date | None:
        late = self.values.get("late")
        return self._history.newest_due_day(Series(late)) if late else None

    @property
    def title(self) -> str:
        """The choice in words."""
        if self.fault or not self.values:
            return self._words("operator.accounts.fault" if self.fault else "operator.accounts.all")
        facts = {"day": self._words.day(self.late_since) if self.late_since else "", "days": self.values.get("ending")}
        parts = [
            self._words(f"operator.accounts.{name}", value=self.options[name][value], **facts)
            for name, value in self.values.items()
        ]
        return self._words("operator.accounts.some", filters=", ".join(parts))

    def to_filter(self) -> AccountFilter:
        today = self._history.today()
        days, state, late = (self.values.get(name) for name in ("ending", "state", "late"))
        return AccountFilter(
            state=AccountState(state) if state else None,
            code=self.values.get("code"),
            late=Series(late) if late else None,
            late_since=self.late_since,
            ending=(today, today + timedelta(days=int(days))) if days else None,
            tenant=self.values.get("tenant"),
        )


@router.post("/search", name=AuditAction.ACCOUNT_FIND)
def search(visit: OperatorForm, wanted: Annotated[str, Form(max_length=LONGEST_ADDRESS)] = "") -> Response:
    """Redirect to the account of a meter, id, reference or mail address; list the accounts if there are several."""
    words, accounts = words_of(visit.request), _find(visit, wanted.replace("\x00", "").strip())
    if len(accounts) == 1:
        note_subject(visit.request, account_id=accounts[0].id)
        return RedirectResponse(f"{PATH}/accounts/{accounts[0].id}#state", 303)
    if not accounts:
        note_refusal(visit.request, "operator.search.unknown")
        return _page(visit, words("operator.accounts.fault"), status=404, search_fault="operator.search.unknown")
    rows = [
        ListedAccount(one.id, one.tenant, one.supplier, one.state, one.reason, one.consent_until) for one in accounts
    ]
    return _page(visit, words("operator.search.several"), rows)


def _find(visit: OperatorVisit, text: str) -> Sequence[Account]:
    accounts, number = visit.registry.accounts, "".join(text.split()).upper()
    found = [*accounts.find_by_meter(number)] if is_gas_meter(number) else []
    found += [account] if (account := accounts.find_existing(number.lower())) else []
    found += accounts.find_by_reference(text) if text else []
    if "@" in text:
        mails = visit.access.mails
        found += [account for row in mails.addresses.find(text) for account in mails.list_accounts(row.household_id)]
    return [account for _, account in sorted({account.id: account for account in found}.items())]


@router.get("/accounts")
def list_accounts(visit: OperatorDep) -> Response:
    """List a page of the accounts that are chosen, by id."""
    choice = AccountChoice(visit, {name: visit.query_text(name) for name in FILTERS})
    return _list(visit, choice, visit.query_text("after"))


@router.post("/accounts.csv", name=AuditAction.ACCOUNT_EXPORT)
def download_accounts(
    visit: AdminForm,
    state: Annotated[str, Form()] = "",
    code: Annotated[str, Form()] = "",
    late: Annotated[str, Form()] = "",
    ending: Annotated[str, Form()] = "",
    tenant: Annotated[str, Form()] = "",
) -> Response:
    """Send all accounts that are chosen as a spreadsheet, without their meters' numbers."""
    choice = AccountChoice(visit, dict(zip(FILTERS, (state, code, late, ending, tenant), strict=True)))
    if choice.fault:
        note_refusal(visit.request, "operator.filter.unknown")
        return _list(visit, choice)
    subject = "-".join(f"{name}-{value}" for name, value in choice.values.items()) or "all"
    note_subject(visit.request, subject.lower().replace(".", "_")[:40], tenant=tenant or None)
    name = f"releve-accounts-{visit.sync.history.today()}.csv"
    return stream_parts(write_csv(visit, _COLUMNS, _read_pages(visit, choice.to_filter())), None, name, CSV_TYPE)


def _list(visit: OperatorVisit, choice: AccountChoice, after: str = "") -> Response:
    # One account more than shown reveals whether there is another page.
    found = [] if choice.fault else visit.registry.lists.page(choice.to_filter(), after, ACCOUNTS_A_PAGE + 1)
    rows, address = found[:ACCOUNTS_A_PAGE], partial(_address, choice.values)
    return _page(
        visit,
        choice.title,
        rows,
        status=422 if choice.fault else 200,
        choice=choice,
        first=address() if after else None,
        next=address(after=rows[-1].id) if len(found) > len(rows) else None,
    )


def _address(values: Mapping[str, str], **more: str) -> str:
    return f"{PATH}/accounts?{urlencode({**values, **more})}"


def _page(
    visit: OperatorVisit,
    title: str,
    rows: Sequence[ListedAccount] = (),
    status: int = 200,
    *,
    choice: AccountChoice | None = None,
    **values: Any,
) -> Response:
    usual = {"first": None, "next": None, "search_fault": None}
    return render(
        visit.request,
        "operator_accounts.html",
        status,
        title=title,
        rows=rows[:ACCOUNTS_A_PAGE],
        is_cut=len(rows) > ACCOUNTS_A_PAGE,
        choice=choice,
        tenants=choice.options["tenant"] if choice else titles_of_tenants(visit.registry),
        **visit.describe(),
        **(usual | values),
    )


def _read_pages(visit: OperatorVisit, wanted: AccountFilter) -> Iterator[list[list[object]]]:
    words, after = words_of(visit.request), ""
    while rows := visit.registry.lists.page(wanted, after, ACCOUNTS_A_PART):
        references, after = visit.registry.consents.load_references([row.id for row in rows]), rows[-1].id
        yield [
            [
                row.id,
                defuse(references.get(row.id, "")),
                words(f"home.state.{row.shown_state}"),
                row.consent_until or "",
            ]
            for row in rows
        ]


def write_csv(visit: OperatorVisit, columns: Iterable[str], pages: Iterable[list[list[object]]]) -> Iterator[str]:
    """Yield the text of a CSV, page by page. Raises HttpRefusal 401 once the operator may no longer export."""
    words = words_of(visit.request)
    text = BYTE_ORDER_MARK + to_csv([[words(f"operator.csv.{name}") for name in columns]], words.language)
    for rows in pages:
        operator = visit.access.operators.get(visit.operator.id)
        if operator is None or operator.role is not Role.ADMIN or not visit.access.keys.is_open(visit.key):
            raise HttpRefusal(401, "unauthorized", "the operator's session or role has ended")
        yield text + to_csv(rows, words.language)
        text = ""
    yield text
