"""Builders for notices: the channels that are set up, and what sends over them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from config.settings import Settings
from worker.accounts.channels import Channel, NoticeLog, NotifyService, Webhook
from worker.accounts.notices import NoticeSender
from worker.domain.clock import Clock
from worker.stores.registry.accounts import AccountRegistry
from worker.stores.registry.notices import NoticeTable


def build_channels(settings: Settings) -> dict[str, Channel]:
    """Return the ways for notices that are set up; the log where there is none."""
    channels: dict[str, Channel] = {}
    if settings.webhook_url and settings.webhook_secret:
        channels["webhook"] = Webhook(settings.webhook_url, settings.webhook_secret.get_secret_value())
    for url in settings.notify_urls():
        scheme = url.partition(":")[0].lower()
        same = sum(name.partition("-")[0] == scheme for name in channels)
        name = f"{scheme}-{same + 1}" if same else scheme
        channels[name] = NotifyService(name, url)
    return channels or {"log": NoticeLog()}


def build_notice_sender(
    *,
    registry: AccountRegistry,
    notices: NoticeTable,
    channels: Mapping[str, Channel],
    renewal_link: Callable[[str], str],
    now: Clock,
) -> NoticeSender:
    """Return what sends notices over the channels."""

    def curve_missing(account_id: str) -> bool:
        return registry.completeness.find_missing_curve(account_id) is not None

    return NoticeSender(
        notices=notices,
        accounts=registry,
        channels=channels,
        renewal_link=renewal_link,
        now=now,
        is_curve_missing=curve_missing,
    )
