"""How a household gets in: by its recovery code, a mailed link, or in a home's installation by its one password.

A code is made with the household and works once; signing in with it makes the next one. Its text is kept in the details
of the session that made it, so that the page can show it until the person confirms that they have kept it.

One kind of mailed link confirms the household's address, the other signs in. Nothing shows whether an address is known:
the caller answers before ``mail_sign_in`` runs. A link's secret follows the #, which browsers don't send. A confirmed
address is told of what somebody with a copied session could change: the code, and the address itself.

Limits count mails, each kind apart. Two mails to sign in may be sent in the life of a link, so that the newest link is
valid until the next one may be sent, even if a stranger has asked for it.

A home's installation has one household, which sees all accounts. Its password is a recovery code that works any number
of times. It isn't kept as a text: a person who has forgotten it makes another.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from worker.accounts.notice_channels import Message, compose_household_mail
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
log = logging.getLogger("releve.access")
CODE: Final = "code"  # In the details of a session: the code that its person has not confirmed yet as kept.
_KEPT: Final[Mapping[str, str]] = {"kept": "yes"}  # The details of a code that its person has confirmed as kept.
ADDRESS, LANGUAGE = "address", "language"  # In the details of a link that confirms an address.
_CONFIRMATIONS: Final = Rate("mail-address", calls=3, window_s=3600)
SIGN_IN_MAILS: Final = Rate("mail-sign-in", calls=2, window_s=600)
_CHANGES_TOLD: Final = Rate("mail-change", calls=3, window_s=3600)
_SIGN_IN_PATH, _CONFIRM_PATH = "/sign-in/link", "/access/confirm"


@dataclass(frozen=True, slots=True)
class WaysBack:
    """The ways in which a household can get back in.

    ``shown_code``: the code that this session still shows; ``code_since``: when the kept code was made; ``pending``:
    an address that waits to be confirmed.
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
    """Makes, checks and ends a household's ways back in."""

    keys: AccessKeyTable
    households: HouseholdTable
    addresses: MailAddressTable

    def create_code(self, household_id: str) -> str:
        """Create the household's code, end the previous ones, and return its text."""
        key, text = self.keys.create(KeyKind.RECOVERY_CODE, household_id)
        self.keys.end_of([household_id], [KeyKind.RECOVERY_CODE], but=key.id)
        return text

    def keep_code(self, household_id: str, code: str) -> None:
        """Record that the household has kept this code; does nothing if the code has ended or isn't its own."""
        key = self.keys.find(KeyKind.RECOVERY_CODE, code)
        if key is not None and key.owner == household_id:
            self.keys.set_details(key, _KEPT)

    def find(self, household_id: str, details: Mapping[str, str]) -> WaysBack:
        """Return the household's ways back in; ``details`` are those of the session that asks."""
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

    def confirm_address(self, link: str) -> tuple[bool, MailAddress | None]:
        """Set the address to which this link was mailed; return whether the link was valid, and the old address."""
        key = self.keys.use(KeyKind.ADDRESS_LINK, _secret_of(link))
        before = self.addresses.load(key.owner) if key else None
        if key is None or not self.addresses.set(key.owner, key.details[ADDRESS], key.details[LANGUAGE]):
            return False, None
        self.keys.end_of([key.owner], [KeyKind.SIGN_IN_LINK])  # They were mailed to the previous address.
        is_new = before and self.addresses.hash(before.address) != self.addresses.hash(key.details[ADDRESS])
        return True, before if is_new else None

    def remove_address(self, household_id: str) -> MailAddress | None:
        """Remove the household's address, end all mailed links, and return the address."""
        before = self.addresses.load(household_id)
        self.addresses.remove(household_id)
        self.keys.end_of([household_id], [KeyKind.ADDRESS_LINK, KeyKind.SIGN_IN_LINK])
        return before


def _secret_of(link: str) -> str:
    """Return the secret of a link; the whole link may be pasted."""
    return link.strip().rpartition("#")[2]


@dataclass(frozen=True, kw_only=True)
class HouseholdMails:
    """Mails links to households, and is the channel of their notices. ``signer`` makes the link that switches these
    off.
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
        """Mail the link that confirms an address of a household; earlier links end.

        Returns an empty text, or why it wasn't mailed: ``slow`` (too many mails to this address within an hour) or
        ``failed`` (the mail service has not taken it).
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
        """Mail a link for each household that has confirmed this address; nothing if there is none.

        Runs after the response, so it raises nothing; a failure is only logged.
        """
        try:
            self._mail_sign_in(self.addresses.find(address))
        except WorkerError as error:
            log.warning("sign-in link not mailed", extra=fields(reason=str(error)))

    def mail_change(self, what: str, row: MailAddress) -> None:
        """Tell an address what has changed, ``new_code`` or ``new_address``; a failure is only logged."""
        try:
            if not self.limiter.count_call(_CHANGES_TOLD, f"{what}:{self.addresses.hash(row.address)}"):
                self._mail(f"access.mail.{what}", row.address, row.language, [], f"{what}.{row.household_id}")
        except WorkerError as error:
            log.warning("change not mailed", extra=fields(reason=str(error)))

    def send(self, message: Message) -> None:
        """Mail a notice to each household that has the account and wants notices. Raises NotDelivered.

        A second attempt may mail it again to some of them, with the same message id.
        """
        notice = message.notice
        account = self.registry.accounts.get_existing(notice.account_id or "")
        number = account.session_number - (notice.kind is NoticeKind.ACCOUNT_CLOSED)  # Closing the account raised it.
        # Only households that have shown the account since it had this session number.
        households = self.households.list_showing(account.id)
        own = [household.id for household in households if household.accounts[account.id] >= number]
        rows = [row for row in map(self.addresses.load, own) if row is not None and row.notices]
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
        """Return the last digits of a household's meters, as a text in its language."""
        household = self.households.load(row.household_id)
        numbers = household.accounts if household else {}
        accounts = self.registry.accounts.get_many(list(numbers))
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

    def _mail_notice(self, row: MailAddress, notice: Notice, account: Account) -> str | None:
        """Mail a notice to one household, and return why it was not taken, or None."""
        off = f"{self.public_url}{OFF_PATH}/{self.signer.make_ticket(row.household_id)}"
        headers = {"List-Unsubscribe": f"<{off}>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}
        subject, text = compose_household_mail(notice, account, row.language, self.public_url, off)
        return self.mail_service.send(row.address, subject, text, f"{notice.id}.{row.household_id}", headers)


@dataclass(frozen=True, kw_only=True)
class HomeAccess:
    """The household of a home and its password."""

    keys: AccessKeyTable
    households: HouseholdTable
    registry: Registry

    def find_household(self) -> Household | None:
        """Return the home's household with every account that exists now; None if there is no household yet."""
        household = self.households.find_first()
        return household and replace(household, accounts=self._numbers())

    def ensure_household(self) -> Household:
        """Return the home's household, created if needed, and store its accounts, because notices read stored ones."""
        numbers = self._numbers()
        household = self.households.find_first() or self.households.create(numbers)
        if dict(household.accounts) != numbers:
            household = self.households.add(household.id, numbers) or household
        return household

    def _numbers(self) -> dict[str, int]:
        return {account.id: account.session_number for account in self.registry.accounts.list_accounts()}

    def has_password(self) -> bool:
        """Return whether there is a password; without one nobody can sign in from other machines."""
        household = self.households.find_first()
        return household is not None and bool(self.keys.list_opened(household.id, KeyKind.RECOVERY_CODE))

    def create_password(self) -> str:
        """Create the home's password, end the previous one, and return its text."""
        household = self.ensure_household()
        key, text = self.keys.create(KeyKind.RECOVERY_CODE, household.id)
        self.keys.end_of([household.id], [KeyKind.RECOVERY_CODE], but=key.id)
        return text

    def check_password(self, text: str) -> Household | None:
        """Return the home's household if this is its password; None for any other text."""
        key, household = self.keys.find(KeyKind.RECOVERY_CODE, text), self.find_household()
        return household if key and household and key.owner == household.id else None
