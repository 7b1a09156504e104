"""The consent dance: to the supplier's page, back again, and from what came back to the usage points.

Source: upstream-apis, 1.3, 1.4, 1.11 and 1.12.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from requests_oauthlib import OAuth2Session

from worker.clients.enedis.client import USAGE_POINT
from worker.clients.enedis.errors import Reply, classify
from worker.clients.enedis.presets import SUBSCRIBED_SERVICES, Endpoints
from worker.clients.id_token import split_meters, usage_points_from_id_token
from worker.clients.oauth import Grant
from worker.clients.session import SupplierSession
from worker.clients.transport import as_signed
from worker.domain.measures.answers import Json

LONGEST_STATE: Final = 100  # characters; a longer one comes back cut, or not at all
_GLUED: Final = "_parent"  # the 2026 portal glues it to addresses
_STATUS_AS_CODE: Final = re.compile(r"[0-9]{3}|server_error")
_FAILURE: Final = re.compile(r"[a-z_-]{2,40}", re.IGNORECASE)  # words, no ids
_LIVING: Final = {"ACTIF", "DEMANDE"}
_LARGEST_ID: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Callback:
    """What the supplier's page sent back.  ``failure`` is empty on success, else a short word to show."""

    state: str = field(repr=False)
    failure: str = ""
    usage_points: tuple[str, ...] = field(default=(), repr=False)
    autorisation_id: int | None = field(default=None, repr=False)
    code: str | None = field(default=None, repr=False)  # v4: exchange it; v5: ignore it


def authorize_url(endpoints: Endpoints, client_id: str, state: str, duration: str | None = None) -> str:
    """Where to send the person: client, response type, ``state`` and ``duration``, nothing else.

    The callback address is registered with the application, so it isn't sent.  Raises ValueError where the
    sandbox has no consent page or the state is too long.
    """
    page = endpoints.authorize_url
    if page is None:
        raise ValueError(f"{endpoints.preset.name}: this sandbox has no consent page, its customers have consented")
    if len(state) > LONGEST_STATE:
        raise ValueError(f"the state is longer than {LONGEST_STATE} characters")
    with OAuth2Session(client_id) as session:
        url, _ = session.authorization_url(
            as_signed(page), state=state, duration=duration or endpoints.preset.consent_duration
        )
    return page + url.removeprefix(as_signed(page))


def read_callback(params: Mapping[str, str] | Iterable[tuple[str, str]]) -> Callback:
    """A callback's query, failures first: then ``code`` may hold a status, even without ``error``.

    Pairs may repeat a name.  Nothing is raised: what can't be used is a failure.
    """
    fields = _fields(params.items() if isinstance(params, Mapping) else params)
    state, code = fields.get("state", ""), fields.get("code", "")
    if "error" in fields or "error_description" in fields or _STATUS_AS_CODE.fullmatch(code):
        words = (fields.get(name, "") for name in ("error", "error_description", "code"))
        return Callback(state, next((word for word in words if _FAILURE.fullmatch(word)), "refused"))
    usage_points = _usage_points(split_meters(fields.get("usage_point_id")))
    autorisation_id = _positive(fields.get("autorisation_id", ""))
    if not usage_points and autorisation_id is None:
        return Callback(state, "no_usage_point")
    return Callback(state, "", usage_points, autorisation_id, code or None)


def usage_points_of_grant(grant: Grant) -> tuple[str, ...]:
    """The meters that a token answer names: ``usage_points_id`` (v4), else those of an ``id_token``.

    Raises MalformedAnswer where that is no token.
    """
    told = _usage_points(split_meters(grant.extras.get("usage_points_id")))
    id_token = grant.extras.get("id_token")
    if told or not isinstance(id_token, str):
        return told
    return _usage_points(usage_points_from_id_token(id_token))


def usage_points_of(session: SupplierSession, autorisation_id: int, now: datetime) -> list[str]:
    """The meters of a consent (2026), in the order told; empty while the supplier doesn't know it yet.

    Then ask again later: asking is harmless.  Raises TransientError, AccountError, RequestRefused or
    OperatorFault.
    """
    asked = {
        "autorisationId": autorisation_id,
        "comptage": False,
        "etatCode": sorted(_LIVING),
        "serviceType": "ACCES",
    }
    payload = session.post(SUBSCRIBED_SERVICES, asked, lambda reply: _services(reply, now))
    services = payload.get("serviceSouscrit") if isinstance(payload, dict) else None
    living = (
        service.get("pointId")
        for service in (services if isinstance(services, list) else [])
        if isinstance(service, dict) and service.get("etatCode", "ACTIF") in _LIVING
    )
    return list(_usage_points(meter for meter in living if isinstance(meter, str)))


def _services(reply: Reply, now: datetime) -> Json:
    # "Not there yet" has no code of its own, only this text under the word for every bad request.
    if reply.status == 400 and "pas de services souscrits" in str(reply.json).lower():
        return None
    return classify(reply, now).payload


def _fields(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for sent_name, sent_value in pairs:
        name, value = sent_name.lower().removesuffix(_GLUED), sent_value.strip().removesuffix(_GLUED)
        fields[name] = f"{fields[name]};{value}" if name in fields and name == "usage_point_id" else value
    return fields


def _usage_points(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for word in words if USAGE_POINT.fullmatch(word)))


def _positive(text: str) -> int | None:
    number = int(text) if re.fullmatch(r"[0-9]{1,19}", text) else 0
    return number if 0 < number <= _LARGEST_ID else None
