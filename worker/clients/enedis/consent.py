"""Consent at Enedis: the callback, and the usage points (meters) that a consent covers.

    v4, v5      GET /callback?code=c0de&state=abc0&usage_point_id=98765432109876
    2026        GET /callback?autorisation_id=900001&state=abc0
    failure     GET /callback?code=403&error=access_denied&error_description=access_denied&state=abc0

Source: Enedis, guide d'implémentation Data Connect v5 (authorize) and the swagger Services souscrits of 2026; failures
in the issues of DomoticzLinky (91) and in homey.enedis.connect.proxy.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Final

from worker.clients.endpoints import Callback, choose_failure
from worker.clients.enedis.client import USAGE_POINT, classify
from worker.clients.enedis.presets import SERIES_OF_SERVICES, SUBSCRIBED_SERVICES
from worker.clients.http_calls import one_large_reader
from worker.clients.oauth import Grant
from worker.clients.supplier_session import Reply, SupplierSession
from worker.clients.tokens import split_meters, usage_points_from_id_token
from worker.domain.answers import Json
from worker.domain.consents import SharedMeter
from worker.domain.series import Direction, Series
from worker.domain.windows import ONE_DAY

# The portal of 2026 sometimes appends this to the address of the callback.
_PORTAL_SUFFIX: Final = "_parent"
_STATUS_AS_CODE: Final = re.compile(r"[0-9]{3}|server_error")
_CURRENT_STATES: Final = {"ACTIF", "DEMANDE"}
_LARGEST_ID: Final = 2**63 - 1
_DIRECTIONS: Final = {"soutirage": Direction.CONSUMPTION, "injection": Direction.PRODUCTION}


def read_callback(params: Mapping[str, str] | Iterable[tuple[str, str]]) -> Callback:
    """Read the query of a callback, in which a name may occur more than once.

    This raises nothing: a callback that can't be used is returned as a failure. An HTTP status in ``code`` means a
    failure, even if there is no ``error``.
    """
    fields = _fields(params.items() if isinstance(params, Mapping) else params)
    state, code = fields.get("state", ""), fields.get("code", "")
    if "error" in fields or "error_description" in fields or _STATUS_AS_CODE.fullmatch(code):
        words = (fields.get(name, "") for name in ("error", "error_description", "code"))
        return Callback(state, choose_failure(words))
    usage_points = _usage_points(split_meters(fields.get("usage_point_id")))
    autorisation_id = _positive_number(fields.get("autorisation_id", ""))
    if not usage_points and autorisation_id is None:
        return Callback(state, "no_usage_point")
    return Callback(state, "", usage_points, autorisation_id, code or None)


def usage_points_of_grant(grant: Grant, client_id: str, now: datetime) -> tuple[str, ...]:
    """Return the meters that a token answer names: those in ``usage_points_id`` (v4), else those in the ``id_token``.

    Raises MalformedAnswer if the ``id_token`` isn't a token, is for another application, or has expired.
    """
    usage_points = _usage_points(split_meters(grant.extras.get("usage_points_id")))
    id_token = grant.extras.get("id_token")
    if usage_points or not isinstance(id_token, str):
        return usage_points
    return _usage_points(usage_points_from_id_token(id_token, client_id, now))


@one_large_reader()
def fetch_shared_meters(session: SupplierSession, autorisation_id: int, now: datetime) -> tuple[list[SharedMeter], str]:
    """Fetch the meters of a consent (2026) with one call.

    Returns the meters in the supplier's order, and the SHA-256 of the answer's bytes in hexadecimal. As long as the
    supplier does not know the consent yet, the list of meters is empty. The call may be repeated without harm. Raises
    TransientError, AccountError, RequestRefused or OperatorFault.
    """
    body = {
        "autorisationId": autorisation_id,
        "comptage": False,
        "etatCode": sorted(_CURRENT_STATES),
        "serviceType": "ACCES",
    }
    payload, digest = session.post(
        SUBSCRIBED_SERVICES, body, lambda reply: (_interpret_services(reply, now), reply.digest)
    )
    services = payload.get("serviceSouscrit") if isinstance(payload, dict) else None
    by_meter: dict[str, list[dict[str, Json]]] = {}
    for service in services if isinstance(services, list) else []:
        if not isinstance(service, dict) or service.get("etatCode", "ACTIF") not in _CURRENT_STATES:
            continue
        number = service.get("pointId")
        if isinstance(number, str) and USAGE_POINT.fullmatch(number):
            by_meter.setdefault(number, []).append(service)
    return [_to_meter(number, services) for number, services in by_meter.items()], digest


def _to_meter(number: str, services: Sequence[Mapping[str, Json]]) -> SharedMeter:
    """Return a meter with the first and last day of its first service, and the series that its services cover."""
    end = _to_day(services[0].get("dateFin"))
    until = None if end is None else end - ONE_DAY  # The day ``dateFin`` itself is excluded.
    return SharedMeter(number, _to_day(services[0].get("dateDebut")), until, _offered_series(services))


def _offered_series(services: Iterable[Mapping[str, Json]]) -> frozenset[Series] | None:
    """Return the series that the services cover; None if one of the services has an unknown type of measure.

    A service covers one type of measure in one direction (``soutirage``, ``injection``), or in both if it names no
    direction. A state, such as the contract, has no direction.
    """
    offered: set[Series] = set()
    for service in services:
        kind = service.get("mesuresTypeCode")
        if not isinstance(kind, str) or kind not in SERIES_OF_SERVICES:
            return None
        named = {direction for name, direction in _DIRECTIONS.items() if service.get(name) is True}
        directions = named or set(Direction)
        offered |= {one for one in SERIES_OF_SERVICES[kind] if one.is_state or one.description.direction in directions}
    return frozenset(offered)


def _to_day(value: Json) -> date | None:
    """Return the day of a text in ISO 8601, with or without a time; None for anything else."""
    try:
        return date.fromisoformat(value[:10]) if isinstance(value, str) else None
    except ValueError:
        return None


def _interpret_services(reply: Reply, now: datetime) -> Json:
    # As long as Enedis doesn't know the consent, it answers "Bad request"; only this text distinguishes the refusal
    # from others.
    if reply.status == 400 and "pas de services souscrits" in str(reply.json).lower():
        return None
    return classify(reply, now).payload


def _fields(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for sent_name, sent_value in pairs:
        name = sent_name.lower().removesuffix(_PORTAL_SUFFIX)
        value = sent_value.strip().removesuffix(_PORTAL_SUFFIX)
        fields[name] = f"{fields[name]};{value}" if name in fields and name == "usage_point_id" else value
    return fields


def _usage_points(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for word in words if USAGE_POINT.fullmatch(word)))


def _positive_number(text: str) -> int | None:
    number = int(text) if re.fullmatch(r"[0-9]{1,19}", text) else 0
    return number if 0 < number <= _LARGEST_ID else None
