"""The texts of notices, in French and English: JSON for programs, plain text for people.

They contain no meter number and no token. The renewal link only starts a new consent for its account.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from worker.domain.consent.consents import Notice, NoticeKind
from worker.domain.fleet.incidents import IncidentKind

_KINDS_WITH_LINK: Final = frozenset({NoticeKind.ACTION_NEEDED, NoticeKind.CONSENT_ENDS_30, NoticeKind.CONSENT_ENDS_7})
# A new consent helps for these reasons; a reminder has none.
_RENEWABLE_REASONS: Final = frozenset(
    {
        "",
        "USER_ACTION_NEEDED.OAUTH_OUTDATED",
        "USER_ACTION_NEEDED.OAUTH_OUTDATED.REFRESH_LOST",
        "USER_ACTION_NEEDED.ACCOUNT_REMOVED",
        "LOGIN_FAILED",
    }
)

# This is no error code: it follows from the completeness of the account's days.
CURVE_NOT_ACTIVATED: Final = "CURVE_NOT_ACTIVATED"

# Each text stands under the error code or reason that it explains.
WHAT_TO_DO: Final[dict[str, dict[str, str]]] = {
    "USER_ACTION_NEEDED.OAUTH_OUTDATED": {
        "fr": "Le consentement n'est plus valable. La personne titulaire du compteur doit le donner à nouveau : "
        "l'historique est conservé.",
        "en": "The consent is no longer valid. The meter's holder must give it again; the history is kept.",
    },
    "USER_ACTION_NEEDED.OAUTH_OUTDATED.REFRESH_LOST": {
        "fr": "La réponse du gestionnaire de réseau à un renouvellement s'est perdue, et avec elle l'accès. La "
        "personne titulaire du compteur doit donner à nouveau son consentement : l'historique est conservé.",
        "en": "The grid operator's answer to a renewal was lost on the way, and the access with it. The meter's holder "
        "must consent again; the history is kept.",
    },
    "USER_ACTION_NEEDED.ACCOUNT_REMOVED": {
        "fr": "La personne qui a consenti n'est plus titulaire du contrat de ce compteur. Si elle a déménagé, "
        "retirez le compte ; sinon, qu'elle donne à nouveau son consentement.",
        "en": "The person who consented no longer holds this meter's contract. If they have moved, remove the "
        "account; if not, they must consent again.",
    },
    "USER_ACTION_NEEDED": {
        "fr": "Le gestionnaire de réseau ne connaît pas ce compteur : vérifiez son numéro.",
        "en": "The grid operator does not know this meter: check its number.",
    },
    "LOGIN_FAILED": {
        "fr": "L'accès est refusé. La personne titulaire du compteur doit le relier à nouveau : l'historique est "
        "conservé.",
        "en": "Access is refused. The meter's holder must connect it again; the history is kept.",
    },
    "VENDOR_DOWN": {
        "fr": "Rien : la demande est refaite d'elle-même.",
        "en": "Nothing: the supplier is asked again by itself.",
    },
    "UNKNOWN_ERROR": {
        "fr": "Lancez `releve -v sync COMPTE --inline` et signalez ce qui s'affiche.",
        "en": "Run it with `releve -v sync ACCOUNT --inline` and report what it says.",
    },
    CURVE_NOT_ACTIVATED: {
        "fr": "Les totaux par jour arrivent, la courbe par demi-heure non : sa collecte n'est pas activée. La personne "
        "titulaire l'active dans son espace client Enedis, à la rubrique « Gérer l'accès à mes données » ; la courbe "
        "vient à partir de ce jour-là.",
        "en": "Daily totals come, the half-hour curve does not: its collection is not switched on. The holder switches "
        "it on in their Enedis customer account, under « Gérer l'accès à mes données »; the curve comes from that day "
        "on.",
    },
}
_CONSENT_ENDS: Final = {
    "fr": "Le consentement se termine le {day}. S'il est donné à nouveau d'ici là, les relevés continuent sans "
    "interruption et l'historique est conservé.",
    "en": "The consent ends on {day}. Given again before then, readings go on without a gap and the history is kept.",
}
_HOLDER_REFUSALS: Final = {
    "fr": "Le gestionnaire de réseau refuse beaucoup de titulaires à la fois : c'est une panne de son côté. Aucun "
    "compte n'est mis de côté, les relevés reprendront d'eux-mêmes.",
    "en": "The grid operator refuses many holders at once: the fault is on its side. No account is set aside, "
    "readings go on by themselves.",
}
_INCIDENT_TEXTS: Final[dict[str, dict[str, str]]] = {
    IncidentKind.OUTAGE: {
        "fr": "Le gestionnaire de réseau ne répond plus à personne : on ne lui demande rien jusqu'à la fin, sauf pour "
        "quelques comptes témoins.",
        "en": "The grid operator answers nobody: it is not asked meanwhile, but for a few canary accounts.",
    },
    IncidentKind.APPLICATION: {
        "fr": "Le gestionnaire de réseau refuse l'application elle-même : vérifiez ses identifiants et ses abonnements "
        "(`releve doctor`). Rien n'est demandé jusqu'à la fin.",
        "en": "The grid operator refuses the application itself: check its credentials and subscriptions (`releve "
        "doctor`). Nothing is asked meanwhile.",
    },
    IncidentKind.ANSWERS: {
        "fr": "Les réponses du gestionnaire de réseau ne sont plus lisibles : voir `releve quarantine list`. Rien "
        "n'est demandé jusqu'à la fin.",
        "en": "The grid operator's answers can't be read any more: see `releve quarantine list`. Nothing is asked "
        "meanwhile.",
    },
    IncidentKind.BY_HAND: {
        "fr": "Les demandes au gestionnaire de réseau sont arrêtées à la main, pour un jour au plus.",
        "en": "Asking the grid operator was stopped by hand, for a day at most.",
    },
}
_MASS_REFUSAL: Final = {
    "fr": "Le gestionnaire de réseau refuse beaucoup de comptes à la fois de la même façon ({reason}) : c'est une "
    "panne de son côté. Aucun n'est mis de côté. S'il a raison pourtant : `releve incidents --close`.",
    "en": "The grid operator refuses many accounts at once alike ({reason}): the fault is on its side. None is set "
    "aside. If it is right all the same: `releve incidents --close`.",
}
_INCIDENT_OVER: Final = {
    "fr": "L'incident ({reason}) est terminé : ce qui manque est demandé à nouveau. `releve incidents` dit ce qu'il a "
    "coûté.",
    "en": "The incident ({reason}) is over: what is missing is asked for again. `releve incidents` says what it cost.",
}
_SUPPLIER_CHANGED: Final = {
    "fr": "Le gestionnaire de réseau envoie quelque chose d'inconnu ({reason}). Rien d'inconnu n'est enregistré ; le "
    "reste est lu comme avant. Voir `releve quarantine list`, puis `releve quarantine show`.",
    "en": "The grid operator sends something unknown ({reason}). Nothing unknown is stored; the rest is read as "
    "before. See `releve quarantine list`, then `releve quarantine show`.",
}
_SUBJECTS: Final = {
    NoticeKind.ACTION_NEEDED: {"fr": "un compte attend une action", "en": "an account needs its owner"},
    NoticeKind.CONSENT_ENDS_30: {"fr": "un consentement se termine bientôt", "en": "a consent ends soon"},
    NoticeKind.CONSENT_ENDS_7: {"fr": "un consentement se termine très bientôt", "en": "a consent ends very soon"},
    NoticeKind.CURVE_NOT_ACTIVATED: {"fr": "la courbe n'est pas activée", "en": "the curve is not switched on"},
    NoticeKind.HOLDER_STORM: {"fr": "panne chez le gestionnaire de réseau", "en": "trouble at the grid operator"},
    NoticeKind.INCIDENT: {"fr": "incident chez le gestionnaire", "en": "an incident at the grid operator"},
    NoticeKind.INCIDENT_OVER: {"fr": "incident terminé", "en": "an incident is over"},
    NoticeKind.SUPPLIER_CHANGED: {"fr": "réponse inconnue du gestionnaire", "en": "an unknown answer of the operator"},
}
_KINDS_WITH_REASON: Final = (NoticeKind.INCIDENT, NoticeKind.INCIDENT_OVER, NoticeKind.SUPPLIER_CHANGED)
_RENEW_LABEL: Final = {"fr": "Donner à nouveau le consentement", "en": "Consent again"}
_ACCOUNT_LABEL: Final = {"fr": "Compte", "en": "Account"}


@dataclass(frozen=True, slots=True)
class Message:
    """A notice with its texts: the subject and what to do, each by language."""

    notice: Notice
    subject: dict[str, str]
    texts: dict[str, str]
    renewal_url: str | None = field(default=None, repr=False)  # Anyone who has the link may start the consent.

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
            "renewal_url": self.renewal_url,
        }

    def to_text(self) -> str:
        """Return the e-mail's body: French, then English."""
        return "\n\n--\n\n".join(self._paragraphs(language) for language in ("fr", "en")) + "\n"

    def to_subject(self) -> str:
        account = f" ({self.notice.account_id})" if self.notice.account_id else ""
        return f"Relève : {self.subject['fr']} / {self.subject['en']}{account}"

    def _paragraphs(self, language: str) -> str:
        lines = [self.texts[language]]
        if self.notice.account_id:
            reason = f" ({self.notice.reason})" if self.notice.reason else ""
            lines.append(f"{_ACCOUNT_LABEL[language]} : {self.notice.account_id}{reason}")
        if self.renewal_url:
            lines.append(f"{_RENEW_LABEL[language]} : {self.renewal_url}")
        return "\n\n".join(lines)


def compose_message(notice: Notice, renewal_link: Callable[[str], str]) -> Message:
    """Return the message of a notice.

    ``renewal_link`` returns the link for an account id; it is called only if a new consent helps.
    """
    if notice.kind is NoticeKind.HOLDER_STORM:
        texts = dict(_HOLDER_REFUSALS)
    elif notice.kind in _KINDS_WITH_REASON:
        texts = {language: text.format(reason=notice.reason) for language, text in _operator_texts(notice).items()}
    elif notice.kind in (NoticeKind.ACTION_NEEDED, NoticeKind.CURVE_NOT_ACTIVATED):
        texts = dict(WHAT_TO_DO.get(notice.reason, WHAT_TO_DO["USER_ACTION_NEEDED"]))
    else:
        texts = {language: text.format(day=notice.about) for language, text in _CONSENT_ENDS.items()}
    helps = notice.kind in _KINDS_WITH_LINK and notice.reason in _RENEWABLE_REASONS
    url = renewal_link(notice.account_id) if helps and notice.account_id else None
    return Message(notice, _SUBJECTS[notice.kind], texts, url)


def _operator_texts(notice: Notice) -> dict[str, str]:
    if notice.kind is NoticeKind.INCIDENT:
        return _INCIDENT_TEXTS.get(notice.reason, _MASS_REFUSAL)
    return _INCIDENT_OVER if notice.kind is NoticeKind.INCIDENT_OVER else _SUPPLIER_CHANGED
