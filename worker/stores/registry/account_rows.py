"""SQL statements for accounts and usage points, and for rows in other tables that depend on an account's state.

Rows of ``series_outcomes`` copy the account's state. Pending refusals and undelivered notices are deleted by a success
or a new consent.

Every function works inside its caller's transaction, so that several tables change together.
"""

from __future__ import annotations

import secrets
import unicodedata
from collections.abc import Collection, Mapping
from datetime import date, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, delete, func, insert, or_, select, update

from worker.domain.account import ASKED_STATES, DEFAULT_TENANT, Account, AccountEvent, AccountState, Step
from worker.domain.consents import ConsentKind
from worker.domain.evidence import EvidenceEvent
from worker.domain.notice import LASTING
from worker.domain.series import USUAL_SERIES, Series, SeriesSwitch, of_supplier
from worker.domain.windows import civil_date
from worker.errors import UnknownAccount
from worker.stores.database import note_for_commit
from worker.stores.encryption import KeyedHashes
from worker.stores.registry.tables import (
    ACCOUNTS,
    CONSENT_EVIDENCE,
    NEVER,
    NO_DAY,
    NOTICES,
    PENDING_REFUSALS,
    SERIES_OUTCOMES,
    USAGE_POINTS,
)

_CONSUMPTION = "consumption"  # The direction in every row of usage_points.
NOT_REMOVED = ACCOUNTS.c.state != AccountState.DELETED
_GIVEN = CONSENT_EVIDENCE.alias()
_NEWEST = select(func.max(_GIVEN.c.sequence)).where(
    _GIVEN.c.account_id == CONSENT_EVIDENCE.c.account_id, _GIVEN.c.event == EvidenceEvent.GIVEN
)
# Finds a row if the account's newest consent is ``ASSERTED`` (somebody vouches for it) and has no first day.
_WORD = select(CONSENT_EVIDENCE.c.sequence).where(
    CONSENT_EVIDENCE.c.account_id == ACCOUNTS.c.id,
    CONSENT_EVIDENCE.c.sequence == _NEWEST.scalar_subquery(),
    CONSENT_EVIDENCE.c.kind == ConsentKind.ASSERTED,
    CONSENT_EVIDENCE.c.consent_from.is_(None),
)
_ANSWER = select(SERIES_OUTCOMES.c.series).where(
    SERIES_OUTCOMES.c.account_id == ACCOUNTS.c.id, SERIES_OUTCOMES.c.last_success_at.is_not(None)
)
# The condition for ``Account.is_vouched``. The state is tested first, so that the evidence of a ready account isn't
# looked up. A stored answer doesn't confirm the consent of a ``new`` account: only the account's next answer does.
IS_VOUCHED = and_(
    ACCOUNTS.c.state != AccountState.READY, _WORD.exists(), or_(ACCOUNTS.c.state == AccountState.NEW, ~_ANSWER.exists())
)
# The same condition as ``Account.active``.
IS_ACTIVE = and_(ACCOUNTS.c.state.in_(ASKED_STATES), or_(ACCOUNTS.c.state != AccountState.NEW, IS_VOUCHED))
_COLUMNS = (column for column in ACCOUNTS.c if column.name not in ("state_since", "reference"))
ACCOUNT_QUERY = select(*_COLUMNS, USAGE_POINTS.c.usage_point_id, IS_VOUCHED.label("is_vouched")).select_from(
    ACCOUNTS.outerjoin(USAGE_POINTS)
)
# A window runs these statements several times. Each statement is built only once, because building it costs more than
# running it.
_ONE_ACCOUNT = ACCOUNT_QUERY.where(ACCOUNTS.c.id == bindparam("account_id"))
_STATE = select(ACCOUNTS.c.state).where(ACCOUNTS.c.id == bindparam("account_id"))
_STATE_LOCKED = {shared: _STATE.with_for_update(read=shared) for shared in (False, True)}
# The letters i, l, o and u are left out, because ids are read aloud on the telephone and typed in again.
_LETTERS, _DIGITS = "abcdefghjkmnpqrstvwxyz", "0123456789"


def get(connection: Connection, account_id: str) -> Account:
    """Return the account, even if it was removed. Raises UnknownAccount."""
    text = account_id.replace("\x00", " ")  # PostgreSQL refuses NUL, and no id has a space.
    row = connection.execute(_ONE_ACCOUNT, {"account_id": text}).one_or_none()
    if row is None:
        raise UnknownAccount(_unknown_account_text(account_id))
    return Account(**row._asdict())


def lock(connection: Connection, account_id: str, *, shared: bool = False, include_removed: bool = False) -> None:
    """Lock the account's row until the transaction ends.

    Until then, no other transaction can change, remove or lock the account; with ``shared``, others may take a shared
    lock at the same time. SQLite has no row locks, but only one writer at a time. Raises UnknownAccount for a missing
    account, and for a removed one unless ``include_removed``.
    """
    state = connection.execute(_STATE_LOCKED[shared], {"account_id": account_id}).scalar()
    if state is None:
        raise UnknownAccount(_unknown_account_text(account_id))
    if state == AccountState.DELETED and not include_removed:
        raise UnknownAccount(f"account {account_id} was removed")


def reads(supplier: str, usage_point_id: str) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions for the account that reads this usage point; a closed or removed account reads none."""
    usage_point = {"supplier": supplier, "usage_point_id": usage_point_id, "direction": _CONSUMPTION}
    return NOT_REMOVED, *(USAGE_POINTS.c[name] == value for name, value in usage_point.items())


def find_locked(connection: Connection, supplier: str, usage_point_id: str) -> str | None:
    """Lock the account that reads this usage point, and return its id; None if there is none."""
    query = select(ACCOUNTS.c.id).join(USAGE_POINTS).where(*reads(supplier, usage_point_id))
    return connection.execute(query.with_for_update(of=ACCOUNTS)).scalar()


def find_or_insert(
    connection: Connection,
    supplier: str,
    usage_point_id: str | None,
    now: datetime,
    consent: Mapping[str, date],
    tenant: str = DEFAULT_TENANT,
    series: Collection[Series] = USUAL_SERIES,
) -> tuple[str, bool]:
    """Return the id of the account that reads this usage point, and whether it is new.

    The account is locked and gets the consent dates in ``consent``. A new account is in state ``new`` and belongs to
    ``tenant``; it gets a row of ``series_outcomes`` for each of ``series`` that its supplier offers. An existing
    account keeps its tenant. Raises IntegrityError if another process inserts the same usage point at the same time.
    """
    usage_point = {"supplier": supplier, "usage_point_id": usage_point_id, "direction": _CONSUMPTION}
    if usage_point_id is not None and (known := find_locked(connection, supplier, usage_point_id)) is not None:
        update_account(connection, known, consent)
        return known, False
    account_id = _new_id()
    row = {"id": account_id, "tenant": tenant, "supplier": supplier, "state": AccountState.NEW, "reason": ""}
    connection.execute(insert(ACCOUNTS).values(created_at=now, state_since=now, reference="", **row, **consent))
    until = consent.get("consent_until")
    if rows := [new_series_row(account_id, one, now, until) for one in of_supplier(supplier, series)]:
        connection.execute(insert(SERIES_OUTCOMES), rows)
    if usage_point_id is not None:
        connection.execute(insert(USAGE_POINTS).values(account_id=account_id, **usage_point))
    return account_id, True


def hash_reference(hashes: KeyedHashes, reference: str) -> list[str]:
    """Return the keyed hashes of an operator's reference, the newest key's first; none for an empty text.

    Upper and lower case, and the length of white space, make no difference.
    """
    text = fold_reference(reference)
    return hashes.all_hashes("reference", text) if text else []


def fold_reference(reference: str) -> str:
    """Return a form that is equal for texts that name the same accounts."""
    return " ".join(unicodedata.normalize("NFC", unicodedata.normalize("NFC", reference).casefold()).split())


def fails_with(code: str) -> ColumnElement[bool]:
    """Return the condition for accounts that wait under ``code``, or have a series whose last run ended with it.

    A narrower code counts, too: ``VENDOR_DOWN.TIMEOUT`` for ``VENDOR_DOWN``.
    """
    columns = SERIES_OUTCOMES.c
    series = select(columns.account_id).where(
        columns.account_id == ACCOUNTS.c.id,
        columns.switch != SeriesSwitch.ENDED,
        _is_or_begins(columns.last_code, code),
    )
    return or_(_is_or_begins(ACCOUNTS.c.reason, code), series.exists())


def _is_or_begins(column: ColumnElement[str], code: str) -> ColumnElement[bool]:
    return or_(column == code, column.startswith(f"{code}.", autoescape=True))


def update_account(connection: Connection, account_id: str, changes: Mapping[str, Any]) -> None:
    """Write the columns in ``changes``; if there are none, nothing happens.

    A new end of the consent is copied to the rows of the account's series, so that nothing is requested after that day.
    """
    if changes:
        connection.execute(update(ACCOUNTS).where(ACCOUNTS.c.id == account_id).values(**changes))
    if "consent_until" in changes:
        of_account = SERIES_OUTCOMES.c.account_id == account_id
        connection.execute(update(SERIES_OUTCOMES).where(of_account).values(ask_until=changes["consent_until"]))


def apply(
    connection: Connection,
    account_id: str,
    event: AccountEvent,
    now: datetime,
    reason: str = "",
    *,
    until: date | None = None,
) -> tuple[Account, Step]:
    """Apply an event to an account, and write the account's new state. ``until``: as in ``Account.after``.

    Returns the account as it was before the event, and the step that the event caused. Raises the errors of
    ``Account.after``. Raises UnknownAccount for a missing account; for a removed one, too, unless the event is
    ``ERASED``.
    """
    lock(connection, account_id, include_removed=event is AccountEvent.ERASED)
    before = get(connection, account_id)
    after, step = before.after(event, civil_date(now), reason, until=until)
    # For an account with a reason, ``state_since`` says since when the account waits under this reason. A pause keeps
    # the reason, so it keeps ``state_since``, too.
    is_news = after.reason != before.reason or (after.state is not before.state and not after.reason)
    changes = {"state": after.state, "reason": after.reason, "paused_until": after.paused_until}
    update_account(connection, account_id, changes | ({"state_since": now} if is_news else {}))
    due: dict[str, Any] = {}
    if after.active and step.due:
        due = {"again_at": None, "failures": 0, "history_due_at": now}
        note_for_commit(connection, [(account_id, series) for series in Series])
    asked = SERIES_OUTCOMES.c.collected if after.active else False
    of_account = SERIES_OUTCOMES.c.account_id == account_id
    connection.execute(update(SERIES_OUTCOMES).where(of_account).values(active=asked, **due))
    if step.ends_refusals:
        delete_pending_refusals(connection, account_id)
    if step.ends_notices:
        delete_undelivered_notices(connection, account_id)
    return before, step


def delete_pending_refusals(connection: Connection, account_id: str) -> int:
    """Delete the account's pending refusals, and return their number."""
    return connection.execute(delete(PENDING_REFUSALS).where(PENDING_REFUSALS.c.account_id == account_id)).rowcount


def delete_undelivered_notices(connection: Connection, account_id: str) -> int:
    """Delete the account's undelivered notices, and return their number.

    Lasting ones stay: without its row, a month or alert that a mail server has just taken could be told again.
    """
    conditions = (
        NOTICES.c.account_id == account_id,
        NOTICES.c.delivered_at.is_(None),
        NOTICES.c.kind.not_in(LASTING),
    )
    return connection.execute(delete(NOTICES).where(*conditions)).rowcount


def new_series_row(account_id: str, series: Series, now: datetime, ask_until: date | None) -> dict[str, Any]:
    """Return a new row for a collected series that was never requested; the row isn't active yet."""
    return {
        "account_id": account_id,
        "series": series,
        "switch": SeriesSwitch.FLEET,
        "collected": True,
        "active": False,
        "ask_until": ask_until,
        "every": 1,
        "asked_at": NEVER,
        "failures": 0,
        "history_due_at": now,
        "days": "",
        "last_day": NO_DAY,
        "run_id": "",
        "last_message": "",
        "ever_stored": False,
        "updated_at": NEVER,
    }


def _new_id() -> str:
    """Return a random id of twelve characters, for example "k3q7d0fr2mxx".

    The id begins with a letter, so that it is never read as a number, nor as one of CouchDB's own names, which begin
    with ``_``.
    """
    return secrets.choice(_LETTERS) + "".join(secrets.choice(_LETTERS + _DIGITS) for _ in range(11))


def _unknown_account_text(account_id: str) -> str:
    # A user may have typed a meter number instead of an id. The message must not repeat it.
    name = f"account {account_id}" if account_id.isalnum() and account_id[0].isalpha() else "such account"
    return f"no {name} in the registry: `releve accounts list` shows the accounts"
