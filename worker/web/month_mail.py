"""The figures of each month by mail, to households that have asked for them.

A month is told once to each household and account: as soon as all its days are known, or on the 10th with what is known
by then. A notice stands for each of these mails, so that it is claimed, retried and marked like the others. Only the
web application inserts and sends it, because only it can read who wants it. The figures are read when the mail is
written, and stored nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from worker.accounts.household_access import MONTH_OFF_PATH, MONTH_TICKET, HouseholdMails
from worker.accounts.meter_names import load_name
from worker.accounts.notice_channels import NoticeMessage
from worker.accounts.prices import load_tariff
from worker.accounts.usage import read_base_load
from worker.domain.account import Account
from worker.domain.notice import HOUSEHOLD_CHANNEL, NoticeKind, is_month_due
from worker.domain.series import Direction, dailies_of
from worker.domain.totals import calendar_month
from worker.domain.windows import ONE_DAY, DateWindow, civil_date
from worker.errors import NotDelivered
from worker.runtime.stores import Stores
from worker.stores.registry.notices import build_notices
from worker.web.pages.chart_values import Against, Span, Unit, View, read_days, read_measures
from worker.web.pages.costs import price_measures
from worker.web.rendering import ENVIRONMENT
from worker.web.texts import Words


@dataclass(frozen=True, kw_only=True)
class MonthMails:
    """The channel to households that also takes the notices of months."""

    stores: Stores
    mails: HouseholdMails

    def insert_due(self) -> int:
        """Insert the notices of the last month that are due, and return how many are new. Raises StoreUnavailable."""
        registry, inserted = self.stores.registry, 0
        now = registry.now()
        month = calendar_month(f"{civil_date(now).replace(day=1) - ONE_DAY:%Y-%m}")
        for row in self.mails.addresses.iterate_months():
            about, asked_on = f"{row.household_id}@{month.start:%Y-%m}", civil_date(row.month_since or now)
            for account in self.mails.list_accounts(row.household_id):
                is_told = any(notice.about == about for notice in registry.notices.list_for_account(account.id))
                if is_told or not (account.active or account.files_only):
                    continue
                if is_month_due(month, self._find_known(account, month), asked_on, civil_date(now)):
                    notices = build_notices([HOUSEHOLD_CHANNEL], NoticeKind.MONTH, "", about, now, account.id)
                    inserted += len(registry.notices.insert_new(notices))
        return inserted

    def _find_known(self, account: Account, month: DateWindow) -> set[date]:
        """Return the known days of the first series that has any: consumption, else production."""
        read = (read_days(self.stores.measures, account.id, month, daily) for daily in dailies_of(account.supplier))
        return set(next(filter(None, read), {}))

    def send(self, message: NoticeMessage) -> None:
        """Mail a month to its household, if the household still wants it and sees the account; mail other notices."""
        notice = message.notice
        if notice.kind is not NoticeKind.MONTH:
            self.mails.send(message)
            return
        household_id, _, month = notice.about.partition("@")
        row = self.mails.addresses.load(household_id)
        seen = {account.id: account for account in self.mails.list_accounts(household_id)}
        if row is None or row.month_since is None or notice.account_id not in seen:
            return
        off = f"{self.mails.public_url}{MONTH_OFF_PATH}/{self.mails.signer.make_ticket(household_id, MONTH_TICKET)}"
        try:
            subject, text = self.write(seen[notice.account_id], calendar_month(month).start, row.language, off)
        except NotDelivered:
            raise
        except Exception as error:  # noqa: BLE001 - a bug stops no other notice; its text may hold a reading
            raise NotDelivered(f"{notice.channel}: {type(error).__name__}") from None
        if fault := self.mails.mail_with_off(row, notice, subject, text, off, is_html=True):
            raise NotDelivered(f"{notice.channel}: {fault}")

    def write(self, account: Account, first: date, language: str, off: str) -> tuple[str, str]:
        """Return the subject, which has no figure, and the HTML of the month that begins on ``first``.

        ``off``: the link that switches these mails off. Raises NotDelivered if no day is known any more.
        """
        registry, measures, words = self.stores.registry, self.stores.measures, Words(language)
        span = Span(View.MONTH, first)
        known = [
            (daily, found)
            for daily in dailies_of(account.supplier)
            if (found := read_measures(measures, account.id, span, span.end, daily, Against.YEAR, Unit.KWH)).days
        ]
        if not known:
            raise NotDelivered("no day of the month is known")
        (daily, shown), *fed = known
        tariff = load_tariff(registry, measures, account)
        priced = price_measures(measures, account.id, tariff, daily, shown, span.end, words) if tariff.is_set else shown
        subject = f"{words('notice.month.subject')}, {words.month(first)}"
        html = ENVIRONMENT.get_template("month_mail.html").render(
            t=words,
            account=account,
            name=load_name(registry, account.id),
            is_fed=daily.description.direction is Direction.PRODUCTION,
            month=shown,
            fed=fed[0][1] if fed else None,
            missing=[day for day in span.days() if day not in shown.days],
            costs=priced.costs,
            base=read_base_load(measures, account, span.end),
            public_url=self.mails.public_url,
            off=off,
        )
        return words("notice.prefix") + subject, html
