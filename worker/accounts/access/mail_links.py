"""Links that are mailed to a household: one confirms its address, the other signs in.

Whether an address is known shows nowhere: the caller answers before ``mail_sign_in`` runs, and each address counts
under the same limit. A link's secret stands behind the #, which browsers keep to themselves.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from worker.accounts.access.ways_back import ADDRESS, LANGUAGE
from worker.accounts.notice_services import MailService
from worker.domain.account import AccountState
from worker.domain.sessions import KeyKind
from worker.errors import WorkerError
from worker.logs import fields
from worker.stores.redis.locks import Rate, RateLimiter
from worker.stores.registry.access_keys import AccessKeyTable
from worker.stores.registry.accounts import AccountRegistry
from worker.stores.registry.households import HouseholdTable, MailAddress, MailAddressTable
from worker.texts import translate

log = logging.getLogger("releve.access")
MAILS_OF_ADDRESS: Final = Rate("mail-address", calls=3, window_s=3600)
_SIGN_IN_PATH, _CONFIRM_PATH = "/sign-in/link", "/access/confirm"


@dataclass(frozen=True, kw_only=True)
class MailLinks:
    """What mails links."""

    keys: AccessKeyTable
    households: HouseholdTable
    addresses: MailAddressTable
    registry: AccountRegistry
    limiter: RateLimiter
    public_url: str
    mail_service: MailService = field(repr=False)

    @property
    def sends_mail(self) -> bool:
        return self.mail_service.sends_mail

    def mail_confirmation(self, household_id: str, address: str, language: str) -> str:
        """Mail the link that confirms an address of a household; the links before end.

        Returns an empty text, or why it wasn't mailed: ``slow`` (too many mails to this address within an hour) or
        ``failed`` (the mail service has not taken it).
        """
        if self.limiter.count_call(MAILS_OF_ADDRESS, self.addresses.hash(address)):
            return "slow"
        details = {ADDRESS: address, LANGUAGE: language}
        key, secret = self.keys.create(KeyKind.ADDRESS_LINK, household_id, details=details)
        self.keys.end_of([household_id], [KeyKind.ADDRESS_LINK], but=key.id)
        links = [f"{self.public_url}{_CONFIRM_PATH}#{secret}"]
        if self._mail("access.mail.confirm", address, language, links, key.id):
            return ""
        self.keys.end(key.id)
        return "failed"

    def mail_sign_in(self, address: str) -> None:
        """Mail a link for each household that has confirmed this address; nothing where there is none.

        It runs after the answer, so it raises nothing: a failure is a line of the log.
        """
        try:
            if not self.limiter.count_call(MAILS_OF_ADDRESS, self.addresses.hash(address)):
                self._mail_sign_in(self.addresses.find(address))
        except WorkerError as error:
            log.warning("sign-in link not mailed", extra=fields(reason=str(error)))

    def _mail_sign_in(self, rows: Sequence[MailAddress]) -> None:
        names = [(row, self._name(row)) for row in rows]
        links, key_id = [], ""
        for row, name in names:
            if name:  # A household whose meters are all another holder's by now sees nothing.
                key, secret = self.keys.create(KeyKind.SIGN_IN_LINK, row.household_id)
                links.append(f"{name}\n{self.public_url}{_SIGN_IN_PATH}#{secret}")
                key_id = key.id
        if links:
            self._mail("access.mail.sign_in", rows[0].address, rows[0].language, links, key_id)

    def _name(self, row: MailAddress) -> str:
        """Return the meters of a household by their last digits, as its language names them."""
        household = self.households.load(row.household_id)
        numbers = household.accounts if household else {}
        accounts = self.registry.get_many(list(numbers))
        return ", ".join(
            translate("account.meter", row.language, digits=account.last_digits or "…")
            for account in accounts.values()
            if account.session_number == numbers[account.id] and account.state is not AccountState.DELETED
        )

    def _mail(self, key: str, address: str, language: str, links: Sequence[str], message_id: str) -> bool:
        paragraphs = [translate(f"{key}.text", language, address=self.public_url), *links]
        text = "\n\n".join([*paragraphs, translate(f"{key}.rules", language)]) + "\n"
        subject = translate("notice.prefix", language) + translate(f"{key}.subject", language)
        fault = self.mail_service.send(address, subject, text, message_id)
        if fault:
            log.warning("link not mailed", extra=fields(kind=key.rpartition(".")[2], reason=fault))
        return fault is None
