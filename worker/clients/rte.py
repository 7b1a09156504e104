"""RTE's calendar of Tempo (API "Tempo Like Supply Contract" 1.1), with the operator's application at RTE.

Source: RTE, user guide of this API; public clients, which know the calendar as an object and as a list.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import partial
from typing import Any, Final

import requests

from worker.clients.endpoints import checked_address
from worker.clients.http_calls import BoundedHttp, open_session
from worker.clients.published_files import NotFetched, call
from worker.domain.prices import Colour
from worker.domain.windows import DateWindow, civil_date, local_midnight

LONGEST_DAYS: Final = 365  # Of a call: RTE takes 366 days, but these may have an hour more.
_PATH: Final = "/open_api/tempo_like_supply_contract/v1/tempo_like_calendars"
_MOST_BYTES: Final = 1024**2
_APPLICATION: Final = "RTE refuses the application: check RELEVE_RTE_CLIENT_ID and RELEVE_RTE_CLIENT_SECRET"
_REFUSALS: Final = {
    400: "RTE refuses the request",
    401: _APPLICATION,
    403: "RTE: the application of RELEVE_RTE_CLIENT_ID is not subscribed to Tempo Like Supply Contract: subscribe it "
    "on data.rte-france.com",
    429: "RTE: the application has used up its calls (429)",
    500: "RTE has a fault (500)",
    503: "RTE has a fault (503)",
    509: "RTE has too many calls from all its clients (509)",
}
_NO_TOKEN: Final = _REFUSALS | dict.fromkeys((400, 403), _APPLICATION)
_CODE: Final = re.compile(r"TMPLIKSUPCON_TMPLIKCAL_F\d\d", re.ASCII)
_PRINTABLE: Final = re.compile(r"[\x21-\x7e]+")
_COLOURS: Final = {colour.upper(): colour for colour in Colour}


@dataclass(frozen=True, slots=True)
class RteApplication:
    """The application at RTE, and the address of RTE's services."""

    url: str
    client_id: str
    client_secret: str = field(repr=False)


def fetch_colours(application: RteApplication, windows: Iterable[DateWindow]) -> Iterator[dict[date, Colour]]:
    """Yield the colours of each window of at most LONGEST_DAYS; a day without one yet is left out. Raises NotFetched.

    The calls share a token, which is forgotten afterwards.
    """
    try:
        url = checked_address(application.url)
    except ValueError as error:
        raise NotFetched(f"RELEVE_RTE_URL: {error}") from None
    with open_session(BoundedHttp(_MOST_BYTES)) as session:
        credentials = application.client_id, application.client_secret
        token = _read_token(call(session, "POST", f"{url}/token/oauth/", auth=credentials))
        for window in windows:
            bounds = {"start_date": window.start, "end_date": window.end}
            query = {name: local_midnight(day).isoformat() for name, day in bounds.items()}
            answer = call(session, "GET", url + _PATH, params=query, auth=partial(_authorize, token))
            yield _read_calendar(answer, window)


def _authorize(token: str, request: requests.PreparedRequest) -> requests.PreparedRequest:
    request.headers["Authorization"] = f"Bearer {token}"
    return request


def _read_token(answer: requests.Response) -> str:
    body = _read(answer, _NO_TOKEN)
    token = body.get("access_token") if isinstance(body, dict) else None
    if not isinstance(token, str) or not _PRINTABLE.fullmatch(token):
        raise _other_form()
    return token


def _read_calendar(answer: requests.Response, window: DateWindow) -> dict[date, Colour]:
    body, told = _read(answer, _REFUSALS), dict[date, Colour]()
    try:
        found = body["tempo_like_calendars"]
        parts = found if isinstance(found, list) else [found]
        values = [value for part in parts for value in part["values"]]
        for value in sorted(values, key=lambda value: str(value.get("updated_date"))):
            day = civil_date(datetime.fromisoformat(value["start_date"]))
            if day in window and value["value"] in _COLOURS:
                told[day] = _COLOURS[value["value"]]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise _other_form() from None
    return told


def _read(answer: requests.Response, refusals: dict[int, str]) -> Any:
    """Return the JSON of an answer. Raises NotFetched; its text quotes nothing of the answer but a known code."""
    if (status := answer.status_code) != requests.codes.ok:
        code = _CODE.search(answer.text)
        text = refusals.get(status, f"RTE answered with status {status}")
        raise NotFetched(f"{text} ({code[0]})" if code else text)
    try:
        return answer.json()
    except (ValueError, RecursionError):
        raise _other_form() from None


def _other_form() -> NotFetched:
    return NotFetched("RTE's answer has another form than expected")
