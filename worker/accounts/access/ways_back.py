"""A household's ways back in: its recovery code, and its mail address.

A code is made with the household and opens once; signing in with it makes another. Its text is kept in the details of
the session that it was made in, until its person says that it is kept: the page can show it until then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from worker.domain.sessions import KeyKind
from worker.stores.registry.access_keys import AccessKeyTable, RecoveryTexts
from worker.stores.registry.households import Household, HouseholdTable, MailAddress, MailAddressTable

CODE: Final = "code"  # In the details of a session: the code that its person has not kept yet.
_KEPT: Final[Mapping[str, str]] = {"kept": "yes"}  # The details of a code that its person has kept.
ADDRESS, LANGUAGE = "address", "language"  # In the details of a link that confirms an address.


@dataclass(frozen=True, slots=True)
class WaysBack:
    """What a household has to get back in.

    ``shown_code``: the code that this session still shows; ``code_since``: when the kept code was made; ``pending``:
    an address that waits to be confirmed.
    """

    shown_code: str = field(default="", repr=False)
    code_since: datetime | None = None
    address: MailAddress | None = None
    pending: str = field(default="", repr=False)

    @property
    def is_safe(self) -> bool:
        """Whether there is a way back without this browser."""
        return self.code_since is not None or self.address is not None


@dataclass(frozen=True, kw_only=True)
class HouseholdAccess:
    """What makes, checks and ends a household's ways back; every method raises StoreUnavailable."""

    keys: AccessKeyTable
    households: HouseholdTable
    addresses: MailAddressTable

    def create_code(self, household_id: str) -> str:
        """Create the household's code, end those before, and return its text."""
        key, text = self.keys.create(KeyKind.RECOVERY_CODE, household_id)
        self.keys.end_of([household_id], [KeyKind.RECOVERY_CODE], but=key.id)
        return text

    def keep_code(self, household_id: str, code: str) -> None:
        """Record that the household has kept this code of its own; nothing happens where the code has ended."""
        key = self.keys.find(KeyKind.RECOVERY_CODE, code)
        if key is not None and key.owner == household_id:
            self.keys.set_details(key, _KEPT)

    def find(self, household_id: str, details: Mapping[str, str]) -> WaysBack:
        """Return the household's ways back; ``details`` are those of the session that asks."""
        codes = self.keys.list_opened(household_id, KeyKind.RECOVERY_CODE)
        shown = details.get(CODE, "")
        is_valid = RecoveryTexts().read_id(shown) in [key.id for key in codes]  # Another session may have ended it.
        kept = [key.created_at for key in codes if key.details == _KEPT]
        pending = self.keys.list_opened(household_id, KeyKind.ADDRESS_LINK)
        return WaysBack(
            shown_code=shown if is_valid else "",
            code_since=kept[0] if kept else None,
            address=self.addresses.load(household_id),
            pending=pending[0].details.get(ADDRESS, "") if pending else "",
        )

    def use_code(self, code: str) -> tuple[Household, str] | None:
        """Use a household's code, and return the household with its new code; None for any other text."""
        key = self.keys.find(KeyKind.RECOVERY_CODE, code)
        household = self.households.load(key.owner) if key else None
        if household is None:
            return None
        # The new one is made before the old one ends, so that a crash between the two locks nobody out.
        new, text = self.keys.create(KeyKind.RECOVERY_CODE, household.id)
        if self.keys.use(KeyKind.RECOVERY_CODE, code) is None:  # Another browser was faster.
            self.keys.end(new.id)
            return None
        self.keys.end_of([household.id], [KeyKind.RECOVERY_CODE], but=new.id)
        return household, text

    def use_sign_in_link(self, link: str) -> Household | None:
        """Use a link that was mailed to a household, and return the household; None for any other text."""
        key = self.keys.use(KeyKind.SIGN_IN_LINK, _secret_of(link))
        return self.households.load(key.owner) if key else None

    def confirm_address(self, link: str) -> bool:
        """Set the address to which this link was mailed; return whether the link was valid."""
        key = self.keys.use(KeyKind.ADDRESS_LINK, _secret_of(link))
        if key is None or not self.addresses.set(key.owner, key.details[ADDRESS], key.details[LANGUAGE]):
            return False
        self.keys.end_of([key.owner], [KeyKind.SIGN_IN_LINK])  # They were mailed to the address before.
        return True

    def remove_address(self, household_id: str) -> None:
        """Remove the household's address, and end the links that were mailed to it or wait to confirm one."""
        self.addresses.remove(household_id)
        self.keys.end_of([household_id], [KeyKind.ADDRESS_LINK, KeyKind.SIGN_IN_LINK])

    def set_notices(self, household_id: str, *, wanted: bool) -> bool:
        """Set whether notices are mailed to the household's address; False where it has none."""
        return self.addresses.set_notices(household_id, wanted=wanted)


def _secret_of(link: str) -> str:
    """Return the secret of a link; the whole link may be pasted."""
    return link.strip().rpartition("#")[2]
