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
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from itertools import islice
from typing import Final, TypeVar

from worker.accounts.household_access import HouseholdMails, unsubscribe_headers
from worker.accounts.notice_services import ADDRESS_REFUSED, is_mail_address
from worker.clients.endpoints import Preset
from worker.clients.suppliers import SUPPLIERS
from worker.domain.account import OPEN_STATES, Account, AccountState
from worker.domain.campaign import (
    LINK_LIFE,
    AddressSource,
    Campaign,
    Recipient,
    RecipientState,
    is_mailing_hour,
)
from worker.domain.windows import PARIS, civil_date
from worker.errors import ConsentStopped, DataError, OperatorFault, WorkerError
from worker.logs import fields
from worker.stores.database import new_id, place_of
from worker.stores.encryption import Sealer
from worker.stores.registry import Registry
from worker.stores.registry.tables import CAMPAIGN_RECIPIENTS
from worker.texts import LANGUAGES, Message, format_day, translate

log = logging.getLogger("releve.campaigns")
RENEW_PATH: Final = "/renew"
CAMPAIGN_TICKET: Final = "campaign:"
MOST_LINES: Final = 100_000
_NO_ADDRESS: Final = "no address: it was removed, its mails were switched off, or no key reads it"
_MOST_DAYS: Final = 40  # Working days; in CAMPAIGN_LIFE there are at least 42, without holidays.
_ROUND: Final = 50  # Mails, after which notices have their turn.
_ROWS: Final = 10
_PAGE: Final = 500
Item = TypeVar("Item")


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
        options = {
            "--expiring": self.expiring and f"{self.expiring.days}d",
            "--state": self.state,
            "--tenant": self.tenant,
        }
        given = [f"{name} {value}" for name, value in options.items() if value is not None]
        return " ".join([*given, *(["--csv"] if self.csv is not None else [])])


@dataclass(frozen=True, slots=True)
class PreviewRow:
    account: str
    reference: str | None
    tenant: str
    last_day: date | None
    source: AddressSource
    address: str  # Masked: a…@example.org.


@dataclass(frozen=True, slots=True)
class Preview:
    """A campaign that was added. ``counts``: numbers of accounts, but ``mails``, and ``outside``: lines of the list."""

    campaign: Campaign
    counts: Mapping[str, int]
    rows: Sequence[PreviewRow]


@dataclass(frozen=True, slots=True)
class LeftRow:
    """A recipient that hasn't answered, without its address."""

    account: str
    reference: str | None
    state: RecipientState
    mailed_at: datetime | None
    error: str


@dataclass(frozen=True, slots=True)
class ListLine:
    number: int
    name: str  # The reference or the account, trimmed.
    address: str = field(repr=False)


def read_list(text: str) -> tuple[bool, list[ListLine]]:
    """Return whether the operator's list names references instead of accounts, and its lines.

    Raises CampaignRefused with the faults of all lines: an empty field, no mail address, a name or address twice.
    """
    rows, lines, faults = _read_rows(text), [], []
    _, header = next(rows, (0, []))
    titles = [cell.lower() for cell in header]
    names = [title for title in titles if title in ("reference", "account")]
    if len(names) != 1 or titles.count("mail") != 1:
        raise CampaignRefused(Message("campaign.refused.header", {}))
    at, mail = titles.index(names[0]), titles.index("mail")
    first: dict[tuple[str, str], int] = {}
    for number, row in rows:
        line = ListLine(number, *(row[place] if place < len(row) else "" for place in (at, mail)))
        keys = [("name", _fold(line.name)), ("address", _fold(line.address))]
        twice = [(what, first[what, text]) for what, text in keys if first.setdefault((what, text), number) != number]
        if not line.name or not line.address:
            faults.append(Message("campaign.line.empty", {"line": number}))
        elif not (line.address.isascii() and is_mail_address(line.address)):
            faults.append(Message("campaign.line.no_address", {"line": number}))
        elif twice:
            faults.append(Message(f"campaign.line.{twice[0][0]}_twice", {"line": number, "first": twice[0][1]}))
        lines.append(line)
    if len(lines) > MOST_LINES:
        raise CampaignRefused(Message("campaign.refused.long", {"most": MOST_LINES}))
    if faults:
        raise _refuse_lines(faults)
    return names[0] == "reference", lines


def _read_rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows with the numbers of their lines; a blank line is no row. Raises CampaignRefused."""
    head = text.removeprefix("\ufeff").partition("\n")[0]
    content = io.StringIO(text.removeprefix("\ufeff"), newline="")
    reader = csv.reader(content, delimiter=";" if ";" in head else ",", strict=True)
    try:
        yield from ((reader.line_num, [cell.strip() for cell in row]) for row in reader if row)
    except csv.Error:
        raise _refuse_lines([Message("campaign.line.unreadable", {"line": reader.line_num})]) from None


def _refuse_lines(faults: Sequence[Message]) -> CampaignRefused:
    return CampaignRefused(Message("campaign.refused.lines", {"count": len(faults)}), faults)


def _fold(text: str) -> str:
    """Return a form in which texts are equal that the registry takes for the same reference or address."""
    return " ".join(unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold()).split())


def mask_address(address: str) -> str:
    return f"{address[:1]}…@{address.rpartition('@')[2]}"


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

    def add(self, choice: CampaignChoice, by: str) -> Preview:
        """Mail the operator a sample, then create the campaign, stopped.

        Raises CampaignRefused, AccountsTaken and StoreUnavailable; nothing is created then.
        """
        if choice.expiring is None and choice.state is None and choice.csv is None:
            raise CampaignRefused(Message("campaign.refused.no_choice", {}))
        campaign = Campaign(new_id(), by, self.registry.now(), str(choice), choice.per_day)
        accounts, listed, outside = self._choose(choice)
        counts = Counter(outside=outside)
        found = {  # By account and address, so that two households with one address get one mail.
            (one.account_id, one.mail_id): one
            for page in _pages(accounts)
            for one in self._find_recipients(page, listed, campaign, counts)
        }
        mail_ids = {hash_: new_id() for _, hash_ in found}
        recipients = [replace(one, mail_id=mail_ids[one.mail_id]) for one in found.values()]
        counts["mails"] = len(mail_ids)
        names = ("accounts", "confirmed", "listed", "no_address", "mails_off", "busy", "not_renewable")
        totals = {name: counts[name] for name in (*names, "mails", "outside")}
        if not recipients:
            raise CampaignRefused(Message("campaign.refused.nobody", totals))
        if len(mail_ids) > choice.per_day * _MOST_DAYS:
            least = -(-len(mail_ids) // _MOST_DAYS)
            raise CampaignRefused(Message("campaign.refused.slow", {"mails": len(mail_ids), "least": least}))
        self._mail_sample(campaign, recipients)
        self.registry.campaigns.create(campaign, recipients)
        log.info("campaign added", extra=fields(id=campaign.id, by=by, **totals))
        return Preview(campaign, totals, self._rows(recipients[:: -(-len(recipients) // _ROWS)]))

    def _choose(self, choice: CampaignChoice) -> tuple[list[Account], dict[str, str], int]:
        """Return the chosen accounts, the list's address of each, and how many of its lines are outside the choice."""
        by_line = self._read_accounts(choice.csv) if choice.csv is not None else []
        listed = {account.id: address for address, accounts in by_line for account in accounts}
        if choice.expiring is None and choice.state is None:
            every = {account.id: account for _, accounts in by_line for account in accounts}.values()
            chosen = [account for account in every if choice.tenant in (None, account.tenant)]
        else:
            until = None if choice.expiring is None else civil_date(self.registry.now()) + choice.expiring
            consents = self.registry.consents
            chosen = consents.list_accounts_by_consent_end(until, state=choice.state, tenant=choice.tenant)
        ids = {account.id for account in chosen}
        outside = sum(ids.isdisjoint(account.id for account in accounts) for _, accounts in by_line)
        return chosen, listed, outside

    def _read_accounts(self, text: str) -> list[tuple[str, list[Account]]]:
        """Return the address of each line of the operator's list, and its accounts. Raises CampaignRefused."""
        by_reference, lines = read_list(text)
        table, found, unknown = self.registry.accounts, [], []
        for page in _pages(lines):
            names = [line.name for line in page]
            if by_reference:
                known = table.find_by_references(names)
            else:
                existing = [one for one in table.get_many(names).values() if one.state is not AccountState.DELETED]
                known = {account.id: [account] for account in existing}
            found += [(line.address, known.get(line.name, [])) for line in page]
            unknown += [line.number for line in page if line.name not in known]
        if unknown:
            raise _refuse_lines([Message("campaign.line.unknown", {"line": number}) for number in unknown])
        return found

    def _find_recipients(
        self, accounts: Sequence[Account], listed: Mapping[str, str], campaign: Campaign, counts: Counter[str]
    ) -> Iterator[Recipient]:
        """Yield the recipients of a page of accounts, each with the hash of its address as ``mail_id``."""
        busy = self.registry.campaigns.find_busy([account.id for account in accounts])
        seeing = self.mails.households.find_seeing({account.id: account.session_number for account in accounts})
        addresses = self.mails.addresses.load_many({one for households in seeing.values() for one in households})
        for account in accounts:
            confirmed = [addresses[one] for one in seeing.get(account.id, ()) if one in addresses]
            told = [row for row in confirmed if row.notices]
            if not self._is_renewable(account):
                counts["not_renewable"] += 1
            elif account.id in busy:
                counts["busy"] += 1
            elif confirmed and not told:
                counts["mails_off"] += 1
            elif not told and account.id not in listed:
                counts["no_address"] += 1
            else:
                counts.update(accounts=1, **{"confirmed" if told else "listed": 1})
                yield from (self._recipient(account, campaign, row.address, row.household_id) for row in told)
                if not told:
                    yield self._recipient(account, campaign, listed[account.id])

    def _is_renewable(self, account: Account) -> bool:
        has_page = account.supplier in self.presets and SUPPLIERS[account.supplier].consent is not None
        is_open = account.state in OPEN_STATES and account.usage_point_id is not None
        return has_page and is_open and not account.files_only

    def _recipient(
        self, account: Account, campaign: Campaign, address: str, household_id: str | None = None
    ) -> Recipient:
        recipient_id, at = new_id(), campaign.created_at
        return Recipient(
            id=recipient_id,
            campaign_id=campaign.id,
            account_id=account.id,
            mail_id=self.mails.addresses.hash(address),
            created_at=at,
            household_id=household_id,
            sealed_address=None if household_id else self.sealer.seal(address, _place_of(recipient_id)),
            next_attempt_at=at,
        )

    def _mail_sample(self, campaign: Campaign, recipients: Sequence[Recipient]) -> None:
        """Mail the operator one mail of each kind. Raises CampaignRefused if it isn't accepted."""
        kinds = {one.source: replace(one, claimed_at=campaign.created_at) for one in recipients}
        accounts = self._accounts_of(list(kinds.values()))
        # A real link would let the operator answer for the household.
        letters = [
            self._compose([self._ask(one, accounts[one.account_id], "…")], self._languages(one, self.language))
            for one in kinds.values()
        ]
        intro = translate("campaign.sample.text", self.language, id=campaign.id)
        text = "\n\n----\n\n".join([intro, *("\n\n".join(letter) for letter in letters)])
        subject = translate("notice.prefix", self.language) + translate("campaign.sample.subject", self.language)
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
        campaigns, mail_id = self.registry.campaigns, recipients[0].mail_id
        try:
            fault = self._mail(recipients)
        except WorkerError:
            raise
        except Exception as error:  # noqa: BLE001 - a bug stops no other mail; its text may hold an address
            fault = type(error).__name__
        if fault is None:
            campaigns.mark_mailed(mail_id)
        elif fault == ADDRESS_REFUSED:
            campaigns.refuse_address(mail_id)
        else:
            campaigns.record_failure(mail_id, fault)
        level = logging.INFO if fault is None else logging.WARNING
        extra = fields(id=mail_id, campaign=recipients[0].campaign_id, attempts=recipients[0].attempts, reason=fault)
        log.log(level, "campaign mail not sent" if fault else "campaign mail sent", extra=extra)
        return fault in (None, ADDRESS_REFUSED, _NO_ADDRESS)

    def _mail(self, recipients: Sequence[Recipient]) -> str | None:
        """Mail these recipients; return why that failed, or None.

        A household may have another address by now, so there may be several letters.
        """
        accounts, letters = self._accounts_of(recipients), defaultdict[str, list[tuple[Recipient, str, str]]](list)
        for one in sorted(recipients, key=lambda one: one.source):  # Those of households first: they have a language.
            if found := self._find_address(one, accounts[one.account_id]):
                letters[_fold(found[0])].append((one, *found))
        for letter in letters.values():
            first, address, language = letter[0]
            asks = [self._ask(one, accounts[one.account_id], self._ticket(one)) for one, _, _ in letter]
            subject, text = self._compose(asks, self._languages(first, language))
            headers = {}
            if first.household_id is not None:
                headers = unsubscribe_headers(self.mails.off_link(first.household_id))
            if fault := self.mails.mail_service.send(address, subject, text, first.mail_id, headers):
                return fault
        return None if letters else _NO_ADDRESS

    def _find_address(self, one: Recipient, account: Account) -> tuple[str, str] | None:
        """Return the recipient's present address and language; None if it may not be mailed any more."""
        if one.household_id is None:
            with suppress(OperatorFault):
                return self.sealer.unseal(one.sealed_address or "", _place_of(one.id)), ""
            return None
        household, row = self.mails.households.load(one.household_id), self.mails.addresses.load(one.household_id)
        if household is None or row is None or not row.notices:
            return None
        sees = household.accounts.get(account.id, 0) >= account.session_number
        return (row.address, row.language) if sees else None

    def _ticket(self, one: Recipient) -> str:
        return self.mails.signer.make_ticket(one.id, CAMPAIGN_TICKET)

    def _ask(self, one: Recipient, account: Account, ticket: str) -> Ask:
        preset = self.presets.get(account.supplier)
        return Ask(
            account=account,
            source=one.source,
            service=self.registry.tenants.title_of(account.tenant),
            link=f"{self.mails.public_url}{RENEW_PATH}#{ticket}",
            link_ends_at=(one.claimed_at or one.created_at) + LINK_LIFE,
            has_share=preset is not None and preset.consent_style == "autorisation",
        )

    def _compose(self, asks: Sequence[Ask], languages: Sequence[str]) -> tuple[str, str]:
        return compose_mail(asks, languages, civil_date(self.registry.now()))

    def _languages(self, one: Recipient, language: str) -> Sequence[str]:
        return LANGUAGES if one.household_id is None else (language,)

    def _accounts_of(self, recipients: Sequence[Recipient]) -> dict[str, Account]:
        return self.registry.accounts.get_many({one.account_id for one in recipients})

    def first_rows(self, campaign_id: str) -> list[PreviewRow]:
        """Return some of the recipients that have not answered, to look at."""
        return self._rows(list(islice(self.registry.campaigns.iterate_left(campaign_id), _ROWS)))

    def _rows(self, recipients: Sequence[Recipient]) -> list[PreviewRow]:
        accounts = self._accounts_of(recipients)
        references = self.registry.consents.load_references(list(accounts))
        rows = []
        for one in recipients:
            account, found = accounts[one.account_id], self._find_address(one, accounts[one.account_id])
            facts = account.id, references.get(account.id), account.tenant, account.consent_until, one.source
            rows.append(PreviewRow(*facts, mask_address(found[0]) if found else ""))
        return rows

    def left_rows(self, campaign_id: str) -> Iterator[LeftRow]:
        """Yield a row for each recipient that has not answered, or whose address was refused."""
        left = self.registry.campaigns.iterate_left(campaign_id)
        while page := list(islice(left, _PAGE)):
            references = self.registry.consents.load_references([one.account_id for one in page])
            for one in page:
                reference = references.get(one.account_id)
                yield LeftRow(one.account_id, reference, one.state, one.mailed_at, one.last_error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What a mail asks for one account. ``has_share``: its holder must first delete the old share at the supplier."""

    account: Account
    source: AddressSource
    service: str | None
    link: str = field(repr=False)
    link_ends_at: datetime
    has_share: bool


def compose_mail(asks: Sequence[Ask], languages: Sequence[str], today: date) -> tuple[str, str]:
    """Return the subject and the text of a mail for accounts of one address."""
    subjects = [translate("campaign.mail.subject", language) for language in languages]
    prefix = translate("campaign.mail.prefix", languages[0], service=_names(asks, languages[0])["service"])
    texts = ["\n\n".join(_write_mail(asks, language, today)) for language in languages]
    return prefix + " / ".join(subjects), "\n\n--\n\n".join(texts) + "\n"


def _names(asks: Sequence[Ask], language: str) -> dict[str, str]:
    services = [ask.service or translate("app.name", language) for ask in asks]
    suppliers = [translate(f"supplier.{ask.account.supplier}", language) for ask in asks]
    return {"service": ", ".join(dict.fromkeys(services)), "supplier": ", ".join(dict.fromkeys(suppliers))}


def _write_mail(asks: Sequence[Ask], language: str, today: date) -> Iterator[str]:
    is_listed = all(ask.source is AddressSource.LIST for ask in asks)
    yield translate(f"campaign.mail.{'listed' if is_listed else 'confirmed'}", language, **_names(asks, language))
    for ask in asks:
        first = [translate("renew.share", language)] if ask.has_share else []
        yield " ".join([_describe(ask, language, today), *first])
        yield ask.link
    end = asks[0].link_ends_at.astimezone(PARIS)
    yield translate("campaign.mail.rules", language, day=format_day(end.date(), language), time=f"{end:%H:%M}")
    yield translate("campaign.mail.no", language)
    yield translate("campaign.mail.person", language)


def _describe(ask: Ask, language: str, today: date) -> str:
    """Return which account the link is for and why; nothing of the account if the address comes from a list."""
    account, supplier = ask.account, translate(f"supplier.{ask.account.supplier}", language)
    if ask.source is AddressSource.LIST:
        return translate("campaign.mail.meter.listed", language, supplier=supplier)
    why, last = "other", account.consent_until
    if account.reason == ConsentStopped.code:
        why = "stopped"
    elif last is not None:
        why = "ended" if account.consent_ended_by(today) else "ends"
    meter = translate("campaign.mail.meter", language, digits=account.last_digits, supplier=supplier)
    return f"{meter} {translate(f'campaign.mail.{why}', language, day=last and format_day(last, language))}"


def _pages(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    return (items[first : first + _PAGE] for first in range(0, len(items), _PAGE))


def _place_of(recipient_id: str) -> str:
    return place_of(CAMPAIGN_RECIPIENTS.c.sealed_address, recipient_id)
