"""The channels of notices, and the messages that they carry: JSON for programs, plain text for people.

The channels are a signed webhook, services by their apprise URLs, or the log if neither is set up. A webhook belongs to
a tenant, and the services to the operator. If one of the services sends mail, households are mailed too, each in its
language, to its confirmed address. Only the web application has the channel to households, because no other process can
read addresses. A previous holder's household gets only the notice that the account ends. Later notices don't reach it,
because it holds an older session number than the account.

Subjects and texts are in ``locales/notices.json`` and ``codes.json``; a program gets them in French and English, a
person in one language. They contain no meter number, no token and no link. A program that forwards a notice to a
household needs a link, and makes an invitation to get one.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any, Final, Protocol

from worker.accounts import notice_services
from worker.clients.http_calls import TIMEOUTS_S, GuardedHttp, open_session, post_signed
from worker.domain.account import DEFAULT_TENANT, Account
from worker.domain.networks import Network
from worker.domain.notice import HOUSEHOLD_CHANNEL, Notice, NoticeKind
from worker.errors import NotDelivered, OperatorFault, describe_code
from worker.logs import fields
from worker.texts import LANGUAGES, format_day, has_text, translate, translate_all, translate_code

if TYPE_CHECKING:
    from worker.stores.registry.api_tokens import TenantTable

# Not an error's code: it means that the account's newest days have daily values but no load curve.
CURVE_NOT_ACTIVATED: Final = "CURVE_NOT_ACTIVATED"
log = logging.getLogger("releve.notices")
WEBHOOK: Final = "webhook"  # The channels' names in the table of notices.
LOG: Final = "log"


@dataclass(frozen=True)
class Webhook:
    """A signed POST request with a JSON body; only a 2xx status counts as delivered."""

    url: str = field(repr=False)  # The path may be a secret of the receiver.
    secret: str = field(repr=False)
    timeouts_s: tuple[float, float] = TIMEOUTS_S
    networks: Sequence[Network] = ()  # Private networks that may be called.
    clock: Callable[[], float] = time.time  # The real clock, because receivers compare the time with theirs.

    def send(self, message: NoticeMessage) -> None:
        body = json.dumps(message.to_json(), ensure_ascii=False, separators=(",", ":")).encode()
        with open_session(GuardedHttp(self.networks)) as session:
            status = post_signed(session, self.url, self.secret, body, int(self.clock()), self.timeouts_s)
        if not 200 <= status < 300:
            raise NotDelivered(f"webhook: status {status}")


@dataclass(frozen=True)
class NotifyService:
    """A service, given by its apprise URL; ``name`` identifies the service in the table of notices and in the log.

    ``language``: the operator's language. ``networks``: private networks that may be called.
    """

    name: str
    url: str = field(repr=False)
    language: str = LANGUAGES[0]
    networks: Sequence[Network] = ()

    def send(self, message: NoticeMessage) -> None:
        # A second attempt has the same id, so that people recognize the repeated notice.
        text = f"{message.to_text(self.language)}\n[{message.notice.id}]\n"
        subject = message.to_subject(self.language)
        if fault := notice_services.send(self.url, subject, text, message.notice.id, self.networks):
            raise NotDelivered(f"{self.name}: {fault}")


class NoticeLog:
    """The channel that writes to the log, used if no other channel is set up."""

    def send(self, message: NoticeMessage) -> None:
        notice = message.notice
        extra = fields(kind=notice.kind, account_id=notice.account_id, reason=notice.reason, about=notice.about)
        log.warning("notice: %s", message.texts["en"], extra=extra)


class Channel(Protocol):
    """Takes a message once, within its time-outs, or raises NotDelivered with a reason that contains no secret."""

    def send(self, message: NoticeMessage) -> None: ...


@dataclass(frozen=True, kw_only=True)
class NoticeChannels:
    """The channels by name. All come from the settings, except the webhooks of tenants other than the default tenant.

    ``of_settings``: the channels from the settings; their webhook is the default tenant's. ``tenants``: the table with
    the webhooks of the other tenants. ``household``: the channel to households; None if this process has none.
    """

    of_settings: Mapping[str, Channel]
    tenants: TenantTable | None = None
    networks: Sequence[Network] = ()  # Private networks that webhooks may call.
    household: Channel | None = None

    def names(self, tenant: str = DEFAULT_TENANT) -> tuple[str, ...]:
        """Return the names of the channels for notices about a tenant's accounts.

        Without ``tenant``, these are also the channels for notices to the operator.
        """
        if tenant == DEFAULT_TENANT or self.tenants is None:
            return tuple(self.of_settings)
        own = (WEBHOOK,) if self.tenants.has_webhook(tenant) else ()
        services = (name for name in self.of_settings if name not in (WEBHOOK, LOG))
        return (*own, *services) or (LOG,)

    def names_for_account(self, tenant: str) -> tuple[str, ...]:
        """Return the result of ``names`` and, if there is a mail service, the name of the channel to households."""
        return (*self.names(tenant), *([HOUSEHOLD_CHANNEL] if self.mails_households else []))

    @property
    def mails_households(self) -> bool:
        """Whether there is a mail service, which also mails households."""
        services = (channel for channel in self.of_settings.values() if isinstance(channel, NotifyService))
        return any(notice_services.is_mail(service.url) for service in services)

    def find(self, name: str, tenant: str = DEFAULT_TENANT) -> Channel | None:
        """Return a channel; None if it isn't set up. Raises NotDelivered if a webhook can't be decrypted."""
        if name == HOUSEHOLD_CHANNEL:
            return self.household
        if tenant == DEFAULT_TENANT or self.tenants is None or name not in (WEBHOOK, LOG):
            return self.of_settings.get(name)
        if name == LOG:
            return NoticeLog()
        try:
            target = self.tenants.find_webhook(tenant)
        except OperatorFault as error:
            raise NotDelivered(f"{name}: {error}") from None
        return Webhook(target.url, target.secret, networks=self.networks) if target else None


@dataclass(frozen=True, slots=True)
class NoticeDescription:
    """The description of one kind of notice; its subject is the text ``notice.<kind>.subject``.

    ``text``: the key of the notice's text, in which ``{reason}`` stands for the notice's reason. If there is a text
    whose key ends in ``.<reason>.text``, it is used for that reason instead. ``offers_consent``: the notice recommends
    a new consent, unless its reason is one that a new consent can't cure. ``mail``: the word for this kind in the text
    keys of the mail to households; empty if households get no mail of this kind.
    """

    text: str
    offers_consent: bool = False
    mail: str = ""


DESCRIPTIONS: Final = {
    NoticeKind.ACCOUNT_CLOSED: NoticeDescription("notice.account_closed.text", mail="closed"),
    NoticeKind.ACTION_NEEDED: NoticeDescription("code.{reason}.what_to_do", offers_consent=True, mail="stopped"),
    NoticeKind.ALERT: NoticeDescription("notice.alert.text", mail="alert"),
    NoticeKind.CONSENT_ENDS_30: NoticeDescription("notice.consent_ends.text", offers_consent=True, mail="ends"),
    NoticeKind.CONSENT_ENDS_7: NoticeDescription("notice.consent_ends.text", offers_consent=True, mail="ends"),
    NoticeKind.CURVE_NOT_ACTIVATED: NoticeDescription("code.{reason}.what_to_do", mail="curve"),
    NoticeKind.GATEWAY_BANNED: NoticeDescription("notice.gateway_banned.text"),
    NoticeKind.INCIDENT: NoticeDescription("notice.incident.{reason}.text"),
    NoticeKind.INCIDENT_OVER: NoticeDescription("notice.incident_over.text"),
    NoticeKind.METER_REQUESTED: NoticeDescription("notice.meter_requested.text", mail="requested"),
    NoticeKind.MONTH: NoticeDescription("notice.month.text"),  # Its mail is written by the web application.
    NoticeKind.OUTPUT_FAILS: NoticeDescription("notice.output_fails.text"),
    NoticeKind.RIGHT_PROOF_AWAITED: NoticeDescription("notice.right_proof.text"),
    NoticeKind.RIGHT_PROOF_ENDS: NoticeDescription("notice.right_proof.text"),
    NoticeKind.RIGHT_PROOF_REJECTED: NoticeDescription("notice.right_proof_rejected.text"),
    NoticeKind.SUPPLIER_CHANGED: NoticeDescription("notice.supplier_changed.text"),
    NoticeKind.TOKEN_ENDS: NoticeDescription("notice.token_ends.text"),
}


@dataclass(frozen=True, slots=True)
class NoticeMessage:
    """A notice with its texts: the subject and what to do, each by language."""

    notice: Notice
    subject: dict[str, str]
    texts: dict[str, str]
    new_consent_helps: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the webhook's body; ``id`` stays the same when the notice is sent again."""
        notice = self.notice
        return {
            "id": notice.id,
            "kind": notice.kind.value,
            "account": notice.account_id,
            "reason": notice.reason,
            "about": notice.about,
            "created_at": notice.created_at.isoformat(timespec="seconds"),
            "what_to_do": self.texts,
            "new_consent_helps": self.new_consent_helps,
        }

    def to_subject(self, language: str) -> str:
        account = f" ({self.notice.account_id})" if self.notice.account_id else ""
        return f"{translate('notice.prefix', language)}{self.subject[language]}{account}"

    def to_text(self, language: str) -> str:
        """Return the body of a mail or message to the operator."""
        lines = [self.texts[language]]
        if self.notice.account_id:
            reason = f" ({self.notice.reason})" if self.notice.reason else ""
            lines.append(f"{translate('notice.account', language)}{self.notice.account_id}{reason}")
        if self.new_consent_helps:
            lines.append(translate("invitation.notice", language, account=self.notice.account_id))
        return "\n\n".join(lines) + "\n"


def compose_message(notice: Notice) -> NoticeMessage:
    description, reason = DESCRIPTIONS[notice.kind], notice.reason
    subject, _, day = notice.about.rpartition("@")
    key = description.text.format(reason=reason)
    own_key = f"{key.removesuffix('.text')}.{reason}.text"
    key = own_key if has_text(own_key) else key
    helps = description.offers_consent and (not reason or describe_code(reason).renewable)
    return NoticeMessage(
        notice,
        subject=translate_all(f"notice.{notice.kind.value}.subject"),
        texts={
            language: translate(key, language, reason=reason, day=write_day(day, language), subject=subject)
            for language in LANGUAGES
        },
        new_consent_helps=helps and notice.account_id is not None,
    )


def compose_household_mail(
    notice: Notice, account: Account, language: str, public_url: str, off: str
) -> tuple[str, str]:
    """Return the subject and text of the mail that brings a notice to a household.

    ``off``: the link that switches these mails off.
    """
    facts = {
        "supplier": translate(f"supplier.{account.supplier}", language),
        "at_supplier": translate(f"supplier.{account.supplier}.stop", language),
        "day": write_day(notice.about, language),
    }
    key, meter = DESCRIPTIONS[notice.kind].mail, "meter" if account.last_digits else "account"
    subject = translate("notice.prefix", language) + translate(f"mail.notice.{key}.subject", language, **facts)
    advice = translate_code(notice.reason, "advice", language, **facts) if key == "stopped" else ""
    if notice.kind is NoticeKind.ALERT:
        limits = notice.reason.split("+")
        advice = " ".join(translate(f"mail.notice.alert.{limit}", language, **facts) for limit in limits)
    paragraphs = [
        translate(f"mail.notice.{meter}", language, digits=account.last_digits, account=account.id),
        advice or translate(f"mail.notice.{key}.text", language, **facts),
        translate("mail.notice.open", language),
        public_url,
        translate("mail.notice.off", language),
        off,
    ]
    return subject, "\n\n".join(paragraphs) + "\n"


def write_day(day: str, language: str) -> str:
    """Return a day such as 2026-12-24 as people write it; any other text is returned unchanged, or ``-`` if empty."""
    try:
        return format_day(date.fromisoformat(day), language)
    except ValueError:
        return day or "-"
