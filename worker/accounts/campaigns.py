"""Campaigns of consents: the choice of accounts, the operator's list, the sample for the operator, and the mails.

Only the web application and the commands beside it have the key that seals addresses. A mail to an address of a list
says nothing of the account, because the address may be somebody else's. Its links are tickets, so no secret is stored,
and a repeated mail has the same links and the same Message-ID.
"""

from __future__ import annotations

import csv
import io
import logging
import threading
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import islice
from typing import Final

from worker.accounts.household_access import HouseholdMails, unsubscribe_headers
from worker.accounts.notice_services import ADDRESS_REFUSED, is_mail_address
from worker.clients.endpoints import Preset
from worker.clients.suppliers import SUPPLIERS
from worker.domain.account import OPEN_STATES, Account, AccountState
from worker.domain.campaign import LINK_LIFE, AddressSource, Campaign, Recipient, RecipientState, is_mailing_hour
from worker.domain.windows import PARIS, civil_date
from worker.errors import ConsentStopped, DataError, OperatorFault, WorkerError
from worker.logs import fields
from worker.stores.database import new_id, place_of
from worker.stores.encryption import Sealer
from worker.stores.registry import Registry
from worker.stores.registry.account_rows import fold_reference
from worker.stores.registry.campaigns import pages
from worker.stores.registry.households import MailAddress
from worker.stores.registry.tables import CAMPAIGN_RECIPIENTS
from worker.texts import LANGUAGES, Message, format_day, translate

log = logging.getLogger("releve.campaigns")
RENEW_PATH: Final = "/renew"
CAMPAIGN_TICKET: Final = "campaign:"
MOST_LINES: Final = 100_000
_NO_ADDRESS: Final = "no address: it was removed, its mails were switched off, or no key reads it"
_LEFT_OUT: Final = ("not_renewable", "busy", "mails_off", "no_address")
_COUNTS: Final = ("accounts", "mails", "confirmed", "listed", *_LEFT_OUT, "outside")
_MOST_DAYS: Final = 40  # Working days; in CAMPAIGN_LIFE there are at least 42, without holidays.
_ROUND: Final = 50  # Mails, after which notices have their turn.
_ROWS: Final = 10
# Each recipient of a mail with its account and present address; None: it may not be mailed. Those with a confirmed
# address come first.
Letter = Sequence[tuple[Recipient, Account, MailAddress | None]]


class CampaignRefused(DataError):
    """A campaign can't be added. ``fault`` says why; ``lines``: the faults of a list, one for each line with one."""

    def __init__(self, fault: Message | str, lines: Sequence[Message] = ()) -> None:
        super().__init__(str(fault))
        self.fault, self.lines = fault, tuple(lines)


@dataclass(frozen=True, kw_only=True)
class CampaignChoice:
    """Which accounts to ask. ``expiring``: those whose consent has ended or ends within this time.

    ``csv``: the text of the operator's list. Without ``expiring`` and ``state``, its accounts are the choice.
    """

    expiring: timedelta | None = None
    state: AccountState | None = None
    tenant: str | None = None
    csv: str | None = field(default=None, repr=False)
    per_day: int

    def __str__(self) -> str:
        """Return the options, without personal data."""
        days = None if self.expiring is None else f"{self.expiring.days}d"
        options = {"--expiring": days, "--state": self.state, "--tenant": self.tenant}
        given = [f"{name} {value}" for name, value in options.items() if value is not None]
        return " ".join(given if self.csv is None else [*given, "--csv"])


@dataclass(frozen=True, slots=True)
class CampaignRow:
    """A recipient as operators see it. ``address``: masked (``a…@example.org``); empty if it may not be mailed."""

    account: str
    reference: str | None
    tenant: str
    last_day: date | None
    source: AddressSource
    address: str
    state: RecipientState
    mailed_at: datetime | None
    error: str


def read_list(text: str) -> tuple[bool, list[tuple[int, str, str]]]:
    """Return whether the operator's list names references instead of accounts, and its lines.

    A line has its number, its reference or account, and its address. Raises CampaignRefused with the faults of all
    lines: an empty field, no mail address, a reference, account or address twice.
    """
    rows = _read_rows(text.removeprefix("\ufeff"))
    titles = [cell.lower() for cell in (rows[0][1] if rows else [])]
    names = [title for title in titles if title in ("reference", "account")]
    if len(names) != 1 or titles.count("mail") != 1:
        raise CampaignRefused(Message("campaign.refused.header", {}))
    if len(rows) > MOST_LINES + 1:
        raise CampaignRefused(Message("campaign.refused.long", {"most": MOST_LINES}))
    lines, faults, seen = [], [], dict[tuple[str, str], int]()
    for number, row in rows[1:]:
        cells = dict(zip(titles, row, strict=False))
        name, address = cells.get(names[0], ""), cells.get("mail", "")
        lines.append((number, name, address))
        name_first = seen.setdefault(("name", fold_reference(name)), number)
        address_first = seen.setdefault(("address", address.casefold()), number)
        if any(row[len(titles) :]):  # A comma without quotes has moved the fields.
            faults.append(("more", number, 0))
        elif not name or not address:
            faults.append(("empty", number, 0))
        elif not (address.isascii() and is_mail_address(address)):
            faults.append(("no_address", number, 0))
        elif name_first != number:
            faults.append(("name_twice", number, name_first))
        elif address_first != number:
            faults.append(("address_twice", number, address_first))
    if faults:
        raise _refuse_lines(faults)
    return names[0] == "reference", lines


def _read_rows(text: str) -> list[tuple[int, list[str]]]:
    """Return the fields of each line that isn't empty, with the line's number."""
    delimiter = ";" if ";" in text.partition("\n")[0] else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        return [(reader.line_num, [cell.strip() for cell in row]) for row in reader if row]
    except csv.Error:
        raise _refuse_lines([("unreadable", reader.line_num, 0)]) from None


def _refuse_lines(faults: Iterable[tuple[str, int, int]]) -> CampaignRefused:
    """Return the refusal for faults, each with its line and the line before that it repeats, if any."""
    lines = [Message(f"campaign.line.{what}", {"line": line, "first": first}) for what, line, first in faults]
    return CampaignRefused(Message("campaign.refused.lines", {"count": len(lines)}), lines)


@dataclass(frozen=True, kw_only=True)
class CampaignDesk:
    """Adds campaigns, and sends their mails.

    ``presets``: of the suppliers that are set up. ``language``: the operator's.
    """

    registry: Registry
    mails: HouseholdMails
    sealer: Sealer
    presets: Mapping[str, Preset]
    language: str

    def add(self, choice: CampaignChoice, by: str) -> tuple[Campaign, Mapping[str, int]]:
        """Mail the operator a sample, then create the campaign, stopped, and return it with its counts.

        The counts are numbers of accounts, but ``mails``, and ``outside``: lines of the list. Raises CampaignRefused
        and StoreUnavailable; nothing is created then.
        """
        if choice.expiring is None and choice.state is None and choice.csv is None:
            raise CampaignRefused(Message("campaign.refused.no_choice", {}))
        campaign = Campaign(new_id(), by, self.registry.now(), str(choice), choice.per_day)
        counts = dict.fromkeys(_COUNTS, 0)
        accounts, listed = self._choose(choice, counts)
        recipients = list(self._find_recipients(accounts, listed, campaign, counts))
        counts["mails"] = mails = len({one.mail_id for one in recipients})
        if not any(counts.values()):
            raise CampaignRefused(Message("campaign.refused.none", {}))
        if not mails:
            raise CampaignRefused(Message("campaign.refused.nobody", counts))
        if mails > choice.per_day * _MOST_DAYS:
            raise CampaignRefused(Message("campaign.refused.slow", {"mails": mails, "least": -(-mails // _MOST_DAYS)}))
        self._mail_sample(campaign, recipients)
        if not self.registry.campaigns.create(campaign, recipients):
            raise CampaignRefused(Message("campaign.refused.taken", {}))
        log.info("campaign added", extra=fields(id=campaign.id, by=by, **counts))
        return campaign, counts

    def _choose(self, choice: CampaignChoice, counts: dict[str, int]) -> tuple[list[Account], dict[str, str]]:
        """Return the chosen accounts, and the list's address by account. Raises CampaignRefused."""
        lines = [] if choice.csv is None else self._read_accounts(choice.csv)
        listed = {account.id: address for address, accounts in lines for account in accounts}
        if choice.expiring is None and choice.state is None:
            of_list = [account for _, accounts in lines for account in accounts]
            chosen = {one.id: one for one in of_list if choice.tenant in (None, one.tenant)}
        else:
            until = None if choice.expiring is None else civil_date(self.registry.now()) + choice.expiring
            ends = self.registry.consents.list_accounts_by_consent_end
            chosen = {one.id: one for one in ends(until, state=choice.state, tenant=choice.tenant)}
        counts["outside"] = sum(all(account.id not in chosen for account in accounts) for _, accounts in lines)
        return list(chosen.values()), listed

    def _read_accounts(self, text: str) -> list[tuple[str, Sequence[Account]]]:
        """Return the address of each line of the operator's list, and its accounts. Raises CampaignRefused."""
        by_reference, lines = read_list(text)
        found = [(number, address, self._find_accounts(name, by_reference)) for number, name, address in lines]
        if unknown := [("unknown", number, 0) for number, _, accounts in found if not accounts]:
            raise _refuse_lines(unknown)
        return [(address, accounts) for _, address, accounts in found]

    def _find_accounts(self, name: str, by_reference: bool) -> Sequence[Account]:
        if by_reference:
            return self.registry.accounts.find_by_reference(name)
        account = self.registry.accounts.find_existing(name)
        return [account] if account else []

    def _find_recipients(
        self, accounts: Sequence[Account], listed: Mapping[str, str], campaign: Campaign, counts: dict[str, int]
    ) -> Iterator[Recipient]:
        mail_ids, hash_of = defaultdict[str, str](new_id), self.mails.addresses.hash
        busy, confirmed = set[str](), dict[str, list[MailAddress]]()
        for page in pages(accounts):
            busy |= self.registry.campaigns.find_busy([account.id for account in page])
            confirmed |= self._find_confirmed(page)
        for account in accounts:
            rows = confirmed.get(account.id, [])
            # An account of two households with one address gets one mail.
            to = {hash_of(row.address): row for row in rows if row.notices}
            if not rows and account.id in listed:
                to = {hash_of(listed[account.id]): _of_list(listed[account.id], campaign.created_at)}
            left_out = (not self._is_renewable(account), account.id in busy, bool(rows) and not to, not to)
            if any(left_out):
                counts[_LEFT_OUT[left_out.index(True)]] += 1
                continue
            counts["accounts"] += 1
            counts["confirmed" if rows else "listed"] += 1
            for hash_, row in to.items():
                recipient_id = new_id()
                yield Recipient(
                    id=recipient_id,
                    campaign_id=campaign.id,
                    account_id=account.id,
                    mail_id=mail_ids[hash_],
                    created_at=campaign.created_at,
                    household_id=row.household_id or None,
                    sealed_address=None if rows else self.sealer.seal(row.address, _place_of(recipient_id)),
                    next_attempt_at=campaign.created_at,
                )

    def _find_confirmed(self, accounts: Iterable[Account]) -> dict[str, list[MailAddress]]:
        """Return by account the confirmed addresses of the households that still see it."""
        seeing = self.mails.households.find_seeing({one.id: one.session_number for one in accounts})
        rows = self.mails.addresses.load_many({one for households in seeing.values() for one in households})
        return {id_: [rows[one] for one in households if one in rows] for id_, households in seeing.items()}

    def _is_renewable(self, account: Account) -> bool:
        has_page = account.supplier in self.presets and SUPPLIERS[account.supplier].consent is not None
        return has_page and account.state in OPEN_STATES and bool(account.usage_point_id) and not account.files_only

    def _mail_sample(self, campaign: Campaign, recipients: Sequence[Recipient]) -> None:
        """Mail the operator one mail of each kind. Raises CampaignRefused if it isn't accepted."""
        kinds = {one.source: one for one in recipients}
        mails = [
            "\n\n".join(self._compose([each], self.language if each[0].household_id else ""))
            for each in self._look_up(kinds.values())
        ]
        subject = translate("notice.prefix", self.language) + translate("campaign.sample.subject", self.language)
        text = "\n\n----\n\n".join([translate("campaign.sample.text", self.language, id=campaign.id), *mails])
        if fault := self.mails.mail_service.send_to_own(subject, text, campaign.id):
            raise CampaignRefused(Message("campaign.refused.sample", {"fault": fault}))

    def send_due(self, stop: threading.Event | None = None) -> bool:
        """Send a round of due mails; return whether the round was full, so that more mails may be due.

        The round ends early if the mail service fails, or when ``stop`` is set. Raises StoreUnavailable.
        """
        for _ in range(_ROUND):
            if (stop is not None and stop.is_set()) or not is_mailing_hour(self.registry.now()):
                return False
            recipients = self.registry.campaigns.claim_next()
            if not recipients or not self._send(recipients):
                return False
        return True

    def _send(self, recipients: Sequence[Recipient]) -> bool:
        """Send a claimed mail and record what came of it; return False if the mail service is at fault."""
        campaigns, first = self.registry.campaigns, recipients[0]
        try:
            fault = self._mail(recipients)
        except WorkerError:
            raise
        except Exception as error:  # noqa: BLE001 - a bug stops no other mail; its text may hold an address
            fault = type(error).__name__
        if fault is None:
            campaigns.mark_mailed(first.mail_id)
        elif fault == ADDRESS_REFUSED:
            campaigns.refuse_address(first.mail_id)
        else:
            campaigns.record_failure(first.mail_id, fault)
        extra = fields(id=first.mail_id, campaign=first.campaign_id, attempts=first.attempts, reason=fault or "")
        line = "campaign mail not sent" if fault else "campaign mail sent"
        log.log(logging.WARNING if fault else logging.INFO, line, extra=extra)
        return fault in (None, ADDRESS_REFUSED, _NO_ADDRESS)

    def _mail(self, recipients: Sequence[Recipient]) -> str | None:
        """Mail these recipients; return why that failed, or None.

        A household may have another address by now, so there may be several letters.
        """
        letters = defaultdict[str, list[tuple[Recipient, Account, MailAddress]]](list)
        # Those of households come first, because they have a language.
        for one, account, found in self._look_up(sorted(recipients, key=lambda one: one.source)):
            if found:
                letters[self.mails.addresses.hash(found.address)].append((one, account, found))
        for letter in letters.values():
            first, _, to = letter[0]
            subject, text = self._compose(letter, to.language)
            headers = unsubscribe_headers(self.mails.off_link(to.household_id)) if to.household_id else {}
            if fault := self.mails.mail_service.send(to.address, subject, text, first.mail_id, headers):
                return fault
        return None if letters else _NO_ADDRESS

    def _look_up(self, recipients: Collection[Recipient]) -> Letter:
        accounts = self.registry.accounts.get_many({one.account_id for one in recipients})
        confirmed = self._find_confirmed(accounts.values())
        found = {one.id: self._find_address(one, confirmed.get(one.account_id, [])) for one in recipients}
        return [(one, accounts[one.account_id], found[one.id]) for one in recipients]

    def _find_address(self, one: Recipient, confirmed: Iterable[MailAddress]) -> MailAddress | None:
        if one.household_id is None:
            with suppress(OperatorFault):
                return _of_list(self.sealer.unseal(one.sealed_address or "", _place_of(one.id)), one.created_at)
            return None
        return next((row for row in confirmed if row.household_id == one.household_id and row.notices), None)

    def _compose(self, letter: Letter, language: str) -> tuple[str, str]:
        """Return the subject and the text of a mail; in both languages if ``language`` is empty."""
        languages = (language,) if language else LANGUAGES
        titles = {tenant.id: tenant.title for tenant in self.registry.tenants.list_tenants()}
        names = {titles.get(account.tenant) or translate("app.name", languages[0]): None for _, account, _ in letter}
        service = ", ".join(names)
        subject = " / ".join(translate("campaign.mail.subject", each) for each in languages)
        texts = ["\n\n".join(self._write(letter, each, service)) for each in languages]
        prefix = translate("campaign.mail.prefix", languages[0], service=service)
        return prefix + subject, "\n\n--\n\n".join(texts) + "\n"

    def _write(self, letter: Letter, language: str, service: str) -> Iterator[str]:
        names = {account.supplier: translate(f"supplier.{account.supplier}", language) for _, account, _ in letter}
        first, supplier = letter[0][0], ", ".join(names.values())
        yield translate(f"campaign.mail.{first.source}", language, service=service, supplier=supplier)
        for one, account, _ in letter:
            what = self._describe(one, account, language, names[account.supplier])
            has_share = self.presets[account.supplier].consent_style == "autorisation"
            yield f"{what} {translate('renew.share', language)}" if has_share else what
            # With a working link in the sample, the operator could answer for the household.
            ticket = self.mails.signer.make_ticket(one.id, CAMPAIGN_TICKET) if one.claimed_at else "…"
            yield f"{self.mails.public_url}{RENEW_PATH}#{ticket}"
        end = ((first.claimed_at or first.created_at) + LINK_LIFE).astimezone(PARIS)
        for part in ("rules", "no", "person"):
            day = format_day(end.date(), language)
            yield translate(f"campaign.mail.{part}", language, day=day, time=f"{end:%H:%M}")

    def _describe(self, one: Recipient, account: Account, language: str, supplier: str) -> str:
        """Return which account a link is for and why; nothing of the account if the address comes from a list."""
        if one.source is AddressSource.LIST:
            return translate("campaign.mail.meter.list", language, supplier=supplier)
        why, last = "other", account.consent_until
        if account.reason == ConsentStopped.code:
            why = "stopped"
        elif last is not None:
            why = "ended" if account.consent_ended_by(civil_date(self.registry.now())) else "ends"
        meter = translate("campaign.mail.meter", language, digits=account.last_digits, supplier=supplier)
        return f"{meter} {translate(f'campaign.mail.{why}', language, day=last and format_day(last, language))}"

    def first_rows(self, campaign_id: str) -> list[CampaignRow]:
        """Return some of the recipients that have not answered, to look at."""
        return list(islice(self.left_rows(campaign_id), _ROWS))

    def left_rows(self, campaign_id: str) -> Iterator[CampaignRow]:
        """Yield the recipients that have not answered, and those whose address was refused."""
        for page in self.registry.campaigns.left_pages(campaign_id):
            yield from self._rows(page)

    def _rows(self, recipients: Sequence[Recipient]) -> Iterator[CampaignRow]:
        references = self.registry.consents.load_references([one.account_id for one in recipients])
        for one, account, found in self._look_up(recipients):
            name, _, domain = found.address.rpartition("@") if found else ("", "", "")
            yield CampaignRow(
                account=account.id,
                reference=references.get(account.id),
                tenant=account.tenant,
                last_day=account.consent_until,
                source=one.source,
                address=f"{name[:1]}…@{domain}" if found else "",
                state=one.state,
                mailed_at=one.mailed_at,
                error=one.last_error,
            )


def _of_list(address: str, at: datetime) -> MailAddress:
    """Return an address of a list, which has no household and no language."""
    return MailAddress("", address, "", at)


def _place_of(recipient_id: str) -> str:
    return place_of(CAMPAIGN_RECIPIENTS.c.sealed_address, recipient_id)
