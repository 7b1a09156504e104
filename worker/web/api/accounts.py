"""API routes of accounts: list, find, show, add, pause, resume, stop and erase them, and choose their series.

One more route shows the audit trail, in which a client sees who did what to its service's accounts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Response

from worker.accounts.asserted_accounts import MeterErased
from worker.accounts.series_choice import AccountSeries
from worker.accounts.status import AccountStatus, AccountSummary, status_of
from worker.clients.enedis import ENEDIS
from worker.clients.grdf import GRDF
from worker.domain.account import Account, AccountState
from worker.domain.audit_entry import AuditAction, AuditFilter, days_of
from worker.domain.evidence import HOUSEHOLD
from worker.domain.series import Series, SeriesSwitch
from worker.errors import MeterElsewhere
from worker.runtime.consent_parts import build_series_chooser, erase, stop_consent
from worker.runtime.stores import Stores
from worker.stores.registry.account_lists import AccountFilter
from worker.web import dependencies
from worker.web.api import schemas
from worker.web.api.callers import Caller, MayErase, MayStop, ReadAccounts, ReadAsClient, ReadAudit, WriteAccounts
from worker.web.api.schemas import AccountId, AccountPage, SeriesSwitches, error_responses
from worker.web.dependencies import Day, LastId, Moment, RegistryDep, StoresDep, SyncDep, VisitDep
from worker.web.error_pages import HttpRefusal, meter_elsewhere
from worker.web.request_audit import note_subject

router = APIRouter(tags=["accounts"])
audit_router = APIRouter(tags=["audit"])
MOST_ACCOUNTS: Final = 500
MOST_ENTRIES: Final = 500


@router.get("/accounts", summary="List accounts", responses=error_responses(422))
def list_accounts(
    registry: RegistryDep,
    sync: SyncDep,
    caller: ReadAccounts,
    limit: Annotated[int, Query(ge=1, le=MOST_ACCOUNTS, description="Accounts a page.")] = 100,
    after: LastId = "",
    state: Annotated[AccountState | None, Query(description="Only accounts in this state.")] = None,
    error: Annotated[
        str | None,
        Query(
            pattern=r"^[A-Za-z_.]{1,64}$",
            description="Only accounts that wait under this code, or of which a series last ended with it. The first "
            "part of a code includes all its kinds.",
            examples=["VENDOR_DOWN"],
        ),
    ] = None,
    late: Annotated[
        Series | None, Query(description="Only accounts that lack the newest day expected of this series.")
    ] = None,
    changed_since: Annotated[
        Moment | None,
        Query(
            description="Only accounts whose measures or state may have changed: since this time a run of a series "
            "has ended, even without anything new, or a file was imported, or the state or reason has changed.",
            examples=["2024-07-25T06:00:00Z"],
        ),
    ] = None,
) -> AccountPage:
    """List the accounts of the client's service, except removed ones; for a session, list the household's own.

    Filters can be combined. To follow changes, note the time before each first page, and give it the next time.
    """
    own = None if caller.session is None else dependencies.load_accounts(registry, caller.session)
    wanted = AccountFilter(
        state=state,
        code=error,
        late=late,
        late_since=None if late is None else sync.history.newest_due_day(late),
        tenant=caller.tenant if own is None else None,
        changed_since=changed_since,
        ids=None if own is None else [account.id for account in own],
    )
    # One account more than requested shows whether there is a next page.
    ids = registry.lists.find_ids(wanted, after, limit + 1)
    accounts = registry.accounts.get_many(ids[:limit])
    page = [_summarize(accounts[account_id], caller) for account_id in ids[:limit]]
    facts = {"limit": limit, "state": state, "error": error, "late": late, "changed_since": changed_since}
    more = len(ids) > limit
    return AccountPage(accounts=page, next=f"/api/accounts?{_query(facts)}&after={ids[limit - 1]}" if more else None)


def _query(facts: Mapping[str, object]) -> str:
    return urlencode({name: value for name, value in facts.items() if value is not None})


@router.post("/accounts/search", summary="Find accounts", responses=error_responses(400, 411, 413, 415, 422))
def search_accounts(search: schemas.AccountSearch, registry: RegistryDep, caller: ReadAsClient) -> AccountPage:
    """Find the account of your service that reads this meter, or your service's accounts with this reference.

    The list is empty if there is none. Only for clients with a token. What you search is sent in the body, because URLs
    are logged.
    """
    if search.reference:
        found = registry.accounts.find_by_reference(search.reference, tenant=caller.tenant)
    else:
        supplier, number = (ENEDIS, search.usage_point) if search.usage_point else (GRDF, search.pce)
        of_meter = registry.accounts.find_by_meter(number.upper(), tenant=caller.tenant)
        found = [account for account in of_meter if account.supplier == supplier.name]
    return AccountPage(accounts=[_summarize(account, caller) for account in found], next=None)


@router.get("/accounts/{account_id}", summary="Show an account", responses=error_responses(404, 422))
def read_account(account_id: AccountId, registry: RegistryDep, caller: ReadAccounts) -> AccountSummary:
    """Show the account's state and consent, without its measures."""
    return _summarize(caller.load_account(registry, account_id), caller)


@router.post(
    "/accounts",
    name=AuditAction.ACCOUNT_ADD,
    summary="Add an account",
    status_code=201,
    responses=error_responses(400, 409, 411, 413, 415, 422),
)
def add_account(new: schemas.NewAccount, visit: VisitDep, caller: WriteAccounts, response: Response) -> AccountSummary:
    """Add the account of a meter whose holder has consented to your application, and start its first sync.

    You vouch for the consent: your token's name, `reference` and `consented_on` are kept as its evidence. If the meter
    already has an account, the answer is 409 `account_exists` with the account's id, and nothing is changed. If the
    account belongs to another service, or belonged to one when its data were erased, the answer is 409
    `METER_ELSEWHERE` without the id: ask the operator. A meter whose data were erased by version 0.2.0 gets the
    same answer, because that version did not record the meter's service. If the data of a meter of your service were
    erased, the answer is 409 `meter_erased`, unless `consented_on` is later than the day of the erasure. With
    enedis-v4, each holder has their own token, so only the consent page can add an account: the answer is 409
    `consent_needed`.
    """
    if visit.sync.suppliers.main.account_tokens:
        raise HttpRefusal(
            409, "consent_needed", "with this supplier, an account is added through the consent page, /connect"
        )
    try:
        account, created = replace(visit.consent.assertion, token_of=caller.tenant).add(
            new.usage_point,
            f"token:{caller.token_id}",
            reference=new.reference,
            consented_on=new.consented_on,
            tenant=caller.tenant,
        )
    except MeterElsewhere:
        raise meter_elsewhere() from None
    except ValueError as error:
        raise HttpRefusal(422, "invalid_request", str(error)) from None
    except MeterErased as error:
        raise HttpRefusal(409, "meter_erased", f"{error} (consented_on)") from None
    note_subject(visit.request, account_id=account.id)
    if not created:
        message = f"account {account.id} has this meter already, nothing was changed: invite its holder to the account"
        raise HttpRefusal(409, "account_exists", message)
    dependencies.publish_backfills(visit.stores, [account.id])
    response.headers["Location"] = f"/api/accounts/{account.id}"
    return _summarize(account, caller)


@router.post(
    "/accounts/{account_id}/pause",
    name=AuditAction.ACCOUNT_PAUSE,
    summary="Stop automatic runs",
    responses=error_responses(404, 409, 422),
)
def pause_account(account_id: AccountId, stores: StoresDep, caller: WriteAccounts) -> AccountSummary:
    """Stop the account's automatic runs; its stored data stay."""
    return _set_state(stores, caller, account_id, AccountState.PAUSED)


@router.post(
    "/accounts/{account_id}/resume",
    name=AuditAction.ACCOUNT_RESUME,
    summary="Let an account run again",
    responses=error_responses(404, 409, 422),
)
def resume_account(account_id: AccountId, stores: StoresDep, caller: WriteAccounts) -> AccountSummary:
    """Let an account run again after it was paused or needed action by its owner."""
    return _set_state(stores, caller, account_id, AccountState.READY)


@router.post(
    "/accounts/{account_id}/stop",
    name=AuditAction.ACCOUNT_STOP,
    summary="Stop an account's consent",
    responses=error_responses(404, 409, 422),
)
def stop_account(account_id: AccountId, stores: StoresDep, sync: SyncDep, caller: MayStop) -> AccountSummary:
    """End the account's consent here; its stored data stay.

    Its data are no longer requested, and its own token and proxy grants end. Only a new consent lets the account run
    again. Safe to repeat. The sharing at Enedis itself continues until the holder ends it in their Enedis account.
    """
    caller.load_account(stores.registry, account_id)
    try:
        stop_consent(stores, account_id, _actor(caller))
    except ValueError as error:
        raise HttpRefusal(409, "wrong_state", str(error)) from None
    dependencies.publish_revocation(stores, sync)
    return _summarize(caller.load_account(stores.registry, account_id), caller)


@router.delete(
    "/accounts/{account_id}",
    name=AuditAction.ACCOUNT_ERASE,
    summary="Erase an account",
    responses=error_responses(404, 422),
)
def remove_account(account_id: AccountId, stores: StoresDep, sync: SyncDep, caller: MayErase) -> schemas.Receipt:
    """Erase the account's measures, tokens and state, now and for good; the receipt counts what was erased.

    A token needs the scope `erase:accounts`. The meter stays closed to every consent that began before the erasure. To
    connect the meter again, its holder must consent again: with enedis-v5 and enedis-2026 through an invitation, and
    with enedis-2026 only after they have deleted the share in their Enedis account.

    Safe to repeat. If the answer was lost or was 503, repeat the call: it then erases what was left over.
    """
    caller.load_account(stores.registry, account_id, include_removed=True)
    receipt = schemas.Receipt(account=account_id, erased=erase(stores, account_id, _actor(caller)))
    dependencies.publish_revocation(stores, sync)
    return receipt


@router.get("/accounts/{account_id}/status", summary="Show an account's state", responses=error_responses(404, 422))
def read_status(account_id: AccountId, registry: RegistryDep, sync: SyncDep, caller: ReadAccounts) -> AccountStatus:
    """Show, for each series, the progress of the history, the last stored day and the last error."""
    account = caller.load_account(registry, account_id)
    return status_of(account, sync.history)


@router.get("/accounts/{account_id}/series", summary="Show an account's series", responses=error_responses(404, 422))
def read_series(account_id: AccountId, stores: StoresDep, caller: ReadAccounts) -> AccountSeries:
    """Show every series: how it is switched, whether it is collected, and when it was last requested."""
    caller.load_account(stores.registry, account_id)
    return build_series_chooser(stores).load(account_id)


@router.patch(
    "/accounts/{account_id}/series",
    name=AuditAction.ACCOUNT_SERIES,
    summary="Choose an account's series",
    responses=error_responses(400, 404, 409, 411, 413, 415, 422),
)
def choose_series(
    account_id: AccountId, choices: schemas.SeriesChoices, stores: StoresDep, caller: WriteAccounts
) -> SeriesSwitches:
    """Set the switches of the named series; the other series stay as they are.

    A series that is switched on is requested at once, with its history. If a series is switched off, its stored data
    stay. A series that the supplier's API does not have gives 409 `not_offered`, and nothing is changed. Safe to
    repeat.
    """
    caller.load_account(stores.registry, account_id)
    switches = {Series(name): SeriesSwitch(switch) for name, switch in choices.series.items()}
    try:
        dependencies.switch_series(stores, account_id, switches)
    except ValueError as error:
        raise HttpRefusal(409, "not_offered", str(error)) from None
    chosen = build_series_chooser(stores).load(account_id)
    return SeriesSwitches(account=account_id, series={name: state.switch for name, state in chosen.series.items()})


@audit_router.get("/audit", summary="Read the audit trail", responses=error_responses(422))
def read_audit(
    registry: RegistryDep,
    caller: ReadAudit,
    account: Annotated[
        str | None, Query(pattern=r"^[a-z][a-z0-9]{0,31}$", description="Only entries about this account.")
    ] = None,
    actor: Annotated[
        str | None,
        Query(
            pattern=r"^[^\x00-\x1f]{1,100}$",
            description="Only entries by this session, token, operator or user, or this kind of actor.",
        ),
    ] = None,
    action: Annotated[AuditAction | None, Query(description="Only this.")] = None,
    since: Annotated[Day | None, Query(description="Only entries from this day on (Europe/Paris).")] = None,
    until: Annotated[Day | None, Query(description="Only entries up to the end of this day.")] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_ENTRIES, description="Entries a page.")] = 100,
    before: LastId = "",
) -> schemas.AuditPage:
    """Show who did what to the accounts, tokens and invitations of the client's service, newest entry first.

    Pages, API calls and commands leave entries, even if they are refused; what workers do by themselves leaves none.
    Entries are kept for 400 days, and are never changed.
    """
    wanted = AuditFilter(account, actor, action, caller.tenant, *days_of(since, until))
    entries = registry.audit.page(wanted, limit + 1, before=before)
    page = [schemas.AuditRow.model_validate(entry) for entry in entries[:limit]]
    facts = {"account": account, "actor": actor, "action": action, "since": since, "until": until, "limit": limit}
    more = len(entries) > limit
    return schemas.AuditPage(entries=page, next=f"/api/audit?{_query(facts)}&before={page[-1].id}" if more else None)


def _actor(caller: Caller) -> str:
    """Return the caller's name in the evidence that records the end of a consent."""
    return HOUSEHOLD if caller.token_id is None else f"token:{caller.token_id}"


def _set_state(stores: Stores, caller: Caller, account_id: str, state: AccountState) -> AccountSummary:
    caller.load_account(stores.registry, account_id)
    try:
        stores.registry.accounts.set_state(account_id, state, now=stores.now())
    except ValueError as error:
        raise HttpRefusal(409, "wrong_state", str(error)) from None
    return _summarize(caller.load_account(stores.registry, account_id), caller)


def _summarize(account: Account, caller: Caller) -> AccountSummary:
    return AccountSummary.from_account(account, with_digits=caller.session is not None)
