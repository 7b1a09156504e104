"""How a household signs in: with its recovery code, a mailed link or, in a home's installation, its one password.

The first code is made together with the household. A code works once: signing in with it makes the next code. The text
of a new code is kept in the details of the session that made it, so that the page can show the code until the person
confirms that they have kept it.

One kind of mailed link confirms the household's address, the other kind signs in. Nothing shows whether an address is
known: the caller answers before ``mail_sign_in`` runs. A link's secret follows the #, which browsers don't send.
Somebody with a copied session could change the code or the address, so these changes are mailed to a confirmed address.

Each kind of mail has its own rate limit. A new sign-in link ends the earlier ones, so a stranger who asks for mails
could end the household's link again and again. Therefore an address gets at most two sign-in mails per ten minutes:
the link of the second mail stays valid until the next mail may be sent.

A home's installation has one household, which sees all accounts. Its password is a recovery code that works any number
of times. The text of the password isn't stored: a person who has forgotten it makes another one.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from worker.accounts.notice_channels import NoticeMessage, compose_household_mail
from worker.accounts.notice_services import MailService
from worker.domain.account import Account, AccountState
from worker.domain.notice import Notice, NoticeKind
from worker.domain.sessions import KeyKind
from worker.errors import NotDelivered, WorkerError
from worker.logs import fields
from worker.stores.encryption import Signer
from worker.stores.redis.locks import Rate, RateLimiter
from worker.stores.registry import Registry
from worker.stores.registry.access_keys import AccessKeyTable, RecoveryTexts
from worker.stores.registry.households import Household, HouseholdTable, MailAddress, MailAddressTable
from worker.texts import translate

OFF_PATH: Final = "/access/notices/off"
MONTH_OFF_PATH, MONTH_TICKET = "/access/month/off", "month:"  # Its links switch off only the figures of months.
log = logging.getLogger("releve.access")
LATER: Final = "later"  # The key, in a session's details, of when the notice about the ways back is due again.
CODE: Final = "code"  # The key, in a session's details, of a code that the person has not confirmed as kept.
_KEPT: Final[Mapping[str, str]] = {"kept": "yes"}  # The details of a code that is confirmed as kept.
ADDRESS, LANGUAGE = "address", "language"  # Keys in the details of a link that confirms an address.
_CONFIRMATIONS: Final = Rate("mail-address", calls=3, window_s=3600)
SIGN_IN_MAILS: Final = Rate("mail-sign-in", calls=2, window_s=600)
_CHANGES_TOLD: Final = Rate("mail-change", calls=3, window_s=3600)
_SIGN_IN_PATH, _CONFIRM_PATH = "/sign-in/link", "/access/confirm"


@dataclass(frozen=True, slots=True)
class WaysBack:
    """The ways in which a household can get back in.

    ``shown_code``: the code that this session shows until it is confirmed as kept. ``code_since``: when the kept code
    was made; None if no code was kept. ``pending``: an address that waits to be confirmed.
    """

    shown_code: str = field(default="", repr=False)
    code_since: datetime | None = None
    address: MailAddress | None = None
    pending: str = field(default="", repr=False)

    @property
    def is_safe(self) -> bool:
        """Whether the household can get back in without this browser."""
        return self.code_since is not None or self.address is not None


@dataclass(frozen=True, kw_only=True)
class HouseholdAccess:
    """Makes, checks and ends the codes, links and addresses with which a household gets back in."""

    keys: AccessKeyTable
    households: HouseholdTable
    addresses: MailAddressTable

    def create_code(self, household_id: str) -> str:
        """Create the household's code, end its previous codes, and return the text of the new one."""
        key, text = self.keys.create(KeyKind.RECOVERY_CODE, household_id)
        self.keys.end_of([household_id], [KeyKind.RECOVERY_CODE], but=key.id)
        return text

    def keep_code(self, household_id: str, code: str) -> None:
        """Record that the household has kept this code; does nothing if the code has ended or isn't the household's."""
        key = self.keys.find(KeyKind.RECOVERY_CODE, code)
        if key is not None and key.owner == household_id:
            self.keys.set_details(key, _KEPT)

    def find(self, household_id: str, details: Mapping[str, str]) -> WaysBack:
        """Return the household's ways back in. ``details``: the session's, which may hold a code to show."""
        codes = self.keys.list_opened(household_id, KeyKind.RECOVERY_CODE)
        shown = details.get(CODE, "")
        is_valid = RecoveryTexts().read_id(shown) in [key.id for key in codes]  # The code may have ended.
        kept = [key.created_at for key in codes if key.details == _KEPT]
        pending = self.keys.list_opened(household_id, KeyKind.ADDRESS_LINK)
        return WaysBack(
            shown_code=shown if is_valid else "",
            code_since=kept[0] if kept else None,
            address=self.addresses.load(household_id),
            pending=pending[0].details.get(ADDRESS, "") if pending else "",
        )

    def use_code(self, code: str) -> tuple[Household, str] | None:
        """Use a household's code, and return the household with its new code; None if the code isn't valid."""
        key = self.keys.find(KeyKind.RECOVERY_CODE, code)
        household = self.households.load(key.owner) if key else None
        if household is None:
            return None
        # The new code is made before the old one ends, so that a crash in between doesn't lock the household out.
        new, text = self.keys.create(KeyKind.RECOVERY_CODE, household.id)
        if self.keys.use(KeyKind.RECOVERY_CODE, code) is None:  # Another browser was faster.
            self.keys.end(new.id)
            return None
        self.keys.end_of([household.id], [KeyKind.RECOVERY_CODE], but=new.id)
        return household, text

    def use_sign_in_link(self, link: str) -> Household | None:
        """Use a link that was mailed to a household, and return the household; None if the link isn't valid."""
        key = self.keys.use(KeyKind.SIGN_IN_LINK, _secret_of(link))
        return self.households.load(key.owner) if key else None

    def confirm_address(self, link: str) -> tuple[bool, MailAddress | None]:
        """Confirm the address to which a link was mailed; return whether the link was valid, and the replaced address.

        The replaced address is None if the household had none or the new address is the same.
        """
        key = self.keys.use(KeyKind.ADDRESS_LINK, _secret_of(link))
        before = self.addresses.load(key.owner) if key else None
        if key is None or not self.addresses.set(key.owner, key.details[ADDRESS], key.details[LANGUAGE]):
            return False, None
        self.keys.end_of([key.owner], [KeyKind.SIGN_IN_LINK])  # These links were mailed to the previous address.
        is_new = before and self.addresses.hash(before.address) != self.addresses.hash(key.details[ADDRESS])
        return True, before if is_new else None

    def remove_address(self, household_id: str) -> MailAddress | None:
        """Remove the household's address and end all mailed links; return the address, None if there was none."""
        before = self.addresses.load(household_id)
        self.addresses.remove(household_id)
        self.keys.end_of([household_id], [KeyKind.ADDRESS_LINK, KeyKind.SIGN_IN_LINK])
        return before


def _secret_of(link: str) -> str:
    """Return the secret of a link; ``link`` may be the whole link or only its secret."""
    return link.strip().rpartition("#")[2]


@dataclass(frozen=True, kw_only=True)
class HouseholdMails:
    """Mails links to households, and serves as the channel of their notices.

    ``signer``: signs the link with which a household switches its notices off.
    """

    keys: AccessKeyTable
    households: HouseholdTable
    addresses: MailAddressTable
    registry: Registry
    limiter: RateLimiter
    signer: Signer
    public_url: str
    mail_service: MailService = field(repr=False)

    @property
    def sends_mail(self) -> bool:
        return self.mail_service.sends_mail

    def mail_confirmation(self, household_id: str, address: str, language: str) -> str:
        """Mail the link that confirms a household's address; earlier links of this kind end.

        Returns an empty text if the link was mailed, else the reason: ``slow`` (too many mails to this address within
        an hour) or ``failed`` (the mail service did not accept the mail).
        """
        hash_ = self.addresses.hash(address)
        if self.limiter.closed_for_s(_CONFIRMATIONS, hash_):
            return "slow"
        details = {ADDRESS: address, LANGUAGE: language}
        key, secret = self.keys.create(KeyKind.ADDRESS_LINK, household_id, details=details)
        self.keys.end_of([household_id], [KeyKind.ADDRESS_LINK], but=key.id)
        links = [f"{self.public_url}{_CONFIRM_PATH}#{secret}"]
        if self._mail("access.mail.confirm", address, language, links, key.id):
            self.limiter.count_call(_CONFIRMATIONS, hash_)
            return ""
        self.keys.end(key.id)
        return "failed"

    def mail_sign_in(self, address: str) -> None:
        """Mail a sign-in link for each household that has confirmed this address; mail nothing if there is none.

        Runs after the response, so it raises nothing; a failure is only logged.
        """
        try:
            self._mail_sign_in(self.addresses.find(address))
        except WorkerError as error:
            log.warning("sign-in link not mailed", extra=fields(reason=str(error)))

    def mail_change(self, what: str, row: MailAddress) -> None:
        """Mail a notice that a household's code or address was changed; a failure is only logged.

        ``what``: ``new_code`` or ``new_address``. ``row``: where to mail; for ``new_address`` the previous address.
        """
        try:
            if not self.limiter.count_call(_CHANGES_TOLD, f"{what}:{self.addresses.hash(row.address)}"):
                self._mail(f"access.mail.{what}", row.address, row.language, [], f"{what}.{row.household_id}")
        except WorkerError as error:
            log.warning("change not mailed", extra=fields(reason=str(error)))

    def send(self, message: NoticeMessage) -> None:
        """Mail a notice to each household that has the account and wants notices. Raises NotDelivered.

        A second attempt may mail the notice again to some of these households, with the same message id.
        """
        notice = message.notice
        account = self.registry.accounts.get_existing(notice.account_id or "")
        # Closing the account has raised its session number, but the household still holds the number before.
        number = account.session_number - (notice.kind is NoticeKind.ACCOUNT_CLOSED)
        own = self.households.find_seeing({account.id: number}).get(account.id, [])
        rows = [row for row in self.addresses.load_many(own).values() if row.notices]
        faults = [fault for row in rows if (fault := self._mail_notice(row, notice, account))]
        if faults:
            raise NotDelivered(f"{notice.channel}: {faults[0]}")

    def _mail_sign_in(self, rows: Sequence[MailAddress]) -> None:
        # A household whose meters all have another holder by now gets no link.
        names = [(row, name) for row in rows if (name := self._name(row))]
        if not names or self.limiter.closed_for_s(SIGN_IN_MAILS, hash_ := self.addresses.hash(rows[0].address)):
            return
        made = [(name, *self.keys.create(KeyKind.SIGN_IN_LINK, row.household_id)) for row, name in names]
        links = [f"{name}\n{self.public_url}{_SIGN_IN_PATH}#{secret}" for name, _, secret in made]
        if self._mail("access.mail.sign_in", rows[0].address, rows[0].language, links, made[-1][1].id):
            self.limiter.count_call(SIGN_IN_MAILS, hash_)
            for _, key, _ in made:
                self.keys.end_of([key.owner], [KeyKind.SIGN_IN_LINK], but=key.id)

    def _name(self, row: MailAddress) -> str:
        """Return the last digits of the household's meters, as a text in its language; empty if it has no meter now."""
        accounts = self.list_accounts(row.household_id)
        return ", ".join(
            translate("account.meter", row.language, digits=account.last_digits or "…") for account in accounts
        )

    def list_accounts(self, household_id: str) -> list[Account]:
        """Return the accounts that the household still sees."""
        household = self.households.load(household_id)
        numbers = household.accounts if household else {}
        return [
            account
            for account in self.registry.accounts.get_many(list(numbers)).values()
            if account.session_number == numbers[account.id] and account.state is not AccountState.DELETED
        ]

    def _mail(self, key: str, address: str, language: str, links: Sequence[str], message_id: str) -> bool:
        paragraphs = [translate(f"{key}.text", language, address=self.public_url), *links]
        text = "\n\n".join([*paragraphs, translate(f"{key}.rules", language)]) + "\n"
        subject = translate("notice.prefix", language) + translate(f"{key}.subject", language)
        fault = self.mail_service.send(address, subject, text, message_id)
        if fault:
            log.warning("link not mailed", extra=fields(kind=key.rpartition(".")[2], reason=fault))
        return fault is None

    def _mail_notice(self, row: MailAddress, notice: Notice, account: Account) -> str | None:
        """Mail a notice to one household, and return why the mail was not accepted; None if it was accepted."""
        off = self.off_link(row.household_id)
        subject, text = compose_household_mail(notice, account, row.language, self.public_url, off)
        return self.mail_with_off(row, notice, subject, text, off)

    def mail_with_off(
        self, row: MailAddress, notice: Notice, subject: str, text: str, off: str, *, is_html: bool = False
    ) -> str | None:
        """Mail a text about a notice, and return why it was not accepted. ``off``: the link that switches such off."""
        message_id = f"{notice.id}.{row.household_id}"
        return self.mail_service.send(row.address, subject, text, message_id, unsubscribe_headers(off), is_html=is_html)

    def off_link(self, household_id: str) -> str:
        """Return the link that switches off the household's mails, except those that sign in."""
        return f"{self.public_url}{OFF_PATH}/{self.signer.make_ticket(household_id)}"


def unsubscribe_headers(off: str) -> dict[str, str]:
    """Return the headers by which a mail program offers the link ``off``, which switches such mails off."""
    return {"List-Unsubscribe": f"<{off}>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}


@dataclass(frozen=True, kw_only=True)
class HomeAccess:
    """The one household of a home's installation, and its password."""

    keys: AccessKeyTable
    households: HouseholdTable
    registry: Registry

    def find_household(self) -> Household | None:
        """Return the home's household with every account that exists now; None if there is no household yet."""
        household = self.households.find_first()
        return household and replace(household, accounts=self._numbers())

    def ensure_household(self) -> Household:
        """Return the home's household, which is created if needed.

        The current accounts are stored with the household, because notices read the stored accounts.
        """
        numbers = self._numbers()
        household = self.households.find_first() or self.households.create(numbers)
        if dict(household.accounts) != numbers:
            household = self.households.add(household.id, numbers) or household
        return household

    def _numbers(self) -> dict[str, int]:
        return {account.id: account.session_number for account in self.registry.accounts.list_accounts()}

    def has_password(self) -> bool:
        """Return whether the home has a password; without one nobody can sign in from other machines."""
        household = self.households.find_first()
        return household is not None and bool(self.keys.list_opened(household.id, KeyKind.RECOVERY_CODE))

    def create_password(self) -> str:
        """Create the home's password, end the previous one, and return the text of the new one."""
        household = self.ensure_household()
        key, text = self.keys.create(KeyKind.RECOVERY_CODE, household.id)
        self.keys.end_of([household.id], [KeyKind.RECOVERY_CODE], but=key.id)
        return text

    def check_password(self, text: str) -> Household | None:
        """Return the home's household if the text is the home's password; None for any other text."""
        key, household = self.keys.find(KeyKind.RECOVERY_CODE, text), self.find_household()
        return household if key and household and key.owner == household.id else None
