"""Notices to households: one mail in the household's language, to the address that it has confirmed.

The web application sends them, which alone can read addresses. A household that had the account before another holder
gets none: the session number that it knows is an older one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from worker.accounts.notice_services import MailService
from worker.accounts.notice_texts import Message, write_day
from worker.domain.account import Account
from worker.domain.consents import Notice, NoticeKind
from worker.errors import NotDelivered
from worker.stores.encryption import Signer
from worker.stores.registry.accounts import AccountRegistry
from worker.stores.registry.households import HouseholdTable, MailAddress, MailAddressTable
from worker.texts import translate, translate_code

OFF_PATH = "/access/notices/off"


@dataclass(frozen=True, kw_only=True)
class HouseholdMails:
    """The channel of notices to households. ``signer`` makes the link that switches them off."""

    households: HouseholdTable
    addresses: MailAddressTable
    registry: AccountRegistry
    signer: Signer
    public_url: str
    mail_service: MailService = field(repr=False)

    def send(self, message: Message) -> None:
        """Mail a notice to each household that has the account and wants notices. Raises NotDelivered.

        A second attempt may mail it again to one of several; the mail has the same id then.
        """
        notice = message.notice
        account = self.registry.get_existing(notice.account_id or "")
        faults = [fault for row in self._find_addresses(account) if (fault := self._mail(row, notice, account))]
        if faults:
            raise NotDelivered(f"{notice.channel}: {faults[0]}")

    def _find_addresses(self, account: Account) -> list[MailAddress]:
        households = self.households.list_showing(account.id)
        own = [household for household in households if household.accounts[account.id] == account.session_number]
        rows = [self.addresses.load(household.id) for household in own]
        return [row for row in rows if row is not None and row.notices]

    def _mail(self, row: MailAddress, notice: Notice, account: Account) -> str | None:
        """Mail a notice to one household, and return why it was not taken."""
        off = f"{self.public_url}{OFF_PATH}/{self.signer.make_ticket(row.household_id)}"
        headers = {"List-Unsubscribe": f"<{off}>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}
        subject, text = compose_household_mail(notice, account, row.language, self.public_url, off)
        return self.mail_service.send(row.address, subject, text, f"{notice.id}.{row.household_id}", headers)


def compose_household_mail(
    notice: Notice, account: Account, language: str, public_url: str, off: str
) -> tuple[str, str]:
    """Return subject and text of a notice in the words of the household's pages."""
    facts = {
        "supplier": translate(f"supplier.{account.supplier}", language),
        "at_supplier": translate(f"supplier.{account.supplier}.stop", language),
        "day": write_day(notice.about, language),
    }
    key = {NoticeKind.ACTION_NEEDED: "stopped", NoticeKind.CURVE_NOT_ACTIVATED: "curve"}.get(notice.kind, "ends")
    subject = translate("notice.prefix", language) + translate(f"mail.notice.{key}.subject", language, **facts)
    advice = translate_code(notice.reason, "advice", language, **facts) if key == "stopped" else ""
    paragraphs = [
        translate("mail.notice.meter", language, digits=account.last_digits or "…"),
        advice or translate(f"mail.notice.{key}.text", language, **facts),
        translate("mail.notice.open", language),
        public_url,
        translate("mail.notice.off", language),
        off,
    ]
    return subject, "\n\n".join(paragraphs) + "\n"
