"""The account of an address, if it is the browser's own."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from worker.domain.consent.accounts import Account, AccountState
from worker.errors import UnknownAccount
from worker.web.context import HouseDep, SessionDep


def own_account(account_id: str, house: HouseDep, session: SessionDep) -> Account:
    """Raises UnknownAccount in the same words for one that isn't there and for one of another household."""
    if account_id in session.accounts:
        account = house.runtime.registry.get(account_id)
        if account.state is not AccountState.DELETED:
            return account
    raise UnknownAccount("no such account in this browser's session")


def digits_of(account: Account) -> str:
    """The meter as its own household may see it: by its last four digits."""
    return f"…{account.usage_point_id[-4:]}" if account.usage_point_id else "…"


OwnAccount = Annotated[Account, Depends(own_account)]
