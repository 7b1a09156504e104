"""The alerts of an account: its limits, which are sealed, its days compared with them, and the notices of days."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from typing import Final

from pydantic import TypeAdapter

from worker.accounts.notice_channels import NoticeChannels
from worker.accounts.price_comparison import power_of
from worker.accounts.prices import AccountTariff, load_tariff, read_costs
from worker.domain.account import DEFAULT_TENANT, Account
from worker.domain.alerts import SOURCES, AlertLimits, Limit, days_to_tell, find_exceeded
from worker.domain.documents import ALL_KEYS, MILLIWATT_HOURS_PER_KWH, key_range, to_entry
from worker.domain.messages import Writes, is_backfill, series_of
from worker.domain.notice import HOUSEHOLD_CHANNEL, NoticeKind
from worker.domain.prices.cost import ONLY_PERIOD
from worker.domain.prices.energy import EnergySource, energies_of_days
from worker.domain.series import contract_series, daily_of, peaks_of_power
from worker.domain.totals import subscribed_on
from worker.domain.windows import ONE_DAY, DateWindow, civil_date, to_windows
from worker.errors import OperatorFault
from worker.stores.measures.measure_store import MeasureStore
from worker.stores.registry import Registry
from worker.stores.registry.account_details import ALERTS
from worker.stores.registry.notices import build_notices
from worker.stores.registry.outputs import OutputState

_LIMITS_JSON: Final = TypeAdapter(AlertLimits)
_SHOWING_KIND: Final = "mqtt"  # The kind of output that shows alerts.


def load_limits(registry: Registry, account_id: str) -> AlertLimits:
    """Return an account's limits; none where they can't be decrypted."""
    with suppress(OperatorFault):
        return _LIMITS_JSON.validate_python(registry.account_details.load(account_id, ALERTS) or {})
    return AlertLimits()


def save_limits(registry: Registry, account: Account, limits: AlertLimits) -> None:
    """Set the limits in the place of those before; outputs that show alerts follow. Raises AccountClosed."""
    with registry.database.writing() as connection:
        locked = registry.join(connection)
        if limits == AlertLimits():
            locked.account_details.remove(account.id, ALERTS)
        else:
            locked.account_details.save(account.id, ALERTS, _LIMITS_JSON.dump_python(limits, mode="json"))
        locked.outbox.enqueue_energy(civil_date(registry.now()), accounts=[account.id], kinds=[_SHOWING_KIND])


def find_subscribed(
    measures: MeasureStore, account: Account, tariff: AccountTariff, days: Iterable[date]
) -> dict[date, int | None]:
    """Return the subscribed power of days in mVA: as the contract tells it, else as the household set it."""
    doctype, kva = contract_series().inputs, power_of(tariff)
    contracts = [to_entry(one) for one in measures.read(account.id, {doctype: ALL_KEYS})[doctype]]
    return {day: subscribed_on(day, contracts) or (kva and kva * MILLIWATT_HOURS_PER_KWH) for day in days}


def read_exceeded(
    registry: Registry, measures: MeasureStore, account: Account, limits: AlertLimits, window: DateWindow
) -> tuple[dict[date, dict[Limit, EnergySource | None]], date | None]:
    """Return the days of a window that exceed limits, as stored now, and its newest day of known energy."""
    tariff, daily = load_tariff(registry, measures, account), daily_of(supplier=account.supplier).inputs
    power = peaks_of_power().inputs
    stored = measures.read(account.id, {one: key_range(window, one) for one in (daily, power)})
    energies = energies_of_days(map(to_entry, stored[daily]), ONLY_PERIOD)
    costs = read_costs(measures, account.id, tariff, window)[0] if limits.cost is not None else {}
    powers = {date.fromisoformat(one.key): one.amount for one in map(to_entry, stored[power])}
    since = limits.power_since or date.max
    compared = [day for day in powers if day >= since]
    subscribed = find_subscribed(measures, account, tariff, compared) if compared else {}
    found = {
        day: find_exceeded(limits, energies.get(day), costs.get(day), powers.get(day), subscribed.get(day))
        for day in window.dates()
    }
    return {day: exceeded for day, exceeded in found.items() if exceeded}, max([*energies, *costs], default=None)


def read_shown_alert(registry: Registry, measures: MeasureStore, output: OutputState, account_id: str) -> bool | None:
    """Return whether a limit is exceeded, for an output that shows alerts; None without limits."""
    may_show = output.tenant == DEFAULT_TENANT and output.kind == _SHOWING_KIND
    limits, today = load_limits(registry, account_id) if may_show else AlertLimits(), civil_date(registry.now())
    if limits == AlertLimits():
        return None
    # The maximum power is asked for once a week.
    account, window = registry.accounts.get(account_id), DateWindow(today - 7 * ONE_DAY, today)
    found, newest = read_exceeded(registry, measures, account, limits, window)
    return newest in found or any(Limit.POWER in exceeded for exceeded in found.values())


@dataclass(frozen=True, kw_only=True)
class AlertWatch:
    """Compares the days that windows store for the first time with the limits of their account."""

    registry: Registry
    measures: MeasureStore
    channels: NoticeChannels

    def tell(self, writes: Writes) -> None:
        """Insert the notices of a stored window's days, one a day. Safe to repeat. Raises StoreUnavailable."""
        account_id, now = writes["account_id"], self.registry.now()
        if not writes["changed"] or is_backfill(writes) or not self.channels.mails_households:
            return
        limits = load_limits(self.registry, account_id)
        if limits == AlertLimits() or not (days := days_to_tell(writes, limits, civil_date(now))):
            return
        account, source = self.registry.accounts.get(account_id), SOURCES.get(series_of(writes).description.granularity)
        for window in to_windows(days):
            found, _ = read_exceeded(self.registry, self.measures, account, limits, window)
            for day, exceeded in found.items():
                if reason := "+".join(limit for limit, told in exceeded.items() if told is source):
                    notices = build_notices([HOUSEHOLD_CHANNEL], NoticeKind.ALERT, reason, str(day), now, account_id)
                    self.registry.notices.insert_new(notices)
