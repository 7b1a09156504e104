"""The reason for the state of a day, as a sentence that a support person can read aloud, in French and English."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date
from typing import Final

from babel import Locale
from babel.dates import format_date

from worker.domain.measures.readings import Series
from worker.domain.reasons import Reason

LANGUAGES: Final = ("fr", "en")
_LOCALES: Final = {"fr": Locale.parse("fr_FR"), "en": Locale.parse("en_GB")}
# This is always the grammatical object, so no verb or participle has to agree with it.
_READINGS: Final = {
    "fr": {Series.DAILY: "le total", Series.LOAD_CURVE: "la courbe par demi-heure", None: "les relevés"},
    "en": {Series.DAILY: "the total", Series.LOAD_CURVE: "the half-hour curve", None: "the readings"},
}
# In this order: the next request is due by today, is due on a later day, or has no date.
_NEXT_REQUEST: Final = {
    "fr": ("nous redemandons aujourd'hui", "nous redemanderons le {day}", "nous redemanderons"),
    "en": ("we ask again today", "we ask again on {day}", "we ask again"),
}

SENTENCES: Final[dict[Reason, dict[str, str]]] = {
    Reason.COMPLETE: {
        "fr": "Nous avons {thing} du {day}, en entier.",
        "en": "We have {thing} of {day}, complete.",
    },
    Reason.PARTIAL: {
        "fr": "Enedis n'a transmis qu'une partie du {day} : pour la courbe, {slots} demi-heures sur {of} ; {again}.",
        "en": "Enedis has sent only a part of {day}: of the curve {slots} half-hours of {of}; {again}.",
    },
    Reason.PARTIAL_FOR_GOOD: {
        "fr": "Enedis n'a transmis qu'une partie du {day} : pour la courbe, {slots} demi-heures sur {of} ; après deux "
        "mois d'essais, le reste ne viendra plus.",
        "en": "Enedis has sent only a part of {day}: of the curve {slots} half-hours of {of}; after two months of "
        "asking, the rest won't come any more.",
    },
    Reason.LATE: {
        "fr": "Enedis n'a pas encore publié {thing} du {day} ; {again}.",
        "en": "Enedis has not published {thing} of {day} yet; {again}.",
    },
    Reason.ABSENT: {
        "fr": "Enedis n'a jamais publié {thing} du {day} ; après deux mois d'essais, nous ne demandons plus.",
        "en": "Enedis has never published {thing} of {day}; after two months of asking, we have given up.",
    },
    Reason.CURVE_GAP: {
        "fr": "Le compteur n'a pas transmis {thing} du {day}, alors que celle des jours voisins est là : c'est un trou "
        "de transmission, {again}.",
        "en": "The meter did not transmit {thing} of {day}, while that of other days is there: a gap of the "
        "transmission, {again}.",
    },
    Reason.CURVE_GAP_FOR_GOOD: {
        "fr": "Le compteur n'a pas transmis {thing} du {day}, alors que celle des jours voisins est là : c'est un trou "
        "de transmission qui ne s'est pas comblé en deux mois.",
        "en": "The meter did not transmit {thing} of {day}, while that of other days is there: a gap of the "
        "transmission that was not filled within two months.",
    },
    Reason.NOT_ACTIVATED: {
        "fr": "Enedis n'enregistre pas {thing} du {day} ni des autres jours : la personne titulaire doit activer la "
        "collecte horaire dans son espace client Enedis, et la courbe viendra à partir de ce jour-là.",
        "en": "Enedis does not record {thing} of {day} nor of other days: the holder must switch the hourly "
        "collection on in their Enedis customer account, and the curve comes from that day on.",
    },
    Reason.NOT_YET_ACTIVATED: {
        "fr": "Enedis n'enregistrait pas encore {thing} le {day} : la collecte horaire a été activée plus tard, et ce "
        "jour ne se rattrape pas.",
        "en": "Enedis did not record {thing} yet on {day}: the hourly collection was switched on later, and that day "
        "can't be recovered.",
    },
    Reason.BEFORE: {
        "fr": "Enedis ne donne pas {thing} du {day} : ce jour est antérieur à la mise en service du compteur, au "
        "consentement ou à l'historique d'Enedis.",
        "en": "Enedis does not give {thing} of {day}: the day lies before the meter's activation, the consent or the "
        "history that Enedis keeps.",
    },
    Reason.CONSENT_ENDED: {
        "fr": "Le consentement s'est terminé le {until} : nous ne pouvons pas demander {thing} du {day} tant que la "
        "personne titulaire ne l'a pas donné à nouveau.",
        "en": "The consent ended on {until}: we can't ask for {thing} of {day} until the holder gives it again.",
    },
    Reason.CONSENT_REFUSED: {
        "fr": "Enedis dit que le consentement est retiré ou terminé : nous ne pouvons pas demander {thing} du {day} "
        "tant que la personne titulaire ne l'a pas donné à nouveau.",
        "en": "Enedis says that the consent was withdrawn or has ended: we can't ask for {thing} of {day} until the "
        "holder gives it again.",
    },
    Reason.ACCESS_REFUSED: {
        "fr": "Enedis refuse l'accès : la personne titulaire doit relier le compteur à nouveau pour que nous puissions "
        "demander {thing} du {day}.",
        "en": "Enedis refuses access: the holder must connect the meter again before we can ask for {thing} of {day}.",
    },
    Reason.HOLDER_CHANGED: {
        "fr": "Enedis dit que la personne qui a consenti n'est plus titulaire de ce contrat : nous ne pouvons pas "
        "demander {thing} du {day}.",
        "en": "Enedis says that the person who consented no longer holds this contract: we can't ask for {thing} of "
        "{day}.",
    },
    Reason.METER_UNKNOWN: {
        "fr": "Enedis ne connaît pas ce compteur : son numéro est à vérifier avant que nous puissions demander {thing} "
        "du {day}.",
        "en": "Enedis does not know this meter: its number must be checked before we can ask for {thing} of {day}.",
    },
    Reason.NOT_CONNECTED: {
        "fr": "Aucun compteur n'est encore relié à ce compte : nous ne pouvons pas demander {thing} du {day}.",
        "en": "No meter is connected to this account yet: we can't ask for {thing} of {day}.",
    },
    Reason.PAUSED: {
        "fr": "Ce compte est en pause : nous ne demandons pas {thing} du {day} tant qu'elle dure.",
        "en": "This account is paused: we don't ask for {thing} of {day} while that lasts.",
    },
    Reason.IN_DOUBT: {
        "fr": "Enedis a refusé {thing} du {day} une fois ; nous vérifions dans quelques heures avant de déranger qui "
        "que ce soit.",
        "en": "Enedis refused {thing} of {day} once; we check again within hours before bothering anybody.",
    },
    Reason.OUTAGE: {
        "fr": "Enedis n'a pas répondu quand nous avons demandé {thing} du {day} : c'est une panne de son côté, nous "
        "redemandons de nous-mêmes.",
        "en": "Enedis did not answer when we asked for {thing} of {day}: the fault is on its side, we ask again by "
        "ourselves.",
    },
    Reason.QUOTA: {
        "fr": "Nous attendons notre tour pour demander {thing} du {day} : Enedis limite le nombre de demandes par "
        "heure.",
        "en": "We wait for our turn to ask for {thing} of {day}: Enedis limits the calls an hour.",
    },
    Reason.MALFORMED: {
        "fr": "La réponse d'Enedis pour {thing} du {day} est inutilisable ; nous l'avons écartée plutôt que "
        "d'enregistrer des valeurs douteuses.",
        "en": "The answer of Enedis about {thing} of {day} can't be used; we kept it out rather than store doubtful "
        "values.",
    },
    Reason.APPLICATION_REFUSED: {
        "fr": "Enedis refuse notre application, pas ce compte : nos identifiants ou notre abonnement sont à corriger "
        "avant que nous puissions demander {thing} du {day}.",
        "en": "Enedis refuses our application, not this account: our credentials or subscription must be mended before "
        "we can ask for {thing} of {day}.",
    },
    Reason.STORE_DOWN: {
        "fr": "Notre propre base n'était pas joignable quand nous avons demandé {thing} du {day} ; nous recommençons "
        "de nous-mêmes.",
        "en": "Our own store could not be reached when we asked for {thing} of {day}; we try again by ourselves.",
    },
    Reason.BUG: {
        "fr": "Une erreur de notre part a empêché de lire {thing} du {day} ; elle est à signaler à l'équipe technique.",
        "en": "A fault of ours kept us from reading {thing} of {day}; please report it to the technical team.",
    },
    Reason.NOT_ASKED_YET: {
        "fr": "Nous n'avons pas encore demandé {thing} du {day} : cela se fera de soi-même.",
        "en": "We have not asked for {thing} of {day} yet: that happens by itself.",
    },
    Reason.BEYOND_HISTORY: {
        "fr": "Nous n'avons pas demandé {thing} du {day} : ce jour est plus ancien que l'historique que nous "
        "chargeons.",
        "en": "We have not asked for {thing} of {day}: the day is older than the history that we load.",
    },
    Reason.NOT_OVER: {
        "fr": "Le {day} n'est pas terminé : Enedis publiera {thing} demain matin.",
        "en": "{day} is not over yet: Enedis publishes {thing} tomorrow morning.",
    },
    Reason.FUTURE: {
        "fr": "Le {day} est à venir : Enedis publiera {thing} le lendemain matin.",
        "en": "{day} lies in the future: Enedis publishes {thing} the morning after.",
    },
}


def format_sentence(
    reason: Reason,
    reason_series: Collection[Series],
    day: date,
    language: str,
    *,
    today: date,
    asked_next: date | None = None,
    consent_until: date | None = None,
    half_hours: tuple[int, int] = (0, 0),
) -> str:
    """Return the sentence for a reason that concerns ``reason_series``; ``half_hours``: stored and expected."""
    readings = _READINGS[language][next(iter(reason_series)) if len(reason_series) == 1 else None]
    stored, expected = half_hours
    return SENTENCES[reason][language].format(
        thing=readings,
        day=_format_day(day, language),
        again=_format_next_request(asked_next, today, language),
        until=_format_day(consent_until, language) if consent_until else "?",
        slots=stored,
        of=expected,
    )


def _format_day(day: date, language: str) -> str:
    """Return "24 juillet 2024" or "24 July 2024"; in French the first of a month is "1er"."""
    text = format_date(day, "long", _LOCALES[language])
    return text.replace("1 ", "1er ", 1) if language == "fr" and day.day == 1 else text


def _format_next_request(asked_next: date | None, today: date, language: str) -> str:
    due_today, due_later, undated = _NEXT_REQUEST[language]
    if asked_next is None:
        return undated
    return due_today if asked_next <= today else due_later.format(day=_format_day(asked_next, language))
