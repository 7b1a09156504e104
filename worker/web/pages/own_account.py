"""``OwnAccount``, the dependency that lets a browser see its own accounts alone; every page of an account has it."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from worker.domain.account import Account
from worker.errors import UnknownAccount
from worker.web.context import RuntimeDep, SessionDep


def load_own_account(account_id: str, runtime: RuntimeDep, session: SessionDep) -> Account:
    """Return the account of the address, where the browser's session shows it.

    Raises UnknownAccount, in the same words for an account that doesn't exist and for one of another household.
    """
    if account_id in session.accounts:
        account = runtime.registry.get_existing(account_id)
        if session.shows(account):
            return account
    raise UnknownAccount("no such account in this browser's session")


OwnAccount = Annotated[Account, Depends(load_own_account)]
