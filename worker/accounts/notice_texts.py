"""The descriptions of notices, and the messages made of them: JSON for programs, plain text for people.

Subjects and texts stand in ``locales/notices.json`` and ``codes.json``; a program gets them in French and English, a
person in one language. They contain no meter number, no token and no link: a program that sends notices on to a
household makes an invitation first.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from worker.domain.consents import Notice, NoticeKind
from worker.errors import describe_code
from worker.texts import LANGUAGES, format_day, has_text, translate, translate_all

# This is no error code: it follows from the completeness of the account's days.
CURVE_NOT_ACTIVATED: Final = "CURVE_NOT_ACTIVATED"


@dataclass(frozen=True, slots=True)
class NoticeDescription:
    """The description of one kind of notice; its subject is the text ``notice.<kind>.subject``.

    ``text``: the key of its text, by the notice's reason; a text for that reason alone ends in ``.<reason>.text``.
    ``offers_consent``: whether a new consent helps, unless it does not cure the reason.
    """

    text: str
    offers_consent: bool = False


DESCRIPTIONS: Final = {
    NoticeKind.ACTION_NEEDED: NoticeDescription("code.{reason}.what_to_do", offers_consent=True),
    NoticeKind.CONSENT_ENDS_30: NoticeDescription("notice.consent_ends.text", offers_consent=True),
    NoticeKind.CONSENT_ENDS_7: NoticeDescription("notice.consent_ends.text", offers_consent=True),
    NoticeKind.CURVE_NOT_ACTIVATED: NoticeDescription("code.{reason}.what_to_do"),
    NoticeKind.GATEWAY_BANNED: NoticeDescription("notice.gateway_banned.text"),
    NoticeKind.INCIDENT: NoticeDescription("notice.incident.{reason}.text"),
    NoticeKind.INCIDENT_OVER: NoticeDescription("notice.incident_over.text"),
    NoticeKind.OUTPUT_FAILS: NoticeDescription("notice.output_fails.text"),
    NoticeKind.RIGHT_PROOF_AWAITED: NoticeDescription("notice.right_proof.text"),
    NoticeKind.RIGHT_PROOF_ENDS: NoticeDescription("notice.right_proof.text"),
    NoticeKind.RIGHT_PROOF_REJECTED: NoticeDescription("notice.right_proof_rejected.text"),
    NoticeKind.SUPPLIER_CHANGED: NoticeDescription("notice.supplier_changed.text"),
    NoticeKind.TOKEN_ENDS: NoticeDescription("notice.token_ends.text"),
}


@dataclass(frozen=True, slots=True)
class Message:
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


def write_day(day: str, language: str) -> str:
    """Return a day such as 2026-12-24 as people write it; a text that is no day as it is."""
    try:
        return format_day(date.fromisoformat(day), language)
    except ValueError:
        return day or "-"


def compose_message(notice: Notice) -> Message:
    """Return the message of a notice."""
    description, reason = DESCRIPTIONS[notice.kind], notice.reason
    subject, _, day = notice.about.rpartition("@")
    key = description.text.format(reason=reason)
    own_key = f"{key.removesuffix('.text')}.{reason}.text"
    key = own_key if has_text(own_key) else key
    helps = description.offers_consent and (not reason or describe_code(reason).renewable)
    return Message(
        notice,
        subject=translate_all(f"notice.{notice.kind.value}.subject"),
        texts={
            language: translate(key, language, reason=reason, day=write_day(day, language), subject=subject)
            for language in LANGUAGES
        },
        new_consent_helps=helps and notice.account_id is not None,
    )
