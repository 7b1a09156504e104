"""The name that a household gives a meter, such as "Maison": for its pages, and for the outputs that show names.

A name is sealed, and never reaches logs, the audit trail, the API, a CSV or a tenant's outputs.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from worker.domain.account import DEFAULT_TENANT, Account, read_meter_name
from worker.stores.registry import Registry
from worker.stores.registry.account_details import NAME
from worker.stores.registry.outputs import BEGINNING, OutputState

NAMING_KINDS: Final = ("home-assistant", "mqtt")  # The kinds of outputs that show names.


def load_name(registry: Registry, account_id: str) -> str:
    """Return the name of an account's meter; empty without one, and where it can't be decrypted."""
    return load_names(registry, [account_id]).get(account_id, "")


def load_names(registry: Registry, account_ids: Collection[str]) -> dict[str, str]:
    """Return the names of these accounts' meters by the accounts' ids; only of those that have one."""
    return {one: told["name"] for one, told in registry.account_details.iterate(NAME, among=account_ids)}


def load_shown_name(registry: Registry, output: OutputState, account_id: str) -> str:
    """Return the name that an output shows for an account; empty where it shows none."""
    may_show = output.tenant == DEFAULT_TENANT and output.kind in NAMING_KINDS
    return load_name(registry, account_id) if may_show else ""


def save_name(registry: Registry, account: Account, text: str) -> None:
    """Name the account's meter; an empty text removes its name. Outputs that show the name send it again.

    What they have is addressed by the account's label, which stays; so all is overwritten, and nothing is there twice.
    Raises ValueError for a text that is no name, UnknownAccount and AccountClosed.
    """
    name = read_meter_name(text)
    with registry.database.writing() as connection:
        locked = registry.join(connection)
        if not name:
            is_changed = locked.account_details.remove(account.id, NAME)
        elif is_changed := name != load_name(locked, account.id):
            locked.account_details.save(account.id, NAME, {"name": name})
        if is_changed and account.tenant == DEFAULT_TENANT:
            locked.outbox.enqueue_energy(BEGINNING.date(), accounts=[account.id], kinds=NAMING_KINDS)
