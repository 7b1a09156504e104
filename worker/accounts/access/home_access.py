"""Access to the pages of a home's installation: one household, which sees all accounts, and its one password.

The password is a recovery code, which here opens as often as it is typed. It isn't kept as a text: a person who has
forgotten it makes another.
"""

from __future__ import annotations

from dataclasses import dataclass

from worker.domain.sessions import KeyKind
from worker.stores.registry.access_keys import AccessKeyTable
from worker.stores.registry.accounts import AccountRegistry
from worker.stores.registry.households import Household, HouseholdTable


@dataclass(frozen=True, kw_only=True)
class HomeAccess:
    """The household of a home and its password; every method raises StoreUnavailable."""

    keys: AccessKeyTable
    households: HouseholdTable
    registry: AccountRegistry

    def household(self) -> Household:
        """Return the home's household, which shows every account that there is now; the first call makes it."""
        numbers = {account.id: account.session_number for account in self.registry.list()}
        household = self.households.find_first() or self.households.create(numbers)
        if dict(household.accounts) != numbers:
            household = self.households.add(household.id, numbers) or household
        return household

    def has_password(self) -> bool:
        """Return whether there is a password; without one nobody comes in from other machines."""
        household = self.households.find_first()
        return household is not None and bool(self.keys.list_opened(household.id, KeyKind.RECOVERY_CODE))

    def create_password(self) -> str:
        """Create the home's password, end the one before, and return its text."""
        household = self.household()
        key, text = self.keys.create(KeyKind.RECOVERY_CODE, household.id)
        self.keys.end_of([household.id], [KeyKind.RECOVERY_CODE], but=key.id)
        return text

    def check_password(self, text: str) -> Household | None:
        """Return the home's household where this is its password; None for any other text."""
        key, household = self.keys.find(KeyKind.RECOVERY_CODE, text), self.household()
        return household if key is not None and key.owner == household.id else None
